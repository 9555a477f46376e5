"""Calibration under shift by others, of the last years, each written from its paper.

A setting has a task, whose calibration images are those of the changed camera that have labels, and other images of
that camera without any. Without labels of the camera the task's calibration images are from before it changed.
Images may also be windows with a class at each pixel, or texts: what a method asks of them is in `ASKS`.
"""

import copy
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from _corruption_methods import HELD_OUT, MOMENTUM, WEIGHT_DECAY, Task, with_statistics_of
from _data import split_off
from _networks import compute_logits
from _scores import fit_temperature, scaled
from _timing import at_once
from skclamp import CalibratorSelector, NeuralClampingCalibrator

# The label of pixels that have none.
IGNORED = -100
# SMART: Adam's rate, steps, bins, their width, the least temperature, the smoothing of |x|.
SMART_RATE, SMART_STEPS, SMART_BINS, SMART_WIDTH, SMART_LEAST, SMART_SMOOTHING = 5e-3, 2000, 15, 0.05, 0.1, 1e-3
# Of pixels it learns from so many.
SMART_MOST = 10_000
# PseudoCal's share of the image whose label counts.
SHARE = 0.65
# Levels of noise-refined temperature scaling, and the strengths between which they are interpolated.
N_LEVELS, STRENGTHS = 10, (0, *np.geomspace(0.01, 1, 11))
# Over the mean square of the features: 1 / ridge is the prior variance of a logit.
RIDGES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
FOLDS = 5
# Of training normalisation layers and the last ones: images at once at most, rates and epochs.
BATCH, NORM_RATE, TUNED_RATE, TUNED_EPOCHS = 50, 1e-3, 0.01, 10


class Setting(NamedTuple):
    """A task, more images of its camera without labels, whether its labels come from the camera, its last layers."""

    task: Task
    unlabelled: torch.Tensor
    labelled: bool
    last_layers: tuple = ("layer3", "linear")


def logits_of(network, images):
    return compute_logits(network, images, at_once(images))


def rows_of(logits, labels):
    """Those of images, or of the pixels that have a label."""
    labels = torch.as_tensor(labels)
    known = labels != IGNORED
    return torch.as_tensor(logits).movedim(1, -1)[known], labels[known]


def groups_of(labels):
    """Windows with a class at each pixel are said to be independent, as single images are."""
    return np.arange(len(labels)) if labels.ndim > 1 else None


def uncalibrated(setting):
    return scaled(setting.task.test.logits)


def temperature(setting):
    """Temperature scaling, of the images from before the change where no others have labels."""
    return scaled(setting.task.test.logits, temperature_of(setting.task.calibration))


def temperature_of(part):
    return fit_temperature(part.logits, part.labels)


def selector(setting):
    calibration, test = setting.task.calibration, setting.task.test
    calibrator = CalibratorSelector(classes=np.arange(test.logits.shape[1]))
    calibrator.fit(calibration.logits.numpy(), calibration.labels, groups=groups_of(calibration.labels))
    return calibrator.predict_log_proba(test.logits.numpy())


def margins(logits):
    """The largest logit less the second."""
    first, second = logits.topk(2, dim=1).values.unbind(1)
    return first - second


def soft_calibration_error(logits, labels):
    """SMART's loss: the ECE of bins that confidences belong to by a Gaussian, |x| being sqrt(x² + δ²)."""
    confidence, predicted = logits.softmax(1).max(1)
    correct = (predicted == labels).to(logits.dtype)
    centers = (torch.arange(SMART_BINS) + 0.5) / SMART_BINS
    weight = (-0.5 * ((confidence[:, None] - centers) / SMART_WIDTH).square()).softmax(1)
    # A bin may be so far from all confidences that its weight is 0.
    gap = (weight * (confidence - correct)[:, None]).sum(0) / (weight.sum(0) + 1e-12)
    return (weight.mean(0) * (gap.square() + SMART_SMOOTHING**2).sqrt()).sum()


def smart(setting):
    """SMART, a temperature that a small network reads off the margin (Guo et al., ICML 2026, arXiv:2506.23492).

    Margin, softly binned ECE and its smoothed |x| are the paper's; the sizes, the optimiser, the bins' width and a draw
    of pixels where there are many are ours.
    """
    calibration, test = setting.task.calibration, setting.task.test
    logits, labels = rows_of(calibration.logits, calibration.labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(setting.task.seed))
    rows = order[:SMART_MOST].sort().values
    logits, labels = logits[rows], labels[rows]
    with torch.random.fork_rng():
        torch.manual_seed(setting.task.seed)
        network = nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
    mean, std = margins(logits).mean(), margins(logits).std()

    def sharpened(logits):
        standard = (margins(logits) - mean) / std
        return logits / (functional.softplus(network(standard[..., None])) + SMART_LEAST).movedim(-1, 1)

    optimizer = torch.optim.Adam(network.parameters(), SMART_RATE)
    best, state = np.inf, None
    for _ in range(SMART_STEPS):
        loss = soft_calibration_error(sharpened(logits), labels)
        if loss.item() < best:
            best, state = loss.item(), copy.deepcopy(network.state_dict())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.load_state_dict(state)
    with torch.no_grad():
        return scaled(sharpened(test.logits))


def mixed(images, predicted, seed):
    """PseudoCal's images, each mixed with one that is predicted another class, and the class of its larger share.

    Of windows the pixels that are predicted one class in both have none.
    """
    other = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    labels = predicted.where(predicted != predicted[other], IGNORED)
    kept = (labels != IGNORED).reshape(len(labels), -1).any(1)
    return (SHARE * images + (1 - SHARE) * images[other])[kept], labels[kept]


def pseudocal(setting):
    """PseudoCal, a temperature of images without labels that are mixed in pairs (Hu et al., ICML 2024).

    The share of 0.65, hard labels, pairs of unlike classes alone and the single pass are those of the authors' code;
    pairs are drawn from all the images, where that draws them within batches. Pairs of windows are ours.
    """
    task, images = setting.task, setting.unlabelled
    images, labels = mixed(images, logits_of(task.network, images).argmax(1), task.seed)
    return scaled(task.test.logits, fit_temperature(logits_of(task.network, images), labels.numpy()))


def accuracy(logits, labels):
    logits, labels = rows_of(logits, labels)
    return (logits.argmax(1) == labels).double().mean().item()


def noise_levels(noisy_logits, labels):
    """Strengths of noise, 0 first, by which the accuracy goes down to chance in even steps."""
    tried = [noisy_logits(strength) for strength in STRENGTHS]
    accuracies = np.minimum.accumulate([accuracy(logits, labels) for logits in tried])
    targets = np.linspace(accuracies[0], 1 / tried[0].shape[1], N_LEVELS)
    # A little noise may cost nothing: interpolation would begin there.
    return np.concatenate([[0], np.interp(-targets[1:], -accuracies, STRENGTHS)])


def noise_refined(setting):
    """A temperature of images under ever more Gaussian noise (Tomani et al., CVPR 2021, arXiv:2012.10988).

    Ten levels of evenly falling accuracy, from none to chance, all of whose images are calibrated with together, are
    those of the authors' code; it searches each level by Nelder-Mead, where these are interpolated.
    """
    task, (images, labels) = setting.task, setting.task.calibration[:2]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(task.seed))

    def noisy_logits(strength):
        return logits_of(task.network, images + float(strength) * noise)

    logits = torch.cat([noisy_logits(level) for level in noise_levels(noisy_logits, labels)])
    return scaled(task.test.logits, fit_temperature(logits, np.concatenate([labels] * N_LEVELS)))


def batch_norm(setting):
    """Batch norm with the statistics of the camera (Schneider et al., NeurIPS 2020), then T.

    The statistics are the camera's alone, of all its images that there are, not a mean with those of training.
    """
    task = setting.task
    network = with_statistics_of(all_images(setting), task.network)
    calibration = task.calibration
    if setting.labelled:
        calibration = calibration._replace(logits=logits_of(network, calibration.images))
    return scaled(logits_of(network, task.test.images), temperature_of(calibration))


def all_images(setting):
    """Those of the camera as it is."""
    images = [setting.task.calibration.images] if setting.labelled else []
    return torch.cat([*images, setting.unlabelled])


def refined_head(features, labels, start, ridge):
    """The MAP of what is added to logits, (n_classes, n_features), by a ridge around zero."""
    change = torch.zeros(start.shape[1], features.shape[1], dtype=features.dtype, requires_grad=True)
    strength = ridge * features.square().sum(1).mean()
    optimizer = torch.optim.LBFGS([change], max_iter=100, line_search_fn="strong_wolfe")

    def loss():
        optimizer.zero_grad()
        found = functional.cross_entropy(start + features @ change.T, labels, reduction="sum")
        found = found + strength / 2 * change.square().sum()
        found.backward()
        return found

    optimizer.step(loss)
    return change.detach()


def head(setting, anew=False):
    """The last layer shrunk to what it was at T, by a ridge of least NLL out of fold; another T out of fold, too.

    Anew it is logistic regression on the features, shrunk to zero.
    """
    task = setting.task
    (features, logits), (test, of_test) = (
        (functional.pad(torch.from_numpy(part.features).double(), (0, 1), value=1.0), part.logits.double())
        for part in (task.calibration, task.test)
    )
    y, labels = task.calibration.labels, torch.from_numpy(task.calibration.labels)

    def refined(rows, ridge):
        """A function of features and logits: the layer that is learned from some rows."""
        T = np.inf if anew else fit_temperature(logits[rows], y[rows])
        change = refined_head(features[rows], labels[rows], logits[rows] / T, ridge)
        return lambda features, logits: logits / T + features @ change.T

    folds = np.random.default_rng(task.seed).permutation(len(y)) % FOLDS
    found = []
    for ridge in RIDGES:
        held_out = torch.empty_like(logits)
        for own in (folds == fold for fold in range(FOLDS)):
            held_out[own] = refined(~own, ridge)(features[own], logits[own])
        own_T = fit_temperature(held_out, y)
        found.append((functional.cross_entropy(held_out / own_T, labels).item(), ridge, own_T))
    _, ridge, own_T = min(found)
    return scaled(refined(np.ones(len(y), bool), ridge)(test, of_test), own_T)


def batch_size(images):
    return min(BATCH, at_once(images))


def held_out_rows(task):
    """Rows to train on, and those that a temperature is solved on."""
    return split_off(task.calibration.labels, 1 - HELD_OUT, task.seed, stratify=False)


def balanced(gradients):
    """The sum of two losses' gradients at weights by which both have the same norm, the mean of the weights being 1/2.

    A gradient is one tensor for each parameter.
    """
    norms = [torch.cat([g.flatten() for g in each]).norm() + 1e-12 for each in gradients]
    return [(norms[1] * first + norms[0] * second) / sum(norms) for first, second in zip(*gradients, strict=True)]


def normalised(setting):
    """Gains and offsets of normalisation layers trained on labels and on the entropy of others, in the manner of EATTA.

    Of Wang and Ding, *Effortless Active Labeling for Long-Term Test-Time Adaptation* (CVPR 2025, arXiv:2503.14564),
    this is a part: one pass over the stream that balances the gradient of the labels' loss with that of the entropy.
    The labels are a random draw that is there from the start, not one image asked for in each batch, the weights
    aren't averaged over batches, and rate and batch are ours, as are layers that don't normalise batches.
    """
    task = setting.task
    train, rest = held_out_rows(task)
    network = with_statistics_of(all_images(setting), task.network).requires_grad_(False)
    norms = [module for module in network.modules() if isinstance(module, (_BatchNorm, nn.LayerNorm))]
    parameters = [p.requires_grad_(True) for norm in norms for p in norm.parameters()]
    images, labels = task.calibration.images[train], torch.from_numpy(task.calibration.labels[train])
    optimizer = torch.optim.Adam(parameters, NORM_RATE)
    rng = torch.Generator().manual_seed(task.seed)
    size = batch_size(images)
    for batch in setting.unlabelled.split(size):
        rows = torch.randperm(len(train), generator=rng)[:size]
        supervised = functional.cross_entropy(network(images[rows]), labels[rows])
        log_proba = network(batch).log_softmax(1)
        entropy = -(log_proba.exp() * log_proba).sum(1).mean()
        gradients = balanced([torch.autograd.grad(loss, parameters) for loss in (supervised, entropy)])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    return answer(network, task, rest)


def answer(network, task, rest):
    """Log-probabilities of a changed network, its temperature solved on some of the labelled images."""
    T = fit_temperature(logits_of(network, task.calibration.images[rest]), task.calibration.labels[rest])
    return scaled(logits_of(network, task.test.images), T)


def last_layers(setting):
    """The last layers fine-tuned by SGD along a cosine; batch norm's statistics follow all along."""
    task = setting.task
    train, rest = held_out_rows(task)
    network = copy.deepcopy(task.network).requires_grad_(False).train()
    parameters = [
        p for name in setting.last_layers for p in network.get_submodule(name).requires_grad_(True).parameters()
    ]
    images, labels = task.calibration.images, torch.from_numpy(task.calibration.labels)
    optimizer = torch.optim.SGD(parameters, TUNED_RATE, MOMENTUM, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, TUNED_EPOCHS)
    rng = torch.Generator().manual_seed(task.seed)
    for _ in range(TUNED_EPOCHS):
        for rows in torch.from_numpy(train)[torch.randperm(len(train), generator=rng)].split(batch_size(images)):
            optimizer.zero_grad()
            functional.cross_entropy(network(images[rows]), labels[rows]).backward()
            optimizer.step()
        schedule.step()
    return answer(network.eval(), task, rest)


def fitted_clamping(setting):
    """Neural clamping by default, with the images that have no labels."""
    task = setting.task
    classes = np.arange(task.test.logits.shape[1])
    calibrator = NeuralClampingCalibrator(task.network, random_state=task.seed, classes=classes)
    X, y = task.calibration.images, task.calibration.labels
    return calibrator.fit(X, y, groups=groups_of(y), X_unlabelled=setting.unlabelled)


EITHER = {"temperature": temperature, "selector": selector, "smart": smart, "batch_norm": batch_norm}
# The others learn nothing from labels of the camera.
WITHOUT_LABELS = {**EITHER, "uncalibrated": uncalibrated, "noise_refined": noise_refined, "pseudocal": pseudocal}
WITH_LABELS = {
    **EITHER,
    "last_layer": partial(head, anew=True),
    "head": head,
    "last_layers": last_layers,
    "normalised": normalised,
}
# What a method asks of a network and its inputs, without which it has no meaning or can't be judged: batch norm; inputs
# that can be added and multiplied; a last layer that is linear; classes, of which it learns each, on both sides.
BATCH_NORM, VALUES, LINEAR, CLASSES = "batch norm", "values", "linear", "classes"
ASKS = {
    "batch_norm": {BATCH_NORM},
    "noise_refined": {VALUES},
    "pseudocal": {VALUES},
    "last_layer": {LINEAR, CLASSES},
    "head": {LINEAR, CLASSES},
    "last_layers": {CLASSES},
}
