"""What a user could do about corrupted images: methods from one temperature to all the network's weights."""

import copy
from typing import NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from _networks import compute_logits
from _relative_time import BATCH_SIZE, Spent, least, measure
from _suite import facts
from skclamp import NeuralClampingCalibrator, StructuredMatrixScaling, TemperatureScaling, VectorScaling

STRENGTHS = np.logspace(-4, 1, 6)
EPOCHS, LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 10, 0.01, 0.9, 5e-4
# Of fine-tuning: what the temperature is solved on.
HELD_OUT = 0.2


class Part(NamedTuple):
    """Images with labels, and what a plain pass of the network says of them."""

    images: torch.Tensor
    labels: np.ndarray
    features: np.ndarray
    logits: torch.Tensor


class Task(NamedTuple):
    """A network, who calibrates and who judges, the time of one plain pass over either, and a seed."""

    network: torch.nn.Module
    calibration: Part
    test: Part
    plain: Spent
    seed: int


class Answer(NamedTuple):
    """Log-probabilities of the test part, times in plain passes, the network behind them, what else is known."""

    log_proba: np.ndarray
    fit: Spent
    predict: Spent
    network: torch.nn.Module
    facts: dict


def make_task(network, images, labels, seed):
    """The first half of the images calibrates, the other judges."""
    half = len(images) // 2
    parts, times = [], []
    for rows in (slice(half), slice(half, None)):
        found, spent = measure(lambda rows=rows: features_and_logits(network, images[rows]))
        parts.append(Part(images[rows], labels[rows], *found))
        times.append(spent)
    return Task(network, *parts, least(*times), seed)


def features_and_logits(network, images):
    """What enters the last layer and what leaves it, in one pass."""
    features = []
    hook = last_linear(network).register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    try:
        logits = compute_logits(network, images, BATCH_SIZE)
    finally:
        hook.remove()
    return torch.cat(features).numpy(), logits


def last_linear(network):
    return [module for module in network.modules() if isinstance(module, nn.Linear)][-1]


def temperature(task):
    return output_only(TemperatureScaling, task)


def vector(task):
    return output_only(VectorScaling, task)


def structured_matrix(task):
    return output_only(StructuredMatrixScaling, task)


def output_only(kind, task):
    """A map of the logits; the plain pass that these cost is counted."""
    calibrator = kind(classes=np.arange(task.test.logits.shape[1]))
    _, fit = measure(lambda: calibrator.fit(task.calibration.logits, task.calibration.labels))
    log_proba, predict = measure(lambda: calibrator.predict_log_proba(task.test.logits))
    return Answer(log_proba, *(after_a_pass(spent, task) for spent in (fit, predict)), task.network, {})


def after_a_pass(spent, task):
    return Spent(*(1 + multiple for multiple in spent.over(task.plain)))


def batch_norm(task):
    """Batch norm adapted: its running statistics are those of the calibration images. Then T."""

    def fit():
        network = with_statistics_of(task.calibration.images, task.network)
        return network, solve_temperature(compute_logits(network, task.calibration.images), task.calibration)

    return network_and_temperature(fit, task)


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
    """A new last layer: logistic regression on the features, its strength and T by folds. One pass for the features."""

    def fit():
        X, y = task.calibration.features, task.calibration.labels
        folds = StratifiedKFold(5, shuffle=True, random_state=task.seed)
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        grid = {"logisticregression__C": STRENGTHS}
        found = GridSearchCV(model, grid, scoring="neg_log_loss", cv=folds).fit(X, y).best_estimator_
        held_out = cross_val_predict(found, X, y, cv=folds, method="decision_function")
        network = with_last_layer(task.network, *found)
        return network, solve_temperature(torch.from_numpy(held_out), task.calibration)

    answer = network_and_temperature(fit, task)
    return answer._replace(fit=Spent(*(1 + spent for spent in answer.fit)))


def with_last_layer(network, scaler, regression):
    """A copy of a network whose last layer is a logistic regression on standardised features."""
    network = copy.deepcopy(network)
    weight = regression.coef_ / scaler.scale_
    bias = regression.intercept_ - weight @ scaler.mean_
    with torch.no_grad():
        last_linear(network).weight.copy_(torch.from_numpy(weight))
        last_linear(network).bias.copy_(torch.from_numpy(bias))
    return network


def fine_tuned(task):
    """All weights trained on: ten epochs of SGD on four fifths of the images, T on the others."""

    def fit():
        images, labels = task.calibration.images, torch.from_numpy(task.calibration.labels)
        train, rest = train_test_split(
            np.arange(len(labels)), test_size=HELD_OUT, stratify=labels, random_state=task.seed
        )
        network = train_on(copy.deepcopy(task.network), images[train], labels[train], task.seed)
        held_out = Part(images[rest], task.calibration.labels[rest], None, None)
        return network, solve_temperature(compute_logits(network, held_out.images), held_out)

    return network_and_temperature(fit, task)


def train_on(network, images, labels, seed):
    """The network itself, after `EPOCHS` epochs with a learning rate that falls along a cosine."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD(network.parameters(), LEARNING_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    network.train()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(images), generator=generator).split(BATCH_SIZE):
            optimizer.zero_grad()
            functional.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimizer.step()
        schedule.step()
    return network.eval()


def solve_temperature(logits, part):
    return TemperatureScaling(classes=np.arange(logits.shape[1])).fit(logits, part.labels).temperature_


def network_and_temperature(fit, task):
    """The answer of a function that returns a network and a temperature."""
    (network, temperature), fitted = measure(fit)
    logits, predicted = measure(lambda: compute_logits(network, task.test.images, BATCH_SIZE))
    log_proba = torch.log_softmax(logits.double() / temperature, 1).numpy()
    times = (spent.over(task.plain) for spent in (fitted, predicted))
    return Answer(log_proba, *times, network, {"temperature": temperature})


def clamping(task, **parameters):
    """Neural clamping, defaults but for `parameters`."""
    calibrator = clamping_calibrator(task, **parameters)
    _, fit = measure(lambda: calibrator.fit(task.calibration.images, task.calibration.labels))
    log_proba, predict = measure(lambda: calibrator.predict_log_proba(task.test.images))
    found = {**facts(calibrator), "n_views": len(calibrator.views_)}
    return Answer(log_proba, fit.over(task.plain), predict.over(task.plain), calibrator.estimator, found)


def clamping_calibrator(task, **parameters):
    classes = np.arange(task.test.logits.shape[1])
    return NeuralClampingCalibrator(task.network, random_state=task.seed, classes=classes, **parameters)


def clamping_two_views(task):
    return clamping(task, max_views=2)


METHODS = {
    method.__name__: method
    for method in (
        temperature,
        vector,
        structured_matrix,
        batch_norm,
        last_layer,
        clamping,
        clamping_two_views,
        fine_tuned,
    )
}
