"""The benchmark of few samples of a drifted table, on made-up sensors."""

import numpy as np
import pandas as pd
import pytest

import small_tables

pytestmark = pytest.mark.slow


@pytest.fixture
def folder(tmp_path):
    """Six classes of eight sensors in eight batches; the later ones have drifted."""
    rng = np.random.default_rng(0)
    y, batch = rng.integers(1, 7, 1600), np.repeat([1, 2, 3, 4, 5, 6, 8, 9], 200)
    X = rng.normal(scale=2.0, size=(7, 8))[y] + rng.normal(size=(1600, 8))
    np.savez(tmp_path / "gas_sensor_drift.npz", X=X + 1.5 * (batch > 2)[:, None], y=y, batch=batch)
    return tmp_path


def test_draws_are_judged_by_the_rest_of_the_batch(folder):
    _, _, _, batch = small_tables.load_sensors(folder, n_iter=1)
    for seed in range(20):
        chosen, fit, test = small_tables.draw(batch, seed)
        assert small_tables.LEAST <= len(fit) <= 150
        np.testing.assert_array_equal(np.sort(np.r_[fit, test]), np.flatnonzero(batch == chosen))


def test_small_tables_compares_with_temperature_scaling(folder, tmp_path, capsys, monkeypatch):
    path = tmp_path / "out" / "runs.csv"
    options = ["--data", str(folder), "--draws", "2", "--families", "channel", "--iterations", "20", "--out", str(path)]
    small_tables.main(options)
    shown, runs = capsys.readouterr().out, pd.read_csv(path)
    assert runs.draw.tolist() == [0, 1]
    assert runs.accepted.all()
    difference = runs.nll - runs.ts_nll
    assert difference.max() < -0.1
    assert (runs.nll <= runs.unfloored).all()
    assert f"{difference.max():+.4f}  {difference.mean():+.4f}" in shown

    monkeypatch.setattr(small_tables, "run", None)
    small_tables.main(options)
    assert len(pd.read_csv(path)) == 2
