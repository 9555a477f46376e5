"""Natural gradient descent for perturbations of few parameters.

A step is solved for with the second moments of the per-sample gradients (the empirical Fisher information), and its
length is found on a subsample by forward passes alone, with T at its optimum at every trial. The way is made on the
subsample, and the last steps on all the samples: a few such passes do what hundreds of plain gradient steps do.
"""

import math
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from ..perturbations._families import SPECIAL_CASES, learnable
from ..perturbations._words import names_of
from ._gradient_moments import gradient_moments, parameters_of, prior_precision_of
from ._posterior import Step, natural_step
from ._problem import Problem
from ._state import Settings, State, Untried
from ._training import ClampingNet, run_net

# Samples that each of the first steps is made on, and that the length of any step is tried on.
_SUBSAMPLE_SIZE = 512
# Fewer samples are soon gone through, all of them.
_FEW_SAMPLES = 2 * _SUBSAMPLE_SIZE
_SUBSAMPLE_TRIAL_SIZE, _TRIAL_SIZE = 256, 512
_LONGEST_STEP, _SHORTEST_STEP = 16.0, 1 / 16
# At the most so many steps are made on these alone.
_MAX_SUBSAMPLED_STEPS = 5
# A step that should gain less, summed over the samples, is no longer worth a pass; nats.
_SMALLEST_GAIN = 1.0
# One that should gain fewer nats than this, times the root of the number of samples, leaves less than the smallest gain
# behind: a step's error is of third order in its length, in nats as the square of its gain over the samples.
_LAST_GAIN = 0.15
# Where only the verdict counts, also one that adds less than this part to what speaks for the perturbation already.
_LAST_PART = 0.25
# Log Bayes factor that speaks for a family; nats. For the first one little will do where held-out samples judge it.
_MIN_EVIDENCE, _MIN_FIRST_EVIDENCE = 3.0, 1.0
# So many families are followed by a step each, to see what they lead to.
_MAX_RIVALS = 3
# Difference of evidence at which the number of parameters decides; nats.
_TIE = 1.0


@dataclass
class _Descent:
    """The steps of one training, each from where the last one ended."""

    # Before each step that of its extensions that leads to the most evidence, if any, is appended.
    state: State
    # T of the module that is trained.
    temperature: nn.Parameter
    samples: Problem
    settings: Settings
    # The first length that is tried, in natural steps; later ones begin where the line search ended the last time.
    lr: float
    # Source of the samples of subsampled steps and of trials.
    draws: torch.Generator
    # Whether steps are made on few samples.
    subsampled: bool
    finished: bool = False
    step_size: float | None = None
    n_steps: int = 0
    gain: float = math.inf

    def step(self):
        """Take a step; what the history tells of it, or None where none is worth its passes."""
        if self.finished:
            return None
        self.n_steps += 1
        self.subsampled = self.subsampled and self.n_steps <= min(_MAX_SUBSAMPLED_STEPS, self.settings.max_epochs // 2)
        found, loss = self._find_steps()
        # Few fresh samples would like to move even the optimum, by half a nat per parameter that they determine.
        if self.subsampled and not any(_gains(step, step.n_effective_parameters) for step in found.values()):
            self.subsampled = False
            found, loss = self._find_steps()
        name, move = self._choose(found)
        if move is None or not self._is_worth(move.step):
            return None
        if name is not None:
            self._extend(name)
        if move.length == 0 and not self.subsampled:
            self._note_unmoved("no step along its gradient lowers the loss")
            return None
        self._take(move)
        self.finished = not self.subsampled and self._is_last(move, appended=name is not None)
        self.subsampled = self.subsampled and move.length > 0
        return {"train_loss": loss, "temperature": self.temperature.item(), "gain": self.gain, "step": move.length}

    def _is_worth(self, step):
        """Whether a step promises enough; on the way to a near optimum less than the one before."""
        return _gains(step, _SMALLEST_GAIN) and not (self.settings.refining and step.gain > self.gain)

    def _is_last(self, move, appended):
        """Whether a move leads near enough to the optimum, or further ones would buy too little."""
        # What is new may have promised less than it kept.
        gain = max(move.step.gain, move.gain) if appended else move.step.gain
        # A step that the search had to shorten much leads along the floor of a valley, where passes buy little more.
        return gain < self._least(move.step) or move.length < self.lr / 2

    def _least(self, step):
        """What a step must promise for another one to be worth a pass."""
        least = _LAST_GAIN * math.sqrt(step.n_effective)
        return max(least, _LAST_PART * step.evidence) if self.settings.early_stopped else least

    def _draw(self, n_samples):
        return _draw(self.samples, n_samples, self.draws)

    def _find_steps(self):
        """Steps by the name of the extension that each appends, None for none, and the loss before them."""
        state, left = self.state, list(self.state.extensions.items())
        displacement = self._displacement()
        (moments,) = self._gradients([extension for _, (extension, _) in left]).moments
        loss = moments[0].loss
        moments = [self._penalised(part, displacement) for part in moments]
        found = {None: natural_step(moments[0], displacement, state.prior_precisions)} if len(displacement) else {}
        for part, (name, (_, prior_precision)) in zip(moments[1:], left, strict=True):
            found[name] = natural_step(
                part,
                torch.cat([displacement, displacement.new_zeros(len(prior_precision))]),
                [*state.prior_precisions, prior_precision],
            )
        return found, loss

    def _choose(self, found):
        """What to append, None for nothing, and where to move.

        What speaks for an extension is asked where a step with it leads: the quadratic model at the identity sees
        little of what a perturbation gains that is still far from its optimum.
        """
        own = found.pop(None, None)
        trial = self._trial()
        move = None if own is None else self._follow_own(own, trial)
        base = 0.0 if own is None else own.evidence if move is None else move.evidence
        moves = {}
        for name in _most_promising(found):
            with self._appended(name):
                moves[name] = self._search(found[name], trial)
        least = _MIN_FIRST_EVIDENCE if own is None and self.settings.judged else _MIN_EVIDENCE
        chosen = _leanest({name: each for name, each in moves.items() if each.evidence > base + least})
        for name in found.keys() - {chosen}:
            why = _why_not(moves.get(name, found[name]), base, least, chosen, moves.get(chosen))
            self.state.untried[name] = why
        self.state.untried.pop(chosen, None)
        if chosen is None and not self.subsampled:
            # Families that all the samples didn't ask for won't be asked for again; their gradients cost time.
            self.state.extensions.clear()
        return chosen, moves.get(chosen, move)

    def _follow_own(self, step, trial):
        """Where the perturbation's own step leads; None where it isn't worth its passes."""
        if not self._is_worth(step):
            self._note_unmoved(f"its first step promises a gain of {step.gain:.2f} nats, needs {_SMALLEST_GAIN:g}")
            return None
        return self._search(step, trial, lengthen=self.subsampled or step.gain >= self._least(step))

    def _note_unmoved(self, words):
        """Say of a perturbation that is still the identity why."""
        if not self.state.perturbs:
            self.state.untried |= dict.fromkeys(names_of(self.state.perturbation), Untried(0.0, words))

    def _gradients(self, extensions):
        """Gradients at the present parameters."""
        if self.state.gradients is None:
            samples = self.samples.take(self._draw(_SUBSAMPLE_SIZE)) if self.subsampled else self.samples
            temperature = self.temperature.item()
            gradients = gradient_moments(
                samples, self.state.perturbation, temperature, [self.settings.gamma], extensions
            )
            if self.subsampled:
                return gradients
            self.state.gradients = gradients
        return self.state.gradients

    def _displacement(self):
        """The perturbation's parameters minus the identity."""
        if not self.state.identity:
            return torch.empty(0)
        return parameters_of(self.state.perturbation) - parameters_to_vector(self.state.identity)

    @contextmanager
    def _appended(self, name):
        """The perturbation with an extension at its end, for a while."""
        state, n_identity = self.state, len(self.state.identity)
        self._append(name, *state.extensions[name])
        try:
            yield
        finally:
            delattr(state.perturbation, name)
            state.prior_precisions.pop()
            del state.identity[n_identity:]

    def _append(self, name, extension, prior_precision):
        self.state.perturbation.add_module(name, extension)
        self.state.prior_precisions.append(prior_precision)
        self.state.identity.extend(p.detach().clone() for p in extension.parameters())

    def _extend(self, name):
        self._append(name, *self.state.extensions.pop(name))
        for special_case in SPECIAL_CASES.get(name, ()):
            if self.state.extensions.pop(special_case, None):
                self.state.untried[special_case] = Untried(0.0, f"a special case of {name}")

    def _penalised(self, moments, displacement):
        """With the slope and the curvature of the penalty, where it has them: away from the identity."""
        penalty = self.settings.penalty
        if not penalty or not displacement.any():
            return moments
        norm = displacement.norm().item()
        first, second, own = moments.first.clone(), moments.second.clone(), slice(0, len(displacement))
        first[own] += penalty * displacement.double() / norm
        second.diagonal()[own] += penalty / norm
        return replace(moments, first=first, second=second)

    def _trial(self):
        """Samples to try lengths of steps on, and their logits where a pass told them."""
        # Other samples than the direction's, where there are any: what these alone would like is not worth having.
        rows = self._draw(_SUBSAMPLE_TRIAL_SIZE if self.subsampled else _TRIAL_SIZE)
        known, trial = self.state.gradients, self.samples.take(rows)
        if known is not None:
            return trial, self.samples.logits_of(rows, known.logits)
        return trial, trial.try_logits_under(self.state.perturbation)

    def _search(self, step, trial, lengthen=True):
        """Follow a step as far as the loss of some samples falls, or no further than usual, and come back."""
        trial, logits = trial
        start = parameters_of(self.state.perturbation)
        direction = step.direction.to(start)
        tried = {0.0: self._try(start, step, trial, logits)}

        # The prior may hold back, not undo: where a network is nearly perfect its gradients vanish, and with them what
        # speaks for the way that led there.
        def loss(length):
            if length not in tried:
                tried[length] = self._try(start + length * direction, step, trial)
            return math.inf if tried[0.0].clearly_below(tried[length], "bare") else tried[length].penalised

        usual = length = self.step_size or self.lr
        if loss(length) < loss(0.0):
            while lengthen and _is_short(length, loss(0.0) - loss(length), step) and loss(2 * length) < loss(length):
                length *= 2
        else:
            while length > _SHORTEST_STEP * self.lr and loss(length) >= loss(0.0):
                length /= 2
        best = min(tried, key=loss)
        if not self.subsampled and loss(usual) < math.inf and not tried[best].clearly_below(tried[usual], "penalised"):
            # These few samples say nothing else that couldn't be chance.
            best = usual
        self._move(start)
        gain = (loss(0.0) - loss(best)) * step.n_effective
        return _Move(step, best, start + best * direction, tried[best].temperature, gain)

    def _take(self, move):
        """Make a move."""
        self.state.gradients = None
        self._move(move.parameters)
        with torch.no_grad():
            self.temperature.fill_(move.temperature)
        # The gradients' second moments may be off from the curvature, by about the same factor from step to step.
        self.step_size = move.length or self.step_size
        self.gain = move.step.gain

    def _try(self, parameters, step, trial, logits=None):
        """What some samples say of some parameters."""
        self._move(parameters)
        logits = trial.try_logits_under(self.state.perturbation) if logits is None else logits
        if logits is None:
            # So long a step.
            return _Trial(math.inf, math.inf, self.temperature.item(), torch.full((len(trial),), math.inf))
        solved = trial.solve(logits, gamma=self.settings.gamma)
        temperature = solved.temperature
        if solved.at_bound:
            # At the T of samples that are separated, next to 0, gradients vanish or know no bounds.
            temperature = trial.solve(logits, gamma=self.settings.gamma, smooth=True).temperature
        displacement = self._displacement()
        bare = solved.loss + self.settings.penalty * displacement.norm().item()
        losses = trial.losses(solved.temperature, logits, gamma=self.settings.gamma)
        return _Trial(bare + step.prior(displacement), bare, temperature, losses)

    def _move(self, parameters):
        vector_to_parameters(parameters, learnable(self.state.perturbation))


class _Move(NamedTuple):
    """Where a step leads: how far, to which parameters and T, and by how much the penalised loss falls, in nats."""

    step: Step
    length: float
    parameters: torch.Tensor
    temperature: float
    gain: float

    @property
    def evidence(self):
        """Log Bayes factor with the fall of the loss as it was found in place of what the step promised."""
        return self.step.evidence - self.step.gain + self.gain


class _Trial(NamedTuple):
    """Loss with the prior, loss without, the temperature to go on at, and each sample's loss times its weight."""

    penalised: float
    bare: float
    temperature: float
    losses: torch.Tensor

    def clearly_below(self, other, which):
        """Whether a loss is lower than another's by more than two standard errors of their difference."""
        gap = getattr(other, which) - getattr(self, which)
        if len(self.losses) < 2 or math.isinf(gap):
            return gap > 0
        error = (self.losses - other.losses).std().item() / math.sqrt(len(self.losses))
        return gap > max(2 * error, _SMALLEST_GAIN / len(self.losses))


def _draw(problem, n_samples, generator):
    """Some samples that have weight at random, as their numbers."""
    rows = problem.nonzero_weight_indices()
    return rows[torch.randperm(len(rows), generator=generator)[:n_samples].sort().values]


def _is_short(length, fall, step):
    """Whether a parabola with a step's slope, and this fall of the mean loss, is lowest beyond 3/2 of this length."""
    return length < _LONGEST_STEP and fall * step.n_effective > 4 / 3 * length * step.gain


def _gains(step, least):
    return step is not None and step.gain >= max(least, _SMALLEST_GAIN)


def _most_promising(found):
    """Names of the steps that may be worth to follow, those with the most evidence."""
    worth = [name for name, step in found.items() if _gains(step, _SMALLEST_GAIN)]
    return sorted(worth, key=lambda name: found[name].evidence, reverse=True)[:_MAX_RIVALS]


def _leanest(moves):
    """Of the moves with the most evidence, or nearly, the name of the one with the fewest parameters; None of none."""
    most = max((move.evidence for move in moves.values()), default=0.0)
    near = [name for name, move in moves.items() if move.evidence >= most - _TIE]
    return min(near, key=lambda name: (len(moves[name].parameters), -moves[name].evidence), default=None)


def _why_not(step, base, least, chosen, best):
    """Why a family wasn't appended, from the evidence where its step starts, or leads; `chosen` is what was, if any."""
    lack = least + base - step.evidence
    if lack >= 0:
        why = f"needs {least:g}"
    elif step.gain < _SMALLEST_GAIN:
        why = f"but its step promises a gain of {step.gain:.2f} nats, needs {_SMALLEST_GAIN:g}"
    elif isinstance(step, Step):
        why = f"but {_MAX_RIVALS} others looked better"
    elif step.evidence > best.evidence:
        why = f"no more than {_TIE:g} above that of {chosen}, which has fewer parameters"
    else:
        why = f"less than that of {chosen}"
    # Without the zero, what rounds to zero from below would have its sign.
    return Untried(lack, f"evidence of {round(step.evidence - base, 2) + 0.0:.2f} nats, {why}", weighed=True)


def descend(state, problem, settings, generator):
    """Train in place by natural gradient descent; the parameters are those of `run_net`."""
    # What draws in train mode, such as dropout, has no gradients.
    state.perturbation.eval()
    subsampled = problem.n_weighted > _FEW_SAMPLES and not state.prior_precisions
    rows = _draw(problem, _SUBSAMPLE_SIZE, generator)
    _measure(state, problem.take(rows), generator)
    lr = 1.0 if settings.lr == "auto" else settings.lr

    def loop(net, dataset):
        """One step per epoch; callbacks, and the history, are those of a net of skorch."""
        descent = _Descent(state, net.module_.temperature, problem, settings, lr, generator, subsampled)
        datasets = {"dataset_train": dataset, "dataset_valid": None}
        for _ in range(settings.max_epochs):
            net.notify("on_epoch_begin", **datasets)
            record = descent.step()
            if record is None:
                net.history.pop()
                return
            for name, value in record.items():
                net.history.record(name, value)
            net.notify("on_epoch_end", **datasets)
            # Each step lowers the loss; the one in the history is that before it.
            net.keep()

    run_net(ClampingNet, state, problem, settings, generator, loop=loop, lr=lr)
    state.gradients = None


def _measure(state, samples, generator):
    """Give a state, and its extensions, the prior precisions of their parameters where they have none yet."""
    x, shard = samples.example(len(samples)), samples.shard
    if state.identity and not state.prior_precisions:
        state.prior_precisions.append(prior_precision_of(state.perturbation, x, generator, shard))
    for name, extension in state.extensions.items():
        if not isinstance(extension, tuple):
            state.extensions[name] = extension, prior_precision_of(extension, x, generator, shard)
