"""What samples without labels teach: it is kept where labels prove it, and told; refused where nothing could."""

import copy
import functools
import pickle

import numpy as np
import pytest
import torch
from _digits import convolutional_network, shifted, splits
from _small_networks import bare_logits, labels_of, snapshot, vectors
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import skclamp
from skclamp import (
    NeuralClampingCalibrator,
    TemperatureScaling,
    reference_summary,
)
from skclamp.exceptions import CalibrationSetWarning

NETWORK = convolutional_network()
(_, _), (IMAGES, LABELS) = splits()
ORDER = np.random.default_rng(3).permutation(len(IMAGES))
# Those of the old camera are others than those of the new one.
REFERENCE, POOL, TEST = ORDER[:300], ORDER[300:800], ORDER[800:]
N = 120


GAIN, OFFSET = (np.array(values, dtype=np.float32).reshape(3, 1, 1) for values in ([0.2, 0.3, 0.5], [0.7, 0.2, 0.4]))


def seen(rows, how, seed=0):
    """Images as another camera has them, far from what they were."""
    x = IMAGES[rows]
    if how == "noise":
        return (x + 0.5 * np.random.default_rng(seed).normal(size=x.shape)).astype(np.float32)
    if how == "pale":
        return x * GAIN + OFFSET
    return x if how == "none" else shifted(shifted(shifted(x, how), how), how)


def fitted(how, *, reference=IMAGES[REFERENCE], pool=None, y=LABELS[POOL[:N]], **params):
    options = {"random_state": 0, "perturbation": None, "output": None, **params}
    pool = seen(POOL, how) if pool is None else pool
    calibrator = NeuralClampingCalibrator(NETWORK, **options)
    return calibrator.fit(seen(POOL[:N], how), y, X_unlabelled=pool[N:], X_reference=reference)


@functools.cache
def once(how):
    """The same with what is usual; not to be changed."""
    return fitted(how)


def nll(calibrator, how):
    return log_loss(LABELS[TEST], calibrator.predict_proba(seen(TEST, how, 1)))


KEPT = {"pale": "moments", "blur": "spectrum", "noise": "features"}


@pytest.mark.parametrize("how", KEPT)
def test_what_unlabelled_images_teach_is_kept_where_labels_prove_it(how):
    before = snapshot(NETWORK)
    calibrator = once(how)
    verdict = calibrator.unlabelled_verdict_
    assert verdict.accepted
    assert calibrator.accepted_
    assert KEPT[how] in verdict.reason
    assert verdict.reason.startswith("Kept: what unlabelled samples teach (")
    assert set(verdict.tried) == {"moments", "moments, spectrum", "features", "moments, spectrum, features"}
    assert verdict.n_samples == N
    plain = TemperatureScaling(NETWORK).fit(seen(POOL[:N], how), LABELS[POOL[:N]])
    assert nll(calibrator, how) < nll(plain, how) - 0.1
    assert verdict.reason in calibrator.summary()
    # What there was before is what the network says.
    scores = [each.score(seen(POOL[:N], how), LABELS[POOL[:N]]) for each in (plain, calibrator)]
    assert calibrator.summary().split("n sample ")[1].startswith(f"accuracy {scores[0]:.1%} -> {scores[1]:.1%}, ")
    assert snapshot(NETWORK) == before


def test_nothing_is_kept_of_images_as_they_were():
    calibrator = once("none")
    assert not calibrator.unlabelled_verdict_.accepted
    assert "so nothing is learned from unlabelled samples" in calibrator.unlabelled_verdict_.reason
    assert not calibrator.accepted_
    plain = TemperatureScaling(NETWORK).fit(IMAGES[POOL[:N]], LABELS[POOL[:N]])
    assert calibrator.temperature_ == plain.temperature_
    np.testing.assert_array_equal(calibrator.predict_proba(IMAGES[TEST]), plain.predict_proba(IMAGES[TEST]))


def test_other_class_frequencies_are_no_other_images():
    """Nearly all of what comes is of two classes: moments would undo what tells them apart."""
    rare = np.flatnonzero(np.isin(LABELS[POOL], [2, 3, 4, 5, 6, 7, 8, 9]))[::8]
    rows = POOL[np.union1d(np.flatnonzero(LABELS[POOL] < 2), rare)]
    calibrator = NeuralClampingCalibrator(NETWORK, perturbation=None, random_state=0)
    calibrator.fit(
        IMAGES[rows[:110]], LABELS[rows[:110]], X_unlabelled=IMAGES[rows[110:]], X_reference=IMAGES[REFERENCE]
    )
    assert not calibrator.accepted_


def test_the_labelled_search_goes_on_from_there():
    """And says what it wins on top."""
    pool, x = seen(POOL, "noise"), seen(TEST, "noise", 1)
    labelled, options = (pool[:400], LABELS[POOL[:400]]), {"X_unlabelled": pool[400:], "X_reference": IMAGES[REFERENCE]}
    both, alone = (
        NeuralClampingCalibrator(NETWORK, perturbation=name, random_state=0).fit(*labelled, **options)
        for name in ("auto", None)
    )
    # Their levels differ, since one has a search beside.
    assert alone.unlabelled_verdict_.tried == both.unlabelled_verdict_.tried
    assert alone.accepted_
    assert both.verdict_.accepted
    assert both.verdict_.difference < 0
    assert log_loss(LABELS[TEST], both.predict_proba(x)) < log_loss(LABELS[TEST], alone.predict_proba(x)) - 0.1
    with torch.no_grad():
        proba = both.module_.eval()(torch.from_numpy(x)).softmax(1)
    np.testing.assert_allclose(proba, both.predict_proba(x), atol=1e-5)


def test_where_the_search_finds_nothing_more_it_says_what_there_is():
    calibrator = fitted("pale", perturbation="channel")
    assert calibrator.unlabelled_verdict_.accepted
    assert not calibrator.verdict_.accepted
    assert calibrator.verdict_.reason.startswith("Refused, so what unlabelled samples taught stays as it is: channel ")
    assert "nats per sample on top of what unlabelled samples taught (standard" in calibrator.verdict_.reason
    alone = once("pale")
    x = seen(TEST, "pale")
    np.testing.assert_allclose(calibrator.predict_proba(x), alone.predict_proba(x), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "file"])
def test_copies_and_files_say_the_same(way, tmp_path):
    calibrator = once("noise")
    if way == "file":
        calibrator.save(tmp_path / "calibrator.safetensors")
        again = skclamp.load(tmp_path / "calibrator.safetensors", NETWORK)
    else:
        again = copy.deepcopy(calibrator) if way == "deepcopy" else pickle.loads(pickle.dumps(calibrator))
    x = seen(TEST[:50], "noise", 1)
    np.testing.assert_array_equal(again.predict_proba(x), calibrator.predict_proba(x))
    assert again.unlabelled_verdict_ == calibrator.unlabelled_verdict_
    assert not hasattr(clone(calibrator), "unlabelled_verdict_")


class Stream(IterableDataset):
    def __iter__(self):
        yield from torch.from_numpy(IMAGES[POOL])


REFERENCES = {
    "array": lambda: IMAGES[REFERENCE],
    "tensor": lambda: torch.from_numpy(IMAGES[REFERENCE]),
    "Dataset": lambda: TensorDataset(torch.from_numpy(IMAGES[REFERENCE]), torch.from_numpy(LABELS[REFERENCE])),
    "DataLoader": lambda: DataLoader(TensorDataset(torch.from_numpy(IMAGES[REFERENCE])), batch_size=7, shuffle=True),
    "summary": lambda: reference_summary(IMAGES[REFERENCE]),
}


@pytest.mark.parametrize("kind", REFERENCES)
def test_references_of_any_kind_say_the_same(kind):
    how = "pale"
    expected, calibrator = once(how), fitted(how, reference=REFERENCES[kind]())
    assert calibrator.unlabelled_verdict_.difference == pytest.approx(expected.unlabelled_verdict_.difference, rel=1e-4)


def test_without_a_reference_batch_norm_tells():
    calibrator = fitted("pale", reference=None)
    assert list(calibrator.unlabelled_verdict_.tried) == ["features"]
    assert calibrator.accepted_


def test_the_order_of_unlabelled_samples_says_nothing():
    """Batches of one class each would have moments of their own."""
    pool = seen(POOL, "noise")
    by_class = np.concatenate([pool[:N], pool[N:][np.argsort(LABELS[POOL[N:]], kind="stable")]])
    x = seen(TEST, "noise", 1)
    calibrator = fitted("noise", pool=by_class)
    assert calibrator.unlabelled_verdict_.accepted
    assert log_loss(LABELS[TEST], calibrator.predict_proba(x)) < nll(once("noise"), "noise") + 0.1


def test_layer_norms_and_tables_and_tokens_need_inputs_of_before():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 32), nn.LayerNorm(32), nn.ReLU(), nn.Linear(32, 4)).eval()
    with torch.no_grad():
        network[3].weight.mul_(8)
        x = vectors(1500, 6)
        # So that samples are of all classes.
        network[3].bias -= torch.from_numpy(bare_logits(network, x)).mean(0)
    y = labels_of(bare_logits(network, x), 0.1)
    moved = x + np.float32(3)
    calibrator = NeuralClampingCalibrator(network, perturbation=None, output=None, random_state=0)
    calibrator.fit(moved[:400], y[:400], X_unlabelled=moved[400:], X_reference=vectors(500, 6, seed=1))
    assert set(calibrator.unlabelled_verdict_.tried) == {"moments", "features", "moments, features"}
    assert calibrator.accepted_
    calibrator.fit(moved[:400], y[:400], X_unlabelled=moved[400:], X_reference=reference_summary(x))
    assert set(calibrator.unlabelled_verdict_.tried) == {"moments"}
    calibrator.fit(moved[:400], y[:400], X_unlabelled=moved[400:])
    assert "the network has no batch norm, whose statistics would tell" in calibrator.unlabelled_verdict_.reason
    assert not calibrator.accepted_
    tokens = nn.Sequential(nn.Embedding(30, 8), nn.Flatten(), nn.LayerNorm(40), nn.Linear(40, 4)).eval()
    ids = np.random.default_rng(0).integers(30, size=(900, 5))
    y = labels_of(tokens(torch.from_numpy(ids)).detach().numpy(), 0.5)
    found = NeuralClampingCalibrator(tokens, perturbation=None, random_state=0)
    found.fit(ids[:200], y[:200], X_unlabelled=ids[200:500], X_reference=ids[500:])
    assert list(found.unlabelled_verdict_.tried) == ["features"]


def test_groups_judge_as_one():
    groups = np.arange(N) // 6
    calibrator = NeuralClampingCalibrator(NETWORK, perturbation=None, validation_fraction=GroupKFold(5), random_state=0)
    pool = seen(POOL, "noise")
    options = {"groups": groups, "X_unlabelled": pool[N:], "X_reference": IMAGES[REFERENCE]}
    calibrator.fit(pool[:N], LABELS[POOL[:N]], **options)
    assert calibrator.unlabelled_verdict_.p_value > once("noise").unlabelled_verdict_.p_value


def test_a_summary_is_small_and_of_the_numbers():
    summary = reference_summary(IMAGES)
    np.testing.assert_allclose(summary.mean, IMAGES.mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(summary.std, IMAGES.std((0, 2, 3)), rtol=1e-5)
    assert summary.shape == (3, 8, 8)
    assert summary.n_samples == len(IMAGES)
    assert len(pickle.dumps(summary)) < 4096
    as_bytes = (255 * np.clip(IMAGES, 0, 1)).round().astype(np.uint8)
    np.testing.assert_allclose(reference_summary(as_bytes, integer_scale=1 / 255).mean, summary.mean, atol=0.01)


@pytest.mark.parametrize(
    ("X", "got"),
    [
        (np.zeros((9, 4), int), "torch.int64"),
        (np.zeros((9, 4), np.uint8), r"torch.uint8. .* integer_scale, such as 1 / 255"),
        ({name: np.zeros((9, 4), int) for name in "ab"}, "a dict of integers"),
    ],
)
def test_tokens_have_no_moments(X, got):
    with pytest.raises(TypeError, match=f"X must hold floating-point inputs, .* got {got}"):
        reference_summary(X)


def test_few_labels_decide_nothing():
    calibrator = NeuralClampingCalibrator(NETWORK, perturbation=None, random_state=0)
    pool = seen(POOL, "noise")
    with pytest.warns(CalibrationSetWarning, match="X_unlabelled has no effect: it takes 100 labelled samples"):
        calibrator.fit(pool[:99], LABELS[POOL[:99]], X_unlabelled=pool[99:], X_reference=IMAGES[REFERENCE])
    assert not calibrator.accepted_
    assert "the guard needs 100 independent samples with weight, got 99" in calibrator.unlabelled_verdict_.reason


WITH_NAN = IMAGES[POOL]
WITH_NAN[77] = np.nan


WRONG = {
    "no labels": ({"y": None}, {}, ValueError, "y must hold labels beside X_unlabelled: a hundred of them decide"),
    "no guard": (
        {},
        {"validation_fraction": None},
        ValueError,
        "validation_fraction must not be None with X_unlabelled",
    ),
    "stream": (
        {"X_unlabelled": Stream()},
        {},
        TypeError,
        "X_unlabelled: inputs without labels must be an array .* got a stream",
    ),
    "shape": (
        {"X_reference": np.zeros((5, 3, 9, 9), np.float32)},
        {},
        ValueError,
        r"X_reference: inputs must have the shape of X's, \(3, 8, 8\); got \(3, 9, 9\)",
    ),
    "NaN": ({"X_unlabelled": WITH_NAN}, {}, ValueError, "X_unlabelled: X must be finite: .* got nan in sample 77, at"),
    "alone": ({"X_unlabelled": None}, {}, ValueError, "X_reference must be left out without X_unlabelled"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_and_nothing_is_lost(name):
    given, params, error, message = WRONG[name]
    calibrator = copy.deepcopy(once("noise"))
    temperature = calibrator.temperature_
    calibrator.set_params(**params)
    pool = seen(POOL, "noise")
    options = {"y": LABELS[POOL[:N]], "X_unlabelled": pool[N:], "X_reference": IMAGES[REFERENCE], **given}
    with pytest.raises(error, match=message):
        calibrator.fit(pool[:N], **options)
    assert calibrator.temperature_ == temperature
