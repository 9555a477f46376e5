"""Paired t tests, Holm's correction and Kish's effective sample size."""

import numpy as np
from scipy import stats

# In nats: differences of a sample's loss that are rounding.
_ROUNDING = 1e-9


def paired_p_values(differences, errors):
    """Of Student's paired test, two-sided, from the differences and the standard error of their mean.

    The bootstrap's p-value is no smaller than one over its replicates, which a correction for many calibrators then
    multiplies; and the mean of many samples needs no bootstrap.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(differences.mean(1)) / errors
    same = np.abs(differences).max(1) <= _ROUNDING
    return np.where(same, 1.0, 2 * stats.t.sf(t, differences.shape[1] - 1))


def holm(p_values):
    """P-values adjusted for their number by Holm's step-down method (Scandinavian Journal of Statistics 6, 1979)."""
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values)
    stepped = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def n_effective(weight):
    """Number of equally weighted samples that would tell as much."""
    return weight.sum() ** 2 / (weight**2).sum()


def of_groups(values, weight, groups):
    """Mean value and total weight of each group of samples that has weight; of each sample where groups is None."""
    if groups is None:
        return values, weight
    _, group = np.unique(groups, return_inverse=True)
    total, summed = np.bincount(group, weight), np.bincount(group, weight * values)
    judging = total > 0
    return summed[judging] / total[judging], total[judging]


def student_below_zero(differences, weight):
    """Mean, standard error and one-sided p value of paired differences, new loss minus old.

    The p value is that of Student's test against "not below zero"; 1 where the differences don't vary.
    """
    share = weight / weight.sum()
    mean = share @ differences
    effective = n_effective(weight)
    if effective <= 1 or not np.ptp(differences[weight > 0]):
        return float(mean), 0.0, 1.0
    error = np.sqrt(share**2 @ (differences - mean) ** 2 * effective / (effective - 1))
    if not error:
        # Differences so small that their squares vanish.
        return float(mean), 0.0, 1.0
    return float(mean), float(error), float(stats.t.cdf(mean / error, effective - 1))
