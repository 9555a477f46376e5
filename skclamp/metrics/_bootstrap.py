"""Bootstrap intervals of metrics, and a paired test between two calibrators."""

import math
from functools import partial
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from .._utils.arrays import to_numpy
from .._utils.labels import check_same_length
from .._utils.parameters import check_choice, check_number, check_whole_number
from ._noise_floor import draw_labels, is_ours, values_of
from ._reduction import as_probabilities
from ._resampling import AnyMetric, resampled

# Weights of a block of replicates: 32 MB.
_BLOCK_SIZE = 2**22
_METHODS = ("debiased", "percentile", "basic")
_ALTERNATIVES = ("two-sided", "less", "greater")
# As large an error in so many draws may be noise; so many draws first, which most often tell.
_N_LARGER, _N_FIRST = 5, 60
# Halvings of the range of scales: far finer than the noise of the replicates.
_N_HALVINGS = 14
_LARGEST_SCALE = 2**20
# Where the curve of medians is computed, as parts of its end: most often near 0.
_PARTS = np.linspace(0, 1, 33) ** 2


class BootstrapInterval(NamedTuple):
    """A metric with its bootstrap interval.

    Attributes
    ----------
    value : float
        The metric of the sample.
    debiased : float
        The same without what noise adds to it, where the method estimates that.
    low, high : float
        The interval.
    standard_error : float
        Standard deviation of the replicates.

    Examples
    --------
    >>> from skclamp.metrics import bootstrap_interval, brier_score
    >>> interval = bootstrap_interval(brier_score, [0, 1, 1, 0], [0.2, 0.9, 0.6, 0.4], random_state=0)
    >>> interval.low <= interval.value <= interval.high
    True
    """

    value: float
    debiased: float
    low: float
    high: float
    standard_error: float


class PairedTest(NamedTuple):
    """Difference of a metric between two calibrators on the same samples.

    Attributes
    ----------
    difference : float
        Metric of the first less that of the second, both debiased where that is possible.
    low, high : float
        Bootstrap interval of the difference.
    pvalue : float
        Of the hypothesis that there is none.

    Examples
    --------
    >>> from skclamp.metrics import brier_score, paired_bootstrap_test
    >>> test = paired_bootstrap_test(brier_score, [0, 1, 1, 0], [0.2, 0.9, 0.6, 0.4], [0.5] * 4, random_state=0)
    >>> test.low < test.difference < test.high
    True
    """

    difference: float
    low: float
    high: float
    pvalue: float


def bootstrap_interval(
    metric,
    y_true,
    y_proba,
    *,
    n_resamples=1000,
    confidence_level=0.95,
    method="debiased",
    labels=None,
    sample_weight=None,
    random_state=None,
):
    """Confidence interval of a metric by the bootstrap, with the bias of calibration errors taken into account.

    Noise makes a calibration error larger, and resampling adds noise once more: percentiles of the replicates lie too
    high, and for a calibrated classifier far from 0. The debiased interval inverts a test instead: it holds the true
    errors under which the value found would be neither too small nor too large, given that the true residuals are the
    sample's times some factor and that the noise is the replicates'.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_proba) -> float``, given column indices for `y_true`. Fix its options with
        ``functools.partial``. Binned, KS and smooth errors (top-label), the classwise error in bins of equal width and
        the proper scores of this package are resampled through sums over the samples; its others are computed anew for
        each replicate without passes over the probabilities where they have bins; other packages' metrics on copies of
        the rows.
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    n_resamples : int, default=1000
        Number of replicates.
    confidence_level : float, default=0.95
        Probability that the interval covers the true value, between 0 and 1.
    method : {"debiased", "percentile", "basic"}, default="debiased"
        "percentile" takes quantiles of the replicates, "basic" mirrors them at the value. Proper scores have no bias:
        for them "debiased" is "percentile", as it is for other packages' metrics. For errors that aren't resampled
        through sums it is "basic", which takes off part of the bias only.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, for metrics of this package.
    random_state : int, RandomState instance or None, default=None
        Seed of the resampling.

    Returns
    -------
    BootstrapInterval
        Named tuple of `value`, `debiased`, `low`, `high` and `standard_error`.

    Raises
    ------
    ValueError
        If `y_true`, `y_proba` or `sample_weight` are bad, as for :func:`expected_calibration_error`; if `n_resamples`
        is less than 2, `confidence_level` not between 0 and 1 or `method` unknown.
    TypeError
        If `metric` isn't callable, `n_resamples` isn't a whole number, or `sample_weight` is given for a metric of
        another package.

    Notes
    -----
    Bins of equal mass and a smooth error's bandwidth stay those of the sample. The lower end of a debiased interval is
    0 where calibrated probabilities would show as large an error more often than in half of 1 - `confidence_level`, by
    labels drawn as for :func:`calibration_noise_floor`: in bins of few samples the replicates vary too little to tell.
    Where the lower end would be above 0 that takes up to 199 draws (at 95 %), each about as long as a replicate; they
    end with the fifth such error. None are drawn where it is 0 anyway, for proper scores and for other methods.
    The upper end bounds the chance of a value as small as the one found relative to that chance for a calibrated
    classifier (CLs): a sample that happens to show less error than mere noise doesn't pass for certain proof of
    calibration.

    References
    ----------
    J. Carpenter, "Test inversion bootstrap confidence intervals", Journal of the Royal Statistical Society B 61, 1999.
    A. L. Read, "Presentation of search results: the CLs technique", Journal of Physics G 28, 2002 (the upper end).

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp.metrics import bootstrap_interval, expected_calibration_error
    >>> random = np.random.default_rng(0)
    >>> y_proba = random.uniform(size=1000)
    >>> calibrated = random.uniform(size=1000) < y_proba
    >>> interval = bootstrap_interval(expected_calibration_error, calibrated, y_proba, random_state=0)
    >>> interval.low, interval.high < 0.05
    (0.0, True)
    """
    _check_parameters(metric, n_resamples, confidence_level, sample_weight)
    check_choice(method, "method", _METHODS)
    random_state = check_random_state(random_state)
    proba, form = _form(metric, y_true, y_proba, labels, sample_weight)
    sums = _replicates([form], proba, n_resamples, random_state)[0]
    replicates, value = form.values(sums), _value(form, proba)
    tail = (1 - confidence_level) / 2
    if method == "debiased" and hasattr(form, "at_scale"):
        debiased, low, high = _invert(form, sums, tail)
    else:
        quantiles = ("basic" if form.is_error else "percentile") if method == "debiased" else method
        debiased, low, high = _quantile_interval(value, replicates, tail, quantiles, form.is_error)
    if (
        method == "debiased"
        and form.is_error
        and low > 0
        and _may_be_noise(metric, form, value, proba, tail, random_state)
    ):
        low = 0.0
    return BootstrapInterval(value, debiased, low, high, float(replicates.std(ddof=1)))


def paired_bootstrap_test(
    metric,
    y_true,
    y_proba_1,
    y_proba_2,
    *,
    n_resamples=1000,
    confidence_level=0.95,
    alternative="two-sided",
    labels=None,
    sample_weight=None,
    random_state=None,
):
    """Test whether two calibrators differ in a metric on the same samples, resampled together.

    Calibration errors are debiased first, as in :func:`bootstrap_interval`: of two calibrated classifiers the one with
    more noise would else look worse. Proper scores tell more: prefer them.

    Parameters
    ----------
    metric : callable
        As for :func:`bootstrap_interval`.
    y_true : array-like of shape (n_samples,)
        Class labels, or column indices.
    y_proba_1, y_proba_2 : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities of the two calibrators for the same samples.
    n_resamples : int, default=1000
        Number of replicates.
    confidence_level : float, default=0.95
        Of the interval of the difference, between 0 and 1.
    alternative : {"two-sided", "less", "greater"}, default="two-sided"
        Whether the first's metric is expected to be another than, less or greater than the second's.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, for metrics of this package.
    random_state : int, RandomState instance or None, default=None
        Seed of the resampling.

    Returns
    -------
    PairedTest
        Named tuple of `difference`, `low`, `high` and `pvalue`. The p-value is at least 1 / (n_resamples + 1).

    Raises
    ------
    ValueError, TypeError
        As :func:`bootstrap_interval`; if the two haven't as many samples, or `alternative` is unknown.

    References
    ----------
    B. Efron and R. J. Tibshirani, "An Introduction to the Bootstrap", Chapman & Hall 1993, chapter 16.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp.metrics import negative_log_likelihood, paired_bootstrap_test
    >>> random = np.random.default_rng(0)
    >>> good = random.uniform(size=2000)
    >>> y_true = random.uniform(size=2000) < good
    >>> bad = good**3 / (good**3 + (1 - good) ** 3)
    >>> test = paired_bootstrap_test(negative_log_likelihood, y_true, good, bad, random_state=0)
    >>> test.difference < 0, test.pvalue < 0.01
    (True, True)
    """
    _check_parameters(metric, n_resamples, confidence_level, sample_weight)
    check_choice(alternative, "alternative", _ALTERNATIVES)
    (proba, first), (other, second) = (
        _form(metric, y_true, y_proba, labels, sample_weight) for y_proba in (y_proba_1, y_proba_2)
    )
    check_same_length(np.empty(other.n_samples), proba.n_samples, "y_proba_2")
    sums = _replicates([first, second], proba, n_resamples, random_state)
    (value_1, replicates_1), (value_2, replicates_2) = (
        _debiased(first, sums[0], proba),
        _debiased(second, sums[1], other),
    )
    difference, noise = value_1 - value_2, replicates_1 - replicates_2
    noise -= noise.mean()
    tail = (1 - confidence_level) / 2
    low, high = difference - np.quantile(noise, [1 - tail, tail])
    return PairedTest(float(difference), float(low), float(high), _pvalue(difference, noise, alternative))


def _form(metric, y_true, y_proba, labels, sample_weight):
    """Probabilities, and the metric in a form that takes weights."""
    proba = as_probabilities(y_proba, sample_weight)
    y_encoded = proba.encode(y_true, labels)
    function, options = (metric.func, metric.keywords) if isinstance(metric, partial) else (metric, {})
    form = resampled(function, options, y_encoded, proba)
    return proba, AnyMetric(metric, proba, y_encoded, to_numpy(y_proba), is_ours(metric)) if form is None else form


def _replicates(forms, proba, n_resamples, random_state):
    """Sums of each form under the same resamples of the samples: a tuple of arrays for each."""
    blocks = [
        [form.sums(weights) for form in forms]
        for weights in resampling_weights(proba, n_resamples, check_random_state(random_state))
    ]
    return [tuple(map(np.concatenate, zip(*own, strict=True))) for own in zip(*blocks, strict=True)]


def resampling_weights(proba, n_resamples, random_state, block_size=_BLOCK_SIZE):
    """Yield blocks of weights, shape (n_replicates, n_samples): how often a sample is drawn, times its own weight.

    Samples without weight are none, and aren't drawn.
    """
    generator = np.random.default_rng(random_state.randint(2**31 - 1))
    kept = slice(None) if proba.weight is None else proba.weight > 0
    n, step = len(np.arange(proba.n_samples)[kept]), max(1, block_size // proba.n_samples)
    for start in range(0, n_resamples, step):
        weights = np.zeros((min(step, n_resamples - start), proba.n_samples))
        for row in weights:
            row[kept] = np.bincount(generator.integers(n, size=n), minlength=n)
        yield weights if proba.weight is None else weights * proba.weight


def _may_be_noise(metric, form, value, proba, tail, random_state):
    """Whether calibrated probabilities like these show as large an error more often than `tail`, by drawing labels.

    Of a calibrated sample fewer than `_N_LARGER` do with the probability `tail` at most, however small the sample is;
    residuals resampled in bins of few samples vary too little.
    """
    n_draws = math.ceil(_N_LARGER / tail) - 1
    step = max(1, _BLOCK_SIZE // proba.n_samples)
    if by_hits := hasattr(form, "of_drawn"):
        generator = np.random.default_rng(random_state.randint(2**31 - 1))
        weight = np.ones((1, proba.n_samples)) if proba.weight is None else proba.weight[None]
        value = getattr(form, "estimate", value)
    n_drawn = n_larger = 0
    while n_drawn < n_draws:
        size = min(step, n_draws - n_drawn if n_drawn else min(_N_FIRST, n_draws))
        n_drawn += size
        if by_hits:
            drawn = form.of_drawn(weight, generator, size)
        else:
            drawn = values_of(metric, proba, draw_labels(proba, size, random_state))
        n_larger += np.sum(np.asarray(drawn) >= value * (1 - 1e-12))
        # Further draws only add to them.
        if n_larger >= _N_LARGER:
            return True
    return False


def _value(form, proba):
    """The metric of the sample itself."""
    if hasattr(form, "value"):
        return form.value
    weight = np.ones(proba.n_samples) if proba.weight is None else proba.weight
    return float(form.values(form.sums(weight[None]))[0])


def _debiased(form, sums, proba):
    """Debiased value, and what it would be in replicates of a sample whose true error it is."""
    if hasattr(form, "at_scale"):
        scale = _last_above(partial(_chance, form, sums), 0.5)
        medians, errors = _median_curve(form, sums, scale)
        return form.at_scale(scale), np.interp(form.values(sums, scale), medians, errors)
    value, replicates = _value(form, proba), form.values(sums)
    return 2 * value - replicates.mean() if form.is_error else value, replicates


def _median_curve(form, sums, scale):
    """Medians of the values found, ascending, and the true errors that they belong to."""
    largest, target = max(1.0, 2 * scale), form.values(sums, scale).max()
    while np.median(form.values(sums, largest)) < target and largest < _LARGEST_SCALE:
        largest *= 2
    scales = largest * _PARTS
    medians = [np.median(form.values(sums, scale)) for scale in scales]
    return np.maximum.accumulate(medians), [form.at_scale(scale) for scale in scales]


def _invert(form, sums, tail):
    """Median-unbiased value and interval: true errors under which a value up to the one found isn't too rare."""
    chance = partial(_chance, form, sums)
    low, middle = (form.at_scale(_last_above(chance, level)) for level in (1 - tail, 0.5))
    upper = form.with_plain_shape() if hasattr(form, "with_plain_shape") else form
    at_zero = chance(0.0)
    high = form.value if at_zero == 0 else upper.at_scale(_last_above(partial(_chance, upper, sums), tail * at_zero))
    return middle, min(low, high), high


def _chance(form, sums, scale):
    """Share of the replicates up to the value found, where the sample's true error were its own times a scale."""
    # Some replicates look at a coarser grid than the metric itself.
    found = getattr(form, "estimate", form.value)
    return np.mean(form.values(sums, scale) <= found * (1 + 1e-12))


def _last_above(chance, level):
    """The scale up to which the chance exceeds a level; 0 where it never does."""
    if chance(0.0) <= level:
        return 0.0
    low, high = 0.0, 1.0
    while chance(high) > level and high < _LARGEST_SCALE:
        low, high = high, 2 * high
    for _ in range(_N_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if chance(middle) > level else (low, middle)
    return (low + high) / 2


def _quantile_interval(value, replicates, tail, method, is_error):
    low, high = np.quantile(replicates, [tail, 1 - tail])
    if method == "percentile":
        return value, float(low), float(high)
    least = 0.0 if is_error else -np.inf
    mirrored = 2 * value - np.array([replicates.mean(), high, low])
    return tuple(np.maximum(mirrored, least).tolist())


def _pvalue(difference, noise, alternative):
    if alternative == "two-sided":
        extreme = np.abs(noise) >= abs(difference)
    else:
        extreme = noise >= difference if alternative == "greater" else noise <= difference
    return float((1 + extreme.sum()) / (1 + len(noise)))


def _check_parameters(metric, n_resamples, confidence_level, sample_weight):
    if not callable(metric):
        raise TypeError(f"metric must be a callable metric(y_true, y_proba); got {metric!r}")
    if sample_weight is not None and not is_ours(metric):
        raise TypeError(f"sample_weight must be None for a metric of another package; got weights for {metric!r}")
    check_whole_number(n_resamples, "n_resamples", low=2)
    check_number(confidence_level, "confidence_level", 0, 1, closed="neither")
