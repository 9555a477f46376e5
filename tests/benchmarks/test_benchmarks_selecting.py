"""The benchmark of the selector on small sets, on the record that needs no file; of votes; of matrix scaling's time."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn", minversion="1.8", reason="needs scikit-learn's own temperature scaling")

import matrix_speed
import selecting
import votes

pytestmark = pytest.mark.slow


def test_votes_of_trees_have_exact_zeros_and_samples_of_their_own():
    votes, labels, calibration, test = selecting.forest_votes(*selecting.twenty_classes(), seed=3, n_calibration=500)
    assert votes.shape == (3600, 20)
    assert (votes == 0).mean() > 0.3
    np.testing.assert_array_equal(np.sort(np.r_[calibration, test]), np.arange(3600))
    assert len(calibration) == 500 and len(np.unique(labels)) == 20


def test_selecting_compares_with_temperature_scaling_and_hindsight(tmp_path, capsys, monkeypatch):
    path = tmp_path / "runs.csv"
    options = ["--data", str(tmp_path), "--records", "digits, forest", "--seeds", "2", "--size", "100"]
    options += ["--out", str(path)]
    selecting.main(options)
    shown, runs = capsys.readouterr().out, pd.read_csv(path)
    assert sorted(set(runs.seed)) == [50, 51]
    nll = runs.pivot(index="seed", columns="method", values="nll")
    own = nll.pop("selector")
    over = own - nll.temperature
    regret = own.mean() - nll.mean().min()
    assert f"worst record {over.mean():+.4f}, worst draw {over.max():+.4f}" in shown
    assert f"{regret:+.4f}, {max(regret, 0):.4f} where gains" in shown

    monkeypatch.setattr(selecting, "run", None)
    selecting.main(options)
    assert len(pd.read_csv(path)) == len(runs)


def test_matrix_scaling_is_timed_beside_the_peer(capsys):
    pytest.importorskip("probmetrics")
    matrix_speed.main(["--classes", "2", "--samples", "100", "--repeats", "1"])
    *_, row = capsys.readouterr().out.splitlines()
    n_classes, n_samples, ours, theirs, ratio, _ = map(float, row.split())
    assert (n_classes, n_samples) == (2, 100)
    assert ratio == pytest.approx(ours / theirs, rel=0.1)


def test_votes_are_scaled_beside_scikit_learn(tmp_path, capsys, monkeypatch):
    path = tmp_path / "votes.csv"
    monkeypatch.setattr(votes, "TABLES", ("digits",))
    options = ["--data", str(tmp_path), "--seeds", "2", "--out", str(path)]
    votes.main(options)
    shown, runs = capsys.readouterr().out, pd.read_csv(path)
    assert list(runs.groupby("method").size()) == [8, 8, 8]
    nll = runs.pivot(index=["classifier", "seed"], columns="method", values="nll").groupby("classifier").mean()
    assert f"{nll.skclamp['10 neighbours']:.3f}" in shown.split("10 neighbours")[1].splitlines()[0]
    accuracy = runs.pivot(index=["classifier", "seed"], columns="method", values="accuracy")
    np.testing.assert_array_equal(accuracy.skclamp, accuracy.uncalibrated)

    monkeypatch.setattr(votes, "run", None)
    votes.main(options)
    assert len(pd.read_csv(path)) == len(runs)


def test_masked_classes_are_no_votes():
    row = votes.run_masked(0)
    assert row["uncalibrated"] < row["skclamp"] < row["uncalibrated"] + 0.005 < row["half a vote"]
    assert row["mass astray, skclamp"] < 0.005 < row["mass astray, half a vote"]
