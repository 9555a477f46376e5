"""Samples that prove less than they seem to: those that a calibrator has seen, that trained a network, and copies."""

import warnings
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from _small_networks import bare_logits, labels_of, perceptron, vectors
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

import skclamp
from skclamp import SelectiveClassifier, TemperatureScaling
from skclamp.exceptions import CalibrationSetWarning, TrainingDataWarning

NETWORK = perceptron(0, 8)
X = vectors(1800, 8)
Y = labels_of(bare_logits(NETWORK, X), temperature=0.4)
FIT = slice(0, 300)
CALIBRATOR = TemperatureScaling(NETWORK).fit(X[FIT], Y[FIT])


def prove(calibrator, x, y, target=0.1, **fit):
    return SelectiveClassifier(calibrator, target_risk=target).fit(x, y, **fit)


def silently(calibrator, x, y, target=0.1, **fit):
    with warnings.catch_warnings(action="ignore"):
        return prove(calibrator, x, y, target, **fit)


class Pairs(Dataset):
    def __init__(self, x, y):
        self.x, self.y = torch.from_numpy(x), y.tolist()

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return self.x[index], self.y[index]


class Stream(IterableDataset):
    def __init__(self, x, y):
        self.pairs = Pairs(x, y)

    def __iter__(self):
        return (self.pairs[index] for index in range(len(self.pairs)))


def part(x, y, rows):
    """Of a Dataset that has these samples twice the second ones, by their numbers in a list, say."""
    return Subset(Pairs(np.append(x, x, 0), np.append(y, y)), rows(range(len(x), 2 * len(x)))), None


HELD_BY = {
    "array": lambda x, y: (x, y),
    "tensor": lambda x, y: (torch.from_numpy(x), y),
    "list": lambda x, y: (x.tolist(), y),
    "list of tensors": lambda x, y: (list(torch.from_numpy(x)), y),
    "frame": lambda x, y: (pd.DataFrame(x), y),
    "dict": lambda x, y: ({"input": x}, y),
    "Dataset": lambda x, y: (Pairs(x, y), None),
    "DataLoader": lambda x, y: (DataLoader(Pairs(x, y), 70), None),
    "part": lambda x, y: part(x, y, list),
    "part by a tuple": lambda x, y: part(x, y, tuple),
    "part by objects": lambda x, y: part(x, y, partial(np.array, dtype=object)),
    "part from behind": lambda x, y: (Subset(part(x[::-1], y[::-1], list)[0], np.arange(len(x))[::-1]), None),
    "stream": lambda x, y: (Stream(x, y), None),
}


# Samples that fitted the calibrator


@pytest.mark.parametrize(("start", "share"), [(150, "25%"), (250, "8%")])
@pytest.mark.parametrize("held", HELD_BY)
def test_a_part_that_the_calibrator_has_seen_is_told(held, start, share):
    calibrator, rows = TemperatureScaling(NETWORK).fit(*HELD_BY[held](X[FIT], Y[FIT])), slice(start, start + 600)
    with pytest.warns(CalibrationSetWarning, match=f"TemperatureScaling was fitted to, about {share} of X, which"):
        found = prove(calibrator, X[rows], Y[rows])
    assert not found.guaranteed_
    assert found.verdict_.reason.startswith(f"Not guaranteed, for about {share} of the samples had fitted")
    order = np.random.default_rng(0).permutation(600)
    with pytest.warns(CalibrationSetWarning, match=f"about {share} of X"):
        prove(CALIBRATOR, *HELD_BY[held](X[rows][order], Y[rows][order]))
    assert prove(calibrator, *HELD_BY[held](X[300:900], Y[300:900])).guaranteed_


def test_a_file_has_half_of_each_hash_or_none(tmp_path):
    path, sizes = tmp_path / "calibrator.safetensors", []
    for remember in (True, False):
        CALIBRATOR.save(path, remember=remember)
        sizes.append(path.stat().st_size)
        loaded = skclamp.load(path, NETWORK)
        np.testing.assert_array_equal(loaded.predict_proba(X), CALIBRATOR.predict_proba(X))
        for _ in range(2):
            assert silently(loaded, X[250:850], Y[250:850]).guaranteed_ is not remember
            assert prove(loaded, X[300:900], Y[300:900]).guaranteed_
            # What was loaded is saved as it is.
            loaded.save(path)
            loaded = skclamp.load(path, NETWORK)
    assert 2 * 300 <= sizes[0] - sizes[1] < 3 * 300
    # What is saved around it takes either for the same.
    proven = prove(CALIBRATOR, X[300:900], Y[300:900])
    proven.save(path)
    assert skclamp.load(path, loaded).threshold_ == proven.threshold_


def test_values_that_come_often_are_no_overlap():
    """Of few categories, of names, of rare ones, and of rows that a table has several times."""
    rng = np.random.default_rng(0)
    names = pd.DataFrame({"a": rng.choice(list("xyz"), 3000, p=[0.8, 0.1, 0.1]), "b": rng.choice([*"uvwxy"], 3000)})
    rare = (rng.random((3000, 20)) < 0.1).astype(float)
    rounded = np.round(rng.normal(size=(3000, 3)), 1)
    drawn = rng.normal(size=(1500, 3))[rng.integers(1500, size=3000)]
    for x in (names, rare, csr_matrix(rare), rounded, drawn):
        labels = (rng.random(3000) < 0.3).astype(int)
        classifier = LogisticRegression() if x is not names else make_pipeline(OneHotEncoder(), LogisticRegression())
        calibrator = TemperatureScaling(classifier.fit(x[:1000], labels[:1000]))
        calibrator.fit(x[1000:2000], labels[1000:2000])
        assert "had fitted" not in silently(calibrator, x[2000:], labels[2000:], 0.5).verdict_.reason
        if x is rounded:
            half = silently(calibrator, x[1500:2500], labels[1500:2500], 0.5)
            assert "had fitted" in half.verdict_.reason


# Samples that trained the network


def test_samples_that_trained_the_network_are_told():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(1000, 3)), rng.integers(2, size=1000)
    fitted = KNeighborsClassifier(1).fit(x, y)
    with pytest.warns(TrainingDataWarning, match="makes no error on the 1000 samples .* prove the risk on others"):
        prove(fitted, x, y)
    with pytest.warns(CalibrationSetWarning, match="Not guaranteed") as caught:
        prove(fitted, rng.normal(size=(1000, 3)), y)
    assert not any(issubclass(warning.category, TrainingDataWarning) for warning in caught)


# Equal samples


def drawn(seed, n, repeats):
    """Logits of an overconfident network and labels, each sample several times, in random order."""
    rng = np.random.default_rng(seed)
    logits = 20 * rng.normal(size=(n, 4))
    labels = (logits / 2 + rng.gumbel(size=logits.shape)).argmax(1)
    rows = rng.permutation(np.repeat(np.arange(n), rng.integers(1, 11, n) if repeats == "unequal" else repeats))
    return logits[rows], labels[rows]


LOGITS, LABELS = drawn(10**6, 20000, 1)
OF_LOGITS = TemperatureScaling().fit(LOGITS[:2000], LABELS[:2000])


def test_equal_samples_count_once():
    x, best = X[300:360], CALIBRATOR.predict(X[300:360])
    for held in HELD_BY:
        tiled = HELD_BY[held](np.tile(x, (10, 1)), np.tile(best, 10))
        with pytest.warns(CalibrationSetWarning):
            found = prove(CALIBRATOR, *tiled, target=0.02)
        assert not found.guaranteed_, held
        assert found.verdict_.reason.endswith("Equal samples count once: 60 are distinct.")
    # 60 right answers don't prove 2 %; 600 do.
    with pytest.warns(TrainingDataWarning):
        assert prove(CALIBRATOR, X[300:900], CALIBRATOR.predict(X[300:900]), target=0.02).guaranteed_
    # A group is linked to another by what they share.
    groups = np.repeat(np.arange(300), 2)
    twice, labels = np.tile(X[300:600], (2, 1)), np.tile(Y[300:600], 2)
    linked = silently(CALIBRATOR, twice, labels, groups=groups)
    assert linked.verdict_ == silently(CALIBRATOR, twice, labels, groups=np.tile(groups[:300], 2)).verdict_


@pytest.mark.slow
@pytest.mark.parametrize("repeats", [2, 5, 10, "unequal"])
@pytest.mark.parametrize(("n", "target"), [(60, 0.02), (300, 0.05)])
def test_copies_break_no_promise(repeats, n, target):
    confidence, wrong = OF_LOGITS.predict_proba(LOGITS[2000:]).max(1), OF_LOGITS.predict(LOGITS[2000:]) != LABELS[2000:]
    broken = []
    for seed in range(100):
        found = silently(OF_LOGITS, *drawn(seed, n, repeats), target)
        answered = confidence > found.threshold_
        broken.append(found.guaranteed_ and wrong[answered].mean() > target)
    assert np.mean(broken) <= 0.07
