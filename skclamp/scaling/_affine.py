"""What the affine output maps share: features of the logits, a regression on them, the map."""

import numpy as np
import torch

from .._solvers.temperature import DEFAULT_BOUNDS, solve_temperature
from .._utils.arrays import absent_again, absent_among, without
from ._temperature_scaling import TemperatureFirst

# Features are brought below this, by a power of two, where no temperature within its bounds calms them.
_LARGEST_FEATURE = 2.0**10


class AffineScaling(TemperatureFirst):
    """An affine map of log-probabilities; subclasses say which features and which map.

    Classes that a sample doesn't have, with logits of -inf, add nothing to the others' scores and have none.

    Hooks: ``_features(logits)``, float64 rows that don't change with a constant added to a row of logits; and
    ``_solve(features, y, sample_weight)``, which learns ``coef_`` and ``intercept_`` and returns a `Solution`.
    """

    _arrays = "coef_", "intercept_"

    def _fit_map(self, logits, y, sample_weight):
        self._n_effective = sample_weight.sum().item()
        return self._solve(self._features(logits), y, sample_weight)

    def _transform_logits(self, logits):
        features = self._features(logits)
        absent = absent_among(features)
        features = without(features, absent)
        coef, intercept = (torch.as_tensor(values).to(features) for values in (self.coef_, self.intercept_))
        linear = coef.ndim == 1
        mapped = torch.addcmul(intercept, features, coef) if linear else torch.addmm(intercept, features, coef.T)
        return absent_again(mapped, absent)

    @property
    def _n_parameters(self):
        # Without T: maps of one form tie, whether they keep it apart or their gains absorb it.
        return self.coef_.size + self.intercept_.size

    def _unit(self, features, y, sample_weight):
        """What features are divided by, so that the search starts at the identity: the temperature.

        Where it is at its upper bound and logits are so large that more is needed, the best without a bound.
        """
        scale = 2.0 ** np.ceil(np.log2(max(largest_of(features), 1) / _LARGEST_FEATURE))
        if self.temperature_ < DEFAULT_BOUNDS[1] or scale <= self.temperature_:
            return self.temperature_
        return scale * solve_temperature(features / scale, y, sample_weight=sample_weight).temperature


class StructuredScaling(AffineScaling):
    """Features of the structured maps: smoothed log-probabilities at the optimal temperature."""

    def _features(self, logits):
        """Logarithms of softmax(logits / T) mixed with one part in n + 1 of the uniform distribution."""
        n_classes, n = logits.shape[1], self._n_effective
        log_proba = torch.log_softmax(logits / self.temperature_, 1).add_(float(np.log(n / (n + 1))))
        absent = absent_among(log_proba)
        uniform = log_proba.new_tensor(-np.log(n_classes * (n + 1)))
        if absent is not None:
            uniform = -((~absent).sum(1, keepdim=True) * (n + 1)).to(log_proba).log()
        return absent_again(torch.logaddexp(log_proba, uniform), absent)


def largest_of(features):
    """The largest magnitude among features, those of -inf left aside."""
    return without(features, absent_among(features)).abs().max().item()


def identity_vector(n_classes):
    """Parameters of the `VectorRegression` that leaves its features as they are."""
    return np.stack([np.ones(n_classes), np.zeros(n_classes)])


def identity_matrix(n_classes):
    """Parameters of the `MatrixRegression` that leaves its features as they are."""
    return np.eye(n_classes, n_classes + 1)


def matrix_strengths(n_classes, *, off_diagonal, diagonal, intercept):
    """Penalties of a `MatrixRegression`, by the role of each parameter."""
    strengths = np.full((n_classes, n_classes + 1), float(off_diagonal))
    np.fill_diagonal(strengths, diagonal)
    strengths[:, -1] = intercept
    return strengths
