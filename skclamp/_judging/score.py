"""The score test: whether gradients of the loss at the baseline are zero on average, beside a T at its optimum."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from .paired import n_effective, of_groups

# Samples of equal weight that the test needs, and more for each parameter: of fewer a mean is far from normal.
_SAMPLES, _SAMPLES_PER_PARAMETER = 15, 5
# Of the largest variance in any direction: less is rounding.
_ROUNDING = 1e-10
# A p value next to 1 would outweigh all others.
_LARGEST = 0.9


class Score(NamedTuple):
    """Hotelling's test of a family's gradients: T squared."""

    statistic: float
    n_parameters: int
    # How many samples, or groups, of equal weight would tell as much; and where those whose gradients could be large
    # tell more.
    n_samples: float
    n_effective: float

    @classmethod
    def of(cls, gradients, slopes, drawn, drawn_slopes, weight, groups=None):
        """From gradients (n, p) of samples' losses, their slopes along log T, and the same under drawn labels.

        These labels are drawn from the baseline's own probabilities, as the null hypothesis has it, and tell what T
        does to the gradients, and which samples could decide. `groups` are labels of samples that count as one.
        Where labels were drawn several times, rows of all samples after those of all, they tell the variance as well,
        for which the samples alone are too few; it is then that of samples whose probabilities are right.
        """
        drawn_weight = np.resize(weight, len(drawn))
        own, slopes = _sums(gradients, slopes, weight, groups)
        drawn, drawn_slopes = _sums(drawn, drawn_slopes, drawn_weight, groups)
        sizes = np.linalg.norm(np.r_[own, drawn], axis=0)
        sizes = np.where(sizes > 0, sizes, 1.0)
        with_temperature = drawn_slopes @ drawn / max(drawn_slopes @ drawn_slopes, np.finfo(float).tiny)
        own = (own - np.outer(slopes, with_temperature)) / sizes
        drawn = (drawn - np.outer(drawn_slopes, with_temperature)) / sizes
        varying = drawn if len(drawn) > len(own) else own - own.mean(0)
        whitened, n_parameters = _whitening(varying)
        statistic = (len(varying) - 1) / len(own) * float(np.square(own.sum(0) @ whitened).sum())
        leverages = np.square(drawn @ _whitening(drawn)[0]).sum(1)
        n_told = float(n_effective(leverages)) if leverages.any() else 0.0
        n_samples = float(n_effective(of_groups(drawn_weight, drawn_weight, groups)[1]))
        return cls(statistic, n_parameters, n_samples, n_told)

    @property
    def takes_part(self):
        """Return whether there are samples enough for so many parameters."""
        needed = _SAMPLES + self.n_parameters * _SAMPLES_PER_PARAMETER
        return self.n_parameters > 0 and needed <= min(self.n_effective, self.n_samples)

    @property
    def p_value(self):
        """Small where a step from the baseline would lower the loss beyond chance."""
        n = self.n_samples
        p = self.n_parameters
        return float(stats.f.sf(self.statistic * (n - p) / (p * (n - 1)), p, n - p))


def combined_p_value(p_values):
    """Return one p value of several tests, which may depend on each other, as those of families within families do.

    Y. Liu and J. Xie, "Cauchy Combination Test", Journal of the American Statistical Association 2020, equation 1.
    """
    return float(stats.cauchy.sf(np.mean(stats.cauchy.isf(np.minimum(p_values, _LARGEST)))))


def _sums(gradients, slopes, weight, groups):
    """Weighted gradients and slopes, summed over each group; of samples with weight."""
    kept = weight > 0
    sums = (np.column_stack([gradients, slopes]) * weight[:, None])[kept]
    if groups is not None:
        order = np.argsort(groups[kept], kind="stable")
        firsts = np.unique(groups[kept][order], return_index=True)[1]
        sums = np.add.reduceat(sums[order], firsts)
    return sums[:, :-1], sums[:, -1]


def _whitening(rows):
    """Return a map of rows after which their outer products sum to an identity, and their number of directions."""
    values, vectors = np.linalg.eigh(rows.T @ rows)
    kept = values > _ROUNDING * max(1.0, values[-1])
    return vectors[:, kept] / np.sqrt(values[kept]), int(kept.sum())
