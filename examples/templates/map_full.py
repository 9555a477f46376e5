"""A map of logits with all that a map of the package has: parameters and their rules, tags, attributes, docstring.

In the package it is a file of ``skclamp/scaling``; its imports are relative then, and its name is in the room's
``__all__``. A row in ``tests/_output_maps.py`` says what it doesn't promise, and the common tests hold it to all else.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax

from skclamp._utils.docstrings import with_shared_docs
from skclamp._utils.parameters import COUNT, POSITIVE
from skclamp._utils.warnings import note
from skclamp.base import BaseCalibrator, Map
from skclamp.base._map import Learned
from skclamp.base._tags import MapTags
from skclamp.exceptions import NotConvergedWarning

# Temperatures beyond, in units of the logits, say that the samples tell of none.
_BOUNDS = np.log(1e-4), np.log(1e4)


class TemperatureAndOffsets(Map):
    """``logits / temperature_ + offsets_``."""

    def transform(self, logits):
        """Calibrated logits, of float64 as they come."""
        return logits / self.temperature_ + self.offsets_.to(logits)


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class BiasCorrectedTemperatureScaling(BaseCalibrator):
    """Calibration by one temperature and an offset for each class: ``softmax(logits / T + offsets)``.

    Parameters
    ----------
    {estimator}
    penalty : float, default=1.0
        What the squares of the offsets cost, in nats of all samples together: as if so many samples asked for none.
    max_iter : int, default=1000
        Most steps of L-BFGS.
    {shared_parameters}

    Attributes
    ----------
    temperature_ : float
        T.
    offsets_ : ndarray of shape (n_classes,)
        The offsets.
    n_iter_ : int
        Steps of L-BFGS.
    {shared_attributes}

    Warns
    -----
    NotConvergedWarning
        If `max_iter` steps weren't enough, or T ends at 1e-4 or 1e4 times the size of the logits.

    References
    ----------
    A. Alexandari, A. Kundaje and A. Shrikumar, "Maximum Likelihood with Bias-Corrected Calibration is Hard-To-Beat at
    Label Shift Adaptation", ICML 2020.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 3))
    >>> y = (logits / 2 + [0.0, 0.0, 1.0] + rng.gumbel(size=logits.shape)).argmax(1)
    >>> calibrator = BiasCorrectedTemperatureScaling().fit(logits, y)
    >>> round(calibrator.temperature_, 1), (calibrator.offsets_ - calibrator.offsets_[0]).round(1)
    (2.0, array([0. , 0.1, 0.9]))
    """

    penalty: float = 1.0
    max_iter: int = 1000

    _parameter_constraints = {"penalty": [POSITIVE], "max_iter": [COUNT]}

    _tags = MapTags(group="temperatures", learns_by_class=True, takes_absent=False)

    temperature_ = Learned()
    offsets_ = Learned()

    def _fit_logits(self, logits, y, sample_weight):
        # L-BFGS goes by steps of about one: logits may be of any size, and a number added to all of a row says nothing.
        centred = logits.double().cpu().numpy()
        centred = centred - centred.mean(1, keepdims=True)
        size = max(np.sqrt(np.mean(centred**2)), 1e-30)
        data = centred / size, y.cpu().numpy(), sample_weight.cpu().numpy(), self.penalty
        start = np.zeros(1 + logits.shape[1])
        options = {"maxiter": self.max_iter, "ftol": 1e-14, "gtol": 1e-9}
        bounds = [_BOUNDS, *[(None, None)] * logits.shape[1]]
        found = minimize(_loss, start, data, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
        if found.status == 1 or found.x[0] in _BOUNDS:
            note("temperature_ is at a bound, or max_iter was too small", NotConvergedWarning)
        self.n_iter_ = found.nit
        return TemperatureAndOffsets(temperature_=size * float(np.exp(found.x[0])), offsets_=found.x[1:])


def _loss(parameters, logits, y, weight, penalty):
    """Mean negative log-likelihood with the penalty, and its gradient by the logarithm of T and the offsets."""
    scaled, offsets = logits * np.exp(-parameters[0]), parameters[1:]
    log_proba = log_softmax(scaled + offsets, axis=1)
    rows, total = np.arange(len(y)), weight.sum()
    loss = -weight @ log_proba[rows, y] + penalty * offsets @ offsets / 2
    residual = np.exp(log_proba)
    residual[rows, y] -= 1
    residual *= weight[:, None]
    gradient = np.append(-(residual * scaled).sum(), residual.sum(0) + penalty * offsets)
    return loss / total, gradient / total
