"""The screen: whether gradients at the baseline promise that a search for something better finds anything."""

from typing import NamedTuple

import numpy as np
from scipy import linalg, stats

from .paired import of_groups
from .verdict import Objection, Unheard

# Gradients have to be beyond chance at the first level, and what they foresee below zero by so many standard errors; at
# the second level merely below zero.
LEVEL, _SURE, _ERRORS = 0.05, 0.001, 1.2
_N_FLIPS, _N_FOLDS = 999, 5
# Of a ridge regression, as parts of the mean square of a sample's gradient.
_RIDGES = np.geomspace(3e-4, 3, 9)


class Screen(NamedTuple):
    """What gradients at the baseline say of a search, before any.

    Attributes
    ----------
    p_value : float
        Of the test that their sum is no longer than those with random signs.
    foreseen, error : float
        Change of the mean NLL that a step made on four fifths of the samples foresees on the others, in nats, at the
        best of several ridges, and its standard error; 0 where the gradients may be chance.
    detectable_gain : float or None
        Mean gain of NLL per sample, in nats, that half of such sets of samples would have shown; None where there are
        no gradients.
    n_parameters : int
        How many numbers the gradients are with respect to.
    """

    p_value: float
    foreseen: float
    error: float
    detectable_gain: float | None
    n_parameters: int

    @classmethod
    def of(cls, products, root, n_parameters, level, groups=None):
        """From the gradients' inner products (n, n) or, where parameters are fewer, the gradients (n, p) themselves.

        Gradients are those of losses, T's direction projected out and each parameter scaled to equal size, times the
        square roots `root` of the weights. `level` is that at which folds have to prove a gain. `groups` are labels of
        samples that count as one.
        """
        units = np.arange(len(root)) if groups is None else np.unique(groups, return_inverse=True)[1]
        n_units, n, dual = units.max() + 1, np.square(root).sum(), products.shape[1] == len(root)

        def squares(signs):
            """Squared lengths of the gradients' weighted sums."""
            signed = signs * root
            sums = signed @ products
            return (sums * (signed if dual else sums)).sum(1)

        signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(_N_FLIPS, n_units))
        flipped, seen = squares(signs[:, units]), squares(np.ones((1, len(root))))[0]
        p_value = float((1 + np.count_nonzero(flipped >= seen)) / (_N_FLIPS + 1))
        foreseen, error = _forecast(products, root, units, dual) if p_value <= LEVEL else (0.0, 0.0)
        # A gain g of a step along a parameter of mean curvature adds so many times g to the square.
        strength = 2 * n * np.square(products if dual else products.T @ products).sum() / max(flipped.mean(), 1e-300)
        missing = np.quantile(flipped, 1 - LEVEL) - flipped.mean()
        # And log-likelihood ratios of mean g have a variance of 2 g.
        of_folds = 2 * stats.norm.isf(level) ** 2 / n
        detectable = max(float(missing / strength), of_folds) if flipped.any() else None
        return cls(p_value, foreseen, error, detectable, n_parameters)

    @property
    def objection(self):
        """Why a search would be in vain; None where it may not."""
        if self.p_value > LEVEL:
            return Objection(Unheard.GRADIENTS_BY_CHANCE, self.p_value, LEVEL, self.n_parameters)
        needed = 0.0 if self.p_value <= _SURE else -_ERRORS * self.error
        if not self.foreseen < needed:
            return Objection(Unheard.NO_GAIN_FORESEEN, self.foreseen, needed, self.p_value)
        return None


def _forecast(products, root, units, dual):
    """The change of the mean loss that others foresee at the best ridge, and its standard error."""
    weight = np.square(root)
    fold = np.random.default_rng(0).permutation(units.max() + 1)[units] % _N_FOLDS
    changes = np.zeros((len(_RIDGES), len(root)))
    for k in range(_N_FOLDS):
        out = fold == k
        across, matrix, sums = products[out], products[~out], root[~out]
        if dual:
            across, matrix = across[:, ~out], matrix[:, ~out]
        else:
            matrix, sums = matrix.T @ matrix, matrix.T @ sums
        for row, ridge in zip(changes, _RIDGES * weight.sum(), strict=True):
            shrunk = matrix + ridge * np.eye(len(matrix))
            moved = -across @ linalg.solve(shrunk, sums, assume_a="pos", overwrite_a=True)
            row[out] = (root[out] + moved / 2) * moved
    means, totals = zip(*[of_groups(row / weight, weight, units) for row in changes], strict=True)
    foreseen = [np.average(mean, weights=total) for mean, total in zip(means, totals, strict=True)]
    best = int(np.argmin(foreseen))
    share = totals[best] / totals[best].sum()
    return float(foreseen[best]), float(np.sqrt(share**2 @ (means[best] - foreseen[best]) ** 2))
