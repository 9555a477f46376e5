"""Bootstrap intervals of metrics, and a paired test between two calibrators."""

from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from .._judging.recordings import MAX_SEEN, counted, stretch_of
from .._utils.arrays import to_numpy
from .._utils.labels import check_same_length
from .._utils.parallel import N_JOBS, in_parallel
from .._utils.parameters import check_choice, check_number, check_parameters, check_whole_number
from .._utils.warnings import note, silenced
from ..exceptions import CalibrationSetWarning
from ._binning import Probabilities
from ._inversion import DrawnErrors, can_draw, draws_for
from ._metric import against_rest, check_metric, facts_of, options_of, rows_of_classes, split_rows
from ._noise_floor import draw_labels
from ._resampling import AnyMetric, ErrorOfPairs, MeanScore, resampling_counts

# Where the curve of medians is computed.
_SCALES = np.append(0, np.geomspace(1 / 64, 64, 48))


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
    >>> interval = bootstrap_interval(brier_score, [0, 1, 1, 0] * 3, [0.2, 0.9, 0.6, 0.4] * 3, random_state=0)
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
    >>> y_true, y_proba = [0, 1, 1, 0] * 3, [0.2, 0.9, 0.6, 0.4] * 3
    >>> test = paired_bootstrap_test(brier_score, y_true, y_proba, [0.5] * 12, random_state=0)
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
    pos_label=None,
    sample_weight=None,
    groups=None,
    random_state=None,
    n_jobs=None,
):
    """Confidence interval of a metric by the bootstrap, with the bias of calibration errors taken into account.

    Noise makes a calibration error larger, and resampling adds noise once more: percentiles of the replicates lie too
    high, and for a calibrated classifier far from 0. The debiased interval inverts a test instead: it holds the true
    errors under which the value found would be neither too small nor too large, given that the true residuals are the
    sample's times some factor and that the noise is the replicates'. Of few samples, labels are drawn instead.

    A proper score is a mean without bias, but with a long tail where mistakes are few: percentiles then end too low.
    Its interval is that of the bootstrap-t: a replicate's error counts in units of its own standard error.

    Parameters
    ----------
    metric : callable
        ``metric(y_true, y_proba) -> float``, given column indices for `y_true`. Fix its options with
        ``functools.partial``. Binned and classwise errors, KS and smooth errors (top-label), the integrated calibration
        index, errors within groups, the proper scores and the expected cost of this package are resampled through sums
        over the samples. Its others are computed anew for each replicate, and other packages' metrics on copies of the
        rows.
    y_true : array-like of shape (n_samples,), (n_samples, n_labels) or (n_samples, ...)
        Class labels, or column indices; several labels a sample, or a class at each place of it, as the metric takes
        them.
    y_proba : array-like or tensor of shape (n_samples, n_classes) or (n_samples,)
        Probabilities whose rows sum to 1; of one dimension, those of the second of two classes.
    n_resamples : int, default=1000
        Number of replicates. Ends that come from labels drawn, of few samples, don't depend on it: they take 199 draws
        at 95 %, and more of fewer than 400 samples.
    confidence_level : float, default=0.95
        Probability that the interval covers the true value, between 0 and 1.
    method : {"debiased", "percentile", "basic"}, default="debiased"
        "percentile" takes quantiles of the replicates, "basic" mirrors them at the value. For proper scores and the
        expected cost "debiased" is the bootstrap-t. The area under the risk-coverage curve, slope, intercept and net
        benefit have next to no bias: for them "debiased" is "percentile", as it is for other packages' metrics. For
        errors that aren't resampled through sums it is "basic", which takes off part of the bias only. A debiased
        calibration error has the interval of the plain one, whose truth is the same.
    labels : array-like of shape (n_classes,), default=None
        Labels of the columns; see :func:`expected_calibration_error`.
    pos_label : int, float, bool or str, default=None
        Class whose probability is looked at, against all others; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, for metrics of this package.
    groups : array-like of shape (n_samples,), default=None
        What each sample belongs to, such as a patient: names or numbers, two at least. Samples of a group, which may
        depend on each other, are resampled together. None is each by itself but, where the order of the samples looks
        like a recording, stretches of it. ``np.arange(n_samples)`` is each by itself in any order.
    random_state : int, RandomState instance or None, default=None
        Seed of the resampling.
    n_jobs : int, default=None
        Number of replicates, or of blocks of them where they are resampled through sums, to compute at a time, in
        threads. None means 1 unless in a `joblib.parallel_config` of threads, -1 all processors.

    Returns
    -------
    BootstrapInterval
        Named tuple of `value`, `debiased`, `low`, `high` and `standard_error`, which is NaN where a replicate has no
        value.

    Raises
    ------
    ValueError
        If `y_true`, `y_proba` or `sample_weight` are bad, as for :func:`expected_calibration_error`; if `n_resamples`
        is less than 2, `confidence_level` not between 0 and 1 or `method` unknown.
    TypeError
        If `metric` isn't callable, `n_resamples` isn't a whole number, or `sample_weight` is given for a metric of
        another package.

    Warns
    -----
    CalibrationSetWarning
        If the order of the samples looks like a recording, such as frames of a drive.

    Notes
    -----
    Several labels a sample, and the places of a sample, such as the pixels of an image, aren't independent: samples are
    resampled whole, and the interval is no narrower for more pixels that say the same. With ``average="samples"`` the
    metric is a mean over samples, and its interval that of the bootstrap-t.

    Residuals of few samples vary too little in replicates, and not at all where hardly an event came true. So the ends
    of binned, classwise and KS errors, of the integrated calibration index and of the errors within groups, of about
    500 samples or fewer (1,000 with few bins) come from labels drawn from probabilities that may be the true ones:
    those told, moved by the gaps of the bins times a factor, or by a slope or an offset of the log-odds. Of a classwise
    error, over their sum. Noise adds most to errors that few bins make. The lower end, of replicates too, allows for
    gaps that are noise up to two standard errors. Rows of a group, labels and places of a sample are drawn together
    where all of each agree whether they came true, as copies do. Others keep their replicates.

    Bins of equal mass, a smooth error's bandwidth, the index's neighbours and the standard deviations of groups stay
    those of the sample. The lower end of a debiased interval is 0 where calibrated probabilities would show as large an
    error more often than in half of 1 - `confidence_level`, by labels drawn as for :func:`calibration_noise_floor`,
    with the same `groups`: in bins of few samples the replicates vary too little to tell. Where the lower end would be
    above 0 that takes 199 draws (at 95 %) or more. None are drawn where it is 0 anyway, for means of losses and for
    other methods. Above 99.9 % ends from draws are about those of 99.9 %.

    The upper end of an error's interval bounds the chance of a value as small as the one found relative to that chance
    for a calibrated classifier (CLs): a sample that happens to show less error than mere noise doesn't pass for certain
    proof of calibration.

    In a replicate with hardly a mistake the bootstrap-t takes no less than a quarter of the sample's standard error. Of
    units of several rows, such as groups and images, its interval is no narrower than Student's. Nor does the upper end
    of their calibration errors, of a KS error or of a multicalibration error lie below Student's.

    Of two classes of which one has fewer than five samples, or groups with some, a warning says so, and the upper end
    of a proper score allows for as many more as the exact binomial interval does. Each costs what those that came do,
    and those that the probabilities expect.

    A replicate without a value, such as the slope of events that log-odds tell apart, may have any: it counts as beyond
    both ends. Where more than half of 1 - `confidence_level` of them have none, the ends are infinite.

    References
    ----------
    J. Carpenter, "Test inversion bootstrap confidence intervals", Journal of the Royal Statistical Society B 61, 1999.
    A. L. Read, "Presentation of search results: the CLs technique", Journal of Physics G 28, 2002 (the upper end).
    P. Hall, "Theoretical comparison of bootstrap confidence intervals", Annals of Statistics 16, 1988 (bootstrap-t).

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
    check_choice(method, "method", ("debiased", "percentile", "basic"))
    check_parameters({"n_jobs": N_JOBS}, {"n_jobs": n_jobs}, "bootstrap_interval")
    _check_parameters(metric, n_resamples, confidence_level, sample_weight)
    random_state = check_random_state(random_state)
    sample = _sample_of(metric, y_true, y_proba, labels, pos_label, sample_weight, groups)
    form, is_error = sample.form, sample.is_error
    forms = sample.forms if method == "debiased" else [form]
    sums = _replicates(forms, sample.proba, n_resamples, random_state, n_jobs)
    replicates = form.values(sums[0])
    inverted = forms[-1]
    tail = (1 - confidence_level) / 2
    if method == "debiased" and not isinstance(inverted, AnyMetric):
        debiased, low, high = inverted.interval(sums[-1], tail)
    else:
        debiased, unknown = form.value, np.isnan(replicates)
        low = np.quantile(np.where(unknown, -np.inf, replicates), tail, method="lower")
        high = np.quantile(np.where(unknown, np.inf, replicates), 1 - tail, method="higher")
        if method == "basic" or (method == "debiased" and is_error):
            mirrored = 2 * form.value - np.array([replicates.mean(), high, low])
            debiased, low, high = np.maximum(mirrored, 0.0 if is_error else -np.inf)
    if method == "debiased" and isinstance(inverted, ErrorOfPairs) and can_draw(inverted):
        low, high = DrawnErrors(inverted, tail, random_state).interval()
        low = min(low, debiased)
    elif method == "debiased" and is_error and low > 0 and _may_be_noise(sample, tail, random_state):
        low = 0.0
    if inverted is not form:
        # An error that is free of bias already.
        debiased = form.value
        low = min(low, debiased)
    return BootstrapInterval(form.value, float(debiased), float(low), float(high), float(replicates.std(ddof=1)))


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
    pos_label=None,
    sample_weight=None,
    groups=None,
    random_state=None,
):
    """Test whether two calibrators differ in a metric on the same samples, resampled together.

    Calibration errors are debiased first, as in :func:`bootstrap_interval`: of two calibrated classifiers the one with
    more noise would else look worse. Proper scores tell more: prefer them. Their differences have the bootstrap-t.

    Parameters
    ----------
    metric : callable
        As for :func:`bootstrap_interval`.
    y_true : array-like of shape (n_samples,), (n_samples, n_labels) or (n_samples, ...)
        Class labels, or column indices; several labels a sample, or a class at each place of it, as the metric takes
        them.
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
    pos_label : int, float, bool or str, default=None
        Class whose probability is looked at, against all others; see :func:`expected_calibration_error`.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the samples, for metrics of this package.
    groups : array-like of shape (n_samples,), default=None
        What each sample belongs to, such as a patient: names or numbers, two at least. Samples of a group, which may
        depend on each other, are resampled together. None is each by itself but, where the order of the samples looks
        like a recording, stretches of it; ``np.arange(n_samples)`` is each by itself in any order.
    random_state : int, RandomState instance or None, default=None
        Seed of the resampling.

    Returns
    -------
    PairedTest
        Named tuple of `difference`, `low`, `high` and `pvalue`. The p-value is at least 1 / (n_resamples + 1). Where
        all events came true, or none did, nothing tells how far binned, KS and smooth errors (top-label) differ: the
        p-value is 1, and the interval ends at -1 and 1. Where a replicate has no value, such as the slope of events
        that log-odds tell apart, the p-value is 1, and the ends are NaN.

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
    check_choice(alternative, "alternative", ("two-sided", "less", "greater"))
    _check_parameters(metric, n_resamples, confidence_level, sample_weight)
    about = labels, pos_label, sample_weight, groups
    first = _sample_of(metric, y_true, y_proba_1, *about)
    # What is odd about the labels, or their order, was told.
    with silenced():
        second = _sample_of(metric, y_true, y_proba_2, *about[:-1], first.units)
    check_same_length(np.empty(second.proba.n_samples), first.proba.n_samples, "y_proba_2", "y_proba_1")
    random_state = check_random_state(random_state)
    if isinstance(first.form, MeanScore):
        scores = first.form - second.form
        (sums,) = _replicates([scores], first.proba, n_resamples, random_state)
        difference = scores.value
        noise = scores.noise(sums)
    else:
        sums = _replicates([first.form, second.form], first.proba, n_resamples, random_state)
        (value_1, replicates_1), (value_2, replicates_2) = map(_debiased, (first, second), sums)
        difference = value_1 - value_2
        noise = replicates_1 - replicates_2
        noise -= noise.mean()
    # Where all events came true, or none, replicates vary by the confidences alone.
    differ = isinstance(first.form, ErrorOfPairs) and (difference or noise.any())
    if differ and {0, 1}.difference(first.form.pairs.hits, second.form.pairs.hits):
        return PairedTest(difference, -1.0, 1.0, 1.0)
    tail = (1 - confidence_level) / 2
    low, high = difference - np.quantile(noise, [1 - tail, tail])
    # Differences that aren't known may be as extreme.
    nearer = {
        "two-sided": np.abs(noise) < abs(difference),
        "less": noise > difference,
        "greater": noise < difference,
    }
    pvalue = 1 - nearer[alternative].sum() / (1 + n_resamples)
    return PairedTest(float(difference), float(low), float(high), float(pvalue))


def _check_parameters(metric, n_resamples, confidence_level, sample_weight):
    check_metric(metric, sample_weight)
    check_whole_number(n_resamples, "n_resamples", low=2)
    check_number(confidence_level, "confidence_level", closed="neither")


class _Sample(NamedTuple):
    """A metric of one sample, and the form in which it takes resamples."""

    metric: Callable
    proba: Probabilities
    form: Any
    is_error: bool
    plain: Any = None

    @property
    def forms(self):
        """The form, and last that whose interval is taken."""
        return [self.form] if self.plain is None else [self.form, self.plain]

    @property
    def units(self):
        """Numbers of what samples are resampled with; None of a single one, which is no group."""
        unit = self.proba.unit[:: self.proba.rows_a_sample]
        return unit if len(unit) > 1 else None


def _sample_of(metric, y_true, y_proba, labels, pos_label, sample_weight, groups):
    facts = facts_of(metric)
    options = {} if facts is None else options_of(metric)
    pos_label = options.get("pos_label") if pos_label is None else pos_label
    y_true, y_proba, labels = against_rest(y_true, y_proba, labels, pos_label)
    if facts is None:
        rows = rows_of_classes(y_true, y_proba, labels)
    else:
        rows = split_rows(y_true, y_proba, labels, sample_weight, options["ignore_index"])
    y_encoded = rows.y_encoded
    # Who gives `Probabilities` has told their units.
    if groups is None and not isinstance(y_proba, Probabilities):
        groups = _stretches(rows)
    proba = rows.proba.in_units(groups)
    average = options.get("average")
    if rows.kind == "places" and average == "samples":
        # A mean over samples, without bias whatever their values are.
        each = rows.each(partial(metric, average="macro"))
        value = rows.mean_of(each)
        unit = proba.unit[:: proba.rows_a_sample]
        mean = MeanScore(value, np.nan_to_num(each - value), rows.weights_of(each), unit)
        return _Sample(metric, proba, mean, is_error=False)
    if not rows.are_together(average):
        raise ValueError(
            "metric must have average='micro' fixed by functools.partial where y_true has several labels a "
            "sample: their events are resampled by the sample"
            if rows.kind == "labels"
            else f"metric must have one value, of all places or the mean over samples; got average={average!r}"
        )
    given: Any = to_numpy(y_proba) if facts is None else proba
    value = float(metric(y_encoded, given))

    def of_weight(weight):
        # What is odd about the labels of a resample is chance.
        with silenced():
            if facts is not None:
                return metric(y_encoded, proba.reweighted(weight))
            rows = np.repeat(np.arange(len(weight)), weight.astype(np.int64))
            return metric(y_encoded[rows], given[rows])

    form = None
    if facts is not None and facts.resampled is not None:
        form = facts.resampled(value, y_encoded, proba, **options)
    form = AnyMetric(value, of_weight, proba) if form is None else form
    plain = None if facts is None or facts.plain is None else facts.plain(value, y_encoded, proba, **options)
    return _Sample(metric, proba, form, facts is not None and facts.is_error, plain)


def _stretches(rows):
    """Numbers that samples share which are of one stretch, where their order looks like a recording; else None."""
    proba = rows.proba
    size = proba.rows_a_sample
    kept = proba.masses.reshape(-1, size).any(1)
    seen = np.flatnonzero(kept.repeat(size))[: MAX_SEEN * size]
    length = stretch_of(proba.values[seen], rows.y_encoded[seen], proba.masses[seen] > 0, size)
    if length == 0:
        return None
    length, told = counted(length, kept.sum(), "the rows", "groups")
    note(told, CalibrationSetWarning)
    # Samples without weight are of the stretch before them.
    return (kept.cumsum() - 1).clip(0) // length


def _replicates(forms, proba, n_resamples, random_state, n_jobs=None):
    """Sums of each form in the same replicates."""
    blocks = resampling_counts(proba, n_resamples, random_state)
    if type(forms[0]) is AnyMetric:
        # Each replicate takes a while.
        blocks = (counts[None] for block in blocks for counts in block)
    parts = in_parallel(lambda counts: [form.sums(counts) for form in forms], blocks, n_jobs)
    return [np.concatenate(sums) for sums in zip(*parts, strict=True)]


def _may_be_noise(sample, tail, random_state):
    """Return True where probabilities, if calibrated, show as large an error more often than `tail`, by drawing labels.

    Of a calibrated sample too few do with the probability `tail` at most, however small the sample is; residuals
    resampled in bins of few samples vary too little.
    """
    proba = sample.proba
    n_draws, n_larger = draws_for(tail)
    draws = draw_labels(proba, n_draws, random_state, alike=proba.n_units < proba.n_samples)
    # What is odd about the labels is chance.
    with silenced():
        larger = accumulate(int(sample.metric(labels, proba) >= sample.form.value * (1 - 1e-12)) for labels in draws)
        return any(count >= n_larger for count in larger)


def _debiased(sample, sums):
    """Debiased value, and what it would be in replicates of a sample whose true error it is."""
    form = sample.form
    if not isinstance(form, ErrorOfPairs):
        replicates = form.values(sums)
        return 2 * form.value - replicates.mean() if sample.is_error else form.value, replicates
    scale = form.last_scale(sums, 0.5)
    # What medians of the values found the true errors belong to.
    scales = max(1.0, scale) * _SCALES
    medians = np.maximum.accumulate([np.median(form.values(sums, other)) for other in scales])
    return form.value * scale, np.interp(form.values(sums, scale), medians, form.value * scales)
