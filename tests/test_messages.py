"""What a user gets wrong he can mend from the message alone, and nothing of his has changed."""

import copy
import warnings

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import nn
from torch.utils.data import DataLoader

import skclamp
from skclamp import (
    CalibratorSelector,
    NeuralClampingCalibrator,
    TemperatureScaling,
    TorchTraining,
)
from skclamp.exceptions import ForwardError, NotConvergedWarning
from tests._mistakes import N_SAMPLES, Named, of_images, problem, table
from tests._small_networks import bare_logits, labels_of, snapshot

CALIBRATORS = [TemperatureScaling, NeuralClampingCalibrator, CalibratorSelector]


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


def test_clamping_in_inference_mode():
    network, X, y = problem()
    expected = TemperatureScaling(network).fit(X, y).temperature_
    with torch.inference_mode():
        made_inside, inputs = of_images(), torch.tensor(X)
        assert TemperatureScaling(network).fit(inputs, y).temperature_ == expected
        with pytest.raises(ValueError, match=r"fit must be called outside of torch\.inference_mode\(\)"):
            NeuralClampingCalibrator(network).fit(X, y)
    assert TemperatureScaling(made_inside).fit(X, y).temperature_ == expected
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        NeuralClampingCalibrator(made_inside).fit(X, y)
    of_arrays, of_tensors, of_a_copy = (
        NeuralClampingCalibrator(estimator, random_state=0).fit(samples, y)
        for estimator, samples in ((network, X), (network, inputs), (copy.deepcopy(made_inside), X))
    )
    assert of_arrays.temperature_ == of_tensors.temperature_ == of_a_copy.temperature_


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


def test_removed_names_say_what_serves_in_their_place():
    with pytest.raises(ImportError, match="NeuralClampingCalibratorCV was removed .*gamma='auto'.* GridSearchCV"):
        from skclamp import NeuralClampingCalibratorCV  # noqa: F401
    with pytest.raises(AttributeError, match="module 'skclamp' has no attribute 'Neural'"):
        skclamp.Neural  # noqa: B018
    assert not set(skclamp.__all__) & set(skclamp._REMOVED)


@pytest.mark.parametrize(
    ("lr", "optimizer", "validation_fraction"),
    [
        (1e8, "adam", 0.5),
        (1e8, "sgd", None),
        (1e30, torch.optim.LBFGS, 0.5),
        (1e30, torch.optim.RMSprop, None),
        (1e38, "sgd", 0.5),
    ],
)
def test_training_that_diverges(lr, optimizer, validation_fraction):
    network, X, y = table()
    options = {"perturbation": "full", "max_epochs": 2, "random_state": 0, "validation_fraction": validation_fraction}
    calibrator = NeuralClampingCalibrator(network, training=TorchTraining(optimizer=optimizer), lr=lr, **options)
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
