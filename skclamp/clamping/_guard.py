"""The guard: whether a perturbation demonstrably beats temperature scaling, on samples that chose nothing.

Each fold is held out once. What a candidate chooses and fits (its family, parameters, steps, and both arms'
temperatures) it learns from the other folds. The guard sees the paired differences of the held-out samples' negative
log-likelihoods (NLL) and, where several candidates competed, asks the more of the winner.
"""

import copy
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import logsumexp

from .._utils.encoding import register
from .._utils.folds import check_partition
from .._utils.statistics import n_effective, student_below_zero

# A perturbation that does nothing passes this rarely.
LEVEL = 0.02
# With fewer samples no difference of a plausible size can be told from chance, and temperature scaling it is.
MIN_SAMPLES = 100


@dataclass
class Evidence:
    """Held-out losses of some candidates and of temperature scaling.

    Attributes
    ----------
    plain : ndarray of shape (n_samples,)
        NLL of temperature scaling.
    losses : ndarray of shape (n_candidates, n_samples)
        NLL of each candidate.
    weight : ndarray of shape (n_samples,)
        Sample weights.
    folds : list of ndarray
        Held-out rows of each fold.
    states : list of list of State
        What each fold fitted, one for each candidate.
    held_out : list of list of HeldOut
        What each fold's held-out samples say of these.
    least : list of float
        Mean NLL of temperature scaling on each fold at the fold's own temperature: its best there.
    """

    plain: np.ndarray
    losses: np.ndarray
    weight: np.ndarray
    folds: list
    states: list
    held_out: list
    least: list

    def fold_losses(self):
        """Mean NLL of each candidate (rows) on each fold (columns)."""
        return np.array([np.average(self.losses[:, rows], axis=1, weights=self.weight[rows]) for rows in self.folds]).T

    def best(self):
        """Index of the candidate with the least mean held-out NLL, the mean being over folds."""
        return int(self.fold_losses().mean(1).argmin())

    def verdict(self, candidate, level=LEVEL):
        """Whether a candidate, the best of all, beats temperature scaling."""
        differences = self.losses[candidate] - self.plain
        mean, error, p_value = student_below_zero(differences, self.weight)
        p_value = min(1.0, max(p_value, self.universal_p_value(candidate)) * len(self.losses))
        accepted = p_value < level and max(self.fold_differences(candidate)) < 0
        return Verdict(bool(accepted), mean, error, p_value)

    def universal_p_value(self, candidate):
        """P value of a candidate by universal inference, against the labels being temperature scaling's at some T.

        The expected likelihood ratio of what was fitted elsewhere to the truth is 1, whatever the sample size, and to
        the best T of the held-out samples it is less. Student's test alone would let pass what is learned from a fold,
        held back by the prior to almost nothing, and by chance points the same way in the other. Uneven weights count
        as the number of equal ones that tell as much, which is an approximation.

        References
        ----------
        L. Wasserman, A. Ramdas and S. Balakrishnan, "Universal Inference", PNAS 2020, equation 7.
        """
        losses = self.fold_losses()[candidate]
        gains = [
            (least - loss) * n_effective(self.weight[rows])
            for least, loss, rows in zip(self.least, losses, self.folds, strict=True)
        ]
        return float(np.exp(min(0.0, np.log(len(gains)) - logsumexp(gains))))

    def fold_differences(self, candidate):
        """Mean held-out NLL of a candidate minus temperature scaling's on each fold; all must be below 0."""
        differences = self.losses[candidate] - self.plain
        return [np.average(differences[rows], weights=self.weight[rows]) for rows in self.folds]

    def warm_start(self, candidate):
        """Where to start on all the samples: what the folds agree on, or the best of them.

        Folds that chose the same perturbation have their parameters averaged, which is nearly as good as a fit to all
        their samples; of others the one counts that did best against temperature scaling.
        """
        states = [fold[candidate] for fold in self.states]
        best = copy.deepcopy(states[int(np.argmin(self.fold_differences(candidate)))])
        parts = [state.perturbation.state_dict() for state in states]
        if all(_alike(part, parts[0]) for part in parts):
            best.perturbation.load_state_dict({name: _mean([part[name] for part in parts]) for name in parts[0]})
        return best

    def held_out_logits(self, problem, candidate, temperature):
        """Logits of this process's samples, each under what the other folds made of a candidate.

        What all the samples make of it has another size of logits: `temperature` is the one that suits these samples
        there, and each fold's logits are scaled as if it suited that fold's own.
        """
        logits = problem.logits.clone()
        for rows, states, found in zip(self.folds, self.states, self.held_out, strict=True):
            _, own = problem.shard.take(torch.as_tensor(rows))
            known = found[candidate].logits
            if known is None:
                known = problem.take(rows).in_full_precision().logits_under(states[candidate].perturbation)
            logits[own.to(logits.device)] = known * (temperature / found[candidate].temperature)
        return logits


class HeldOut(NamedTuple):
    """What held-out samples say of one candidate.

    Attributes
    ----------
    losses : ndarray of shape (n_held_out,)
        NLL of each, at the exact temperature of the training samples.
    temperature : float
        That temperature.
    logits : torch.Tensor of shape (n_held_out, n_classes) or None
        Of this process's held-out samples; None where several candidates would need much memory.
    """

    losses: np.ndarray
    temperature: float
    logits: torch.Tensor | None = None


@register
@dataclass(frozen=True)
class Verdict:
    """The guard's decision.

    Attributes
    ----------
    accepted : bool
        Whether the perturbation is kept.
    difference, standard_error : float
        Mean held-out NLL of the best candidate minus that of temperature scaling, in nats, and its standard error.
    p_value : float
        Of the tests against "not below zero", Student's and that of universal inference, the larger one, times the
        number of candidates.
    """

    accepted: bool
    difference: float
    standard_error: float
    p_value: float


NOTHING_TRIED = Verdict(False, 0.0, 0.0, 1.0)


def cross_examine(problem, fit_all, splits, progress=None):
    """Evidence of every candidate, fitted in each fold and judged out of fold.

    `fit_all` maps a Problem to a list of States, one for each candidate. The splits are training and held-out rows, and
    each row must be held out once.
    """
    # In the order of the samples, as processes that share them need it.
    splits = [(np.sort(train), np.sort(rows)) for train, rows in splits]
    weight = problem.weight_of_all.numpy()
    check_partition([rows for _, rows in splits], len(problem))
    _check_weights(splits, weight)
    plain, folds, states, found, least = np.empty(len(problem)), [], [], [], []
    for k, (train_rows, rows) in enumerate(splits):
        if progress:
            progress.begin(f"fold {k + 1} of {len(splits)}")
        train, held_out = problem.take(train_rows), problem.take(rows)
        states.append(fit_all(train))
        folds.append(rows)
        unperturbed = _hold_out(train, held_out)
        plain[rows] = unperturbed.losses
        least.append(held_out.solve().loss)
        found.append(_hold_out_all(train, held_out, states[-1], unperturbed))
        if progress:
            losses = [unperturbed.losses, *(each.losses for each in found[-1])]
            means = np.average(losses, axis=1, weights=weight[rows])
            progress.held_out(means[1:].min(), means[0])
    pooled = np.empty((len(states[0]), len(problem)))
    for rows, judged in zip(folds, found, strict=True):
        pooled[:, rows] = [each.losses for each in judged]
    return Evidence(plain, pooled, weight, folds, states, found, least)


def _hold_out_all(train, held_out, states, unperturbed):
    """What held-out samples say of each state; of equal ones, where neighbours on a path took no step, once."""
    found: list[tuple[dict, HeldOut]] = []
    for state in states:
        parameters = state.perturbation.state_dict()
        twins = (judged for other, judged in found if _equal(other, parameters))
        judged = next(twins, None) if state.perturbs else unperturbed
        found.append((parameters, judged or _hold_out(train, held_out, state.perturbation)))
    judged_all = [judged for _, judged in found]
    return judged_all if len(states) == 1 else [judged._replace(logits=None) for judged in judged_all]


def _equal(a, b):
    return _alike(a, b) and all(torch.equal(a[name], b[name]) for name in a)


def _alike(a, b):
    """Whether two state dicts are of the same perturbation."""
    return list(a) == list(b) and all(a[name].shape == b[name].shape for name in a)


def _mean(tensors):
    """Of floating-point tensors; what counts or flags is the first's."""
    return torch.stack(tensors).mean(0) if tensors[0].is_floating_point() else tensors[0]


def _check_weights(splits, weight):
    for k, (train, held_out) in enumerate(splits):
        for rows, what in ((train, "to train on"), (held_out, "held out")):
            if not weight[rows].any():
                raise ValueError(f"sample_weight must not be zero on all the samples {what}; got zeros in fold {k}")


def _hold_out(train, held_out, perturbation=None):
    """What held-out samples say of a perturbation at the exact temperature of the training samples.

    Under a perturbation the labels are smoothed: parameters that separate the training samples would otherwise promise
    certainty, which a single held-out mistake refutes.
    """
    exact = held_out.in_full_precision()
    if perturbation is None:
        temperature, logits = train.solve().temperature, held_out.logits
    else:
        temperature = train.solve(train.logits_under(perturbation), smooth=True).temperature
        logits = exact.logits_under(perturbation)
    return HeldOut(-exact.log_likelihoods(temperature, logits).cpu().numpy(), temperature, logits)
