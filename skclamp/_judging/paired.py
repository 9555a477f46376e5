"""Paired losses: Student's test, Tukey's range against the best, and Kish's effective sample size."""

import numpy as np
from scipy import stats

# In nats: differences of a sample's loss that are rounding.
_ROUNDING = 1e-9


def ranged_p_values(differences, weight, best):
    """Means of each row's paired differences to the best row, their standard errors, and p values, the best's 1.

    Whichever row is the best by chance, the largest difference of all pairs is Tukey's studentized range, exactly where
    the losses' noise is alike and independent from row to row. That it is no larger elsewhere is proven for independent
    means of unequal variance (Hayter, 1984), and for any other covariance conjectured. The number of rows is that of
    those that aren't worse yet, from the largest difference down.
    """
    means, errors = np.array([student_below_zero(row, weight)[:2] for row in differences]).T
    p_values = np.ones(len(differences))
    effective = n_effective(weight)
    others = np.flatnonzero((np.arange(len(differences)) != best) & (abs(differences).max(1) > _ROUNDING))
    if effective <= 1:
        return means, errors, p_values
    with np.errstate(divide="ignore"):
        t = means[others] / errors[others]
    order = (-t).argsort(kind="stable")
    # The best is one of them, and so are those that say the same.
    n_rows = len(differences) - np.arange(len(others))
    # Ordinary values beside: of a single one scipy 1.11 makes a number as numpy has deprecated.
    ranges = np.append(np.sqrt(2) * t[order], [1, 1])
    sizes = np.append(n_rows, [2, 2])
    stepped = stats.studentized_range.sf(ranges, sizes, effective - 1)[:-2]
    p_values[others[order]] = np.maximum.accumulate(stepped.clip(0, 1))
    return means, errors, p_values


def n_effective(weight):
    """Number of equally weighted samples that would tell as much."""
    return weight.sum() ** 2 / (weight**2).sum()


def deviations(values):
    """Return sums along the first axis in standard errors, where values have mean 0; 0 where all are."""
    return values.sum(0) / np.maximum(np.sqrt((values**2).sum(0)), np.finfo(float).tiny)


def numbered(groups, n_samples=None):
    """Return the number of each sample's group, from 0 on; each of so many samples is one where groups is None."""
    return np.arange(n_samples) if groups is None else np.unique(groups, return_inverse=True)[1]


def of_groups(values, weight, groups):
    """Return mean value and total weight of each group that has weight; of each sample where groups is None."""
    if groups is None:
        return values, weight
    group = numbered(groups)
    total = np.bincount(group, weight)
    judging = total > 0
    return np.bincount(group, weight * values)[judging] / total[judging], total[judging]


def student_below_zero(differences, weight):
    """Mean, standard error and one-sided p value of paired differences, new loss minus old.

    The p value is that of Student's test against "not below zero"; 1 where the differences don't vary.
    """
    share = weight / weight.sum()
    mean = share @ differences
    effective = n_effective(weight)
    error = 0.0
    if effective > 1 and np.ptp(differences[weight > 0]):
        error = float(np.sqrt(share**2 @ (differences - mean) ** 2 * effective / (effective - 1)))
    # There is none, too, of differences so small that their squares vanish.
    return float(mean), error, float(stats.t.cdf(mean / error, effective - 1)) if error else 1.0
