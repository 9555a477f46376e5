"""Scores of a comparison's calibrators, and which of them tie with the best."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from scipy.special import entr
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_random_state

from .._judging.paired import of_groups, ranged_p_values, student_below_zero
from .._report.answers import answers_of
from .._report.cells import COUNTS, cells_of
from .._utils.labels import names_in_order
from .._utils.warnings import silenced
from ..metrics import (
    adaptive_expected_calibration_error,
    area_under_risk_coverage,
    bootstrap_interval,
    calibration_intercept,
    calibration_slope,
    classwise_calibration_error,
    expected_calibration_error,
)
from ..metrics._binning import Probabilities
from ..metrics._metric import Rows
from ..metrics._noise_floor import draw_labels
from ..metrics._proper_scores import brier_losses, log_losses
from ._parts import error_of_part

# Classes with bins of their own, the most frequent ones, or the worst labels: what a page has room for.
_MAX_CLASSES_BINNED = 24


@dataclass(frozen=True)
class CalibratorScores:
    """One row of a comparison: what a calibrator reaches on the test set.

    Attributes
    ----------
    name : str
        Of the calibrator.
    accuracy, nll, brier, ece, aece, sce : float
        Accuracy; negative log-likelihood in nats; Brier score; expected calibration error, the adaptive one and the
        classwise one. Of two classes the first two are of the second one's probability, else of the most probable
        class. All but the NLL are parts of 1, not percentages. Of several labels a sample the first three are means
        over labels, of each the mean over the samples where it is known. `ece` and `aece` are of the probabilities of
        all labels together (``average="micro"``), and `sce` is the mean over labels of each one's own ECE.
    nll_se : float
        Standard error of the NLL.
    d2_log_loss, d2_brier : float
        Shares of the NLL, and of the Brier score, of the test set's class frequencies that the calibrator saves, as by
        scikit-learn's `d2_log_loss_score` and `d2_brier_score`: 1 at best, 0 for these frequencies. Of several labels a
        sample the mean over those that some samples have and others don't. NaN where all samples are of one class.
    slope, intercept : float
        Calibration slope and intercept of the second of two classes; of several labels a sample their means over
        labels; of more classes NaN.
    auroc : float
        Area under the ROC curve of the confidence as a sign of right answers: how often a right one is surer than a
        wrong one. NaN if there is only one kind. Of several labels a sample each label is an answer, here and in the
        AURC.
    aurc, aurc_low, aurc_high : float
        Area under the risk-coverage curve of the most probable class, and its bootstrap interval.
    ece_low, ece_high : float
        Bootstrap interval of the ECE.
    ece_floor, ece_floor_quantile : float
        Mean, and 95 % quantile, of the ECE of perfectly calibrated probabilities like these.
    nll_difference, nll_difference_se : float
        Mean of the paired differences to the best calibrator's NLL, and its standard error.
    p_value : float
        Of a difference of 0 by Tukey's range test, which allows for the best having been chosen among all.
    tied : bool
        Whether the calibrator is the best or can't be told from it.
    fit_time, predict_time : float
        Seconds. Those of output maps exclude the network, whose logits all of them share. `fit_time` is NaN for a
        calibrator that came fitted.
    """

    name: str
    accuracy: float
    nll: float
    nll_se: float
    d2_log_loss: float
    brier: float
    d2_brier: float
    ece: float
    ece_low: float
    ece_high: float
    ece_floor: float
    ece_floor_quantile: float
    aece: float
    sce: float
    slope: float
    intercept: float
    auroc: float
    aurc: float
    aurc_low: float
    aurc_high: float
    nll_difference: float
    nll_difference_se: float
    p_value: float
    tied: bool
    fit_time: float
    predict_time: float


class Scoring:
    """Scores probabilities of one test set; draws and resamples are the same for all of them.

    A sample is a row of probabilities or, where it has several labels that don't exclude each other, one of two classes
    for each, or one for each of its places. Its rows are resampled, compared and counted together, and count nowhere
    where they aren't known.

    Parameters
    ----------
    target : ndarray of shape (n_samples,), (n_samples, n_labels) or (n_samples, n_places)
        Column indices; of labels 0 or 1; -1 where it isn't known.
    outputs : OutputLayer
        Which of these they are.
    classes : ndarray of shape (n_classes,) or (n_labels,)
        Names of the columns.
    uncalibrated : array-like
        Probabilities of the estimator itself.
    unit : ndarray of shape (n_samples,), int
        A number for each sample, shared by those that depend on each other.
    parts : ndarray of shape (n_samples,) or None
        Name of the part that each sample comes from.
    n_bins, n_resamples, n_draws, random_state
        As for `compare_calibrators`.

    Attributes
    ----------
    events : list of str
        Names of what has cells of its own beside the most probable class.
    event : int
        Which of them the calibration errors are of; -1 is the most probable class.
    judging : ndarray of shape (n_samples,), bool
        Which samples have losses.
    units : ndarray of int
        Of these samples, the numbers that those share which depend on each other.
    n_places : int
        Of each sample, where there are rows of them; else 0.
    parts : list
        Names of the parts of which something is known.
    units_of_parts : list of ndarrays of int
        Of each of them the `units`.
    """

    def __init__(
        self, target, outputs, classes, uncalibrated, unit, parts, *, n_bins, n_resamples, n_draws, random_state
    ):
        self.classes = classes
        self.n_bins = n_bins
        self.n_draws = n_draws
        self.counts = sorted({*COUNTS, n_bins})
        self.seed = check_random_state(random_state).randint(2**31 - 1)
        self.interval = partial(bootstrap_interval, n_resamples=n_resamples, random_state=self.seed)
        target = target.reshape(len(target), -1)
        self._known = target >= 0
        self._y = target.clip(0).ravel()
        self._n_each = target.shape[1]
        self.n_places = self._n_each if outputs.is_dense else 0
        self._unit = unit
        self.are_labels = bool(outputs.n_labels)
        self.judging = self._known.any(1)
        self.units = unit[self.judging]
        if self.judging.sum() < 2:
            raise ValueError("y_test must know something of at least 2 samples; got one")
        # Rows that are known.
        self._rows = np.flatnonzero(self._known)
        self.parts = [] if parts is None else names_in_order(parts[self.judging])
        self._of_parts = [self.judging & np.equal(parts, name) for name in self.parts]
        self.units_of_parts = [unit[own] for own in self._of_parts]
        proba = self._probabilities(uncalibrated)
        self._hits_before = proba.prediction == self._y
        if self.are_labels:
            self.columns = (-self._means(log_losses(proba, self._y))).argsort(kind="stable")[:_MAX_CLASSES_BINNED]
            positives = self._means(self._y)
            frequencies = np.stack([1 - positives, positives], 1)
            self.event = 0
        else:
            counts = np.bincount(self._y[self._rows], minlength=len(classes))
            self.columns = np.sort((-counts).argsort(kind="stable")[:_MAX_CLASSES_BINNED])
            frequencies = counts[None] / len(self._rows)
            # Of two classes the most probable one hides much.
            self.event = 1 if len(classes) == 2 else -1
        self.events = ["all labels"] * self.are_labels + [str(classes[k]) for k in self.columns]
        # NLL and Brier score of these frequencies.
        largest = 1 if frequencies.shape[1] == 2 else 2
        self._of_frequencies = entr(frequencies).sum(1), (1 - (frequencies**2).sum(1)) * largest / 2

    # The labels are column indices, whichever of them the test set misses.
    @silenced()
    def __call__(self, fit_time, y_proba, predict_time):
        """Scores by name, the loss of each sample, the cells and answers of a page, and errors and losses by part."""
        proba = self._probabilities(y_proba)
        y = self._y
        n_bins = self.n_bins
        event = proba.of_event()
        ece = partial(expected_calibration_error, n_bins=n_bins)
        interval = self.interval(ece, y, event)
        sce = (
            self._of_labels(ece, y, event) if self.are_labels else classwise_calibration_error(y, proba, n_bins=n_bins)
        )
        of_event = (calibration_slope, calibration_intercept) if self.event >= 0 else ()
        slope, intercept = [self._of_labels(metric, y, event) for metric in of_event] or (float("nan"),) * 2
        area = self.interval(area_under_risk_coverage, y, proba)
        of_rows = log_losses(proba, y)
        distances = brier_losses(proba, y)
        d2_log_loss, d2_brier = map(self._gain, (of_rows, distances), self._of_frequencies)
        losses = self._of_samples(of_rows)
        nll, nll_se = self._mean(losses)
        hits = proba.prediction == y
        cells, errors = self._cells(proba)
        floor, floor_quantile = cells[self.event + 1].floors[self.counts.index(n_bins)]
        known_hits = hits[self._rows]
        gain, gain_se = self._mean(self._of_samples(hits.astype(float) - self._hits_before))
        scores = {
            "accuracy": float(self._of_samples(hits).mean()),
            "nll": nll,
            "nll_se": nll_se,
            "d2_log_loss": d2_log_loss,
            "brier": float(self._of_samples(distances).mean()),
            "d2_brier": d2_brier,
            "ece": interval.value,
            "ece_low": interval.low,
            "ece_high": interval.high,
            "ece_floor": float(floor),
            "ece_floor_quantile": float(floor_quantile),
            "aece": adaptive_expected_calibration_error(y, event, n_bins=n_bins),
            "sce": sce,
            "slope": slope,
            "intercept": intercept,
            "auroc": float(roc_auc_score(known_hits, proba.confidence[self._rows]))
            if 0 < known_hits.mean() < 1
            else float("nan"),
            "aurc": area.value,
            "aurc_low": area.low,
            "aurc_high": area.high,
            "fit_time": fit_time,
            "predict_time": predict_time,
        }
        shape = self._known.shape
        answers = answers_of(
            proba.confidence.reshape(shape),
            proba.prediction.reshape(shape),
            np.where(self._known, y.reshape(shape), -1),
            classes=self.classes,
            are_labels=self.are_labels,
        )
        answers |= {"accuracy_gain": gain, "accuracy_gain_se": gain_se}
        return scores, losses, cells, answers, (errors, [self._of_samples(of_rows, own) for own in self._of_parts])

    def _probabilities(self, y_proba):
        """Probabilities of all rows, those without weight that aren't known."""
        weight = None if self._known.all() else self._known.astype(float)
        if not self.are_labels:
            return Probabilities(y_proba, weight).in_units(self._unit)
        p = np.asarray(y_proba, float).reshape(-1, 1)
        weight = None if weight is None else weight.ravel()
        proba = Probabilities(np.hstack([1 - p, p]), weight, rows_a_sample=self._n_each).in_units(self._unit)
        # As predictions have it, 1 where both are as probable.
        proba.prediction = (p[:, 0] >= 0.5).astype(np.int64)
        return proba

    def _of_labels(self, metric, y, event):
        """A metric of an event, of several labels a sample the mean over labels."""
        return float(np.nanmean(Rows("labels", y, event).each(metric))) if self.are_labels else metric(y, event)

    def _means(self, values):
        """Mean over the rows of each label, or over all of them."""
        return values.reshape(self._known.shape).mean(0 if self.are_labels else None, where=self._known)

    def _gain(self, values, of_frequencies):
        """The share of the losses of the frequencies that these are less; of labels the mean."""
        varied = of_frequencies > 0
        gains = 1 - np.atleast_1d(self._means(values))[varied] / of_frequencies[varied]
        return float(gains.mean()) if varied.any() else float("nan")

    def _of_samples(self, values, own=slice(None)):
        """Values of rows as what each sample adds to their mean: over labels that of each one's rows, else over all.

        They are those of all samples, or of some that are all there is.
        """
        known = self._known[own]
        values = values.reshape(self._known.shape)[own]
        axis = None
        if self.are_labels:
            axis = 0
            some = known.any(0)
            known, values = known[:, some], values[:, some]
        means = values.mean(axis, where=known)
        # Each label may be known of other samples.
        parts = np.where(known, values - means, 0) / known.sum(axis)
        judging = known.any(1)
        return means.mean() + (parts.sum(1) * (judging.sum() / means.size))[judging]

    def _mean(self, values):
        """Mean of samples' values, and its standard error."""
        return student_below_zero(*of_groups(values, np.ones(len(values)), self.units))[:2]

    def _cells(self, proba):
        """Cells of the most probable class and of each of the events; and of each part what `error_of_part` returns."""
        if self.are_labels:
            (p,) = proba.columns([1])
            of_labels = [self._rows[self._rows % self._n_each == k] for k in self.columns]
            events = [(rows, p, 1) for rows in (self._rows, *of_labels)]
        else:
            events = [(self._rows, *own) for own in zip(proba.columns(self.columns), self.columns, strict=True)]
        own_bins = proba.equal_width_edges(self.n_bins)
        cells: list[Any] = []
        errors: list[Any] = []
        # Draws of all rows would be large together, where a sample has several.
        draws = draw_labels(proba, self.n_draws, check_random_state(self.seed)) if self._n_each == 1 else None
        for event, (rows, p, answer) in enumerate([(self._rows, proba.confidence, proba.prediction), *events], -1):
            hits = self._y == answer
            options = {"dtype": proba.dtype, "units": proba.unit[rows]}
            # A generator is gone through once.
            drawn = self._drawn(p[rows]) if draws is None else draws == answer
            cells.append(cells_of(p[rows], hits[rows], drawn, self.counts, **options))
            if event != self.event:
                continue
            for own in self._of_parts:
                rows = self._rows[own[self._rows // self._n_each]]
                part = self._drawn(p[rows]) if draws is None else drawn[:, rows]
                options = {"dtype": proba.dtype, "units": proba.unit[rows]}
                errors.append(error_of_part(p[rows], hits[rows], part, own_bins, **options))
        return cells, errors

    def _drawn(self, probability):
        """Draws of whether events come true, one after the other."""
        random = np.random.default_rng(self.seed)
        return (random.random(len(probability)) < probability for _ in range(self.n_draws))


def compare_losses(losses, alpha, units):
    """Compare each calibrator's losses, a row, with the best one's: a dict of the comparison's fields for each.

    `alpha` is the chance of calling any calibrator worse that isn't. Samples that share one of the `units` count as one
    of their total weight; None where all are independent.
    """
    losses = np.asarray(losses)
    best = losses.mean(1).argmin()
    grouped = [of_groups(row, np.ones(len(row)), units) for row in losses - losses[best]]
    columns = ranged_p_values(np.array([values for values, _ in grouped]), grouped[best][1], best)
    return [
        {"nll_difference": float(d), "nll_difference_se": float(e), "p_value": float(p), "tied": bool(p > alpha)}
        for d, e, p in zip(*columns, strict=True)
    ]
