"""EnsembleTemperatureScaling: a mixture of tempered, plain and uniform probabilities."""

import math
from itertools import combinations

import numpy as np
import torch
from scipy.optimize import minimize, minimize_scalar

from .._solvers.temperature import DEFAULT_BOUNDS, solve_temperature, warn_of_bound
from .._utils.docstrings import with_shared_docs
from .._utils.sklearn_private import StrOptions
from ..base import BaseCalibrator

# Squared loss: where it is looked at first, as log T from the optimum of the NLL.
_GRID = np.array([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0])
_LOG_TEMPERATURE_TOLERANCE = 1e-4
# NLL: where the search starts, what it takes for none, and when it ends.
_FIRST_SHARES = (0.98, 0.01, 0.01)
_LEAST_SHARE = 1e-8
_OPTIONS = {"ftol": 1e-10, "gtol": 1e-6}


@with_shared_docs
class EnsembleTemperatureScaling(BaseCalibrator):
    """Ensemble temperature scaling (ETS): ``w0 softmax(logits / T) + w1 softmax(logits) + w2 / n_classes``.

    T and the weights, which are non-negative and sum to 1, minimise the loss together: it is convex in the weights, and
    the best T is sought near that of temperature scaling, which is ``w = (1, 0, 0)``. The predicted class stays what it
    was; w2 keeps every probability away from 0.

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
    NotConvergedWarning
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
        batch_size=64,
        num_workers=0,
        pin_memory=False,
        integer_scale=None,
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
            integer_scale=integer_scale,
        )
        self.loss = loss

    def _fit_logits(self, logits, y, sample_weight):
        solution = solve_temperature(logits, y, sample_weight=sample_weight)
        warn_of_bound(solution)
        logits = logits.double()
        weight = sample_weight.to(logits.device)
        fit = _fit_likely if self.loss == "nll" else _fit_squared
        data = (logits - logits.amax(1, keepdim=True)).T.contiguous(), y.to(logits.device), weight / weight.sum()
        self.temperature_, self.weights_ = fit(*data, solution.temperature)

    def _transform_logits(self, logits):
        parts = [torch.log_softmax(logits / self.temperature_, 1), torch.log_softmax(logits, 1)]
        parts.append(torch.full_like(logits, -math.log(logits.shape[1])))
        shares = torch.from_numpy(self.weights_).to(logits).log()
        return torch.logsumexp(torch.stack(parts) + shares[:, None, None], 0)

    @property
    def _n_parameters(self):
        # The shares sum to 1: one of them follows from the others.
        return super()._n_parameters - 1

    @property
    def _n_free(self):
        return self._n_parameters


def _fit_likely(logits, y, weight, temperature):
    """Temperature and shares of least NLL, from those of temperature scaling; a matter of the labels' probabilities.

    Maximising ``mean log(parts @ shares) - sum(shares)`` over all shares that aren't negative makes their sum 1.
    """
    weight = weight.cpu().numpy()
    plain, _ = _label_log_proba(logits, y, 1.0)
    uniform = np.full(len(y), -math.log(len(logits)))

    def objective(parameters):
        log_temperature, *shares = parameters
        tempered, slope = _label_log_proba(logits, y, math.exp(log_temperature))
        log_parts = np.stack([tempered, plain, uniform])
        top = log_parts.max(0)
        parts = np.exp(log_parts - top)
        mixed = shares @ parts
        ratio = parts * (weight / mixed)
        loss = sum(shares) - weight @ (np.log(mixed) + top)
        return loss, np.array([-shares[0] * (ratio[0] @ slope), *(1 - ratio.sum(1))])

    start = [math.log(temperature), *_FIRST_SHARES]
    bounds = [tuple(np.log(DEFAULT_BOUNDS)), *[(0.1 * _LEAST_SHARE, None)] * 3]
    found = minimize(objective, start, jac=True, bounds=bounds, method="L-BFGS-B", options=_OPTIONS).x
    shares = np.where(found[1:] < _LEAST_SHARE, 0, found[1:])
    return math.exp(found[0]), shares / shares.sum()


def _label_log_proba(logits, y, temperature):
    """Log-probability of each label, and its derivative with respect to log T; logits are centred."""
    scaled = logits / temperature
    label = scaled.gather(0, y[None])[0]
    terms = scaled.exp()
    total = terms.sum(0)
    mean = terms.mul_(scaled).sum(0).div_(total)
    return (label - total.log_()).cpu().numpy(), (mean - label).cpu().numpy()


def _fit_squared(logits, y, weight, temperature):
    """Temperature and shares of least mean squared error: the shares solve a quadratic programme at each T."""
    rows = torch.arange(len(y), device=y.device)
    plain, even = torch.softmax(logits, 0), 1 / len(logits)
    gram = np.full((3, 3), even)
    gram[1, 1] = ((plain * plain).sum(0) @ weight).item()
    label = np.array([0.0, (plain[y, rows] @ weight).item(), even])

    def solve(log_temperature):
        tempered = torch.softmax(logits / math.exp(log_temperature), 0)
        gram[0, 1] = gram[1, 0] = ((tempered * plain).sum(0) @ weight).item()
        label[0] = (tempered[y, rows] @ weight).item()
        gram[0, 0] = (tempered.square_().sum(0) @ weight).item()
        return _squared_shares(gram, label)

    place = _lowest(lambda log_temperature: solve(log_temperature)[0], math.log(temperature))
    return math.exp(place), solve(place)[1]


def _lowest(function, guess):
    """Where a function of log T is lowest, near a guess."""
    grid = np.clip(guess + _GRID, *np.log(DEFAULT_BOUNDS)).tolist()
    best = int(np.argmin([function(place) for place in grid]))
    bounds = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(function, bounds=bounds, method="bounded", options={"xatol": _LOG_TEMPERATURE_TOLERANCE})
    return min((grid[best], found.x), key=function)


def _squared_shares(gram, label):
    """Least ``shares @ gram @ shares - 2 label @ shares`` and the shares there: the best of all subsets' optima."""

    def loss(shares):
        return shares @ gram @ shares - 2 * label @ shares

    candidates = [_on_face(gram, label, list(face)) for size in (1, 2, 3) for face in combinations(range(3), size)]
    best = min((shares for shares in candidates if shares.min() >= 0), key=loss)
    return loss(best), best


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
