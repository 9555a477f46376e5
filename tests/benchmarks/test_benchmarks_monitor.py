"""The benchmark of the monitor, on made-up images' logits."""

import numpy as np
import pandas as pd
import pytest

import monitor

pytestmark = pytest.mark.slow


def made_up(_):
    """Logits that are over-confident once the images are dark, and say nothing once they are noisy."""
    rng = np.random.default_rng(0)
    clean = rng.normal(scale=3, size=(4000, 10))
    labels = (clean + rng.gumbel(size=clean.shape)).argmax(1)
    return {"clean": 1.5 * clean, "dark": 3 * clean, "noisy": 3 * rng.permutation(clean)}, labels


def test_every_floor_is_measured(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(monitor, "load_logits", made_up)
    path = tmp_path / "out" / "monitor.csv"
    options = ["--scale", "500", "--out", str(path)]
    parts = ["undisturbed", "delay", "run length", "chunks"]
    monitor.main([*options, "--parts", *parts])
    runs = pd.read_csv(path)
    assert set(runs.part) == set(parts)
    value = runs.set_index(["part", "setting", "measure"]).value
    delays = value.xs("median delay", level="measure")["delay"]
    assert delays["noise"] < delays["darkness"] < 1000
    assert delays["uncalibrated"] < 1000
    assert value["undisturbed"].drop("fitted on 500, sharp", level="setting").max() == 0
    assert value["chunks"].max() < 1e-9
    assert "median delay" in capsys.readouterr().out
    monkeypatch.setattr(monitor, "jobs", lambda *_: [])
    monitor.main([*options, "--summary"])
    assert len(pd.read_csv(path)) == len(runs)
