import warnings

import numpy as np
import pytest
from scipy.special import log_softmax, softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from torch import nn

from skclamp import (
    TemperatureScaling,
)
from skclamp.exceptions import CalibrationWarning, NotConvergedWarning


def draw(n_samples=2000, n_classes=5, *, temperature=2.0, scale=3.0, seed=0):
    """Logits, and labels drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=scale, size=(n_samples, n_classes))
    return logits, (logits / temperature + rng.gumbel(size=logits.shape)).argmax(1)


def test_agrees_with_scikit_learn():
    """On its own ground, a cross-fitted multiclass classifier; its own solver is less exact."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        X, y = make_classification(1500, n_informative=8, n_classes=3, random_state=0)
        theirs = CalibratedClassifierCV(LogisticRegression(C=100.0), method="temperature", ensemble=False, cv=3)
        try:
            theirs.fit(X, y)
        except ValueError:
            pytest.skip("this scikit-learn has no temperature scaling")
    ours = TemperatureScaling(LogisticRegression(C=100.0), cv=3).fit(X, y)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-3)


@pytest.mark.parametrize(
    ("bad", "T", "reason"), [(False, 0.1, "the data may be separable"), (True, 10, "the logits may say nothing of")]
)
def test_data_that_have_no_temperature_warn(bad, T, reason):
    logits, _ = draw()
    calibrator = TemperatureScaling(bounds=[0.1, 10])
    with pytest.warns(CalibrationWarning, match=f"temperature_ is at the bound {T}, .*; {reason}") as caught:
        calibrator.fit(logits, logits.argmin(1) if bad else logits.argmax(1))
    assert caught[0].filename == __file__
    assert calibrator.temperature_ == T
    assert np.isfinite(calibrator.predict_log_proba(logits)).all()


def flawless(n_samples, seed=0, T=1.0):
    """Logits of a network that is right on each of these samples, though not on all, and whose best T this is."""
    rng = np.random.default_rng(seed)
    top = np.eye(10)[rng.integers(10, size=n_samples)]
    logits = 14 * T * (top + 0.2 * rng.normal(size=top.shape))
    return logits, logits.argmax(1)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_flawless_samples_leave_the_network_nearly_as_it_is(gamma):
    """At T's lower bound one error of new samples costs a hundred thousand nats."""
    new, _ = flawless(20_000, seed=1)
    proba, uncalibrated = softmax(new, axis=1), -log_softmax(new, axis=1)
    for seed in range(20):
        calibrator = TemperatureScaling(gamma=gamma)
        with pytest.warns(NotConvergedWarning, match=r"temperature_ can't be learned from flawless samples"):
            calibrator.fit(*flawless(100, seed))
        calibrated = -calibrator.predict_log_proba(new)
        # Labels that are drawn from softmax(new), each with its probability.
        assert (proba * (calibrated - uncalibrated)).sum(1).mean() < 0.005


@pytest.mark.filterwarnings("ignore:temperature_ can't be learned:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("T", [0.01, 0.1])
def test_many_flawless_samples_overrule_the_prior(T):
    """Of logits that are far too flat."""
    calibrator = TemperatureScaling().fit(*flawless(500, T=T))
    assert 0.5 * T < calibrator.temperature_ < 2 * T


def few_errors(n_errors, seed, n_samples=100):
    """Samples of which so many are errors, and 20,000 new ones of the same network, which is 97 % right."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(30_000, 5))
    logits[np.arange(30_000), rng.integers(5, size=30_000)] += rng.choice([2.0, 12.0], p=[0.07, 0.93], size=30_000)
    y = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    right = logits[:10_000].argmax(1) == y[:10_000]
    rows = np.concatenate([np.flatnonzero(right)[: n_samples - n_errors], np.flatnonzero(~right)[:n_errors]])
    return logits[rows], y[rows], logits[10_000:], y[10_000:]


def nll(temperature, logits, y):
    return -log_softmax(logits / temperature, axis=1)[np.arange(len(y)), y].mean()


@pytest.mark.filterwarnings("ignore:temperature_ can't be learned:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_errors", range(5))
def test_few_errors_do_little_harm(n_errors):
    ratios = []
    for seed in range(20):
        X, y, *new = few_errors(n_errors, seed)
        ratios.append(nll(TemperatureScaling().fit(X, y).temperature_, *new) / nll(1.0, *new))
    assert np.mean(ratios) < 1.03
    assert max(ratios) < 1.5


@pytest.mark.filterwarnings("ignore:temperature_ can't be learned:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("n_errors", range(4))
def test_the_prior_comes_in_smoothly(n_errors, gamma):
    """As a label falls behind another class by ever more."""
    X, y, *_ = few_errors(n_errors, seed=0)
    rival = np.delete(np.arange(5), y[0])[0]

    def temperature(lag):
        X[0] = -20.0
        X[0, [y[0], rival]] = 0.0, lag
        return TemperatureScaling(gamma=gamma).fit(X, y).temperature_

    lags = np.linspace(-0.5, 0.5, 41)
    found = np.log([temperature(lag) for lag in lags])
    assert np.ptp(found) > 0.01
    assert np.abs(np.diff(found)).max() < 0.06
    assert temperature(1e-9) == pytest.approx(temperature(-1e-9), rel=1e-3)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("T", [1, 1.7, 50.0])
def test_equal_bounds_fix_the_temperature(T, gamma):
    X, y, *_ = few_errors(10, seed=0)
    calibrator = TemperatureScaling(bounds=(T, T), gamma=gamma).fit(X, y)
    assert calibrator.temperature_ == T
    np.testing.assert_allclose(calibrator.predict_log_proba(X), log_softmax(X / T, axis=1), atol=1e-12)
    TemperatureScaling(bounds=(1, 1)).fit(X, X.argmax(1))


def test_bad_bounds_cost_no_forward_pass():
    network, calls = nn.Linear(6, 4), []
    network.register_forward_hook(lambda *_: calls.append(1))
    with pytest.raises(ValueError, match="bounds"):
        TemperatureScaling(network, bounds=(2, 1)).fit(np.zeros((10, 6)), np.zeros(10, int))
    assert not calls
