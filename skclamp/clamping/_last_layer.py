"""Other weights of a network's last linear layer, drawn towards those that it has, judged out of fold.

``W + D`` has a Gaussian prior around ``W``. Several widths of it compete as maps do, in a pool, and a pool of linear
layers is a linear layer.
"""

import logging
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from .._judging.paired import of_groups, student_below_zero
from .._judging.verdict import Objection, Reason
from .._pooling.pool import weights_of
from .._solvers.by_gradient import minimise_by_gradient
from .._solvers.pool import pooled
from .._solvers.temperature import solve_temperature
from .._utils.arrays import at_least_single
from ..modules._last_layer import LastLayer, features_read, find_last_layer
from ..modules._norm_layers import is_close, parts_of, private_copy
from ._output import fold_numbers

logger = logging.getLogger("skclamp")

# Standard deviations of what the prior has a logit change by, in nats, of features of the mean square 1.
_SPREADS = 2.0, 4.0, 8.0
# What the bias is a weight of: an offset of all samples is less of a surprise than one of each feature's own.
_CONSTANT = 0.2
# L-BFGS stops where a step gains less of the loss.
_OPTIONS = {"ftol": 1e-5, "maxiter": 200}
# So many standard errors, of what a layer alone gains on a perturbation that is proven, have it let go.
_CLEARLY = 0.5
# The weight at which one fold tells whether others are worth a fit: alone a wide prior promises too much.
_LITTLE = 0.1
# Samples times classes times features: so many take some ten to twenty seconds on one core.
_MAX_PRODUCT = 100_000_000


def with_other_last_layer(clamp, decisions, splits, *, unasked):
    """A concluded clamp with another last layer for its map, where that lowers the NLL out of fold, and the decisions.

    A perturbation that is `unasked` for, learned in front of the layer as it was, is let go where another layer alone
    does better by more than half a standard error. Layers are fitted to what all but one of the `splits` hold out;
    where there are none, folds are drawn.
    """
    learned = _learned(clamp, splits, clamp)
    if learned is not None and learned.last_layer.difference < 0:
        clamp = learned
    alone = _learned(clamp.origin, splits, clamp) if unasked and clamp.state.identity else None
    if alone is None or alone.last_layer.difference >= -_CLEARLY * alone.last_layer.standard_error:
        return clamp, decisions
    why = Objection(Reason.LAST_LAYER_DOES_BETTER, -alone.last_layer.difference)
    return alone, decisions | {"perturbation": decisions["perturbation"].refused(dismissed=why)}


def _learned(clamp, splits, rival):
    """The clamp with another last layer in its map's place; None without one that earns a weight out of fold.

    `rival` is a concluded clamp, whose losses of the same samples the layer's are compared with.
    """
    problem, logits = clamp.judging, clamp.logits
    if not clamp.state.identity:
        problem = clamp.held_out
        logits = problem.logits
    read = None if problem.observed is not None else _read(clamp)
    if read is None:
        return None
    name, features = read
    size = np.sqrt(np.average(features.square().sum(1), weights=problem.weight))
    columns = torch.cat([features / size, torch.full((len(features), 1), _CONSTANT)], 1).double()
    rows = problem.rows(logits)
    rows = rows._replace(logits=rows.logits.cpu().double(), y=rows.y.cpu())
    numbers = fold_numbers(problem, rows, splits)
    out_of_fold = torch.empty(1 + len(_SPREADS), *rows.logits.shape, dtype=torch.float64)
    for k in range(numbers.max() + 1):
        held_out = torch.from_numpy(numbers == k)
        temperature, changes = _fitted(rows.take(~held_out), columns[~held_out])
        own = rows.logits[held_out] / temperature
        out_of_fold[:, held_out] = torch.stack([own, *(own + columns[held_out] @ each.T for each in changes)])
        # Most often nothing is to be gained, and one fold in five tells.
        if not k and not _gains(out_of_fold[:, held_out], rows.take(held_out)):
            return None
    weights = weights_of(list(out_of_fold.log_softmax(2)), rows)[0]
    if not weights.any():
        return None
    mixed = pooled(out_of_fold, weights).to(logits.device, at_least_single(logits))
    # At the temperatures of the folds, as maps are judged; the last one has seen all of these.
    losses = problem.nll(1.0, mixed)
    gained = of_groups(losses - rival.tried[1], problem.weight.numpy(), problem.units)
    temperature, changes = _fitted(rows, columns)
    change = temperature * sum(weight * each for weight, each in zip(weights, changes, strict=True)).numpy()
    return replace(
        clamp,
        last_layer=LastLayer(name, change[:, :-1] / size, _CONSTANT * change[:, -1], *student_below_zero(*gained)[:2]),
        judging=problem,
        logits=temperature * mixed,
        temperature=temperature * problem.solve(mixed, smooth=True).temperature,
        output=None,
        loss=float(np.average(losses, weights=problem.weight)),
        tried=(problem, losses),
    )


def _gains(logits, rows):
    """Return whether a little of any other of several logits lowers the NLL of the first."""
    mixed = torch.lerp(logits[0], logits, _LITTLE)
    losses = [(cross_entropy(each, rows.y, reduction="none") @ rows.weight).item() for each in mixed]
    return min(losses[1:]) < losses[0]


def _read(clamp):
    """The name of the last linear layer, and what it takes of each sample out of fold; None where there is none."""
    problem = clamp.searched
    name, n_features = "", 0
    try:
        head = private_copy(problem.backbone.module)
        name = find_last_layer(head, *problem.example_batch())
        n_features = 0 if name is None else parts_of(head.module)[name].in_features
    except Exception as error:  # noqa: BLE001 - networks refuse to be copied or run in as many ways as there are networks
        logger.info("the last layer stays as it is, since the network can't be copied or run again: %r", error)
    n_features = min(problem.shard.ranks.all_gather_object(n_features))
    if not 0 < len(problem) * problem.logits.shape[1] * n_features <= _MAX_PRODUCT:
        return None
    if clamp.state.identity:
        folds = zip(clamp.evidence.folds, clamp.folds, clamp.scales, strict=True)
        seen = [(rows, fold.learned.perturbation, fold.logits, scale) for rows, fold, scale in folds]
    else:
        rows = clamp.rows_held_out
        seen = [(rows, nn.Identity(), problem.logits[rows], 1.0)]
    features = torch.full((len(problem), n_features), torch.nan, dtype=at_least_single(problem.logits))
    for rows, perturbation, expected, scale in seen:
        part = problem.take(rows).through(head)
        with features_read(head, name) as read:
            logits = part.try_logits_under(perturbation)
        # Rows may have gone another way through the network than those that it was tried on.
        of_all = {tuple(h.shape[1:]) for h in read} == {(n_features,)} and sum(map(len, read)) >= part.shard.size
        if not all(part.shard.ranks.all_gather_object(of_all)):
            return None
        h = part.shard.all_gather(torch.cat(read)[: part.shard.size])
        if logits is None or len(h) != len(part) or not is_close(logits.cpu(), expected.cpu()):
            return None
        with torch.no_grad():
            if not is_close(parts_of(head.module)[name](h).cpu(), logits.cpu()):
                return None
        features[rows] = scale * h.cpu().to(features.dtype)
    return name, features[np.sort(np.concatenate([rows for rows, *_ in seen]))]


def _fitted(rows, columns):
    """Temperature of some `Rows`, and for each width of the prior what a layer adds to the logits over it."""
    temperature = solve_temperature(rows.logits, rows.y, sample_weight=rows.weight, prior=True).temperature
    # Of narrow priors the optima are near, and each is the start of the next.
    change = torch.zeros(rows.logits.shape[1], columns.shape[1], dtype=columns.dtype, requires_grad=True)
    data = rows.logits / temperature, rows.y, columns, rows.weight
    changes = []
    for spread in _SPREADS:
        minimise_by_gradient(partial(_loss, change), [change], data, penalty=spread**-2, **_OPTIONS)
        changes.append(change.detach().clone())
    return temperature, changes


def _loss(change, logits, y, columns, weight):
    return cross_entropy(torch.addmm(logits, columns, change.T), y, reduction="none") @ weight
