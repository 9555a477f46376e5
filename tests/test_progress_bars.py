"""Long work says how far it is: ``verbose`` of every calibrator, the selector and the comparison."""

import io
import sys
import time

import numpy as np
import pytest
from _digits import calibration_and_test, convolutional_network
from _output_maps import PUBLIC
from _small_networks import bare_logits, labels_of, logits, perceptron, vectors
from torch.utils.data import DataLoader, Dataset

from skclamp import (
    CalibratorSelector,
    NeuralClampingCalibrator,
    TemperatureScaling,
    VectorScaling,
    compare_calibrators,
)

NETWORK = perceptron()
X = vectors(300)
Y = labels_of(bare_logits(NETWORK, X))
CANDIDATES = [("temperature", TemperatureScaling()), ("vector", VectorScaling())]


class Terminal(io.StringIO):
    """A standard error that somebody watches."""

    def isatty(self):
        return True


@pytest.fixture
def terminal():
    return Terminal()


class Slow(Dataset):
    """Samples that take their time."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        time.sleep(self.seconds)
        return X[index], int(Y[index])


@pytest.mark.parametrize("name", PUBLIC)
def test_every_calibrator_has_it(name):
    calibrator = PUBLIC[name]()
    assert calibrator.get_params()["verbose"] == "auto"
    with pytest.raises(ValueError, match="The 'verbose' parameter .* must be .*'auto'.* Got 'loud'"):
        calibrator.set_params(verbose="loud").fit(logits(20), np.arange(20) % 4)


def test_a_bar_counts_the_samples_of_fit_and_predict(capfd):
    calibrator = TemperatureScaling(NETWORK, verbose=1, batch_size=30)
    calibrator.fit(X, Y)
    assert "network: 100%" in (shown := capfd.readouterr().err)
    assert "300/300" in shown
    calibrator.predict_proba(DataLoader(Slow(0.0), batch_size=100))
    assert "300/300" in capfd.readouterr().err
    calibrator.predict_proba(X[:5])
    assert capfd.readouterr() == ("", "")


def test_nothing_is_shown_where_nobody_watches_or_at_zero(capfd, terminal, monkeypatch):
    # Here, since pytest puts its own stream back between the fixtures and the test.
    monkeypatch.setattr(sys, "stderr", terminal)
    TemperatureScaling(NETWORK, verbose=0, batch_size=10).fit(X, Y)
    CalibratorSelector(NETWORK, candidates=CANDIDATES, verbose=0).fit(X, Y)
    compare_calibrators(NETWORK, X[:200], Y[:200], X[200:], Y[200:], calibrators=CANDIDATES, n_draws=2, verbose=0)
    assert not terminal.getvalue()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("watched", [pytest.param(True, marks=pytest.mark.slow), pytest.param(False, id="unwatched")])
def test_by_itself_it_shows_a_bar_after_five_seconds_to_whoever_watches(watched, terminal, monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(terminal, "isatty", lambda: watched)
    calibrator = TemperatureScaling(NETWORK, batch_size=10)
    calibrator.fit(X, Y)
    assert not terminal.getvalue()
    calibrator.predict_proba(Slow(7 / len(X) if watched else 0.0))
    assert ("network:" in terminal.getvalue()) == watched
    # What has come by itself goes by itself.
    assert not terminal.getvalue().split("\r")[-1].strip()


def test_the_selector_counts_its_fits(capfd):
    CalibratorSelector(candidates=CANDIDATES, n_folds=3, verbose=1).fit(logits(200), labels_of(logits(200)))
    shown = capfd.readouterr().err
    # Two candidates in each of three folds.
    assert "out of fold: 100%" in shown
    assert "6/6" in shown


def test_the_comparison_names_the_calibrator_it_is_at(capfd):
    options = {"calibrators": CANDIDATES, "batch_size": 50, "n_draws": 2, "n_resamples": 2}
    compare_calibrators(NETWORK, X[:200], Y[:200], X[200:], Y[200:], verbose=1, **options)
    shown = capfd.readouterr().err
    assert "network: 100%" in shown
    assert "temperature: " in shown
    assert "vector: " in shown
    assert "vector, intervals: " in shown
    with pytest.raises(ValueError, match="The 'verbose' parameter of compare_calibrators must be"):
        compare_calibrators(NETWORK, X[:200], Y[:200], X[200:], Y[200:], verbose=-1, **options)


# Clamping


def test_two_says_what_each_fold_found_and_what_the_guard_decided(capfd):
    (images, y), _ = calibration_and_test(0)
    calibrator = NeuralClampingCalibrator(convolutional_network(), perturbation="affine", random_state=0, verbose=2)
    calibrator.fit(images, y)
    assert not calibrator.accepted_
    assert not calibrator.history_
    lines = capfd.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:2]] == ["fold 1 of 2", "fold 2 of 2"]
    assert lines[2] == calibrator.verdict_.reason
    folds = calibrator.verdict_.folds
    for fold, line in zip(folds, lines[:2], strict=True):
        assert f"held-out NLL {fold['nll']:.4f}, with T alone {fold['nll_temperature_scaling']:.4f}" in line
        assert f"T = {fold['temperature']:.4g}" in line
        assert fold["perturbation"] in ("affine", "none")
    assert sum(fold["n_samples"] for fold in folds) == calibrator.verdict_.n_samples
