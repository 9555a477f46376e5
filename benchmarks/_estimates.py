"""Means and standard errors of results over resampled splits of one data set."""

from typing import NamedTuple

import numpy as np


class Estimate(NamedTuple):
    """A mean over splits and its corrected standard error, NaN for a single split."""

    mean: float
    standard_error: float

    def __format__(self, spec):
        mean = f"{self.mean:{spec}}"
        return mean if np.isnan(self.standard_error) else f"{mean} ± {self.standard_error:{spec.lstrip('+')}}"


def resampled_estimate(values, test_fraction=0.5):
    """Mean over splits, with the corrected resampled standard error.

    Splits of one data set share samples, so their results are correlated and the plain standard error is too small.
    Nadeau and Bengio (*Inference for the Generalization Error*, Machine Learning 52, 2003) take the share of the data
    that is tested on for the correlation rho of two splits' results; the variance of the mean of J splits is then
    s² · (1/J + rho / (1 − rho)).
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 1:
        return Estimate(float(values[0]), float("nan"))
    correction = 1 / len(values) + test_fraction / (1 - test_fraction)
    return Estimate(float(values.mean()), float(np.sqrt(correction * values.var(ddof=1))))


def paired_estimate(values, baseline, test_fraction=0.5):
    """`resampled_estimate` of values − baseline, split by split."""
    return resampled_estimate(np.subtract(values, baseline), test_fraction)


def ratio_estimate(values, baseline, test_fraction=0.5):
    """Mean of values over mean of baseline, with the corrected standard error of this ratio by the delta method."""
    values, baseline = np.asarray(values, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    ratio = float(values.mean() / baseline.mean())
    residuals = paired_estimate(values, ratio * baseline, test_fraction)
    return Estimate(ratio, residuals.standard_error / float(baseline.mean()))
