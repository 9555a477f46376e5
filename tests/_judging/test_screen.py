"""The screen, in numbers alone."""

import numpy as np
import pytest
from scipy.stats import binomtest

from skclamp._judging.screen import ERRORS, LEVEL, Screen, flips, forecast
from skclamp._judging.verdict import Reason

ROOT = np.ones(300)


def rows(seed, shift=0.0, n=300, p=12):
    """Gradients of equal size, whose means are a shift."""
    gradients = np.random.default_rng(seed).normal(shift, 1.0, (n, p))
    return gradients / np.sqrt(np.square(gradients).mean(0) * p)


def screened(gradients, root=ROOT, groups=None):
    squares, gain = flips(gradients, root, LEVEL, 0.01, groups)
    found = Screen.of([squares], [gain], gradients.shape[1])
    return found._replace(forecasts={"all": forecast(gradients, root, groups)})


def test_gradients_and_their_products_say_the_same():
    gradients, root = rows(0, 0.1, p=200), np.sqrt(np.random.default_rng(1).uniform(0.5, 1.5, 300))
    groups = np.arange(300) // 2
    for given in (None, groups):
        one, other = (screened(each, root, given) for each in (gradients, gradients @ gradients.T))
        assert one.p_value == other.p_value
        assert one.detectable_gain == pytest.approx(other.detectable_gain)
        assert one.forecasts["all"] == pytest.approx(other.forecasts["all"])


def test_level():
    """Of gradients without a mean so few are beyond chance."""
    found = [screened(rows(seed)) for seed in range(200)]
    n_beyond = sum(each.p_value <= LEVEL for each in found)
    assert binomtest(n_beyond, len(found), LEVEL).pvalue > 1e-3


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
    refused = found._replace(forecasts={"one": (0.002, 0.01), "other": (0.001, 0.01)})
    assert refused.objection.reason is Reason.NO_GAIN_FORESEEN
    assert refused.objection.about == "other"
    assert refused._replace(forecasts={"one": (0.002, 0.01), "other": (-0.001, 0.01)}).objection is None
    assert found._replace(p_value=LEVEL + 0.01).objection.reason is Reason.GRADIENTS_BY_CHANCE


def test_copies_of_samples_prove_no_more_than_one():
    gradients = rows(3, 0.05, n=60)
    once, five = screened(gradients, ROOT[:60]), np.repeat(gradients, 5, axis=0)
    many, grouped = screened(five), screened(five, groups=np.repeat(np.arange(60), 5))
    assert grouped.p_value == once.p_value > many.p_value
    # A weight counts as so many repetitions of one sample.
    weighed = screened(gradients * np.sqrt(5), np.full(60, np.sqrt(5)))
    assert weighed.p_value == once.p_value


def test_without_gradients_nothing_is_seen():
    found = screened(np.zeros((50, 3)), np.ones(50))
    assert found.p_value == 1
    assert found.detectable_gain is None
    assert found.may_be_chance


def test_numbers_that_say_nothing_drown_no_others():
    """A thousand without a mean, beside twelve with a small one, for which a test of all at once is blind."""
    n_together, n_apart, n_none = 0, 0, 0
    for seed in range(20):
        few, many, none = rows(seed, 0.1), rows(1000 + seed, p=1000), rows(2000 + seed)
        together = np.hstack([few * np.sqrt(12), many * np.sqrt(1000)]) / np.sqrt(1012)
        n_together += not screened(together @ together.T).may_be_chance
        squares = [flips(each, ROOT, LEVEL, 0.01)[0] for each in (few, none, many @ many.T)]
        n_apart += not Screen.of([squares[0], squares[2]], [None], 1012).may_be_chance
        n_none += not Screen.of(squares[1:], [None], 1012).may_be_chance
    assert max(n_together, n_none) <= 10
    assert n_apart >= 18


def test_a_direction_in_which_gradients_vary_much_hides_no_other():
    """Eleven parameters that nearly are one, and a twelfth with a small mean."""
    n_seen = 0
    for seed in range(20):
        gradients = np.random.default_rng(seed).normal(size=(300, 12))
        gradients[:, :11] = gradients[:, :1] + 0.1 * gradients[:, :11]
        gradients[:, 11] += 0.2
        n_seen += not screened(gradients / np.sqrt(np.square(gradients).mean(0) * 12)).may_be_chance
    assert n_seen >= 15
