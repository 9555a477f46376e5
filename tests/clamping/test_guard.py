import warnings

import numpy as np
import pytest
from _problems import linear
from _small_networks import bare_logits, convolutional, images, labels_of, nll, perceptron, vectors
from scipy import stats
from sklearn.model_selection import KFold
from torch import nn

from skclamp import NeuralClampingCalibrator, TemperatureScaling

# Of the guard's tests, and the fewest independent samples that it takes.
LEVEL, MIN_UNITS = 0.02, 8
NETWORK = nn.Sequential(linear(6))
# The same with a nonlinearity, which a step of Newton never quite meets.
CURVED = perceptron()


def tabular(n_samples, seed=0, network=NETWORK):
    x = vectors(n_samples, network[0].in_features, seed=seed)
    return x, labels_of(bare_logits(network, x), seed=seed)


def guarded(estimator=NETWORK, **settings):
    return NeuralClampingCalibrator(estimator, **{"output": None, "random_state": 0, **settings})


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


# What comes of it


@pytest.mark.parametrize("perturbation", ["auto", "affine", "full"])
def test_it_accepts_a_clear_shift(perturbation):
    for seed in range(3):
        x, y = tabular(600, seed)
        verdict = guarded(perturbation=perturbation, random_state=seed, max_epochs=20).fit(x + 0.8, y).verdict_
        assert verdict.accepted, seed
        assert verdict.p_value < LEVEL
        assert verdict.difference < -verdict.standard_error < 0


@pytest.mark.parametrize(("fraction", "n_folds"), [(0.5, 2), (0.34, 3), (0.2, 5), (KFold(3), 3)])
def test_validation_fraction_is_what_each_fold_holds_out(fraction, n_folds):
    x, y = tabular(100)
    found = guarded(perturbation="channel", validation_fraction=fraction, max_epochs=1).fit(x + 2, y)
    assert len(found.verdict_.folds) == n_folds
    assert found.verdict_.n_samples == 100
    assert found.verdict_.standard_error > 0
    # One pass tells the gradients at the identity, which serve the first step of each half; other folds, which share
    # samples, train on all but their part. The final training takes one; where folds prove nothing, gradients of drawn
    # labels take another, and what they ask for takes the passes of the folds again.
    of_folds = 0 if n_folds == 2 else n_folds - 1
    assert 1 + of_folds <= found.cost_["backward"] <= 3 + 2 * of_folds


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("n_samples", "n_without_weight", "fraction"),
    [(1, 0, "auto"), (4, 320, "auto"), (MIN_UNITS - 1, 0, "auto"), (MIN_UNITS - 1, 320, KFold(3))],
)
def test_few_samples_with_weight_get_temperature_scaling(n_samples, n_without_weight, fraction):
    x, y = tabular(n_samples + n_without_weight)
    weight = (np.arange(len(x)) < n_samples).astype(float)
    calibrator = guarded(validation_fraction=fraction).fit(x + 2, y, sample_weight=weight)
    assert_is_temperature_scaling(calibrator, x + 2, y, weight)
    assert (calibrator.verdict_.p_value, calibrator.verdict_.n_samples) == (1, 0)
    assert calibrator.cost_["backward"] == 0


@pytest.mark.parametrize("random_state", [2, 3])
def test_gradients_of_all_samples_keep_what_folds_cannot_prove(random_state):
    """With whatever folds."""
    x, y = tabular(300, 2, CURVED)
    verdict = guarded(CURVED, perturbation="channel", random_state=random_state).fit(x + 0.4, y).verdict_
    assert verdict.accepted
    assert verdict.p_value < LEVEL / 2
    assert verdict.difference < 0
    assert "its gradients are beyond chance" in verdict.reason
    assert verdict.not_tried == {}
    # Neighbours in time, for whom such folds are, aren't independent.
    held_out = {"validation_fraction": KFold(5)}
    alone = guarded(CURVED, perturbation="channel", random_state=random_state, **held_out).fit(x + 0.4, y).verdict_
    assert "gradients" not in alone.reason


@pytest.mark.filterwarnings("ignore:.*classes ha(ve|s) no sample:UserWarning")
@pytest.mark.parametrize("seed", [0, 1])
def test_few_independent_samples_may_prove_much(seed):
    x, y = tabular(60, seed)
    verdict = guarded(perturbation="channel").fit(x + 2, y).verdict_
    assert verdict.accepted
    assert verdict.p_value < LEVEL / 10
    assert not guarded(perturbation="channel").fit(x, y).accepted_


# One more would be a chance of less than 1 in 1,000, if the level holds.
N_NULLS = 50
MOST = int(stats.binom.isf(1e-3, N_NULLS, LEVEL))


def test_it_refuses_noise():
    """Labels are drawn from the network's own probabilities at T = 2: there is nothing but T to learn."""
    accepted = [
        guarded(CURVED, max_epochs=3, random_state=seed).fit(*tabular(150, seed, CURVED)).accepted_
        for seed in range(N_NULLS)
    ]
    assert sum(accepted) <= MOST


@pytest.mark.parametrize(
    ("settings", "weighted"),
    [({}, True), ({"perturbation": "full"}, False), ({"perturbation": "channel", "gamma": "auto"}, True)],
    ids=["auto", "full", "gamma"],
)
def test_a_refusal_is_temperature_scaling(settings, weighted):
    (x, y), weight = tabular(300), np.random.default_rng(0).random(300) if weighted else None
    calibrator = guarded(**settings).fit(x, y, sample_weight=weight)
    assert not calibrator.verdict_.accepted
    assert calibrator.verdict_.p_value > LEVEL
    assert_is_temperature_scaling(calibrator, x, y, weight)


@pytest.mark.filterwarnings("ignore:.*classes ha(ve|s) no sample:UserWarning")
@pytest.mark.parametrize(("n_samples", "gamma"), [(10, 0.0), (50, "auto"), (150, 0.0), (100, "auto")])
def test_classes_of_one_sample(n_samples, gamma):
    network, x = convolutional(n_classes=30), images(n_samples)
    y = np.zeros(n_samples, dtype=int)
    y[:8] = np.arange(1, 9)
    calibrator = guarded(network, gamma=gamma).fit(x, y)
    proba = calibrator.predict_proba(x)
    assert np.isfinite(calibrator.predict_log_proba(x)).all()
    np.testing.assert_allclose(proba.sum(1), 1)
    assert calibrator.classes_.tolist() == list(range(30))


@pytest.mark.parametrize(("perturbation", "constant"), [("auto", 0.0), ("auto", 0.5), ("affine", 0.5), ("grid", 0.0)])
def test_constant_inputs(perturbation, constant):
    x = np.full((200, 3, 8, 8), constant, dtype=np.float32)
    y = labels_of(bare_logits(convolutional(), x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        calibrator = guarded(convolutional(), perturbation=perturbation).fit(x, y)
        alone = TemperatureScaling(convolutional()).fit(x, y)
    assert np.isfinite(calibrator.predict_proba(x)).all()
    assert nll(calibrator.predict_log_proba(x), y) <= nll(alone.predict_log_proba(x), y) + 1e-6


def test_weights_decide():
    """Half of the samples are shifted; those with weight are judged by."""
    x, y = tabular(800)
    shifted = np.random.default_rng(0).permutation(800) < 400
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
