"""The comparison of all output maps on made-up logits."""

import numpy as np
import pandas as pd
import pytest
from _result_rows import rows_of

pytest.importorskip("sklearn", minversion="1.8", reason="the peers need scikit-learn's own temperature scaling")

import choosing

pytestmark = pytest.mark.slow

RECORD = "cifar10_resnet20"


@pytest.fixture
def arguments(monkeypatch, tmp_path):
    """What a run is asked for; its labels favour some classes, so that one bias per class helps."""
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=4.0, size=(2000, 4)).astype(np.float32)
    y = (logits / 2 + [0, 1, 2, 3] + rng.gumbel(size=logits.shape)).argmax(1)
    monkeypatch.setattr(choosing, "load_record", lambda name, data_dir: (logits, y))
    methods = ["--methods", "TemperatureScaling", "EnsembleTemperatureScaling", "VectorScaling"]
    run = ["--records", RECORD, "--sizes", "500", "1000", "--seeds", "2", *methods]
    return [*run, "--out", str(tmp_path / "runs.csv"), "--overview", str(tmp_path / "overview.csv")]


def test_tables_compare_methods_on_the_same_splits(arguments, tmp_path, capsys):
    choosing.main(arguments)
    shown = capsys.readouterr().out
    assert f"## {RECORD}, 500 calibration images" in shown
    assert f"## {RECORD}, 1,000 calibration images" in shown
    runs = pd.read_csv(tmp_path / "runs.csv")
    assert len(runs) == 2 * 2 * 3
    scores = runs[runs.n == 1000].pivot(index="seed", columns="method", values="nll")
    expected = (scores.VectorScaling - scores.TemperatureScaling).mean()
    assert expected < -0.1
    assert f"| VectorScaling              | {scores.VectorScaling.mean():.4f} | {expected:+.4f} ±" in shown

    rows = {row["method"]: row for row in rows_of(tmp_path / "overview.csv")}
    assert set(rows) == {"EnsembleTemperatureScaling", "VectorScaling"}
    assert rows["VectorScaling"]["ResNet-20, 1,000"] == f"\N{MINUS SIGN}{-expected:.3f}"
    assert rows["EnsembleTemperatureScaling"]["ResNet-20, 1,000"].startswith("("), "within noise"
    assert int(rows["VectorScaling"]["fit ms, ResNet-20"]) >= 0


def test_what_the_file_holds_is_left_out(arguments, tmp_path, monkeypatch):
    choosing.main(arguments)
    before = (tmp_path / "runs.csv").read_text()
    monkeypatch.setattr(choosing, "run_ours", None)
    choosing.main(arguments)
    assert (tmp_path / "runs.csv").read_text() == before


def test_a_run_that_was_cut_off_is_shown_as_far_as_it_went(arguments, tmp_path, capsys):
    choosing.main(arguments)
    runs = tmp_path / "runs.csv"
    runs.write_text("".join(runs.read_text().splitlines(keepends=True)[:-1]))
    capsys.readouterr()
    choosing.main(["--summary", str(runs)])
    assert "VectorScaling" in capsys.readouterr().out
