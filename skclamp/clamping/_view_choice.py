"""Which views of a problem's inputs are worth their passes: a greedy choice, each step proved on inner folds."""

from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.model_selection import KFold
from torch import nn

from .._judging.paired import student_below_zero
from .._solvers.weights import solve_weights
from ..modules._clamped import weighted_sum
from ..perturbations._views import titles_of
from ._state import Reason, Untried

# Samples that all candidates are looked at with, and how many go on; samples for these, of whom as many go on to all as
# there are views.
_FIRST_SAMPLES, _SECOND_SAMPLES = 512, 1024
_FINALISTS = 5
# Standard errors of its gain that a view has to be ahead by; fewer, and two views can't be told apart.
_ERRORS = 2.0

# The name of the inputs as they are, which is no candidate.
(AS_IT_IS,) = titles_of([nn.Identity()])


@dataclass
class Choice:
    """The views chosen of a problem's inputs.

    Attributes
    ----------
    logits : dict of str to torch.Tensor
        Of this process's samples, by the names of the views, the inputs as they are first.
    untried : dict of str to Untried
        Candidates that didn't join, and why.
    """

    logits: dict
    untried: dict = field(default_factory=dict)


def seen_through(perturbation, view):
    """A perturbation and then a view as one transform."""
    return lambda x: view(perturbation(x).to(x.dtype))


def weigh(problem, logits):
    """Weights of some views' logits at which the NLL is least, the labels smoothed.

    Parameters
    ----------
    problem : Problem
        Whose logits these are.
    logits : list of torch.Tensor
        One for each view.
    """
    return solve_weights(
        logits, problem.y_encoded, sample_weight=problem.weight, shard=problem.shard, smooth=True
    ).weights


def choose_views(problem, perturbation, base, candidates, most, seed):
    """Views that lower the NLL of a problem's perturbed inputs, at most so many, these themselves among them.

    Parameters
    ----------
    problem : Problem
        The samples, each with weight.
    perturbation : torch.nn.Module
        What comes before the views.
    base : torch.Tensor
        Logits of the perturbed inputs.
    candidates : dict of str to torch.nn.Module
        By their names.
    most : int
        Views in all.
    seed : int
        Of the samples that all candidates are looked at with, and of the inner folds.
    """
    order = np.random.default_rng(seed).permutation(len(problem))
    names, done = list(candidates), 0
    untried: dict[str, Untried] = {}
    parts: dict[str, list] = {name: [] for name in names}
    for size, n_kept in ((_FIRST_SAMPLES, _FINALISTS), (_SECOND_SAMPLES, most), (len(problem), most)):
        sample, rest = np.sort(order[:size]), np.sort(order[done:size])
        part = problem.take(rest)
        for name in names:
            parts[name].append((rest, part.logits_under(seen_through(perturbation, candidates[name]))))
        small = problem.take(sample)
        seen = {name: joined(small, sample, parts[name]) for name in names}
        if size >= len(problem):
            break
        names, done = _screened(small, problem.logits_of(torch.as_tensor(sample), base), seen, most, n_kept), size
        worse = Untried(np.inf, Reason.BETTER_VIEWS_ON_FEW, about=size)
        untried |= {name: worse for name in seen if name not in names}
    return _grown(problem, {AS_IT_IS: base}, seen, untried, most, seed)


def joined(problem, rows, parts):
    """Logits of this process's samples of a problem, from those of its parts.

    Parameters
    ----------
    problem : Problem
        The samples.
    rows : ndarray of shape (len(problem),)
        Their positions in another problem, in ascending order.
    parts : list of (ndarray, torch.Tensor)
        Positions in that problem, and this process's logits there.
    """
    logits = torch.empty_like(problem.logits, dtype=parts[0][1].dtype)
    for own, part in parts:
        _, places = problem.shard.take(torch.as_tensor(np.searchsorted(rows, own)))
        logits[places.to(logits.device)] = part
    return logits


def _screened(problem, base, seen, most, n_kept):
    """Names of the candidates that lower the NLL of a few samples most, each beside those before it.

    After those that there is room for come such as can't be told from the last of these, up to `n_kept` in all.
    """
    chosen: list[str] = []
    left, rest = list(seen), []
    while left and len(chosen) < most - 1:
        losses = {name: _losses(problem, [base, *(seen[each] for each in [*chosen, name])]) for name in left}
        means = {name: np.average(own, weights=problem.weight_of_all) for name, own in losses.items()}
        best, *rest = sorted(left, key=means.__getitem__)
        chosen.append(best)
        left.remove(best)
        rest = [name for name in rest if not _lower(losses[best], losses[name], problem)]
    return (chosen + rest)[: max(n_kept, most - 1)]


def _losses(problem, logits):
    """NLL of each sample, of all, at the weights that are best for them."""
    weights = weigh(problem, logits)
    return -problem.log_likelihoods(1.0, weighted_sum(logits, weights.tolist())).cpu().numpy()


def _lower(losses, others, problem):
    """Whether losses are below others by more than chance."""
    mean, error, _ = student_below_zero(losses - others, problem.weight_of_all.numpy())
    return mean < -_ERRORS * error


def _grown(problem, chosen, found, untried, most, seed):
    """Views joined one by one, as long as the best of those left gains on inner folds."""
    weight = problem.weight_of_all.numpy()
    halves = [np.sort(rows) for _, rows in KFold(2, shuffle=True, random_state=seed).split(weight)]
    chosen, found = dict(chosen), dict(found)
    present = _held_out_losses(problem, halves, chosen)
    while found and len(chosen) < most:
        losses = {name: _held_out_losses(problem, halves, {**chosen, name: own}) for name, own in found.items()}
        best = min(losses, key=lambda name: np.average(losses[name], weights=weight))
        for name, own in losses.items():
            mean, error, _ = student_below_zero(own - present, weight)
            needed = _ERRORS * error
            reason = Reason.VIEW_GAINED_LITTLE if error else Reason.VIEW_WITHOUT_WEIGHT
            untried[name] = Untried(mean + needed, reason, -mean, needed)
        if not untried[best].lack < 0:
            break
        chosen[best], present = found.pop(best), losses[best]
        untried.pop(best)
    for name in found if len(chosen) == most else ():
        untried[name] = untried[name]._replace(reason=Reason.BETTER_VIEW_JOINED)
    return Choice(chosen, untried)


def _held_out_losses(problem, halves, views):
    """NLL of each sample, of all, at the weights of the other half."""
    parts = [problem.take(rows) for rows in halves]
    logits = [[problem.logits_of(torch.as_tensor(rows), own) for own in views.values()] for rows in halves]
    losses = np.empty(len(problem))
    for k, rows in enumerate(halves):
        weights = weigh(parts[1 - k], logits[1 - k])
        judged = parts[k].log_likelihoods(1.0, weighted_sum(logits[k], weights.tolist()))
        losses[rows] = -judged.cpu().numpy()
    return losses
