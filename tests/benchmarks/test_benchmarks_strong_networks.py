"""The benchmark of output maps on strong networks, on made-up sensors."""

import numpy as np
import pandas as pd
import pytest

import strong_networks

pytestmark = pytest.mark.slow


def test_strong_networks_are_compared_with_temperature_scaling(tmp_path, capsys, monkeypatch):
    rng = np.random.default_rng(0)
    y = rng.integers(1, 7, 2200)
    np.savez(tmp_path / "gas_sensor_drift.npz", X=3 * rng.normal(size=(7, 8))[y] + rng.normal(size=(2200, 8)), y=y)
    path = tmp_path / "runs.csv"
    options = ["--data", str(tmp_path), "--networks", "gas sensors", "--sizes", "200", "5000", "--seeds", "2"]
    options += ["--methods", "TemperatureScaling", "IntraOrderPreservingCalibration", "--out", str(path)]
    strong_networks.main(options)
    shown, runs = capsys.readouterr().out, pd.read_csv(path)
    assert sorted(zip(runs.seed, runs.n, strict=True)) == [(0, 200), (0, 200), (1, 200), (1, 200)]
    nll = runs.pivot(index="seed", columns="method", values="nll")
    assert f"{nll.TemperatureScaling.mean():.3f}" in shown
    less = (nll.IntraOrderPreservingCalibration - nll.TemperatureScaling).mean()
    assert f"{less:+.3f}".replace("-", "\N{MINUS SIGN}") in shown

    monkeypatch.setattr(strong_networks, "run_ours", None)
    strong_networks.main(options)
    assert len(pd.read_csv(path)) == len(runs)
