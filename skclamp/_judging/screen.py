"""The screen: whether gradients at the baseline promise that a search for something better finds anything."""

from typing import NamedTuple

import numpy as np
from scipy import linalg, stats

from .paired import numbered, of_groups
from .score import combined_p_value
from .verdict import Objection, Reason

# Gradients have to be beyond chance at the first level, and what they foresee below zero by so many standard errors; at
# the second level merely below zero.
LEVEL, _SURE, ERRORS = 0.1, 0.01, 1.2
_N_FLIPS, _N_FOLDS = 999, 5
# Signs at a time: 8 MB.
_BLOCK = 2**20
# Of a ridge regression, as parts of the mean square of a sample's gradient.
_RIDGES = np.geomspace(3e-4, 3, 5)


class Screen(NamedTuple):
    """The word of gradients at the baseline on a search, before any."""

    # Of the tests that the sum of each family's is no longer than those with random signs, in one.
    p_value: float
    # How many numbers the gradients are with respect to.
    n_parameters: int
    # Mean gain of NLL per sample, in nats, that half of such sets of samples would have shown; None without gradients.
    detectable_gain: float | None
    # Of each family, the change of the mean NLL that it foresees, and the standard error; see `forecast`. Nothing where
    # the gradients may be chance.
    forecasts: dict[str, tuple[float, float]] = {}

    @property
    def may_be_chance(self):
        """Return whether the gradients alone refuse the search."""
        return self.p_value > LEVEL

    @classmethod
    def of(cls, tests, n_parameters):
        """From what `flips` says of each family: of all at once, many numbers that say nothing would drown few."""
        p_values, gains = zip(*tests, strict=True)
        told = [gain for gain in gains if gain is not None]
        return cls(combined_p_value(p_values), n_parameters, min(told, default=None))

    @property
    def is_clear(self):
        """Return whether a gain that some family foresees is beyond its error."""
        return any(mean < -ERRORS * error for mean, error in self.forecasts.values())

    @property
    def objection(self):
        """Why a search would be in vain; None where it may not."""
        if self.may_be_chance:
            return Objection(Reason.GRADIENTS_BY_CHANCE, self.p_value, LEVEL, self.n_parameters)
        n_errors = 0.0 if self.p_value <= _SURE else ERRORS
        lacks = {name: (mean + n_errors * error, mean) for name, (mean, error) in self.forecasts.items()}
        name = min(lacks, key=lacks.__getitem__)
        lack, mean = lacks[name]
        return None if lack < 0 else Objection(Reason.NO_GAIN_FORESEEN, mean, mean - lack, name)


def flips(products, root, share, level, groups=None):
    """A p value of a family's gradients, against random signs, and the gain that they would show at a `share` of it.

    From their inner products (n, n) or, where parameters are fewer, the gradients (n, p) themselves: those of losses,
    T's direction projected out and each parameter scaled to equal size, times the square roots `root` of the weights.
    `level` is that at which folds have to prove a gain. `groups` are labels of samples that count as one.
    """
    units = numbered(groups, len(root))
    n_units, n, dual = units.max() + 1, np.square(root).sum(), products.shape[1] == len(root)

    def squares(signs):
        """Squared lengths of the gradients' weighted sums."""
        signed = signs * root
        sums = signed @ products
        return (sums * (signed if dual else sums)).sum(1)

    rng, step = np.random.default_rng(0), max(1, _BLOCK // len(root))
    signs = (rng.choice([-1.0, 1.0], (min(step, _N_FLIPS - k), n_units)) for k in range(0, _N_FLIPS, step))
    flipped = np.concatenate([squares(some[:, units]) for some in signs])
    seen = squares(np.ones((1, len(root))))[0]
    p_value = float((1 + np.count_nonzero(flipped >= seen)) / (_N_FLIPS + 1))
    # A gain g of a step along a parameter of mean curvature adds so many times g to the square.
    strength = 2 * n * np.square(products if dual else products.T @ products).sum() / max(flipped.mean(), 1e-300)
    missing = np.quantile(flipped, 1 - share) - flipped.mean()
    # And log-likelihood ratios of mean g have a variance of 2 g.
    of_folds = 2 * stats.norm.isf(level) ** 2 / n
    return p_value, float(max(missing / strength, of_folds)) if flipped.any() else None


def forecast(products, root, groups=None):
    """The change of the mean loss that a step on four fifths of the samples foresees on the others, and its error.

    At the best of several ridges; arguments as those of `flips`.
    """
    units, dual, weight = numbered(groups, len(root)), products.shape[1] == len(root), np.square(root)
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
            shrunk = matrix.copy()
            shrunk.flat[:: len(matrix) + 1] += ridge
            moved = -across @ linalg.solve(shrunk, sums, assume_a="pos", overwrite_a=True)
            row[out] = (root[out] + moved / 2) * moved
    means, totals = zip(*[of_groups(row / weight, weight, units) for row in changes], strict=True)
    foreseen = [np.average(mean, weights=total) for mean, total in zip(means, totals, strict=True)]
    best = int(np.argmin(foreseen))
    share = totals[best] / totals[best].sum()
    return float(foreseen[best]), float(np.sqrt(share**2 @ (means[best] - foreseen[best]) ** 2))
