"""Which samples the guard holds out: by counts alone, or as a splitter says."""

import numpy as np
import pytest
import sklearn
import torch
from _small_networks import bare_logits, labels_of, perceptron, smoothed_temperature, vectors
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    PredefinedSplit,
    ShuffleSplit,
    StratifiedKFold,
    TimeSeriesSplit,
)

from skclamp import NeuralClampingCalibrator, TemperatureScaling
from skclamp.exceptions import CalibrationSetWarning

NETWORK = perceptron()
X = vectors(400, 6)
Y = labels_of(bare_logits(NETWORK, X))
SHIFTED = X + np.float32(2)
GROUPS = np.arange(400) // 20
WEIGHT = (np.arange(400) % 3 > 0).astype(float)
SERIES = TimeSeriesSplit(3)
LATER = np.arange(100, 400)


class Recorder(TemperatureScaling):
    """A temperature by name, which keeps what it was fitted to."""

    def _fit_logits(self, logits, y, sample_weight):
        learned = super()._fit_logits(logits, y, sample_weight)
        self.seen_ = logits, y
        return learned


class Given:
    """A splitter of one's own."""

    def __init__(self, splits):
        self.splits = splits

    def split(self, X, y=None, groups=None):
        self.groups_ = groups
        yield from self.splits


def fitted(x=SHIFTED, y=Y, network=NETWORK, weight=None, groups=None, **settings):
    given = {} if groups is None else {"groups": groups}
    options = {"perturbation": "channel", "random_state": 0, **settings}
    return NeuralClampingCalibrator(network, **options).fit(x, y, sample_weight=weight, **given)


# By counts alone


def test_auto_is_two_halves_whatever_the_number_of_samples():
    """Views have half of the level."""
    x = vectors(999, 6)
    y, x = labels_of(bare_logits(NETWORK, x)), x + np.float32(0.5)
    # Under a penalty, however small, gradients of all the samples don't speak: they would keep it.
    auto, halves = (fitted(x, y, validation_fraction=v, penalty=1e-9) for v in ("auto", 0.5))
    assert auto.verdict_ == halves.verdict_ and auto.cost_ == halves.cost_
    assert f"nats, needs {np.log(1 / 0.02):.2f})" in auto.verdict_.reason
    beside_views = fitted(x, y, max_views=[Backwards()], penalty=1e-9)
    assert f"nats, needs {np.log(1 / 0.01):.2f})" in beside_views.verdict_.reason


class Backwards(torch.nn.Module):
    """Features in the opposite order."""

    def forward(self, x):
        return x.flip(1)


# By a splitter


def test_a_splitter_says_what_is_held_out():
    found = fitted(validation_fraction=KFold(4))
    splits = list(KFold(4).split(X))
    assert found.accepted_
    assert "of 4 folds and beyond chance" in found.verdict_.reason
    for same in (Given(splits), splits, iter(splits), PredefinedSplit(np.arange(400) // 100)):
        assert fitted(validation_fraction=same).verdict_ == found.verdict_
    masks = [(np.isin(np.arange(400), train), np.isin(np.arange(400), rows)) for train, rows in splits]
    assert fitted(validation_fraction=masks).verdict_ == found.verdict_
    assert fitted(validation_fraction=StratifiedKFold(4)).verdict_ != found.verdict_


def test_only_what_is_held_out_gives_t_and_the_output():
    """The first block of a time series is never held out: it is learned from alone."""
    found = fitted(validation_fraction=SERIES, output=Recorder())
    assert found.accepted_
    assert found.verdict_.n_samples == 300
    logits, y = found.output_.seen_
    np.testing.assert_array_equal(y, Y[LATER])
    assert found.temperature_ == pytest.approx(smoothed_temperature(logits, y), rel=1e-6)
    assert found.temperature_ == fitted(validation_fraction=SERIES).temperature_
    # Each block under what those before it taught, but for its size.
    for k, (_, rows) in enumerate(SERIES.split(X)):
        alone = fitted(SHIFTED[: rows[0]], Y[: rows[0]], validation_fraction=None, training="natural")
        with torch.no_grad():
            expected = NETWORK(alone.perturbation_(torch.as_tensor(SHIFTED[rows])))
        correlation = np.corrcoef(logits[100 * k : 100 * (k + 1)].ravel(), expected.ravel())[0, 1]
        assert correlation > 0.98


def test_labels_that_are_never_held_out_judge_nothing():
    """Nonsense at the beginning of a time series, of no weight in what is learned, changes nothing at all."""
    weight = np.ones(500)
    weight[:100] = 0
    x, y = np.concatenate([SHIFTED[:100][::-1], SHIFTED]), np.concatenate([Y[:100], Y])
    found = fitted(x, y, weight=weight, validation_fraction=SERIES)
    assert found.verdict_ == fitted(validation_fraction=SERIES).verdict_
    by_positions = [(train + 100, rows + 100) for train, rows in SERIES.split(X)]
    assert fitted(x, y, weight=weight, validation_fraction=by_positions).verdict_ == found.verdict_


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        (ShuffleSplit(3, random_state=0), "validation_fraction must hold out each sample at most once; got sample"),
        ([(np.arange(400), np.arange(200))], "got sample 0 in both parts of split 0"),
        ([(np.arange(400), [])], "got 400 to train on and 0 held out in split 0"),
        ([], "validation_fraction must have at least one split; got none"),
        ([np.arange(3)], r"validation_fraction must have splits of the form \(train, test\)"),
        ([([0, 1], [400])], r"must have splits of the form \(train, test\), positions among 400 samples"),
        (KFold(500), "Cannot have number of splits n_splits=500 greater than the number of samples"),
        (GroupKFold(3), "'groups' parameter should not be None"),
        ("half", "a splitter, an iterable of"),
        (1, "a splitter, an iterable of"),
    ],
)
def test_splits_that_prove_nothing_are_refused(splits, message):
    with pytest.raises(ValueError, match=message):
        fitted(validation_fraction=splits)


# Groups


def test_groups_are_held_together():
    pairs = np.arange(400) // 2
    splits = list(GroupKFold(4).split(X, Y, pairs))
    found = fitted(validation_fraction=GroupKFold(4), groups=pairs)
    assert found.accepted_
    assert found.verdict_.difference == pytest.approx(fitted(validation_fraction=splits).verdict_.difference)
    with sklearn.config_context(enable_metadata_routing=True):
        assert fitted(validation_fraction=GroupKFold(4), groups=pairs).verdict_ == found.verdict_
    own = Given(splits)
    fitted(validation_fraction=own, groups=pairs)
    np.testing.assert_array_equal(own.groups_, pairs)


def test_each_group_counts_as_one_sample():
    """Samples of four patients are no four hundred samples: neither to Student nor to universal inference."""
    few = np.arange(400) // 100
    splits = list(GroupKFold(2).split(X, Y, few))
    found, of_samples = fitted(validation_fraction=GroupKFold(2), groups=few), fitted(validation_fraction=splits)
    assert found.verdict_.difference == pytest.approx(of_samples.verdict_.difference)
    assert of_samples.accepted_
    assert not found.accepted_
    assert "chance alone" not in found.verdict_.reason
    assert "a temperature chosen for the held-out samples may do as well" in found.verdict_.reason
    assert found.verdict_.p_value > 100 * of_samples.verdict_.p_value


def test_groups_of_samples_with_weight():
    kept = WEIGHT > 0
    found = fitted(validation_fraction=GroupKFold(4), groups=list(GROUPS), weight=WEIGHT)
    expected = fitted(SHIFTED[kept], Y[kept], validation_fraction=GroupKFold(4), groups=GROUPS[kept])
    assert found.verdict_.difference == pytest.approx(expected.verdict_.difference)
    assert found.temperature_ == pytest.approx(expected.temperature_, rel=1e-6)


def test_groups_go_to_splitters_and_never_to_the_classifier():
    """Whose ``fit`` would refuse them."""
    settings = {"validation_fraction": GroupKFold(3), "random_state": 0}
    calibrator = NeuralClampingCalibrator(LogisticRegression(), perturbation="affine", **settings)
    calibrator.fit(X, Y, groups=GROUPS)
    splits = list(GroupKFold(4).split(X, Y, GROUPS))
    expected = TemperatureScaling(LogisticRegression(), cv=splits).fit(X, Y)
    found = TemperatureScaling(LogisticRegression(), cv=GroupKFold(4)).fit(X, Y, groups=GROUPS)
    assert found.temperature_ == expected.temperature_


@pytest.mark.parametrize("settings", [{}, {"validation_fraction": 0.2}], ids=["auto", "five folds"])
def test_random_folds_keep_groups_together_and_count_them(settings):
    """As the folds of `merged` copies do: two hundred pairs, told by their numbers alone."""
    pairs = np.arange(400) // 2
    found, alone = (fitted(groups=groups, **settings) for groups in (pairs, None))
    n_folds = len(found.verdict_.folds)
    assert n_folds == len(alone.verdict_.folds)
    assert found.accepted_
    assert found.verdict_.difference != alone.verdict_.difference
    assert all(fold["n_samples"] % 2 == 0 for fold in found.verdict_.folds)
    with pytest.warns(CalibrationSetWarning, match="5 independent samples are fewer than the 8"):
        few = fitted(groups=np.arange(400) // 80, **settings)
    assert not few.accepted_
    assert "the guard needs 8 independent samples with weight, got 5" in few.verdict_.reason


def test_copies_of_a_group_are_no_evidence_of_their_own():
    """Seven samples, each ten times with noise: with their groups nothing is kept, whatever draws the folds."""
    rows = np.repeat(np.arange(7), 10)
    x = SHIFTED[rows] + 1e-3 * np.random.default_rng(0).normal(size=SHIFTED[rows].shape).astype(np.float32)
    with pytest.warns(CalibrationSetWarning, match="7 independent samples are fewer than the 8"):
        assert not fitted(x, Y[rows], groups=rows).accepted_


def test_splitters_that_tear_groups_apart_are_told():
    pairs = np.arange(400) % 200
    with pytest.warns(CalibrationSetWarning, match="of 400 samples that validation_fraction holds out have others"):
        fitted(groups=pairs, validation_fraction=KFold(4, shuffle=True, random_state=0))
