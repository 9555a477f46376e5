"""The screen, in numbers alone."""

import numpy as np
import pytest

from skclamp._judging.screen import ERRORS, LEVEL, Screen, forecast
from skclamp._judging.verdict import Reason

ROOT = np.ones(300)


def rows(seed, shift=0.0, n=300, p=12):
    """Gradients of equal size, whose means are a shift."""
    gradients = np.random.default_rng(seed).normal(shift, 1.0, (n, p))
    return gradients / np.sqrt(np.square(gradients).mean(0) * p)


def screened(gradients, root=ROOT, groups=None):
    found = Screen.of(gradients, root, gradients.shape[1], 0.01, groups)
    return found._replace(forecasts={"all": forecast(gradients, root, groups)})


def test_gradients_and_their_products_say_the_same():
    gradients, root = rows(0, 0.1), np.sqrt(np.random.default_rng(1).uniform(0.5, 1.5, 300))
    groups = np.arange(300) // 2
    for given in (None, groups):
        one, other = (screened(each, root, given) for each in (gradients, gradients @ gradients.T))
        assert one.p_value == other.p_value
        assert one.detectable_gain == pytest.approx(other.detectable_gain)
        assert one.forecasts["all"] == pytest.approx(other.forecasts["all"])


def test_level():
    """Of gradients without a mean few are beyond chance, and nearly none foresee anything as well."""
    found = [screened(rows(seed)) for seed in range(200)]
    n_beyond = sum(each.p_value <= LEVEL for each in found)
    assert 1 <= n_beyond <= 22
    assert sum(each.objection is None for each in found) <= n_beyond


def test_a_mean_is_seen_and_foreseen():
    found = screened(rows(0, 0.2))
    assert found.p_value == 0.001
    foreseen, error = found.forecasts["all"]
    assert foreseen < -ERRORS * error < 0
    assert found.objection is None
    # Of half the gains that would be seen half are.
    gain = found.detectable_gain
    assert 0 < gain < 0.5 * 0.2**2 * 12


def test_gradients_that_foresee_nothing_are_refused():
    found = screened(rows(0, 0.2))
    for p_value, needed in ((0.001, 0.0), (0.02, -ERRORS * 0.01)):
        refused = found._replace(p_value=p_value, forecasts={"one": (0.002, 0.01), "other": (0.001, 0.01)})
        assert refused.objection.reason is Reason.NO_GAIN_FORESEEN
        assert refused.objection.needed == pytest.approx(needed)
        assert refused.objection.about == "other"
        assert refused._replace(forecasts={"one": (0.002, 0.01), "other": (-0.02, 0.01)}).objection is None
    assert found._replace(p_value=0.06).objection.reason is Reason.GRADIENTS_BY_CHANCE


def test_copies_of_samples_prove_no_more_than_one():
    gradients = rows(3, 0.05, n=60)
    once, five = screened(gradients, ROOT[:60]), np.repeat(gradients, 5, axis=0)
    many, grouped = screened(five), screened(five, groups=np.repeat(np.arange(60), 5))
    assert grouped.p_value == once.p_value > many.p_value
    # A weight counts as so many repetitions of one sample.
    weighed = screened(gradients * np.sqrt(5), np.full(60, np.sqrt(5)))
    assert weighed.p_value == once.p_value


def test_without_gradients_nothing_is_seen():
    found = Screen.of(np.zeros((50, 3)), np.ones(50), 3, 0.01)
    assert found.p_value == 1
    assert found.detectable_gain is None
    assert found.may_be_chance
