"""The score test, in numbers alone."""

import numpy as np
import pytest
from scipy import stats

from skclamp._judging.score import Score, combined_p_value

RNG = np.random.default_rng(0)
GRADIENTS, DRAWN = RNG.normal(0.1, 1.0, (2, 200, 3)) * [1.0, 100.0, 0.01]
SLOPES, DRAWN_SLOPES = RNG.normal(size=(2, 200))
WEIGHT = np.ones(200)
NONE = np.zeros(200)


def test_of_one_parameter_it_is_students():
    score = Score.of(GRADIENTS[:, :1], NONE, DRAWN[:, :1], NONE, WEIGHT)
    assert score.p_value == pytest.approx(stats.ttest_1samp(GRADIENTS[:, 0], 0).pvalue)
    assert (score.n_parameters, score.n_samples) == (1, 200)
    assert score.takes_part


def test_it_knows_no_units_and_no_coordinates():
    score = Score.of(GRADIENTS, SLOPES, DRAWN, DRAWN_SLOPES, WEIGHT)
    mix = RNG.normal(size=(3, 3)) * 7.0
    mixed = Score.of(GRADIENTS @ mix, 3 * SLOPES, DRAWN @ mix, 3 * DRAWN_SLOPES, 5 * WEIGHT)
    assert mixed.n_parameters == score.n_parameters == 3
    np.testing.assert_allclose(mixed, score, rtol=1e-6)


def test_what_a_temperature_does_is_left_out():
    redundant = np.column_stack([GRADIENTS[:, 0], 2 * SLOPES]), np.column_stack([DRAWN[:, 0], 2 * DRAWN_SLOPES])
    score = Score.of(redundant[0], SLOPES, redundant[1], DRAWN_SLOPES, WEIGHT)
    alone = Score.of(GRADIENTS[:, :1], SLOPES, DRAWN[:, :1], DRAWN_SLOPES, WEIGHT)
    assert score.n_parameters == 1
    np.testing.assert_allclose(score, alone, rtol=1e-6)
    # Of slopes with a mean it takes off what they say of the gradients.
    tied = Score.of(SLOPES[:, None] + 1 + GRADIENTS[:, :1], SLOPES + 1, DRAWN_SLOPES[:, None], DRAWN_SLOPES, WEIGHT)
    assert tied.p_value == pytest.approx(stats.ttest_1samp(GRADIENTS[:, 0], 0).pvalue, rel=0.2)


def test_groups_and_weights():
    once = Score.of(GRADIENTS, SLOPES, DRAWN, DRAWN_SLOPES, WEIGHT)
    three = [np.repeat(part, 3, axis=0) for part in (GRADIENTS, SLOPES, DRAWN, DRAWN_SLOPES, WEIGHT)]
    np.testing.assert_allclose(Score.of(*three, np.repeat(np.arange(200), 3)), once)
    assert Score.of(*three).p_value < once.p_value
    more = [np.concatenate([part, part[:50] + 9]) for part in (GRADIENTS, SLOPES, DRAWN, DRAWN_SLOPES)]
    absent = np.r_[WEIGHT, np.zeros(50)]
    np.testing.assert_allclose(Score.of(*more, absent), once)
    np.testing.assert_allclose(Score.of(*more, absent, np.arange(250)), once)
    uneven = Score.of(GRADIENTS, SLOPES, DRAWN, DRAWN_SLOPES, np.where(np.arange(200) % 10, 1.0, 50.0))
    assert uneven.n_samples < 30


def test_a_few_samples_that_tell_all_take_no_part():
    size = np.where(np.arange(200) < 10, 100.0, 1e-3)[:, None]
    score = Score.of(size * GRADIENTS, SLOPES, size * DRAWN, DRAWN_SLOPES, WEIGHT)
    assert score.n_effective < 15
    assert not score.takes_part
    assert not Score.of(NONE[:, None], NONE, NONE[:, None], NONE, WEIGHT).takes_part


def test_level():
    """Of gradients without a mean, small p values are as rare as they say."""
    p_values = []
    for _ in range(400):
        own, drawn = RNG.normal(size=(2, 100, 6))
        p_values.append(Score.of(own[:, :5], own[:, 5], drawn[:, :5], drawn[:, 5], WEIGHT[:100]).p_value)
    assert 0.02 < np.mean(np.less(p_values, 0.05)) < 0.08


def score_of_few(mean, n_draws, n_samples=20):
    own = RNG.normal(mean, 1.0, (n_samples, 6))
    drawn = RNG.normal(size=(n_draws * n_samples, 6))
    return Score.of(own[:, :5], own[:, 5] - mean, drawn[:, :5], drawn[:, 5], np.ones(n_samples))


def test_of_few_samples_labels_drawn_often_tell_the_variance():
    of_nothing = [score_of_few(0.0, 20).p_value for _ in range(400)]
    assert 0.02 < np.mean(np.less(of_nothing, 0.05)) < 0.08
    often, once = ([score_of_few(0.45, n_draws) for _ in range(100)] for n_draws in (20, 1))
    assert all(score.takes_part for score in often)
    assert not any(score.takes_part for score in once)
    shares = [np.mean([score.p_value < 0.001 for score in scores]) for scores in (often, once)]
    assert shares[0] > shares[1] + 0.2


def test_samples_without_weight_are_absent_from_each_draw():
    drawn, slopes = RNG.normal(size=(400, 3)), RNG.normal(size=400)
    weight, counted = np.r_[np.ones(15), np.zeros(5)], np.arange(400) % 20 < 15
    found = Score.of(GRADIENTS[:20], SLOPES[:20], drawn, slopes, weight)
    expected = Score.of(GRADIENTS[:15], SLOPES[:15], drawn[counted], slopes[counted], weight[:15])
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("correlation", [0.0, 0.9, 1.0])
def test_level_of_several_tests_at_once(correlation):
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=(20_000, 1)), rng.normal(size=(20_000, 4))
    p_values = stats.norm.sf(np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own)
    n_false = sum(combined_p_value(each) < 0.01 for each in p_values)
    assert stats.binomtest(n_false, 20_000, 0.01).pvalue > 1e-3


def test_several_tests_say_more_than_the_surest():
    assert combined_p_value([0.004]) == pytest.approx(0.004)
    # Of tests that agree none is counted thrice, and one that sees nothing takes little away.
    assert combined_p_value([0.004, 0.004, 0.004]) == pytest.approx(0.004)
    assert combined_p_value([0.004, 1.0]) < 0.0085
