"""Calibrators that come fitted are compared as they are."""

import copy

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, labels_of, perceptron, softmax, vectors
from sklearn.base import clone
from torch import nn

from skclamp import (
    NeuralClampingCalibrator,
    PriorShiftCorrection,
    TemperatureScaling,
    VectorScaling,
    compare_calibrators,
)

NETWORK = perceptron()
X = vectors(900)
Y = labels_of(bare_logits(NETWORK, X))
X_OLD, Y_OLD, HALVES = X[:300], Y[:300], (X[300:600], Y[300:600], X[600:], Y[600:])
X_TEST = X[600:]
FEW = {"n_resamples": 10, "n_draws": 10}


def compare(calibrators, estimator=NETWORK, halves=HALVES):
    return compare_calibrators(estimator, *halves, calibrators=calibrators, **FEW)


def loss_of(calibrator, halves=HALVES):
    """The NLL of what a calibrator predicts for the test set."""
    X_test, y_test = halves[2:]
    return -calibrator.predict_log_proba(X_test)[np.arange(len(y_test)), y_test].mean()


AROUND = {
    "output map": lambda: VectorScaling(NETWORK),
    "a copy's": lambda: VectorScaling(copy.deepcopy(NETWORK)),
    "clamping": lambda: NeuralClampingCalibrator(NETWORK, perturbation="channel", validation_fraction=None),
    "correction": lambda: PriorShiftCorrection(VectorScaling(NETWORK)),
    "corrected clamping": lambda: PriorShiftCorrection(NeuralClampingCalibrator(NETWORK, random_state=0)),
}


@pytest.mark.parametrize("kind", AROUND)
def test_a_fitted_calibrator_is_compared_as_it_is(kind, tmp_path):
    fitted = AROUND[kind]().fit(X_OLD, Y_OLD)
    expected = fitted.predict_log_proba(X_TEST)[np.arange(300), Y[600:]]
    comparison = compare({"mine": fitted, "new": TemperatureScaling()})
    assert comparison.calibrators["mine"] is fitted
    row = comparison["mine"]
    # The network's logits are float32.
    assert row.nll == pytest.approx(-expected.mean(), rel=1e-5)
    assert np.isnan(row.fit_time)
    assert comparison["new"].fit_time > 0
    lines = {line.split()[0]: line for line in comparison.to_string(wide=True).splitlines() if line.strip()}
    assert "nan" in lines["mine"]
    assert "nan" not in lines["new"]
    comparison.to_html(tmp_path / "report.html")
    assert '"fit_time":null' in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert np.isnan(comparison.to_frame().loc["mine", "fit_time"])


@pytest.mark.parametrize(("make", "response"), [(VectorScaling, "probabilities"), (TemperatureScaling, "auto")])
def test_one_that_was_fitted_to_logits_gets_those_of_the_network(make, response):
    old, new = bare_logits(NETWORK, X_OLD), bare_logits(NETWORK, X_TEST)
    if response == "probabilities":
        old, new = (torch.from_numpy(each).double().softmax(1).numpy() for each in (old, new))
    fitted = make(response=response).fit(old, Y_OLD)
    expected = -fitted.predict_log_proba(new)[np.arange(300), Y[600:]].mean()
    assert compare([fitted])[make.__name__].nll == pytest.approx(expected, rel=1e-5)


def logits_and_labels(samples):
    return [bare_logits(NETWORK, part) if part.ndim == 2 else part for part in samples]


def probabilities_and_labels(samples):
    return [softmax(part) if part.ndim == 2 else part for part in logits_and_labels(samples)]


# Calibrators that are estimators themselves, and what they take.
ESTIMATORS = {
    "vector scaling of logits": (VectorScaling(), logits_and_labels),
    "vector scaling of probabilities": (VectorScaling(response="probabilities"), probabilities_and_labels),
    "clamping of an identity": (NeuralClampingCalibrator(nn.Identity(), random_state=0), logits_and_labels),
    "clamping of a softmax": (
        NeuralClampingCalibrator(nn.Softmax(1), response="probabilities", random_state=0),
        logits_and_labels,
    ),
    "clamping around a network": (NeuralClampingCalibrator(NETWORK, random_state=0), list),
    "correction around a network": (PriorShiftCorrection(VectorScaling(NETWORK)), list),
}


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("kind", ESTIMATORS)
@pytest.mark.filterwarnings("ignore::skclamp.exceptions.CalibrationWarning")
def test_each_row_is_of_what_the_calibrator_predicts_around_a_fitted_calibrator(kind, copied):
    estimator, given = ESTIMATORS[kind]
    old, halves = given((X_OLD, Y_OLD)), given(HALVES)
    estimator = clone(estimator).fit(*old)
    around = copy.deepcopy(estimator) if copied else estimator
    calibrators = {
        "temperature": TemperatureScaling(),
        "vector": VectorScaling(),
        "correction": PriorShiftCorrection(),
        "temperature, fitted": TemperatureScaling(around).fit(*old),
        "correction, fitted": PriorShiftCorrection(around).fit(*old),
    }
    comparison = compare(calibrators, estimator, halves)
    for name, calibrator in {"uncalibrated": estimator, **comparison.calibrators}.items():
        assert comparison[name].nll == pytest.approx(loss_of(calibrator, halves), rel=1e-5), name


@pytest.mark.filterwarnings("ignore::skclamp.exceptions.CalibrationWarning")
def test_calibrators_around_calibrators_are_compared_with_the_network_of_the_innermost():
    inner = VectorScaling(NETWORK).fit(X_OLD, Y_OLD)
    outer = {"map": TemperatureScaling(inner), "correction of a map": PriorShiftCorrection(TemperatureScaling(inner))}
    comparison = compare({name: calibrator.fit(X_OLD, Y_OLD) for name, calibrator in outer.items()})
    for name, calibrator in comparison.calibrators.items():
        assert comparison[name].nll == pytest.approx(loss_of(calibrator), rel=1e-5), name


def test_one_around_another_network_is_compared_by_that():
    fitted = TemperatureScaling(perceptron(1)).fit(X_OLD, Y_OLD)
    assert compare([fitted])["TemperatureScaling"].nll == pytest.approx(loss_of(fitted), rel=1e-5)


def test_around_a_network_where_logits_are_compared_or_of_other_classes_it_is_refused():
    fitted = TemperatureScaling(NETWORK).fit(X_OLD, Y_OLD)
    with pytest.raises(ValueError, match="must take what X_test holds, logits; got .*TemperatureScaling"):
        compare([fitted], None, [bare_logits(NETWORK, part) if part.ndim == 2 else part for part in HALVES])
    named = VectorScaling(NETWORK).fit(X_OLD, np.array(list("abcd"))[Y_OLD])
    with pytest.raises(ValueError, match=r"must know the classes \[0, 1, 2, 3\], in this order; got \['a', 'b'"):
        compare([named])
    with pytest.raises(ValueError, match="calibrators must have estimator=None"):
        compare([TemperatureScaling(NETWORK)])
