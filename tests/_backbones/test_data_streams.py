"""Datasets that can only be gone through: calibrators of the outputs do so once; clamping says why it can't."""

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of, snapshot
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from skclamp import CalibratorSelector, HistogramBinning, NeuralClampingCalibrator, TemperatureScaling, VectorScaling

N_SAMPLES = 150
NETWORK = convolutional()
X = images(N_SAMPLES)
Y = labels_of(bare_logits(NETWORK, X))


class Stream(IterableDataset):
    """Goes through items; counts how often."""

    def __init__(self, items):
        self.items = items
        self.passes = 0

    def __iter__(self):
        self.passes += 1
        return iter(self.items)


class Shared(Stream):
    """Each worker takes its part, as torch's documentation has it."""

    def __iter__(self):
        worker = get_worker_info()
        return iter(self.items if worker is None else self.items[worker.id :: worker.num_workers])


class Counted(Stream):
    def __len__(self):
        return len(self.items)


PAIRS = list(zip(torch.from_numpy(X), Y.tolist(), strict=True))


@pytest.mark.parametrize("make", [TemperatureScaling, VectorScaling, HistogramBinning, CalibratorSelector])
def test_one_pass_brings_inputs_and_labels(make):
    stream = Stream(PAIRS)
    calibrator = make(NETWORK, batch_size=32).fit(stream)
    assert stream.passes == 1
    expected = make(NETWORK, batch_size=32).fit(X, Y)
    np.testing.assert_array_equal(calibrator.predict_proba(stream), expected.predict_proba(X))
    assert stream.passes == 2


@pytest.mark.parametrize("y", [None, Y], ids=["its own", "given"])
@pytest.mark.parametrize("made", [Counted(PAIRS), DataLoader(Stream(PAIRS), batch_size=7)], ids=["counted", "loader"])
def test_labels_are_its_own_or_given(made, y):
    calibrator = TemperatureScaling(NETWORK).fit(made, y)
    assert calibrator.temperature_ == pytest.approx(TemperatureScaling(NETWORK).fit(X, Y).temperature_, rel=1e-6)


def test_predictions_are_as_many_as_the_stream_has_samples():
    calibrator = TemperatureScaling(NETWORK).fit(X, Y)
    for n_samples in (1, 64, 65, N_SAMPLES):
        proba = calibrator.predict_proba(Stream(X[:n_samples]))
        np.testing.assert_allclose(proba, calibrator.predict_proba(X[:n_samples]), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", [Stream, Shared])
@pytest.mark.usefixtures("one_core")
def test_several_workers_neither_repeat_samples_nor_change_their_order(kind):
    with pytest.warns(UserWarning, match="2 worker processes"):
        pairs = DataLoader(kind(PAIRS), num_workers=2)
        workers = DataLoader(kind(list(X)), batch_size=64, num_workers=2)
    calibrator = TemperatureScaling(NETWORK).fit(X, Y)
    expected = calibrator.predict_proba(X)
    calibrator.fit(pairs)
    np.testing.assert_allclose(calibrator.predict_proba(kind(list(X))), expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(calibrator.predict_proba(workers), expected, rtol=0, atol=1e-6)


def test_clamping_predicts_for_a_stream():
    options = {"perturbation": "affine", "validation_fraction": None, "random_state": 0}
    calibrator = NeuralClampingCalibrator(NETWORK, **options).fit(X, Y)
    np.testing.assert_array_equal(calibrator.predict_proba(Stream(PAIRS)), calibrator.predict_proba(X))


def test_clamping_reads_its_samples_several_times():
    before = snapshot(NETWORK)
    for stream in (Stream(PAIRS), DataLoader(Stream(PAIRS))):
        with pytest.raises(TypeError, match="X must be an array, a dict or a map-style Dataset.* got Stream, a stream"):
            NeuralClampingCalibrator(NETWORK).fit(stream)
    assert snapshot(NETWORK) == before


@pytest.mark.parametrize(
    ("stream", "y", "error", "message"),
    [
        (Stream([]), Y, ValueError, "X must not be empty; got a stream without samples"),
        (Stream(PAIRS), Y[:9], ValueError, "y must have one value per sample: .* 150 and 9"),
        (Stream(list(X)), None, ValueError, "X brings no labels. Items of a Dataset"),
        (DataLoader(Stream(PAIRS), drop_last=True), None, ValueError, "leaves out no sample; got one of a stream with"),
        (DataLoader(Stream(PAIRS), collate_fn=list), None, TypeError, "whose collate_fn .* got list of tuple"),
        (Stream([*X[:3], X[3, :, :5]]), Y[:4], ValueError, r"inputs of one size; .*\(3, 5, 8\), \(3, 8, 8\)"),
    ],
)
def test_bad_streams(stream, y, error, message):
    with pytest.raises(error, match=message):
        TemperatureScaling(NETWORK).fit(stream, y)
