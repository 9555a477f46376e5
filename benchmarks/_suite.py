"""One run of the shift suite: the methods on one split of one shifted data set, and what is recorded of each."""

from typing import NamedTuple

import numpy as np
import torch

from _relative_time import measure_relative
from skclamp import NeuralClampingCalibrator, TemperatureScaling, VectorScaling
from skclamp.metrics import expected_calibration_error

METHODS = ("uncalibrated", "temperature", "vector", "auto")


class Run(NamedTuple):
    """What tells one run from another."""

    network: str
    shift: str
    n_calibration: int
    seed: int


COLUMNS = (
    *Run._fields,
    "n_test",
    "method",
    "nll",
    "accuracy",
    "ece",
    "accepted",
    "families",
    "temperature",
    "forward",
    "backward",
    "relative_time",
    "relative_cpu",
)


class Split(NamedTuple):
    """A network, shifted inputs and the network's logits of them, labels, and who is calibrated and tested on."""

    network: torch.nn.Module
    inputs: torch.Tensor
    logits: torch.Tensor
    labels: np.ndarray
    calibration: np.ndarray
    test: np.ndarray


def compare(run, split):
    """The rows of a run, one for each of `METHODS`: scores on the test part; of "auto", what it did and cost."""
    found = {"uncalibrated": (uncalibrated(split), {})}
    found["temperature"] = temperature(split)
    found["vector"] = vector(split)
    found["auto"] = auto(split, run.seed)
    return [
        {**run._asdict(), "n_test": len(split.test), "method": method, **evaluate(split, log_proba), **facts}
        for method, (log_proba, facts) in found.items()
    ]


def evaluate(split, log_proba):
    """NLL in nats from float64 log-probabilities, accuracy and ECE in per cent."""
    y = split.labels[split.test]
    return {
        "nll": -log_proba[np.arange(len(y)), y].mean(),
        "accuracy": 100 * (log_proba.argmax(1) == y).mean(),
        "ece": 100 * expected_calibration_error(y, np.exp(log_proba)),
    }


def uncalibrated(split, temperature=1.0):
    return torch.log_softmax(split.logits[split.test].double() / temperature, 1).numpy()


def temperature(split):
    calibrator = fit_to_logits(TemperatureScaling, split)
    return uncalibrated(split, calibrator.temperature_), {"temperature": calibrator.temperature_}


def vector(split):
    return fit_to_logits(VectorScaling, split).predict_log_proba(split.logits[split.test]), {}


def fit_to_logits(calibrator, split):
    """An output-only calibrator, fitted to the calibration part's logits."""
    calibrator = calibrator(classes=np.arange(split.logits.shape[1]))
    return calibrator.fit(split.logits[split.calibration], split.labels[split.calibration])


def auto(split, seed):
    inputs, labels = split.inputs[split.calibration], split.labels[split.calibration]
    calibrator = NeuralClampingCalibrator(split.network, random_state=seed, classes=np.arange(split.logits.shape[1]))
    _, relative = measure_relative(lambda: calibrator.fit(inputs, labels), split.network, inputs)
    return predict(calibrator, split), {**facts(calibrator), **times(relative)}


def predict(calibrator, split):
    """Log-probabilities of the test part; where no perturbation was kept, from the logits that there are."""
    if not calibrator.accepted_:
        return uncalibrated(split, calibrator.temperature_)
    return calibrator.predict_log_proba(split.inputs[split.test])


def facts(calibrator):
    """What a fitted calibrator kept and what it cost."""
    return {
        "accepted": int(calibrator.accepted_),
        "families": families(calibrator.perturbation_) if calibrator.accepted_ else "",
        "temperature": calibrator.temperature_,
        **calibrator.cost_,
    }


def times(relative):
    return {"relative_time": relative.wall, "relative_cpu": relative.cpu}


def families(perturbation):
    """Names of the families in a fitted perturbation, in the order in which they act, such as "affine+grid"."""
    if isinstance(perturbation, torch.nn.Sequential):
        return "+".join(name for name, _ in perturbation.named_children())
    return type(perturbation).__name__.removesuffix("Perturbation").lower()
