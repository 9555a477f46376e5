"""Labels that come with the data: score, scorers, displays and comparisons take what fit takes."""

import functools

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of
from sklearn.linear_model import LogisticRegression
from skorch.helper import SliceDataset
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from skclamp import CalibratorSelector, NeuralClampingCalibrator, TemperatureScaling
from skclamp.display import ReliabilityDisplay, ReliabilityGridDisplay
from skclamp.metrics import neg_brier_score_scorer, neg_expected_calibration_error_scorer, neg_log_likelihood_scorer

N_SAMPLES = 150
NETWORK = convolutional()
X = torch.from_numpy(images(N_SAMPLES))
Y = labels_of(bare_logits(NETWORK, X))
PAIRS = TensorDataset(X, torch.from_numpy(Y))
SCORERS = [neg_log_likelihood_scorer, neg_expected_calibration_error_scorer, neg_brier_score_scorer]


class ByName(nn.Module):
    def __init__(self):
        super().__init__()
        self.network = NETWORK

    def forward(self, pixels):
        return self.network(pixels)


class Stream(IterableDataset):
    """Goes through its items once and no more."""

    def __init__(self):
        self.items = zip(X, Y.tolist(), strict=True)

    def __iter__(self):
        return self.items


def hugging_face():
    datasets = pytest.importorskip("datasets", reason="needs Hugging Face's datasets: pip install 'skclamp[test]'")
    return datasets.Dataset.from_dict({"pixels": X.numpy(), "label": Y})


# What brings the labels of the same samples; and whether the network takes them by name.
KINDS = {
    "Dataset": (lambda: PAIRS, False),
    "loader that shuffles": (lambda: DataLoader(PAIRS, batch_size=40, shuffle=True, num_workers=1), False),
    "list in a loader": (lambda: DataLoader([(x, int(y)) for x, y in PAIRS], batch_size=40), False),
    "stream": (Stream, False),
    "dict": (lambda: {"pixels": X, "labels": Y}, True),
    "Hugging Face's": (hugging_face, True),
}


def clamping(network, **options):
    return NeuralClampingCalibrator(network, perturbation="affine", validation_fraction=None, random_state=0, **options)


@functools.cache
def fitted(name, named):
    network = ByName() if named else NETWORK
    key = {"input_key": "pixels"} if named and name == "clamping" else {}
    made = {"temperature": TemperatureScaling, "clamping": clamping, "selector": CalibratorSelector}[name]
    return made(network, **key).fit({"pixels": X, "labels": Y} if named else PAIRS)


def gap(display):
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.close(display.figure_)
    return display.bins.expected_gap()


@pytest.mark.parametrize(
    ("name", "kind"), [("temperature", kind) for kind in KINDS] + [("clamping", "Dataset"), ("selector", "Dataset")]
)
def test_labels_come_with_the_data(name, kind):
    make, named = KINDS[kind]
    calibrator = fitted(name, named)
    inputs = {"pixels": X} if named else X
    assert calibrator.score(make()) == calibrator.score(inputs, Y)
    for scorer in SCORERS:
        assert scorer(calibrator, make()) == pytest.approx(scorer(calibrator, inputs, Y), rel=1e-6)
        assert scorer(calibrator, make(), None) == scorer(calibrator, make())
    pytest.importorskip("matplotlib").use("Agg")
    drawn = ReliabilityDisplay.from_estimator(calibrator, make(), n_draws=0)
    expected = ReliabilityDisplay.from_estimator(calibrator, inputs, Y, n_draws=0)
    assert gap(drawn) == pytest.approx(gap(expected), rel=1e-6)


def test_weights_go_by_the_order_of_the_data():
    weight = np.arange(N_SAMPLES, dtype=float)
    calibrator, loader = fitted("temperature", False), DataLoader(PAIRS, shuffle=True, batch_size=50)
    assert calibrator.score(PAIRS, sample_weight=weight) == calibrator.score(X, Y, weight)
    assert neg_log_likelihood_scorer(calibrator, PAIRS, sample_weight=weight) == pytest.approx(
        neg_log_likelihood_scorer(calibrator, X, Y, sample_weight=weight)
    )
    for call in (calibrator.score, functools.partial(neg_brier_score_scorer, calibrator)):
        with pytest.raises(ValueError, match="in order: pass shuffle=False: y, .* order; got one with a RandomSampler"):
            call(loader, sample_weight=weight)


# Arrays bring none


def test_arrays_need_y():
    pytest.importorskip("matplotlib")
    calibrator = fitted("temperature", False)
    for call in (
        calibrator.score,
        functools.partial(ReliabilityDisplay.from_estimator, calibrator),
        functools.partial(ReliabilityDisplay.from_estimator, LogisticRegression().fit(X[:, 0, 0], Y)),
        functools.partial(ReliabilityGridDisplay.from_estimators, [calibrator]),
        *(functools.partial(scorer, calibrator) for scorer in SCORERS),
    ):
        with pytest.raises(ValueError, match="may be left out only when X brings them"):
            call(X)
    with pytest.raises(ValueError, match="target y_true is None"):
        neg_brier_score_scorer(LogisticRegression().fit(X[:, 0, 0], Y), X[:, 0, 0])


# A y beside them


def test_y_may_be_the_same_or_names():
    names = np.array(["bird", "cat", "dog", "eel"])
    for y in (Y, Y.tolist(), Y.astype(float), names[Y]):
        calibrator = TemperatureScaling(NETWORK).fit(PAIRS, y)
        assert calibrator.temperature_ == TemperatureScaling(NETWORK).fit(X, Y).temperature_
        assert calibrator.score(PAIRS, y) == calibrator.score(X, y)
    np.testing.assert_array_equal(calibrator.classes_, names)


@pytest.mark.parametrize("y", [Y[::-1], Y + 1], ids=["turned", "+ 1"])
def test_y_must_be_what_the_data_say(y):
    calibrator, data = fitted("temperature", False), {"pixels": X, "labels": Y}
    named = fitted("temperature", True)
    for call in (
        functools.partial(TemperatureScaling(NETWORK).fit, PAIRS),
        functools.partial(clamping(NETWORK).fit, DataLoader(PAIRS, batch_size=50)),
        functools.partial(TemperatureScaling(ByName()).fit, data),
        functools.partial(calibrator.score, PAIRS),
        functools.partial(named.score, data),
    ):
        with pytest.raises(ValueError, match="y must be the labels that X brings, or be left out; got .* for sample"):
            call(y)
    with pytest.raises(ValueError, match="y_true must be the labels that X brings"):
        neg_log_likelihood_scorer(calibrator, PAIRS, y)
    TemperatureScaling(NETWORK).fit(SliceDataset(PAIRS), Y[::-1])
