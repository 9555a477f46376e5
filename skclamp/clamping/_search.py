"""The search: candidates are judged out of fold, and the best one is fitted to all the samples."""

import copy
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from skorch.history import History
from torch import nn

from .._judging.out_of_fold import LEVEL, MIN_SAMPLES, Evidence, HeldOut, decide, keep_by_score, may_lose
from .._judging.paired import of_groups, student_below_zero
from .._judging.score import combined_p_value
from .._judging.verdict import Decision, Objection, Reason, nothing_tried
from .._judging.words import left_out
from .._utils.warnings import note
from ..exceptions import CalibrationSetWarning, NotConvergedWarning
from ..perturbations._norm import norm_part
from ..perturbations._words import title_of
from ._problem import Problem
from ._screen import are_apart, at_own_identity, look_at_identity, scores_of, screen_of
from ._state import Settings, State

# Of the families whose gradients are beyond chance, so many of the least p values are fitted.
_MOST_BY_SCORE = 2
# Steps of a fold of few samples, after which these are fitted at the cost of others.
_FEW_SAMPLES, _MOST_STEPS = 1000, 5


@dataclass(frozen=True)
class Outcome:
    """The result of a search."""

    # What views are searched with: the samples, and training and held-out rows.
    searched: Problem
    splits: list = field(default_factory=list)
    # Where folds judged the candidates; of these the best one, and its settings.
    evidence: Evidence | None = None
    best: int = 0
    settings: Settings | None = None
    # Whether it is kept; None without a guard.
    decision: Decision | None = None
    # What all the samples made of it; None where temperature scaling is the outcome.
    state: State | None = None
    # What T comes from, samples and the logits of their perturbed inputs: all of them, or those that were held out, out
    # of fold, where folds kept the perturbation.
    problem: Any = None
    logits: torch.Tensor | None = None
    # Logits of all the samples under the state's perturbation, where they are known; and, where folds kept it, what
    # gives the logits of each fold the size of these.
    in_sample: torch.Tensor | None = None
    scales: list | None = None
    # Of the best candidate among all classes, where the other evidence is among those with samples.
    among_all: Evidence | None = None

    @property
    def accepted(self):
        """Return whether a guard has kept the best candidate."""
        return self.decision is not None and self.decision.verdict.accepted

    def by_fold(self):
        """Return the `HeldOut` of the best candidate in each fold."""
        if self.among_all is not None:
            return self.among_all.of(0)
        return self.evidence.of(self.best) if self.evidence else []

    def held_out_loss(self):
        """NLL out of fold of what was kept or, of nothing, of temperature scaling; None where none were held out."""
        evidence, best = (self.evidence, self.best) if self.searched.seen is None else (self.among_all, 0)
        if evidence is None:
            return None
        losses = evidence.plain if self.state is None else evidence.losses[best]
        return float(np.average(losses, weights=evidence.weight))

    def among_seen(self):
        """The same outcome, of what folds held out, among the classes with samples."""
        problem = replace(self.problem, logits=self.logits).among_seen()
        return replace(self, searched=self.searched.among_seen(), problem=problem, logits=problem.logits)

    def expected_loss(self):
        """NLL to expect of what folds have proved, once all the samples teach it, or of what they began at."""
        if self.evidence is None:
            return np.nan
        if self.decision is None or self.accepted:
            return self.evidence.expected()[self.best]
        return self.evidence.by_fold(self.evidence.plain).mean()


def without_appended_features(candidates):
    """The candidates of "auto" that perturb inputs alone, where the last one clamps features on top; else none."""
    *alone, last = candidates
    return alone if last.features and alone and not alone[0].features and alone[0].perturbation == "auto" else []


def search(problem, candidates, splits, learner, *, guarded, level=LEVEL, independent=False, screened=False):
    """Judge candidates on the folds; `fit_to_all` fits what is kept to all the samples.

    Neighbours among the candidates should resemble each other. The splits are training and held-out rows; without any,
    the first candidate is the best. Where `guarded`, held-out samples have to prove, at `level`, that the best
    candidate beats temperature scaling; where samples, or their groups, are `independent`, gradients of all may as
    well. Where it is `screened`, these have to promise something first. Of classes without samples, which would best be
    ruled out, nothing is learned.
    """
    if not candidates:
        return Outcome(problem, splits)
    everything, problem = problem, problem.among_seen()
    told, found, settings = None, None, candidates[0]
    # The first candidate takes natural steps from the identity, of the inputs' NLL alone.
    natural = not (settings.gamma or settings.penalty) and isinstance(settings.training, str)
    plain = guarded and natural and sum(not settings.features for settings in candidates) == 1
    if splits and (plain or screened):
        learner.progress.begin("gradients")
        told, untried = look_at_identity(problem, candidates, splits)
    if told is not None and screened:
        found = screen_of(told, level)
        learner.progress.show(**{"p of gradients": f"{found.p_value:.2g}"})
        if why := found.objection:
            untried = untried | dict.fromkeys(told.families, why._replace(lack=0.0))
            decision = nothing_tried(why, untried, found.detectable_gain)
            return Outcome(everything, splits, decision=decision)
    outcome = Outcome(problem, settings=candidates[0])
    if splits:
        scored = plain and independent and told is not None
        outcome = _judge(problem, candidates, splits, learner, level, told, found, scored=scored)
    elif guarded:
        too_few = Objection(Reason.FEW_FOR_THE_GUARD, problem.n_distinct, MIN_SAMPLES)
        untried = {title_of(candidates[0].perturbation): too_few}
        outcome = replace(outcome, decision=nothing_tried(too_few, untried))
    outcome = replace(outcome, searched=everything)
    outcome = outcome if everything.seen is None else _judged_among_all(outcome)
    settings, evidence = outcome.settings or candidates[0], outcome.evidence
    decision = outcome.decision if guarded else None
    # "auto" may well be temperature scaling.
    if decision is not None and decision.unheard and settings.perturbation != "auto":
        note(left_out(settings.perturbation, decision.unheard.value), CalibrationSetWarning)
    if evidence:
        _tell_of_divergence(settings, [held_out.learned for held_out in outcome.by_fold()])
    return replace(outcome, decision=decision)


def _judge(problem, candidates, splits, learner, level, at_identity, found, *, scored):
    """The `Outcome` of judging candidates; its splits are those that views are searched with.

    Folds come first. Where these prove nothing the score test follows, where samples may be `scored`, with the other
    half of the level, unspent where the screen, which `found` something, isn't clear. Where it can't prove anything,
    folds have all.
    """
    screened = found is not None

    def outcome(evidence, decision, candidates=candidates):
        best = decision.candidate
        return Outcome(problem, splits, evidence, best, candidates[best], decision)

    learner.progress.expect(len(splits) * len(candidates) + 1)
    evidence = _hold_out_on(problem, splits, candidates, learner, at_identity, screened=screened)
    refused = _decided(evidence, level / (1 + scored), candidates)
    scored &= not (refused.verdict.accepted or refused.unheard or (screened and not found.is_clear))
    scores = scores_of(at_identity) if scored else {}
    if not scores:
        return outcome(evidence, _decided(evidence, level, candidates) if scored else refused)
    names = sorted(scores, key=lambda name: scores[name].p_value)
    p_value = combined_p_value([score.p_value for score in scores.values()])
    asked_for = [name for name in names[:_MOST_BY_SCORE] if max(p_value, scores[name].p_value) < level / 2]
    if asked_for:
        settings, families = candidates[0], at_identity.families
        alone = [replace(settings, weak_prior=True)] * len(asked_for)
        if settings.perturbation == "auto":
            modules = [nn.Sequential(OrderedDict({name: families[name]})) for name in asked_for]
            alone = [replace(settings, weak_prior=True, perturbation=module) for module in modules]
        learner.progress.expect(len(alone) * len(splits) + 1)
        by_score = _hold_out_on(problem, splits, alone, learner, at_identity, by_score=True)
        best = by_score.best()
        if np.average(by_score.losses[best] - by_score.plain, weights=by_score.weight) < 0:
            return outcome(by_score, keep_by_score(by_score, best, p_value, refused), alone)
    reason = Reason.NO_GAIN_ALONG_GRADIENTS if asked_for else Reason.CHANCE_GRADIENTS
    objection = Objection(reason, p_value, level / 2, names[0])
    return outcome(evidence, refused._replace(objections=[*refused.objections, objection]))


def _decided(evidence, level, candidates):
    """The decision on the best candidate."""
    n_alone = len(without_appended_features(candidates))
    if not n_alone:
        return decide(evidence, evidence.best(), level)
    decisions = [decide(evidence, candidate, level) for candidate in range(len(candidates))]
    # Where a fold leaves features as they are, nothing foretells what all the samples make of them, and of T.
    moved = [norm_part(seen.learned.perturbation) is not None for seen in evidence.of(n_alone)]
    if decisions[-1].verdict.accepted and not all(moved):
        decisions[-1] = decisions[-1].refused(Objection(Reason.FEATURES_UNMOVED, sum(moved), len(moved)))
    # Many parameters win more by twice the samples than few; but what they win may be chance, where few prove it.
    accepted = [candidate for candidate, decision in enumerate(decisions) if decision.verdict.accepted]
    return decisions[evidence.most_promising(accepted) if accepted else evidence.best()]


def _hold_out_on(problem, splits, candidates, learner, at_identity, *, screened=False, by_score=False):
    """Evidence of candidates, each fitted to the training part of each split; few `screened` samples by few steps."""
    # Candidates that compete are compared at their best; a single one has to beat temperature scaling, no more.
    early_stopped = (len(without_appended_features(candidates)) or len(candidates)) == 1
    options = {"early_stopped": early_stopped, "for_guard": True}
    if screened and problem.n_distinct < _FEW_SAMPLES:
        options["max_epochs"] = min(candidates[0].max_epochs, _MOST_STEPS)
    quiet = [replace(settings, **options) for settings in candidates]
    if at_identity is not None and len(at_identity.samples) < len(problem):
        at_identity = None
    # Labels that folds hold out, where these share samples, tell the temperature of the gradients, which is no matter
    # where gradients judge.
    anew = at_identity is not None and not (by_score or are_apart(splits, len(problem)))
    judged: list[tuple[HeldOut, list[HeldOut]]] = []
    gained, n_judging = 0.0, 0
    for train, held_out in parts_of_folds(problem, splits):
        learner.progress.begin(f"fold {len(judged) + 1} of {len(splits)}")
        known = at_own_identity(train, quiet) if anew else at_identity and at_identity.take(splits[len(judged)][0])
        paths = [[settings] for settings in quiet] if by_score else [quiet]
        learned = [state for path in paths for state in learner.fit_path(train, path, known)]
        baseline, states = hold_out_all(train, held_out, learned)
        judged.append((baseline, states))
        weight = held_out.weight.numpy()
        losses = np.array([baseline.losses, *(state.losses for state in states)])
        plain_loss, *means = np.average(losses, axis=1, weights=weight)
        best = int(np.argmin(means))
        learner.progress.held_out(states[best], means[best], plain_loss)
        gained, n_judging = gained + (losses[0] - losses[1:]) @ weight, n_judging + held_out.n_weighted
        # The folds after a half, or several parts, that gained nothing are left out.
        if screened and n_judging >= MIN_SAMPLES and len(judged) > may_lose(len(splits)) and gained.max() <= 0:
            break
    return Evidence.from_folds(problem, splits[: len(judged)], judged)


def fit_to_all(outcome, learner):
    """The outcome with what was kept, fitted to all the samples, and with what its last T comes from."""
    problem, evidence, settings = outcome.searched, outcome.evidence, outcome.settings
    if settings is None or not (outcome.decision is None or outcome.accepted):
        return outcome
    start = _warm_start(outcome) if evidence else None
    if start is not None and start.natural:
        settings = replace(settings, max_epochs=max(1, settings.max_epochs // 2))
    else:
        # Other optimisers go on from the beginning.
        start = None
    if start is not None and start.wide and 2 * min(len(train) for train, _ in outcome.splits) > len(problem):
        # So many parameters never converge: what each fold has learned from most samples is proved, and further steps
        # fit noise.
        state = replace(start, in_sample=None, history=History())
    else:
        learner.progress.expect(1)
        learner.progress.begin("all samples")
        state = learner.fit(problem.among_seen(), settings, start)
    if not state.identity:
        return outcome
    if problem.seen is not None:
        # It is among some of the classes.
        state = replace(state, in_sample=None)
    _tell_of_divergence(settings, [state])
    pooled = outcome.decision is not None and evidence is not None
    # The final fit scales logits differently than folds did. T tells by how much, but of few samples that many
    # parameters fit, where it falls with every step, their own size.
    few = settings.features and problem.n_distinct < _FEW_SAMPLES
    temperature = state.in_sample[0] if pooled and state.in_sample and not few else None
    in_sample: Any = None if temperature else problem.logits_under(state.perturbation)
    judging, logits, scales = problem, in_sample, None
    if pooled:
        held_out, folds = outcome.by_fold(), evidence.folds
        parts = [_out_of_fold(problem, rows, seen) for rows, seen in zip(folds, held_out, strict=True)]
        if few:
            scales = [_size(in_sample[rows]) / _size(part) for rows, part in zip(folds, parts, strict=True)]
        else:
            temperature = temperature or problem.solve(in_sample, smooth=True).temperature
            scales = [temperature / seen.temperature for seen in held_out]
        judging, logits = pooled_logits(problem, folds, parts, scales)
    return replace(outcome, state=state, problem=judging, logits=logits, in_sample=in_sample, scales=scales)


def _judged_among_all(outcome):
    """The outcome with evidence among all classes, too; refused where it takes samples for those that have none."""
    if outcome.evidence is None:
        return outcome
    learned, kept, judged = outcome.by_fold(), outcome.accepted, []
    splits = outcome.splits[: len(learned)]
    for (train, held_out), seen in zip(parts_of_folds(outcome.searched, splits), learned, strict=True):
        plain = hold_out(train, held_out)
        own = hold_out(train, held_out, seen.learned.perturbation) if kept else plain
        told = {name: getattr(own, name) for name in ("losses", "temperature", "logits", "train_loss")}
        judged.append((plain, [seen._replace(**told)]))
    evidence = Evidence.from_folds(outcome.searched, splits, judged)
    worse = worse_among_all(evidence, 0) if kept else None
    decision = outcome.decision.refused(worse) if worse else outcome.decision
    return replace(outcome, among_all=evidence, decision=decision)


def worse_among_all(evidence, candidate):
    """An `Objection` to a candidate that raises the NLL among all classes beyond its error; else None."""
    differences = evidence.losses[candidate] - evidence.plain
    rise, error, _ = student_below_zero(*of_groups(differences, evidence.weight, evidence.groups))
    return Objection(Reason.WORSE_AMONG_ALL, rise, error) if rise > error else None


def parts_of_folds(problem, splits):
    """Yield the training and the held-out part of each split."""
    for train, rows in splits:
        yield problem.take(train), problem.take(rows)


def hold_out_all(train, held_out, states):
    """Return what held-out samples say of temperature scaling and of each state; of equal neighbours once."""
    baseline = hold_out(train, held_out)
    candidates: list[HeldOut] = []
    for state in states:
        moved, name, own = state.perturbs, title_of(state.perturbation), state.perturbation.state_dict()
        seen = None if moved else baseline
        for other in candidates if moved else ():
            values = other.learned.perturbation.state_dict()
            seen = other if [*own] == [*values] and all(map(torch.equal, own.values(), values.values())) else seen
        seen = seen or hold_out(train, held_out, state.perturbation, state.in_sample)
        told = {
            "perturbation": name if moved else "none",
            "n_epochs": len(state.history),
            "temperature": float(seen.temperature),
        }
        candidates.append(seen._replace(learned=state, name=name, moved=moved, told=told, untried=state.untried))
    if len(candidates) > 2:
        candidates = [seen._replace(logits=None) for seen in candidates]
    return baseline, candidates


def hold_out(train, held_out, perturbation=None, in_sample=None):
    """Return the `HeldOut` of a perturbation at the temperature of the training samples.

    `in_sample` is that and the mean NLL there, where they are known. Under a perturbation the labels are smoothed:
    parameters that separate the training samples would otherwise promise certainty, which a single held-out mistake
    refutes.
    """
    if perturbation is None:
        (temperature, own), logits = train.in_sample(prior=True), held_out.logits
    else:
        temperature, own = in_sample or train.in_sample(train.logits_under(perturbation), smooth=True)
        logits = held_out.logits_under(perturbation)
    losses = held_out.nll(temperature, logits)
    return HeldOut(losses, temperature, logits, n_train=len(train), train_loss=own)


def _warm_start(outcome):
    """Return where to start on all the samples: what the folds agree on, or the best of them.

    Folds that chose the same perturbation have their parameters averaged; of others the one counts that did best
    against temperature scaling.
    """
    evidence, states = outcome.evidence, [held_out.learned for held_out in outcome.by_fold()]
    differences = evidence.by_fold(evidence.losses[outcome.best] - evidence.plain)
    start = copy.deepcopy(states[int(np.argmin(differences))])
    learned = [state.perturbation.state_dict() for state in states]
    forms = [[(name, value.shape) for name, value in values.items()] for values in learned]
    if all(form == forms[0] for form in forms):
        # What counts or flags is the first's.
        stacks = {name: [values[name] for values in learned] for name in learned[0]}
        means = {n: torch.stack(s).mean(0) if s[0].is_floating_point() else s[0] for n, s in stacks.items()}
        start.perturbation.load_state_dict(means)
    return start


def _size(logits):
    """How far logits are from each other; what is added to all of a row says nothing."""
    return logits.nan_to_num(neginf=0.0).double().std(1).norm().item()


def _out_of_fold(problem, rows, seen):
    """Logits of what a fold held out, under what it learned."""
    if seen.logits is not None:
        return seen.logits
    return problem.take(rows).logits_under(seen.learned.perturbation)


def pooled_logits(problem, folds, parts, scales):
    """The samples that were held out, and logits of them: a part of each fold, times its scale."""
    logits, everyone = problem.logits.clone(), np.sort(np.concatenate(folds))
    for rows, part, scale in zip(folds, parts, scales, strict=True):
        logits[rows] = part * scale
    judging = problem if len(everyone) == len(problem) else problem.take(everyone)
    return judging, logits[everyone]


def _tell_of_divergence(settings, states):
    """Note that training, in a fold or at last, has raised the loss by the steps that were asked for."""
    if settings.lr != "auto" and any(state.diverged for state in states):
        note(
            f"training diverged: it ended with a greater loss than it began with; lower lr, got {settings.lr}",
            NotConvergedWarning,
            explains=True,
        )
