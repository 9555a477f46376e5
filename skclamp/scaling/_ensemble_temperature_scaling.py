"""EnsembleTemperatureScaling: a mixture of tempered, plain and uniform probabilities."""

import math

import numpy as np
import torch
from scipy.optimize import minimize

from .._solvers.temperature import DEFAULT_BOUNDS, solve_temperature, warn_of_bound
from .._utils.docstrings import with_shared_docs
from .._utils.warnings import note_unconverged
from ..base import BaseCalibrator, Map
from ..base._map import Learned
from ..base._tags import MapTags
from ._affine import n_present

# Where the search starts, what it takes for none, and when it ends.
_FIRST_SHARES = (0.98, 0.01, 0.01)
_MIN_SHARE = 1e-8
_LEAST_LOGIT = -1e300
_OPTIONS = {"ftol": 1e-10, "gtol": 1e-6}


class EnsembleMap(Map):
    """Shares ``weights_`` of tempered, plain and uniform probabilities."""

    def transform(self, logits):
        uniform = -n_present(logits).log().expand_as(logits)
        parts = [torch.log_softmax(logits / self.temperature_, 1), torch.log_softmax(logits, 1), uniform]
        shares = self.weights_.to(logits).log()
        return torch.logsumexp(torch.stack(parts) + shares[:, None, None], 0)

    @property
    def n_parameters(self):
        # The shares sum to 1: one of them follows from the others.
        return super().n_parameters - 1


@with_shared_docs
class EnsembleTemperatureScaling(BaseCalibrator):
    """Ensemble temperature scaling (ETS): ``w0 softmax(logits / T) + w1 softmax(logits) + w2 / n_classes``.

    T and the weights, which are non-negative and sum to 1, minimise the NLL together: it is convex in the weights, and
    the best T is sought near that of temperature scaling, which is ``w = (1, 0, 0)``. The predicted class stays what it
    was; w2 keeps every probability away from 0.

    Parameters
    ----------
    {estimator}
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
        If the NLL still falls beyond the bounds of the temperature, 1e-4 and 1e4, or the solver stops early.

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

    temperature_, weights_ = Learned(), Learned()
    _tags = MapTags(
        map_of_labels="all",
        group="temperatures",
        treats_classes_alike=True,
        n_free="all",
        default_candidates={"ensemble temperature": {}},
        where_dense="pooled",
    )

    def _fit_logits(self, logits, y, sample_weight):
        solution = solve_temperature(logits, y, sample_weight=sample_weight, prior=True)
        warn_of_bound(solution)
        if solution.prior_strength:
            # Errors are too few for this T too, and for shares.
            return EnsembleMap(temperature_=solution.temperature, weights_=np.array([1.0, 0.0, 0.0]))
        logits = logits.double()
        weight = sample_weight.to(logits.device)
        # Those of -inf, divided by T, stay finite: their probabilities are 0 all the same.
        centred = (logits - logits.amax(1, keepdim=True)).clamp_(min=_LEAST_LOGIT)
        temperature, weights = _fit(
            centred.T.contiguous(), y.to(logits.device), weight / weight.sum(), solution.temperature
        )
        return EnsembleMap(temperature_=temperature, weights_=weights)


def _fit(logits, y, weight, temperature):
    """Temperature and shares of least NLL, from those of temperature scaling; a matter of the labels' probabilities.

    Maximising ``mean log(parts @ shares) - sum(shares)`` over all shares that aren't negative makes their sum 1.
    """
    weight = weight.cpu().numpy()
    plain, _ = _label_log_proba(logits, y, 1.0)
    uniform = -np.log((logits > _LEAST_LOGIT).sum(0).cpu().numpy())

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
    bounds = [tuple(np.log(DEFAULT_BOUNDS)), *[(0.1 * _MIN_SHARE, None)] * 3]
    found = minimize(objective, start, jac=True, bounds=bounds, method="L-BFGS-B", options=_OPTIONS)
    note_unconverged(found.success)
    shares = np.where(found.x[1:] < _MIN_SHARE, 0, found.x[1:])
    return math.exp(found.x[0]), shares / shares.sum()


def _label_log_proba(logits, y, temperature):
    """Log-probability of each label, and its derivative with respect to log T; logits are centred."""
    scaled = logits / temperature
    label = scaled.gather(0, y[None])[0]
    terms = scaled.exp()
    total = terms.sum(0)
    mean = terms.mul_(scaled).sum(0).div_(total)
    return (label - total.log_()).cpu().numpy(), (mean - label).cpu().numpy()
