"""Contest: paired scores of rows, of which one is taken; not where the baseline may be as good."""

import numpy as np

from .._utils.statistics import of_groups, student_below_zero


class Contest:
    """Rows of scores, greater is better, that are paired: of the same samples or of the same folds.

    Parameters
    ----------
    values : ndarray of shape (n_rows, n_pairs)
        Scores.
    shares : ndarray of shape (n_pairs,)
        Shares of the weight.
    baseline : int or None
        The row that is taken unless another one beats it by more than so many standard errors of their difference.
    n_errors : float, default=1.0
        How many.
    copies : ndarray of shape (n_pairs,), default=None
        Labels that only pairs of copies share, which count as one; None where there are none.

    Attributes
    ----------
    gains, errors : ndarrays of shape (n_rows,)
        Mean of each row's scores less the baseline's, and its standard error; only with a baseline.
    """

    def __init__(self, values, shares, baseline, n_errors=1.0, copies=None):
        self.values, self.shares, self.baseline, self.copies = values, shares, baseline, copies
        self.means = values @ shares
        self.eligible = np.ones(len(values), dtype=bool)
        if baseline is not None:
            self.gains, self.errors = self._gains_over(baseline)
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
