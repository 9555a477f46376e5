"""Paired losses: Student's test, Tukey's range against the best, contests, and Kish's effective sample size."""

import numpy as np
from scipy import stats

# In nats: differences of a sample's loss that are rounding.
_ROUNDING = 1e-9


def ranged_p_values(differences, weight, best):
    """Means of each row's paired differences to the best row, their standard errors, and p values, the best's 1.

    Whichever row is the best by chance, the largest difference of all pairs is Tukey's studentized range, exactly where
    the losses' noise is alike and independent from row to row. That it is no larger elsewhere is proven for independent
    means of unequal variance (Hayter, 1984), and for any other covariance conjectured. That of ten equal rows one is
    called worse no more often than the level says, but for the draws' noise, ``tests/selection/test_report.py`` holds.
    The number of rows is that of those that aren't worse yet, from the largest difference down.
    """
    means, errors = np.array([student_below_zero(row, weight)[:2] for row in differences]).T
    p_values, effective = np.ones(len(differences)), n_effective(weight)
    others = np.flatnonzero((np.arange(len(differences)) != best) & (np.abs(differences).max(1) > _ROUNDING))
    if effective <= 1:
        return means, errors, p_values
    with np.errstate(divide="ignore"):
        t = means[others] / errors[others]
    order = np.argsort(-t, kind="stable")
    # The best is one of them, and so are those that say the same.
    n_rows = len(differences) - np.arange(len(others))
    stepped = stats.studentized_range.sf(np.sqrt(2) * t[order], n_rows, effective - 1)
    p_values[others[order]] = np.maximum.accumulate(stepped.clip(0, 1))
    return means, errors, p_values


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


class Contest:
    """Rows of scores, greater is better, that are paired: of the same samples or of the same folds.

    `values` (n_rows, n_pairs) are scores, and `shares` those of the weight. The row `baseline`, if any, is taken unless
    another one beats it by more than `n_errors` standard errors of their difference; `gains` and `errors` are each
    row's mean score less the baseline's, and its standard error. `copies` are labels that only pairs of copies share,
    which count as one.
    """

    def __init__(self, values, shares, baseline, n_errors=1.0, copies=None):
        self.values, self.shares, self.baseline, self.copies = values, shares, baseline, copies
        self.means = values @ shares
        self.eligible = np.ones(len(values), dtype=bool)
        if baseline is not None:
            self.gains, self.errors = self._gains_over(baseline)
            # Infinitely many of an error of 0 aren't passed either.
            with np.errstate(invalid="ignore"):
                self.eligible = self.gains > n_errors * self.errors
            self.eligible[baseline] = True

    def best(self):
        """The row with the best mean of those that beat the baseline, or that."""
        return int(np.where(self.eligible, self.means, -np.inf).argmax())

    def best_average(self, averages):
        """The best of the rows that average others, if it is within one standard error of that; else that.

        The best of many is in part so by chance, and an average of those that are nearly as good isn't.
        """
        best = self.best()
        eligible = [row for row in averages if self.eligible[row]]
        if not eligible:
            return best
        average = max(eligible, key=lambda row: self.means[row])
        gains, errors = self._gains_over(best)
        return average if -gains[average] <= errors[average] else best

    def simplest(self, n_parameters):
        """Of the rows within one standard error of that, the one with the fewest parameters."""
        gains, errors = self._gains_over(self.best())
        within = np.flatnonzero(self.eligible & (-gains <= errors))
        return int(min(within, key=lambda row: (n_parameters[row], -self.means[row])))

    def _gains_over(self, row):
        leads = (of_groups(values - self.values[row], self.shares, self.copies) for values in self.values)
        return np.array([student_below_zero(*lead)[:2] for lead in leads]).T
