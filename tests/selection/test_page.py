"""The data of the interactive page, read as its script reads them."""

import base64
import json
import re
import zlib

import numpy as np
import pytest
from _small_networks import labels_of, logits

from skclamp import TemperatureScaling, compare_calibrators

N = 300


@pytest.fixture(scope="module")
def comparison():
    z, y = logits(N, 3), labels_of(logits(N, 3), temperature=1.0)
    maps = [TemperatureScaling()]
    return compare_calibrators(None, z[::-1], y[::-1], z, y, calibrators=maps, n_bins=12, n_resamples=10, n_draws=10)


@pytest.fixture
def data(comparison, tmp_path):
    comparison.to_html(tmp_path / "report.html")
    return json.loads(re.search(r"<script[^>]*json[^>]*>(.*?)</script>", (tmp_path / "report.html").read_text())[1])


def _tables(data):
    """Table by table: count, hits, place, sum of the confidences, and the noise floors in millionths."""
    n, columns = sum(data["sizes"]), zlib.decompress(base64.b64decode(data["cells"]))
    upper, lack = np.frombuffer(columns, "<f4", 2 * n).astype(float).reshape(2, n)
    place, count, hits = np.frombuffer(columns, "<u4", 3 * n, 8 * n).reshape(3, n)
    floors = np.frombuffer(columns, "<u4", offset=20 * n).reshape(len(data["sizes"]), 2, len(data["counts"]), 2)
    parts = np.split(np.stack([count, hits, place, count * upper - lack]), np.cumsum(data["sizes"])[:-1], axis=1)
    return list(zip(parts, floors, strict=True))


@pytest.mark.filterwarnings("ignore:X_test holds samples of X_cal:skclamp.exceptions.CalibrationSetWarning")
def test_the_cells_give_the_scores_of_the_comparison(comparison, data):
    tables, y = iter(_tables(data)), labels_of(logits(N, 3), temperature=1.0)
    edges = np.unique(np.concatenate([*(np.arange(n + 1) / n for n in data["counts"]), data["thresholds"]]))
    for row in comparison.rows:
        z = logits(N, 3) / getattr(comparison.calibrators.get(row.name), "temperature_", 1.0)
        proba = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        (count, hits, place, total), floors = next(tables)
        assert (count.sum(), hits.sum()) == (N, round(row.accuracy * N))
        assert total.sum() == pytest.approx(proba.max(1).sum(), rel=1e-5)
        bins = np.searchsorted(np.searchsorted(edges, np.arange(1, 12) / 12), place - 1, side="right")
        gaps = np.bincount(bins, total - hits)
        assert np.abs(gaps).sum() / N == pytest.approx(row.ece, rel=1e-5)
        of_12_bins = floors[0, data["counts"].index(12)]
        np.testing.assert_allclose(of_12_bins, [1e6 * row.ece_floor, 1e6 * row.ece_floor_quantile], atol=1)
        for k in range(3):
            (count, hits, _, total), _ = next(tables)
            assert (count.sum(), hits.sum()) == (N, (y == k).sum())
            assert total.sum() == pytest.approx(proba[:, k].sum(), rel=1e-5)
