"""Scores of a comparison's calibrators, and which of them tie with the best."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_random_state

from .._judging.paired import of_groups, ranged_p_values
from .._report.answers import answers_of, answers_of_labels
from .._report.cells import cells_of, counts_with
from .._utils.warnings import silenced
from ..metrics import (
    adaptive_expected_calibration_error,
    area_under_risk_coverage,
    bootstrap_interval,
    classwise_calibration_error,
    expected_calibration_error,
)
from ..metrics._binning import Probabilities
from ..metrics._noise_floor import draw_labels
from ..metrics._proper_scores import brier_losses, log_losses

# Answers of single rows.
_OF_ROWS = ("wrong", "sampled")
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
    brier: float
    ece: float
    ece_low: float
    ece_high: float
    ece_floor: float
    ece_floor_quantile: float
    aece: float
    sce: float
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

    `uncalibrated` are the probabilities of the estimator itself.

    Attributes
    ----------
    events : list of str
        Names of what has cells of its own beside the most probable class.
    event : int
        Which of them the calibration errors are of; -1 is the most probable class.
    judging : slice or ndarray of shape (n_samples,), bool
        Which samples have losses.
    n_places : int
        Of each sample, where there are rows of them; else 0.
    """

    are_labels, n_places = False, 0
    judging: Any = slice(None)

    def __init__(self, y_encoded, classes, uncalibrated, *, n_bins, n_resamples, n_draws, random_state):
        self.y_encoded, self.classes, self.n_bins = y_encoded, classes, n_bins
        self.n_draws, self.counts = n_draws, counts_with(n_bins)
        self.seed = check_random_state(random_state).randint(2**31 - 1)
        self.interval = partial(bootstrap_interval, n_resamples=n_resamples, random_state=self.seed)
        if self.judging is not None and np.size(self.judging) > 1 and np.sum(self.judging) < 2:
            raise ValueError("y_test must know something of at least 2 samples; got one")
        proba = self._rows(uncalibrated)
        self._hits_before = proba.top_label[1] == y_encoded
        self.columns = self._most_telling(proba)[:_MAX_CLASSES_BINNED]
        # Of two classes the most probable one hides much.
        self.events, self.event = [str(classes[k]) for k in self.columns], 1 if len(classes) == 2 else -1

    # The labels are column indices, whichever of them the test set misses.
    @silenced()
    def __call__(self, fit_time, y_proba, predict_time):
        """Scores by name, the loss of each sample, and of a page the cells and the answers."""
        proba, y_encoded, n_bins = self._rows(y_proba), self.y_encoded, self.n_bins
        event = proba.of_event()
        interval = self.interval(partial(expected_calibration_error, n_bins=n_bins), y_encoded, event)
        area = self.interval(area_under_risk_coverage, y_encoded, proba)
        of_rows = log_losses(proba, y_encoded)
        losses = self._of_samples(of_rows)
        confidence, prediction = proba.top_label
        hits = prediction == y_encoded
        cells = self._cells(proba)
        floor, floor_quantile = cells[self.event + 1].floors[0, self.counts.index(n_bins)]
        judged = slice(None) if proba.weight is None else proba.weight > 0
        both = 0 < hits[judged].sum() < len(hits[judged])
        gains = self._of_samples(hits.astype(float) - self._hits_before)
        scores = {
            "accuracy": float(self._of_samples(hits).mean()),
            "nll": float(losses.mean()),
            "nll_se": _standard_error(losses),
            "brier": float(self._of_samples(brier_losses(proba, y_encoded)).mean()),
            "ece": interval.value,
            "ece_low": interval.low,
            "ece_high": interval.high,
            "ece_floor": float(floor),
            "ece_floor_quantile": float(floor_quantile),
            "aece": adaptive_expected_calibration_error(y_encoded, event, n_bins=n_bins),
            "sce": self._classwise(proba),
            "auroc": float(roc_auc_score(hits[judged], confidence[judged])) if both else float("nan"),
            "aurc": area.value,
            "aurc_low": area.low,
            "aurc_high": area.high,
            "fit_time": fit_time,
            "predict_time": predict_time,
        }
        told = {"accuracy_gain": float(gains.mean()), "accuracy_gain_se": _standard_error(gains)}
        return scores, losses, cells, {**told, **self._answers(proba, of_rows)}

    def _rows(self, y_proba):
        """Hook: the probabilities that are judged."""
        return Probabilities(y_proba)

    def _most_telling(self, uncalibrated):
        """Hook: the columns that a page shows if it hasn't room for more, in its order."""
        counts = np.bincount(self.y_encoded, minlength=len(self.classes))
        return np.sort(np.argsort(-counts, kind="stable")[:_MAX_CLASSES_BINNED])

    def _of_samples(self, values):
        """Hook: values of rows as those of samples that are independent."""
        return values

    def _classwise(self, proba):
        """Hook: the mean over columns of the error of each one's probability."""
        return classwise_calibration_error(self.y_encoded, proba, n_bins=self.n_bins)

    def _answers(self, proba, losses):
        """Hook: the answers; `losses` are those of the rows."""
        confidence, prediction = proba.top_label
        return answers_of(confidence, prediction, self.y_encoded, self.classes)

    def _cells(self, proba):
        """Cells of the most probable class and of each of the classes that have some."""
        confidence, prediction = proba.top_label
        draws = draw_labels(proba, self.n_draws, check_random_state(self.seed))
        of_event = partial(cells_of, counts=self.counts, dtype=proba.dtype)
        return [
            of_event(confidence, prediction == self.y_encoded, draws == prediction, is_top=True),
            *(
                of_event(column, self.y_encoded == k, draws == k, is_top=False)
                for k, column in zip(self.columns, proba.columns(self.columns), strict=True)
            ),
        ]


class LabelScoring(Scoring):
    """The same of several labels a sample that don't exclude each other: each is a row of two classes.

    Samples are resampled whole, and judge by the mean over their labels. `labels`, of shape (n_samples, n_labels), are
    0, 1, or -1 where it isn't known, which counts nowhere.
    """

    are_labels = True

    def __init__(self, labels, classes, uncalibrated, **options):
        self._labels, self._known, self.judging = labels, labels >= 0, (labels >= 0).any(1)
        super().__init__(labels.clip(0).ravel(), classes, uncalibrated, **options)
        self.events, self.event = ["all labels", *self.events], 0

    def _rows(self, y_proba):
        p = np.asarray(y_proba, np.float64)
        weight = None if self._known.all() else self._known.ravel().astype(np.float64)
        proba = Probabilities(np.stack([1 - p, p], -1).reshape(-1, 2), weight, rows_a_sample=p.shape[1])
        # As predictions have it, 1 where both are as probable.
        proba.top_label = proba.top_label[0], (p >= 0.5).ravel().astype(np.int64)
        return proba

    def _most_telling(self, uncalibrated):
        return np.argsort(-self._means(log_losses(uncalibrated, self.y_encoded)), kind="stable")

    def _means(self, values):
        """Mean of each label."""
        return np.where(self._known, values.reshape(self._known.shape), 0).sum(0) / self._known.sum(0)

    def _of_samples(self, values):
        # What a sample adds to the mean over labels, of which each may be known of other samples.
        means = self._means(values)
        parts = np.where(self._known, values.reshape(self._known.shape) - means, 0) / self._known.mean(0)
        return means.mean() + (parts.mean(1) * self.judging.mean())[self.judging]

    def _classwise(self, proba):
        by_label = zip(self._known.T, self._labels.T, self._columns(proba).T, strict=True)
        error = partial(expected_calibration_error, n_bins=self.n_bins, labels=[0, 1])
        return float(np.mean([error(y[known], p[known]) for known, y, p in by_label]))

    def _columns(self, proba):
        """Probabilities of the labels, a column of each."""
        return proba.columns([1]).reshape(self._known.shape)

    def _answers(self, proba, losses):
        return answers_of_labels(self._columns(proba), self._labels, losses.reshape(self._known.shape), self.classes)

    def _cells(self, proba):
        known, p = self._known.ravel(), self._columns(proba)
        confidence, prediction = proba.top_label
        units = np.repeat(np.arange(len(p)), p.shape[1])[known]
        hits, of_event = prediction == self.y_encoded, partial(drawn_cells, scoring=self, dtype=proba.dtype)
        return [
            of_event(confidence[known], hits[known], is_top=True, units=units),
            of_event(p.ravel()[known], self.y_encoded[known] == 1, is_top=False, units=units),
            *(
                of_event(p[own, k], self._labels[own, k] == 1, is_top=False)
                for k, own in zip(self.columns, self._known.T[self.columns], strict=True)
            ),
        ]


class PlaceScoring(Scoring):
    """The same of a class at each place of a sample: each place is a row, and samples are resampled whole.

    All places count alike. `places`, of shape (n_samples, n_places), are column indices, or -1 where it isn't known.
    """

    def __init__(self, places, classes, uncalibrated, **options):
        self._known, self.judging = places >= 0, (places >= 0).any(1)
        self.n_places = places.shape[1]
        super().__init__(places.clip(0).ravel(), classes, uncalibrated, **options)

    def _rows(self, y_proba):
        weight = None if self._known.all() else self._known.ravel().astype(np.float64)
        rows = np.moveaxis(y_proba, 1, -1).reshape(-1, y_proba.shape[1])
        return Probabilities(rows, weight, rows_a_sample=self._known.shape[1])

    def _most_telling(self, uncalibrated):
        counts = np.bincount(self.y_encoded[self._known.ravel()], minlength=len(self.classes))
        return np.sort(np.argsort(-counts, kind="stable")[:_MAX_CLASSES_BINNED])

    def _of_samples(self, values):
        # What a sample adds to the mean over all places.
        values = values.reshape(self._known.shape)
        mean = values[self._known].mean()
        parts = np.where(self._known, values - mean, 0).sum(1)[self.judging]
        return mean + parts / self._known.sum(1)[self.judging].mean()

    def _answers(self, proba, losses):
        confidence, prediction = proba.top_label
        known, n_places = self._known.ravel(), self._known.shape[1]
        found = answers_of(confidence[known], prediction[known], self.y_encoded[known], self.classes)
        images = np.flatnonzero(known) // n_places
        told = {name: [{**each, "row": int(images[each["row"]])} for each in found[name]] for name in _OF_ROWS}
        return {**found, **told}

    def _cells(self, proba):
        known = self._known.ravel()
        units = np.repeat(np.arange(len(self._known)), self._known.shape[1])[known]
        confidence, prediction = proba.top_label
        hits = prediction == self.y_encoded
        events = zip(proba.columns(self.columns), self.y_encoded == self.columns[:, None], strict=True)
        return [
            drawn_cells(p[known], came_true[known], self, proba.dtype, is_top=not place, units=units)
            for place, (p, came_true) in enumerate([(confidence, hits), *events])
        ]


def drawn_cells(probability, came_true, scoring, dtype, **options):
    """Cells of an event, its floors by one draw after another: of all rows they would be large together."""
    random = np.random.default_rng(scoring.seed)
    drawn = (random.random(len(probability)) < probability for _ in range(scoring.n_draws))
    return cells_of(probability, came_true, drawn, counts=scoring.counts, dtype=dtype, **options)


def _standard_error(values):
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def compare_losses(losses, alpha, copies=None):
    """Compare each calibrator's losses, a row, with the best one's: a dict of the comparison's fields for each.

    `alpha` is the chance of calling any calibrator worse that isn't. `copies` are labels that only copies share, which
    count as one sample of their total weight; None where all samples differ.
    """
    losses = np.asarray(losses)
    best = losses.mean(1).argmin()
    grouped = [of_groups(row, np.ones(len(row)), copies) for row in losses - losses[best]]
    columns = ranged_p_values(np.array([values for values, _ in grouped]), grouped[best][1], best)
    return [
        {"nll_difference": float(d), "nll_difference_se": float(e), "p_value": float(p), "tied": bool(p > alpha)}
        for d, e, p in zip(*columns, strict=True)
    ]
