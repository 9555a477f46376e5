"""Ordinary problems, of which nothing is to be warned, and the mistakes that each warning is for."""

import pandas as pd
import pytest

import looks
import ordinary

pytestmark = pytest.mark.slow


def test_there_are_two_hundred_different_problems():
    assert len(set(ordinary.PROBLEMS)) == len(ordinary.PROBLEMS) == 200


def test_ordinary_problems_of_small_tables_are_silent(tmp_path, capsys):
    path = tmp_path / "ordinary.csv"
    ordinary.main(["--quick", "--out", str(path)])
    rows = pd.read_csv(path)
    assert len(rows) > 20
    assert f"{len(rows)} of {len(rows)} problems without a warning" in capsys.readouterr().out
    assert rows.warnings.isna().all()


def test_what_warns_is_told(capsys):
    """Other seeds make of one ordinary problem in some draws one that hardly has an error."""
    problem = ordinary.Problem("wine", "naive Bayes", 60, "TemperatureScaling")
    row = ordinary.run(88, problem, ordinary.parse([]))
    assert "NotConvergedWarning: temperature_ is at the bound" in row["warnings"]


def test_mistakes_are_counted(tmp_path):
    path = tmp_path / "looks.csv"
    looks.main(["--only", "three positives", "--draws", "2", "--out", str(path)])
    (row,) = pd.read_csv(path).to_dict("records")
    assert (row["draws"], row["warned"]) == (2, 2)
