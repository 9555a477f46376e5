"""What a user gets wrong he can mend from the message alone, and nothing of his has changed."""

import warnings

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import skclamp
from skclamp import (
    CalibratorSelector,
    HistogramBinning,
    NeuralClampingCalibrator,
    NeuralClampingCalibratorCV,
    TemperatureScaling,
    VectorScaling,
    compare_calibrators,
)
from skclamp.exceptions import (
    CalibrationSetWarning,
    ForwardError,
    NotConvergedWarning,
    UnusedParameterWarning,
)
from skclamp.metrics import brier_score, expected_calibration_error
from skclamp.modules import ClampedModule, LogitsModule, as_module
from tests._small_networks import bare_logits, images, perceptron, vectors

N_SAMPLES = 120


def of_images():
    """A network that takes images of one size only."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 4))
    with torch.no_grad():
        network[3].weight.mul_(12)
    return network


def labels(network, X):
    """Drawn from what the network says, half as sure."""
    logits = bare_logits(network, X)
    return (logits / 2 + np.random.default_rng(0).gumbel(size=logits.shape)).argmax(1)


def problem():
    network, X = of_images(), images(N_SAMPLES)
    return network, X, labels(network, X)


def table():
    network, X = perceptron(), vectors(N_SAMPLES)
    return network, X, labels(network, X)


def state_of(network):
    flags = [(part.training, [p.requires_grad for p in part.parameters()]) for part in network.modules()]
    return flags, {name: value.clone() for name, value in network.state_dict().items()}


def unchanged(network, before):
    flags, weights = state_of(network)
    return flags == before[0] and all(torch.equal(weights[name], before[1][name]) for name in weights)


def warned(category, function):
    """Messages of a class that a call gives, and no other warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.warns(category) as caught:
            function()
    assert [type(each.message) for each in caught] == [category]
    return str(caught[0].message)


ADVICE = r"Images must be \(n, channels, height, width\)"
MISSHAPEN = {
    "channels last": (
        lambda X: np.moveaxis(X, 1, -1),
        rf"a batch of shape \(64, 8, 8, 3\): .*{ADVICE}, and the last axis looks like channels: np.moveaxis\(X, -1, 1\)",
    ),
    "no channels": (lambda X: X[:, 0], rf"a batch of shape \(64, 8, 8\): .*{ADVICE}: X\[:, None\] gives grey ones"),
    "flat": (lambda X: X.reshape(len(X), -1), rf"a batch of shape \(64, 192\): .*{ADVICE}"),
    "another size": (lambda X: np.tile(X, 2), r"a batch of shape \(64, 3, 8, 16\): "),
}
SINGLE = rf"a batch of shape \(3, 8, 8\): .*{ADVICE}: .* X\[None\] makes a batch of a single image"
CALIBRATORS = [TemperatureScaling, NeuralClampingCalibrator, CalibratorSelector]


@pytest.mark.parametrize("kind", CALIBRATORS)
@pytest.mark.parametrize("mistake", MISSHAPEN)
def test_inputs_of_another_shape(kind, mistake):
    network, X, y = problem()
    spoil, message = MISSHAPEN[mistake]
    before = state_of(network)
    with pytest.raises(ForwardError, match=f"the network failed on {message}") as caught:
        kind(network).fit(spoil(X), y)
    assert type(caught.value.__cause__) is RuntimeError
    assert unchanged(network, before)


@pytest.mark.parametrize("mistake", [*MISSHAPEN, "a single image"])
def test_new_inputs_of_another_shape(mistake):
    network, X, y = problem()
    spoil, message = MISSHAPEN.get(mistake, (lambda X: X[0], SINGLE))
    calibrator = TemperatureScaling(network).fit(X, y)
    module = NeuralClampingCalibrator(network, perturbation=None).fit(X, y).module_.eval()
    before = state_of(network)
    for predict in (calibrator.predict, calibrator.predict_proba, lambda X: calibrator.score(X, y[: len(X)])):
        with pytest.raises(ForwardError, match=message):
            predict(spoil(X))
    with pytest.raises(ForwardError, match=message.replace(r"\(64,", rf"\({N_SAMPLES},")):
        module(torch.from_numpy(spoil(X)))
    with pytest.raises(ForwardError, match=message):
        compare_calibrators(network, X, y, spoil(X), y[: len(spoil(X))], calibrators=[TemperatureScaling()])
    assert unchanged(network, before)


def test_a_single_image_beside_its_label():
    network, X, y = problem()
    with pytest.raises(ValueError, match=r"X has shape \(3, 8, 8\), first axis the samples; a single one is X\[None\]"):
        TemperatureScaling(network).fit(X[0], y[:1])
    with pytest.raises(ValueError, match=r"Reshape your data.* A single sample is X\[None\]"):
        TemperatureScaling(network).fit(X, y).predict(X[0, 0, 0])


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
@pytest.mark.parametrize("kind", CALIBRATORS)
def test_what_says_enough_passes_as_it_is(kind, error):
    network, X, y = table()
    with pytest.raises(type(error)) as caught:
        kind(Failing(network, error)).fit(X, y)
    assert caught.value is error


@pytest.mark.parametrize("error", [RuntimeError("a"), ValueError("a"), IndexError("a"), AssertionError("a")], ids=repr)
@pytest.mark.parametrize("n_calls", [0, 1, 3, 5])
@pytest.mark.parametrize("options", [{}, {"optimizer": "adam", "perturbation": "full"}], ids=["natural", "adam"])
def test_a_failure_at_any_time(options, n_calls, error):
    network, X, y = table()
    calibrator = NeuralClampingCalibrator(Failing(network, error, n_calls), **options)
    before = state_of(network)
    with pytest.raises(ForwardError, match=r"the network failed on a batch of shape \(\d+, 6\): a") as caught:
        calibrator.fit(X, y)
    assert caught.value.__cause__ is error
    assert unchanged(network, before)


def test_a_head_within_a_head_tells_once():
    module = ClampedModule(LogitsModule(perceptron()))
    with pytest.raises(ForwardError) as caught:
        module(torch.zeros(2, 9))
    assert str(caught.value).count("failed") == 1


@pytest.mark.parametrize("kind", CALIBRATORS)
def test_swapped_and_dense_labels(kind):
    network, X, y = problem()
    rule = r"y must have shape \(n_samples,\), one class label a sample"
    with pytest.raises(
        ValueError, match=rf"shape \(120, 3, 8, 8\) .*{rule}\. X has shape \(120,\): X and y look swapped"
    ):
        kind(network).fit(y, X)
    with pytest.raises(ValueError, match=rf"shape \(120, 8, 8\) .*{rule}\. Segmentation and other dense labels aren't"):
        kind(network).fit(X, np.zeros((N_SAMPLES, 8, 8), int))


def test_the_order_of_train_test_split():
    network, X, y = table()
    with pytest.raises(ValueError, match="y_cal must have shape .* X_test and y_cal look swapped"):
        compare_calibrators(network, X[:60], X[60:], y[:60], y[60:])


class Named(nn.Module):
    """Takes its input by name."""

    def __init__(self):
        super().__init__()
        self.network = perceptron()

    def forward(self, pixels):
        return self.network(pixels)


def test_wrong_names_of_inputs():
    _, X, y = table()
    network = Named()
    with pytest.raises(TypeError, match="that the network takes by name, 'pixels', .*; got 'image', 'mask'"):
        TemperatureScaling(network).fit({"image": X, "mask": X}, y)
    with pytest.raises(
        ValueError, match="input_key must name the entry of X that is perturbed, one of 'pixels'; got 'x'"
    ):
        NeuralClampingCalibrator(network, input_key="x").fit({"pixels": X}, y)
    with pytest.raises(TypeError, match="input_key must be a name of an input that .* takes, 'pixels'; got 'image'"):
        NeuralClampingCalibrator(network, input_key="image").fit(X, y)
    with pytest.raises(
        TypeError, match="X must be a dict of the inputs that .*, 'input1', 'input2'; got a single input"
    ):
        TemperatureScaling(nn.Bilinear(6, 6, 4)).fit(X, y)


def test_wrong_names_in_a_hugging_face_data_set():
    datasets = pytest.importorskip("datasets")
    _, X, y = table()
    data = datasets.Dataset.from_dict({"image": X.tolist(), "label": y.tolist()})
    with pytest.raises(TypeError, match="takes by name, 'pixels', beside labels as 'labels' or 'label'; got 'image'"):
        TemperatureScaling(Named()).fit(data)


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


def test_scores_of_two_classes_for_more():
    y = np.arange(30) % 3
    rule = (
        r"must have one column per class: got 2 columns \(one dimension stands for the second of two\) for 3 distinct"
    )
    for metric in (expected_calibration_error, brier_score):
        with pytest.raises(ValueError, match=f"y_proba {rule}"):
            metric(y, np.full(30, 0.7))
    with pytest.raises(ValueError, match=f"the logits {rule}"):
        TemperatureScaling().fit(np.zeros(30), y)
    with pytest.raises(TypeError, match=r"y_proba must be dense; got a sparse csr_array: pass y_proba.toarray\(\)"):
        expected_calibration_error(y, scipy.sparse.csr_array(np.eye(3)[y]))


def test_missing_labels():
    network, X, y = table()
    with pytest.raises(ValueError, match="arrays bring no labels: pass y, one class label per sample"):
        NeuralClampingCalibrator(network).fit(X)
    with pytest.raises(ValueError, match="arrays bring no labels: pass y_test"):
        compare_calibrators(network, X, y, X, None)
    with pytest.raises(ValueError, match="the Dataset NamedArrays brings no labels. Its items must be"):
        TemperatureScaling(Named()).fit({"pixels": X})


def test_load_with_the_network_first(tmp_path):
    pytest.importorskip("safetensors")
    network, X, y = table()
    TemperatureScaling(network).fit(X, y).save(tmp_path / "saved")
    with pytest.raises(TypeError, match=r"the path comes first: load\(path, estimator\); got Sequential"):
        skclamp.load(network, tmp_path / "saved")


def scoring_of(name):
    return CalibratorSelector(scoring=name)


SLIPS = [
    (NeuralClampingCalibrator(perceptron(), perturbation="chanel"), "channel"),
    (NeuralClampingCalibrator(perceptron(), optimizer="Adam"), "adam"),
    (NeuralClampingCalibrator(perceptron(), gamma="autp"), "auto"),
    (NeuralClampingCalibrator(perceptron(), init="zero"), "zeros"),
    (NeuralClampingCalibratorCV(perceptron(), perturbations=["afine"]), "affine"),
    (TemperatureScaling(perceptron(), response="proba"), "probabilities"),
    (HistogramBinning(strategy="Uniform"), "uniform"),
    (scoring_of("log_loss"), "neg_log_loss"),
]


@pytest.mark.parametrize(("calibrator", "meant"), SLIPS, ids=lambda value: value if isinstance(value, str) else "")
def test_slips_in_options(calibrator, meant):
    _, X, y = table()
    with pytest.raises(ValueError, match=f"Did you mean '{meant}'"):
        calibrator.fit(X, y)


def test_options_come_in_a_fixed_order():
    _, X, y = table()
    families = "'auto', 'full', 'channel', 'affine', 'curve', 'color', 'filter', 'grid'"
    with pytest.raises(ValueError, match=f"a str among {{{families}}}.* Got 7 instead.$"):
        NeuralClampingCalibrator(perceptron(), perturbation=7).fit(X, y)
    with pytest.raises(ValueError, match=r"one of \['sgd', 'adam'\].*; got an instance of Adam\.$"):
        NeuralClampingCalibrator(perceptron(), optimizer=torch.optim.Adam(perceptron().parameters())).fit(X, y)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("nll", "log_likelihood"), ("neg_ece", "expected_calibration_error"), ("Brier", "brier_score")],
)
def test_our_scorers_come_first(name, meant):
    _, X, y = table()
    ours = r"a scorer of this package \(skclamp\.metrics\.neg_log_likelihood_scorer, .*\), a str of"
    with pytest.raises(ValueError, match=rf"{ours} .*Did you mean skclamp\.metrics\.neg_{meant}_scorer\?"):
        scoring_of(name).fit(X, y)


def test_slips_in_options_of_functions():
    classifier = LogisticRegression().fit(vectors(60), np.arange(60) % 3)
    with pytest.raises(ValueError, match="got 'proba'. Did you mean 'predict_proba'"):
        as_module(classifier, response_method="proba")
    with pytest.raises(ValueError, match="norm must be one of .* got 'L1'. Did you mean 'l1'"):
        expected_calibration_error([0, 1], [0.2, 0.7], norm="L1")
    with pytest.raises(ValueError, match="response must be one of .* got 'logit'. Did you mean 'logits'"):
        ClampedModule(nn.Identity(), response="logit")


@pytest.mark.parametrize("validation_fraction", [0.5, None])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", torch.optim.LBFGS, torch.optim.RMSprop])
@pytest.mark.parametrize("lr", [1e8, 1e30, 1e38])
def test_training_that_diverges(lr, optimizer, validation_fraction):
    network, X, y = table()
    options = {"perturbation": "full", "max_epochs": 2, "random_state": 0, "validation_fraction": validation_fraction}
    calibrator = NeuralClampingCalibrator(network, optimizer=optimizer, lr=lr, **options)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            calibrator.fit(X, y)
        except ValueError as error:
            said, kind = str(error), ValueError
        else:
            said, kind = str(caught[0].message), caught[0].category
    assert said.startswith("training diverged: ")
    assert "lower lr" in said
    assert "Likely causes" not in said
    assert kind in (ValueError, NotConvergedWarning)


def test_a_network_that_yields_nan_is_no_training():
    network, X, y = table()
    with torch.no_grad():
        network[2].bias[0] = torch.nan
    with pytest.raises(ValueError, match="the network must yield finite logits; got NaN or infinity for sample 0"):
        NeuralClampingCalibrator(network).fit(X, y)


@pytest.mark.parametrize("kind", [TemperatureScaling, NeuralClampingCalibrator])
def test_parameters_without_effect(kind):
    network, X, y = table()
    assert warned(UnusedParameterWarning, lambda: kind(network, cv=5).fit(X, y)).startswith("cv has no effect: ")
    for estimator in (network, None, LogisticRegression().fit(X, y)):
        said = warned(
            UnusedParameterWarning,
            lambda e=estimator: kind(e, integer_scale=1 / 255).fit(X[:, :4] if e is None else X, y),
        )
        assert said.startswith("integer_scale has no effect: ")
    parts = X[:60], y[:60], X[60:], y[60:]
    few = {"calibrators": [TemperatureScaling()], "n_resamples": 2, "n_draws": 1}
    said = warned(UnusedParameterWarning, lambda: compare_calibrators(network, *parts, cv=3, **few))
    assert said.startswith("cv has no effect: ")


def test_parameters_with_effect():
    _, X, y = table()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        TemperatureScaling(LogisticRegression(), cv=3).fit(X, y)
        NeuralClampingCalibratorCV(perceptron(), gammas=[0.0], cv=3).fit(X, y)
        TemperatureScaling(Named(), integer_scale={"pixels": 1 / 16}).fit({"pixels": np.int64(X * 16)}, y)


@pytest.mark.parametrize("kind", [TemperatureScaling, NeuralClampingCalibrator])
def test_floats_after_integers(kind):
    network, X, _ = problem()
    pixels = np.uint8((X - X.min()) / np.ptp(X) * 255)
    calibrator = kind(network, integer_scale=1 / 255).fit(pixels, labels(network, np.float32(pixels / 255)))
    said = warned(CalibrationSetWarning, lambda: calibrator.predict_proba(np.float32(pixels)))
    assert "X holds floating-point inputs from 0 to 255, which integer_scale isn't applied to" in said
    assert said.endswith("Give integers, or scale the inputs")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scaled = calibrator.predict_proba(np.float32(pixels) / 255)
    np.testing.assert_allclose(scaled, calibrator.predict_proba(pixels), atol=1e-6)


@pytest.mark.parametrize("kind", [TemperatureScaling, NeuralClampingCalibrator, VectorScaling])
def test_labels_of_one_class(kind):
    network, X, _ = table()
    names = np.array(["a", "b", "c", "d"])
    with pytest.warns(CalibrationSetWarning, match="all labels are of one class, 'b', of 4: ") as caught:
        kind(network, classes=names).fit(X, np.full(N_SAMPLES, "b"))
    assert "Likely causes" not in str(caught[0].message)


def test_a_family_that_is_asked_for_in_vain():
    network, X, y = table()
    fit = NeuralClampingCalibrator(network, perturbation="affine").fit
    said = warned(CalibrationSetWarning, lambda: fit(X[:60], y[:60]))
    assert said.startswith(
        "perturbation='affine' is left out, and temperature scaling it is: 60 samples are fewer than"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(X, y)
        NeuralClampingCalibrator(network).fit(X[:60], y[:60])


@pytest.mark.parametrize("copied", [False, True])
def test_a_comparison_on_the_calibration_set(copied):
    network, X, y = table()
    few = {"calibrators": [TemperatureScaling()], "n_resamples": 2, "n_draws": 1}
    for estimator in (network, LogisticRegression().fit(X, y)):
        test = X.copy() if copied else X
        said = warned(CalibrationSetWarning, lambda e=estimator, t=test: compare_calibrators(e, X, y, t, y, **few))
        assert said.startswith("X_test holds the samples of X_cal: ")


def test_folds_of_a_generator_are_read_once():
    _, X, y = table()
    rows = np.arange(60)
    folds = [(rows[30:], rows[:30]), (rows[:30], rows[30:])]
    calibrators = [TemperatureScaling(), NeuralClampingCalibrator(random_state=0)]
    few = {"calibrators": calibrators, "n_resamples": 2, "n_draws": 1}
    nlls = [
        [
            row.nll
            for row in compare_calibrators(LogisticRegression(), X[:60], y[:60], X[60:], y[60:], cv=cv, **few).rows
        ]
        for cv in (folds, (fold for fold in folds))
    ]
    assert nlls[0] == nlls[1]
