"""Templates: registries test the full map, family and metric; here is what a user does with all of them."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from _digits import calibration_and_test, convolutional_network
from _small_networks import labels_of, logits
from _templates import TEMPLATES, template

from skclamp import NeuralClampingCalibrator, TemperatureScaling, compare_calibrators, load
from skclamp.metrics import bootstrap_interval, make_calibration_scorer, negative_log_likelihood

X = logits(900, 4, scale=2.0)
Y = labels_of(X + [0.0, 0.0, 0.0, 1.5], temperature=2.0)
MAPS = {"simple": "LogitScaling", "full": "BiasCorrectedTemperatureScaling"}


@pytest.mark.parametrize("grade", MAPS)
def test_a_map_lowers_the_nll_and_is_compared_and_saved(grade, tmp_path):
    made = getattr(template(f"map_{grade}"), MAPS[grade])
    table = compare_calibrators(None, X[:450], Y[:450], X[450:], Y[450:], calibrators=[TemperatureScaling(), made()])
    losses = {row.name: row.nll for row in table.rows}
    assert losses[MAPS[grade]] < losses["uncalibrated"] - 0.02
    fitted = made().fit(X, Y)
    fitted.save(tmp_path / "map.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "map.safetensors").predict_proba(X), fitted.predict_proba(X))


def test_the_full_map_finds_what_labels_were_drawn_with():
    fitted = template("map_full").BiasCorrectedTemperatureScaling(penalty=1e-3).fit(X, Y)
    direct = -np.log(fitted.predict_proba(X)[np.arange(len(Y)), Y]).mean()
    assert fitted.temperature_ == pytest.approx(2.0, rel=0.2)
    assert fitted.offsets_[3] - fitted.offsets_[:3].mean() == pytest.approx(0.75, abs=0.2)
    assert direct < negative_log_likelihood(Y, TemperatureScaling().fit(X, Y).predict_proba(X))


@pytest.mark.parametrize("grade", ["simple", "full"])
def test_a_family_takes_back_what_a_camera_did(grade):
    (X_cal, y_cal), (X_test, y_test) = calibration_and_test(0)
    network = convolutional_network()
    bent = [np.asarray(each).clip(0) ** 0.4 for each in (X_cal, X_test)]
    shape = bent[0].shape[1:]
    make = {
        "simple": lambda: template("family_simple").Gamma(),
        "full": lambda: template("family_full").GammaPerturbation(shape),
    }
    clamping = NeuralClampingCalibrator(network, perturbation=make[grade](), random_state=0).fit(bent[0], y_cal)
    temperature = TemperatureScaling(network).fit(bent[0], y_cal)
    assert clamping.accepted_
    losses = [negative_log_likelihood(y_test, each.predict_proba(bent[1])) for each in (clamping, temperature)]
    assert losses[0] < losses[1]
    assert all(
        1.2 < value < 4.0 for value in dict(clamping.perturbation_.named_parameters())["gamma"].flatten().tolist()
    )


def test_metrics_agree_and_have_intervals():
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.ones(4), 300)
    y = np.array([rng.choice(4, p=row) for row in proba])
    simple, full = (template(f"metric_{grade}").spherical_score for grade in ("simple", "full"))
    assert full(y, proba) == pytest.approx(simple(y, proba))
    assert full(y, torch.from_numpy(proba)) == pytest.approx(simple(y, proba))
    named = np.array(["elk", "fox", "hen", "owl"])[y]
    calibrator = TemperatureScaling().fit(np.log(proba), named)
    expected = -simple(y, calibrator.predict_proba(np.log(proba)))
    owls_first = [3, 0, 2, 1]
    for metric in (simple, full):
        assert make_calibration_scorer(metric)(calibrator, np.log(proba), named) == pytest.approx(expected)
        permuted = {"y_proba": proba[:, owls_first], "labels": np.array(["elk", "fox", "hen", "owl"])[owls_first]}
        assert metric(named, **permuted) == pytest.approx(simple(y, proba))
        with pytest.raises(ValueError):
            metric(np.array(["emu"]), proba[:1], labels=["elk", "fox", "hen", "owl"])
        found = bootstrap_interval(metric, y, proba, n_resamples=500, random_state=0)
        assert found.low < simple(y, proba) < found.high
    # A proper score.
    assert simple(y, proba) < simple(y, proba[:, [1, 0, 2, 3]])


@pytest.mark.slow
def test_proofs_run_and_go_on_where_they_stopped(tmp_path):
    simple = subprocess.run([sys.executable, TEMPLATES / "proof_simple.py"], capture_output=True, text=True, check=True)
    assert "nats over 5 splits" in simple.stdout
    out = tmp_path / "proof.csv"
    command = [sys.executable, TEMPLATES / "proof_full.py", "--sizes", "200", "--seeds", "2", "--out", out]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        assert "structured vector" in done.stdout
        assert len(out.read_text().splitlines()) == 7
