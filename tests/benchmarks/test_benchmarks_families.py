"""The benchmark of "auto" beside each family by its name: its tables, and a few fits of real images."""

import pandas as pd
import pytest

import families

pytestmark = pytest.mark.slow


def results(shift="darkness", **nll):
    """Rows of two splits in which each family has its own NLL, temperature scaling's being 1."""
    rows = [
        {
            **{"family": family, "network": "cifar10_resnet20", "shift": shift, "n_calibration": 1000, "seed": seed},
            **{"n_test": 9000, "nll": value + 0.01 * seed, "ts_nll": 1.0, "accuracy": 90.0, "ts_accuracy": 80.0},
            **{"accepted": 1, "families": family, "relative_time": 10.0},
        }
        for family, value in nll.items()
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows)


def test_auto_is_held_against_the_best_family_of_all_splits():
    table = families.table(results(auto=0.6, affine=0.5, color=0.55, filter=0.9, grid=1.0))
    assert "affine 0.505" in table
    assert "+0.100" in table


def test_what_lacks_a_family_is_in_the_first_table_alone():
    lone = results(full=1.0)
    assert "full" in families.family_table(lone)
    assert families.table(lone) == ""


def test_fits_are_appended_and_left_out_the_second_time(data_dir, tmp_path, capsys):
    out = tmp_path / "families.csv"
    arguments = ["--data", str(data_dir), "--networks", "cifar10_resnet20", "--shifts", "darkness", "--sizes", "300"]
    arguments += ["--families", "auto", "affine", "--seeds", "1", "--n-images", "800", "--out", str(out)]
    families.main(arguments)
    found = pd.read_csv(out)
    assert list(found.family) == ["auto", "affine"]
    assert (found.nll < found.ts_nll).all()
    families.main(arguments)
    assert len(pd.read_csv(out)) == 2
    assert "relative time" in capsys.readouterr().out
