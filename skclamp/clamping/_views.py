"""The views of a fit: chosen within each fold, judged on what it held out, and weighed with all the samples."""

import copy
from dataclasses import replace
from functools import partial
from numbers import Integral

import numpy as np
import torch
from sklearn.model_selection import KFold
from torch import nn

from .._judging.out_of_fold import MIN_SAMPLES, Evidence, HeldOut, decide
from .._judging.paired import student_below_zero
from .._judging.verdict import Objection, Reason, nothing_tried
from .._solvers.weights import solve_weights
from ..modules._clamped import weighted_sum
from ..perturbations._views import VIEWS, titles_of, views_of
from ._search import hold_out, pooled_logits

# Samples that all candidates are looked at with, and how many of these go on at the least.
_FEW_SAMPLES, _FEWEST_FINALISTS = 128, 2
# Standard errors of its gain that a view has to be ahead by; fewer, and two views can't be told apart.
_ERRORS = 2.0

# The name of the inputs as they are, which is no candidate.
(AS_IT_IS,) = titles_of([nn.Identity()])


@torch.no_grad()
def candidate_views(views, problem):
    """Candidates by their names, those given or, of a number of them, those known of such inputs."""
    x, places, candidates = problem.example(1), problem.backbone.places, views
    if isinstance(views, Integral):
        known = views_of(x.shape[1:]) if problem.has_floating_inputs else []
        candidates = [view for view in known if not places or view._moves_back(x.shape[2:], places)]
    elif x is None:
        raise ValueError("input_key must name the entry of X that views look at, of floating-point numbers; got None")
    candidates = [copy.deepcopy(view).to(x.device).eval() for view in candidates if type(view) is not nn.Identity]
    for view in candidates:
        try:
            seen = view(x)
        except RuntimeError as error:
            rule = f"max_views must have views of inputs of shape {tuple(x.shape[1:])}"
            raise ValueError(f"{rule}; {view!r} doesn't take them: {error}") from error
        if not isinstance(seen, torch.Tensor) or seen.shape != x.shape:
            got = tuple(seen.shape) if isinstance(seen, torch.Tensor) else type(seen).__name__
            rule = f"max_views must have views that keep the shape of a batch, {tuple(x.shape)}"
            raise ValueError(f"{rule}; got {got} of {view!r}")
        if not torch.isfinite(seen).all():
            raise ValueError(f"max_views must have views that yield finite inputs; got NaN or infinity of {view!r}")
        if places and isinstance(view, VIEWS) and not view._moves_back(x.shape[2:], places):
            raise ValueError(
                f"max_views must have views that leave places where they are or move them as whole ones; got {view!r}, "
                f"inputs of places {tuple(x.shape[2:])} and logits at places {places}"
            )
    return dict(zip(titles_of(candidates), candidates, strict=True))


def join_views(clamp, candidates, most, level, seed, *, guarded, by_default):
    """The clamp with the views that are kept, at most so many, of candidates by name; and the `Decision`.

    Where `guarded`, held-out samples have to prove at `level` that they help; else there is no decision. `seed` is that
    of samples and inner folds; the candidates are known of such inputs `by_default`, or the user's.
    """
    why = _why_none(clamp.searched, candidates, by_default)
    if why is not None:
        return clamp, nothing_tried(why) if guarded else None
    searched, state = clamp.searched, clamp.state
    look = Looks(searched, state.perturbation, candidates)
    if not guarded:
        base = clamp.in_sample if state.identity else searched.logits
        chosen, _ = choose_views(searched, look, np.arange(len(searched)), base, most, seed)
        names, weights, logits = _weighed(searched, chosen, most)
        if names == [AS_IT_IS]:
            return clamp, None
        logits = weighted_sum(logits, (weights / weights.sum()).tolist())
        return _joined(clamp, candidates, names, weights, searched, logits), None
    # What the search has learned in each fold. Without a perturbation what a fold looks at another one holds out.
    perturbed = clamp.folds if state.identity else [None] * len(clamp.splits)
    looks = [Looks(searched, seen.learned.perturbation, candidates) if seen else look for seen in perturbed]
    judged = [
        _in_fold(searched, split, look, seen, most, seed)
        for split, look, seen in zip(clamp.splits, looks, perturbed, strict=True)
    ]
    evidence = Evidence.from_folds(searched, clamp.splits, judged)
    decision = decide(evidence, 0, level)
    if not decision.verdict.accepted:
        return clamp, decision
    # Logits of each fold as large as those of what all the samples learned.
    held_out, scales = evidence.of(0), clamp.scales if state.identity else [1.0] * len(evidence.folds)
    pooled = partial(pooled_logits, searched, evidence.folds, scales=scales)
    # Few samples of a fold choose fewer views than all the samples can weigh: what any fold chose is worth a look.
    out_of_fold = {}
    for name in dict.fromkeys([AS_IT_IS, *(name for fold in decision.verdict.folds for name in fold["views"])]):
        parts = []
        for rows, seen, look in zip(evidence.folds, held_out, looks, strict=True):
            part = seen.learned.get(name)
            parts.append(look(name, rows) if part is None else part)
        judging, out_of_fold[name] = pooled(parts)
    names, weights, _ = _weighed(judging, out_of_fold, most)
    judging, logits = pooled([seen.logits for seen in held_out])
    return _joined(clamp, candidates, names, weights, judging, logits), decision


def _why_none(problem, candidates, by_default):
    """An `Objection` to a look for views; None where there is none."""
    if not candidates and by_default:
        reason = Reason.NO_VIEWS_KNOWN if problem.has_floating_inputs else Reason.NO_VIEWS_OF_INTEGERS
        return Objection(reason, about=problem.input_shape)
    if not candidates:
        return Objection(Reason.NO_VIEWS_GIVEN)
    if problem.observed is not None:
        return Objection(Reason.CLASSES_MISSING, int((~problem.observed).sum()), len(problem.observed))
    if problem.n_distinct < MIN_SAMPLES:
        return Objection(Reason.FEW_FOR_VIEWS, problem.n_distinct, MIN_SAMPLES)
    return None


def _joined(clamp, candidates, names, weights, judging, logits):
    """The clamp with views at some weights."""
    views, shares = [candidates.get(name, nn.Identity()) for name in names], weights / weights.sum()
    return replace(clamp, stage="views", before=clamp, views=views, shares=shares, judging=judging, logits=logits)


def _in_fold(problem, split, look, perturbed, most, seed):
    """The `HeldOut` of one view, and a list of that of the views that a fold chooses; `perturbed` is the search's."""
    (rows, held_out_rows), train, held_out = split, *map(problem.take, split)
    rows, train = rows[train.nonzero_weight_indices().numpy()], train.weighted()
    base = train.logits_under(look.perturbation) if perturbed else train.logits
    chosen, untried = choose_views(train, look, rows, base, most, seed)
    baseline = perturbed or hold_out(train, held_out)
    names, weights, _ = _weighed(train, chosen)
    views = [name for name in names if name != AS_IT_IS]
    logits = {AS_IT_IS: baseline.logits} | {name: look(name, held_out_rows) for name in views}
    joined = baseline
    if views:
        averaged = weighted_sum([logits[name] for name in names], (weights / weights.sum()).tolist())
        temperature = 1 / weights.sum()
        joined = HeldOut(held_out.nll(temperature, averaged), temperature, averaged)
    told = {"views": names, "temperature": float(joined.temperature)}
    facts = {"name": " + ".join(sorted(views)), "moved": bool(views), "told": told, "untried": untried}
    return baseline, [joined._replace(learned=logits, **facts)]


class Looks:
    """Logits of samples under views of the inputs that a perturbation leaves: each is passed once."""

    def __init__(self, problem, perturbation, candidates):
        self.problem, self.perturbation, self.candidates = problem, perturbation, candidates
        self._seen = {name: (torch.zeros_like(problem.logits), np.zeros(len(problem), bool)) for name in candidates}

    def __call__(self, name, rows):
        """Logits of some samples under a view."""
        logits, seen = self._seen[name]
        new = rows[~seen[rows]]
        if len(new):
            part = self.problem.take(new).logits_under(self.perturbation, [(self.candidates[name], 1.0)])
            logits[new] = part.to(logits)
            seen[new] = True
        return logits[rows]


def _weighed(problem, logits, most=None):
    """Names, weights and logits of the views that have a weight, or of the first; of more than `most` the least goes.

    The NLL of the samples is least at these weights, the labels smoothed.
    """
    while True:
        weights = _weights(problem, [*logits.values()])
        if not weights.any():
            weights = np.eye(len(weights))[0]
        logits = {name: part for (name, part), weight in zip(logits.items(), weights, strict=True) if weight}
        names, weights = [*logits], weights[weights > 0]
        if most is None or len(names) <= most:
            return names, weights, [*logits.values()]
        del logits[names[int(np.argmin(weights))]]


def _weights(problem, logits):
    """Weights of some views' logits at which the NLL of a problem's samples is least, the labels smoothed."""
    rows = [problem.rows(each) for each in logits]
    y, weight = rows[0].y, rows[0].weight
    return solve_weights([each.logits for each in rows], y, sample_weight=weight, smooth=True).weights


def choose_views(problem, look, rows, base, most, seed):
    """Return logits of the samples under views that lower the NLL, by name; and why others didn't join.

    The inputs as they are, with the logits `base`, come first of the `most` views. Each sample has weight; `rows` are
    the samples' positions for `look`, a `Looks`.
    """
    names, n_kept = list(look.candidates), max(_FEWEST_FINALISTS, most - 1)
    untried: dict[str, Objection] = {}
    some = np.sort(np.random.default_rng(seed).permutation(len(problem))[:_FEW_SAMPLES])
    if len(names) > n_kept and len(some) < len(problem):
        few, everyone = problem.take(some), np.arange(len(some))
        losses = {name: _losses(few, [(everyone, everyone)], [base[some], look(name, rows[some])]) for name in names}
        losses = {name: np.average(each, weights=few.weight) for name, each in losses.items()}
        best = sorted(names, key=losses.__getitem__)[:n_kept]
        worse = Objection(Reason.BETTER_ONES_ON_FEW, about=len(some))
        names, untried = best, {name: worse for name in names if name not in best}
    logits = {name: look(name, rows) for name in names}
    chosen, why_not = _grown(problem, base, logits, most, seed)
    return chosen, untried | why_not


def _grown(problem, base, logits, most, seed):
    """Logits of views joined one by one, as long as the best of those left gains on inner folds; why others didn't."""
    weight = problem.weight.numpy()
    halves = [*KFold(2, shuffle=True, random_state=seed).split(weight)]
    chosen, left = {AS_IT_IS: base}, dict(logits)
    untried: dict[str, Objection] = {}
    present = _losses(problem, halves, [base])
    while left and len(chosen) < most:
        losses = {name: _losses(problem, halves, [*chosen.values(), part]) for name, part in left.items()}
        best = min(losses, key=lambda name: np.average(losses[name], weights=weight))
        for name in losses:
            mean, error, _ = student_below_zero(losses[name] - present, weight)
            reason = Reason.GAINED_LITTLE if error else Reason.WITHOUT_WEIGHT
            untried[name] = Objection(reason, -mean, _ERRORS * error)
        if not untried[best].value > untried[best].needed:
            break
        chosen[best], present = left.pop(best), losses[best]
        untried.pop(best)
    for name in left if len(chosen) == most else ():
        untried[name] = untried[name]._replace(reason=Reason.BETTER_ONE_JOINED)
    return chosen, untried


def _losses(problem, splits, views):
    """NLL of each sample, of all, at the weights of the part of its split that learns."""
    losses = np.empty(len(problem))
    for train, rows in splits:
        weights = _weights(problem.take(train), [view[train] for view in views])
        averaged = weighted_sum([view[rows] for view in views], weights.tolist())
        losses[rows] = problem.take(rows).nll(1.0, averaged)
    return losses
