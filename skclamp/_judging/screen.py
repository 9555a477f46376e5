"""The screen: whether gradients at the baseline promise that a search for something better finds anything."""

from typing import NamedTuple

import numpy as np
from scipy import linalg, stats

from .paired import numbered, of_groups, student_below_zero
from .verdict import Objection, Reason

# Gradients have to be beyond chance at this level, and what they foresee below zero; it is clear by so many errors.
LEVEL = 0.05
ERRORS = 1.2
_N_FLIPS = 999
_N_FOLDS = 5
# Signs at a time: 8 MB.
_BLOCK = 2**20
# Of a ridge regression, as parts of the mean square of a sample's gradient.
_RIDGES = np.geomspace(3e-4, 3, 5)
# With so many samples a parameter gradients are whitened, with such a ridge: no direction in which they vary much hides
# others. With fewer a sum of skewed gradients, as of a network that seldom errs, would look rarer than it is.
_SAMPLES_PER_PARAMETER = 5
_WHITENING = 0.03


class Screen(NamedTuple):
    """The word of gradients at the baseline on a search, before any."""

    # Of the test that the sum of no family's is longer than those with random signs.
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
    def of(cls, squares, gains, n_parameters):
        """From what `flips` says of each family: their squared sums, the first one as it is, and gains.

        How rare is a family's sum, under the same signs, as the rarest? Of all numbers at once, many that say nothing
        would drown few that do.
        """
        rarest = stats.rankdata(-np.array(squares), "max", axis=1).min(0)
        told = [gain for gain in gains if gain is not None]
        return cls(float((rarest <= rarest[0]).mean()), n_parameters, min(told, default=None))

    @property
    def is_clear(self):
        """Return whether a gain that some family foresees is beyond its error."""
        return any(mean < -ERRORS * error for mean, error in self.forecasts.values())

    @property
    def objection(self):
        """Why a search would be in vain; None where it may not."""
        if self.may_be_chance:
            return Objection(Reason.GRADIENTS_BY_CHANCE, self.p_value, LEVEL, self.n_parameters)
        name = min(self.forecasts, key=self.forecasts.__getitem__)
        mean, _ = self.forecasts[name]
        return None if mean < 0 else Objection(Reason.NO_GAIN_FORESEEN, mean, about=name)


def flips(products, root, share, level, groups=None):
    """Squared lengths of the sum of a family's gradients, as they are and with random signs; and the detectable gain.

    From their inner products (n, n) or, where parameters are fewer, the gradients (n, p) themselves: those of losses,
    T's direction projected out and each parameter scaled to equal size, times the square roots `root` of the weights.
    The gain is that of NLL per sample which half of such sets would have shown, with so rare a sum as a `share` of the
    others; None without gradients. `level` is that at which folds have to prove it. `groups` are labels of samples that
    count as one.
    """
    units = numbered(groups, len(root))
    n_units = units.max() + 1
    n_columns = products.shape[1]
    n = (root**2).sum()
    dual = n_columns == len(root)
    if not dual and _SAMPLES_PER_PARAMETER * n_columns <= n_units:
        ridged = products.T @ products + _WHITENING * n * np.eye(n_columns)
        products = linalg.solve_triangular(linalg.cholesky(ridged, lower=True), products.T, lower=True).T

    def squares(signs):
        signed = signs * root
        sums = signed @ products
        return (sums * (signed if dual else sums)).sum(1)

    rng = np.random.default_rng(0)
    step = max(1, _BLOCK // len(root))
    signs = (rng.choice([-1.0, 1.0], (min(step, _N_FLIPS - k), n_units)) for k in range(0, _N_FLIPS, step))
    flipped = np.concatenate([squares(some[:, units]) for some in signs])
    # A gain g of a step along a parameter of mean curvature adds so many times g to the square.
    strength = 2 * n * ((products if dual else products.T @ products) ** 2).sum() / max(flipped.mean(), 1e-300)
    missing = np.quantile(flipped, 1 - share) - flipped.mean()
    # And log-likelihood ratios of mean g have a variance of 2 g.
    of_folds = 2 * stats.norm.isf(level) ** 2 / n
    gain = float(max(missing / strength, of_folds)) if flipped.any() else None
    return np.append(squares(np.ones((1, len(root)))), flipped), gain


def forecast(products, root, groups=None):
    """The change of the mean loss that a step on four fifths of the samples foresees on the others, and its error.

    At the best of several ridges; arguments as those of `flips`.
    """
    units = numbered(groups, len(root))
    dual = products.shape[1] == len(root)
    weight = root**2
    fold = np.random.default_rng(0).permutation(units.max() + 1)[units] % _N_FOLDS
    changes = np.zeros((len(_RIDGES), len(root)))
    for k in range(_N_FOLDS):
        out = fold == k
        across = products[out]
        matrix = products[~out]
        sums = root[~out]
        if dual:
            across = across[:, ~out]
            matrix = matrix[:, ~out]
        else:
            matrix, sums = matrix.T @ matrix, matrix.T @ sums
        for row, ridge in zip(changes, _RIDGES * weight.sum(), strict=True):
            shrunk = matrix + ridge * np.eye(len(matrix))
            moved = -across @ linalg.solve(shrunk, sums, assume_a="pos", overwrite_a=True)
            row[out] = (root[out] + moved / 2) * moved
    return min(student_below_zero(*of_groups(row / weight, weight, units))[:2] for row in changes)
