"""The views of a fit: chosen within each fold, judged on what it held out, and weighed with all the samples."""

import copy
from dataclasses import replace
from functools import partial
from itertools import chain
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
_FEW_SAMPLES = 128
_FEWEST_FINALISTS = 2
# Standard errors of its gain that a view has to be ahead by; fewer, and two views can't be told apart.
_ERRORS = 2.0

# The name of the inputs as they are, which is no candidate.
(AS_IT_IS,) = titles_of([nn.Identity()])


@torch.no_grad()
def candidate_views(views, problem):
    """Candidates by their names, those given or, of a number of them, those known of such inputs."""
    x = problem.example(1)
    places = problem.backbone.places
    if isinstance(views, Integral):
        known = views_of(x.shape[1:]) if problem.has_floating_inputs else []
        views = [view for view in known if not places or view._moves_back(x.shape[2:], places)]
    elif x is None:
        raise ValueError("input_key must name the entry of X that views look at, of floating-point numbers; got None")
    candidates = [copy.deepcopy(view).to(x.device).eval() for view in views if type(view) is not nn.Identity]
    for view in candidates:
        rule = f"max_views must have views that keep the shape of a batch, {tuple(x.shape)}"
        try:
            shape = view(x).shape
        except (AttributeError, RuntimeError) as error:
            raise ValueError(f"{rule}; {view!r} doesn't take it: {error}") from error
        if shape != x.shape:
            raise ValueError(f"{rule}; got {tuple(shape)} of {view!r}")
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
    searched = clamp.searched
    state = clamp.state
    splits = clamp.splits
    everyone = np.arange(len(searched))
    base = clamp.in_sample if state.identity else searched.logits
    look = Looks(searched, state.perturbation, candidates, everyone, base)
    if not guarded:
        chosen, _ = choose_views(searched, look, everyone, most, seed)
        logits = {name: look(name, everyone) for name in chosen}
        weights = _weighed(searched, logits, most)
        joined = _joined(clamp, candidates, weights, searched, _averaged(logits, weights))
        return joined if list(weights) != [AS_IT_IS] else clamp, None
    # Without a perturbation what a fold looks at another one holds out.
    perturbed = [None] * len(splits)
    looks = [look] * len(splits)
    scales = [1.0] * len(splits)
    if state.identity:
        # What the search has learned in each fold, and logits of each as large as those of what all samples learned.
        perturbed = clamp.folds
        scales = clamp.scales
        looks = [
            Looks(searched, seen.learned.perturbation, candidates, rows, seen.logits)
            for (_, rows), seen in zip(splits, perturbed, strict=True)
        ]
    judged = [
        _in_fold(searched, split, look, seen, most, seed)
        for split, look, seen in zip(splits, looks, perturbed, strict=True)
    ]
    evidence = Evidence.from_folds(searched, splits, judged)
    decision = decide(evidence, 0, level)
    if not decision.verdict.accepted:
        return clamp, decision
    pooled = partial(pooled_logits, searched, evidence.folds, scales=scales)
    # Few samples of a fold choose fewer views than all the samples can weigh: what any fold chose is worth a look.
    out_of_fold = {}
    for name in chain([AS_IT_IS], *(fold["views"] for fold in decision.verdict.folds)):
        out_of_fold[name] = pooled([look(name, rows) for rows, look in zip(evidence.folds, looks, strict=True)])[1]
    judging, logits = pooled([seen.logits for seen in evidence.of(0)])
    return _joined(clamp, candidates, _weighed(judging, out_of_fold, most), judging, logits), decision


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


def _joined(clamp, candidates, weights, judging, logits):
    """The clamp with views at some weights."""
    views = [candidates.get(name, nn.Identity()) for name in weights]
    shares = np.array(list(weights.values()))
    shares = shares / shares.sum()
    return replace(clamp, stage="views", before=clamp, views=views, shares=shares, judging=judging, logits=logits)


def _in_fold(problem, split, look, perturbed, most, seed):
    """The `HeldOut` of one view, and a list of that of the views that a fold chooses; `perturbed` is the search's."""
    rows, held_out_rows = split
    train, held_out = map(problem.take, split)
    chosen, untried = choose_views(train, look, rows, most, seed)
    weights = _weighed(train, {name: look(name, rows) for name in chosen}, most)
    baseline = joined = perturbed or hold_out(train, held_out)
    views = sorted(name for name in weights if name != AS_IT_IS)
    if views:
        averaged = _averaged({name: look(name, held_out_rows) for name in weights}, weights)
        temperature = 1 / sum(weights.values())
        joined = HeldOut(held_out.nll(temperature, averaged), temperature, averaged)
    told = {"views": list(weights), "temperature": float(joined.temperature)}
    return baseline, [joined._replace(name=" + ".join(views), moved=bool(views), told=told, untried=untried)]


class Looks:
    """Logits of samples under views of the inputs that a perturbation leaves: each is passed once.

    Of the inputs as they are, the `logits` of some `rows` are known.
    """

    def __init__(self, problem, perturbation, candidates, rows, logits):
        self.problem = problem
        self.perturbation = perturbation
        self.candidates = candidates
        names = AS_IT_IS, *candidates
        self._seen = {name: (torch.zeros_like(problem.logits), np.zeros(len(problem), bool)) for name in names}
        known, seen = self._seen[AS_IT_IS]
        known[rows] = logits
        seen[rows] = True

    def __call__(self, name, rows):
        """Logits of some samples under a view."""
        logits, seen = self._seen[name]
        new = rows[~seen[rows]]
        if len(new):
            views = [(self.candidates[name], 1.0)] if name in self.candidates else ()
            logits[new] = self.problem.take(new).logits_under(self.perturbation, views).to(logits)
            seen[new] = True
        return logits[rows]


def _weighed(problem, logits, most):
    """Weights of at most so many views by name, or of the first; of more that have a weight the least goes."""
    while True:
        weights = zip(logits, _weights(problem, list(logits.values())).tolist(), strict=True)
        found = {name: weight for name, weight in weights if weight} or {next(iter(logits)): 1.0}
        if len(found) <= most:
            return found
        least = min(found, key=found.__getitem__)
        logits = {name: logits[name] for name in found if name != least}


def _averaged(logits, weights):
    """Weighted mean of the logits of some views."""
    total = sum(weights.values())
    return weighted_sum([logits[name] for name in weights], [weight / total for weight in weights.values()])


def _weights(problem, logits):
    """Weights of some views' logits at which the NLL of a problem's samples is least, the labels smoothed."""
    rows = [problem.rows(each) for each in logits]
    return solve_weights([each.logits for each in rows], rows[0].y, sample_weight=rows[0].weight)


def choose_views(problem, look, rows, most, seed):
    """Names of the views that lower the NLL, the inputs as they are first; and why others didn't join.

    At most so many join, one by one, as long as the best of those left gains on inner folds. `rows` are the samples'
    positions for `look`, a `Looks`.
    """
    left = _finalists(problem, look, rows, most, seed)
    chosen = [AS_IT_IS]
    untried = dict.fromkeys(look.candidates, Objection(Reason.ANOTHER_VIEW_DID_BETTER))
    halves = list(KFold(2, shuffle=True, random_state=seed).split(rows))
    logits = {name: look(name, rows) for name in (AS_IT_IS, *left)}
    weight = problem.weight.numpy()
    present = _losses(problem, halves, [logits[AS_IT_IS]])
    while left and len(chosen) < most:
        losses = {name: _losses(problem, halves, [logits[each] for each in (*chosen, name)]) for name in left}
        gains = {name: student_below_zero(present - losses[name], weight) for name in left}
        best = max(left, key=lambda name: gains[name][0])
        if gains[best][0] <= _ERRORS * gains[best][1]:
            for name, (gain, error, _) in gains.items():
                untried[name] = Objection(Reason.GAINED_LITTLE, gain, _ERRORS * error)
            break
        chosen.append(best)
        left.remove(best)
        present = losses[best]
    return chosen, {name: why for name, why in untried.items() if name not in chosen}


def _finalists(problem, look, rows, most, seed):
    """Names of the views that do best beside the inputs as they are, on a few samples; of all, where views are few."""
    names = list(look.candidates)
    n_kept = max(_FEWEST_FINALISTS, most - 1)
    some = np.sort(np.random.default_rng(seed).permutation(len(problem))[:_FEW_SAMPLES])
    if len(names) <= n_kept or len(some) == len(problem):
        return names
    few = problem.take(some)
    base = look(AS_IT_IS, rows[some])
    whole = [(np.arange(len(some)),) * 2]
    losses = {name: few.weight.numpy() @ _losses(few, whole, [base, look(name, rows[some])]) for name in names}
    return sorted(names, key=losses.__getitem__)[:n_kept]


def _losses(problem, splits, views):
    """NLL of each sample at the weights of the part of its split that learns."""
    losses = np.empty(len(problem))
    for train, rows in splits:
        weights = _weights(problem.take(train), [view[train] for view in views])
        averaged = weighted_sum([view[rows] for view in views], weights.tolist())
        losses[rows] = problem.take(rows).nll(1.0, averaged)
    return losses
