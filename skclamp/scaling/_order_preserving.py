"""OrderPreservingCalibrator: what calibrators share that stretch sorted logits and give each its place back."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import ClassVar

import torch
from scipy.optimize import minimize
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from .._solvers.temperature import solve_temperature, warn_of_bound
from .._utils.arrays import absent_again, absent_among
from .._utils.progress import progress_bar
from .._utils.sklearn_private import Interval
from .._utils.warnings import warn_caller
from ..base import BaseCalibrator
from ..exceptions import NotConvergedWarning

# Entries of a chunk: its intermediate results stay in the cache, forward and backward.
_CHUNK_SIZE = 2**17
# Largest entry of the gradient that ends the search, if the loss hasn't stopped falling before.
_GRADIENT_TOLERANCE = 1e-7


@dataclass(eq=False, repr=False, kw_only=True)
class OrderPreservingCalibrator(BaseCalibrator):
    """Temperature scaling, then a module that keeps the order of each row.

    Subclasses implement ``_module(ordered, weight)``: the module to fit, which changes nothing yet, given the scaled
    log-probabilities in order.
    """

    alpha: float = 10.0
    max_iter: int = 1000
    tol: float = 1e-7

    _parameter_constraints: ClassVar[dict] = {
        **BaseCalibrator._parameter_constraints,
        "hidden_layer_sizes": ["array-like"],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
    }
    # Larger sets of logits are kept and treated in float32.
    _most_wide = 2**23

    def _fit_logits(self, logits, y, sample_weight):
        solution = solve_temperature(logits, y, sample_weight=sample_weight, prior=True)
        warn_of_bound(solution)
        self.temperature_ = solution.temperature
        wide = logits.numel() <= self._most_wide
        scaled, absent = self._scale(logits.double() if wide else logits.float())
        ordered, order = scaled.sort(dim=1, descending=True, stable=True)
        weight = sample_weight.to(ordered)
        module = self._module(ordered, weight).to(ordered)
        absent = None if absent is None else absent.gather(1, order)
        rank = (order == y[:, None]).int().argmax(1)
        rows = _Rows(ordered, rank, weight / weight.sum(), self._by_class(scaled), absent)
        with progress_bar(verbose=self.verbose, desc="L-BFGS", unit="iteration") as bar:
            options = {"max_iter": self.max_iter, "tol": self.tol, "callback": lambda _: bar.update()}
            found = minimise(module, rows, self.alpha / weight.sum().item(), **options)
        self.rank_network_ = module.double()
        self.n_iter_ = found.nit
        if found.status == 1:
            warn_caller(
                f"{type(self).__name__} stopped after max_iter={self.max_iter} iterations, before it converged",
                NotConvergedWarning,
            )

    def _transform_logits(self, logits):
        scaled, absent = self._scale(logits)
        # Of equal ones the gap is 0, whatever their order: ONNX has no stable sort.
        ordered, order = scaled.sort(dim=1, descending=True)
        network = self.rank_network_
        # Exporters follow no module that moves.
        if network.mean.device != logits.device:
            network.to(logits.device)
        stretched = network(ordered, self._by_class(scaled))
        return absent_again(torch.empty_like(stretched).scatter_(1, order, stretched), absent)

    @property
    def _n_free(self):
        return 1

    def _scale(self, logits):
        """Log-probabilities, and which of them are -inf; in their place is then the row's least other one."""
        scaled = torch.log_softmax(logits / self.temperature_, 1)
        absent = absent_among(scaled)
        if absent is None:
            return scaled, None
        least = scaled.masked_fill(absent, torch.inf).amin(1, keepdim=True)
        return torch.where(absent, least, scaled), absent

    def _by_class(self, scaled):
        """Hook: further features of scaled log-probabilities (n, K), in the order of the classes, or None."""
        return


class _Rows:
    """The calibration set in chunks: sorted log-probabilities, labels' ranks, shares of weight, features, absence."""

    def __init__(self, ordered, rank, share, by_class, absent=None):
        size = max(1, _CHUNK_SIZE // ordered.shape[1])
        parts = [each.split(size) for each in (ordered, rank, share)]
        none = [None] * len(parts[0])
        others = (none if each is None else each.split(size) for each in (by_class, absent))
        self.chunks = list(zip(*parts, *others, strict=True))

    def loss_with_gradients(self, module):
        """Mean NLL; its gradients are added to those of the module's parameters."""
        total = 0.0
        for ordered, rank, share, by_class, absent in self.chunks:
            logits = absent_again(module(ordered, by_class), absent)
            loss = share @ cross_entropy(logits, rank, reduction="none")
            loss.backward()
            total += loss.item()
        return total


def minimise(module, rows, penalty, *, max_iter, tol, callback):
    """Set a module's parameters to where the mean NLL plus ``penalty / 2`` times their squared norm is least.

    The callback follows each iteration.

    Returns
    -------
    scipy.optimize.OptimizeResult
    """
    parameters = list(module.parameters())
    like = parameters_to_vector(parameters).detach()

    def objective(vector):
        vector_to_parameters(torch.from_numpy(vector).to(like), parameters)
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        loss = rows.loss_with_gradients(module)
        gradient = parameters_to_vector([parameter.grad for parameter in parameters]).double().cpu().numpy()
        return loss + penalty / 2 * vector @ vector, gradient + penalty * vector

    options = {"maxiter": max_iter, "maxfun": 10 * max_iter, "ftol": tol, "gtol": _GRADIENT_TOLERANCE}
    start = like.double().cpu().numpy()
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options=options, callback=callback)
    vector_to_parameters(torch.from_numpy(found.x).to(like), parameters)
    module.zero_grad(set_to_none=True)
    module.requires_grad_(False)
    return found
