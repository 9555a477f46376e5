"""What the judge decides, in numbers: of losses that are given, and of what folds of a small problem hold out."""

import numpy as np
import pytest
import torch
from _problems import linear, pose
from _small_networks import bare_logits, labels_of, nll, smoothed_temperature, vectors
from scipy import stats
from sklearn.model_selection import KFold
from torch import nn

from skclamp import TemperatureScaling
from skclamp._judging.out_of_fold import LEVEL, Evidence, HeldOut
from skclamp._judging.out_of_fold import decide as decision_of
from skclamp._judging.paired import student_below_zero
from skclamp._judging.verdict import Objection, Reason
from skclamp.clamping._search import hold_out_all, parts_of_folds
from skclamp.clamping._state import State
from skclamp.perturbations import ChannelPerturbation

NETWORK = nn.Sequential(linear(6))
MADE = HeldOut(np.zeros(0), 1.0, name="channel", moved=True)


def evidence_of(*losses, weight=None, n_folds=2):
    """Evidence of candidates' losses beside a baseline's of 0."""
    losses = np.array(losses)
    n = losses.shape[1]
    weight = np.ones(n) if weight is None else weight
    folds, made = np.split(np.arange(n), n_folds), [[MADE] * len(losses)] * n_folds
    return Evidence(np.zeros(n), losses, weight, folds, [0.0] * n_folds, made)


def decide(evidence, candidate):
    return decision_of(evidence, candidate).verdict


# Student's test


def test_student_is_scipys():
    differences = np.random.default_rng(0).normal(-0.1, 1.0, 200)
    mean, error, p_value = student_below_zero(differences, np.ones(200))
    expected = stats.ttest_1samp(differences, 0, alternative="less")
    assert mean == pytest.approx(differences.mean())
    assert error == pytest.approx(stats.sem(differences))
    assert p_value == pytest.approx(expected.pvalue)


def test_samples_without_weight_are_not_there():
    differences = np.random.default_rng(0).normal(-0.1, 1.0, 200)
    weight = np.r_[np.ones(150), np.zeros(50)]
    assert student_below_zero(differences, weight) == pytest.approx(student_below_zero(differences[:150], np.ones(150)))


def test_uneven_weights_are_worth_fewer_samples():
    differences = np.random.default_rng(0).normal(-0.1, 1.0, 400)
    uneven = np.where(np.arange(400) % 10 == 0, 50.0, 1.0)
    assert student_below_zero(differences, uneven)[1] > 1.5 * student_below_zero(differences, np.ones(400))[1]


@pytest.mark.parametrize("differences", [np.zeros(50), np.full(50, -0.3), np.array([-1.0])])
def test_differences_that_do_not_vary_prove_nothing(differences):
    mean, error, p_value = student_below_zero(differences, np.ones(len(differences)))
    assert mean == pytest.approx(differences.mean())
    assert (error, p_value) == (0.0, 1.0)
    assert student_below_zero(np.array([-1.0, 2.0, 3.0]), np.array([1.0, 0.0, 0.0]))[2] == 1.0


# Decisions


def test_every_competitor_raises_the_bar():
    rng = np.random.default_rng(0)
    winner, others = rng.normal(-0.3, 1.0, 100), rng.normal(0.5, 1.0, (9, 100))
    alone, among = decide(evidence_of(winner), 0), decide(evidence_of(winner, *others), 0)
    assert evidence_of(winner, *others).best() == 0
    assert among.p_value == pytest.approx(10 * alone.p_value)
    assert (among.difference, among.standard_error) == (alone.difference, alone.standard_error)
    assert alone.accepted
    assert alone.p_value < LEVEL < among.p_value
    assert not among.accepted


def test_the_likelihood_ratio_by_hand():
    losses = np.random.default_rng(0).normal(-0.1, 1.0, 60)
    expected = np.log(np.mean([np.exp(-losses[:30].sum()), np.exp(-losses[30:].sum())]))
    for weight in (None, np.full(60, 3.0)):
        assert evidence_of(losses, weight=weight).log_likelihood_ratio(0) == pytest.approx(expected)
    assert decide(evidence_of(np.full(60, 1e4)), 0).p_value == 1


def test_a_group_counts_as_one_sample():
    """By Student's test and the likelihood ratio: samples that are repeated prove what they prove once."""
    losses, copies = np.random.default_rng(0).normal(-0.1, 1.0, 120), np.repeat(np.arange(120), 3)
    once, repeated = evidence_of(losses), evidence_of(losses[copies])
    repeated.groups = copies
    assert repeated.log_likelihood_ratio(0) == pytest.approx(once.log_likelihood_ratio(0))
    decisions = decide(repeated, 0), decide(once, 0)
    for name in ("standard_error", "p_value", "detectable_gain"):
        first, second = (getattr(decision, name) for decision in decisions)
        assert first == pytest.approx(second) != 0


@pytest.mark.parametrize("offset", [0.3, *(pytest.param(offset, marks=pytest.mark.slow) for offset in (0.05, 1.0))])
def test_the_likelihood_ratio_holds_its_level_for_any_fixed_perturbation(offset):
    """Confident logits, few samples, and temperatures fitted elsewhere: what a mere plug-in of T gets wrong."""
    accepted = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        margin = rng.normal(12, 3, 100) / 3
        z = torch.as_tensor(np.stack([margin, np.zeros(100)], 1))
        y = torch.as_tensor((rng.random(100) > 1 / (1 + np.exp(-margin))).astype(int))
        halves = np.split(np.arange(100), 2)
        evidence = examined(pose(nn.Identity(), z, y), [halves, halves[::-1]], [moved_by(offset, 0.0)])
        accepted.append(evidence.log_likelihood_ratio(0) > -np.log(LEVEL))
    assert sum(accepted) <= stats.binom.isf(1e-3, 300, LEVEL)


def cross_fitted_noise(rng, n=100, n_features=20, step=1e-3):
    """Held-out differences of a small step along each fold's mean score, where scores are noise."""
    scores = rng.normal(size=(2, n, n_features))
    steps = -step * scores.mean(1)
    return np.concatenate([scores[1] @ steps[0], scores[0] @ steps[1]])


def test_steps_of_almost_nothing_are_not_taken_for_proof():
    """Folds that agree by chance do so twice, which Student's test, for independent samples, doesn't know."""
    rng = np.random.default_rng(0)
    evidence = [evidence_of(cross_fitted_noise(rng)) for _ in range(500)]
    student = [student_below_zero(one.losses[0], one.weight)[2] < LEVEL for one in evidence]
    assert np.mean(student) > 2 * LEVEL
    assert not any(decide(one, 0).accepted for one in evidence)


@pytest.mark.parametrize(("n_folds", "may_lose"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 1), (6, 2), (10, 3)])
def test_one_fold_in_three_may_lose(n_folds, may_lose):
    gains = np.random.default_rng(0).normal(-1.0, 1.0, 3600).reshape(n_folds, -1)
    for n_lost in (may_lose, may_lose + 1):
        losses = gains.copy()
        losses[:n_lost] += 0.01 - losses[:n_lost].mean(1, keepdims=True)
        decision = decision_of(evidence_of(losses.ravel(), n_folds=n_folds), 0)
        assert decision.n_gains == n_folds - n_lost
        lost = [str(why) for why in decision.objections if why.reason.name == "LOST_FOLDS"]
        fell = f"it fell in {n_folds - n_lost} of {n_folds} folds, needs {n_folds - may_lose}"
        assert lost == [fell] * (n_lost > may_lose)


def test_the_best_has_the_least_mean_over_folds():
    losses = np.random.default_rng(0).normal(size=(5, 60))
    weight = np.random.default_rng(1).random(60)
    evidence = evidence_of(*losses, weight=weight)
    by_hand = np.array([[np.average(row[part], weights=weight[part]) for part in evidence.folds] for row in losses])
    np.testing.assert_allclose(evidence.by_fold(evidence.losses), by_hand)
    assert evidence.best() == by_hand.mean(1).argmin()


@pytest.mark.parametrize(("n_folds", "spread"), [(2, 0.05), (2, 1.0), (5, 1.0)])
def test_half_of_such_samples_show_the_detectable_gain(n_folds, spread):
    """Where Student's test asks for most, and where universal inference does."""
    n_sets = 200
    noise = spread * np.random.default_rng(0).normal(size=(n_sets, 1000))
    decisions = [decide(evidence_of(differences, n_folds=n_folds), 0) for differences in noise[:20]]
    gain = np.mean([decision.detectable_gain for decision in decisions])
    kept = sum(decide(evidence_of(differences - gain, n_folds=n_folds), 0).accepted for differences in noise)
    assert stats.binomtest(kept, n_sets, 0.5).pvalue > 1e-3, kept


@pytest.mark.parametrize("why", Reason)
def test_every_reason_has_words(why):
    words = str(Objection(why, 1, 2, 3))
    assert words
    assert "{" not in words


# What folds hold out


def moved_by(*offset):
    """A perturbation that nothing was fitted to."""
    perturbation = ChannelPerturbation((len(offset),))
    with torch.no_grad():
        perturbation.offset += torch.tensor(offset)
    return State(perturbation, [torch.zeros(len(offset))], 1.0)


def tabular(n_samples):
    x = vectors(n_samples, 6)
    return x, labels_of(bare_logits(NETWORK, x))


def examined(problem, splits, states):
    """Evidence of states that are the same in each fold."""
    judged = [hold_out_all(train, held_out, states) for train, held_out in parts_of_folds(problem, splits)]
    return Evidence.from_folds(problem, splits, judged)


def test_cross_examination_by_hand():
    x, y = tabular(90)
    problem = pose(NETWORK, x, y)
    splits = list(KFold(3, shuffle=True, random_state=0).split(x))
    evidence = examined(problem, splits, [moved_by(*[0.0] * 6), moved_by(*[0.4] * 6)])
    for train, rows in splits:
        for offset, found in ((0.0, evidence.baseline), (0.0, evidence.losses[0]), (0.4, evidence.losses[1])):
            scores = bare_logits(NETWORK, x + np.float32(offset))
            if offset:
                temperature = smoothed_temperature(scores[train], y[train])
            else:
                temperature = TemperatureScaling().fit(scores[train], y[train]).temperature_
            expected = [nll(scores[[row]] / temperature, y[[row]]) for row in rows]
            np.testing.assert_allclose(found[rows], expected, rtol=1e-4, atol=1e-5)


def test_an_unmoved_perturbation_ties_with_temperature_scaling():
    x, y = tabular(60)
    splits = [(np.arange(30, 60), np.arange(30)), (np.arange(30), np.arange(30, 60))]
    states = [State(nn.Sequential(), [], 1.0), moved_by(*[0.0] * 6), moved_by(*[0.1] * 6)]
    evidence = examined(pose(NETWORK, x, y), splits, states)
    np.testing.assert_array_equal(evidence.losses[0], evidence.baseline)
    np.testing.assert_array_equal(evidence.losses[1], evidence.baseline)
    assert np.abs(evidence.losses[2] - evidence.baseline).max() > 1e-3
