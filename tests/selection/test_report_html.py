"""The interactive page as a file: safe, small, and with the numbers of Python."""

import base64
import re
import zlib
from dataclasses import asdict

import numpy as np
import pytest
from _digits import calibration_and_test, convolutional_network, shifted
from _families import PERTURBATIONS
from _report_pages import (
    FEW,
    NASTY,
    NASTY_CLASSES,
    labels_for,
    nasty_comparison,
    of_every_family,
    read_page,
    small_comparison,
)

from skclamp import (
    CalibratorComparison,
    NeuralClampingCalibrator,
    compare_calibrators,
)


def test_is_one_small_file_that_loads_nothing(digits, tmp_path):
    page = read_page(digits[0], tmp_path / "report.html", title="Digits")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "report.html").stat().st_size < 400_000
    assert not re.search(r"https?:|//[a-z]+\.|@import|\bfetch\(|XMLHttpRequest|WebSocket|sendBeacon", text)
    assert set(re.findall(r"url\(([^)]*)\)", text)) == {"#hatch", "#${id}"}
    assert not any({"src", "srcset", "data", "action"} & set(attrs) for _, attrs in page.tags)
    assert all(attrs["href"].startswith("#") for _, attrs in page.tags if "href" in attrs)
    policy = next(attrs["content"] for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs)
    assert re.fullmatch(
        r"default-src 'none'; img-src data:; style-src 'sha256-[^' ]+'; script-src 'sha256-[^' ]+'", policy
    )


def test_tells_the_comparison(digits, tmp_path):
    comparison, _, y = digits
    data = read_page(comparison, tmp_path / "report.html").data
    for row, own in zip(data["rows"], comparison.rows, strict=True):
        assert row == {**asdict(own), "slope": None, "intercept": None, "group": row["group"]}
    assert data["classNames"] == [str(k) for k in range(10)]
    assert (data["nSamples"], data["nClasses"], data["nBins"]) == (len(y), 10, 12)
    assert data["event"] == -1, "the most probable class"
    assert data["nCalibration"] == 600 and {*data["versions"]} == {"skclamp", "torch", "scikit-learn", "python"}
    assert np.datetime64(data["date"][:16]) <= np.datetime64("now") + np.timedelta64(15, "h")


def _tables(data):
    """Table by table: place, count, hits and the sum of the confidences, and the noise floors."""
    n, numbers = sum(data["sizes"]), np.frombuffer(zlib.decompress(base64.b64decode(data["cells"])), "<f8")
    columns, floors = numbers[: 4 * n].reshape(4, n), numbers[4 * n :].reshape(len(data["sizes"]), -1, 2)
    parts = np.split(columns.astype(float), np.cumsum(data["sizes"])[:-1], axis=1)
    return list(zip(parts, floors, strict=True))


def test_the_cells_give_the_scores_of_the_comparison(digits, tmp_path):
    comparison, proba, y = digits
    data = read_page(comparison, tmp_path / "report.html").data
    tables, edges = iter(_tables(data)), [np.arange(n + 1) / n for n in data["counts"]]
    edges = np.unique(np.concatenate([*edges, data["thresholds"]]))
    for row in comparison.rows:
        own = proba[row.name]
        (place, count, hits, total), floors = next(tables)
        assert (count.sum(), hits.sum()) == (len(y), (own.argmax(1) == y).sum())
        assert total.sum() == pytest.approx(own.max(1).sum(), rel=1e-5)
        bins = np.searchsorted(np.searchsorted(edges, np.arange(1, 12) / 12), place, side="right")
        gaps = np.bincount(bins, total - hits)
        assert np.abs(gaps).sum() / len(y) == pytest.approx(row.ece, rel=1e-4)
        of_12_bins = floors[data["counts"].index(12)]
        np.testing.assert_allclose(of_12_bins, [row.ece_floor, row.ece_floor_quantile], rtol=1e-6)
        for k in range(10):
            (_, count, hits, total), _ = next(tables)
            assert (count.sum(), hits.sum()) == (len(y), (y == k).sum())
            assert total.sum() == pytest.approx(own[:, k].sum(), rel=1e-4)


def test_names_stay_names(tmp_path):
    page = read_page(nasty_comparison(), tmp_path / "report.html", title=NASTY)
    assert page.data["classNames"] == NASTY_CLASSES
    assert NASTY in [row["name"] for row in page.data["rows"]]
    assert "img" not in [tag for tag, _ in page.tags]
    assert (page.data["title"], ("title", NASTY) in page.texts) == (NASTY, True)


def test_has_the_most_frequent_of_many_classes(tmp_path):
    data = read_page(small_comparison(k=30, classes=np.arange(30)), tmp_path / "report.html").data
    counts, kept = np.bincount(labels_for(300, 30), minlength=30), np.array(data["classNames"], int)
    assert len(kept) == 24 and list(kept) == sorted(kept)
    assert counts[kept].min() >= np.delete(counts, kept).max()


def test_needs_what_compare_calibrators_keeps(tmp_path):
    comparison = small_comparison()
    bare = CalibratorComparison(comparison.rows, comparison.calibrators)
    with pytest.raises(ValueError, match="content must be what compare_calibrators passes, .* got None"):
        bare.to_html(tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


def _perturbations(calibrators, tmp_path, shift="gain and offset", n=600, **options):
    (X_cal, y_cal), (X_test, y_test) = calibration_and_test(0)
    parts = shifted(X_cal, shift)[:n], y_cal[:n], shifted(X_test, shift), y_test
    comparison = compare_calibrators(convolutional_network(), *parts, calibrators=calibrators, **FEW)
    found = read_page(comparison, tmp_path / "report.html", **options).data["perturbations"]
    return {own["name"]: own for own in found}, comparison.calibrators


def test_tells_what_every_family_learned(tmp_path):
    calibrators = of_every_family()
    found, fitted = _perturbations(calibrators, tmp_path, channel_names=["plain", "inverted", "blurred"])
    assert list(found) == list(PERTURBATIONS)
    for own in found.values():
        assert own["verdicts"] == []
        assert own["learned"] in fitted[own["name"]].summary()
    learned = {
        (name, key): value.detach().numpy().ravel()
        for name in ("affine", "color", "curve")
        for key, value in fitted[name].perturbation_.named_parameters()
    }
    for panel, key in zip(found["affine"]["panels"], ("gain", "offset"), strict=True):
        assert panel["title"] == f"affine: {key}"
        np.testing.assert_allclose(panel["values"], learned["affine", key], rtol=1e-5)
        assert panel["names"] == ["plain", "inverted", "blurred"]
        assert panel["nothing"] == (key == "gain")
    np.testing.assert_allclose(np.ravel(found["color"]["panels"][0]["image"]), learned["color", "matrix"], rtol=1e-5)
    assert [panel["kind"] for panel in found["full"]["panels"]] == ["image"] * 3
    delta = fitted["full"].delta_
    for panel, channel in zip(found["full"]["panels"], delta, strict=True):
        np.testing.assert_allclose(panel["image"], channel, rtol=1e-5)
    curves = found["curve"]["panels"][0]
    own = zip(*(learned["curve", key] for key in ("bend", "gain", "offset")), strict=True)
    for curve, coefficients in zip(curves["curves"], own, strict=True):
        np.testing.assert_allclose(curve, np.polyval(coefficients, curves["x"]), atol=1e-5)


def test_tells_what_was_refused_and_not_asked_for(tmp_path):
    calibrators = {
        "refused": NeuralClampingCalibrator(random_state=0),
        "not asked for": NeuralClampingCalibrator(perturbation=None),
    }
    found, fitted = _perturbations(calibrators, tmp_path, shift="none", n=300)
    told = {"about": "perturbation", "accepted": False, "reason": fitted["refused"].verdict_.reason}
    assert (found["refused"]["verdicts"], found["refused"]["panels"]) == ([told], [])
    assert found["not asked for"]["verdicts"] == []
