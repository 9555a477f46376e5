"""Thresholds that prove a bound on a risk: how often they are wrong, by which test, and what they say where none is."""

import numpy as np
import pytest

from skclamp._judging.risk import best_unproven, prove

LEVEL = 0.05
N_DRAWS = 150
# 1 in 1,000 draws of so many has more than this, if the level holds.
MOST = 17


def draw(rng, n, slope=1.0):
    """Scores, and losses that are as rare as the scores say, or rarer."""
    scores = rng.beta(3, 1, n)
    return scores, (rng.random(n) < slope * (1 - scores)).astype(float)


def risk_above(threshold, slope=1.0):
    """Of scores above a threshold: the mean of 1 - s under Beta(3, 1), by its moments."""
    mass, first = 1 - threshold**3, 0.75 * (1 - threshold**4)
    return slope * (1 - first / mass)


TESTS = {
    "exact binomial": lambda rng, n: {},
    "betting": lambda rng, n: {"zero_one": False},
    "betting, weights": lambda rng, n: {"weight": rng.uniform(0.2, 1.0, n)},
}


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize(("n", "target"), [(200, 0.1), (500, 0.15)])
def test_wrong_proofs_are_rare(test, n, target):
    rng, wrong, answered = np.random.default_rng(n), 0, 0
    for _ in range(N_DRAWS):
        found = prove(*draw(rng, n), target, LEVEL, **TESTS[test](rng, n))
        assert found.test == test.split(",")[0]
        if found.n_samples:
            answered += 1
            wrong += risk_above(max(0.0, found.threshold)) > target
    assert wrong <= MOST
    if n == 500:
        assert answered > N_DRAWS / 4


def test_groups_of_one_score_count_as_one():
    """Samples that come five times prove what they prove once, by the same test."""
    rng, wrong, proven = np.random.default_rng(0), 0, {}
    for _ in range(N_DRAWS):
        scores, losses = draw(rng, 300)
        copies = {"scores": np.repeat(scores, 5), "losses": np.repeat(losses, 5)}
        once = prove(scores, losses, 0.15, LEVEL)
        found = prove(**copies, target=0.15, level=LEVEL, groups=np.repeat(np.arange(300), 5))
        assert found.n_samples == once.n_samples
        assert (found.p_value, found.level, found.test) == (once.p_value, once.level, "exact binomial")
        assert found.threshold == once.threshold
        wrong += bool(found.n_samples) and risk_above(max(0.0, found.threshold)) > 0.15
        proven["as one"] = proven.get("as one", 0) + bool(found.n_samples)
        proven["alone"] = proven.get("alone", 0) + bool(prove(**copies, target=0.15, level=LEVEL).n_samples)
    assert wrong <= MOST
    assert proven["as one"] < proven["alone"]


SIZES = {
    "equal": lambda rng, wrong: np.full(len(wrong), 4),
    "unequal": lambda rng, wrong: rng.geometric(0.3, len(wrong)),
    "large where wrong": lambda rng, wrong: np.where(wrong > 0.5, 20, 1),
    "small where wrong": lambda rng, wrong: np.where(wrong > 0.2, 1, 8),
}


def draw_groups(rng, n, sizes):
    """Scores, losses and groups: those of a group have about one score and are wrong with about one probability."""
    sure = rng.beta(3, 1, n)
    wrong = np.minimum(1, (1 - sure) * rng.choice([0.2, 2.0], n))
    groups = np.repeat(np.arange(n), SIZES[sizes](rng, wrong))
    scores = np.clip(sure[groups] + 0.05 * rng.normal(size=len(groups)), 0, 1)
    return scores, (rng.random(len(groups)) < wrong[groups]).astype(float), groups


def risks_of_groups(scores, losses, groups, thresholds):
    """Mean over groups with a score above each threshold of the mean loss of their samples there."""
    found = []
    for threshold in thresholds:
        above = scores > threshold
        number = np.bincount(groups[above])
        found.append((np.bincount(groups[above], losses[above])[number > 0] / number[number > 0]).mean())
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", SIZES)
def test_groups_count_as_the_mean_of_their_answers(sizes):
    thresholds = np.linspace(0, 0.98, 99)
    truth = risks_of_groups(*draw_groups(np.random.default_rng(1), 100_000, sizes), thresholds)
    rng, wrong, proven = np.random.default_rng(2), 0, 0
    for _ in range(500):
        scores, losses, groups = draw_groups(rng, 300, sizes)
        found = prove(scores, losses, 0.2, LEVEL, groups=groups)
        assert found.test == "betting"
        if found.n_samples:
            proven += 1
            wrong += np.interp(max(0, found.threshold), thresholds, truth) > 0.2
    assert proven > 250
    assert wrong <= 0.07 * 500


def test_one_more_start_is_where_predictions_promise_most():
    """A wrong label among the surest samples stops the sequences that start there."""
    scores, losses = np.linspace(1, 0.99, 1000), np.zeros(1000)
    losses[[20, 60, 100, 200, 300]] = 1
    without = prove(scores, losses, 0.02, LEVEL)
    assert without.n_samples == 0
    found = prove(scores, losses, 0.02, LEVEL, expected=1 - scores)
    assert found.n_samples == 1000
    # Where predictions promise nothing, nothing changes.
    assert prove(scores, losses, 0.02, LEVEL, expected=np.full(1000, 0.02)) == without


@pytest.mark.slow
def test_a_level_is_kept_where_predictions_choose_a_start():
    """The risk is a bit above the target at whatever threshold, and the predictions promise less."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(500):
        losses = (rng.random(300) < 0.202).astype(float)
        wrong += prove(rng.random(300), losses, 0.2, LEVEL, expected=np.full(300, 0.1)).n_samples > 0
    # 1 in 1,000 has more, if the level holds.
    assert wrong <= 41


@pytest.mark.parametrize(
    ("losses", "n_answered"),
    [([0.0] * 200, 200), ([1.0] * 200, 0), ([0.0] * 100 + [1.0] * 100, 115), ([0.0], 0)],
    ids=["all right", "all wrong", "the surest half right", "a single one"],
)
def test_what_is_answered(losses, n_answered):
    found = prove(np.linspace(1, 0.5, len(losses)), np.array(losses), 0.2, LEVEL)
    # Of the half it is as many as have a tail of 5 %: binom.cdf(15, 115, .2).
    assert found.n_samples == n_answered
    assert (found.threshold == np.inf) == (n_answered == 0)
    assert (found.threshold == -np.inf) == (n_answered == 200)
    assert (found.p_value <= found.level) == (n_answered > 0)
    if n_answered == 0:
        assert (found.n_needed is None) == bool(losses[0])
        # The start that came nearest failed.
        assert found.p_value > found.level
        assert found.p_value == pytest.approx(1.0 if losses[0] else 0.8)


def test_equal_scores_are_answered_together():
    scores = np.repeat([0.9, 0.8, 0.7], 200)
    losses = np.concatenate([np.zeros(200), np.arange(200) % 10 == 0, np.arange(200) % 2 == 0])
    # Those of a step may differ by rounding, and a network's may be in single precision.
    scores = np.nextafter(scores, np.arange(600) % 2)
    found, single = prove(scores, losses.astype(float), 0.1, LEVEL), scores.astype(np.float32)
    assert found.n_samples == (scores > found.threshold).sum() == (single > found.threshold).sum() == 400
    assert found.threshold == pytest.approx(0.701)


def test_a_floor_is_never_crossed():
    scores = np.linspace(0, 1, 300)
    found = prove(scores, np.zeros(300), 0.1, LEVEL, floor=0.5)
    assert found.threshold == 0.5
    assert found.n_samples == (scores > 0.5).sum()
    assert prove(scores, np.zeros(300), 0.1, LEVEL, floor=2.0).n_samples == 0


def test_enough_samples_are_about_as_many_as_it_says():
    rng = np.random.default_rng(0)
    found = prove(*draw(rng, 150), 0.05, LEVEL)
    assert found.n_samples == 0
    assert 150 < found.n_needed < 10_000
    proven = [prove(*draw(rng, 3 * found.n_needed), 0.05, LEVEL).n_samples > 0 for _ in range(20)]
    assert np.mean(proven) > 0.5


def test_unproven_the_samples_themselves_decide():
    scores, losses, weight = np.linspace(1, 0, 10), np.array([0, 0, 0, 0, 1, 0, 0, 1, 1, 1.0]), np.ones(10)
    threshold = best_unproven(scores, losses, 0.2, weight)
    assert (scores > threshold).sum() == 7
    assert best_unproven(scores, np.ones(10), 0.2, weight) == np.inf
    assert best_unproven(scores, np.zeros(10), 0.2, weight) == -np.inf
