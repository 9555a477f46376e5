"""Pool: a temperature, and other output maps at weights that had to earn their price out of fold."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from .._backbones.samples import LabelledLogits
from .._judging.paired import n_effective, of_groups
from .._judging.splits import joined
from .._solvers.pool import leads, pooled, solve_pool
from .._utils.arrays import absent_again, absent_among
from .._utils.least_probability import LOG_MIN_PROBABILITY
from .._utils.outputs import numbers_of
from .._utils.parallel import in_parallel
from .._utils.progress import progress_bar
from .._utils.warnings import silenced
from ..base import BaseCalibrator, Map
from ..base._map import Learned, Temperature
from ..base._seen_classes import SeenClasses, labels_that_teach
from ..scaling import TemperatureScaling


class PoolMap(Map):
    """A pool of temperature scaling and other maps."""

    def transform(self, logits):
        mapped = [logits / self.temperature_, *(part(logits) for part in self.parts)]
        return pooled([log_probabilities(each, logits) for each in mapped], self.weights)


@dataclass(eq=False, repr=False, kw_only=True)
class Pool(BaseCalibrator):
    """``softmax(l_0 + sum_j w_j (l_j - l_0))`` of maps' log-probabilities; `fit` fits the maps, at the weights given.

    Parameters
    ----------
    estimator : None
        A pool is of logits.
    calibrators : list of BaseCalibrator
        The base, a `TemperatureScaling`, and the others.
    names : list of str
        Theirs.
    weights : list of float
        Those of the others, at least 0 and of a sum of at most 1.
    """

    calibrators: list
    names: list
    weights: list

    temperature_ = Learned()

    def _learned_among(self, logits, y, weight):
        # Maps that treat classes alike would best rule out those without samples, as temperatures of each sample do.
        return SeenClasses.beyond_chance(logits, y, weight) if self.weights else None

    def _fit_logits(self, logits, y, sample_weight):
        return self._fit_labels(LabelledLogits(logits, y, sample_weight))

    def _fit_labels(self, samples):
        base, *others = [samples.fit(calibrator) for calibrator in self.calibrators]
        if not self.weights:
            return Temperature(temperature_=base.temperature_)
        parts = nn.ModuleList([fit.map_ for fit in others])
        return PoolMap(temperature_=base.temperature_, parts=parts, weights=self.weights)

    def in_words(self):
        """Its parts at their weights."""
        weights = max(0.0, 1 - sum(self.weights)), *self.weights
        by_weight = sorted(zip(weights, map(repr, self.names), strict=True), reverse=True)
        return ", ".join(f"{name} {weight:.2f}" for weight, name in by_weight if weight >= 0.005)


def log_probabilities(mapped, logits):
    """Log-probabilities of mapped logits, none too low for a sum, but -inf where the logits are."""
    return absent_again(torch.log_softmax(mapped, 1).clamp_(min=LOG_MIN_PROBABILITY), absent_among(logits))


def _predicted(fitted, logits):
    """Log-probabilities of a fitted map of the logits, in their precision, but not in half."""
    outputs = fitted._outputs
    # Of labels log-odds tell both probabilities.
    predict = fitted.transform_logits if outputs.n_labels else fitted.predict_log_proba
    predicted = outputs.rows(torch.as_tensor(predict(logits)))
    logits = outputs.rows(logits)
    return log_probabilities(predicted.to(logits.device, torch.promote_types(logits.dtype, torch.float32)), logits)


class Trial(NamedTuple):
    """Predictions of maps for samples that they weren't fitted to.

    Attributes
    ----------
    log_proba : torch.Tensor of shape (n_maps, n_rows, n_classes)
        Normalised; a row for each label, or place, of a sample.
    fitted : list of list of BaseCalibrator
        For each fold the maps without it.
    numbers : ndarray of shape (n_samples,)
        Of the fold that holds out each sample.
    """

    log_proba: torch.Tensor
    fitted: list[list[BaseCalibrator]]
    numbers: np.ndarray

    @property
    def folds(self):
        """Which samples each fold holds out, as tensors of bools."""
        return [torch.from_numpy(self.numbers == k) for k in range(self.numbers.max() + 1)]

    def losses(self, samples):
        """NLL of each of the samples, for each map."""
        return np.stack([_losses(of_map, samples) for of_map in self.log_proba])

    @property
    def n_parameters(self):
        """Number of parameters that each map has learned, at the most."""
        return [max(fit._n_parameters for fit in fits) for fits in zip(*self.fitted, strict=True)]


def try_out(maps, samples, numbers, *, verbose=0, desc=None, n_jobs=None):
    """Fit maps to `LabelledLogits` without each fold, of which `numbers` has that of each sample, as a `Trial`."""
    logits = samples.logits
    n_each = samples.n_rows_each
    n_columns = 2 if samples.outputs.n_labels else logits.shape[1]
    dtype = torch.promote_types(logits.dtype, torch.float32)
    log_proba = torch.empty((len(maps), len(logits) * n_each, n_columns), dtype=dtype, device=logits.device)
    trial = Trial(log_proba, [], numbers)

    def tasks():
        for fold in trial.folds:
            rows = fold.to(logits.device)
            learning = samples.take(~fold)
            yield from ((rows, learning, *of_map) for of_map in zip(log_proba, maps, strict=True))

    def fit(task):
        rows, learning, of_map, calibrator = task
        # Of weak fits to a part of the samples; that to all of them warns by itself.
        with silenced():
            fitted = learning.fit(calibrator)
        of_map[rows.repeat_interleave(n_each)] = _predicted(fitted, logits[rows])
        return fitted

    total = len(trial.folds) * len(maps)
    fits = progress_bar(in_parallel(fit, tasks(), n_jobs), verbose=verbose, total=total, desc=desc, unit="fit")
    trial.fitted.extend(map(list, zip(*[iter(fits)] * len(maps), strict=True)))
    return trial


class Pooled(NamedTuple):
    """A pool, fitted to all the samples, and what its maps have earned out of fold.

    Attributes
    ----------
    pool : Pool
        Fitted.
    weights, prices, totals : ndarray of shape (n_maps,)
        What each map weighs, the base too; what a unit of that costs, in nats, the base's nothing; and of how many
        independent samples, by a design effect that isn't centred, which counts fewer where they gain.
    losses : ndarray of shape (n_samples,)
        NLL of each sample out of fold, under the pool of these weights.
    """

    pool: Pool
    weights: np.ndarray
    prices: np.ndarray
    totals: np.ndarray
    losses: np.ndarray


def units_of(samples, copies, groups):
    """Return labels that only what counts once shares: groups with their copies, or copies of one label; or None.

    Copies of several labels are several samples of one fold.
    """
    if groups is None and copies is not None:
        labels = numbers_of(samples.y.cpu().numpy())
        return copies * (labels.max() + 1) + labels
    return joined(copies, groups)


def learn_pool(trial, names, maps, base, samples, units, everywhere, temperature=None):
    """Learn weights of named maps from what they said out of fold, as `Pooled`.

    `base` is the row of the temperature scaling that the others join; a `temperature` that is known takes its place in
    the end. `units` are labels that only dependent samples share, which count for less the more they agree; None where
    all are independent. `everywhere` are the samples that the pool is fitted to, of dense outputs at more places. Of
    several labels those teach the weights that teach what all share.
    """
    whole, samples, n_labels = samples, samples.rows(), samples.outputs.n_labels
    if n_labels:
        samples = samples._replace(weight=labels_that_teach(samples, n_labels)[2])
    if whole.y.ndim > 1:
        # Labels and places of a sample depend on each other.
        units = np.repeat(np.arange(len(whole.y)) if units is None else units, whole.n_rows_each)
    others = [row for row in range(len(maps)) if row != base]
    log_proba = [trial.log_proba[row] for row in (base, *others)]
    weights, prices, totals = told = np.zeros((3, len(maps)))
    told[:, others] = _weights(log_proba, samples, units)
    found = weights[others]
    used = np.flatnonzero(weights)
    mixed = log_proba[0]
    if len(used):
        mixed = log_probabilities(pooled(log_proba, found), samples.logits)
        # Labels that don't exclude each other are 0 or 1, and may all be 0.
        seen = None if n_labels else SeenClasses.beyond_chance(*samples)
        mixed = mixed if seen is None else seen.beside(mixed[:, seen.columns.to(mixed.device)], log_proba[0])
    of_temperature = maps[base] if temperature is None else TemperatureScaling(bounds=(temperature, temperature))
    pool = Pool(
        calibrators=[of_temperature, *(maps[row] for row in used)],
        names=[names[row] for row in (base, *used)],
        weights=weights[used].tolist(),
    )
    weights[base] = max(0.0, 1 - weights.sum())
    return Pooled(everywhere.fit(pool), weights, prices, totals, _losses(mixed, whole))


def _n_telling(lead, samples, units):
    """Number of independent samples that would tell as much of a lead: fewer by the design effect of its slopes."""
    weight = samples.weight.cpu().numpy()
    slopes = lead.gather(1, samples.y[:, None])[:, 0].cpu().numpy()
    n = n_effective(weight)
    means, totals = of_groups(slopes, weight, units)
    inflation = np.square(means * totals).sum() / max(np.square(weight * slopes).sum(), np.finfo(float).tiny)
    return float(np.clip(n / max(inflation, 1.0), n_effective(totals), n))


def _weights(log_proba, samples, units):
    """Weights of all but the first, what a unit of each costs, and how many independent samples tell of it."""
    weight = samples.weight.cpu().numpy()
    totals = []
    spreads = []
    share = weight / weight.sum()
    for other in log_proba[1:]:
        lead, deviation = leads(log_proba[0], other)
        totals.append(_n_telling(lead, samples, units))
        inflation = n_effective(weight) / totals[-1]
        spreads.append(totals[-1] * np.sqrt(inflation * (share**2 @ deviation.cpu().numpy() ** 2)))
    return *solve_pool(log_proba, samples.y, samples.weight, np.array(totals), np.array(spreads)), totals


def losses_under(fitted, temperature, samples):
    """NLL of each of some samples under a fitted map or, without one, a temperature."""
    if fitted is not None:
        return _losses(_predicted(fitted, samples.logits), samples)
    logits = samples.rows().logits
    return _losses(log_probabilities(logits.double() / temperature, logits), samples)


def _losses(log_proba, samples):
    """NLL of each sample: of several labels the sum of those that are known, and of places so."""
    _, y, share = samples._replace(weight=torch.ones_like(samples.weight)).rows()
    of_rows = -log_proba.double().gather(1, y[:, None])[:, 0] * share.to(log_proba.device)
    return of_rows.view(len(samples.y), -1).sum(1).cpu().numpy()
