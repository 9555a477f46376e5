"""EnsembleTemperatureScaling: a mixture of tempered, plain and uniform probabilities."""

import math
from itertools import combinations

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar

from .._docstrings import with_shared_docs
from .._temperature import DEFAULT_BOUNDS, solve_temperature, warn_of_bound
from .._validation import StrOptions
from ..base import BaseCalibrator

# Where the squared loss of a temperature is looked at first, as log T from the optimum of the NLL.
_GRID = np.linspace(-2.0, 2.0, 9)
_LOG_TEMPERATURE_TOLERANCE = 1e-5
# A mixture's weight that is less than this is none.
_LEAST_WEIGHT = 1e-8


@with_shared_docs
class EnsembleTemperatureScaling(BaseCalibrator):
    """Ensemble temperature scaling (ETS): ``w0 softmax(logits / T) + w1 softmax(logits) + w2 / n_classes``.

    T is the optimum of the loss for temperature scaling; then the weights, which are non-negative and sum to 1, are at
    the optimum of the loss, which is convex in them. The predicted class stays what it was. ``w = (1, 0, 0)`` is
    temperature scaling; w2 keeps every probability away from 0.

    Parameters
    ----------
    {estimator}
    loss : {"nll", "mse"}, default="nll"
        The mean negative log-likelihood, or the mean squared error of the probabilities (Brier score).
    {shared_parameters}

    Attributes
    ----------
    temperature_ : float
        The temperature of the first part.
    weights_ : ndarray of shape (3,)
        Shares of the tempered, the plain and the uniform probabilities.
    {shared_attributes}

    Warns
    -----
    ConvergenceWarning
        If the NLL still falls beyond the bounds of the temperature, 1e-4 and 1e4.

    See Also
    --------
    TemperatureScaling : The first part alone.

    References
    ----------
    J. Zhang, B. Kailkhura and T. Y.-J. Han, "Mix-n-Match: Ensemble and compositional methods for uncertainty
    calibration in deep learning", ICML 2020, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import EnsembleTemperatureScaling
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(20000, 4))
    >>> y = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    >>> noisy = rng.random(20000) < 0.2  # a fifth of the labels are drawn blindly
    >>> y[noisy] = rng.integers(4, size=noisy.sum())
    >>> calibrator = EnsembleTemperatureScaling().fit(logits, y)
    >>> round(float(calibrator.weights_[2]), 1)
    0.2
    """

    _parameter_constraints: dict = {
        **BaseCalibrator._parameter_constraints,
        "loss": [StrOptions({"nll", "mse"})],
    }

    def __init__(
        self,
        estimator=None,
        *,
        loss="nll",
        response="auto",
        classes=None,
        cv=None,
        device=None,
        batch_size=128,
        num_workers=0,
        pin_memory=False,
    ):
        super().__init__(
            estimator,
            response=response,
            classes=classes,
            cv=cv,
            device=device,
            batch_size=batch_size,
            num_workers=num_workers,
            pin_memory=pin_memory,
        )
        self.loss = loss

    def _fit_logits(self, logits, y, sample_weight):
        solution = solve_temperature(logits, y, sample_weight=sample_weight)
        warn_of_bound(solution, stacklevel=5)
        logits = logits.double()
        weight = torch.ones_like(logits[:, 0]) if sample_weight is None else sample_weight.to(logits.device)
        fit = _fit_nll if self.loss == "nll" else _fit_squared
        self.temperature_, self.weights_ = fit(logits, y.to(logits.device), weight / weight.sum(), solution.temperature)

    def _transform_logits(self, logits):
        parts = [torch.log_softmax(logits / self.temperature_, 1), torch.log_softmax(logits, 1)]
        parts.append(torch.full_like(logits, -math.log(logits.shape[1])))
        shares = torch.from_numpy(self.weights_).to(logits).log_()
        return torch.logsumexp(torch.stack(parts) + shares[:, None, None], 0)


def _fit_nll(logits, y, weight, temperature):
    """The temperature as it is, and the weights of least NLL: a matter of the labels' own probabilities."""
    rows = torch.arange(len(y), device=y.device)
    parts = [torch.log_softmax(logits / t, 1)[rows, y].cpu().numpy() for t in (temperature, 1.0)]
    log_parts = np.column_stack([*parts, np.full(len(y), -math.log(logits.shape[1]))])
    return temperature, _mixture_weights(log_parts, weight.cpu().numpy())


def _mixture_weights(log_parts, weight):
    """Shares of greatest mean log-likelihood.

    Maximising ``mean log(parts @ shares) - sum(shares)`` over all that aren't negative makes their sum 1 by itself.
    """
    parts = np.exp(log_parts - log_parts.max(1, keepdims=True))

    def objective(shares):
        mixed = parts @ shares
        return shares.sum() - weight @ np.log(mixed), 1 - parts.T @ (weight / mixed)

    bounds = [(0.1 * _LEAST_WEIGHT, None)] * 3
    shares = minimize(
        objective, [0.8, 0.1, 0.1], jac=True, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-12, "gtol": 1e-7}
    ).x
    shares[shares < _LEAST_WEIGHT] = 0
    return shares / shares.sum()


def _fit_squared(logits, y, weight, temperature):
    """The temperature and then the weights of least mean squared error."""
    one_hot = torch.nn.functional.one_hot(y, logits.shape[1]).to(logits)

    def loss(log_temperature):
        error = torch.softmax(logits / math.exp(log_temperature), 1).sub_(one_hot)
        return (error.square_().sum(1) @ weight).item()

    temperature = math.exp(_lowest(loss, np.clip(_GRID + math.log(temperature), *np.log(DEFAULT_BOUNDS))))
    parts = [torch.softmax(logits / t, 1) for t in (temperature, 1.0)]
    parts.append(torch.full_like(logits, 1 / logits.shape[1]))
    gram = [[((a * b).sum(1) @ weight).item() for b in parts] for a in parts]
    label = [((part * one_hot).sum(1) @ weight).item() for part in parts]
    return temperature, _squared_weights(np.array(gram), np.array(label))


def _lowest(function, grid):
    """A minimum near the lowest point of a grid."""
    best = int(np.argmin([function(place) for place in grid]))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(
        function, bounds=(low, high), method="bounded", options={"xatol": _LOG_TEMPERATURE_TOLERANCE}
    )
    return min((grid[best], found.x), key=function)


def _squared_weights(gram, label):
    """Shares of the least ``shares @ gram @ shares - 2 label @ shares``: the best of the optima of all subsets."""
    candidates = [_on_face(gram, label, list(face)) for size in (1, 2, 3) for face in combinations(range(3), size)]
    feasible = [shares for shares in candidates if shares.min() >= 0]
    return min(feasible, key=lambda shares: shares @ gram @ shares - 2 * label @ shares)


def _on_face(gram, label, face):
    """The optimum among shares of some parts alone that sum to 1, whatever their signs."""
    size = len(face)
    system = np.ones((size + 1, size + 1))
    system[:size, :size] = gram[np.ix_(face, face)]
    system[size, size] = 0
    solution = np.linalg.lstsq(system, np.append(label[face], 1.0), rcond=None)[0]
    shares = np.zeros(3)
    shares[face] = solution[:size]
    return shares
