"""What a fitted calibrator says of itself: summaries, reprs and notebooks."""

import html
import re

import numpy as np
import pytest
import torch
from _calibrators import every_map
from _small_networks import bare_logits, labels_of, perceptron, vectors
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

from skclamp import (
    CalibratorSelector,
    NeuralClampingCalibrator,
    PlattScaling,
    TemperatureScaling,
    TorchTraining,
    VectorScaling,
)
from skclamp.modules import ClampedModule
from skclamp.perturbations import AffinePerturbation

NETWORK = perceptron()
X = vectors(400, 6)
Y = labels_of(bare_logits(NETWORK, X))


def clamped(shift=2.0, **settings):
    return NeuralClampingCalibrator(NETWORK, random_state=0, **settings).fit(X + shift, Y)


@pytest.mark.parametrize(("n", "told"), [(400, []), (200_000, ["(on a random 33% of the samples)"])])
def test_scores_of_a_part_say_so(n, told):
    logits = bare_logits(NETWORK, vectors(n, 6))[:, :2]
    summary = TemperatureScaling().fit(logits, labels_of(logits)).summary()
    assert re.findall(r"\(on a random .*?\)", summary) == told


def test_clamping_tells_perturbation_temperature_verdict_and_cost():
    found = clamped(perturbation="affine")
    summary = found.summary()
    assert re.match(r"NLL [\d.]+ (out of fold|in the folds that chose it); in sample accuracy ", summary)
    assert ". NeuralClampingCalibrator: inputs pass through affine (gain [" in summary
    assert f"{found.perturbation_.offset[0].item():.4g}" in summary
    assert f"logits are divided by T = {found.temperature_:.4g}." in summary
    assert found.verdict_.reason in summary
    assert f"{found.cost_['forward']:.3g} forward and {found.cost_['backward']:.3g} backward passes" in summary
    assert summary.endswith(f"over 400 samples; epochs on all of them: {found.n_iter_}.")


def test_clamping_tells_what_a_refusal_leaves():
    found = clamped(0.0, perturbation="full", training=TorchTraining(), lr=0.1)
    summary = found.summary()
    assert "inputs stay as they are" in summary
    assert f"would have shown a gain of {found.verdict_.detectable_gain:.2g} nats per sample" in summary


def test_clamping_tells_what_takes_the_places_of_guard_and_temperature():
    summary = clamped(perturbation="channel", validation_fraction=None, output=VectorScaling()).summary()
    assert "No guard judged this." in summary
    assert "logits pass through VectorScaling (" in summary
    assert "T =" not in summary


@every_map()
def test_every_calibrator_has_a_summary(case):
    with pytest.raises(NotFittedError):
        case.make().summary()
    summary = case.fitted.summary()
    assert summary.startswith(("In sample accuracy ", "NLL "))
    assert f". {type(case.fitted).__name__}" in summary
    # One half of the samples fits an estimator that is clamped.
    halved = isinstance(case.fitted, NeuralClampingCalibrator) and hasattr(case.fitted, "estimator_")
    assert f"{len(case.y) // (1 + halved):,} samples" in summary
    assert summary.endswith(".")


def test_maps_of_logits_tell_their_numbers():
    logits = bare_logits(NETWORK, X)
    calibrator = TemperatureScaling().fit(logits, Y)
    expected = f"TemperatureScaling learned 1 number from 400 samples: temperature_ = {calibrator.temperature_:.4g}."
    assert calibrator.summary().endswith(f". {expected}")
    maps = [("temperature", TemperatureScaling()), ("vector", VectorScaling())]
    selector = CalibratorSelector(candidates=maps).fit(logits, Y)
    assert ". CalibratorSelector pooled 'temperature' " in selector.summary()
    margin = logits[:, 1] - logits[:, 0]
    platt = PlattScaling().fit(margin, Y == 1)
    gain, offset = np.polyfit(margin, np.subtract(*platt.predict_log_proba(margin).T[::-1]), 1)
    told = f"PlattScaling learned 2 numbers from 400 samples: log-odds of True {gain:.4g} times, and {offset:+.4g}."
    assert platt.summary().endswith(told)


def test_notebooks_show_the_summary_of_what_is_fitted():
    calibrator = clamped()
    shown = calibrator._repr_html_()
    assert html.escape(calibrator.summary()) in shown
    assert calibrator._repr_mimebundle_()["text/html"].count("The fit took") == 1
    assert "NeuralClampingCalibrator" in clone(calibrator)._repr_html_()
    assert "The fit took" not in clone(calibrator)._repr_html_()


def test_reprs_show_numbers():
    module = ClampedModule(nn.Linear(3, 2), AffinePerturbation((3,)), temperature=1.23456)
    with torch.no_grad():
        module.perturbation.gain[1] = 0.123456
    assert "temperature=1.235" in repr(module)
    assert "AffinePerturbation(gain=[1, 0.1235, 1], offset=[0, 0, 0])" in repr(module)
    assert "temperature=..." in repr(module.to("meta"))
