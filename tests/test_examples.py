"""The examples run, and show what they say they show."""

import re
import runpy
from pathlib import Path

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from skclamp.metrics import negative_log_likelihood

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
GALLERY = sorted(EXAMPLES.glob("plot_*.py"))
# Those that read the folder of SKCLAMP_DATA.
RECORDS = [script for script in GALLERY if "SKCLAMP_DATA" in script.read_text(encoding="utf-8")]


def test_digits_shows_what_it_says(tmp_path, monkeypatch):
    path, lines = tmp_path / "reliability.png", []
    demo = runpy.run_path(str(EXAMPLES / "digits.py"))
    monkeypatch.setitem(demo["main"].__globals__, "print", lambda text: lines.extend(text.splitlines()))
    demo["main"](["--output", str(path)])
    plt.close("all")
    rows = [re.split(r"  +", line.strip()) for line in lines if re.match("(clear|fogged)  ", line)]
    scores = np.array([[float(value) for value in row[2:6]] for row in rows]).reshape(2, 3, 4)
    # On each camera the network is over-confident, and temperature scaling repairs it.
    accuracy, nll, _, ece = np.moveaxis(scores, 2, 0)
    assert (nll[:, 1] < nll[:, 0] - 0.03).all() and (ece[:, 1] < ece[:, 0]).all()
    # Clamping wins back what the fog cost, and does no harm on the clear camera.
    assert accuracy[1, 2] - accuracy[1, 1] > 0.8 * (accuracy[0, 0] - accuracy[1, 1])
    assert nll[1, 2] < 0.7 * nll[1, 1] and nll[0, 2] <= nll[0, 1] + 0.001
    assert matplotlib.image.imread(path)[..., :3].std() > 0.1


def test_candidates_of_calarena_fit_probabilities():
    names = runpy.run_path(str(EXAMPLES / "calarena.py"))
    losses = names["main"]()
    assert max(losses["skclamp"], losses["skclamp-TS"], losses["skclamp-SMS"]) < 0.5 * losses["uncalibrated"]
    p = np.random.default_rng(0).uniform(size=300)
    y = (np.random.default_rng(1).uniform(size=300) < p).astype(int)
    # Of two classes it gives the second one's probability, or both.
    for given in (p, np.stack([1 - p, p], 1)):
        for make in names["CUSTOM_CALIBRATORS"].values():
            assert make().fit(given, y).predict_proba(given).shape == (300, 2)


def first_calibration(names):
    likelihood, before, after, y = names["negative_log_likelihood"], names["before"], names["after"], names["y_test"]
    assert likelihood(y, after) < 0.8 * likelihood(y, before)
    assert names["ece"](y, after) < 0.8 * names["ece"](y, before)


def all_methods(names):
    comparison = names["comparison"]
    assert comparison["MatrixScaling"].nll < comparison["TemperatureScaling"].nll < 0.8 * comparison["uncalibrated"].nll
    assert np.mean([row.ece < 1.5 * row.ece_floor_quantile for row in comparison.rows]) > 0.8


def camera(names):
    nll, clamped = names["nll"], names["clamped"]
    assert (clamped["noon"].accepted_, clamped["evening"].accepted_) == (False, True)
    assert nll["evening", "neural clamping"] < 0.95 * nll["evening", "vector scaling"]
    assert nll["evening", "vector scaling"] < 0.6 * nll["evening", "temperature scaling"]


def drifting_sensors(names):
    drift, correction = names["drift"], names["correction"]
    assert (correction[drift != 0] * drift[drift != 0] < 0).all()
    pad, biopsies = ({row.name: row.nll for row in names[data].rows} for data in ("pad", "biopsies"))
    assert pad["NeuralClampingCalibrator"] < 0.95 * pad["VectorScaling"] < 0.8 * pad["TemperatureScaling"]
    assert max(biopsies["PlattScaling"], biopsies["NeuralClampingCalibrator"]) < 0.8 * biopsies["TemperatureScaling"]


def gamma(names):
    refitted, nll = (
        names["results"]["param_training__refit_temperature"].astype(bool),
        -names["results"]["mean_test_score"],
    )
    assert np.ptp(nll[refitted]) < names["results"]["std_test_score"][refitted].min()
    assert nll[~refitted][-1] > 1.3 * nll[~refitted][0]


def skorch_pipeline(names):
    score, test = names["neg_log_likelihood_scorer"], (names["X_test"], names["y_test"])
    nll = {name: -score(way, *test) for name, way in names["ways"].items()}
    assert nll["around, cross-fitted"] < nll["around, fitted"] < nll["uncalibrated"]
    # Behind a network that is its own there are maps beside the temperature.
    assert nll["last step"] < nll["around, fitted"] - 0.01


def conformal_sets(names):
    promised, kept, sizes = (names[name] for name in ("promised", "kept", "sizes"))
    assert promised["uncalibrated"] - kept["uncalibrated"] > 0.05
    assert abs(promised["neural clamping"] - kept["neural clamping"]) < 0.02
    assert all(abs(share - names["LEVEL"]) < 0.01 for share in names["covered"].values())
    assert sizes["neural clamping", "conformal"] < 0.7 * sizes["temperature scaling", "conformal"]


def perturbation(names):
    gain = names["stain"].perturbation_.gain.detach().numpy()[0, 0]
    assert np.unravel_index(gain.argmax(), gain.shape) == (1, 2)
    values = torch.linspace(0, 1, 11).view(-1, 1, 1, 1)
    assert (names["tone"].perturbation_(values) - values**2.5).abs().max() < 0.4
    assert names["focus"].perturbation_.weight.detach()[0, 0][1, 1] > 2
    assert not names["nothing"].accepted_


def monitoring(names):
    assert names["day"] > 8 and names["monitor"].p_value_ <= 0.01
    assert "were never true, or changed before labels could tell" in names["monitor"].summary()
    # By the images or, as here, by maps of the logits that do as well.
    assert names["refitted"].verdict_.difference < -0.3
    assert names["refitted"].accepted_ or names["refitted"].output_.weights
    assert names["after"].p_value_ > 0.1 and names["without"].alarm_


def many_labels(names):
    test = names["X_test"], names["Y_test"]
    faded = [negative_log_likelihood(test[1], names[way].predict_proba(test[0])) for way in ("platt", "clamping")]
    assert faded[1] < 0.9 * faded[0]
    assert names["clamping"].accepted_
    assert negative_log_likelihood(test[1], names["uncalibrated"]) > 2 * faded[0]


def segmentation(names):
    assert names["nll"]["neural clamping"] < 0.85 * names["nll"]["structured vector"]
    assert names["accuracy"]["neural clamping"] > names["accuracy"]["structured vector"] + 0.01
    assert names["clamping"].accepted_


def within_groups(names):
    distance, nll = names["distance"], names["nll"]
    assert distance["CovariateScaling"] < 0.3 * distance["one Platt map"]
    assert nll["CovariateScaling"] < nll["one Platt map"] - 0.03 < nll["uncalibrated"] - 0.03
    maps, drawn = names["within"].group_maps_.set_index("category"), names["frame"].assign(b=names["offset"])
    assert (maps["offset"] - drawn.groupby("site")["b"].first()).abs().max() < 0.3


def typing_errors(names):
    nll = {row.name: row.nll for row in names["comparison"].rows}
    assert nll["NeuralClampingCalibrator"] < nll["CalibratorSelector"] - 0.02 < nll["TemperatureScaling"] - 0.05
    assert hasattr(names["clamping"], "last_layer_")


def street_scenes(names):
    nll, accuracy = (np.reshape([*names[score].values()], (2, 2)) for score in ("nll", "accuracy"))
    here, there = nll[:, 1] / nll[:, 0]
    assert here < there - 0.05 < 0.85 and (accuracy[:, 1] > accuracy[:, 0] + 0.1).all()
    assert names["clamping"].accepted_ and "looks like a recording" in str(names["told"][0].message)
    assert names["in_order"].temperature_ == names["temperature"].temperature_


# What each script's prose says of its numbers.
CLAIMS = {
    "plot_1_first_calibration": first_calibration,
    "plot_2_all_methods": all_methods,
    "plot_3_camera": camera,
    "plot_4_drifting_sensors": drifting_sensors,
    "plot_5_gamma": gamma,
    "plot_6_skorch_pipeline": skorch_pipeline,
    "plot_7_conformal_sets": conformal_sets,
    "plot_8_perturbation": perturbation,
    "plot_9_monitoring": monitoring,
    "plot_10_many_labels": many_labels,
    "plot_11_segmentation": segmentation,
    "plot_12_within_groups": within_groups,
    "plot_13_typing_errors": typing_errors,
    "plot_14_street_scenes": street_scenes,
}


@pytest.mark.parametrize("script", GALLERY, ids=lambda script: script.stem)
def test_gallery_script_runs_draws_and_shows_what_it_says(script):
    with torch.random.fork_rng():
        names = runpy.run_path(str(script))
    figures = [plt.figure(number) for number in plt.get_fignums()]
    assert figures
    assert all(figure.get_axes() for figure in figures)
    # No figure has to be scaled down much where a page leaves it 600 pixels.
    assert all(figure.get_figwidth() <= 8 for figure in figures)
    plt.close("all")
    CLAIMS[script.stem](names)


@pytest.mark.parametrize("script", RECORDS, ids=lambda script: script.stem)
def test_what_stands_in_for_records_shows_it_too(script, monkeypatch):
    monkeypatch.delenv("SKCLAMP_DATA", raising=False)
    test_gallery_script_runs_draws_and_shows_what_it_says(script)
