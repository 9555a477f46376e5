"""Tests of class frequencies: whether probabilities have the labelled ones, and whether these alone have changed."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from .._utils.least_probability import MIN_PROBABILITY
from .out_of_fold import MIN_SAMPLES
from .paired import n_effective
from .verdict import SURE_LEVEL, Decision, Objection, Reason, Verdict

# Where two classes look alike, estimates that are too far off cost more than such as are too near.
_CAUTION = 2
# A statistic that is less above its expectation is as good as none.
_LEAST_EXCESS = 0.01
# Where nothing has changed new frequencies pass this rarely; where these alone have, they are refused this rarely.
_CHANGE_LEVEL = 0.01
_FIT_LEVEL = 0.05
# Where each class is as probable on average as labels have it, this is denied so rarely.
MEANS_LEVEL = 0.01
# With a quarter as many labelled samples a class the test of the mixture has let darker and noisier images pass.
_LABELLED_PER_CLASS = 20
_MIN_LIKE = 30
# Of more classes the whole covariance, cubic in them, is only for what its diagonal has found suspicious.
_MAX_CLASSES = 64
# Bins of each probability, which hold equally many labelled samples.
_N_BINS = 4


class ClassMeans(NamedTuple):
    """The score test that the classes' mean probabilities are their frequencies, as calibrated ones' are.

    Labels are drawn from the probabilities under the null hypothesis, which gives the differences' covariance.
    """

    # Square length of the differences, by that covariance, chi-squared with these degrees of freedom.
    statistic: float
    n_degrees: int
    # How many equally weighted samples would tell as much.
    n_samples: float

    @classmethod
    def of(cls, proba, y_encoded, weight, unit=None):
        """The test on probabilities (n, K) of labelled samples, their labels' columns and positive weights.

        Samples that share the number of a `unit` tell as much as one.
        """
        weight = weight / weight.max()
        counts = np.bincount(y_encoded, weight, proba.shape[1])
        seen = counts > 0
        if not seen.all():
            # Classes without a label may still come: the others' probabilities are those that it is none of them.
            proba = proba[:, seen]
            counts = counts[seen]
            proba = proba / np.maximum(proba.sum(1, keepdims=True), np.finfo(float).tiny)
        # Each beside all of its unit, with which it may agree entirely.
        squared = weight * (weight if unit is None else np.bincount(unit, weight)[unit])
        difference = counts - weight @ proba
        n_degrees = max(1, len(counts) - 1)
        n_samples = float(weight.sum() ** 2 / squared.sum())
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


class ClassHistograms(NamedTuple):
    """Distributions of probabilities of the labelled samples of each class: the largest one, and each class's."""

    # Between the bins of each probability, as logarithms (n_classes + 1, 3); the last row is of the largest one.
    edges: np.ndarray
    # Samples of each class, last axis, in each bin (n_classes + 1, 4, n_classes); they sum to Kish's number.
    counts: np.ndarray

    @classmethod
    def of(cls, log_proba, y_encoded, weight):
        """From calibrated log-probabilities, column indices and positive weights of labelled samples."""
        n_classes = log_proba.shape[1]
        total, squares = (np.bincount(y_encoded, values, n_classes) for values in (weight, weight**2))
        weight = weight * (total / np.maximum(squares, np.finfo(float).tiny))[y_encoded]
        columns = _columns(log_proba)
        edges = np.quantile(columns, np.arange(1, _N_BINS) / _N_BINS, axis=1).T
        n_bins = _N_BINS * n_classes
        counts = [np.bincount(bins * n_classes + y_encoded, weight, n_bins) for bins in _bins_of(columns, edges)]
        return cls(edges, np.reshape(counts, (-1, _N_BINS, n_classes)).astype(np.float32))

    def p_value(self, log_proba, priors):
        """Bonferroni's of Pearson's tests, one for each probability, of unlabelled samples against a mixture.

        The mixture has the frequencies `priors`, which EM estimates. Residuals have sampling errors of both sides: of
        the unlabelled samples, and of the labelled ones, which say what a class looks like.
        """
        columns = _columns(log_proba)
        n_samples = len(log_proba)
        observed = np.array([np.bincount(bins, minlength=_N_BINS) for bins in _bins_of(columns, self.edges)])
        there, sizes, weights = self._mixed(priors)
        counts = self.counts[..., there]
        # One sample more of each class, as everyone's are: no bin in which others lie is known to be empty.
        smooth = counts + counts.sum(2, keepdims=True) / sizes.sum()
        variance = smooth @ (n_samples * weights / (sizes + 1) * (1 + n_samples * weights / sizes))
        residual = observed - n_samples * (counts @ (weights / sizes))
        filled = variance > 0
        statistic = (residual**2 / np.where(filled, variance, 1)).sum(1)
        degrees = np.maximum(filled.sum(1) - 1, 1)
        return float(min(1.0, len(columns) * stats.chi2.sf(statistic, degrees).min()))

    def n_like(self, priors):
        """Kish's number of labelled samples, once they are weighted to have other class frequencies."""
        _, sizes, weights = self._mixed(priors)
        return float(1 / (weights**2 / sizes).sum())

    def _mixed(self, priors):
        """Which classes have labelled samples, how many, and these classes' shares of a mixture."""
        sizes = self.counts[0].sum(0, dtype=float)
        there = sizes > 0
        return there, sizes[there], priors[there] / priors[there].sum()


class ProbabilityMoments(NamedTuple):
    """Mean, which sums to 1, and covariance of the labelled samples' probabilities."""

    mean: np.ndarray
    covariance: np.ndarray
    # How many equally weighted samples would tell as much.
    n_samples: float

    @classmethod
    def of(cls, proba, weight):
        """From probabilities (n, K) of labelled samples and their positive weights."""
        weight = weight / weight.sum()
        mean = np.maximum(weight @ proba, MIN_PROBABILITY)
        mean /= mean.sum()
        covariance = np.cov(proba.T, bias=True, aweights=weight)
        return cls(mean, covariance.astype(np.float32), float(n_effective(weight)))

    def squared(self, proba):
        """Return Hotelling's two-sample T-squared of unlabelled samples' mean, the score statistic of frequencies."""
        n_samples = len(proba)
        n_both = self.n_both(n_samples)
        scatter = self.n_samples * self.covariance + n_samples * np.cov(proba.T, bias=True)
        # One sample more of each class: a rare class has no normal distribution.
        covariance = n_both * scatter / max(1.0, self.n_samples + n_samples - 2) + np.eye(len(self.mean))
        difference = n_both * (proba.mean(0) - self.mean)
        return float(difference @ np.linalg.solve(covariance, difference))

    def p_value(self, squared, n_samples):
        """Return the p-value of `squared`, which has the sampling errors of both sides."""
        total = self.n_samples + n_samples
        n_degrees = len(self.mean) - 1
        free = total - n_degrees - 1
        if free <= 0:
            return 1.0
        return float(stats.f.sf(squared * free / (n_degrees * (total - 2)), n_degrees, free))

    def strength(self, squared, n_samples):
        """Return how many samples with labels of the old frequencies the estimate of the new ones needs.

        New frequencies have a Dirichlet distribution around the old ones. Its concentration is twice the one under
        which `squared` is expected (empirical Bayes), and at least one sample a class. The old mean's error is as large
        as that of the unlabelled samples where these are as many: their likelihood counts `n_both` times, not
        `n_samples` times.
        """
        n_classes = len(self.mean)
        n_both = self.n_both(n_samples)
        spread = float((np.diag(self.covariance) / self.mean).sum())
        concentration = n_both * spread / max(squared - (n_classes - 1), _LEAST_EXCESS) - 1
        return max(_CAUTION * concentration, n_classes) * n_samples / n_both

    def n_both(self, n_samples):
        """Return how many samples would tell as much as `n_samples` if the labelled ones' mean had no error."""
        return n_samples * self.n_samples / (n_samples + self.n_samples)


def decide_on_frequencies(p_value, fit_p_value, gain, n_samples, n_labelled, n_classes, n_like, flaw):
    """Return the decision to use new class frequencies, since these, and nothing else, have changed.

    `p_value` is of the test that they haven't, and `fit_p_value` of that that nothing else has; `gain` is how much
    likelier samples are with them, in nats per sample. `n_samples` are unlabelled; as many as `n_like` labelled ones
    tell how samples of the new frequencies should look. `flaw` says why the labelled samples' probabilities allow no
    conclusion, in words; it is empty where they do.
    """
    n_needed = max(MIN_SAMPLES, _LABELLED_PER_CLASS * n_classes)
    # The first that fails is told.
    tests = [
        (not flaw, Objection(Reason.FLAWED_PROBABILITIES, about=flaw)),
        (fit_p_value >= SURE_LEVEL, Objection(Reason.INPUTS_CHANGED, fit_p_value)),
        # Where too few are left to tell other frequencies from other inputs.
        (n_samples >= MIN_SAMPLES, Objection(Reason.FEW_UNLABELLED, n_samples, MIN_SAMPLES)),
        (n_labelled >= n_needed, Objection(Reason.FEW_LABELLED, n_labelled, n_needed, n_classes)),
        (n_like >= _MIN_LIKE, Objection(Reason.FEW_OF_FREQUENT_CLASSES, n_like, _MIN_LIKE)),
        (p_value < _CHANGE_LEVEL, Objection(Reason.CHANCE_FREQUENCIES, p_value, _CHANGE_LEVEL)),
        (fit_p_value > _FIT_LEVEL, Objection(Reason.INPUTS_MAY_HAVE_CHANGED, fit_p_value, _FIT_LEVEL)),
    ]
    objections = [objection for passed, objection in tests if not passed]
    verdict = Verdict(
        not objections, -gain, 0.0, p_value, n_samples=n_samples, n_labelled=n_labelled, fit_p_value=fit_p_value
    )
    return Decision(verdict, objections)


def _columns(log_proba):
    # Of classes that a sample doesn't have they are -inf, between which there are no quantiles.
    return np.maximum(np.vstack([log_proba.T, log_proba.max(1)]), np.finfo(float).min / 2)


def _bins_of(columns, edges):
    """Yield the bin of each entry of a column, column by column."""
    return (inner.searchsorted(column, side="right") for column, inner in zip(columns, edges, strict=True))
