"""Calibrators that stretch sorted logits and give each its place back: the networks, their fit, IOP and PTS."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from .._solvers.by_gradient import minimise_by_gradient
from .._solvers.temperature import first_temperature
from .._utils.arrays import absent_again, absent_among, at_labels
from .._utils.docstrings import with_shared_docs
from .._utils.encoding import register
from .._utils.parameters import COUNT, NOT_NEGATIVE, Choices, check_whole_number
from .._utils.progress import progress_bar
from .._utils.warnings import note_unconverged
from ..base import BaseCalibrator, Map
from ..base._map import Learned
from ..base._tags import MapTags

# softplus(0 + this) = 1: before the fit nothing changes.
_ONE = math.log(math.e - 1)
# How many ranks the network of IOP sees and sets: all of them up to so many classes.
_MAX_RANKS = 16
# Relative fall of the loss within an iteration, and largest entry of the gradient, below which the search ends.
_TOLERANCE = 1e-7


def spread_ranks(n_ranks):
    """16 of the ranks 0 ... n_ranks - 1 at most: all of them, or dense at the top and ever sparser below."""
    if n_ranks <= _MAX_RANKS:
        return np.arange(n_ranks)
    return np.unique(np.geomspace(1, n_ranks, _MAX_RANKS).round().astype(int)) - 1


class _Undrawn(nn.Linear):
    """A linear layer without weights of its own, for which the global random state would be drawn from.

    Torch's skip_init imports sympy, which takes longer than a fit; and to fork that state is no matter for threads.
    """

    def reset_parameters(self):
        """Nothing: who makes the layer sets it."""


@register
class RankNetwork(nn.Module):
    """Multiplies gaps between neighbours among sorted log-probabilities by positive numbers, all 1 at first.

    Parameters
    ----------
    n_classes : int
        K, the number of log-probabilities.
    ranks : sequence of int
        Which of the sorted log-probabilities the network sees.
    gaps : sequence of int
        Which of the K - 1 gaps it sets; from these the others follow linearly in log(1 + rank).
    hidden_layer_sizes : sequence of int
        Widths of the layers with tanh in between.
    n_class_features : int, default=0
        How many further features, in the order of the classes, the network sees. They start without weight.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    basis: torch.Tensor

    def __init__(self, n_classes, ranks, gaps, hidden_layer_sizes, n_class_features=0):
        super().__init__()
        self.n_classes = n_classes
        self.ranks = [int(rank) for rank in ranks]
        self.gaps = [int(gap) for gap in gaps]
        self.hidden_layer_sizes = tuple(hidden_layer_sizes)
        self.n_class_features = n_class_features
        sizes = [len(self.ranks), *hidden_layer_sizes, len(self.gaps)]
        layers = [_Undrawn(*widths, dtype=torch.float64) for widths in pairwise(sizes)]
        self.layers = nn.ModuleList(layers)
        self.by_class = nn.Parameter(torch.zeros(sizes[1], n_class_features, dtype=torch.float64))
        # Hidden units drawn the same way each time, and outputs that change nothing.
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for layer in layers:
                layer.bias.zero_()
                layer.weight.normal_(std=layer.in_features**-0.5, generator=generator)
            layers[-1].weight.zero_()
        places = np.log1p(np.arange(n_classes - 1))
        knots = np.log1p(self.gaps)
        basis = np.array([np.interp(places, knots, unit) for unit in np.eye(len(knots))])
        self.register_buffer("mean", torch.zeros(len(self.ranks), dtype=torch.float64))
        self.register_buffer("scale", torch.ones((), dtype=torch.float64))
        self.register_buffer("basis", torch.from_numpy(basis))

    @torch.no_grad()
    def standardise(self, ordered, share):
        """Look at the features' means, and at one scale for all of them; weights sum to 1."""
        features = ordered[:, self.ranks]
        self.mean = share @ features
        scale = (share @ (features - self.mean).square()).sqrt().mean()
        self.scale = torch.where(scale > 0, scale, 1.0)

    def forward(self, ordered, by_class=None):
        """Logits (n, K) in descending order, the first of them 0, from log-probabilities in descending order."""
        values = (ordered[:, self.ranks] - self.mean) / self.scale
        first, *others = self.layers
        values = first(values) if by_class is None else first(values) + by_class @ self.by_class.T / self.scale
        for layer in others:
            values = layer(torch.tanh(values))
        # The softplus, which ONNX runtimes lack in float64.
        multipliers = -functional.logsigmoid(-values - _ONE)
        gaps = ordered[:, :-1] - ordered[:, 1:]
        return functional.pad(-torch.cumsum(gaps * (multipliers @ self.basis), 1), (1, 0))


def scaled_by(logits, temperature):
    """Log-probabilities, and which of them are -inf; in their place is then the row's least other one."""
    scaled = (logits / temperature).log_softmax(1)
    absent = absent_among(scaled)
    if absent is None:
        return scaled, None
    least = scaled.masked_fill(absent, torch.inf).amin(1, keepdim=True)
    return torch.where(absent, least, scaled), absent


def by_class_of(scaled):
    """Features of scaled log-probabilities (n, K), in the order of the classes."""
    # All the classes' weights together may be as large as those of one rank.
    return (scaled - scaled.mean(1, keepdim=True)) / math.sqrt(scaled.shape[1])


class OrderPreservingMap(Map):
    """Temperature scaling, then ``rank_network_``, a module that keeps the order of each row."""

    def transform(self, logits):
        scaled, absent = scaled_by(logits, self.temperature_)
        # Of equal ones the gap is 0, whatever their order: ONNX has no stable sort.
        ordered, order = scaled.sort(dim=1, descending=True)
        network = self.rank_network_
        # Exporters follow no module that moves.
        if network.mean.device != logits.device:
            network.to(logits.device)
        stretched = network(ordered, by_class_of(scaled) if network.n_class_features else None)
        return absent_again(torch.empty_like(stretched).scatter_(1, order, stretched), absent)


@dataclass(eq=False, repr=False, kw_only=True)
class OrderPreservingCalibrator(BaseCalibrator):
    """Temperature scaling, then a module that keeps the order of each row.

    Subclasses implement ``_network(n_classes, hidden_layer_sizes)``: the module to fit, which changes nothing yet.

    Parameters
    ----------
    alpha : float, default=10.0
        Strength of the penalty: the mean loss has ``alpha / (2 * n_samples)`` times the weights' squared norm added.
    max_iter : int, default=1000
        Most iterations of L-BFGS.

    Attributes
    ----------
    temperature_ : float
        The optimal T of temperature scaling, which comes first.
    rank_network_ : torch.nn.Module
        Takes log-probabilities in descending order to logits in descending order.
    n_iter_ : int
        Iterations of L-BFGS.
    """

    alpha: float = 10.0
    max_iter: int = 1000

    _tags: ClassVar[Any] = MapTags(map_of_labels=None, n_free=1)
    _parameter_constraints = {
        "hidden_layer_sizes": ["array-like"],
        "alpha": [NOT_NEGATIVE],
        "max_iter": [COUNT],
    }
    temperature_ = Learned()
    rank_network_ = Learned()

    def _fit_logits(self, logits, y, sample_weight):
        solution = first_temperature(logits, y, sample_weight)
        scaled, absent = scaled_by(logits.double(), solution.temperature)
        ordered, order = scaled.sort(dim=1, descending=True, stable=True)
        total = sample_weight.sum()
        weight = (sample_weight / total).to(ordered)
        sizes = [check_whole_number(size, "each of hidden_layer_sizes") for size in self.hidden_layer_sizes]
        if not sizes:
            raise ValueError("hidden_layer_sizes must hold at least one width; got none")
        network = self._network(ordered.shape[1], sizes)
        network.standardise(ordered, weight)
        network.to(ordered)
        rank = (order == y[:, None]).int().argmax(1)
        absent = None if absent is None else absent.gather(1, order)
        data = ordered, rank, weight, by_class_of(scaled) if network.n_class_features else None, absent

        def loss(ordered, rank, share, by_class, absent):
            logits = absent_again(network(ordered, by_class), absent)
            # Of few classes torch's cross-entropy takes several times as long.
            return share @ (logits.logsumexp(1) - at_labels(logits, rank))

        limits = {"maxiter": self.max_iter, "maxfun": 10 * self.max_iter, "ftol": _TOLERANCE, "gtol": _TOLERANCE}
        with progress_bar(verbose=self.verbose, desc="L-BFGS", unit="iteration") as bar:
            optimum = minimise_by_gradient(
                loss,
                list(network.parameters()),
                data,
                penalty=self.alpha / total.item(),
                callback=lambda _: bar.update(),
                **limits,
            )
        network.requires_grad_(False)
        self.n_iter_ = optimum.nit
        note_unconverged(optimum.success, f"raise max_iter, got {self.max_iter}")
        return OrderPreservingMap(temperature_=solution.temperature, rank_network_=network)


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class IntraOrderPreservingCalibration(OrderPreservingCalibrator):
    """Calibration by a network that stretches the gaps between sorted logits (IOP): the order of each row stays.

    After temperature scaling, each gap between neighbours among a row's sorted log-probabilities is multiplied by a
    positive number, which a small network gives from these log-probabilities. The network starts at 1 for every gap,
    which is temperature scaling, and minimises the negative log-likelihood with a quadratic penalty by L-BFGS. With
    more than 16 classes it sees and sets 16 ranks, dense at the top; the others are interpolated.

    Parameters
    ----------
    {estimator}
    variant : {"order-invariant", "order-preserving"}, default="order-invariant"
        What the gaps depend on: the sorted log-probabilities, so that the classes are treated alike; or these and the
        class of each.
    hidden_layer_sizes : sequence of int, default=(10,)
        Widths of the network's layers.
    {alpha, max_iter}
    {shared_parameters}

    Attributes
    ----------
    {temperature_, rank_network_, n_iter_}
    {shared_attributes}

    Warns
    -----
    NotConvergedWarning
        If the temperature is at its bound, or L-BFGS stops early, as at `max_iter`.

    See Also
    --------
    skclamp.ParameterizedTemperatureScaling : One factor per row in place of one per gap.

    References
    ----------
    A. Rahimi, A. Shaban, C.-A. Cheng, R. Hartley and B. Boots, "Intra Order-Preserving Functions for Calibration of
    Multi-Class Neural Networks", NeurIPS 2020, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import IntraOrderPreservingCalibration
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 5))
    >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)  # labels drawn from softmax(logits / 2)
    >>> calibrator = IntraOrderPreservingCalibration().fit(logits, y)
    >>> calibrator.predict_proba(logits[:2]).round(2)
    array([[0.2 , 0.13, 0.4 , 0.19, 0.07],
           [0.14, 0.51, 0.31, 0.03, 0.01]])
    >>> bool((calibrator.predict_proba(logits).argsort(axis=1) == logits.argsort(axis=1)).all())
    True
    """

    variant: str = "order-invariant"
    hidden_layer_sizes: Sequence[int] = (10,)

    _parameter_constraints = {"variant": [Choices("order-invariant", "order-preserving")]}

    @property
    def _tags(self):
        alike = self.variant == "order-invariant"
        return replace(super()._tags, group="order-preserving", treats_classes_alike=alike)

    def _network(self, n_classes, hidden_layer_sizes):
        n_class_features = 0 if self._tags.treats_classes_alike else n_classes
        ranks = spread_ranks(n_classes)
        gaps = spread_ranks(n_classes - 1)
        return RankNetwork(n_classes, ranks, gaps, hidden_layer_sizes, n_class_features)


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class ParameterizedTemperatureScaling(OrderPreservingCalibrator):
    """Calibration by a temperature that a small network gives for each sample from its largest logits (PTS).

    After temperature scaling, each row's log-probabilities are multiplied by a positive number, which the network
    gives from the largest of them. It starts at 1 for every row, which is temperature scaling, and minimises the
    negative log-likelihood (the paper: the squared error) with a quadratic penalty by L-BFGS. The order of each row
    stays.

    Parameters
    ----------
    {estimator}
    n_top : int, default=10
        How many of a row's largest log-probabilities the network sees.
    hidden_layer_sizes : sequence of int, default=(5, 5)
        Widths of the network's layers.
    {alpha, max_iter}
    {shared_parameters}

    Attributes
    ----------
    {temperature_, rank_network_, n_iter_}
    {shared_attributes}

    Warns
    -----
    NotConvergedWarning
        If the temperature is at its bound, or L-BFGS stops early, as at `max_iter`.

    See Also
    --------
    skclamp.TemperatureScaling : One temperature for all samples.
    skclamp.IntraOrderPreservingCalibration : One factor per gap between sorted logits.

    References
    ----------
    C. Tomani, D. Cremers and F. Buettner, "Parameterized Temperature Scaling for Boosting the Expressive Power in
    Post-Hoc Uncertainty Calibration", ECCV 2022, section 4.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import ParameterizedTemperatureScaling
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 5))
    >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)  # labels drawn from softmax(logits / 2)
    >>> calibrator = ParameterizedTemperatureScaling().fit(logits, y)
    >>> calibrator.predict_proba(logits[:2]).round(2)
    array([[0.19, 0.13, 0.41, 0.19, 0.08],
           [0.13, 0.52, 0.31, 0.03, 0.01]])
    """

    n_top: int = 10
    hidden_layer_sizes: Sequence[int] = (5, 5)

    _parameter_constraints = {"n_top": [COUNT]}

    _tags = replace(
        OrderPreservingCalibrator._tags, group="temperatures", needs_independence=False, treats_classes_alike=True
    )

    def _network(self, n_classes, hidden_layer_sizes):
        # One number for all gaps.
        return RankNetwork(n_classes, range(min(self.n_top, n_classes)), [0], hidden_layer_sizes)
