"""What a user could do about corrupted images: methods from one temperature to all the network's weights."""

import copy
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from _data import split_off
from _networks import compute_logits
from _scores import facts, fit_temperature, scaled
from _timing import BATCH_SIZE, Spent, at_once, least, measure
from skclamp import NeuralClampingCalibrator, StructuredMatrixScaling, TemperatureScaling, VectorScaling

STRENGTHS = np.logspace(-4, 1, 6)
MOMENTUM, WEIGHT_DECAY = 0.9, 5e-4
# Of fine-tuning: what the temperature is solved on.
HELD_OUT = 0.2


class Part(NamedTuple):
    """Images with labels, and what a plain pass of the network says of them."""

    images: torch.Tensor
    labels: np.ndarray
    features: np.ndarray
    logits: torch.Tensor


class Task(NamedTuple):
    """A network, who calibrates and who judges, the time of a plain pass over one image, and a seed."""

    network: torch.nn.Module
    calibration: Part
    test: Part
    plain: Spent
    seed: int

    def passes(self, spent, part, more=0):
        """A time in plain passes over a part, and `more` of these."""
        return Spent(*(more + multiple / len(part.labels) for multiple in spent.over(self.plain)))


class Answer(NamedTuple):
    """Log-probabilities of the test part, times in plain passes, the network behind them, what else is known."""

    log_proba: np.ndarray
    fit: Spent
    predict: Spent
    network: torch.nn.Module
    facts: dict


def make_task(network, images, labels, seed, n):
    """The first n images calibrate, the others judge."""
    parts, times = [], []
    for rows in (slice(n), slice(n, None)):
        found, spent = measure(lambda rows=rows: features_and_logits(network, images[rows]))
        parts.append(Part(images[rows], labels[rows], *found))
        times.append(Spent(*(time / len(labels[rows]) for time in spent)))
    return Task(network, *parts, least(*times), seed)


def features_and_logits(network, images):
    """What enters the last layer and what leaves it, in one pass."""
    features = []
    hook = last_linear(network).register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    try:
        logits = compute_logits(network, images, at_once(images))
    finally:
        hook.remove()
    return torch.cat(features).numpy(), logits


def last_linear(network):
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def output_only(kind, task):
    """A map of the logits; the plain pass that these cost is counted."""
    calibrator = kind(classes=np.arange(task.test.logits.shape[1]))
    _, fit = measure(lambda: calibrator.fit(task.calibration.logits, task.calibration.labels))
    log_proba, predict = measure(lambda: calibrator.predict_log_proba(task.test.logits))
    fit, predict = task.passes(fit, task.calibration, more=1), task.passes(predict, task.test, more=1)
    return Answer(log_proba, fit, predict, task.network, {})


def another_network(adapt, task, passes=0):
    """The answer of a method that gives a changed copy of the network and a temperature, after so many plain passes."""
    (network, temperature), fitted = measure(lambda: adapt(task))
    logits, predicted = measure(lambda: compute_logits(network, task.test.images, at_once(task.test.images)))
    times = task.passes(fitted, task.calibration, more=passes), task.passes(predicted, task.test)
    return Answer(scaled(logits, temperature), *times, network, {"temperature": temperature})


def batch_norm(task):
    """Batch norm adapted: its running statistics are those of the calibration images. Then T."""
    images, labels = task.calibration.images, task.calibration.labels
    network = with_statistics_of(images, task.network)
    return network, fit_temperature(compute_logits(network, images), labels)


def with_statistics_of(images, network):
    """A copy of a network whose batch norm has the statistics of other images."""
    network = copy.deepcopy(network)
    # Not torch's update_bn: it would have dropout and dropped blocks in training, too.
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            module.momentum = None
            module.train()
    compute_logits(network, images)
    return network.eval()


def last_layer(task):
    """A new last layer: logistic regression on standardised features, its strength and T by folds."""
    X, y = task.calibration.features, task.calibration.labels
    folds = StratifiedKFold(5, shuffle=True, random_state=task.seed)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    grid = {"logisticregression__C": STRENGTHS}
    scaler, regression = found = GridSearchCV(model, grid, scoring="neg_log_loss", cv=folds).fit(X, y).best_estimator_
    held_out = cross_val_predict(found, X, y, cv=folds, method="decision_function")
    network, weight = copy.deepcopy(task.network), regression.coef_ / scaler.scale_
    with torch.no_grad():
        last_linear(network).weight.copy_(torch.from_numpy(weight))
        last_linear(network).bias.copy_(torch.from_numpy(regression.intercept_ - weight @ scaler.mean_))
    return network, fit_temperature(torch.from_numpy(held_out), y)


def fine_tuned(task, epochs, rate):
    """All weights trained on: some epochs of SGD, along a cosine, on four fifths of the images, T on the others."""
    images, labels = task.calibration.images, torch.from_numpy(task.calibration.labels)
    train, rest = split_off(task.calibration.labels, 1 - HELD_OUT, task.seed)
    network, generator = copy.deepcopy(task.network).train(), torch.Generator().manual_seed(task.seed)
    optimizer = torch.optim.SGD(network.parameters(), rate, MOMENTUM, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for rows in torch.from_numpy(train)[torch.randperm(len(train), generator=generator)].split(BATCH_SIZE):
            optimizer.zero_grad()
            functional.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimizer.step()
        schedule.step()
    network.eval()
    return network, fit_temperature(compute_logits(network, images[rest]), task.calibration.labels[rest])


class InputClamping(NeuralClampingCalibrator):
    """The input's families alone: "auto" without a gain and an offset after each normalisation layer."""

    def _candidates(self, problem):
        return [settings for settings in super()._candidates(problem) if not getattr(settings, "features", False)]


def clamping(task, kind=NeuralClampingCalibrator, **parameters):
    """Neural clamping, defaults but for `parameters`."""
    classes = np.arange(task.test.logits.shape[1])
    calibrator = kind(task.network, random_state=task.seed, classes=classes, **parameters)
    _, fit = measure(lambda: calibrator.fit(task.calibration.images, task.calibration.labels))
    log_proba, predict = measure(lambda: calibrator.predict_log_proba(task.test.images))
    found = {**facts(calibrator), "n_views": len(calibrator.views_)}
    times = task.passes(fit, task.calibration), task.passes(predict, task.test)
    return Answer(log_proba, *times, calibrator.estimator, found)


# Epochs and rate of each way to fine-tune; the first is what 2,500 images are given.
FINE_TUNED = {
    f"fine_tuned{name}{'_fast' if rate > 0.01 else ''}": (epochs, rate)
    for rate in (0.01, 0.03)
    for name, epochs in {"": 10, "_20": 20, "_40": 40}.items()
}
METHODS = {
    "temperature": partial(output_only, TemperatureScaling),
    "vector": partial(output_only, VectorScaling),
    "structured_matrix": partial(output_only, StructuredMatrixScaling),
    "batch_norm": partial(another_network, batch_norm),
    # One pass for the features.
    "last_layer": partial(another_network, last_layer, passes=1),
    "input_clamping": partial(clamping, kind=InputClamping),
    "norm": partial(clamping, perturbation="norm"),
    "clamping": clamping,
    "clamping_two_views": partial(clamping, max_views=2),
    **{
        name: partial(another_network, partial(fine_tuned, epochs=epochs, rate=rate))
        for name, (epochs, rate) in FINE_TUNED.items()
    },
}
