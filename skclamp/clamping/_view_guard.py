"""The views of a fit: chosen within each fold, judged on what it held out, and weighed with all the samples."""

import copy
import logging
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from ..modules._clamped import weighted_sum
from ..perturbations._views import titles_of, views_of
from ._guard import MIN_SAMPLES, Evidence, HeldOut, groups_of, judging_weight
from ._problem import Problem
from ._verdict import NOTHING_TRIED, Verdict, words_of
from ._view_choice import AS_IT_IS, choose_views, joined, seen_through, weigh

logger = logging.getLogger("skclamp")

REFUSED = "Refused, so a prediction takes one pass"
NOTHING_WAS_TRIED = "Nothing was tried, so a prediction takes one pass"


@dataclass
class Views:
    """What a fit made of its candidates.

    Attributes
    ----------
    modules : list of torch.nn.Module
        The views.
    shares : ndarray of shape (n_views,)
        Their weights, which sum to 1.
    verdict : Verdict or None
        The guard's; None without one.
    problem : Problem or None
        What T comes from: all the samples or, where folds judged the views, those that were held out. None where there
        is a single view, the inputs as they are.
    logits : torch.Tensor or None
        Weighted sums of this process's samples of these, out of fold where folds judged the views.
    """

    modules: list
    shares: np.ndarray
    verdict: Verdict | None = None
    problem: Problem | None = None
    logits: torch.Tensor | None = None


def one_view(verdict=None):
    """The inputs as they are."""
    return Views([nn.Identity()], np.ones(1), verdict)


def candidate_views(views, problem):
    """Candidates by their names, from the parameter `views`; none where nothing is known of such inputs."""
    x = problem.example(1)
    if isinstance(views, str):
        views = views_of(x.shape[1:]) if x.is_floating_point() else []
    views = [copy.deepcopy(view).to(x.device).eval() for view in views if type(view) is not nn.Identity]
    for view in views:
        _check_view(view, x)
    return dict(zip(titles_of(views), views, strict=True))


@torch.no_grad()
def _check_view(view, x):
    try:
        seen = view(x)
    except RuntimeError as error:
        raise ValueError(f"views must take inputs of shape {tuple(x.shape[1:])}; {view!r} doesn't: {error}") from error
    if not isinstance(seen, torch.Tensor) or seen.shape != x.shape:
        got = tuple(seen.shape) if isinstance(seen, torch.Tensor) else type(seen).__name__
        raise ValueError(f"views must keep the shape of a batch, {tuple(x.shape)}; got {got} of {view!r}")
    if not torch.isfinite(seen).all():
        raise ValueError(f"views must yield finite inputs; got NaN or infinity of {view!r}")


@dataclass
class Held:
    """What a fold fitted, and what its held-out samples say of it, by the names of the views.

    Attributes
    ----------
    names : list of str
        Views that have a weight.
    base, found : HeldOut
        Of one view, and of these.
    logits : dict of str to torch.Tensor
        Of this process's held-out samples.
    untried : dict of str to Untried
        Candidates that didn't join.
    """

    names: list
    base: HeldOut
    found: HeldOut
    logits: dict
    untried: dict


class ViewEvidence(Evidence):
    """Held-out losses of views, whose `states` are what each fold held, and of one view."""

    refused: ClassVar[str] = REFUSED
    nothing_was_tried: ClassVar[str] = NOTHING_WAS_TRIED

    def _names(self, candidate):
        found: dict[str, list] = {}
        for rows, (held,) in zip(self.folds, self.states, strict=True):
            if held.names != [AS_IT_IS]:
                found.setdefault(" + ".join(sorted(set(held.names) - {AS_IT_IS})), []).append(rows)
        return found

    def _told_of_state(self, state):
        return {"views": list(state.names)}

    def _reason(self, candidate, tried, measured, objections):
        if tried:
            return super()._reason(candidate, tried, measured, objections)
        name, nearest = min(((name, each) for (held,) in self.states for name, each in held.untried.items()), key=_lack)
        why = words_of(nearest)
        return f"{REFUSED}: no view gained beyond chance where it was chosen ({name} came nearest: {why})."


def _lack(named):
    return named[1].lack


def find_views(problem, outcome, candidates, most, level, seed, *, guarded, known):
    """The views of a fit whose perturbation was found.

    Parameters
    ----------
    problem : Problem
        All the samples.
    outcome : Outcome
        Of the search for a perturbation.
    candidates : dict of str to torch.nn.Module
        By their names.
    most : int
        Views in all.
    level : float
        Of each of the guard's tests.
    seed : int
        Of samples and inner folds.
    guarded : bool
        Whether held-out samples have to prove that views help.
    known : bool
        Whether the candidates are those that are known of such inputs, or the user's.
    """
    why = _why_not(problem, candidates, known=known)
    if why:
        return one_view(replace(NOTHING_TRIED, reason=f"{NOTHING_WAS_TRIED} ({why}).") if guarded else None)
    search = _Search(outcome, candidates, most, seed)
    return search.judged(level) if guarded else search.unjudged()


def _why_not(problem, candidates, *, known):
    if not candidates and not known:
        return "views holds none beside the inputs as they are"
    if not candidates:
        shape = tuple(problem.example(1).shape[1:])
        return f"no views are known of inputs of shape {shape}: views may be a list of modules"
    if problem.n_distinct < MIN_SAMPLES:
        return f"views need {MIN_SAMPLES} samples with weight, got {problem.n_distinct}"
    return ""


class _Search:
    """The choice among candidates, around the perturbation that was kept, or none."""

    def __init__(self, outcome, candidates, most, seed):
        self.outcome, self.problem = outcome, outcome.searched
        self.candidates, self.most, self.seed = candidates, most, seed
        self.splits = [(np.sort(train), np.sort(rows)) for train, rows in outcome.splits]
        self.perturbation = nn.Identity() if outcome.state is None else outcome.state.perturbation

    def unjudged(self):
        """Views chosen on all the samples."""
        problem = self.problem
        base = self.outcome.in_sample if self.outcome.state is not None else problem.logits
        chosen = choose_views(problem, self.perturbation, base, self.candidates, self.most, self.seed).logits
        names, weights, logits = self._weighed({AS_IT_IS: [(np.arange(len(problem)), base)]}, [*chosen])
        if names == [AS_IT_IS]:
            return one_view()
        shares = weights / weights.sum()
        return Views(self._modules(names), shares, None, problem, weighted_sum(logits, shares.tolist()))

    def judged(self, level):
        """Views that held-out samples prove to help, weighed with all the samples."""
        helds = [self._hold_out(k, *rows) for k, rows in enumerate(self.splits)]
        evidence = self._evidence(helds)
        verdict = evidence.verdict(0, level)
        logger.info("%s", verdict.reason)
        if not verdict.accepted:
            return one_view(verdict)
        # Few samples of a fold choose fewer views than all the samples can weigh: what any fold chose is worth a look.
        names = sorted(dict.fromkeys(name for held in helds for name in held.names), key=AS_IT_IS.__ne__)
        names, weights, _ = self._weighed(self._known(helds), names)
        shares = weights / weights.sum()
        logits = evidence.held_out_logits(self.problem, 0, 1 / weights.sum())
        return Views(self._modules(names), shares, verdict, evidence.judged(self.problem), logits)

    def _modules(self, names):
        return [nn.Identity() if name == AS_IT_IS else self.candidates[name] for name in names]

    def _evidence(self, helds):
        folds = [rows for _, rows in self.splits]
        plain, losses = np.zeros((2, len(self.problem)))
        for rows, held in zip(folds, helds, strict=True):
            plain[rows], losses[rows] = held.base.losses, held.found.losses
        least = [self.problem.take(rows).solve(held.base.logits).loss for rows, held in zip(folds, helds, strict=True)]
        weight = judging_weight(self.problem.weight_of_all.numpy(), folds)
        states, found = [[held] for held in helds], [[held.found] for held in helds]
        return ViewEvidence(plain, losses[None], weight, folds, states, found, least, groups_of(self.problem))

    def _hold_out(self, fold, train_rows, rows):
        """What a fold's training part chooses and weighs, and what its held-out part says of that."""
        problem = self.problem
        train, held_out = problem.take(train_rows[problem.weight_of_all.numpy()[train_rows] > 0]), problem.take(rows)
        perturbation, base = self._base(fold, train, held_out)
        own = train.logits_under(perturbation) if self._perturbs else train.logits
        choice = choose_views(train, perturbation, own, self.candidates, self.most, self.seed)
        used, weights, _ = _used(train, choice.logits)
        if used == [AS_IT_IS]:
            return Held(used, base, base, {AS_IT_IS: base.logits}, choice.untried)
        logits = {AS_IT_IS: base.logits}
        exact = held_out.in_full_precision()
        for name in used:
            if name != AS_IT_IS:
                logits[name] = exact.logits_under(seen_through(perturbation, self.candidates[name]))
        averaged = weighted_sum([logits[name] for name in used], (weights / weights.sum()).tolist())
        temperature = 1 / weights.sum()
        losses = -exact.log_likelihoods(temperature, averaged).cpu().numpy()
        return Held(used, base, HeldOut(losses, temperature, averaged), logits, choice.untried)

    @property
    def _perturbs(self):
        return self.outcome.state is not None

    def _base(self, fold, train, held_out):
        """A fold's perturbation, and what its held-out samples say of one view of the inputs."""
        if not self._perturbs:
            temperature = train.solve(prior=True).temperature
            losses = -held_out.in_full_precision().log_likelihoods(temperature).cpu().numpy()
            return nn.Identity(), HeldOut(losses, temperature, held_out.logits)
        evidence, best = self.outcome.evidence, self.outcome.best
        perturbation, found = evidence.states[fold][best].perturbation, evidence.held_out[fold][best]
        if found.logits is None:
            found = found._replace(logits=held_out.in_full_precision().logits_under(perturbation))
        return perturbation, found

    def _known(self, helds):
        """Held-out logits that are those of the final perturbation, with their rows, by the names of the views."""
        if self._perturbs:
            return {AS_IT_IS: [(np.arange(len(self.problem)), self.outcome.in_sample)]}
        known: dict[str, list] = {AS_IT_IS: [(np.arange(len(self.problem)), self.problem.logits)]}
        for (_, rows), held in zip(self.splits, helds, strict=True):
            for name, logits in held.logits.items():
                if name != AS_IT_IS:
                    known.setdefault(name, []).append((rows, logits))
        return known

    def _weighed(self, known, names):
        """Names, weights and logits of the views that have a weight; of too many the least goes."""
        everything = np.arange(len(self.problem))
        logits = {}
        for name in names:
            parts = list(known.get(name, ()))
            rest = np.setdiff1d(everything, np.concatenate([[], *(rows for rows, _ in parts)]))
            if len(rest):
                problem = self.problem.take(rest).in_full_precision()
                parts.append((rest, problem.logits_under(seen_through(self.perturbation, self.candidates[name]))))
            logits[name] = joined(self.problem, everything, parts)
        names, weights, used = _used(self.problem, logits)
        while len(names) > self.most:
            least = names[int(np.argmin(weights))]
            names, weights, used = _used(self.problem, {name: logits[name] for name in names if name != least})
        return names, weights, used


def _used(problem, logits):
    """Names, weights and logits of the views that have a weight; of the first alone where none has one."""
    weights = weigh(problem, list(logits.values()))
    if not weights.any():
        weights = np.eye(len(weights))[0]
    names = [name for name, weight in zip(logits, weights, strict=True) if weight]
    return names, weights[weights > 0], [logits[name] for name in names]
