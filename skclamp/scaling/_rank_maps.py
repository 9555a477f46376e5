"""Modules that take log-probabilities in descending order to logits in descending order."""

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from .._utils.encoding import register

# softplus(0 + this) = 1: before the fit nothing changes.
_ONE = math.log(math.e - 1)


def spread_ranks(n_ranks, most):
    """At most so many of the ranks 0 ... n_ranks - 1: all of them, or dense at the top and ever sparser below."""
    if n_ranks <= most:
        return np.arange(n_ranks)
    return np.unique(np.round(np.geomspace(1, n_ranks, most)).astype(int)) - 1


def interpolation(ranks, n_ranks):
    """Matrix that takes values at some ranks to all of them, linearly in log(1 + rank)."""
    places, knots = np.log1p(np.arange(n_ranks)), np.log1p(ranks)
    return torch.tensor(np.array([np.interp(places, knots, unit) for unit in np.eye(len(ranks))]))


class RankNetwork(nn.Module):
    """Positive numbers from sorted log-probabilities, all 1 at first; subclasses stretch the logits by them.

    Parameters
    ----------
    ranks : sequence of int
        Which of the sorted log-probabilities the network sees.
    n_outputs : int
        How many numbers it gives.
    hidden_layer_sizes : sequence of int
        Widths of the layers with tanh in between.
    n_class_features : int, default=0
        How many further features, in the order of the classes, the network sees. They start without weight.
    """

    ranks: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, ranks, n_outputs, hidden_layer_sizes, n_class_features=0):
        super().__init__()
        self.hidden_layer_sizes = tuple(hidden_layer_sizes)
        self.n_class_features = n_class_features
        self.register_buffer("ranks", torch.as_tensor(ranks))
        self.register_buffer("mean", torch.zeros(len(ranks), dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        sizes = [len(ranks), *hidden_layer_sizes, n_outputs]
        ends = zip(sizes[:-1], sizes[1:], strict=True)
        layers = [nn.utils.skip_init(nn.Linear, *each, dtype=torch.float64) for each in ends]
        self.layers = nn.ModuleList(layers)
        self.by_class = nn.Parameter(torch.zeros(sizes[1], n_class_features, dtype=torch.float64))
        _start(layers)

    @torch.no_grad()
    def standardise(self, ordered, weight):
        """Look at the features' means, and at one scale for all of them."""
        features = ordered[:, self.ranks].double()
        share = (weight / weight.sum())[:, None]
        self.mean = (share * features).sum(0)
        scale = (share * (features - self.mean).square()).sum(0).sqrt().mean()
        self.scale = scale if scale > 0 else torch.ones_like(scale)

    def multipliers(self, ordered, by_class=None):
        """The positive numbers, (n, n_outputs)."""
        values = (ordered[:, self.ranks] - self.mean) / self.scale
        first, *others = self.layers
        values = first(values) if by_class is None else first(values) + by_class @ self.by_class.T / self.scale
        for layer in others:
            values = layer(torch.tanh(values))
        # The softplus, which ONNX runtimes lack in float64.
        return -functional.logsigmoid(-values - _ONE)


@register
class GapNetwork(RankNetwork):
    """Multiplies each gap between neighbours among the sorted log-probabilities.

    Parameters
    ----------
    n_classes : int
        K, the number of log-probabilities.
    most_ranks : int
        How many of them the network sees, and how many gaps it sets, at most; the others are interpolated.
    hidden_layer_sizes, n_class_features
        As in `RankNetwork`.
    """

    basis: torch.Tensor

    def __init__(self, n_classes, most_ranks, hidden_layer_sizes, n_class_features=0):
        gaps = spread_ranks(n_classes - 1, most_ranks)
        super().__init__(spread_ranks(n_classes, most_ranks), len(gaps), hidden_layer_sizes, n_class_features)
        self.n_classes = n_classes
        self.most_ranks = most_ranks
        self.register_buffer("basis", interpolation(gaps, n_classes - 1))

    def forward(self, ordered, by_class=None):
        """Logits (n, K) in descending order, the first of them 0, from log-probabilities in descending order."""
        gaps = ordered[:, :-1] - ordered[:, 1:]
        return functional.pad(-torch.cumsum(gaps * (self.multipliers(ordered, by_class) @ self.basis), 1), (1, 0))


@register
class RowNetwork(RankNetwork):
    """Multiplies all the log-probabilities of a row by one number, which depends on the `n_top` largest of them."""

    def __init__(self, n_top, hidden_layer_sizes):
        super().__init__(range(n_top), 1, hidden_layer_sizes)
        self.n_top = n_top

    def forward(self, ordered, by_class=None):
        """Logits (n, K) from log-probabilities in descending order."""
        return ordered * self.multipliers(ordered)


@torch.no_grad()
def _start(layers):
    """Hidden units drawn the same way each time, and outputs that change nothing."""
    generator = torch.Generator().manual_seed(0)
    for layer in layers:
        layer.bias.zero_()
        layer.weight.normal_(std=layer.in_features**-0.5, generator=generator)
    layers[-1].weight.zero_()
