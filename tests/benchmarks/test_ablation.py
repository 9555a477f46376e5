"""Each switch of the ablation takes out what it names, and tells whether that acts."""

from pkgutil import resolve_name

import numpy as np
import pandas as pd
import pytest
import torch

import ablation
import truth
from _mechanisms import SWITCHES, Switch, called, watching, without
from ablation import ALL, fitted, of_drawn, of_groups, of_missing_classes, of_truth, paired, row_of, runs, table
from skclamp.exceptions import CalibrationWarning

pytestmark = pytest.mark.filterwarnings(f"ignore::{CalibrationWarning.__module__}.{CalibrationWarning.__name__}")
PLACES = [(name, place) for name, switch in SWITCHES.items() for place in switch.replaced]


def of_unlabelled(draw, data):
    """Inputs have changed so much that a perturbation of inputs is learned without labels, and views are asked for."""
    case = of_truth(truth.Problem(300, truth.affine, 0.5))(draw, data)
    X, before = (torch.randn(500, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in (draw + 1, 2))
    told = {"X_unlabelled": truth.affine(X, 0.5), "X_reference": before}
    return case._replace(told=told, parameters={"max_views": 2})


# What has to ask each mechanism at least once; a switch that changes what none of them asks changes nothing.
CASES = {
    "changed": of_truth(truth.Problem(300, truth.color, 0.3)),
    "many, changed": of_truth(truth.Problem(1200, truth.affine, 0.3)),
    "copies": of_truth(truth.Problem(600, copies=4)),
    "groups": of_groups,
    "missing classes": of_missing_classes,
    "unlabelled": of_unlabelled,
    "logits": of_drawn(200, 1.0),
}


@pytest.fixture(scope="module")
def asked():
    """Watched places that were called in some fit, and switches that acted."""
    counted = {place: Switch({}, {place: called}) for switch in SWITCHES.values() for place in switch.watched}
    with watching(counted) as places, watching(SWITCHES) as acting:
        for draw in CASES.values():
            fitted(draw(0, None), 0)
    return places, acting


def found(place):
    owner, _, name = place.rpartition(".")
    return getattr(resolve_name(f"skclamp.{owner}"), name)


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_switch_replaces_what_there_is_and_puts_it_back(name, place):
    before = found(place)
    with without(SWITCHES[name]):
        assert found(place) is not before
    assert found(place) is before


@pytest.mark.slow
@pytest.mark.parametrize("name", SWITCHES)
def test_what_a_switch_watches_is_asked_in_a_fit(name, asked):
    assert SWITCHES[name].watched.keys() & asked[0]


# Others take rarer fits than tests have time for.
OFTEN = [
    *("weak first step", "too little foreseen", "score test", "screen", "early stop", "smoothing", "pool"),
    *("merged duplicates", "duplicates", "groups", "missing classes", "views tried on few", "views by two errors"),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", OFTEN)
def test_what_acts_often_acts(name, asked):
    assert name in asked[1]


def test_fits_differ_where_a_mechanism_acts(tmp_path):
    measure = runs(None, tmp_path / "ablation.csv")
    whole = measure("color, 500", 70_000, ALL)
    assert "weak first step" in whole["acted"] and "groups" not in whole["acted"]
    other = measure("color, 500", 70_000, "weak first step")
    assert other["acted"] == 1 and other["nll"] != whole["nll"] and other["ts_nll"] == whole["ts_nll"]
    same = measure("color, 500", 70_000, "groups")
    assert same["acted"] == 0 and same["nll"] == whole["nll"]


def test_worth_is_paired_by_draw_and_pooled_over_settings():
    rows = [
        {"setting": setting, "draw": draw, "switch": switch, "acted": acted, "kept": kept, "taught": 0, "nll": nll}
        | {"ts_nll": 2.0, "forward": 1.0, "backward": 0.0, "seconds": 1.0}
        for setting, start in (("color, 500", 1.0), ("no change, 500", 3.0))
        for draw, more in ((0, 0.02), (1, 0.06))
        for switch, acted, kept, nll in ((ALL, "pool", 1, start + draw), ("pool", "1", 0, start + draw + more))
    ]
    rows = paired(pd.DataFrame(rows))
    np.testing.assert_allclose(rows.worth, [1, 3, 1, 3])
    (row,) = table(rows)
    # Of two settings, each with a variance of 2 over two draws.
    assert row["worth %"] == "+2.000 ± 0.707" and row["acts"] == 4
    assert row["kept"] == "2 → 0 of 2" and row["in vain"] == "2 → 0 of 2"


def test_a_row_tells_what_was_kept():
    case = ablation.SETTINGS["affine, 1,000"].draw(0, None)
    calibrator, seconds = fitted(case._replace(parameters={"perturbation": None, "output": None}), 0)
    row = row_of(case, calibrator, seconds)
    assert (row["kept"], row["taught"], row["backward"]) == (0, 0, 0) and 0 < row["nll"] < np.log(truth.N_CLASSES)
