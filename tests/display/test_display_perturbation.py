"""The perturbation display: what it draws are the fitted parameters."""

from collections import OrderedDict
from functools import cache

import numpy as np
import pytest
import torch
from _digits import calibration_and_test, convolutional_network, shifted
from _families import PERTURBATIONS
from sklearn.exceptions import NotFittedError
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from skclamp import NeuralClampingCalibrator, TemperatureScaling, TorchTraining
from skclamp.datasets import load_fogged_digits
from skclamp.display import PerturbationDisplay
from skclamp.perturbations import (
    AffinePerturbation,
    ChannelPerturbation,
    CurvePerturbation,
    FilterPerturbation,
    FullPerturbation,
    GridPerturbation,
)

NAMES = ["plain", "inverted", "blurred"]
UNGUARDED = {"validation_fraction": None, "max_epochs": 3, "random_state": 0}


@cache
def _fit(**params):
    """Not to be changed."""
    (X, y), _ = calibration_and_test(0, 200)
    return NeuralClampingCalibrator(convolutional_network(), **params).fit(shifted(X, "gain and offset"), y)


def _heights(ax):
    """Ends of the bars."""
    return [bar.get_y() + bar.get_height() for bar in ax.patches]


@pytest.mark.parametrize("family", PERTURBATIONS)
def test_shows_the_fitted_parameters(family):
    """Bars of offsets and gains, pictures of all else, and the tone curve."""
    calibrator = _fit(perturbation=family, **UNGUARDED)
    display = PerturbationDisplay.from_estimator(calibrator, channel_names=NAMES)
    fitted = calibrator.perturbation_
    fitted = fitted[0] if isinstance(fitted, nn.Sequential) else fitted
    values = {name: parameter.detach().numpy() for name, parameter in fitted.named_parameters()}
    display.figure_.canvas.draw()
    assert f"T = {calibrator.temperature_:.4g}" == display.figure_.get_suptitle()
    if family == "curve":
        for k, line in enumerate(display.axes_[0].lines[:3]):
            bend, gain, offset = (values[name][k].item() for name in ("bend", "gain", "offset"))
            x = line.get_xdata()
            np.testing.assert_allclose(line.get_ydata(), bend * x**2 + gain * x + offset, atol=1e-6)
        return
    for name, expected in values.items():
        axes = [ax for ax in display.axes_ if ax.get_title().startswith(f"{family}: {name}")]
        if expected.shape[1:] == (1, 1):
            np.testing.assert_allclose(_heights(axes[0]), expected.ravel(), atol=1e-6)
            assert [label.get_text() for label in axes[0].get_xticklabels()] == NAMES
        else:
            images = [ax.images[0].get_array() for ax in axes]
            np.testing.assert_allclose(np.ravel(images), expected.ravel())


def test_shows_the_training():
    calibrator = _fit(perturbation="affine", **UNGUARDED)
    display = PerturbationDisplay.from_estimator(calibrator)
    shown = {ax.get_title(): ax for ax in display.axes_}
    line = shown["training"].lines[0]
    assert list(line.get_xdata()) == calibrator.history_[:, "epoch"]
    assert list(line.get_ydata()) == calibrator.history_[:, "train_loss"]
    assert "temperature" not in shown
    bare = PerturbationDisplay.from_estimator(calibrator, show_history=False)
    assert [ax.get_title() for ax in bare.axes_] == ["affine: gain", "affine: offset"]
    by_torch = _fit(perturbation="full", training=TorchTraining(), **UNGUARDED)
    shown = {ax.get_title(): ax for ax in PerturbationDisplay.from_estimator(by_torch).axes_}
    assert "training" in shown
    assert list(shown["temperature"].lines[0].get_ydata()) == by_torch.history_[:, "temperature"]


def test_says_that_nothing_was_kept():
    (X, y), _ = calibration_and_test(0)
    calibrator = NeuralClampingCalibrator(convolutional_network(), perturbation=None).fit(X, y)
    display = PerturbationDisplay.from_estimator(calibrator)
    assert [ax.get_title() for ax in display.axes_] == ["no perturbation kept"]
    assert len(display.axes_) == 1 and not display.axes_[0].patches


def test_of_one_channel_numbers_are_written_and_another_last_layer_is_named():
    digits = load_fogged_digits()
    calibrator = NeuralClampingCalibrator(digits.network, perturbation="color", random_state=0)
    display = PerturbationDisplay.from_estimator(calibrator.fit(digits.X_cal, digits.y_cal), show_history=False)
    shown = {ax.get_title(): [text.get_text() for text in ax.texts] for ax in display.axes_}
    fitted = calibrator.perturbation_
    assert shown == {
        "color: matrix": [f"{fitted.matrix.item():.3g}"],
        "color: offset": [f"{fitted.offset.item():.3g}"],
    }
    assert display.figure_.get_suptitle().endswith(f", and another last layer, {calibrator.last_layer_.name!r}")


CHAIN = nn.Sequential(OrderedDict(affine=AffinePerturbation((3, 8, 8)), filter=FilterPerturbation((3, 8, 8))))


@pytest.mark.parametrize(
    ("perturbation", "titles", "n_images"),
    [
        (FullPerturbation((5,)), ["full: delta"], 0),
        (FullPerturbation((2, 30)), ["full: delta"], 1),
        (FullPerturbation((1, 6, 6)), ["full: delta"], 1),
        (FullPerturbation((16, 6, 6)), ["full: delta\nmean of channels", "full: delta\ntheir spread"], 2),
        (ChannelPerturbation((40,)), ["channel: offset"], 0),
        (FilterPerturbation((2, 30)), ["filter: weight", "filter: offset"], 1),
        (GridPerturbation((2, 30)), ["grid: gain", "grid: offset"], 0),
        (nn.Linear(3, 3), ["Linear: weight", "Linear: bias"], 1),
        (
            CHAIN,
            ["affine: gain", "affine: offset", *(f"filter: weight\nchannel {k}" for k in range(3)), "filter: offset"],
            3,
        ),
    ],
)
def test_any_shape_of_input_and_any_module_has_a_picture(perturbation, titles, n_images):
    display = PerturbationDisplay(perturbation).plot()
    display.figure_.canvas.draw()
    assert [ax.get_title() for ax in display.axes_] == titles
    assert sum(len(ax.images) for ax in display.axes_) == n_images


@pytest.mark.parametrize("kind", ["array", "loader"])
def test_shows_images_before_and_after(kind):
    _, (X, y) = calibration_and_test(0)
    X = shifted(X, "gain and offset")
    calibrator = _fit(perturbation="affine", **UNGUARDED)
    pairs = TensorDataset(torch.as_tensor(X), torch.as_tensor(y))
    given = {"array": X, "loader": DataLoader(pairs, batch_size=7)}[kind]
    display = PerturbationDisplay.from_estimator(calibrator, given, show_history=False)
    assert [ax.get_title() for ax in display.axes_] == ["before, and after"] * 3 + ["affine: gain", "affine: offset"]
    with torch.no_grad():
        after = calibrator.perturbation_(torch.as_tensor(X[:3])).numpy()
    low, high = (X[:3].min(), X[:3].max()) if X[:3].min() < 0 or X[:3].max() > 1 else (0, 1)
    for k, ax in enumerate(display.axes_[:3]):
        shown = np.asarray(ax.images[0].get_array())
        for columns, image in ((slice(None, 8), X[k]), (slice(-8, None), after[k])):
            expected = ((image - low) / (high - low)).clip(0, 1).transpose(1, 2, 0)
            np.testing.assert_allclose(shown[:, columns], expected, atol=1e-6)


def test_refuses_bad_input():
    with pytest.raises(ValueError, match="X must hold images of one or three channels.*; got \\(2,\\) each"):
        network = nn.Linear(2, 2)
        with torch.no_grad():
            network.weight.copy_(torch.eye(2))
        calibrator = NeuralClampingCalibrator(network, perturbation="channel", **UNGUARDED)
        generator = torch.Generator().manual_seed(0)
        X = 3 * torch.randn(200, 2, generator=generator)
        y = torch.multinomial(network(X).softmax(1), 1, generator=generator)[:, 0]
        PerturbationDisplay.from_estimator(calibrator.fit(X, y), X)
    with pytest.raises(TypeError, match="must be a NeuralClampingCalibrator, .*; got TemperatureScaling"):
        PerturbationDisplay.from_estimator(TemperatureScaling())
    with pytest.raises(NotFittedError):
        PerturbationDisplay.from_estimator(NeuralClampingCalibrator(torch.nn.Linear(2, 2)))
    with pytest.raises(ValueError, match="channel_names must be 3, one per channel; got 2"):
        PerturbationDisplay(AffinePerturbation((3, 4, 4)), channel_names=["a", "b"]).plot()
    with pytest.raises(ValueError, match=r"input_range must be ascending; got \(1, 0\)"):
        PerturbationDisplay(CurvePerturbation((3, 4, 4)), input_range=(1, 0)).plot()
    with pytest.raises(ValueError, match="n_columns must be a whole number of at least 1; got 0"):
        PerturbationDisplay(AffinePerturbation((3, 4, 4))).plot(n_columns=0)
