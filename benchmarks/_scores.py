"""What is recorded of fits: scores of log-probabilities, what a fitted calibrator kept, and what it cost."""

import numpy as np
import torch

from skclamp import TemperatureScaling, metrics


def nll_and_accuracy(log_proba, y):
    """In nats, and in per cent."""
    return {
        "nll": -log_proba[np.arange(len(y)), y].mean(),
        "accuracy": 100 * (log_proba.argmax(1) == y).mean(),
    }


def evaluate(y, log_proba):
    """Scores of log-probabilities (n, K) against labels; percentages and the noise floor under the ECE in per cent."""
    proba = np.exp(log_proba)
    floor = metrics.calibration_noise_floor(metrics.expected_calibration_error, proba, random_state=0)
    return {
        **nll_and_accuracy(log_proba, y),
        "brier": metrics.brier_score(y, proba),
        "ece": 100 * metrics.expected_calibration_error(y, proba),
        "ece_floor": 100 * floor.mean,
        "ece_floor_95": 100 * floor.quantile,
        "aece": 100 * metrics.adaptive_expected_calibration_error(y, proba),
        "sce": 100 * metrics.classwise_calibration_error(y, proba),
    }


def scaled(logits, temperature=1.0):
    """Log-probabilities at a temperature, float64."""
    return torch.log_softmax(torch.as_tensor(logits).double() / temperature, 1).numpy()


def fit_temperature(logits, labels):
    """The temperature of logits that have a column for each class."""
    return TemperatureScaling(classes=np.arange(logits.shape[1])).fit(logits, labels).temperature_


def beside_temperature(results, key=None):
    """Results with their NLL as a `ratio` to temperature scaling's, by how much it is `over` that, and `points` won.

    Temperature scaling's scores are the columns `ts_nll` and `ts_accuracy`; with a key, those of the method
    "temperature" where the key is the same.
    """
    if key:
        plain = results[results.method == "temperature"].set_index(key)[["nll", "accuracy"]]
        # An inner join of pandas 2.0 changes the order.
        results = results.join(plain.add_prefix("ts_"), on=key).dropna(subset="ts_nll")
    gained = {"over": results.nll - results.ts_nll, "points": results.accuracy - results.ts_accuracy}
    return results.assign(ratio=results.nll / results.ts_nll, **gained)


def draw_labels(logits, temperature, seed):
    """Labels from the probabilities at a temperature: nothing is better than these."""
    rng = torch.Generator().manual_seed(seed)
    return torch.multinomial((logits.double() / temperature).softmax(1), 1, generator=rng)[:, 0].numpy()


def predicted(clamping, inputs, logits):
    """Log-probabilities; where the network stays as it is, from the logits that there are."""
    if clamping.accepted_ or hasattr(clamping, "last_layer_"):
        return clamping.predict_log_proba(inputs)
    if hasattr(clamping, "output_"):
        return clamping.output_.predict_log_proba(logits)
    return scaled(logits, clamping.temperature_)


def facts(clamping):
    """What fitted neural clamping kept, with its families in the order in which they act, and what it cost."""
    families = ""
    if isinstance(clamping.perturbation_, torch.nn.Sequential) and clamping.accepted_:
        families = "+".join(name for name, _ in clamping.perturbation_.named_children())
    elif clamping.accepted_:
        families = type(clamping.perturbation_).__name__.removesuffix("Perturbation").lower()
    if hasattr(clamping, "last_layer_"):
        families = f"{families}+last layer".removeprefix("+")
    return {
        "accepted": int(clamping.accepted_),
        "families": families,
        "temperature": clamping.temperature_,
        **clamping.cost_,
    }
