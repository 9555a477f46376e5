"""The benchmark of drifting sensors, on made-up ones."""

import numpy as np
import pandas as pd
import pytest

import drift

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path):
    """Six classes of eight sensors in eight batches; the later ones have drifted."""
    rng = np.random.default_rng(0)
    y, batch = rng.integers(1, 7, 2400), np.repeat([1, 2, 3, 4, 5, 6, 8, 9], 300)
    X = rng.normal(scale=2.0, size=(7, 8))[y] + rng.normal(size=(2400, 8))
    np.savez(tmp_path / "gas_sensor_drift.npz", X=X + 1.5 * (batch > 2)[:, None], y=y, batch=batch)
    return tmp_path


def test_every_method_gains_on_temperature_scaling(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(drift.BATCHES, 150, (3, 8))
    path = tmp_path / "out" / "runs.csv"
    options = ["--data", str(folder), "--sizes", "150", "--seeds", "50", "--iterations", "20", "--out", str(path)]
    drift.main(options)
    shown, runs = capsys.readouterr().out, pd.read_csv(path)
    nll = runs.pivot_table("nll", "batch", "method")
    assert list(nll.index) == [3, 8]
    assert set(nll) == set(drift.METHODS)
    assert nll.mean().drop("temperature").lt(0.9 * nll.temperature.mean()).all()
    assert (runs.n_test == 150).all()
    difference = (nll.clamping - nll.temperature).mean()
    assert f" {difference:+.4f} " in shown
    assert "nan" not in shown

    monkeypatch.setattr(drift, "run", None)
    drift.main(options)
    assert len(pd.read_csv(path)) == len(runs) == 2 * len(drift.METHODS)


def test_a_class_that_a_batch_lacks_gets_no_probability(folder, tmp_path, monkeypatch):
    with np.load(folder / "gas_sensor_drift.npz") as file:
        X, y, batch = file["X"], file["y"], file["batch"]
    kept = (batch != 3) | (y != 6)
    np.savez(folder / "gas_sensor_drift.npz", X=X[kept], y=y[kept], batch=batch[kept])
    monkeypatch.setitem(drift.BATCHES, 150, (3,))
    path = tmp_path / "runs.csv"
    options = ["--data", str(folder), "--sizes", "150", "--seeds", "50", "--methods", "new_model"]
    drift.main([*options, "--iterations", "1", "--out", str(path)])
    assert pd.read_csv(path).accuracy[0] > 80
