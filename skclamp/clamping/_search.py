"""The search: candidates are judged out of fold, and the best one is fitted to all the samples."""

import copy
from collections import OrderedDict
from dataclasses import replace
from operator import attrgetter

import numpy as np
import torch
from skorch.history import History
from torch import nn

from .._judging.out_of_fold import MIN_SAMPLES, MIN_UNITS, Evidence, HeldOut, decide, keep_by_score, may_lose
from .._judging.paired import of_groups, student_below_zero
from .._judging.score import combined_p_value
from .._judging.verdict import Objection, Reason, nothing_tried
from .._judging.words import left_out
from .._utils.warnings import note
from ..exceptions import CalibrationSetWarning, NotConvergedWarning
from ..perturbations._norm import norm_part
from ..perturbations._words import title_of
from ._learner import check_settings, without_layers
from ._problem import check_differentiable, on_private_copies, with_norm_layers, without_compiler
from ._screen import look_at_identity, scores_of, screen_of
from ._state import State

# Of the families whose gradients are beyond chance, so many of the least p values are fitted.
_MOST_BY_SCORE = 2
# Steps of a fold of few samples, after which these are fitted at the cost of others.
_FEW_SAMPLES, _MOST_STEPS = 1000, 5


def why_nothing_is_tried(problem, looked, n_observed, *, guarded, unasked):
    """The `Reason` why neither perturbations nor views are tried, from what was looked at; None where they are.

    `n_observed` is the number of classes that have samples. What is `unasked` for isn't tried where it can't help, nor
    where nothing can tell whether it does: whole parts of a recording are of that recording.
    """
    if looked and looked.misordered:
        return Reason.ANOTHER_ORDER
    if guarded and n_observed == 1:
        return Reason.ONE_CLASS
    if unasked and problem.is_recording:
        return Reason.RECORDING
    if looked and unasked and looked.random:
        return Reason.RANDOM
    return Reason.GUESSES if looked and unasked and looked.guesses else None


def without_appended_features(candidates):
    """The candidates of "auto" that perturb inputs alone, where the last one clamps features on top; else none."""
    *alone, last = candidates
    return alone if last.features and alone and not alone[0].features and alone[0].perturbation == "auto" else []


def prepared(problem, candidates, *, unasked, by_name):
    """The problem as a search takes it, and those of the candidates that suit it; raises where one is impossible.

    The perturbation is `unasked` for, or features alone are clamped `by_name`.
    """
    if candidates and candidates[0].perturbation != "norm":
        check_differentiable(problem)
    if candidates and unasked and problem.logits.ndim > 2:
        # Features of these are often worth a change where nothing has changed: that is for who asks for it.
        candidates = without_appended_features(candidates) or candidates
    if any(settings.features for settings in candidates):
        problem = with_norm_layers(problem)
        if not problem.norm_layers:
            if by_name:
                rule = "perturbation='norm' is left out, and features stay as they are"
                note(f"{rule}: {without_layers(problem)}", CalibrationSetWarning)
            # What has nothing to clamp is no candidate beside the inputs alone.
            candidates = without_appended_features(candidates) or candidates
    if candidates:
        check_settings(problem, candidates[0])
    problem = without_compiler(problem)
    return on_private_copies(problem) if problem.norm_layers else problem, candidates


def propose(clamp, candidates, learner, level, *, guarded, draws_folds, perturbation):
    """What folds make of candidates for a perturbation: the clamp with their evidence, the `Decision`, and settings.

    `fit_to_all` takes the clamp and the settings of the best candidate, which are None where nothing competes.
    Neighbours among the candidates should resemble each other. Without splits the first one is the best. Where
    `guarded`, held-out samples have to prove, at `level`, that it beats temperature scaling; else there is no decision.
    Of classes without samples, which would best be ruled out, nothing is learned.
    """
    unasked = guarded and perturbation == "auto"
    searched, candidates = prepared(clamp.searched, candidates, unasked=unasked, by_name=perturbation == "norm")
    clamp = replace(clamp, searched=searched)
    if not candidates:
        return clamp, None, None
    problem, splits, settings = searched.among_observed(), clamp.splits, candidates[0]
    if not splits:
        if not guarded:
            return clamp, None, settings
        too_few = Objection(Reason.FEW_FOR_THE_GUARD, problem.n_distinct, MIN_UNITS)
        decision = nothing_tried(too_few, {title_of(settings.perturbation): too_few})
        _note_left_out(settings, decision)
        return clamp, decision, settings
    at_identity = found = None
    # The first candidate takes natural steps from the identity, of the inputs' NLL alone.
    natural = not (settings.gamma or settings.penalty) and isinstance(settings.training, str)
    scorable = guarded and natural and sum(not candidate.features for candidate in candidates) == 1
    # Gradients have to promise something where nobody asked for a certain perturbation.
    if scorable or unasked:
        learner.progress.begin("gradients")
        at_identity, untried = look_at_identity(problem, candidates, splits)
    if at_identity is not None and unasked:
        found = screen_of(at_identity, level)
        learner.progress.show(**{"p of gradients": f"{found.p_value:.2g}"})
        if why := found.objection:
            untried = untried | dict.fromkeys(at_identity.families, why)
            return clamp, nothing_tried(why, untried, found.detectable_gain), settings
    # Folds come first. Where these prove nothing the score test may follow, with the other half of the level, unspent
    # where the screen isn't clear. Where it can't prove anything, folds have all.
    # A splitter without groups, such as KFold() without a shuffle, is for neighbours in time.
    independent = (draws_folds or "groups" in searched.split_params) and not searched.is_recording
    scored = scorable and independent and at_identity is not None
    learner.progress.expect(len(splits) * len(candidates) + 1)
    looked = at_identity is not None
    evidence = _hold_out_on(problem, splits, candidates, learner, looked=looked, screened=found is not None)
    decision = _decided(evidence, level / (1 + scored), candidates)
    if scored and not (decision.verdict.accepted or decision.dismissed or (found and not found.is_clear)):
        scores = scores_of(at_identity)
        # Sums of few gradients are further from normal.
        of_scores = level / (4 if len(problem) < MIN_SAMPLES else 2)
        if scores:
            evidence, decision, candidates = _by_score(
                problem, splits, candidates, learner, at_identity, scores, of_scores, evidence, decision
            )
        else:
            decision = _decided(evidence, level, candidates)
    best = decision.candidate
    settings = candidates[best]
    _tell_of_divergence(settings, [held_out.learned for held_out in evidence.of(best)])
    if clamp.searched.observed is not None:
        evidence, decision = _among_all(clamp.searched, splits, evidence, decision)
        best = 0
    if guarded:
        _note_left_out(settings, decision)
    return replace(clamp, evidence=evidence, best=best), decision if guarded else None, settings


def most_promising(proposals):
    """Which of some proposals is expected to have the least NLL; the first, where that of one isn't known."""
    if len(proposals) == 1 or any(clamp.evidence is None for clamp, *_ in proposals):
        return 0
    expected = []
    for clamp, decision, _ in proposals:
        kept = decision.verdict.accepted
        expected.append(clamp.evidence.expected(clamp.best) if kept else clamp.held_out_loss(False))
    return int(np.argmin(expected))


def _note_left_out(settings, decision):
    """Note that what was asked for by name is left out for want of samples; "auto" may well be temperature scaling."""
    if decision.dismissed and settings.perturbation != "auto":
        note(left_out(settings.perturbation, decision.dismissed.value), CalibrationSetWarning)


def _by_score(problem, splits, candidates, learner, at_identity, scores, level, evidence, refused):
    """Evidence, decision and candidates of the score test, in the place of those of folds, which `refused`."""
    names = sorted(scores, key=lambda name: scores[name].p_value)
    p_value = combined_p_value([score.p_value for score in scores.values()])
    asked_for = [name for name in names[:_MOST_BY_SCORE] if max(p_value, scores[name].p_value) < level]
    if asked_for:
        settings, families = replace(candidates[0], weak_prior=True), at_identity.families
        alone = [settings] * len(asked_for)
        if settings.perturbation == "auto":
            modules = [nn.Sequential(OrderedDict({name: families[name]})) for name in asked_for]
            alone = [replace(settings, perturbation=module) for module in modules]
        learner.progress.expect(len(alone) * len(splits) + 1)
        by_score = _hold_out_on(problem, splits, alone, learner, looked=True, by_score=True)
        best = by_score.best()
        if np.average(by_score.losses[best] - by_score.baseline, weights=by_score.weight) < 0:
            return by_score, keep_by_score(by_score, best, p_value, refused), alone
    reason = Reason.NO_GAIN_ALONG_GRADIENTS if asked_for else Reason.CHANCE_GRADIENTS
    objection = Objection(reason, p_value, level, names[0])
    return evidence, refused._replace(objections=[*refused.objections, objection]), candidates


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
    accepted = [decision for decision in decisions if decision.verdict.accepted]
    return min(accepted, key=attrgetter("verdict.difference"), default=decisions[evidence.best()])


def _hold_out_on(problem, splits, candidates, learner, *, looked, screened=False, by_score=False):
    """Evidence of candidates, each fitted to the training part of each split; few `screened` samples by few steps."""
    # Candidates that compete are compared at their best; a single one has to beat temperature scaling, no more.
    early_stopped = (len(without_appended_features(candidates)) or len(candidates)) == 1
    quiet = [replace(settings, early_stopped=early_stopped, for_guard=True, looked=looked) for settings in candidates]
    if screened and problem.n_distinct < _FEW_SAMPLES:
        quiet = [replace(settings, max_epochs=min(settings.max_epochs, _MOST_STEPS)) for settings in quiet]
    judged: list[tuple[HeldOut, list[HeldOut]]] = []
    gained, n_judging = 0.0, 0
    for train, held_out in parts_of_folds(problem, splits):
        learner.progress.begin(f"fold {len(judged) + 1} of {len(splits)}")
        learned: list[State] = []
        for settings in quiet:
            settings, start = learner.following(train, settings, [] if by_score else learned)
            learned.append(learner.fit(train, settings, start))
        baseline, states = hold_out_all(train, held_out, learned)
        judged.append((baseline, states))
        weight = held_out.weight.numpy()
        losses = np.array([baseline.losses, *(state.losses for state in states)])
        baseline_loss, *means = np.average(losses, axis=1, weights=weight)
        best = int(np.argmin(means))
        learner.progress.held_out(states[best], means[best], baseline_loss)
        gained, n_judging = gained + (losses[0] - losses[1:]) @ weight, n_judging + held_out.n_weighted
        # The folds after a half, or several parts, that gained nothing are left out.
        if screened and n_judging >= MIN_SAMPLES and len(judged) > may_lose(len(splits)) and gained.max() <= 0:
            break
    return Evidence.from_folds(problem, splits[: len(judged)], judged)


def fit_to_all(clamp, settings, learner, *, guarded):
    """The clamp with what was kept, fitted to all the samples, and with what its last T comes from."""
    problem, held_out = clamp.searched, clamp.folds
    start = _warm_start(clamp) if held_out else None
    if start is not None and start.natural:
        settings = replace(settings, max_epochs=max(1, settings.max_epochs // 2))
    else:
        # Other optimisers go on from the beginning.
        start = None
    if start is not None and start.wide and 2 * min(len(train) for train, _ in clamp.splits) > len(problem):
        # So many parameters never converge: what each fold has learned from most samples is proved, and further steps
        # fit noise.
        state = replace(start, history=History())
    else:
        learner.progress.expect(1)
        learner.progress.begin("all samples")
        state = learner.fit(problem.among_observed(), settings, start)
    if not state.identity:
        return clamp
    _tell_of_divergence(settings, [state])
    in_sample = problem.logits_under(state.perturbation)
    judging, logits, scales = problem, in_sample, None
    if guarded and held_out:
        folds = clamp.evidence.folds
        parts = [seen.logits for seen in held_out]
        # The final fit scales logits differently than folds did. T tells by how much, but of few samples that many
        # parameters fit, where it falls with every step, their own size.
        if settings.features and problem.n_distinct < _FEW_SAMPLES:
            scales = [_size(in_sample[rows]) / _size(part) for rows, part in zip(folds, parts, strict=True)]
        else:
            temperature = problem.solve(in_sample, smooth=True).temperature
            scales = [temperature / seen.temperature for seen in held_out]
        judging, logits = pooled_logits(problem, folds, parts, scales)
    return replace(
        clamp,
        stage="perturbation",
        before=clamp,
        state=state,
        judging=judging,
        logits=logits,
        in_sample=in_sample,
        scales=scales,
    )


def _among_all(problem, splits, evidence, decision):
    """Evidence on the best candidate, and the decision, among all classes; refused where it takes samples for others.

    What those with samples proved may be a matter of those without.
    """
    learned, kept, judged = evidence.of(decision.candidate), decision.verdict.accepted, []
    splits = splits[: len(learned)]
    for (train, held_out), seen in zip(parts_of_folds(problem, splits), learned, strict=True):
        baseline = hold_out(train, held_out)
        own = hold_out(train, held_out, seen.learned.perturbation) if kept else baseline
        told = {name: getattr(own, name) for name in ("losses", "temperature", "logits", "train_loss")}
        judged.append((baseline, [seen._replace(**told)]))
    evidence = Evidence.from_folds(problem, splits, judged)
    worse = worse_among_all(evidence, 0) if kept else None
    return evidence, decision.refused(worse) if worse else decision


def worse_among_all(evidence, candidate):
    """An `Objection` to a candidate that raises the NLL among all classes beyond its error; else None."""
    differences = evidence.losses[candidate] - evidence.baseline
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
        moved, name = state.perturbs, title_of(state.perturbation)
        # Features that stay as they are leave a candidate where another is.
        alike = [other for other in candidates if other.learned.perturbation is state.perturbation]
        seen = alike[0] if alike else baseline
        if moved and not alike:
            seen = hold_out(train, held_out, state.perturbation)
        told = {
            "perturbation": name if moved else "none",
            "n_epochs": len(state.history),
            "temperature": float(seen.temperature),
        }
        candidates.append(seen._replace(learned=state, name=name, moved=moved, told=told, untried=state.untried))
    return baseline, candidates


def hold_out(train, held_out, perturbation=None):
    """Return the `HeldOut` of a perturbation at the temperature of the training samples.

    Under a perturbation the labels are smoothed: parameters that separate the training samples would otherwise promise
    certainty, which a single held-out mistake refutes.
    """
    if perturbation is None:
        (temperature, own), logits = train.in_sample(prior=True), held_out.logits
    else:
        temperature, own = train.in_sample(train.logits_under(perturbation), smooth=True)
        logits = held_out.logits_under(perturbation)
    return HeldOut(held_out.nll(temperature, logits), temperature, logits, n_train=len(train), train_loss=own)


def _warm_start(clamp):
    """Return where to start on all the samples: what the folds agree on, or the best of them.

    Folds that chose the same perturbation have their parameters averaged; of others the one counts that did best
    against temperature scaling.
    """
    evidence, states = clamp.evidence, [held_out.learned for held_out in clamp.folds]
    differences = evidence.by_fold(evidence.losses[clamp.best] - evidence.baseline)
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
