"""The examples run, and show what they say they show."""

import re
import runpy
from pathlib import Path

import matplotlib.image
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
GALLERY = sorted(EXAMPLES.glob("plot_*.py"))


def test_digits_shows_what_it_says(tmp_path, monkeypatch):
    path, lines = tmp_path / "reliability.png", []
    demo = runpy.run_path(str(EXAMPLES / "digits.py"))
    monkeypatch.setitem(demo["main"].__globals__, "print", lambda text: lines.extend(text.splitlines()))
    demo["main"](["--output", str(path), "--folder", str(tmp_path / "demo")])
    plt.close("all")
    rows = [re.split(r"  +", line.strip()) for line in lines if re.match("(clear|fogged)  ", line)]
    calibrators = ("uncalibrated", "temperature scaling", "neural clamping")
    assert [tuple(row[:2]) for row in rows] == [
        (camera, name) for camera in ("clear", "fogged") for name in calibrators
    ]
    scores = np.array([[float(value) for value in row[2:6]] for row in rows]).reshape(2, 3, 4)
    # On each camera the network is over-confident, and temperature scaling repairs it.
    accuracy, nll, brier, ece = np.moveaxis(scores, 2, 0)
    np.testing.assert_array_equal(accuracy[:, 0], accuracy[:, 1])
    assert (nll[:, 1] < nll[:, 0] - 0.03).all()
    assert (brier[:, 1] < brier[:, 0]).all()
    assert (ece[:, 1] < ece[:, 0]).all()
    # Clamping wins back what the fog cost, and does no harm on the clear camera.
    assert accuracy[1, 2] - accuracy[1, 1] > 0.8 * (accuracy[0, 0] - accuracy[1, 1])
    assert nll[1, 2] < 0.7 * nll[1, 1]
    assert nll[0, 2] <= nll[0, 1] + 0.001
    picture = matplotlib.image.imread(path)
    assert picture.shape[0] > 500
    assert picture[..., :3].std() > 0.1
    network = torch.load(tmp_path / "demo" / "network.pt", weights_only=False)
    _, _, X_test, y_test = torch.load(tmp_path / "demo" / "fogged.pt")
    right = network(X_test).argmax(dim=1) == y_test
    assert 100 * right.double().mean().item() == pytest.approx(accuracy[1, 0], abs=0.06)


def first_calibration(names):
    likelihood, error = names["negative_log_likelihood"], names["ece"]
    before, after, y = names["before"], names["after"], names["y_test"]
    assert names["calibrator"].temperature_ > 1.5
    assert likelihood(y, after) < 0.8 * likelihood(y, before)
    assert error(y, before) > 2 * names["calibration_noise_floor"](error, before, random_state=0).quantile
    assert error(y, after) < 0.8 * error(y, before)


def all_methods(names):
    comparison = names["comparison"]
    assert len(comparison.rows) > 15
    # What the prose says of maps with a weight for every pair of classes, and of the temperature.
    assert comparison["MatrixScaling"].nll < comparison["TemperatureScaling"].nll < 0.8 * comparison["uncalibrated"].nll
    assert comparison["MatrixScaling"].accuracy > comparison["uncalibrated"].accuracy
    within = [row.ece < 1.5 * row.ece_floor_quantile for row in comparison.rows]
    assert np.mean(within) > 0.8


def camera(names):
    nll, clamped = names["nll"], names["clamped"]
    assert not clamped["noon"].accepted_
    assert nll["noon", "neural clamping"] == nll["noon", "temperature scaling"]
    assert nll["noon", "vector scaling"] > nll["noon", "temperature scaling"]
    assert clamped["evening"].accepted_
    assert nll["evening", "neural clamping"] < 0.9 * nll["evening", "vector scaling"]
    assert nll["evening", "vector scaling"] < 0.6 * nll["evening", "temperature scaling"]
    at_noon = clamped["noon"].score(names["X_test"], names["y_test"])
    assert clamped["evening"].score(names["evening"](names["X_test"]), names["y_test"]) > at_noon - 0.02


def drifting_sensors(names):
    drift, correction = names["drift"], names["correction"]
    drifted = drift != 0
    assert (correction[drifted] * drift[drifted] < 0).all()
    assert np.abs(correction[drifted]).mean() > 2 * np.abs(correction[~drifted]).mean()
    pad = {row.name: row.nll for row in names["pad"].rows}
    assert pad["NeuralClampingCalibrator"] < 0.95 * pad["VectorScaling"]
    assert pad["VectorScaling"] < 0.8 * pad["TemperatureScaling"]
    biopsies = {row.name: row.nll for row in names["biopsies"].rows}
    assert max(biopsies["PlattScaling"], biopsies["NeuralClampingCalibrator"]) < 0.8 * biopsies["TemperatureScaling"]
    assert abs(biopsies["PlattScaling"] - biopsies["NeuralClampingCalibrator"]) < 0.05


def gamma(names):
    results, quick = names["results"], names["quick"]
    refitted = results["param_refit_temperature"].astype(bool)
    nll = -results["mean_test_score"]
    assert np.ptp(nll[refitted]) < results["std_test_score"][refitted].min()
    assert nll[~refitted][-1] > 1.3 * nll[~refitted][0]
    assert quick.accepted_
    assert len(quick.cv_results_["params"]) == len(names["gammas"])


def skorch_pipeline(names):
    nll = {
        name: -names["neg_log_likelihood_scorer"](way, names["X_test"], names["y_test"])
        for name, way in names["ways"].items()
    }
    assert max(nll["around, fitted"], nll["last step"]) < nll["uncalibrated"]
    assert nll["around, cross-fitted"] < nll["around, fitted"]
    assert nll["last step"] == pytest.approx(nll["around, fitted"], abs=0.01)
    assert names["last"][-1].estimator is names["pipeline"][-1]


def conformal_sets(names):
    promised, kept, sizes = (names[name] for name in ("promised", "kept", "sizes"))
    assert promised["uncalibrated"] - kept["uncalibrated"] > 0.05
    for name in ("temperature scaling", "neural clamping"):
        assert abs(promised[name] - kept[name]) < 0.02
    assert all(abs(share - names["LEVEL"]) < 0.01 for share in names["covered"].values())
    ratio = sizes["temperature scaling", "conformal"] / sizes["uncalibrated", "conformal"]
    assert 0.9 < ratio < 1.1
    assert sizes["neural clamping", "conformal"] < 0.7 * sizes["temperature scaling", "conformal"]


def perturbation(names):
    gain = names["stain"].perturbation_.gain.detach().numpy()[0, 0]
    assert np.unravel_index(gain.argmax(), gain.shape) == (1, 2)
    curve = names["tone"].perturbation_
    values = torch.linspace(0, 1, 11).view(-1, 1, 1, 1)
    assert (curve(values) - values**2.5).abs().max() < 0.4
    weight = names["focus"].perturbation_.weight.detach()[0, 0]
    assert weight[1, 1] > 2
    assert max(weight[0, 1], weight[1, 0], weight[1, 2], weight[2, 1]) < 0
    assert not names["nothing"].accepted_


def monitoring(names):
    monitor, after, without = names["monitor"], names["after"], names["without"]
    # Eight days of about 25 labels are clear.
    assert names["density"][:8].max() == 0 < names["density"][8]
    assert names["day"] > 8
    assert monitor.p_value_ <= 0.01
    assert monitor.since_ == 0
    assert "were never true, or changed before labels could tell" in monitor.summary()
    assert "T alone would not do: the classes have other frequencies" in monitor.summary()
    refitted, rest, then = names["refitted"], names["rest"], names["then"]
    assert refitted.accepted_
    assert refitted.score(then[rest], names["y_new"][rest]) > names["calibrator"].score(
        then[rest], names["y_new"][rest]
    )
    assert after.p_value_ > 0.1
    assert without.alarm_


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
