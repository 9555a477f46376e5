"""Scores of a comparison's calibrators, and which of them tie with the best."""

from dataclasses import dataclass
from functools import partial

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.utils import check_random_state

from .._judging.paired import of_groups, ranged_p_values
from .._report.answers import answers_of
from .._report.cells import cells_of, counts_with
from .._utils.warnings import silenced
from ..metrics import (
    adaptive_expected_calibration_error,
    area_under_risk_coverage,
    bootstrap_interval,
    brier_score,
    classwise_calibration_error,
    expected_calibration_error,
)
from ..metrics._binning import Probabilities
from ..metrics._noise_floor import draw_labels
from ..metrics._proper_scores import log_losses

# Classes with bins of their own, the most frequent ones: what a page has room for.
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
        class. All but the NLL are parts of 1, not percentages.
    nll_se : float
        Standard error of the NLL.
    auroc : float
        Area under the ROC curve of the confidence as a sign of right answers: how often a right one is surer than a
        wrong one. NaN if there is only one kind.
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

    `uncalibrated` are the classes that the estimator itself predicts.
    """

    def __init__(self, y_encoded, classes, uncalibrated, *, n_bins, n_resamples, n_draws, random_state):
        self.y_encoded, self.classes, self.uncalibrated, self.n_bins = y_encoded, classes, uncalibrated, n_bins
        self.n_draws, self.counts = n_draws, counts_with(n_bins)
        self.seed = check_random_state(random_state).randint(2**31 - 1)
        self.interval = partial(bootstrap_interval, n_resamples=n_resamples, random_state=self.seed)
        counts = np.bincount(y_encoded, minlength=len(classes))
        self.columns = np.sort(np.argsort(-counts, kind="stable")[:_MAX_CLASSES_BINNED])

    # The labels are column indices, whichever of them the test set misses.
    @silenced()
    def __call__(self, fit_time, y_proba, predict_time):
        """Scores by name, the loss of each sample, and of a page the cells and the answers."""
        proba, y_encoded, n_bins = Probabilities(y_proba), self.y_encoded, self.n_bins
        # Of two classes the most probable one hides much.
        event = proba.of_event()
        interval = self.interval(partial(expected_calibration_error, n_bins=n_bins), y_encoded, event)
        area = self.interval(area_under_risk_coverage, y_encoded, proba)
        losses = log_losses(proba, y_encoded)
        confidence, prediction = proba.top_label
        hits = prediction == y_encoded
        cells = self._cells(proba)
        floor, floor_quantile = cells[2 if event.is_event else 0].floors[0, self.counts.index(n_bins)]
        scores = {
            "accuracy": float(hits.mean()),
            "nll": float(losses.mean()),
            "nll_se": float(losses.std(ddof=1) / np.sqrt(len(losses))),
            "brier": brier_score(y_encoded, proba),
            "ece": interval.value,
            "ece_low": interval.low,
            "ece_high": interval.high,
            "ece_floor": float(floor),
            "ece_floor_quantile": float(floor_quantile),
            "aece": adaptive_expected_calibration_error(y_encoded, event, n_bins=n_bins),
            "sce": classwise_calibration_error(y_encoded, proba, n_bins=n_bins),
            "auroc": float(roc_auc_score(hits, confidence)) if 0 < hits.sum() < len(hits) else float("nan"),
            "aurc": area.value,
            "aurc_low": area.low,
            "aurc_high": area.high,
            "fit_time": fit_time,
            "predict_time": predict_time,
        }
        return scores, losses, cells, answers_of(confidence, prediction, y_encoded, self.classes, self.uncalibrated)

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
