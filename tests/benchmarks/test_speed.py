"""The speed benchmark on a few samples: it runs, compares like with like and writes what it prints."""

import numpy as np
import pytest
import torch
from _result_rows import rows_of

import _speed_temperature
import speed
from _timing import simulated_logits
from skclamp._solvers.temperature import solve_temperature

pytestmark = pytest.mark.slow


def test_simulated_labels_have_the_temperature_they_were_drawn_with():
    logits, y = simulated_logits(20000, 10, temperature=1.7)
    assert logits.dtype == torch.float32
    assert solve_temperature(logits, y).temperature == pytest.approx(1.7, rel=0.03)
    assert torch.equal(simulated_logits(20000, 10)[1], y)


def test_every_method_finds_the_same_temperature():
    rows = _speed_temperature.rows([(2000, 4)], threads=1)
    assert rows[0]["method"] == "skclamp"
    assert rows[0]["error"] < 1e-7
    assert all(row["error"] < 2e-3 for row in rows)


def test_table_and_csv_agree(tmp_path, capsys):
    speed.main(["--sizes", "200x3", "--out", str(tmp_path / "speed.csv")])
    table = capsys.readouterr().out
    rows = rows_of(tmp_path / "speed.csv")
    assert {"temperature scaling, fit", "ECE", "AECE", "classwise ECE"} <= {row["what"] for row in rows}
    assert {row["size"] for row in rows} == {"200 x 3"}
    for row in rows:
        assert row["method"] in table
        assert float(row["ms"]) > 0
        assert np.isfinite([float(row["ratio"]), float(row["error"])]).all()


@pytest.mark.parametrize("text", ["5000", "5000x", "axb", "1x2x3"])
def test_bad_sizes(text, capsys):
    with pytest.raises(SystemExit):
        speed.parse(["--sizes", text])
    assert "invalid size value" in capsys.readouterr().err
