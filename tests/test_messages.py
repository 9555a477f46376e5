"""What a user gets wrong he can mend from the message alone, and nothing of his has changed."""

import copy
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from skorch.helper import SliceDataset
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import skclamp
from skclamp import (
    CalibrationMonitor,
    CalibratorSelector,
    NeuralClampingCalibrator,
    TemperatureScaling,
    TorchTraining,
    compare_calibrators,
)
from skclamp.exceptions import CalibrationSetWarning, ForwardError
from skclamp.metrics import (
    brier_score,
    expected_calibration_error,
    negative_log_likelihood,
)
from tests._mistakes import N_SAMPLES, Named, of_images, problem, table, warned
from tests._small_networks import bare_logits, labels_of, perceptron, snapshot, softmax

ADVICE = r"Images must be \(n, channels, height, width\)"
MISSHAPEN = {
    "channels last": (
        lambda X: np.moveaxis(X, 1, -1),
        rf"a batch of shape \(64, 8, 8, 3\): .*{ADVICE}, and the last axis looks like channels: np.moveaxis",
    ),
    "no channels": (lambda X: X[:, 0], rf"a batch of shape \(64, 8, 8\): .*{ADVICE}: X\[:, None\] gives grey ones"),
    "flat": (lambda X: X.reshape(len(X), -1), rf"a batch of shape \(64, 192\): .*{ADVICE}"),
    "another size": (lambda X: np.tile(X, 2), r"a batch of shape \(64, 3, 8, 16\): "),
}
SINGLE = rf"a batch of shape \(3, 8, 8\): .*{ADVICE}: .* X\[None\] makes a batch of a single image"
CALIBRATORS = [TemperatureScaling, NeuralClampingCalibrator, CalibratorSelector]


@pytest.mark.parametrize(
    ("kind", "mistake"), [*((TemperatureScaling, mistake) for mistake in MISSHAPEN), (NeuralClampingCalibrator, "flat")]
)
def test_inputs_of_another_shape(kind, mistake):
    network, X, y = problem()
    spoil, message = MISSHAPEN[mistake]
    before = snapshot(network)
    with pytest.raises(ForwardError, match=f"the network failed on {message}") as caught:
        kind(network).fit(spoil(X), y)
    assert type(caught.value.__cause__) is RuntimeError
    assert snapshot(network) == before


@pytest.mark.parametrize("mistake", [*MISSHAPEN, "a single image"])
def test_new_inputs_of_another_shape(mistake):
    network, X, y = problem()
    spoil, message = MISSHAPEN.get(mistake, (lambda X: X[0], SINGLE))
    calibrator = TemperatureScaling(network).fit(X, y)
    module = NeuralClampingCalibrator(network, perturbation=None).fit(X, y).module_.eval()
    before = snapshot(network)
    for predict in (calibrator.predict, calibrator.predict_proba, lambda X: calibrator.score(X, y[: len(X)])):
        with pytest.raises(ForwardError, match=message):
            predict(spoil(X))
    with pytest.raises(ForwardError, match=message.replace(r"\(64,", rf"\({N_SAMPLES},")):
        module(torch.from_numpy(spoil(X)))
    with pytest.raises(ForwardError, match=message):
        compare_calibrators(network, X, y, spoil(X), y[: len(spoil(X))], calibrators=[TemperatureScaling()])
    assert snapshot(network) == before


def test_a_single_image_beside_its_label():
    network, X, y = problem()
    with pytest.raises(ValueError, match=r", 3 and 1\. The first axis of X is the samples: a single one is X\[None\]"):
        TemperatureScaling(network).fit(X[0], y[:1])
    with pytest.raises(ValueError, match=r"Reshape your data.* A single sample is X\[None\]"):
        TemperatureScaling(network).fit(X, y).predict(X[0, 0, 0])


def test_a_single_image_for_a_perturbation():
    network, X, y = problem()
    clamped = NeuralClampingCalibrator(network, perturbation="channel", validation_fraction=None).fit(X, y)
    rule = r"X must have inputs of the shape that the perturbation was fitted to, \(3, 8, 8\); "
    with pytest.raises(ValueError, match=rule + r"X of shape \(3, 8, 8\) looks like one sample: X\[None\]$"):
        clamped.predict_proba(X[0])
    with pytest.raises(ValueError, match=rule + r"got inputs of shape \(8, 8\)$"):
        clamped.predict_proba(X[:5, 0])
    assert clamped.predict_proba(X[0][None]).shape == (1, 4)


class Tokens(nn.Module):
    """Embeds tokens, of which there are 50, and their positions, 8 at most."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places, self.head = nn.Embedding(50, 4), nn.Embedding(8, 4), nn.Linear(4, 3)

    def forward(self, input_ids):
        return self.head((self.words(input_ids) + self.places(torch.arange(input_ids.shape[1]))).mean(1)) * 8


TOKENS = np.random.default_rng(0).integers(0, 50, size=(N_SAMPLES, 8))
NO_TOKENS = {
    "floats": TOKENS.astype(np.float32),
    "beyond the vocabulary": TOKENS + 9,
    "padded with -100": np.where(np.arange(8) > 5, -100, TOKENS),
    "too long": np.tile(TOKENS, 2),
}


@pytest.mark.parametrize("mistake", NO_TOKENS)
@pytest.mark.parametrize("by_name", [False, True])
def test_what_an_embedding_does_not_take(mistake, by_name):
    network = Tokens()
    y = labels_of(bare_logits(network, TOKENS))
    calibrator = TemperatureScaling(network).fit({"input_ids": TOKENS}, y)
    spoilt = {"input_ids": NO_TOKENS[mistake]} if by_name else NO_TOKENS[mistake]
    rule = r"takes integers from 0 to below .*-100\. The network's embeddings have as many rows: \[8, 50\]$"
    for call in (calibrator.predict_proba, lambda X: TemperatureScaling(network).fit(X, y)):
        with pytest.raises(ForwardError, match=rf"the network failed on a batch of shape .*\(64, \d+\): .*{rule}"):
            call(spoilt)


class Refused(RuntimeError):
    """An error of the user's own."""


class Failing(nn.Module):
    """Fails once it has been called a number of times."""

    def __init__(self, network, error, n_calls=0):
        super().__init__()
        self.network, self.error, self.n_calls = network, error, n_calls

    def forward(self, x):
        self.n_calls -= 1
        if self.n_calls < 0:
            raise self.error
        return self.network(x)


ERRORS = [
    Refused("mine"),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    AttributeError("'Net' object has no attribute 'head'"),
    KeyError("x"),
    KeyboardInterrupt(),
]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
@pytest.mark.parametrize("kind", [TemperatureScaling, NeuralClampingCalibrator])
def test_what_says_enough_passes_as_it_is(kind, error):
    network, X, y = table()
    with pytest.raises(type(error)) as caught:
        kind(Failing(network, error)).fit(X, y)
    assert caught.value is error


@pytest.mark.parametrize(
    ("n_calls", "error"),
    [(0, RuntimeError("a")), (1, ValueError("a")), (3, IndexError("a")), (5, AssertionError("a"))],
    ids=str,
)
@pytest.mark.parametrize(
    "options", [{}, {"training": TorchTraining(), "perturbation": "full"}], ids=["natural", "adam"]
)
def test_a_failure_at_any_time(options, n_calls, error):
    network, X, y = table()
    calibrator = NeuralClampingCalibrator(Failing(network, error, n_calls), **options)
    before = snapshot(network)
    with pytest.raises(ForwardError, match=r"the network failed on a batch of shape \(\d+, 6\): a") as caught:
        calibrator.fit(X, y)
    assert caught.value.__cause__ is error
    assert snapshot(network) == before


@pytest.mark.parametrize("kind", CALIBRATORS)
def test_swapped_and_dense_labels(kind):
    network, X, y = problem()
    rule = r"y must have shape \(n_samples,\), one class label a sample"
    with pytest.raises(
        ValueError, match=rf"shape \(120, 3, 8, 8\) .*{rule}\. X has shape \(120,\): X and y look swapped"
    ):
        kind(network).fit(y, X)
    with pytest.raises(ValueError, match=rf"shape \(120, 8, 8\) .*{rule}\. A class at each place"):
        kind(network).fit(X, np.zeros((N_SAMPLES, 8, 8), int))


def test_the_order_of_train_test_split():
    network, X, y = table()
    with pytest.raises(ValueError, match="y_cal must have shape .* X_test and y_cal look swapped"):
        compare_calibrators(network, X[:60], X[60:], y[:60], y[60:])


@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor, np.ndarray.tolist], ids=["array", "tensor", "list"])
def test_logits_in_the_place_of_the_estimator(kind):
    logits, y = kind(np.zeros((20, 3))), np.arange(20) % 3
    with pytest.raises(TypeError, match=r"Of logits write compare_calibrators\(None, X_cal, y_cal, X_test, y_test\)"):
        compare_calibrators(logits, y, logits, y)


def test_wrong_names_of_inputs():
    _, X, y = table()
    network = Named()
    with pytest.raises(TypeError, match="that the network takes by name, 'pixels', .*; got 'image', 'mask'"):
        TemperatureScaling(network).fit({"image": X, "mask": X}, y)
    with pytest.raises(TypeError, match="input_key must be a name of an input that .* takes, 'pixels'; got 'image'"):
        NeuralClampingCalibrator(network, input_key="image").fit(X, y)
    with pytest.raises(
        TypeError,
        match="X must be a dict of the inputs that .*, 'input1', 'input2', or a Dataset .*; got a single input",
    ):
        TemperatureScaling(nn.Bilinear(6, 6, 4)).fit(X, y)


@pytest.mark.parametrize("kind", [TemperatureScaling, NeuralClampingCalibrator])
def test_pictures_without_a_transform(kind):
    image = pytest.importorskip("PIL.Image")

    class Pictures(torch.utils.data.Dataset):
        def __len__(self):
            return 5

        def __getitem__(self, index):
            return image.new("RGB", (8, 8)), index % 2

    with pytest.raises(TypeError, match=r"of type Image of PIL\. .* such as torchvision\.transforms\.ToTensor\(\)"):
        kind(of_images()).fit(Pictures())
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"x": list(range(5)), "label": [0, 1, 0, 1, 0]})
    data = data.with_transform(
        lambda rows: {"x": [image.new("RGB", (8, 8)) for _ in rows["x"]], "label": rows["label"]}
    )
    with pytest.raises(
        TypeError, match=r"entry 'x' of X must be a tensor .*`with_transform` of a Hugging Face data set"
    ):
        kind(of_images()).fit(data)


@pytest.mark.parametrize("kind", CALIBRATORS)
def test_networks_without_weights_and_sparse_inputs(kind):
    network, X, y = table()
    with pytest.raises(ValueError, match="estimator must have its weights in memory; got a network on the meta device"):
        kind(nn.Linear(6, 4, device="meta")).fit(X, y)
    with pytest.raises(ValueError, match="estimator must have its weights in memory"):
        kind(nn.Linear(6, 4, device="meta"), device="cpu").fit(X, y)
    with pytest.raises(TypeError, match=r"X must be dense; got a sparse csr_array: pass X\.toarray\(\)"):
        kind(network).fit(scipy.sparse.csr_array(X), y)
    with pytest.raises(TypeError, match=r"X must be dense; got a sparse tensor of .*: pass X\.to_dense\(\)"):
        kind(network).fit(torch.from_numpy(X).to_sparse(), y)
    with pytest.raises(ValueError, match="X must not be empty: .*; got as many in sample_weight"):
        kind(network).fit(X[:0], y[:0], sample_weight=[])


@pytest.mark.parametrize("kind", [TemperatureScaling, NeuralClampingCalibrator])
@pytest.mark.parametrize("layer", [nn.LazyLinear(4), nn.Sequential(nn.LazyBatchNorm1d(affine=False), nn.Linear(6, 4))])
def test_a_lazy_network_is_refused_and_stays_as_it_is(kind, layer):
    _, X, y = table()
    before, kinds = torch.get_rng_state(), [type(part) for part in layer.modules()]
    for options in ({}, {"device": "cpu"}):
        with pytest.raises(ValueError, match="estimator must be a trained network; got one whose .* doesn't exist yet"):
            kind(layer, **options).fit(X, y)
    assert torch.equal(torch.get_rng_state(), before)
    assert [type(part) for part in layer.modules()] == kinds


def test_scores_of_two_classes_for_more():
    y = np.arange(30) % 3
    rule = (
        r"must have one column per class: got 2 columns for 3 distinct labels in y: \[0, 1, 2\]. One dimension, shape "
        r"\(30,\), is read as the second of two classes: pass all 3 columns$"
    )
    for metric in (expected_calibration_error, brier_score):
        with pytest.raises(ValueError, match=f"y_proba {rule}"):
            metric(y, np.full(30, 0.7))
    with pytest.raises(ValueError, match=f"the logits {rule}"):
        TemperatureScaling().fit(np.zeros(30), y)
    with pytest.raises(TypeError, match=r"y_proba must be dense; got a sparse csr_array: pass y_proba.toarray\(\)"):
        expected_calibration_error(y, scipy.sparse.csr_array(np.eye(3)[y]))


@pytest.mark.parametrize("metric", [expected_calibration_error, brier_score, negative_log_likelihood])
def test_labels_that_count_from_one(metric):
    y, proba = 1 + np.arange(60) % 3, np.full((60, 4), 0.25)
    said = warned(CalibrationSetWarning, lambda: metric(y, proba))
    assert said == (
        "labels 1 ... 3 are taken for column indices, of which 0 is missing; if they count from 1, give labels"
    )
    metric(y, proba, labels=range(4))
    metric(y[y > 1], proba[y > 1])


@pytest.mark.parametrize("labelled", [True, False])
def test_a_search_over_a_bare_dataset(labelled):
    network, X, y = problem()
    dataset = TensorDataset(torch.as_tensor(X), torch.as_tensor(y))
    search = GridSearchCV(TemperatureScaling(network), {"gamma": [0.0, 1.0]}, cv=2)
    with pytest.raises(ValueError, match=r"got a list of items of a Dataset, as .*SliceDataset\(dataset"):
        search.fit(dataset, y if labelled else None)
    expected = search.fit(X, y).best_score_
    assert search.fit(SliceDataset(dataset), y).best_score_ == expected


def test_devices_and_files_of_torch_alone(tmp_path):
    network, X, y = problem()
    if not torch.backends.mps.is_available():
        with pytest.raises(ValueError, match="got 'mps': ") as caught:
            TemperatureScaling(network, device="mps").fit(X, y)
        assert len(str(caught.value)) < 250
    pytest.importorskip("safetensors")
    torch.save(network.state_dict(), tmp_path / "net.pt")
    with pytest.raises(ValueError, match=r"net.pt is no file of skclamp's, .* but a zip, as torch's are"):
        skclamp.load(tmp_path / "net.pt", network)


def test_missing_labels():
    network, X, y = table()
    with pytest.raises(ValueError, match="arrays bring no labels: pass y, one class label per sample"):
        NeuralClampingCalibrator(network).fit(X)
    with pytest.raises(ValueError, match="arrays bring no labels: pass y_test"):
        compare_calibrators(network, X, y, X, None)
    with pytest.raises(ValueError, match="X brings no labels. Items of a Dataset must be"):
        TemperatureScaling(Named()).fit({"pixels": X})


def test_load_with_the_network_first(tmp_path):
    pytest.importorskip("safetensors")
    network, X, y = table()
    TemperatureScaling(network).fit(X, y).save(tmp_path / "saved")
    with pytest.raises(TypeError, match=r"the path comes first: load\(path, estimator\); got Sequential"):
        skclamp.load(network, tmp_path / "saved")


def spoilt(values, value, place):
    values = np.array(values)
    values[place] = value
    return values


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_where_a_value_is_not_finite(value):
    network, X, y = problem()
    logits = bare_logits(network, X)
    for fit in (TemperatureScaling().fit, CalibrationMonitor().partial_fit, CalibratorSelector().fit):
        with pytest.raises(ValueError, match=f"X must be finite: .*; got {value} in row 70, column 2$"):
            fit(spoilt(logits, value, (70, 2)), y)
    images = spoilt(X, value, (70, 1, 0, 5))
    with pytest.raises(ValueError, match=rf"X must be finite: .*; got {value} in sample 70, at \[1, 0, 5\]$"):
        TemperatureScaling(network).fit(images, y)
    dataset = TensorDataset(torch.as_tensor(images), torch.as_tensor(y))
    with pytest.raises(ValueError, match=rf"X must be finite: .*; got {value} in sample 70, at \[1, 0, 5\]$"):
        NeuralClampingCalibrator(network).fit(dataset)
    _, X, y = table()
    with pytest.raises(ValueError, match=f"entry 'pixels' of X must be finite: .* {value} in row 70, column 3$"):
        TemperatureScaling(Named()).fit({"pixels": spoilt(X, value, (70, 3))}, y)
    proba = spoilt(softmax(logits), value, (70, 2))
    for metric in (expected_calibration_error, brier_score, negative_log_likelihood):
        with pytest.raises(ValueError, match=f"y_proba must be finite: .*; got {value} in row 70, column 2$"):
            metric(y, proba)
    with pytest.raises(ValueError, match=f"y must not hold NaN or infinity: .*; got {value} for sample 70$"):
        TemperatureScaling().fit(logits, spoilt(y.astype(float), value, 70))


@pytest.mark.parametrize("kind", CALIBRATORS)
def test_the_estimator_belongs_to_the_constructor(kind):
    network, X, y = problem()
    rule = rf"X must be samples; got %s, an estimator, which the constructor takes: {kind.__name__}\(%s\)\.fit\(X, y\)"
    with pytest.raises(TypeError, match=rule % ("Sequential", "net")):
        kind().fit(network, X, y)
    with pytest.raises(TypeError, match=rule % ("Sequential", "net")):
        kind(network).fit(network, TensorDataset(torch.as_tensor(X), torch.as_tensor(y)))
    network, X, y = table()
    with pytest.raises(TypeError, match=rule % ("NeuralNetClassifier", "net")):
        kind().fit(NeuralNetClassifier(network), X, y)
    with pytest.raises(TypeError, match=rule % ("LogisticRegression", "classifier")):
        kind().fit(LogisticRegression(), X, y)
    with pytest.raises(TypeError, match=rule % ("the class Named", "net")):
        kind().fit(Named, X, y)


def test_a_monitor_takes_its_classifier_first():
    _, X, y = table()
    classifier = LogisticRegression().fit(X, y)
    with pytest.raises(TypeError, match=r"CalibrationMonitor\(classifier\)\.partial_fit\(X, y\)"):
        CalibrationMonitor().partial_fit(classifier, X)


NO_ESTIMATORS = {
    "a path": (lambda _: "net.pt", "'net.pt'"),
    "a graph's path": (lambda _: Path("net.onnx"), r"\w+\('net.onnx'\)"),
    "weights": (lambda network: network.state_dict(), "OrderedDict"),
    "logits": (lambda _: np.zeros((9, 4)), "ndarray"),
    "a class": (lambda _: Named, "<class '.*Named'>"),
    "a function": (lambda network: network.forward, "method"),
    "no classifier": (lambda _: LinearRegression(), "LinearRegression"),
    "a fitted regression": (lambda _: LinearRegression().fit(np.zeros((2, 1)), [0, 1]), "LinearRegression"),
    "a transformer": (lambda _: StandardScaler(), "StandardScaler"),
}
# Each is answered by what to give instead.
INSTEAD = (
    r"\. Of weights or a file pass the network, after network\.load_state_dict\(weights\) or from torch\.export\..*; "
    r"of a class an instance, of a pipeline its model\. Run anything .*: TemperatureScaling\(\)\.fit\(logits, y\)$"
)


@pytest.mark.parametrize("kind", [TemperatureScaling, NeuralClampingCalibrator])
@pytest.mark.parametrize("what", NO_ESTIMATORS)
def test_what_is_no_estimator(kind, what):
    network, X, y = problem()
    make, got = NO_ESTIMATORS[what]
    with pytest.raises(TypeError, match=f"estimator must be None, a torch.nn.Module, .*; got {got}{INSTEAD}"):
        kind(make(network)).fit(X, y)


class Pair(nn.Module):
    """Takes two inputs by name."""

    def __init__(self):
        super().__init__()
        self.network = perceptron()

    def forward(self, image, mask):
        return self.network(image * mask)


@pytest.mark.parametrize("kind", [TemperatureScaling, NeuralClampingCalibrator])
@pytest.mark.parametrize("form", [tuple, list])
def test_two_inputs_side_by_side(kind, form):
    _, X, y = table()
    rule = rf"X must be one array, or a dict of several by name; got a {form.__name__} of 2$"
    for parts in ((X, X), (torch.as_tensor(X), torch.ones(N_SAMPLES, 1))):
        with pytest.raises(TypeError, match=rule):
            kind(Pair()).fit(form(parts), y)
    with pytest.raises(TypeError, match=rule):
        TemperatureScaling().fit(form([X, X]), y)
    items = [((X[k], X[k]), int(y[k])) for k in range(N_SAMPLES)]
    with pytest.raises(TypeError, match="Several inputs go into a dict, by the names under which the network takes"):
        kind(Pair()).fit(DataLoader(items))
    triples = TensorDataset(torch.as_tensor(X), torch.as_tensor(X), torch.as_tensor(y))
    with pytest.raises(TypeError, match="'image', 'mask', or a Dataset of such dicts, alone or each beside its label"):
        kind(Pair()).fit(triples, y)


def test_clamping_in_inference_mode():
    network, X, y = problem()
    expected = TemperatureScaling(network).fit(X, y).temperature_
    with torch.inference_mode():
        made_inside, inputs = of_images(), torch.tensor(X)
        assert TemperatureScaling(network).fit(inputs, y).temperature_ == expected
        with pytest.raises(ValueError, match=r"fit must be called outside of torch\.inference_mode\(\)"):
            NeuralClampingCalibrator(network).fit(X, y)
    assert TemperatureScaling(made_inside).fit(X, y).temperature_ == expected
    with pytest.raises(ValueError, match=r"made in torch\.inference_mode\(\)\. Make it outside of that, or pass copy"):
        NeuralClampingCalibrator(made_inside).fit(X, y)
    of_arrays, of_tensors, of_a_copy = (
        NeuralClampingCalibrator(estimator, random_state=0).fit(samples, y)
        for estimator, samples in ((network, X), (network, inputs), (copy.deepcopy(made_inside), X))
    )
    assert of_arrays.temperature_ == of_tensors.temperature_ == of_a_copy.temperature_


@pytest.mark.parametrize("kind", CALIBRATORS)
def test_logits_for_a_network(kind):
    rule = r"the network failed on a batch of shape \(64, 4\): .* Its outputs have 4 columns too: if X holds logits, "
    for network, X, y in (problem(), table()):
        logits = bare_logits(network, X)
        with pytest.raises(
            ForwardError, match=rf"{rule}leave out the estimator, TemperatureScaling\(\)\.fit\(logits, y"
        ):
            kind(network).fit(logits, y)
        fitted = TemperatureScaling(network).fit(X, y)
        with pytest.raises(ValueError, match=r"f X holds logits, .*transform_logits\(logits\) takes them$"):
            fitted.predict_proba(logits)
    message = "If X are a network's inputs, give the network as estimator$"
    if kind is NeuralClampingCalibrator:
        message = "estimator must be the network whose inputs clamping perturbs; got None"
    with pytest.raises(ValueError, match=message):
        kind().fit(problem()[1], y)


RAGGED = (
    r"shapes \(3, 6\), \(4, 6\), .*\. Resize, crop or pad them, or have a DataLoader pad each batch: DataLoader\(da"
)


def test_inputs_of_several_sizes():
    network, X, y = table()
    sequences = [torch.as_tensor(X[: 3 + k % 4]) for k in range(N_SAMPLES)]
    pairs = list(zip(sequences, y.tolist(), strict=True))
    objects = np.empty(N_SAMPLES, dtype=object)
    objects[:] = sequences
    for ragged in (sequences, [each.numpy() for each in sequences], objects):
        with pytest.raises(ValueError, match=f"X must hold numbers .*; got rows of {RAGGED}"):
            TemperatureScaling(network).fit(ragged, y)
    with pytest.raises(ValueError, match=f"X must hold inputs of one size; got inputs of {RAGGED}"):
        TemperatureScaling(network).fit(DataLoader(pairs, batch_size=3))
    with pytest.raises(
        ValueError, match=r"'pixels' of X .* shapes \(2,\), \(3,\)\. Pad them, .*padding=True, or have a"
    ):
        TemperatureScaling(Named()).fit({"pixels": [[1, 2], [1, 2, 3]] * 60}, y)
    with pytest.raises(TypeError, match=r"got a nested tensor: pass X\.to_padded_tensor\(0\.0\)$"):
        TemperatureScaling(network).fit(torch.nested.nested_tensor(sequences, layout=torch.jagged), y)

    def padded(items):
        inputs, labels = zip(*items, strict=True)
        return nn.utils.rnn.pad_sequence(inputs, batch_first=True), torch.tensor(labels)

    loader = DataLoader(pairs, batch_size=3, collate_fn=padded)
    pooled = Named()
    pooled.network = nn.Sequential(nn.Linear(6, 4), Mean())
    assert TemperatureScaling(pooled).fit(loader).temperature_ > 0
    with pytest.raises(ValueError, match="crop or pad them, in the collate_fn to one size; or clamp the features, pe"):
        NeuralClampingCalibrator(pooled, perturbation="channel").fit(loader)


class Mean(nn.Module):
    """Over a sequence."""

    def forward(self, x):
        return 20 * x.mean(1)


class Pooled(nn.Module):
    """Ends in a 1 x 1 convolution and pooling, to so many pixels a side."""

    def __init__(self, side=1):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(side))
        self.layers[2].weight.data.mul_(20)

    def forward(self, x):
        return self.layers(x)


@pytest.mark.parametrize("kind", CALIBRATORS)
def test_logits_with_axes_of_one(kind):
    X = problem()[1]
    logits = bare_logits(Pooled(), X)
    assert logits.shape == (N_SAMPLES, 4, 1, 1)
    y = labels_of(logits[:, :, 0, 0])
    flat = nn.Sequential(Pooled(), nn.Flatten())
    options = {"random_state": 0} if kind is NeuralClampingCalibrator else {}
    found, expected = (kind(network, **options).fit(X, y) for network in (Pooled(), flat))
    np.testing.assert_array_equal(found.predict_proba(X), expected.predict_proba(X))
    np.testing.assert_array_equal(found.transform_logits(logits), found.transform_logits(logits[:, :, 0, 0]))
    given = {"estimator": nn.Identity(), **options} if kind is NeuralClampingCalibrator else {}
    bare, expected = (kind(**given).fit(each, y) for each in (logits, logits[:, :, 0, 0]))
    np.testing.assert_array_equal(bare.predict_proba(logits), expected.predict_proba(logits[:, :, 0, 0]))
    with pytest.raises(ValueError, match=r"y must have a class at each place of the logits, .*; got shape \(120,\)"):
        kind(Pooled(2)).fit(X, y)


class Second(Named):
    """Takes as its first input one that it can do without."""

    def forward(self, mask=None, pixels=None):
        return self.network(pixels if mask is None else pixels * mask)


@pytest.mark.parametrize("network", [Named(), Second()], ids=["first", "second"])
def test_the_only_entry_is_perturbed(network, tmp_path):
    _, X, y = table()
    options = {"perturbation": "full", "validation_fraction": None, "random_state": 0}
    expected = NeuralClampingCalibrator(network, input_key="pixels", **options).fit({"pixels": X}, y)
    pairs = [({"pixels": x}, label) for x, label in zip(X, y.tolist(), strict=True)]
    for given in (({"pixels": X}, y), ({"pixels": X, "labels": y},), (DataLoader(pairs, batch_size=40),)):
        found = NeuralClampingCalibrator(network, **options).fit(*given)
        assert found.accepted_
        for new in ({"pixels": X}, X):
            # The loader's batches are others, which rounds float32 sums otherwise.
            np.testing.assert_allclose(found.predict_proba(new), expected.predict_proba({"pixels": X}), rtol=1e-5)
    inputs = torch.as_tensor(X)
    torch.testing.assert_close(found.module_.eval()(pixels=inputs), expected.module_.eval()(pixels=inputs))
    pytest.importorskip("safetensors")
    found.save(tmp_path / "saved")
    loaded = skclamp.load(tmp_path / "saved", network)
    torch.testing.assert_close(loaded.module_.eval()(pixels=inputs), expected.module_.eval()(pixels=inputs))
    with pytest.raises(
        ValueError, match="input_key must name the entry of X that is perturbed, one of 'pixels', 'mask'"
    ):
        NeuralClampingCalibrator(network).fit({"pixels": X, "mask": X}, y)


NAMES = np.array(["bird", "cat", "dog", "ant"])


@pytest.mark.parametrize("kind", [TemperatureScaling, NeuralClampingCalibrator])
def test_strings_that_scikit_learn_numbers_before_it_fits(kind):
    network, X, y = table()
    classifier = LogisticRegression().fit(X, NAMES[y])
    why = r"scikit-learn's cross_val_predict\(method='predict_proba'\) numbers labels in sorted order before it fits"
    for estimator, classes in ((network, NAMES), (classifier, None)):
        made = kind(estimator, classes=classes)
        with pytest.raises(ValueError, match=rf"{why}.*: pass the columns' numbers as y, and classes=range\(4\)$"):
            cross_val_predict(made, X, NAMES[y], method="predict_proba", cv=2)
        # The names are fine where it doesn't.
        assert set(cross_val_predict(made, X, NAMES[y], cv=2)) <= set(NAMES)
        columns = y if classes is not None else np.searchsorted(classifier.classes_, NAMES[y])
        proba = cross_val_predict(made.set_params(classes=range(4)), X, columns, method="predict_proba", cv=2)
        for train, test in StratifiedKFold(2).split(X, columns):
            fold = kind(estimator).fit(X[train], y[train] if estimator is network else NAMES[y[train]])
            np.testing.assert_array_equal(proba[test], fold.predict_proba(X[test]))


# Labels, and columns of text


SCENES = np.random.default_rng(0).normal(size=(12, 3, 8, 8))
MASKS = (SCENES + np.random.default_rng(1).gumbel(size=SCENES.shape)).argmax(1)
SOFT = r"Soft labels aren't taken: give the likeliest class; or each sample once for each class, with .* sample_weight$"


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (MASKS[:, None], r"got places \(1, 8, 8\): give y\[:, 0\]$"),
        (MASKS[..., None], r"got places \(8, 8, 1\): give y\[\.\.\., 0\]$"),
        (np.eye(3, dtype=int)[MASKS], r"got places \(8, 8, 3\): give y.argmax\(-1\) of one-hot ones$"),
        (np.where(MASKS == 2, -1, MASKS), "got -1, by which many masks say .* give ignore_index=-1; if it is a class"),
        (np.where(SCENES[:, 0] > 1, -1.0, MASKS), "got -1, by which many masks say .* give ignore_index=-1"),
    ],
)
def test_masks_that_calibrators_do_not_take(y, message):
    with pytest.raises(ValueError, match=message):
        TemperatureScaling().fit(SCENES, y)


def test_labels_that_are_no_class_are_named():
    _, X, y = table()
    logits = np.random.default_rng(0).normal(size=(len(y), 4))
    y = np.arange(len(y)) % 4
    for missing in ([None, *y[1:].tolist()], [None, *np.array(list("abcd"))[y[1:]]]):
        with pytest.raises(ValueError, match="a label is missing; got None for sample 0$"):
            TemperatureScaling().fit(logits, missing)
    soft = softmax(logits)
    for given, value in ((soft, soft[0, 0]), (0.9 * np.eye(4)[y] + 0.025, 0.925)):
        with pytest.raises(ValueError, match=f"Got {value:.4g} in it. {SOFT}"):
            TemperatureScaling().fit(logits, given)
    with pytest.raises(ValueError, match=f"real values such as {soft[0, 0]}. {SOFT}"):
        TemperatureScaling().fit(logits[:, :2], soft[:, 0])
    with pytest.raises(ValueError, match="4 columns for 5 distinct labels .* Where -1 stands for no label, leave"):
        TemperatureScaling().fit(logits, np.where(np.arange(len(y)) < 9, -1, y))


@pytest.mark.parametrize("unknown", [slice(None), slice(3)], ids=["all", "some"])
def test_a_score_of_labels_that_stand_for_none(unknown):
    network, X, y = table()
    calibrator = TemperatureScaling(network).fit(X, y)
    hidden = y.copy()
    hidden[unknown] = -100
    brought = TensorDataset(torch.from_numpy(X), torch.from_numpy(hidden))
    for test in ((X, hidden), (X, hidden.tolist()), (brought,)):
        with pytest.raises(ValueError, match="y must have a class for each sample; got ignore_index=-100.* leave"):
            calibrator.score(*test)
    brought = TensorDataset(torch.from_numpy(X), torch.full((len(y),), -100))
    assert calibrator.score(brought, y) == calibrator.score(X, y)


def test_a_column_of_text_is_named():
    frame = pytest.importorskip("pandas").DataFrame({"age": np.arange(40.0), "name": ["some one"] * 40})
    for data, where in ((frame, "'name'"), (frame.to_numpy(), "1")):
        with pytest.raises(
            TypeError, match=f"^X must be numeric and real; got .*, such as 'some one' in column {where}$"
        ):
            TemperatureScaling(nn.Linear(2, 4)).fit(data, np.arange(40) % 4)
    items = [({"ids": torch.arange(3), "text": "some one"}, k % 4) for k in range(40)]
    with pytest.raises(TypeError, match="^entry 'text' of X .* type str, 'some one'. Give numbers, .* leave it out$"):
        TemperatureScaling(Named()).fit(DataLoader(items))


def test_removed_names_say_what_serves_in_their_place():
    with pytest.raises(ImportError, match="NeuralClampingCalibratorCV was removed .*gamma='auto'.* GridSearchCV"):
        from skclamp import NeuralClampingCalibratorCV  # noqa: F401
    with pytest.raises(AttributeError, match="module 'skclamp' has no attribute 'Neural'"):
        skclamp.Neural  # noqa: B018
    assert not set(skclamp.__all__) & set(skclamp._REMOVED)
