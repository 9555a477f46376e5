"""The samples behind a comparison's page: wrong answers, worst classes, and small pictures of a few images."""

import base64
import io
import pickle
import sys

import numpy as np
import pytest
import torch
from _digits import calibration_and_test, shifted
from _report_pages import FEW, OfPixels, labels_for, logits_of, read_page, scenes
from scipy.stats import binomtest, sem
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, IterableDataset, TensorDataset, default_collate

from skclamp import NeuralClampingCalibrator, TemperatureScaling, TorchTraining, compare_calibrators

N = 120
QUICK = {"validation_fraction": None, "max_epochs": 1, "random_state": 0}


def test_tells_wrong_answers_and_worst_classes(digits, tmp_path):
    comparison, proba, y = digits
    data = read_page(comparison, tmp_path / "report.html").data
    hits = {name: own.argmax(1) == y for name, own in proba.items()}
    for row, answers in zip(data["rows"], data["answers"], strict=True):
        own, right = proba[row["name"]], hits[row["name"]]
        confidence, wrong = own.max(1), np.flatnonzero(~right)
        surest = wrong[np.argsort(-confidence[wrong], kind="stable")][:12]
        assert [answer["row"] for answer in answers["wrong"]] == list(surest)
        assert [answer["label"] for answer in answers["wrong"]] == [str(y[k]) for k in surest]
        assert [answer["prediction"] for answer in answers["wrong"]] == [str(own[k].argmax()) for k in surest]
        assert [answer["confidence"] for answer in answers["wrong"]] == pytest.approx(
            list(confidence[surest]), abs=1e-6
        )
        ends = []
        for each in answers["classes"]:
            of_class = y == int(each["name"])
            assert (each["count"], each["hits"]) == (of_class.sum(), right[of_class].sum())
            assert each["confidence"] == pytest.approx(confidence[of_class].mean(), abs=1e-6)
            taken = np.bincount(own.argmax(1)[of_class & ~right], minlength=10)
            assert each["times"] == taken.max() == taken[int(each["taken_for"])] > 0
            ends.append(binomtest(each["hits"], each["count"]).proportion_ci(method="wilson").high)
        assert ends == sorted(ends) and len(ends) == len({*y[~right]})
        gains = right.astype(float) - hits["uncalibrated"]
        told = answers["accuracy_gain"], answers["accuracy_gain_se"]
        assert told == pytest.approx((gains.mean(), sem(gains)))


@pytest.mark.filterwarnings("ignore:X_test holds samples of X_cal:skclamp.exceptions.CalibrationSetWarning")
def test_where_all_answers_are_right_nothing_is_told_of_wrong_ones(tmp_path):
    z = logits_of(200)
    right = compare_calibrators(None, z, labels_for(200), z, z.argmax(1), calibrators=[TemperatureScaling()], **FEW)
    assert np.isnan(right["uncalibrated"].auroc)
    data = read_page(right, tmp_path / "report.html").data
    assert [row["auroc"] for row in data["rows"]] == [None, None]
    assert data["answers"][0]["wrong"] == data["answers"][0]["classes"] == []


# ---- pictures


def _pixels(png):
    """Of a PNG file in base64, as another reader of the format sees them."""
    image = pytest.importorskip("PIL.Image", reason="needs Pillow: pip install pillow")
    return np.atleast_3d(np.asarray(image.open(io.BytesIO(base64.b64decode(png)))))


def test_pictures_are_test_images_and_what_clamping_makes_of_them(digits, tmp_path):
    comparison, proba, _ = digits
    data = read_page(comparison, tmp_path / "report.html").data
    X = shifted(calibration_and_test(0)[1][0], "gain and offset")
    pictures = data["thumbnails"]
    wrong = {answer["row"] for own in data["answers"] for answer in own["wrong"]}
    sampled = [answer["row"] for answer in data["answers"][0]["sampled"]]
    assert len(sampled) == 8 and {*sampled} <= {int(row) for row in pictures["before"]} <= wrong | {*sampled}
    assert len(pictures["before"]) <= 48
    assert {answer["row"] for answer in data["answers"][0]["wrong"]} <= {int(row) for row in pictures["before"]}
    low, high = pictures["limits"]
    rows = [int(row) for row in pictures["before"]]
    assert low == X[rows].min() < 0 and high == X[rows].max(), "beyond [0, 1] the range is the images' own"

    def bytes_of(image):
        return np.rint(255 * ((image.transpose(1, 2, 0) - low) / (high - low)).clip(0, 1))

    for row, png in pictures["before"].items():
        np.testing.assert_allclose(_pixels(png), bytes_of(X[int(row)]), atol=1)
    (name,) = pictures["after"]
    assert name == "clamping" and [int(row) for row in pictures["after"][name]] == sampled
    with torch.no_grad():
        after = comparison.calibrators[name].perturbation_(torch.as_tensor(X[sampled])).numpy()
    for png, image in zip(pictures["after"][name].values(), after, strict=True):
        np.testing.assert_allclose(_pixels(png), bytes_of(image), atol=1)
    now = data["answers"][[row["name"] for row in data["rows"]].index(name)]["sampled"]
    assert [answer["prediction"] for answer in now] == [str(k) for k in proba[name][sampled].argmax(1)]


class _Pooled(nn.Module):
    """Four logits of the means of an input's quarters, whatever its shape."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(4) * 5)

    def forward(self, x):
        quarters = x.flatten(1).tensor_split(4, 1)
        return torch.stack([part.mean(1) for part in quarters], 1) @ self.weight


class _Stream(IterableDataset):
    def __init__(self, *pairs):
        self.pairs = pairs

    def __iter__(self):
        yield from zip(*self.pairs, strict=True)


def _images(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2 * N, *shape, generator=generator)


def _thumbnails(network, inputs, tmp_path, form="tensors", calibrators=None, **options):
    """Of the page of a comparison that is fitted to the first half of the inputs and tested on the second."""
    y, sets = torch.arange(2 * N) % 4, []
    for half in (slice(None, N), slice(N, None)):
        own = {k: v[half] for k, v in inputs.items()} if isinstance(inputs, dict) else inputs[half]
        sets += FORMS[form](own, y[half])
    comparison = compare_calibrators(
        network, *sets, calibrators=calibrators or [TemperatureScaling()], **FEW, **options
    )
    return read_page(comparison, tmp_path / "report.html").data["thumbnails"]


def _of_two_sizes(x, y):
    """Images of 8 by 8 pixels, then as many of 8 by 12."""
    half = N // 2
    pairs = ConcatDataset([TensorDataset(x[:half, ..., :8], y[:half]), TensorDataset(x[half:], y[half:])])
    return DataLoader(pairs, batch_size=half, collate_fn=lambda items: default_collate(items)), None


FORMS = {
    "arrays": lambda x, y: (x.numpy(), y.numpy()),
    "tensors": lambda x, y: (x, y.numpy()),
    "Dataset": lambda x, y: (TensorDataset(x, y), None),
    "DataLoader": lambda x, y: (DataLoader(TensorDataset(x, y), batch_size=50, shuffle=True), None),
    "stream": lambda x, y: (_Stream(x, y), None),
    "of two sizes": _of_two_sizes,
}


@pytest.mark.parametrize(
    ("form", "shape"),
    [("arrays", (1, 100, 150)), *((form, (3, 8, 8)) for form in ("tensors", "Dataset", "DataLoader"))],
)
def test_any_kind_of_images_is_pictured(form, shape, tmp_path):
    X = _images(*shape)
    found = _thumbnails(_Pooled(), X, tmp_path, form)
    size, step = ((8, 8), 1) if shape[1] == 8 else ((34, 50), 3)
    assert found["limits"] == [0, 1] and found["after"] == {}
    for row, png in found["before"].items():
        pixels = _pixels(png)
        assert pixels.shape == (*size, shape[0])
        image = torch.nn.functional.avg_pool2d(X[N + int(row)], step, ceil_mode=True).permute(1, 2, 0)
        np.testing.assert_allclose(pixels, 255 * image, atol=0.51)


def test_a_stream_is_compared_without_clamping():
    streams = [_Stream(_images(3, 8, 8, seed=seed), torch.arange(2 * N) % 4) for seed in (0, 1)]
    comparison = compare_calibrators(_Pooled(), streams[0], X_test=streams[1], **FEW)
    assert "NeuralClampingCalibrator" not in comparison.calibrators
    assert "TemperatureScaling" in comparison.calibrators


def test_little_of_the_test_set_is_kept(tmp_path):
    X = _images(3, 200, 200)
    y = (torch.arange(2 * N) % 4).numpy()
    clamping = NeuralClampingCalibrator(perturbation="channel", training=TorchTraining(init="normal"), **QUICK)
    comparison = compare_calibrators(_Pooled(), X[:N], y[:N], X[N:], y[N:], calibrators={"clamping": clamping}, **FEW)
    assert len(pickle.dumps(comparison._content)) < 1e6 < X[N:].nbytes / 50
    comparison.to_html(tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 1e6


def test_without_pillow_a_page_has_no_pictures(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert _thumbnails(_Pooled(), _images(3, 8, 8), tmp_path) is None


# ---- a class at each pixel


def _compared_scenes(*shape, n=20, **options):
    (X_cal, y_cal), (X_test, y_test) = (scenes(*shape, seed=seed, n=n) for seed in (0, 1))
    y_test[3] = 9
    of_logits = TemperatureScaling(ignore_index=9).fit(OfPixels()(X_cal), y_cal)
    calibrators = {"temperature": TemperatureScaling(), "of logits": of_logits}
    options = {"calibrators": calibrators, "ignore_index": 9, "verbose": 0, **FEW, **options}
    return compare_calibrators(OfPixels(), X_cal, y_cal, X_test, y_test, **options), X_test, y_test


def test_of_pixels_the_share_of_right_ones_is_told(tmp_path):
    comparison, X, y = _compared_scenes(3, 12, 10)
    data = read_page(comparison, tmp_path / "report.html").data
    proba = torch.softmax(OfPixels()(X), 1).numpy()
    names = [row["name"] for row in data["rows"]]
    sampled = data["answers"][names.index("uncalibrated")]["sampled"]
    assert [own["row"] for own in sampled] == [int(k) for k in np.linspace(0, len(X) - 1, 8)]
    for own in sampled:
        known = y[own["row"]] != 9
        hits = (proba[own["row"]].argmax(0) == y[own["row"]])[known]
        assert own["right"] == (pytest.approx(hits.mean()) if known.any() else None)
