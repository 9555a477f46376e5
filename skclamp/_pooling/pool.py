"""Pool: a temperature, and other output maps at weights that had to earn their price out of fold."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from .._judging.paired import n_effective, of_groups
from .._looks import words
from .._solvers.pool import leads, pooled, solve_pool
from .._utils.arrays import absent_again, absent_among, at_labels, at_least_single
from .._utils.least_probability import LOG_MIN_PROBABILITY
from .._utils.parallel import in_parallel
from .._utils.progress import progress_bar
from .._utils.warnings import note, silenced
from ..base import BaseCalibrator, Map
from ..base._map import Learned
from ..base._seen_classes import SeenClasses, labels_that_teach
from ..exceptions import CalibrationSetWarning
from ..scaling import TemperatureScaling

# A float64 chunk of this many entries is 1 MB and stays in the cache from one step to the next.
_ENTRIES_AT_ONCE = 1 << 17


class PoolMap(Map):
    """A pool of temperature scaling and other maps."""

    def transform(self, logits):
        mapped = [logits / self.temperature_, *(part(logits) for part in self.parts)]
        return pooled([log_probabilities(each, logits) for each in mapped], self.weights)


@dataclass(eq=False, repr=False, kw_only=True)
class Pool(BaseCalibrator):
    """``softmax(l_0 + sum_j w_j (l_j - l_0))`` of maps' log-probabilities, as `learn_pool` fits it.

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

    def _fit_rows(self, rows, n_labels=None):
        # Labels that don't exclude each other are 0 or 1, and may all be 0. Maps that treat classes alike would best
        # rule out those without samples, as temperatures of each sample do.
        seen = SeenClasses.beyond_chance(rows) if self.weights and n_labels is None else None
        learning = rows if seen is None else seen.among(rows)
        if seen is not None:
            note(words.missing_classes(seen.mask), CalibrationSetWarning)
        base, *others = [calibrator._fitted_to(learning, self._outputs) for calibrator in self.calibrators]
        self.map_ = base.map_
        if others:
            parts = nn.ModuleList([each.map_ for each in others])
            self.map_ = PoolMap(temperature_=base.temperature_, parts=parts, weights=self.weights, seen=seen)

    def in_words(self):
        """Its parts at their weights."""
        weights = max(0.0, 1 - sum(self.weights)), *self.weights
        by_weight = sorted(zip(weights, map(repr, self.names), strict=True), reverse=True)
        return ", ".join(f"{name} {weight:.2f}" for weight, name in by_weight if weight >= 0.005)


def log_probabilities(mapped, logits):
    """Log-probabilities of mapped logits, none too low for a sum, but -inf where the logits are."""
    return absent_again(mapped.log_softmax(1).clamp_(min=LOG_MIN_PROBABILITY), absent_among(logits))


def _predicted(map_, logits):
    """Log-probabilities of a map of rows, in their precision, but not in half."""
    dtype = at_least_single(logits)
    parts = logits.split(max(1, _ENTRIES_AT_ONCE // logits.shape[1]))
    mapped = torch.cat([map_(part.double()).log_softmax(1).to(logits.device, dtype) for part in parts])
    return log_probabilities(mapped, logits)


class Trial(NamedTuple):
    """Predictions of maps for rows that they weren't fitted to.

    Attributes
    ----------
    log_proba : torch.Tensor of shape (n_maps, n_rows, n_classes)
        Normalised.
    fitted : list of list of BaseCalibrator
        For each fold the maps without it.
    numbers : ndarray of shape (n_rows,)
        Of the fold that holds out each row.
    """

    log_proba: torch.Tensor
    fitted: list[list[BaseCalibrator]]
    numbers: np.ndarray

    @property
    def folds(self):
        """Which rows each fold holds out, as tensors of bools."""
        return [torch.from_numpy(self.numbers == k) for k in range(self.numbers.max() + 1)]

    def losses(self, y):
        """NLL of each row, for each map."""
        return np.stack([_losses(of_map, y) for of_map in self.log_proba])

    @property
    def n_parameters(self):
        """Number of parameters that each map has learned, at the most."""
        return [max(fit._n_parameters for fit in fits) for fits in zip(*self.fitted, strict=True)]


def try_out(maps, rows, outputs, numbers, *, verbose, desc, n_jobs=None):
    """Fit maps to `Rows` without the fold that holds each out, of which `numbers` has the number, as a `Trial`."""
    logits = rows.logits
    dtype = at_least_single(logits)
    log_proba = torch.empty((len(maps), *logits.shape), dtype=dtype, device=logits.device)
    trial = Trial(log_proba, [], numbers)

    def tasks():
        for fold in trial.folds:
            learning = rows.take(~fold)
            yield from ((fold.to(logits.device), learning, *of_map) for of_map in zip(log_proba, maps, strict=True))

    def fit(task):
        fold, learning, of_map, calibrator = task
        # Of weak fits to a part of the samples; that to all of them warns by itself.
        with silenced():
            fitted = calibrator._fitted_to(learning, outputs)
        of_map[fold] = _predicted(fitted.map_, logits[fold])
        return fitted

    total = len(trial.folds) * len(maps)
    fits = progress_bar(in_parallel(fit, tasks(), n_jobs), verbose=verbose, total=total, desc=desc, unit="fit")
    trial.fitted.extend(map(list, zip(*[iter(fits)] * len(maps), strict=True)))
    return trial


class Pooled(NamedTuple):
    """A pool, fitted to all the rows, and what its maps have earned out of fold.

    Attributes
    ----------
    pool : Pool
        Fitted.
    weights, prices, totals : ndarray of shape (n_maps,)
        What each map weighs, the base too; what a unit of that costs, in nats, the base's nothing; and of how many
        independent samples, by a design effect that isn't centred, which counts fewer where they gain.
    losses : ndarray of shape (n_rows,)
        NLL of each row out of fold, under the pool of these weights.
    """

    pool: Pool
    weights: np.ndarray
    prices: np.ndarray
    totals: np.ndarray
    losses: np.ndarray


def learn_pool(trial, names, maps, base, rows, outputs, everywhere, temperature=None):
    """Learn weights of named maps from what they said out of fold of `Rows` of an output layer, as `Pooled`.

    `base` is the row of the temperature scaling that the others join; a `temperature` that is known takes its place in
    the end. Rows of one unit count for less the more they agree. `everywhere` are the rows that the pool is fitted to,
    of dense outputs at more places. Of several labels those teach the weights that teach what all share.
    """
    n_labels = outputs.n_labels
    teaching = rows._replace(weight=labels_that_teach(rows, n_labels)[2]) if n_labels else rows
    others = [row for row in range(len(maps)) if row != base]
    log_proba = [trial.log_proba[row] for row in (base, *others)]
    weights, prices, totals = told = np.zeros((3, len(maps)))
    told[:, others] = weights_of(log_proba, teaching)
    used = np.flatnonzero(weights)
    seen = SeenClasses.beyond_chance(rows) if len(used) and not n_labels else None
    mixed = log_proba[0]
    if len(used):
        mixed = log_probabilities(pooled(log_proba, weights[others]), rows.logits)
    if seen is not None:
        mixed = seen.beside(mixed[:, seen.columns.to(mixed.device)], log_proba[0])
    of_temperature = maps[base] if temperature is None else TemperatureScaling(bounds=(temperature, temperature))
    pool = Pool(
        calibrators=[of_temperature, *(maps[row] for row in used)],
        names=[names[row] for row in (base, *used)],
        weights=weights[used].tolist(),
    )._fitted_to(everywhere, outputs)
    weights[base] = max(0.0, 1 - weights.sum())
    return Pooled(pool, weights, prices, totals, _losses(mixed, rows.y))


def _n_telling(lead, rows):
    """Number of independent samples that would tell as much of a lead: fewer by the design effect of its slopes."""
    weight = rows.weight.cpu().numpy()
    slopes = at_labels(lead, rows.y).cpu().numpy()
    n = n_effective(weight)
    means, totals = of_groups(slopes, weight, rows.unit)
    inflation = ((means * totals) ** 2).sum() / max(((weight * slopes) ** 2).sum(), np.finfo(float).tiny)
    return float((n / max(inflation, 1.0)).clip(n_effective(totals), n))


def weights_of(log_proba, rows):
    """Weights of all but the first, what a unit of each costs, and how many independent samples tell of it."""
    weight = rows.weight.cpu().numpy()
    totals = []
    spreads = []
    share = weight / weight.sum()
    for other in log_proba[1:]:
        lead, deviation = leads(log_proba[0], other)
        totals.append(_n_telling(lead, rows))
        inflation = n_effective(weight) / totals[-1]
        spreads.append(totals[-1] * np.sqrt(inflation * (share**2 @ deviation.cpu().numpy() ** 2)))
    return *solve_pool(log_proba, rows.y, rows.weight, np.array(totals), np.array(spreads)), totals


def losses_under(fitted, temperature, rows, observed=None):
    """NLL of each row under a fitted map or, without one, a temperature; among the `observed` classes, a mask."""
    if fitted is None:
        log_proba = log_probabilities(rows.logits.double() / temperature, rows.logits)
    else:
        log_proba = _predicted(fitted.map_, rows.logits)
    if observed is not None:
        log_proba = log_proba - log_proba[:, torch.from_numpy(observed)].logsumexp(1, keepdim=True)
    return _losses(log_proba, rows.y)


def _losses(log_proba, y):
    """NLL of each row."""
    return -at_labels(log_proba, y).double().cpu().numpy()
