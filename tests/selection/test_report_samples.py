"""The samples behind a comparison's page: wrong answers, worst classes, and small pictures of a few images."""

import base64
import io
import pickle
import sys

import numpy as np
import pytest
import torch
from _digits import calibration_and_test, convolutional_network, shifted
from _report_pages import FEW, OfPixels, labels_for, logits_of, read_page, scenes, small_comparison
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


def test_a_page_without_samples_tells_of_none(digits, tmp_path):
    data = read_page(digits[0], tmp_path / "report.html", samples=False).data
    assert data["thumbnails"] is None and not data["samples"]
    assert all(answers["wrong"] == answers["sampled"] == [] for answers in data["answers"])
    assert all(answers["classes"] for answers in data["answers"])
    with pytest.raises(TypeError, match="samples must be True or False; got 'none'"):
        digits[0].to_html(tmp_path / "report.html", samples="none")


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
    low, high = np.array(pictures["limits"]).T
    assert (low < high).all() and X.min() < 0, "beyond [0, 1], each channel has its own range"

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


def test_clamped_features_are_shown_by_layer_and_leave_images_as_they_are(tmp_path):
    parts = [part for pair in calibration_and_test(0, n_calibration=120) for part in pair]
    norm = NeuralClampingCalibrator(perturbation="norm", validation_fraction=None, max_epochs=1)
    comparison = compare_calibrators(convolutional_network(), *parts, calibrators={"norm": norm}, **FEW)
    assert comparison.calibrators["norm"].accepted_
    data = read_page(comparison, tmp_path / "report.html").data
    assert data["thumbnails"]["after"] == {}
    (told,) = data["perturbations"]
    assert [panel["title"] for panel in told["panels"]] == ["norm: gain by layer", "norm: offset by layer"]
    (learned,) = comparison.calibrators["norm"].perturbation_
    for panel, k in zip(told["panels"], (1, 2), strict=True):
        assert panel["kind"] == "depth" and panel["names"] == [layer.name for layer in learned.layers]
        ends = [[of[k].min().item(), of[k].median().item(), of[k].max().item()] for of in learned.by_layer()]
        shown = np.array(panel["quantiles"])
        np.testing.assert_allclose(shown[:, [0, 4]], np.array(ends)[:, [0, 2]], rtol=1e-5)
        assert (np.diff(shown) >= 0).all()


class _Pooled(nn.Module):
    """Four logits of the means of an input's quarters, whatever its shape."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.eye(4) * 5)

    def forward(self, x):
        quarters = x.flatten(1).tensor_split(4, 1)
        return torch.stack([part.mean(1) for part in quarters], 1) @ self.weight


class _Named(_Pooled):
    def forward(self, more, pixels):
        return super().forward(pixels) + 0 * more[:, :1]


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
    size = (8, 8) if shape[1] == 8 else (43, 64)
    assert found["limits"] == [[0, 1]] * shape[0] and found["after"] == {}
    for row, png in found["before"].items():
        pixels = _pixels(png)
        assert pixels.shape == (*size, shape[0])
        image = torch.nn.functional.interpolate(X[N + int(row)][None], size, mode="area")[0].permute(1, 2, 0)
        np.testing.assert_allclose(pixels, 255 * image, atol=0.51)


def test_bytes_and_entries_by_name_are_pictured(tmp_path):
    scaled = (255 * _images(3, 8, 8)).byte()
    found = _thumbnails(_Pooled(), scaled, tmp_path, integer_scale=1 / 255)
    for row, png in found["before"].items():
        np.testing.assert_array_equal(_pixels(png), scaled[N + int(row)].permute(1, 2, 0))
    X = {"more": torch.zeros(2 * N, 5), "pixels": _images(3, 8, 8)}
    clamping = NeuralClampingCalibrator(
        perturbation="channel", training=TorchTraining(init="normal"), input_key="pixels", **QUICK
    )
    found = _thumbnails(_Named(), X, tmp_path, calibrators={"clamping": clamping})
    assert [_pixels(png).shape for png in found["after"]["clamping"].values()] == [(8, 8, 3)] * 8


@pytest.mark.parametrize("shape", [(12,), (3, 16), (4, 8, 8), (8, 8, 3), (3, 4, 8, 8)])
def test_what_is_no_image_has_no_picture(shape, tmp_path):
    assert _thumbnails(_Pooled(), _images(*shape), tmp_path) is None


def test_streams_logits_and_tokens_have_no_picture(tmp_path):
    assert _thumbnails(_Pooled(), _images(3, 8, 8), tmp_path, "stream") is None
    assert read_page(small_comparison(), tmp_path / "report.html").data["thumbnails"] is None
    tokens = nn.Sequential(nn.Embedding(20, 6), nn.Flatten(), nn.Linear(30, 4))
    words = torch.randint(20, (2 * N, 5), generator=torch.Generator().manual_seed(0))
    assert _thumbnails(tokens, words, tmp_path) is None


def test_a_stream_is_compared_without_clamping():
    streams = [_Stream(_images(3, 8, 8, seed=seed), torch.arange(2 * N) % 4) for seed in (0, 1)]
    comparison = compare_calibrators(_Pooled(), streams[0], X_test=streams[1], **FEW)
    assert "NeuralClampingCalibrator" not in comparison.calibrators
    assert "TemperatureScaling" in comparison.calibrators


def test_images_may_differ_in_size(tmp_path):
    found = _thumbnails(_Pooled(), _images(3, 8, 12), tmp_path, "of two sizes")
    for row, png in found["before"].items():
        assert _pixels(png).shape == (8, 8 if int(row) < N // 2 else 12, 3)


def test_a_channel_of_one_value_is_black(tmp_path):
    X = 3 * _images(3, 8, 8)
    X[:, 2] = 2.0
    found = _thumbnails(_Pooled(), X, tmp_path)
    drawn = np.stack([_pixels(png) for png in found["before"].values()])
    assert drawn[..., :2].max() == 255 and drawn[..., 2].max() == 0


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


def test_pixels_are_pictured_by_class_and_by_where_confidence_is_wrong(tmp_path):
    comparison, X, y = _compared_scenes(3, 12, 10)
    data = read_page(comparison, tmp_path / "report.html").data
    drawn, pictures = data["thumbnails"]["scenes"], data["thumbnails"]
    answers = comparison._content["answers"]
    order = ["uncalibrated", *(row.name for row in comparison.rows)]
    named = dict.fromkeys(answer["row"] for name in order for answer in answers[name]["wrong"])
    rows = [int(row) for row in drawn["masks"]]
    assert 0 < len(rows) <= 8 and {*rows} == {*list(named)[:8]} and 3 not in rows
    assert data["columns"] == ["0", "1", "2", "3"]
    proba = {name: own.predict_proba(X) for name, own in comparison.calibrators.items() if name == "temperature"}
    proba["uncalibrated"] = torch.softmax(OfPixels()(X), 1).numpy()
    colors = np.array([drawn["colors"][str(k)] for k in range(4)] + 5 * [[0, 0, 0]] + [[128, 128, 128]])
    for row in rows:
        np.testing.assert_array_equal(_pixels(drawn["masks"][str(row)]), colors[y[row]])
        np.testing.assert_allclose(_pixels(pictures["before"][str(row)]), 255 * X[row].permute(1, 2, 0), atol=0.51)
        for name, own in proba.items():
            is_wrong = (own[row].argmax(0) != y[row]) & (y[row] != 9)
            expected = 255 * (1 - own[row].max(0) * is_wrong)
            np.testing.assert_allclose(_pixels(drawn["wrong"][name][str(row)])[..., 0], expected, atol=0.51)
            share = (own[row].argmax(0) == y[row])[y[row] != 9].mean()
            assert drawn["right"][name][str(row)] == pytest.approx(share, rel=1e-5)
    assert {*drawn["wrong"]} == {"uncalibrated", "temperature", "of logits"}
    sampled = {answer["row"]: answer["right"] for answer in data["answers"][0]["sampled"]}
    assert list(sampled) == [int(k) for k in np.linspace(0, len(X) - 1, 8)]


def test_large_scenes_are_shrunk_and_classes_stay_classes(tmp_path):
    comparison, _, y = _compared_scenes(1, 200, 300, n=4)
    data = read_page(comparison, tmp_path / "report.html").data
    drawn, pictures = data["thumbnails"]["scenes"], data["thumbnails"]
    some = np.ix_(np.arange(85) * 200 // 85, np.arange(128) * 300 // 128)
    colors = np.array([drawn["colors"][str(k)] for k in range(4)] + 5 * [[0, 0, 0]] + [[128, 128, 128]])
    for row, mask in drawn["masks"].items():
        np.testing.assert_array_equal(_pixels(mask), colors[y[int(row)][some]])
        assert _pixels(pictures["before"][row]).shape == (85, 128, 1)
        assert _pixels(drawn["wrong"]["temperature"][row]).shape == (85, 128, 1)
    assert (tmp_path / "report.html").stat().st_size < 1e6


@pytest.mark.parametrize("form", ["Dataset", "DataLoader"])
def test_scenes_of_a_dataset_are_pictured(form, tmp_path):
    (X_cal, y_cal), (X_test, y_test) = (scenes(3, 8, 8, seed=seed) for seed in (0, 1))
    sets = [FORMS[form](X, torch.from_numpy(y))[0] for X, y in ((X_cal, y_cal), (X_test, y_test))]
    options = {"calibrators": [TemperatureScaling()], "ignore_index": 9, "verbose": 0, **FEW}
    found = read_page(compare_calibrators(OfPixels(), sets[0], X_test=sets[1], **options), tmp_path / "a.html").data
    arrays = compare_calibrators(OfPixels(), X_cal, y_cal, X_test, y_test, **options)
    if form == "Dataset":
        expected = read_page(arrays, tmp_path / "b.html").data
        assert found["thumbnails"]["scenes"]["masks"] == expected["thumbnails"]["scenes"]["masks"]
    assert found["thumbnails"]["scenes"]["masks"]


class _NamedPixels(OfPixels):
    def forward(self, pixels, more):
        return super().forward(pixels) + 0 * more.view(-1, 1, 1, 1)


def test_scenes_by_name_and_of_named_classes_are_pictured(tmp_path):
    """Also as bytes, on a stated scale."""
    names, sets = np.array(["sky", "car", "road", "tree"]), []
    for seed in (0, 1):
        X, y = scenes(3, 8, 8, seed=seed)
        sets += [{"pixels": (255 * X).byte(), "more": torch.zeros(len(X))[:, None]}, names[y.clip(max=3)]]
    options = {"calibrators": [TemperatureScaling()], "classes": names, "integer_scale": {"pixels": 1 / 255}, **FEW}
    data = read_page(compare_calibrators(_NamedPixels(), *sets, **options), tmp_path / "report.html").data
    drawn, pictures = data["thumbnails"]["scenes"], data["thumbnails"]
    assert data["columns"] == names.tolist()
    for row, mask in drawn["masks"].items():
        colors = {tuple(color): names[int(k)] for k, color in drawn["colors"].items()}
        shown = [[colors[tuple(pixel)] for pixel in line] for line in _pixels(mask).tolist()]
        np.testing.assert_array_equal(shown, sets[3][int(row)])
        np.testing.assert_array_equal(
            _pixels(pictures["before"][row]), sets[2]["pixels"][int(row)].permute(1, 2, 0).numpy()
        )


def test_what_is_no_scene_has_no_masks(tmp_path, monkeypatch):
    comparison, X, y = _compared_scenes(2, 8, 8)
    assert read_page(comparison, tmp_path / "report.html").data["thumbnails"] is None
    logits = OfPixels()(X), y, OfPixels()(X) + 0.1, y
    options = {"calibrators": [TemperatureScaling()], "ignore_index": 9, **FEW}
    comparison = compare_calibrators(None, *logits, **options)
    assert read_page(comparison, tmp_path / "report.html").data["thumbnails"] is None
    comparison, _, _ = _compared_scenes(3, 8, 8)
    assert read_page(comparison, tmp_path / "report.html", samples=False).data["thumbnails"] is None
    assert _thumbnails(_Pooled(), _images(3, 8, 8), tmp_path)["scenes"] is None
    monkeypatch.setitem(sys.modules, "PIL", None)
    comparison, _, _ = _compared_scenes(3, 8, 8)
    assert read_page(comparison, tmp_path / "report.html").data["thumbnails"] is None
