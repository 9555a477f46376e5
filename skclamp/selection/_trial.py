"""Trial: candidates, the stack of them and the stack recalibrated, judged on samples that they haven't seen."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator

from .._solvers.weights import solve_weights
from .._utils.arrays import absent_again, absent_among, without
from .._utils.least_probability import LOG_MIN_PROBABILITY
from .._utils.metadata import of_rows
from .._utils.warnings import silenced
from ..base import BaseCalibrator

# Of the shrinkage towards equal weights in the stack, in nats: maps that are as good as each other share alike.
_STRENGTH = 10.0


class LabelledLogits(NamedTuple):
    """Logits (n, K), column indices (n,) and weights (n,)."""

    logits: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor

    def take(self, rows):
        """Some of them."""
        return LabelledLogits(*(values[rows.to(values.device)] for values in self))

    def fit(self, calibrator):
        """A clone of an output map, fitted to these."""
        columns = np.arange(self.logits.shape[1])
        fitted = clone(calibrator).set_params(response="logits", classes=columns)
        return fitted._learn(self.logits, self.y.cpu(), self.weight, checks=False)


class Trial:
    """Candidates, and their stack, on samples that they haven't seen.

    Parameters
    ----------
    maps : sequence of BaseCalibrator
        The candidates.
    samples : LabelledLogits
        What they are fitted to and judged on.
    numbers : ndarray of shape (n_samples,), int
        The fold of each sample.
    recalibration : BaseCalibrator or None
        The map that follows the stack; None for no stack at all.
    bar : tqdm.tqdm
        Counts the fits without a fold.

    Attributes
    ----------
    losses : ndarray of shape (n_rows, n_samples)
        NLL of each sample; one row per candidate, then the stack, then the stack recalibrated.
    weights : ndarray of shape (n_candidates,)
        Of the stack, learned from all samples.
    n_parameters : list of n_rows ints
        What each has learned.
    stacks : range
        The rows that are stacks.
    shares, fold_shares : ndarrays of shapes (n_samples,) and (n_folds,)
        Shares of the weight.
    """

    def __init__(self, maps, samples, numbers, recalibration, bar):
        self.samples, self.recalibration = samples, recalibration
        self.folds = [torch.from_numpy(numbers == k) for k in range(numbers.max() + 1)]
        weight = samples.weight.cpu().numpy()
        self.shares = weight / weight.sum()
        self.fold_shares = np.array([self.shares[fold].sum() for fold in self.folds])
        logits = samples.logits
        dtype = torch.promote_types(logits.dtype, torch.float32)
        log_proba = torch.empty((len(maps), *logits.shape), dtype=dtype, device=logits.device)
        # For each fold the maps, and stacks, that haven't seen it.
        self.fitted = []
        for fold in self.folds:
            rows, calibrators = fold.to(logits.device), []
            for of_map, calibrator in zip(log_proba, maps, strict=True):
                # Of weak fits to a part of the samples; that to all of them warns by itself.
                with silenced():
                    calibrators.append(samples.take(~fold).fit(calibrator))
                bar.update()
                of_map[rows] = torch.from_numpy(calibrators[-1].predict_log_proba(logits[rows])).to(log_proba)
            self.fitted.append(calibrators)
        self.log_proba = _bounded(log_proba, logits)
        self.n_parameters = [max(fit._n_parameters for fit in fits) for fits in zip(*self.fitted, strict=True)]
        self.losses = np.stack([_losses(of_map, samples.y) for of_map in self.log_proba])
        self.stacks = range(0)
        if recalibration is not None:
            self._stack(bar)

    def _stack(self, bar):
        """Weights from all samples; losses of each fold's samples with weights and recalibration from the others."""
        y, weight = self.samples.y, self.samples.weight.to(self.samples.y.device)
        self.weights = _stacking_weights(self.log_proba, y, weight)
        losses = np.empty((2, len(y)))
        for fold, calibrators in zip(self.folds, self.fitted, strict=True):
            rest, rows = (mask.to(y.device) for mask in (~fold, fold))
            weights = _stacking_weights(self.log_proba[:, rest], y[rest], weight[rest])
            with silenced():
                last = self.fit_recalibration(weights, ~fold)
            bar.update()
            pooled = _stacked(self.log_proba[:, rows], weights)
            losses[0, fold] = _losses(torch.log_softmax(pooled, 1), y[rows])
            losses[1, fold] = _losses(torch.log_softmax(last._calibrated(pooled), 1), y[rows])
            plain = Stack(calibrators=[*calibrators], weights=weights, classes=np.arange(self.log_proba.shape[2]))
            recalibrated = clone(plain).set_params(calibrators=[*calibrators], last=FrozenEstimator(last))
            calibrators += [stack._learn(*self.samples.take(fold), checks=False) for stack in (plain, recalibrated)]
        self.stacks = range(len(self.losses), len(self.losses) + 2)
        self.losses = np.vstack([self.losses, losses])
        used = self.weights > 0
        n_parameters = int(np.sum(self.n_parameters, where=used) + used.sum())
        self.n_parameters += [n_parameters, n_parameters + last._n_parameters]

    def fit_recalibration(self, weights, rows=None):
        """The map after the stack with these weights, fitted to what that says out of fold of some samples, or all."""
        rows = torch.ones(len(self.samples.y), dtype=torch.bool) if rows is None else rows
        pooled = _stacked(self.log_proba[:, rows.to(self.log_proba.device)], weights)
        return self.samples.take(rows)._replace(logits=pooled).fit(self.recalibration)

    def scores(self, scorer, metadata):
        """Scores of each row (rows) on each fold (columns), greater is better; metadata are what the scorer is told."""
        columns: list = []
        for fold, calibrators in zip(self.folds, self.fitted, strict=True):
            if scorer is None:
                columns.append(-np.average(self.losses[:, fold], axis=1, weights=self.shares[fold]))
                continue
            samples, told = self.samples.take(fold), of_rows(metadata, fold.numpy(), len(fold))
            columns.append([_score(scorer, calibrator, samples, told) for calibrator in calibrators])
        return np.array(columns).T


def _stacking_weights(log_proba, y, weight):
    return solve_weights(log_proba, y, sample_weight=weight, strength=_STRENGTH).weights


def _stacked(log_proba, weights):
    """Weighted sum of some maps' log-probabilities, of shape (n_maps, ...), in float64 and not normalised."""
    # Where one map has -inf, all have: a weight of 0 would make NaN of it.
    absent = absent_among(log_proba[0])
    log_proba = without(log_proba, absent).double()
    return absent_again(torch.tensordot(torch.as_tensor(weights).to(log_proba.device), log_proba, 1), absent)


def _bounded(log_proba, logits):
    """The maps' log-probabilities of some logits, none too low for a sum, but -inf where these are."""
    return absent_again(log_proba.clamp_(min=LOG_MIN_PROBABILITY), absent_among(logits))


def _losses(log_proba, y):
    return -log_proba.double().gather(1, y[:, None])[:, 0].cpu().numpy()


def _score(scorer, calibrator, samples, metadata):
    score = scorer(calibrator, samples.logits, samples.y.cpu().numpy(), **metadata)
    if not isinstance(score, Real) or not math.isfinite(score):
        raise ValueError(f"scoring must give a finite number; got {score!r}")
    return float(score)


@dataclass(eq=False, repr=False, kw_only=True)
class Stack(BaseCalibrator):
    """Weighted sum of output maps' log-probabilities, and a frozen map of it if there is one; `fit` fits the maps."""

    calibrators: list
    weights: np.ndarray
    last: FrozenEstimator | None = None

    _parameter_constraints: ClassVar[dict] = {
        **BaseCalibrator._parameter_constraints,
        "calibrators": [list],
        "weights": [np.ndarray],
        "last": [FrozenEstimator, None],
    }

    def _fit_logits(self, logits, y, sample_weight):
        samples = LabelledLogits(logits, y, sample_weight)
        self.calibrators_ = [fit if fit.__sklearn_is_fitted__() else samples.fit(fit) for fit in self.calibrators]

    def _transform_logits(self, logits):
        parts = [torch.log_softmax(fit._calibrated(logits), 1) for fit in self.calibrators_]
        pooled = _stacked(_bounded(torch.stack(parts), logits), self.weights)
        return pooled if self.last is None else self.last.estimator._calibrated(pooled)

    def _of_missing_classes(self):
        return dict.fromkeys(each for fit in self.calibrators_ for each in fit._of_missing_classes())

    @property
    def _n_parameters(self):
        last = 0 if self.last is None else self.last.estimator._n_parameters
        return super()._n_parameters + len(self.weights) + last
