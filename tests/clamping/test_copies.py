"""Copies of a sample prove what it proves once, near-copies too, which are told."""

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, labels_of, perceptron, vectors
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import GroupKFold, KFold
from torch.utils.data import TensorDataset

from skclamp import NeuralClampingCalibrator
from skclamp.exceptions import CalibrationSetWarning

NETWORK = perceptron()
X = vectors(300)
Y = labels_of(bare_logits(NETWORK, X))
SHIFTED = X + np.float32(2)
LOST = "have equal inputs among those that are learned from"
NEAR = "have others of their class at a fraction of the distance"


def fitted(x=SHIFTED, y=Y, network=NETWORK, groups=None, **settings):
    given = {} if groups is None else {"groups": groups}
    return NeuralClampingCalibrator(network, output=None, random_state=0, **settings).fit(x, y, **given)


def assert_same_verdict(found, expected):
    assert found.accepted_ == expected.accepted_
    assert found.verdict_.n_samples == expected.verdict_.n_samples
    for name in ("difference", "standard_error", "p_value"):
        assert getattr(found.verdict_, name) == pytest.approx(getattr(expected.verdict_, name), rel=1e-4)
    assert found.temperature_ == pytest.approx(expected.temperature_, rel=1e-4)


# Exact copies


@pytest.mark.parametrize(("how", "seen"), [("tiled", X), ("repeated", SHIFTED)], ids=["as it is", "moved"])
def test_copies_prove_what_one_of_them_does(how, seen):
    rows = np.tile(np.arange(300), 4) if how == "tiled" else np.repeat(np.arange(300), 4)
    expected = fitted(seen, perturbation="affine")
    assert expected.accepted_ == (seen is SHIFTED)
    assert_same_verdict(fitted(seen[rows], Y[rows], perturbation="affine"), expected)
    as_dataset = TensorDataset(torch.from_numpy(seen[rows]), torch.from_numpy(Y[rows]))
    assert_same_verdict(fitted(as_dataset, None, perturbation="affine"), expected)
    as_dict = {"input": torch.from_numpy(seen[rows])}
    assert_same_verdict(fitted(as_dict, Y[rows], perturbation="affine", input_key="input"), expected)


def test_copies_of_some_samples_have_their_weight():
    """Weights count as repetitions, and uneven ones as fewer samples."""
    weight = 1.0 + np.arange(300) % 3
    rows = np.repeat(np.arange(300), weight.astype(int))
    expected = NeuralClampingCalibrator(NETWORK, output=None, random_state=0).fit(SHIFTED, Y, sample_weight=weight)
    assert_same_verdict(fitted(SHIFTED[rows], Y[rows]), expected)


@pytest.mark.filterwarnings("ignore:1 of 4 classes ha(ve|s) no sample:UserWarning")
def test_fewer_than_eight_distinct_samples_prove_nothing():
    found = fitted(np.tile(SHIFTED[:7], (4, 1)), np.tile(Y[:7], 4))
    assert not found.accepted_
    assert "needs 8 independent samples with weight, got 7" in found.verdict_.reason
    # With other labels as well.
    relabelled = labels_of(np.tile(bare_logits(NETWORK, X[:7]), (4, 1)))
    assert "got 7" in fitted(np.tile(SHIFTED[:7], (4, 1)), relabelled).verdict_.reason


def test_copies_of_several_labels_are_samples_of_one_fold():
    """Several annotators' labels: each is learned from, and those of one input count as one."""
    rows = np.tile(np.arange(300), 3)
    y = labels_of(bare_logits(NETWORK, X)[rows])
    found = fitted(SHIFTED[rows], y, perturbation="affine")
    by_groups = GroupKFold(2, shuffle=True, random_state=0)
    grouped = fitted(SHIFTED[rows], y, perturbation="affine", validation_fraction=by_groups, groups=rows)
    assert found.accepted_
    assert grouped.accepted_
    assert found.verdict_.n_samples == len(np.unique(np.column_stack([rows, y]), axis=0))
    assert found.verdict_.standard_error == pytest.approx(grouped.verdict_.standard_error, rel=0.2)


def test_rows_of_categories_all_count():
    x = np.random.default_rng(0).integers(0, 3, (600, 4)).astype(np.float32)
    network = perceptron(n_features=4)
    assert fitted(x, labels_of(bare_logits(network, x)), network, perturbation="affine").verdict_.n_samples == 600


def test_a_splitter_that_tears_copies_apart_is_told():
    rows = np.tile(np.arange(300), 2)
    torn = KFold(2, shuffle=True, random_state=0)
    with pytest.warns(CalibrationSetWarning, match=f"samples that validation_fraction holds out {LOST}"):
        fitted(SHIFTED[rows], Y[rows], validation_fraction=torn)
    fitted(SHIFTED[rows], Y[rows], validation_fraction=GroupKFold(2), groups=rows)


# Near-copies


def frames_of(x, n_frames, jitter):
    rows = np.tile(np.arange(len(x)), n_frames)
    noise = np.random.default_rng(0).normal(size=(len(rows), *x.shape[1:])).astype(np.float32)
    return x[rows] + np.float32(jitter) * noise, Y[rows]


@pytest.mark.filterwarnings(f"ignore:.*{NEAR}")
@pytest.mark.parametrize(("n_frames", "jitter"), [(5, 0.05), (10, 0.1)])
@pytest.mark.parametrize("seen", [X, SHIFTED], ids=["as it is", "moved"])
def test_frames_prove_what_one_of_them_does(n_frames, jitter, seen):
    found = fitted(*frames_of(seen, n_frames, jitter))
    assert found.accepted_ == (seen is SHIFTED)
    # Clusters may be near each other, and a frame far from its own. What gradients refuse no sample judges.
    assert found.verdict_.n_samples == 0 or 270 <= found.verdict_.n_samples <= 330
    assert found.verdict_.n_samples or not found.accepted_


@pytest.mark.parametrize(("n_frames", "how"), [(2, {}), (5, {"validation_fraction": 0.2})])
def test_frames_are_told(n_frames, how):
    rows = np.repeat(np.arange(150), n_frames)
    x = X[rows] + 0.05 * np.random.default_rng(0).normal(size=(len(rows), 6)).astype(np.float32)
    with pytest.warns(CalibrationSetWarning, match=NEAR):
        fitted(x, Y[rows], **how)
    fitted(x, Y[rows], validation_fraction=GroupKFold(2), groups=rows)
    fitted(x, Y[rows], validation_fraction=None)


def table_of(kind, n_samples, rng):
    """Inputs without near-copies that look a little as if they had some."""
    if kind == "one column":
        return rng.normal(size=(n_samples, 1))
    if kind == "small integers":
        return rng.integers(0, 4, (n_samples, 5))
    if kind == "one-hot":
        return np.column_stack([np.eye(8)[rng.integers(0, 8, n_samples)], rng.normal(size=n_samples)])
    if kind == "rounded":
        return np.column_stack([np.round(rng.lognormal(10, 1, n_samples), -3), rng.normal(size=n_samples)])
    return {"digits": load_digits, "wine": load_wine, "breast cancer": load_breast_cancer}[kind]().data


@pytest.mark.parametrize(
    "kind", ["one column", "small integers", "one-hot", "rounded", "digits", "wine", "breast cancer"]
)
def test_ordinary_tables_are_no_near_copies(kind):
    """A warning is an error here."""
    n_samples = 600
    rng = np.random.default_rng(n_samples)
    x = table_of(kind, n_samples, rng)
    x = ((x - x.mean(0)) / np.maximum(x.std(0), 1e-9)).astype(np.float32)[rng.permutation(len(x))[:n_samples]]
    network = perceptron(n_features=x.shape[1])
    fitted(x, labels_of(bare_logits(network, x)), network, perturbation="affine")
