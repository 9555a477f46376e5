"""The search: candidates are judged out of fold, and the best one is fitted to all the samples."""

import copy
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from .._judging.out_of_fold import LEVEL, MIN_SAMPLES, Evidence, Made, decide
from .._judging.verdict import Decision, Reason, Untried, unheard
from .._judging.words import left_out
from .._solvers.temperature import warn_of_bound
from .._utils.warnings import note
from ..exceptions import CalibrationSetWarning, NotConvergedWarning
from ..perturbations._words import title_of
from ._acceleration import accelerate
from ._learner import check_settings
from ._problem import Problem, check_differentiable
from ._state import Settings, State


class HeldOut(NamedTuple):
    """What held-out samples say of what was learned from the others of a fold."""

    # NLL of each, at the exact temperature of the training samples.
    losses: np.ndarray
    temperature: float
    # Of this process's held-out samples; None where several candidates would need much memory.
    logits: torch.Tensor | None = None
    # What was learned: the state of a perturbation, or the logits of each view; and the same for the judge.
    learned: Any = None
    made: Made | None = None


class Judged(NamedTuple):
    """What the folds of one try say of the candidates: evidence, the best one, and what each fold made of each."""

    evidence: Evidence
    best: int
    decision: Decision
    held_out: list[list[HeldOut]]

    def of_best(self):
        """What each fold made of the best candidate."""
        return [fold[self.best] for fold in self.held_out]


@dataclass
class Outcome:
    """What a search found."""

    # What views are searched with: the samples on the network that trains, and training and held-out rows.
    searched: Problem
    splits: list
    # Where folds judged the candidates; and whether the best one is kept, None without a guard.
    judged: Judged | None = None
    decision: Decision | None = None
    # What all the samples made of it, and its settings; None where temperature scaling is the outcome.
    state: State | None = None
    settings: Settings | None = None
    # What T comes from, samples and the logits of their perturbed inputs: all of them, or those that were held out, out
    # of fold, where folds kept the perturbation.
    problem: Problem | None = None
    logits: torch.Tensor | None = None
    # Logits of all the samples under the state's perturbation, where they are known.
    in_sample: torch.Tensor | None = None

    def held_out_loss(self):
        """NLL out of fold of what was kept or, of nothing, of temperature scaling; None where none were held out."""
        if self.judged is None:
            return None
        evidence = self.judged.evidence
        losses = evidence.plain if self.state is None else evidence.losses[self.judged.best]
        return float(np.average(losses, weights=evidence.weight))


def search(problem, candidates, tries, learner, *, guarded, level=LEVEL):
    """Judge candidates on the folds, and fit the best one to all the samples.

    Neighbours among the candidates should resemble each other. Each try has splits, training and held-out rows, and
    follows where those before it proved nothing; without any, the first candidate is the best. Where `guarded`, the
    best candidate is kept only where held-out samples prove, at `level` over the number of tries, that it beats
    temperature scaling.
    """
    if not candidates:
        return Outcome(problem, tries[0] if tries else [])
    check_differentiable(problem)
    for settings in candidates:
        check_settings(problem, settings)
    fast = quickest(problem, candidates[0].precision)
    judged, splits = _judge(fast, candidates, tries, learner, level)
    best, decision = judged.best if judged else 0, None
    if guarded:
        decision = judged.decision if judged else _too_few(problem, candidates)
        too_few = decision.objections and decision.objections[0].reason == Reason.FEW_FOR_THE_GUARD
        perturbation = candidates[best].perturbation
        # "auto" may well be temperature scaling.
        if too_few and not (isinstance(perturbation, str) and perturbation == "auto"):
            note(left_out(perturbation, decision.objections[0].value), CalibrationSetWarning)
    if judged:
        _tell_of_divergence(candidates[best], [held_out.learned for held_out in judged.of_best()])
    if decision is not None and not decision.verdict.accepted:
        return Outcome(fast, splits, judged, decision)
    settings, start = candidates[best], _warm_start(judged) if judged else None
    if start is not None and start.natural:
        settings = replace(settings, max_epochs=max(1, settings.max_epochs // 2))
    else:
        # Other optimisers go on from the beginning.
        start = None
    learner.progress.begin("all samples")
    state = learner.fit(fast, settings, start)
    if not state.identity:
        return Outcome(fast, splits, judged, decision)
    _tell_of_divergence(settings, [state])
    # What all the samples make of it has another size of logits than what a fold made.
    temperature = state.temperature_in_sample if guarded and judged else None
    in_sample = None if temperature else fast.in_full_precision().logits_under(state.perturbation)
    solved, logits = problem, in_sample
    if guarded and judged:
        temperature = temperature or problem.solve(in_sample, smooth=True).temperature
        solved, logits = out_of_fold(fast, judged.evidence.folds, judged.of_best(), temperature)
    # Natural steps leave T at the optimum of the few samples that they were tried on.
    if settings.refit_temperature or state.natural:
        gamma = 0.0 if settings.refit_temperature else settings.gamma
        # So few parameters, driven so far, may separate the samples, which then promise certainty.
        smooth = guarded or (state.natural and state.perturbs)
        solution = solved.solve(logits, gamma=gamma, smooth=smooth, prior=True)
        warn_of_bound(solution)
        state.temperature = solution.temperature
    return Outcome(fast, splits, judged, decision, state, settings, solved, logits, in_sample)


def quickest(problem, precision):
    """A problem on the network that trains and chooses."""
    # Small networks in float64, of which there is one for each fold, leave nothing to gain.
    return problem if problem.backbone.splits is not None else accelerate(problem, precision)


def _judge(problem, candidates, tries, learner, level):
    """What folds say of the candidates, and the splits for views: of the first try that proves something.

    Where none does, of that which comes nearest to it, and views are searched with the first try's splits.
    """
    # Candidates that compete are compared at their best; a single one has to beat temperature scaling, no more.
    early_stopped = len(candidates) == 1
    quiet = [
        replace(settings, callbacks=None, verbose=0, early_stopped=early_stopped, interruptible=False, judged=True)
        for settings in candidates
    ]

    def learn(_, train, held_out):
        return hold_out_all(train, held_out, learner.fit_path(train, quiet))

    learner.progress.expect(sum(map(len, tries)) * len(candidates) + 1)
    refused = []
    for splits in tries:
        evidence, held_out = cross_examine(problem, splits, learn, learner.progress)
        best = evidence.best()
        judged = Judged(evidence, best, decide(evidence, best, level, len(tries)), held_out)
        if judged.decision.verdict.accepted:
            return judged, splits
        refused.append(judged)
    if not refused:
        return None, []
    verdicts = [judged.decision.verdict for judged in refused]
    nearest = min(range(len(tries)), key=lambda k: (not verdicts[k].tried, verdicts[k].p_value))
    return refused[nearest], tries[0]


def cross_examine(problem, splits, learn, progress=None):
    """Evidence of candidates, learned in each fold and judged out of fold, and what each fold made of each.

    `learn` takes the number of a fold, its training and its held-out part, both a Problem, to what the held-out part
    says of the baseline, a HeldOut, and of the candidates, a list of them. The splits are training and held-out rows,
    and no row is held out twice.
    """
    # In the order of the samples, as processes that share them need it.
    splits = [(np.sort(train), np.sort(rows)) for train, rows in splits]
    weight, groups = problem.weight_of_all.numpy(), problem.split_params.get("groups")
    for k, (train, rows) in enumerate(splits):
        for part, what in ((train, "to train on"), (rows, "held out")):
            if not weight[part].any():
                raise ValueError(f"sample_weight must not be zero on all the samples {what}; got zeros in fold {k}")
    plain, judging, folds, least = np.zeros(len(problem)), np.zeros(len(problem)), [], []
    for k, (train, rows) in enumerate(splits):
        if progress:
            progress.begin(f"fold {k + 1} of {len(splits)}")
        held_out = problem.take(rows)
        baseline, candidates = learn(k, problem.take(train), held_out)
        folds.append(candidates)
        plain[rows], judging[rows] = baseline.losses, weight[rows]
        least.append(held_out.solve(baseline.logits).loss)
        if progress:
            of_all = [baseline.losses, *(candidate.losses for candidate in candidates)]
            plain_loss, *means = np.average(of_all, axis=1, weights=weight[rows])
            best = int(np.argmin(means))
            progress.held_out(candidates[best].made, means[best], plain_loss)
    losses = np.zeros((len(folds[0]), len(problem)))
    for (_, rows), candidates in zip(splits, folds, strict=True):
        losses[:, rows] = [candidate.losses for candidate in candidates]
    made = [[candidate.made for candidate in fold] for fold in folds]
    groups = problem.copies if groups is None else np.asarray(groups)
    return Evidence(plain, losses, judging, [rows for _, rows in splits], least, made, groups), folds


def hold_out_all(train, held_out, states):
    """What held-out samples say of temperature scaling and of each state; of equal ones once.

    Neighbours on a path may have taken no step.
    """
    baseline = hold_out(train, held_out)
    candidates: list[HeldOut] = []
    for state in states:
        twins = (other for other in candidates if _equal(other.learned.perturbation, state.perturbation))
        seen = next(twins, None) if state.perturbs else baseline
        seen = seen or hold_out(train, held_out, state.perturbation)
        name = title_of(state.perturbation)
        told = {
            "perturbation": name if state.perturbs else "none",
            "n_epochs": len(state.history),
            "temperature": float(seen.temperature),
        }
        made = Made(name, state.perturbs, told, state.untried)
        candidates.append(seen._replace(learned=state, made=made))
    if len(candidates) > 1:
        candidates = [candidate._replace(logits=None) for candidate in candidates]
    return baseline, candidates


def hold_out(train, held_out, perturbation=None):
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


def _equal(perturbation, other):
    first, second = perturbation.state_dict(), other.state_dict()
    return _alike(first, second) and all(torch.equal(first[name], second[name]) for name in first)


def _alike(first, second):
    """Whether two state dicts are of the same perturbation."""
    return list(first) == list(second) and all(first[name].shape == second[name].shape for name in first)


def _warm_start(judged):
    """Where to start on all the samples: what the folds agree on, or the best of them.

    Folds that chose the same perturbation have their parameters averaged, which is nearly as good as a fit to all their
    samples; of others the one counts that did best against temperature scaling.
    """
    evidence, states = judged.evidence, [held_out.learned for held_out in judged.of_best()]
    differences = evidence.by_fold(evidence.losses[judged.best] - evidence.plain)
    start = copy.deepcopy(states[int(np.argmin(differences))])
    parts = [state.perturbation.state_dict() for state in states]
    if all(_alike(part, parts[0]) for part in parts):
        # What counts or flags is the first's.
        stacks = {name: [part[name] for part in parts] for name in parts[0]}
        means = {n: torch.stack(s).mean(0) if s[0].is_floating_point() else s[0] for n, s in stacks.items()}
        start.perturbation.load_state_dict(means)
    return start


def out_of_fold(problem, folds, held_out, temperature):
    """The samples that were held out, and this process's logits of them, each under what its fold learned.

    `temperature` is the one that suits these samples under what all the samples learned, and each fold's logits are
    scaled as if it suited that fold's own.
    """
    logits, everyone = problem.logits.clone(), torch.as_tensor(np.sort(np.concatenate(folds)))
    for rows, seen in zip(folds, held_out, strict=True):
        _, places = problem.shard.take(torch.as_tensor(rows))
        part = seen.logits
        if part is None:
            part = problem.take(rows).in_full_precision().logits_under(seen.learned.perturbation)
        logits[places.to(logits.device)] = part * (temperature / seen.temperature)
    judging = problem if len(everyone) == len(problem) else problem.take(everyone)
    return judging, problem.logits_of(everyone, logits)


def _tell_of_divergence(settings, states):
    """Note that training, in a fold or at last, has raised the loss by the steps that were asked for."""
    if settings.lr != "auto" and any(state.diverged for state in states):
        note(
            f"training diverged: it ended with a greater loss than it began with; lower lr, got {settings.lr}",
            NotConvergedWarning,
            explains=True,
        )


def _too_few(problem, candidates):
    """The decision where so few samples were left that none was held out."""
    n_samples = problem.n_distinct
    too_few = Untried(float("inf"), Reason.FEW_FOR_THE_GUARD, n_samples, MIN_SAMPLES)
    names = [title_of(settings.perturbation) for settings in candidates]
    return unheard(Reason.FEW_FOR_THE_GUARD, n_samples, MIN_SAMPLES, untried=dict.fromkeys(names, too_few))
