"""Calibration problems as the solvers see them."""

import numpy as np
import torch
from torch import nn

from skclamp._backbones.backbone import Opening
from skclamp._backbones.opening import open_backbone
from skclamp._judging.splits import draw_folds
from skclamp._utils.labels import check_sample_weight
from skclamp.clamping._problem import Problem
from skclamp.distributed import ALONE, Shard


def pose(network, X, y, weight=None, batch_size=64):
    """The problem of calibrating a network in eval mode, on a CPU."""
    backbone = open_backbone(network, Opening(batch_size=batch_size))
    inputs = backbone.open(X)
    logits, _ = backbone.logits(inputs)
    weight, shard = check_sample_weight(weight, len(logits)), Shard.of(ALONE, len(logits))
    return Problem(backbone, inputs, torch.as_tensor(y), weight, logits, shard, raw=logits)


def halves(Z, y):
    """Number of the half of each of these independent samples, as folds are drawn."""
    log_proba = torch.log_softmax(torch.as_tensor(Z).double(), 1)
    return draw_folds(log_proba, torch.as_tensor(y), torch.ones(len(y), dtype=torch.float64), 2)


def linear(n_features, n_classes=8):
    """A softmax regression without bias, to which all directions of its inputs matter alike."""
    network = nn.Linear(n_features, n_classes, bias=False)
    weight = np.random.default_rng(0).normal(size=(n_classes, n_features))
    with torch.no_grad():
        network.weight.copy_(4 * torch.as_tensor(np.linalg.qr(weight - weight.mean(0))[0]))
    return network.eval()


def moved(perturbation, scale=0.2, seed=1):
    """A perturbation with every parameter moved by noise."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in perturbation.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise.to(parameter), alpha=scale)
    return perturbation


def flat(perturbation):
    """All of a perturbation's parameters in one array."""
    parts = [parameter.detach().flatten() for parameter in perturbation.parameters()]
    return torch.cat([torch.empty(0), *parts]).numpy()
