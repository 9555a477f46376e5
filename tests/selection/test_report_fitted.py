"""Calibrators that come fitted are compared as they are."""

import copy

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, labels_of, perceptron, vectors
from sklearn.linear_model import LogisticRegression

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
    lines = {line.split()[0]: line for line in str(comparison).splitlines() if line.strip()}
    assert "before" in lines["mine"]
    assert "before" not in lines["new"]
    assert "before" in comparison._repr_html_()
    comparison.to_html(tmp_path / "report.html")
    assert '"fit_time":null' in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert np.isnan(comparison.to_frame().loc["mine", "fit_time"])


@pytest.mark.parametrize(("make", "response"), [(VectorScaling, "probabilities"), (NeuralClampingCalibrator, "auto")])
def test_one_that_was_fitted_to_logits_gets_those_of_the_network(make, response):
    old, new = bare_logits(NETWORK, X_OLD), bare_logits(NETWORK, X_TEST)
    if response == "probabilities":
        old, new = (torch.from_numpy(each).double().softmax(1).numpy() for each in (old, new))
    fitted = make(response=response).fit(old, Y_OLD)
    expected = -fitted.predict_log_proba(new)[np.arange(300), Y[600:]].mean()
    assert compare([fitted])[make.__name__].nll == pytest.approx(expected, rel=1e-5)


def test_around_a_classifier_that_was_fitted_or_cross_fitted():
    whole = TemperatureScaling(LogisticRegression(), cv=3).fit(X_OLD, Y_OLD)
    comparison = compare([whole, NeuralClampingCalibrator(whole.estimator_).fit(X_OLD, Y_OLD)], whole.estimator_)
    expected = -whole.predict_log_proba(X_TEST)[np.arange(300), Y[600:]].mean()
    assert comparison["TemperatureScaling"].nll == pytest.approx(expected, rel=1e-9)


def test_around_another_network_or_of_other_classes_it_is_refused():
    fitted = TemperatureScaling(perceptron(1)).fit(X_OLD, Y_OLD)
    with pytest.raises(
        ValueError, match="must be so around the estimator that is compared, or to logits; got .*TemperatureScaling"
    ):
        compare([fitted])
    with pytest.raises(ValueError, match="must be so around the estimator that is compared"):
        compare([fitted], None, [bare_logits(NETWORK, part) if part.ndim == 2 else part for part in HALVES])
    named = VectorScaling(NETWORK).fit(X_OLD, np.array(list("abcd"))[Y_OLD])
    with pytest.raises(ValueError, match=r"must know the classes \[0, 1, 2, 3\], in this order; got \['a', 'b'"):
        compare([named])
    with pytest.raises(ValueError, match="calibrators must have estimator=None"):
        compare([TemperatureScaling(NETWORK)])
