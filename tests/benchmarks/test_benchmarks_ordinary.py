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
    problem = ordinary.Problem("digits", "logistic regression", 100, "VectorScaling")
    row = ordinary.run(0, problem, ordinary.parse([]))
    assert "CalibrationSetWarning: " in row["warnings"] and "likely worse than one temperature" in row["warnings"]


FIRED = [name for name, look in looks.LOOKS.items() if not (look.slow or name.startswith("flawless"))]


@pytest.mark.parametrize("name", FIRED)
def test_mistakes_are_told_by_the_words_that_mend_them(name, tmp_path):
    """Of a hundred draws 90 are asked for; of the first four, by the benchmark's seeds, three."""
    path = tmp_path / "looks.csv"
    looks.main(["--only", name, "--draws", "4", "--out", str(path)])
    row = next(row for row in pd.read_csv(path).to_dict("records") if row["mistake"] == name)
    assert row["draws"] == 4
    assert row["said"] >= 3
