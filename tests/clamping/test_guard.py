import logging
import warnings

import numpy as np
import pytest
import torch
from _problems import linear, pose
from _small_networks import bare_logits, convolutional, images, labels_of, nll, perceptron, vectors
from scipy import stats
from scipy.optimize import minimize_scalar
from sklearn.model_selection import KFold
from torch import nn

from skclamp import NeuralClampingCalibrator, TemperatureScaling
from skclamp._judging.paired import student_below_zero
from skclamp.clamping._guard import LEVEL, MIN_SAMPLES, Evidence, HeldOut, cross_examine
from skclamp.clamping._state import State
from skclamp.perturbations import ChannelPerturbation

NETWORK = nn.Sequential(linear(6))
# The same with a nonlinearity, which a step of Newton never quite meets.
CURVED = perceptron()


def tabular(n_samples, seed=0, network=NETWORK):
    x = vectors(n_samples, network[0].in_features, seed=seed)
    return x, labels_of(bare_logits(network, x), seed=seed)


def guarded(estimator=NETWORK, **settings):
    return NeuralClampingCalibrator(estimator, **{"random_state": 0, **settings})


def assert_is_temperature_scaling(calibrator, x, y, sample_weight=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = TemperatureScaling(calibrator.estimator).fit(x, y, sample_weight=sample_weight)
    assert not calibrator.accepted_
    assert calibrator.temperature_ == pytest.approx(expected.temperature_, rel=1e-12)
    np.testing.assert_array_equal(calibrator.predict_proba(x), expected.predict_proba(x))
    assert calibrator.delta_.shape == x.shape[1:]
    assert not calibrator.delta_.any()
    assert not list(calibrator.perturbation_.parameters())
    assert calibrator.n_iter_ == len(calibrator.history_) == 0


# The test of the differences


def test_student_is_scipys():
    differences = np.random.default_rng(0).normal(-0.1, 1.0, 200)
    mean, error, p_value = student_below_zero(differences, np.ones(200))
    expected = stats.ttest_1samp(differences, 0, alternative="less")
    assert mean == pytest.approx(differences.mean())
    assert error == pytest.approx(stats.sem(differences))
    assert p_value == pytest.approx(expected.pvalue)


def test_student_knows_no_units_of_weight():
    differences, weight = np.random.default_rng(0).normal(-0.1, 1.0, (2, 200))
    weight = np.abs(weight)
    assert student_below_zero(differences, weight) == pytest.approx(student_below_zero(differences, 1000 * weight))
    assert student_below_zero(differences, np.full(200, 7.0)) == pytest.approx(
        student_below_zero(differences, np.ones(200))
    )


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


def evidence_of(*losses, weight=None):
    losses = np.array(losses)
    n = losses.shape[1]
    weight = np.ones(n) if weight is None else weight
    states = [[fixed(0.1)] * len(losses)] * 2
    held_out = [[HeldOut(own, 1.0) for own in half] for half in (losses[:, : n // 2], losses[:, n // 2 :])]
    return Evidence(np.zeros(n), losses, weight, list(np.arange(n).reshape(2, -1)), states, held_out, [0.0, 0.0])


def test_every_competitor_raises_the_bar():
    rng = np.random.default_rng(0)
    winner, others = rng.normal(-0.3, 1.0, 100), rng.normal(0.5, 1.0, (9, 100))
    alone, among = evidence_of(winner).verdict(0), evidence_of(winner, *others).verdict(0)
    assert evidence_of(winner, *others).best() == 0
    assert among.p_value == pytest.approx(10 * alone.p_value)
    assert (among.difference, among.standard_error) == (alone.difference, alone.standard_error)
    assert alone.accepted
    assert alone.p_value < LEVEL < among.p_value
    assert not among.accepted


def test_the_likelihood_ratio_by_hand():
    losses = np.random.default_rng(0).normal(-0.1, 1.0, 60)
    first, second = losses[:30].sum(), losses[30:].sum()
    expected = 1 / np.mean([np.exp(-first), np.exp(-second)])
    assert evidence_of(losses).universal_p_value(0) == pytest.approx(min(1.0, expected))
    assert evidence_of(losses, weight=np.full(60, 3.0)).universal_p_value(0) == pytest.approx(min(1.0, expected))
    assert evidence_of(np.full(60, -1e4)).universal_p_value(0) == 0
    assert evidence_of(np.full(60, 1e4)).universal_p_value(0) == 1


def test_a_group_counts_as_one_sample():
    """By Student's test and the likelihood ratio: samples that are repeated prove what they prove once."""
    losses, copies = np.random.default_rng(0).normal(-0.1, 1.0, 60), np.repeat(np.arange(60), 3)
    once, repeated = evidence_of(losses), evidence_of(losses[copies])
    repeated.groups = copies
    assert repeated.universal_p_value(0) == pytest.approx(once.universal_p_value(0))
    assert repeated.verdict(0).standard_error == pytest.approx(once.verdict(0).standard_error)
    assert repeated.verdict(0).p_value == pytest.approx(once.verdict(0).p_value)
    assert repeated.verdict(0).detectable_gain == pytest.approx(once.verdict(0).detectable_gain)


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
        evidence = cross_examine(pose(torch.nn.Identity(), z, y), lambda part: [fixed(offset)], [halves, halves[::-1]])
        accepted.append(evidence.universal_p_value(0) < LEVEL)
    assert sum(accepted) <= stats.binom.isf(1e-3, 300, LEVEL)


def fixed(offset):
    """A perturbation of two logits that nothing was fitted to."""
    perturbation = ChannelPerturbation((2,))
    with torch.no_grad():
        perturbation.offset[0] = offset
    return State(perturbation, [torch.zeros(2)], 1.0)


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
    assert not any(one.verdict(0).accepted for one in evidence)


def test_p_values_end_at_one():
    assert evidence_of(*np.random.default_rng(0).normal(0.5, 1.0, (9, 100))).verdict(0).p_value == 1.0


def test_the_best_has_the_least_mean_over_folds():
    losses = np.random.default_rng(0).normal(size=(5, 60))
    weight = np.random.default_rng(1).random(60)
    evidence = evidence_of(*losses, weight=weight)
    by_hand = np.array([[np.average(row[part], weights=weight[part]) for part in evidence.folds] for row in losses])
    np.testing.assert_allclose(evidence.fold_losses(), by_hand)
    assert evidence.best() == by_hand.mean(1).argmin()


# The held-out samples


def perturb(offset):
    perturbation = ChannelPerturbation((6,))
    with torch.no_grad():
        perturbation.offset += offset
    return State(perturbation, [torch.zeros(6)], 1.0)


def smoothed_temperature(scores, y, n=None):
    """T of labels of probability 1 - 1 / (n + 2), the other classes sharing the rest."""
    n, n_classes = n or len(y), scores.shape[1]
    targets = torch.full(scores.shape, 1 / (n + 2) / (n_classes - 1), dtype=torch.float64)
    targets[np.arange(len(y)), y] = 1 - 1 / (n + 2)
    scores = torch.as_tensor(scores).double()

    def loss(log_temperature):
        return nn.functional.cross_entropy(scores / np.exp(log_temperature), targets).item()

    return np.exp(minimize_scalar(loss, bounds=(-6, 6), options={"xatol": 1e-9}).x)


def test_cross_examination_by_hand():
    x, y = tabular(90)
    problem = pose(NETWORK, x, y)
    splits = list(KFold(3, shuffle=True, random_state=0).split(x))
    evidence = cross_examine(problem, lambda part: [perturb(0.0), perturb(0.4)], splits)
    for train, rows in splits:
        for moved_by, found in ((0.0, evidence.plain), (0.0, evidence.losses[0]), (0.4, evidence.losses[1])):
            scores = bare_logits(NETWORK, x + np.float32(moved_by))
            if moved_by:
                temperature = smoothed_temperature(scores[train], y[train])
            else:
                temperature = TemperatureScaling().fit(scores[train], y[train]).temperature_
            expected = [nll(scores[[row]] / temperature, y[[row]]) for row in rows]
            np.testing.assert_allclose(found[rows], expected, rtol=1e-4, atol=1e-5)


def test_an_unmoved_perturbation_ties_with_temperature_scaling():
    x, y = tabular(60)
    splits = [(np.arange(30, 60), np.arange(30)), (np.arange(30), np.arange(30, 60))]
    states = [State(nn.Sequential(), [], 1.0), perturb(0.0), perturb(0.1)]
    evidence = cross_examine(pose(NETWORK, x, y), lambda part: states, splits)
    np.testing.assert_array_equal(evidence.losses[0], evidence.plain)
    np.testing.assert_array_equal(evidence.losses[1], evidence.plain)
    assert np.abs(evidence.losses[2] - evidence.plain).max() > 1e-3


def test_equal_perturbations_are_judged_by_one_pass():
    x, y = tabular(60)
    problem = pose(NETWORK, x, y)
    splits = [(np.arange(30, 60), np.arange(30)), (np.arange(30), np.arange(30, 60))]
    values = [0.1, 0.2, 0.1, np.nextafter(np.float32(0.1), np.float32(1))]
    passes = []
    for chosen in ([0.1], values):
        before = problem.passes.forward
        evidence = cross_examine(problem, lambda part, chosen=chosen: [perturb(v) for v in chosen], splits)
        passes.append(problem.passes.forward - before)
    assert passes[1] == 3 * passes[0]
    for row, value in zip(evidence.losses, values, strict=True):
        alone = cross_examine(problem, lambda part, value=value: [perturb(value)], splits)
        np.testing.assert_array_equal(row, alone.losses[0])


@pytest.mark.parametrize(("fraction", "n_folds"), [(0.5, 2), (0.34, 3), (0.2, 5)])
def test_validation_fraction_is_what_each_fold_holds_out(fraction, n_folds):
    """Held-out passes at the perturbed inputs: one per sample, however many folds; training passes: the rest."""
    x, y = tabular(200)
    found = guarded(perturbation="channel", validation_fraction=fraction, max_epochs=1).fit(x + 1, y)
    # Score passes: each fold trains on all but its part, and the final training on all.
    assert n_folds - 1 <= found.cost_["backward"] <= n_folds


# What comes of it


@pytest.mark.parametrize("perturbation", ["auto", "affine", "full"])
def test_it_accepts_a_clear_shift(perturbation):
    for seed in range(3):
        x, y = tabular(600, seed)
        calibrator = guarded(perturbation=perturbation, random_state=seed, max_epochs=20, lr="auto").fit(x + 0.8, y)
        assert calibrator.accepted_, seed
        verdict = calibrator.verdict_
        assert verdict.accepted
        assert verdict.p_value < LEVEL
        assert verdict.difference < -verdict.standard_error < 0


# One more would be a chance of less than 1 in 1,000, if the level holds.
N_NULLS = 50
MOST = int(stats.binom.isf(1e-3, N_NULLS, LEVEL))


@pytest.mark.parametrize("perturbation", ["affine", "auto"])
def test_it_refuses_noise(perturbation):
    """Labels drawn from the network's own probabilities at T = 2: there is nothing but T to learn."""
    accepted = [
        guarded(CURVED, perturbation=perturbation, max_epochs=3, random_state=seed)
        .fit(*tabular(150, seed, CURVED))
        .accepted_
        for seed in range(N_NULLS)
    ]
    assert sum(accepted) <= MOST


@pytest.mark.parametrize("weight", [None, np.random.default_rng(0).random(300)], ids=["equal", "weighted"])
@pytest.mark.parametrize(
    "settings",
    [{}, {"perturbation": "channel"}, {"perturbation": "full"}, {"perturbation": "channel", "gamma": "auto"}],
    ids=["auto", "channel", "full", "gamma"],
)
def test_a_refusal_is_temperature_scaling(settings, weight):
    x, y = tabular(300)
    calibrator = guarded(**settings).fit(x, y, sample_weight=weight)
    assert not calibrator.verdict_.accepted
    assert calibrator.verdict_.p_value > LEVEL
    assert_is_temperature_scaling(calibrator, x, y, weight)


@pytest.mark.parametrize("n_samples", [1, 2, 10, 50, MIN_SAMPLES - 1])
def test_few_samples_get_temperature_scaling(n_samples):
    x, y = tabular(n_samples)
    with warnings.catch_warnings():
        # T may well be at a bound.
        warnings.simplefilter("ignore")
        calibrator = guarded().fit(x + 2, y)
        assert_is_temperature_scaling(calibrator, x + 2, y)
    assert calibrator.verdict_.p_value == 1
    assert calibrator.cost_ == {"forward": 1.0, "backward": 0.0}


def test_the_guard_works_from_its_smallest_size_on():
    x, y = tabular(MIN_SAMPLES)
    calibrator = guarded(perturbation="channel").fit(x + 2, y)
    assert calibrator.cost_["backward"] > 0
    assert calibrator.verdict_.standard_error > 0


@pytest.mark.parametrize("n_samples", [10, 50, 100, 150])
@pytest.mark.parametrize("gamma", [0.0, "auto"])
def test_classes_of_one_sample(n_samples, gamma):
    network, x = convolutional(n_classes=30), images(n_samples)
    y = np.zeros(n_samples, dtype=int)
    y[:8] = np.arange(1, 9)
    calibrator = guarded(network, gamma=gamma).fit(x, y)
    proba = calibrator.predict_proba(x)
    assert np.isfinite(calibrator.predict_log_proba(x)).all()
    np.testing.assert_allclose(proba.sum(1), 1)
    assert calibrator.classes_.tolist() == list(range(30))


@pytest.mark.parametrize("constant", [0.0, 0.5])
@pytest.mark.parametrize("perturbation", ["auto", "affine", "filter", "grid"])
def test_constant_inputs(perturbation, constant):
    x = np.full((200, 3, 8, 8), constant, dtype=np.float32)
    y = labels_of(bare_logits(convolutional(), x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calibrator = guarded(convolutional(), perturbation=perturbation).fit(x, y)
        alone = TemperatureScaling(convolutional()).fit(x, y)
    assert np.isfinite(calibrator.predict_proba(x)).all()
    assert nll(calibrator.predict_log_proba(x), y) <= nll(alone.predict_log_proba(x), y) + 1e-6


def test_samples_without_weight_change_nothing_much():
    """Nor do they count as samples."""
    x, y = tabular(400)
    weight = np.r_[np.ones(80), np.zeros(320)]
    assert guarded().fit(x + 1, y).accepted_
    calibrator = guarded().fit(x + 1, y, sample_weight=weight)
    assert_is_temperature_scaling(calibrator, x + 1, y, weight)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_whole_batches_without_weight(order):
    x, y = tabular(600)
    weight = np.r_[np.ones(300), np.zeros(300)][order]
    calibrator = guarded(perturbation="channel", batch_size=50).fit(x + 1, y, sample_weight=weight)
    assert calibrator.accepted_
    assert np.isfinite(calibrator.delta_).all()


def test_weights_decide():
    """Half of the samples are shifted; those with weight are judged by."""
    x, y = tabular(800)
    shifted = np.arange(800) < 400
    given = np.where(shifted[:, None], x + 1.0, x).astype(np.float32)
    both = [guarded(perturbation="channel").fit(given, y, sample_weight=w) for w in (shifted + 1e-3, ~shifted + 1e-3)]
    assert both[0].accepted_
    assert not both[1].accepted_


def test_none_is_no_guard():
    x, y = tabular(60)
    calibrator = guarded(perturbation="channel", validation_fraction=None).fit(x + 1, y)
    assert calibrator.accepted_
    assert calibrator.delta_.any()
    assert not hasattr(calibrator, "verdict_")
    # Folds that choose gamma judge nothing.
    assert not hasattr(calibrator.set_params(gamma="auto").fit(x + 1, y), "verdict_")


def test_it_is_logged_and_does_not_warn(caplog):
    x, y = tabular(300)
    for given, word in ((x, "temperature scaling"), (x[:50], "temperature scaling")):
        caplog.clear()
        with caplog.at_level(logging.INFO, logger="skclamp"), warnings.catch_warnings():
            warnings.simplefilter("error")
            guarded().fit(given, y[: len(given)])
        assert word in caplog.text
        assert {record.levelno for record in caplog.records} == {logging.INFO}


def test_a_refit_forgets_the_verdict():
    x, y = tabular(300)
    calibrator = guarded(perturbation="channel").fit(x + 1, y)
    assert calibrator.verdict_.accepted
    calibrator.set_params(validation_fraction=None).fit(x, y)
    assert not hasattr(calibrator, "verdict_")
