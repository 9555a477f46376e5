"""The guard: whether a perturbation demonstrably beats temperature scaling, on samples that chose nothing.

No sample is held out twice. What a candidate chooses and fits (its family, parameters, steps, and both arms'
temperatures) it learns from samples that don't judge it. The guard sees the paired differences of the held-out samples'
negative log-likelihoods (NLL) and, where several candidates competed, asks the more of the winner.
"""

import copy
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from scipy.special import logsumexp

from .._judging.paired import n_effective, of_groups, student_below_zero
from ..perturbations._words import title_of
from ._state import Untried
from ._verdict import MAX_UNANIMOUS, NOTHING_WAS_TRIED, REFUSED, Verdict, detectable_gain, words_of

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
        NLL of temperature scaling; anything finite where a sample was never held out.
    losses : ndarray of shape (n_candidates, n_samples)
        NLL of each candidate.
    weight : ndarray of shape (n_samples,)
        Sample weights, 0 where a sample was never held out.
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
    # Of samples that depend on each other, one label each; None where none do.
    groups: np.ndarray | None = None

    # How reasons begin.
    refused: ClassVar[str] = REFUSED
    nothing_was_tried: ClassVar[str] = NOTHING_WAS_TRIED

    def fold_losses(self):
        """Mean NLL of each candidate (rows) on each fold (columns)."""
        return np.array([np.average(self.losses[:, rows], axis=1, weights=self.weight[rows]) for rows in self.folds]).T

    def best(self):
        """Index of the candidate with the least mean held-out NLL, the mean being over folds."""
        return int(self.fold_losses().mean(1).argmin())

    def verdict(self, candidate, level=LEVEL, n_tries=1):
        """Whether a candidate, the best of all, beats temperature scaling in one of several tries."""
        n_tests = len(self.losses) * n_tries
        mean, error, student = self._student(self.losses[candidate] - self.plain)
        student, universal = student * n_tests, self.universal_p_value(candidate) * n_tests
        p_value = min(1.0, max(student, universal))
        objections = [*self._objections(candidate, student, universal, level, n_tests)]
        tried = self.tried()
        sizes = [self._n_effective(rows) for rows in self.folds]
        plain = [np.average(self.plain[rows], weights=self.weight[rows]) for rows in self.folds]
        return Verdict(
            not objections,
            mean,
            error,
            p_value,
            self._reason(candidate, tried, (mean, error, p_value), objections),
            tried,
            self.not_tried(tried),
            int(np.count_nonzero(self.weight)),
            detectable_gain(error, sizes, np.subtract(plain, self.least), level / n_tests),
            self._told_of_folds(candidate, plain),
        )

    def _told_of_folds(self, candidate, plain):
        """What each fold made of a candidate, in numbers."""
        losses = self.fold_losses()[candidate]
        folds = zip(self.folds, self.states, self.held_out, losses, plain, strict=True)
        return [
            {
                "n_samples": int(np.count_nonzero(self.weight[rows])),
                **self._told_of_state(states[candidate]),
                "temperature": float(found[candidate].temperature),
                "nll": float(loss),
                "nll_temperature_scaling": float(plain_loss),
            }
            for rows, states, found, loss, plain_loss in folds
        ]

    def _told_of_state(self, state):
        name = title_of(state.perturbation) if state.perturbs else "none"
        return {"perturbation": name, "n_epochs": len(state.history)}

    def _student(self, differences):
        """Mean of the differences, its standard error and Student's p value; of groups, each counts as one sample."""
        return student_below_zero(*of_groups(differences, self.weight, self.groups))

    def _n_effective(self, rows):
        """Number of samples, or of groups, of equal weight that would tell as much as those of a fold."""
        groups = None if self.groups is None else self.groups[rows]
        return n_effective(of_groups(self.weight[rows], self.weight[rows], groups)[1])

    def _objections(self, candidate, student, universal, level, n_tests):
        """What speaks against a candidate, in words; p values are those times the number of tests."""
        n_gains, n_folds = self._count_gains(candidate), len(self.folds)
        if n_gains < n_folds <= MAX_UNANIMOUS:
            yield f"it fell in {n_gains} of {n_folds} folds, needs all"
        if not student < level:
            yield f"chance alone may do as much (Student's p = {min(1.0, student):.2g}, needs below {level:g})"
        if not universal < level:
            evidence, needed = self.universal_evidence(candidate), np.log(n_tests / level)
            yield (
                "a temperature chosen for the held-out samples may do as well (evidence against it of "
                f"{evidence:.2f} nats, needs {needed:.2f})"
            )

    def _reason(self, candidate, tried, measured, objections):
        mean, error, p_value = measured
        names, n_candidates, n_folds = self._names(candidate), len(self.losses), len(self.folds)
        folds = f"{n_folds} fold{'s' * (n_folds > 1)}"
        if tried and not names:
            return f"{self.refused}: none of {n_candidates} candidates lowered the held-out NLL of {folds}."
        if not names:
            why = self._why_nothing()
            return f"{self.nothing_was_tried} ({why})." if why else f"{self.nothing_was_tried}."
        which = " or ".join(names) + (f", the best of {n_candidates} candidates," if n_candidates > 1 else "")
        found = f"{which} {'lowered' if mean < 0 else 'raised'} the held-out NLL by {abs(mean):.2g} nats per sample"
        spread = f"standard error {error:.2g}"
        if not objections:
            n_gains = self._count_gains(candidate)
            where = f"{'each' if n_gains == n_folds else n_gains} of {folds}"
            return f"Kept: {found} ({spread}), in {where} and beyond chance (p = {p_value:.2g})."
        why = f", which proves nothing: {'; '.join(objections)}" if mean < 0 else ""
        return f"{self.refused}: {found} ({spread}, {folds}){why}."

    def _count_gains(self, candidate):
        """Number of folds in which a candidate lowered the held-out NLL."""
        return sum(difference < 0 for difference in self.fold_differences(candidate))

    def _names(self, candidate):
        """What the folds made of a candidate, with the folds: names, but none of what stayed the identity in all."""
        found: dict[str, list] = {}
        moved = set()
        for rows, states in zip(self.folds, self.states, strict=True):
            name = title_of(states[candidate].perturbation)
            found.setdefault(name, []).append(rows)
            if states[candidate].perturbs:
                moved.add(name)
        return {name: folds for name, folds in found.items() if name in moved}

    def tried(self):
        """Mean held-out NLL minus temperature scaling's of all that folds fitted, by name, at its best."""
        found: dict[str, float] = {}
        for candidate, losses in enumerate(self.losses):
            for name, folds in self._names(candidate).items():
                rows = np.concatenate(folds)
                difference = float(np.average((losses - self.plain)[rows], weights=self.weight[rows]))
                found[name] = min(difference, found.get(name, np.inf))
        return found

    def _why_nothing(self):
        """Why no family was tried, in one clause where the data asked for none of several."""
        untried = self._untried({})
        fitting = [each for each in untried.values() if np.isfinite(each.lack)]
        if len(fitting) > 1 and all(each.weighed for each in fitting):
            return f"none of {len(fitting)} families is suggested by the data"
        return "; ".join(f"{name}: {words_of(each)}" for name, each in untried.items())

    def not_tried(self, tried):
        """Why the families that no fold fitted weren't tried, in words of the fold that came nearest to it."""
        return {name: words_of(untried) for name, untried in self._untried(tried).items()}

    def _untried(self, tried):
        fitted = {family for name in tried for family in name.split(" + ")}
        found: dict[str, Untried] = {}
        for name, untried in (item for states in self.states for state in states for item in state.untried.items()):
            if name not in fitted:
                found[name] = min(untried, found.get(name, untried))
        return found

    def universal_p_value(self, candidate):
        """P value of a candidate by universal inference, against the labels being temperature scaling's at some T.

        The expected likelihood ratio of what was fitted elsewhere to the truth is 1, whatever the sample size, and to
        the best T of the held-out samples it is less; so is that of the mean over folds. Student's test alone would let
        pass what is learned from a fold, held back by the prior to almost nothing, and by chance points the same way in
        the other. Uneven weights count as the number of equal ones that tell as much, which is an approximation, and
        so does each group as one sample.

        References
        ----------
        L. Wasserman, A. Ramdas and S. Balakrishnan, "Universal Inference", PNAS 2020, equation 7.
        """
        return float(np.exp(min(0.0, -self.universal_evidence(candidate))))

    def universal_evidence(self, candidate):
        """Logarithm of the mean likelihood ratio of the folds, of which the p value is the inverse."""
        losses = self.fold_losses()[candidate]
        gains = [
            (least - loss) * self._n_effective(rows)
            for least, loss, rows in zip(self.least, losses, self.folds, strict=True)
        ]
        return float(logsumexp(gains) - np.log(len(gains)))

    def fold_differences(self, candidate):
        """Mean held-out NLL of a candidate minus temperature scaling's on each fold."""
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

    def judged(self, problem):
        """The same problem on the samples that were held out."""
        rows = self._held_out_rows()
        return problem if len(rows) == len(problem) else problem.take(rows)

    def _held_out_rows(self):
        return torch.as_tensor(np.sort(np.concatenate(self.folds)))

    def held_out_logits(self, problem, candidate, temperature):
        """Logits of this process's samples that were held out, each under what its fold made of a candidate.

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
        return problem.logits_of(self._held_out_rows(), logits)


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


def cross_examine(problem, fit_all, splits, progress=None):
    """Evidence of every candidate, fitted in each fold and judged out of fold.

    `fit_all` maps a Problem to a list of States, one for each candidate. The splits are training and held-out rows,
    and no row is held out twice.
    """
    # In the order of the samples, as processes that share them need it.
    splits = [(np.sort(train), np.sort(rows)) for train, rows in splits]
    weight = problem.weight_of_all.numpy()
    _check_weights(splits, weight)
    plain, folds, states, found, least = np.zeros(len(problem)), [], [], [], []
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
            plain_loss, *means = np.average(losses, axis=1, weights=weight[rows])
            best = int(np.argmin(means))
            progress.held_out(states[-1][best], found[-1][best].temperature, means[best], plain_loss)
    pooled = np.zeros((len(states[0]), len(problem)))
    for rows, judged in zip(folds, found, strict=True):
        pooled[:, rows] = [each.losses for each in judged]
    return Evidence(plain, pooled, judging_weight(weight, folds), folds, states, found, least, groups_of(problem))


def groups_of(problem):
    """Labels of the samples' groups, where a splitter goes by them, or of copies; None where each counts by itself."""
    groups = problem.split_params.get("groups")
    return problem.copies if groups is None else np.asarray(groups)


def judging_weight(weight, folds):
    """Weights of the samples that folds hold out, and 0 for the others."""
    judging = np.zeros(len(weight))
    for rows in folds:
        judging[rows] = weight[rows]
    return judging


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
        temperature, logits = train.solve(prior=True).temperature, held_out.logits
    else:
        temperature = train.solve(train.logits_under(perturbation), smooth=True).temperature
        logits = exact.logits_under(perturbation)
    return HeldOut(-exact.log_likelihoods(temperature, logits).cpu().numpy(), temperature, logits)
