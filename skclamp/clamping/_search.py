"""The search: candidates are judged out of fold, and the best one is fitted to all the samples."""

import logging
from dataclasses import dataclass, field, replace
from functools import partial
from operator import itemgetter

import numpy as np
import torch

from .._backbones.differentiable import CrossFittedBackbone
from .._solvers.temperature import warn_of_bound
from .._utils.warnings import note
from ..exceptions import CalibrationSetWarning, NotConvergedWarning
from ..perturbations._words import title_of
from ._acceleration import accelerate
from ._guard import LEVEL, MIN_SAMPLES, Evidence, cross_examine
from ._learner import check_settings
from ._problem import Problem, check_differentiable
from ._state import Settings, State
from ._verdict import NOTHING_TRIED, NOTHING_WAS_TRIED, REFUSED, Verdict

logger = logging.getLogger("skclamp")


@dataclass
class Outcome:
    """What a search found."""

    # Of all candidates, where folds judged them; which did best; and whether that one is to be kept.
    evidence: Evidence | None = None
    best: int = 0
    verdict: Verdict | None = None
    # What all the samples made of it; None where temperature scaling is the outcome.
    state: State | None = None
    # What T comes from, samples and the logits of their perturbed inputs: all of them, or those that were held out, out
    # of fold, where folds kept the perturbation.
    problem: Problem | None = None
    logits: torch.Tensor | None = None
    # What views are searched with: the samples on the network that trains, and their splits; where a perturbation was
    # kept, its settings and, once they were asked for, the logits of all these samples under it.
    searched: Problem | None = None
    splits: list = field(default_factory=list)
    settings: Settings | None = None
    in_sample: torch.Tensor | None = None

    def with_in_sample_logits(self):
        """The same with the logits of all these samples under what was kept of a perturbation, if anything."""
        if self.state is None or self.searched is None or self.in_sample is not None:
            return self
        exact = self.searched.in_full_precision()
        return replace(self, in_sample=exact.logits_under(self.state.perturbation))

    def held_out_loss(self):
        """NLL out of fold of what was kept or, of nothing, of temperature scaling; None where none were held out."""
        if self.evidence is None:
            return None
        kept = self.state is not None and self.state.identity
        losses = self.evidence.losses[self.best] if kept else self.evidence.plain
        return float(np.average(losses, weights=self.evidence.weight))

    def beside_views(self):
        """The same where views were kept: without a perturbation this isn't temperature scaling."""
        if self.verdict is None:
            return self
        reason = self.verdict.reason.replace("this is temperature scaling", "views see the inputs as they are")
        return replace(self, verdict=replace(self.verdict, reason=reason))


def search(problem, candidates, tries, learner, *, guarded, level=LEVEL):
    """Judge candidates on the folds, and fit the best one to all the samples.

    Neighbours among the candidates should resemble each other. Each try has splits, training and held-out rows, and
    follows where those before it proved nothing; without any, the first candidate is the best. Where `guarded`, the
    best candidate is kept only where held-out samples prove, at `level` over the number of tries, that it beats
    temperature scaling.
    """
    if not candidates:
        return Outcome(searched=problem, splits=tries[0] if tries else [])
    check_differentiable(problem)
    for settings in candidates:
        check_settings(problem, settings)
    fast = quickest(problem, candidates[0].precision)
    outcome = _judge(fast, candidates, tries, learner, level)
    evidence, best = outcome.evidence, outcome.best
    verdict = _verdict(problem, outcome, candidates) if guarded else None
    outcome = replace(outcome, verdict=verdict)
    if evidence:
        _tell_of_divergence(candidates[best], [fold[best] for fold in evidence.states])
    if verdict is not None and not verdict.accepted:
        return outcome
    settings, start = _refinement(candidates[best], evidence.warm_start(best) if evidence else None)
    learner.progress.begin("all samples")
    state = learner.fit(fast, settings, start)
    if not state.identity:
        return outcome
    _tell_of_divergence(settings, [state])
    outcome = replace(outcome, state=state, settings=settings)
    temperature = state.temperature_in_sample if guarded and evidence else None
    if temperature is None:
        outcome = outcome.with_in_sample_logits()
    judged, logits = problem, outcome.in_sample
    if guarded and evidence:
        temperature = temperature or problem.solve(logits, smooth=True).temperature
        judged, logits = evidence.judged(problem), evidence.held_out_logits(fast, best, temperature)
    _solve_temperature(judged, settings, state, logits, smooth=guarded)
    return replace(outcome, problem=judged, logits=logits)


def quickest(problem, precision):
    """A problem on the network that trains and chooses."""
    # Small networks in float64, of which there is one for each fold, leave nothing to gain.
    return problem if isinstance(problem.backbone, CrossFittedBackbone) else accelerate(problem, precision)


def _judge(problem, candidates, tries, learner, level):
    """Held-out evidence of the candidates, and what it says of the best one: of the first try that proves something.

    Where none does, of that which comes nearest to it, and views are searched with the first try's splits.
    """
    # Candidates that compete are compared at their best; a single one has to beat temperature scaling, no more.
    early_stopped = len(candidates) == 1
    quiet = [
        replace(each, callbacks=None, verbose=0, early_stopped=early_stopped, interruptible=False, judged=True)
        for each in candidates
    ]
    learner.progress.expect(sum(map(len, tries)) * len(candidates) + 1)
    found = []
    for splits in tries:
        evidence = cross_examine(problem, partial(learner.fit_path, path=quiet), splits, learner.progress)
        best = evidence.best()
        verdict = evidence.verdict(best, level, len(tries))
        outcome = Outcome(evidence, best, verdict, searched=problem, splits=splits)
        if verdict.accepted:
            return outcome
        found.append(((not verdict.tried, verdict.p_value), outcome))
    if not found:
        return Outcome(searched=problem)
    _, nearest = min(found, key=itemgetter(0))
    return replace(nearest, splits=tries[0])


def _tell_of_divergence(settings, states):
    """Note that training, in a fold or at last, has raised the loss by the steps that were asked for."""
    if settings.lr != "auto" and any(state.diverged for state in states):
        note(
            f"training diverged: it ended with a greater loss than it began with; lower lr, got {settings.lr}",
            NotConvergedWarning,
            explains=True,
        )


def _verdict(problem, outcome, candidates):
    """The guard's decision on the best candidate, whatever the evidence where there are too few samples."""
    verdict = outcome.verdict or _nothing_tried(problem, candidates)
    n_judging = verdict.n_samples if outcome.evidence else problem.n_distinct
    if n_judging < MIN_SAMPLES:
        reason = f"{REFUSED if verdict.tried else NOTHING_WAS_TRIED} (the guard {_few(n_judging)})."
        verdict = replace(verdict, accepted=False, reason=reason, detectable_gain=None)
        _look_at_number(n_judging, candidates[outcome.best].perturbation)
    logger.info("%s", verdict.reason)
    return verdict


def _nothing_tried(problem, candidates):
    """The decision where no sample was held out."""
    names = [title_of(settings.perturbation) for settings in candidates]
    return replace(NOTHING_TRIED, not_tried=dict.fromkeys(names, f"the guard {_few(problem.n_distinct)}"))


def _few(n_samples):
    return f"needs {MIN_SAMPLES} samples with weight, got {n_samples}"


def _look_at_number(n_samples, perturbation):
    """Note that a family was asked for in vain; "auto" may well be temperature scaling."""
    if isinstance(perturbation, str) and perturbation == "auto":
        return
    name = repr(perturbation) if isinstance(perturbation, str) else f"{type(perturbation).__name__}(...)"
    note(
        f"perturbation={name} is left out, and temperature scaling it is: {n_samples} samples are fewer than the "
        f"{MIN_SAMPLES} of which held-out ones could prove that it helps. Collect more, or have it unproven with "
        "NeuralClampingCalibrator's validation_fraction=None",
        CalibrationSetWarning,
    )


def _refinement(settings, start):
    """How to go on from what the folds found, and from where: natural steps from there, others from the beginning."""
    if start is None or not start.natural:
        return settings, None
    return replace(settings, max_epochs=max(1, settings.max_epochs // 2)), start


def _solve_temperature(problem, settings, state, logits, smooth):
    # Natural steps leave T at the optimum of the few samples that they were tried on.
    if settings.refit_temperature or state.natural:
        gamma = 0.0 if settings.refit_temperature else settings.gamma
        # So few parameters, driven so far, may separate the samples, which then promise certainty.
        solution = problem.solve(logits, gamma=gamma, smooth=smooth or (state.natural and state.perturbs), prior=True)
        warn_of_bound(solution)
        state.temperature = solution.temperature
