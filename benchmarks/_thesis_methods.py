"""The methods that Tang (2022) compares: each learns from calibration samples and yields test log-probabilities."""

import time

import numpy as np
import torch
from sklearn.base import clone
from skorch.callbacks import Freezer

from _augmentation import AugmentedImages, NormalizedImages
from _networks import without_normalization
from _suite import families
from _thesis_runs import OUTPUT_ONLY, REFERENCE
from skclamp import (
    REFERENCE_SETTINGS,
    AccuracyPreservingIsotonic,
    DirichletCalibration,
    EnsembleTemperatureScaling,
    IntraOrderPreservingCalibration,
    MatrixScaling,
    NeuralClampingCalibrator,
    ParameterizedTemperatureScaling,
    SplineCalibration,
    StructuredMatrixScaling,
    TemperatureScaling,
    VectorScaling,
)
from skclamp.metrics import expected_calibration_error

MAPS = {
    "vector": VectorScaling(),
    "MS-ODIR": MatrixScaling(),
    "Dir-ODIR": DirichletCalibration(),
    "ETS": EnsembleTemperatureScaling(),
    "IRM": AccuracyPreservingIsotonic(),
    "spline": SplineCalibration(),
    "PTS": ParameterizedTemperatureScaling(),
    "SMS": StructuredMatrixScaling(),
    "order-invariant": IntraOrderPreservingCalibration(),
    "order-preserving": IntraOrderPreservingCalibration(variant="order-preserving"),
}
# What is recorded of a fit.
FACTS = ("temperature", "accepted", "families", "forward", "backward", "seconds")
# Steps of 1 %.
ECE_GRID = np.geomspace(0.2, 5, 324)


def calibrate(run, problem):
    """Log-probabilities of the test samples (n, K), and what the fit found and took: some of `FACTS`."""
    samples = problem.calibration.part(run.n_calibration, run.seed)
    method = output_only if run.method in OUTPUT_ONLY else clamping
    return method(run, problem, samples)


def output_only(run, problem, samples):
    """What needs nothing but logits."""
    logits = problem.test.logits
    if run.method == "uncalibrated":
        return scaled(logits, 1.0), {"temperature": 1.0}
    if run.method == "temperature, ECE":
        best, seconds = timed(temperature_by_ece, samples.logits, samples.labels)
        return scaled(logits, best), {"temperature": best, "seconds": seconds}
    made = TemperatureScaling(gamma=run.gamma) if run.method == "temperature" else clone(MAPS[run.method])
    made.set_params(classes=problem.classes)
    fitted, seconds = timed(made.fit, samples.logits, samples.labels)
    found = {"temperature": fitted.temperature_} if run.method == "temperature" else {}
    return fitted.predict_log_proba(logits), {**found, "seconds": seconds}


def clamping(run, problem, samples):
    """Our defaults, or the reference's settings on inputs that are normalised as its authors' are, by the network."""
    network, images, test_images = problem.network, samples.images, problem.test.images
    if run.method in REFERENCE:
        normalize, network = without_normalization(network)
        images = AugmentedImages(images) if run.method == "reference, augmented" else images
        images, test_images = normalized(images, normalize), normalized(test_images, normalize)
    made = NeuralClampingCalibrator(network, random_state=run.seed, classes=problem.classes)
    made.set_params(**settings(run))
    torch.manual_seed(run.seed)
    fitted, seconds = timed(made.fit, images, samples.labels)
    facts = {
        "temperature": fitted.temperature_,
        "accepted": int(fitted.accepted_),
        "families": families(fitted.perturbation_) if fitted.accepted_ else "",
        **fitted.cost_,
        "seconds": seconds,
    }
    # Without a perturbation the logits that there are will do.
    if not fitted.accepted_:
        return scaled(problem.test.logits, fitted.temperature_), facts
    return fitted.predict_log_proba(test_images), facts


def normalized(images, normalize):
    """Images, a tensor or a Dataset, as the inside of a network sees them."""
    return normalize(images) if isinstance(images, torch.Tensor) else NormalizedImages(images, normalize)


def settings(run):
    """Parameters of the calibrator of a run."""
    if run.method == "clamping":
        return {"gamma": run.gamma}
    frozen = [Freezer("temperature")] if run.method == "reference, input only" else None
    loop = {"max_epochs": run.epochs, "precision": run.precision, "callbacks": frozen}
    return {**REFERENCE_SETTINGS, "gamma": run.gamma, **loop}


def scaled(logits, temperature):
    """Log-probabilities at a temperature."""
    return torch.log_softmax(logits.double() / temperature, 1).numpy()


def temperature_by_ece(logits, labels):
    """The temperature of `ECE_GRID` with the least ECE, the smallest of several."""
    errors = [expected_calibration_error(labels, np.exp(scaled(logits, value))) for value in ECE_GRID]
    return float(ECE_GRID[np.argmin(errors)])


def timed(function, *args):
    """What a function returns, and its seconds."""
    started = time.perf_counter()
    result = function(*args)
    return result, time.perf_counter() - started
