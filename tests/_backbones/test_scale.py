"""New inputs on another scale than those of the fit are told; ordinary ones, however odd, are not."""

import warnings

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import skclamp
from skclamp import NeuralClampingCalibrator, TemperatureScaling
from skclamp.exceptions import CalibrationSetWarning

MEAN, STD = 0.45, 0.25


class Scaled(nn.Module):
    """A network of images in [0, 1], behind what makes such of its inputs."""

    def __init__(self, gain=1.0, offset=0.0):
        super().__init__()
        self.network, self.gain, self.offset = convolutional(), gain, offset

    def forward(self, pixels):
        return self.network((pixels * self.gain + self.offset - 0.5) / 0.25)


def photographs(n_samples=300, seed=0):
    """Images in [0, 1], of several brightnesses and contrasts."""
    rng = np.random.default_rng(seed)
    level, spread = rng.uniform(0.25, 0.75, size=(2, n_samples, 1, 1, 1))
    return (level + 0.35 * spread * images(n_samples)).clip(0, 1).astype(np.float32)


PIXELS = photographs()
NEW = photographs(80, seed=1)
KINDS = {
    "fractions": (Scaled(), lambda pixels: pixels),
    "bytes": (Scaled(1 / 255), lambda pixels: 255 * pixels),
    "normalised": (Scaled(STD, MEAN), lambda pixels: (pixels - MEAN) / STD),
}


def fitted(kind, calibrator=TemperatureScaling, **options):
    network, scale = KINDS[kind]
    network = network.eval()
    X = scale(PIXELS).astype(np.float32)
    return calibrator(network, **options).fit(X, labels_of(bare_logits(network, X)))


def told(function):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return [str(each.message) for each in caught if issubclass(each.category, CalibrationSetWarning)]


@pytest.mark.parametrize("calibrator", [TemperatureScaling, NeuralClampingCalibrator])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("fractions", "bytes"),
        ("bytes", "fractions"),
        ("fractions", "normalised"),
        ("bytes", "normalised"),
        ("normalised", "bytes"),
    ],
)
def test_inputs_on_another_scale_are_told(before, after, calibrator, tmp_path):
    options = {"random_state": 0} if calibrator is NeuralClampingCalibrator else {}
    fit = fitted(before, calibrator, **options)
    fit.save(tmp_path / "saved")
    loaded = skclamp.load(tmp_path / "saved", KINDS[before][0])
    wrong, right = (KINDS[kind][1](NEW).astype(np.float32) for kind in (after, before))
    (message,) = told(lambda: fit.predict_proba(wrong))
    assert message.startswith("X holds from ") and "on another scale than in fit: those of fit ranged from " in message
    assert told(lambda: loaded.predict(wrong)) == [message]
    assert told(lambda: fit.predict_proba(DataLoader(TensorDataset(torch.from_numpy(wrong)), batch_size=64))) == [
        message
    ]
    assert told(lambda: fit.predict_proba(right)) == told(lambda: loaded.predict_proba(right[:1])) == []


@pytest.mark.parametrize("kind", KINDS)
def test_ordinary_images_are_no_news(kind):
    fit, scale, rng = fitted(kind), KINDS[kind][1], np.random.default_rng(0)
    changes = {
        "darker": 0.2 * NEW,
        "brighter": (NEW + 0.3).clip(0, 1),
        "in fog": 0.5 + 0.1 * (NEW - 0.5),
        "noisy": NEW + 0.3 * rng.normal(size=NEW.shape),
        "black": 0 * NEW[:1],
        "with an outlier": np.concatenate([NEW, np.full_like(NEW[:1], 1000)]),
        "overexposed": 2 * NEW,
    }
    for changed in changes.values():
        X = scale(changed).astype(np.float32)
        assert told(lambda X=X: fit.predict_proba(X)) == []
        assert told(lambda X=X: fit.predict_proba(X[:1])) == []


def test_tables_and_their_classifiers():
    X, y = make_classification(2000, 10, n_informative=6, n_classes=3, random_state=0)
    raw = 1000 + 300 * X
    classifier = make_pipeline(StandardScaler(), LogisticRegression()).fit(raw[:500], y[:500])
    fit = TemperatureScaling(classifier).fit(raw[500:600], y[500:600])
    rng = np.random.default_rng(0)
    for ordinary in (raw[600:], raw[600:601], 1000 + 300 * rng.standard_t(2, size=(2000, 10)), 1.5 * raw):
        assert told(lambda X=ordinary: fit.predict_proba(X)) == []
    assert len(told(lambda: fit.predict_proba(X[600:]))) == 1
    assert len(told(lambda: fit.predict_proba(100 * raw[600:]))) == 1


@pytest.mark.parametrize("factor", [4, 6, 8])
def test_a_few_times_as_large_is_told_where_hardly_a_sample_of_the_fit_was(factor):
    fit = fitted("normalised")
    normalised = KINDS["normalised"][1](NEW).astype(np.float32)
    assert len(told(lambda: fit.predict_proba(factor * normalised))) == 1
    # A single one may be anything.
    assert told(lambda: fit.predict_proba(factor * normalised[:1])) == []
    heavy = np.random.default_rng(0).standard_t(2, size=(300, 20)).astype(np.float32)
    network = nn.Linear(20, 3).eval()
    of_tails = TemperatureScaling(network).fit(heavy, labels_of(bare_logits(network, heavy)))
    assert told(lambda: of_tails.predict_proba(factor * heavy)) == []


def test_few_samples_tell_little_and_tokens_nothing():
    for seed in range(50):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(20, 1)).astype(np.float32)
        network = nn.Linear(1, 2).eval()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fit = TemperatureScaling(network).fit(X, np.arange(20) % 2)
        assert told(lambda fit=fit, rng=rng: fit.predict_proba(rng.normal(size=(500, 1)).astype(np.float32))) == []
        assert told(lambda fit=fit, rng=rng: fit.predict_proba(rng.normal(size=(1, 1)).astype(np.float32))) == []
    network = nn.Sequential(nn.Embedding(5000, 4), nn.Flatten(), nn.Linear(12, 3)).eval()
    tokens = torch.randint(5, size=(200, 3), generator=torch.Generator().manual_seed(0))
    fit = TemperatureScaling(network).fit(tokens, labels_of(bare_logits(network, tokens)))
    assert told(lambda: fit.predict_proba(tokens + 4900)) == []


def test_logits_and_inputs_by_name():
    rng = np.random.default_rng(0)
    y = rng.integers(5, size=1000)
    logits = 2 * rng.normal(size=(1000, 5)) + 3 * np.eye(5)[y]
    fit = TemperatureScaling().fit(logits[:500], y[:500])
    assert told(lambda: fit.predict_proba(3 * logits[500:])) == told(lambda: fit.predict_proba(logits[500:501])) == []
    assert len(told(lambda: fit.predict_proba(100 * logits[500:]))) == 1
    assert len(told(lambda: fit.transform_logits(100 * logits[500:]))) == 1
    network = Scaled().eval()
    named = TemperatureScaling(network).fit({"pixels": PIXELS}, labels_of(bare_logits(network, PIXELS)))
    assert len(told(lambda: named.predict_proba({"pixels": 255 * NEW}))) == 1
    assert told(lambda: named.predict_proba({"pixels": NEW})) == []


def test_a_constant_or_a_single_row_of_logits_is_on_no_other_scale():
    rng = np.random.default_rng(0)
    logits = 5 * rng.normal(size=(300, 10))
    calibrator = TemperatureScaling().fit(logits, (logits + rng.gumbel(size=logits.shape)).argmax(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibrator.predict_proba(logits + 1000)
        calibrator.predict_proba(np.full((1, 10), 0.1))
    with pytest.warns(CalibrationSetWarning, match="on another scale than in fit"):
        calibrator.predict_proba(100 * logits)
