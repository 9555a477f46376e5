"""What is said of options: slips, steps that are too long, and what has no effect."""

import re
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from torch import nn

from skclamp import (
    CalibratorSelector,
    HistogramBinning,
    NeuralClampingCalibrator,
    PriorShiftCorrection,
    TemperatureScaling,
    TorchTraining,
    VectorScaling,
    compare_calibrators,
)
from skclamp.exceptions import CalibrationSetWarning, NotConvergedWarning, UnusedParameterWarning
from skclamp.metrics import brier_score
from tests._mistakes import N_SAMPLES, labels, problem, table, warned
from tests._small_networks import bare_logits, perceptron


def scoring_of(name):
    return CalibratorSelector(scoring=name)


SLIPS = [
    (NeuralClampingCalibrator(perceptron(), perturbation="chanel"), "channel"),
    (NeuralClampingCalibrator(perceptron(), perturbation="full", training=TorchTraining(optimizer="Adam")), "adam"),
    (NeuralClampingCalibrator(perceptron(), gamma="autp"), "auto"),
    (NeuralClampingCalibrator(perceptron(), perturbation="full", training=TorchTraining(init="zero")), "zeros"),
    (TemperatureScaling(perceptron(), response="proba"), "probabilities"),
    (HistogramBinning(strategy="Uniform"), "uniform"),
    (scoring_of("log_loss"), "neg_log_loss"),
]


@pytest.mark.parametrize(("calibrator", "meant"), SLIPS, ids=lambda value: value if isinstance(value, str) else "")
def test_slips_in_options(calibrator, meant):
    _, X, y = table()
    with pytest.raises(ValueError, match=f"Did you mean '{meant}'"):
        calibrator.fit(X, y)


@pytest.mark.parametrize(
    ("metric", "advice"),
    [
        (partial(brier_score, scale_by_half=True), "skclamp.metrics.make_calibration_scorer(brier_score, ...)"),
        (log_loss, "sklearn.metrics.make_scorer(log_loss, ...)"),
    ],
)
def test_a_metric_is_no_scorer(metric, advice):
    network, X, y = table()
    with pytest.raises(TypeError, match=re.escape(f", a metric: use {advice}")):
        CalibratorSelector(network, scoring=metric).fit(X, y)


@pytest.mark.parametrize(
    ("lr", "optimizer", "validation_fraction"),
    [
        (1e8, "adam", 0.5),
        (1e8, "sgd", None),
        (1e30, torch.optim.LBFGS, 0.5),
        (1e30, torch.optim.RMSprop, None),
        (1e38, "sgd", 0.5),
        (1e38, "adam", None),
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


@pytest.mark.parametrize("kind", [TemperatureScaling, NeuralClampingCalibrator])
def test_parameters_without_effect(kind):
    network, X, y = table()
    unused = TemperatureScaling(network, cv=5)
    assert warned(UnusedParameterWarning, lambda: unused.fit(X, y)).startswith("cv has no effect: ")
    correction = PriorShiftCorrection(kind(network), cv=5)
    assert warned(UnusedParameterWarning, lambda: correction.fit(X, y)).startswith("cv has no effect: ")
    logits = bare_logits(network, X)
    of_logits = (None, logits) if kind is TemperatureScaling else (nn.Identity(), logits)
    for estimator, inputs in ((network, X), of_logits, (LogisticRegression().fit(X, y), X)):
        scaled = kind(estimator, integer_scale=1 / 255)
        said = warned(UnusedParameterWarning, lambda s=scaled, i=inputs: s.fit(i, y))
        assert said.startswith("integer_scale has no effect: ")
    parts = X[:60], y[:60], X[60:], y[60:]
    few = {"calibrators": [TemperatureScaling()], "n_resamples": 2, "n_draws": 1}
    said = warned(UnusedParameterWarning, lambda: compare_calibrators(network, *parts, cv=3, **few))
    assert said.startswith("cv has no effect: ")


@pytest.mark.parametrize("kind", [TemperatureScaling, NeuralClampingCalibrator])
def test_floats_after_integers(kind):
    network, X, _ = problem()
    pixels = np.uint8((X - X.min()) / np.ptp(X) * 255)
    calibrator = kind(network, integer_scale=1 / 255).fit(pixels, labels(network, np.float32(pixels / 255)))
    said = warned(CalibrationSetWarning, lambda: calibrator.predict_proba(np.float32(pixels)))
    assert said.startswith("X holds from 17 to 255, on another scale than in fit: ")
    assert said.endswith("Scale and normalise them as those; integer_scale goes for integers")
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
        "perturbation='affine' is left out, and temperature scaling it is: 60 independent samples are fewer than"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(X, y)
        NeuralClampingCalibrator(network).fit(X[:60], y[:60])
