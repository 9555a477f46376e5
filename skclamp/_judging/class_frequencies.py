"""The test whether each class is as probable on average as labelled samples have it."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from .paired import n_effective

# Of more classes the whole covariance, cubic in them, is only for what its diagonal has found suspicious.
_MAX_CLASSES = 64


class ClassMeans(NamedTuple):
    """The score test that the classes' mean probabilities are their frequencies, as calibrated ones' are.

    Labels are drawn from the probabilities under the null hypothesis, which gives the differences' covariance.

    Attributes
    ----------
    statistic : float
        Square length of the differences, by that covariance.
    n_degrees : int
        Of freedom, of the chi-squared distribution that it has.
    n_samples : float
        How many equally weighted samples would tell as much.
    """

    statistic: float
    n_degrees: int
    n_samples: float

    @classmethod
    def of(cls, proba, y_encoded, weight):
        """The test on probabilities (n, K) of labelled samples, their labels' columns and positive weights."""
        weight = weight / weight.max()
        counts = np.bincount(y_encoded, weight, proba.shape[1])
        seen = counts > 0
        if not seen.all():
            # Classes without a label may still come: the others' probabilities are those that it is none of them.
            proba, counts = proba[:, seen], counts[seen]
            proba = proba / np.maximum(proba.sum(1, keepdims=True), np.finfo(float).tiny)
        squared, difference = weight**2, counts - weight @ proba
        n_degrees, n_samples = max(1, len(counts) - 1), float(n_effective(weight))
        # One sample more of each class: a rare class has no chi-squared distribution.
        if len(counts) > _MAX_CLASSES:
            rough = float(difference**2 @ (1 / (squared @ (proba * (1 - proba)) + 1)))
            if rough <= n_degrees:
                return cls(rough, n_degrees, n_samples)
        covariance = np.diag(squared @ proba + 1) - (proba.T * squared) @ proba
        return cls(float(difference @ np.linalg.solve(covariance, difference)), n_degrees, n_samples)

    @property
    def p_value(self):
        """Small where the probabilities are off class by class."""
        return float(stats.chi2.sf(self.statistic, self.n_degrees))

    @property
    def gain(self):
        """About by how much offsets of the classes would lower the mean NLL beyond chance, in nats."""
        return max(0.0, self.statistic - self.n_degrees) / (2 * self.n_samples)
