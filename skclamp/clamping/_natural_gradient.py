"""Natural gradient descent for perturbations of few parameters, or of many and few samples.

A step is solved for with the second moments of the per-sample gradients (the empirical Fisher information), or with
these gradients themselves. Its length is found on a subsample by forward passes alone, with T at its optimum at every
trial. The way is made on the subsample, and the last steps on all the samples: a few such passes do what hundreds of
plain gradient steps do.
"""

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from ..perturbations._families import family_of, learnable, n_learnable
from ..perturbations._words import names_of
from ._family_choice import most_probable, worth_a_look
from ._gradient_moments import gradient_moments, parameters_of, prior_diagonal_of, prior_precision_of
from ._posterior import Step, natural_step
from ._problem import Problem
from ._state import InSample, Reason, Settings, State, Untried
from ._training import ClampingNet, run_net
from ._wide_gradients import most_samples, wide_gradients
from ._wide_step import wide_step

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
# Log Bayes factor that speaks for another family; nats.
_MIN_EVIDENCE = 3.0
# The same where a family's first step led, when nothing speaks for any at the identity: the guard has the last word.
_EVIDENCE_THERE = 1.0


@dataclass
class _Descent:
    """The steps of one training, each from where the last one ended."""

    # Before each step that of its extensions with the most evidence, if any, is appended; one in all, if it is wide.
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
    # Before the first step, where nothing speaks for one: those under a weak prior that seem worth a look, by family;
    # of a perturbation's own family, None.
    worth_a_look: dict[str | None, Step] = field(default_factory=dict)

    def step(self):
        """Take a step; what the history tells of it, or None where none is worth its passes."""
        if self.finished:
            return None
        self.n_steps += 1
        self.subsampled = self.subsampled and self.n_steps <= min(_MAX_SUBSAMPLED_STEPS, self.settings.max_epochs // 2)
        step, loss = self._choose_step()
        # Few fresh samples would like to move even the optimum, by half a nat per parameter that they determine.
        if self.subsampled and not _gains(step, step.n_effective_parameters if step else 0.0):
            self.subsampled = False
            step, loss = self._choose_step()
        if not _gains(step, _SMALLEST_GAIN):
            if step is not None:
                self._note_unmoved(Reason.LITTLE_GAIN, step.gain, _SMALLEST_GAIN)
            return self._look(loss)
        least = _LAST_GAIN * math.sqrt(step.n_effective)
        if self.settings.early_stopped:
            least = max(least, _LAST_PART * step.evidence)
        # The first one's promise is that of the model at the identity, which may see a tenth of what there is.
        self.finished = not self.subsampled and step.gain < least and (self.n_steps > 1 or not self.settings.judged)
        length = self._search(step, lengthen=not self.finished)
        if length == 0 and not self.subsampled:
            self._note_unmoved(Reason.NO_DESCENT)
            return None
        self.worth_a_look = {}
        # A step that the search had to shorten much leads along the floor of a valley, where passes buy little more;
        # the gradients of few samples span no more than a part of the curvature, and all their steps are short.
        along_valley = length < self.lr / 2 and not self.state.wide
        self.finished = self.finished or (not self.subsampled and along_valley)
        self.subsampled = self.subsampled and length > 0
        return {"train_loss": loss, "temperature": self.temperature.item(), "gain": step.gain, "step": length}

    def _draw(self, n_samples):
        return _draw(self.samples, n_samples, self.draws)

    def _choose_step(self):
        """A step and the loss before it.

        The step is that of the perturbation as it is, or, where more evidence speaks for it, of an extended one; None
        where there is neither.
        """
        state, left = self.state, list(self.state.extensions.items())
        displacement = self._displacement()
        (moments,) = self._gradients([extension for _, (extension, _) in left]).moments
        loss = moments[0].loss
        moments = [self._penalised(part, displacement) for part in moments]
        step = self._solve(moments[0], displacement, state.prior_precisions) if len(displacement) else None
        blocks = {
            key: (
                part,
                torch.cat([displacement, displacement.new_zeros(len(prior_precision))]),
                [*state.prior_precisions, prior_precision],
            )
            for part, (key, (_, prior_precision)) in zip(moments[1:], left, strict=True)
        }
        extended = {key: self._solve(*block) for key, block in blocks.items()}
        name = most_probable(extended, _evidence(step) + _MIN_EVIDENCE)
        self._note_evidence({key: each.evidence for key, each in extended.items()}, name, _evidence(step))
        if name is not None:
            self._extend(name)
            return extended[name], loss
        # What is kept without a verdict needs the evidence at once.
        if not self.subsampled and self.settings.judged and not (state.wide or displacement.any()):
            if step is not None:
                blocks = {None: (moments[0], displacement, state.prior_precisions)}
            weak = {key: natural_step(*block, fitted=False) for key, block in blocks.items()}
            self.worth_a_look = worth_a_look(weak)
        elif not self.subsampled:
            # Families that all the samples didn't ask for won't be asked for again; their gradients cost time.
            state.extensions.clear()
        return step, loss

    def _solve(self, moments, displacement, prior_precisions):
        if self.state.wide:
            return wide_step(moments, displacement, *prior_precisions)
        return natural_step(moments, displacement, prior_precisions)

    def _look(self, loss):
        """Step from the identity to where a family has the evidence that the model at the identity doesn't see.

        Where gradients are weak, as in the dark, or point nowhere near the optimum, as where images are clipped, that
        model sees a tenth of what is to be gained, and a prior that it fits leaves nothing of that.
        """
        state, left, temperature = self.state, dict(self.state.extensions), self.temperature.item()
        for name, step in self.worth_a_look.items():
            state.extensions, untried = dict(left), dict(state.untried)
            if name is not None:
                self._extend(name)
            length = self._search(step, lengthen=True)
            evidence = self._own_step().evidence if length else 0.0
            if evidence >= _EVIDENCE_THERE:
                self.worth_a_look = {}
                state.untried = {key: why for key, why in state.untried.items() if key != name}
                return {"train_loss": loss, "temperature": self.temperature.item(), "gain": step.gain, "step": length}
            state.untried = untried
            self._take_back(name, evidence, temperature)
        state.extensions = {}
        self._note_temperature(state.gradients)
        return None

    def _own_step(self):
        """The next step of the perturbation as it is."""
        moments = self._gradients([extension for extension, _ in self.state.extensions.values()]).moments[0][0]
        displacement = self._displacement()
        return self._solve(self._penalised(moments, displacement), displacement, self.state.prior_precisions)

    def _take_back(self, name, evidence, temperature):
        """Return to the identity, where a family didn't have the evidence."""
        state = self.state
        self._move(parameters_to_vector(state.identity))
        untried = Untried(_EVIDENCE_THERE - evidence, Reason.LITTLE_EVIDENCE_THERE, evidence, _EVIDENCE_THERE)
        state.untried |= dict.fromkeys(names_of(state.perturbation), untried)
        if name is not None:
            delattr(state.perturbation, name)
            state.identity, state.prior_precisions = [], []
        state.gradients, self.step_size = None, None
        with torch.no_grad():
            self.temperature.fill_(temperature)

    def _note_evidence(self, evidence, chosen, before):
        """Say of the families that aren't appended how far their evidence was from it."""
        for name, found in evidence.items():
            lack = _MIN_EVIDENCE + before - found
            numbers = found - before, _MIN_EVIDENCE
            self.state.untried[name] = (
                Untried(lack, Reason.LITTLE_EVIDENCE, *numbers)
                if lack >= 0
                else Untried(lack, Reason.LESS_EVIDENCE_THAN_ANOTHER, *numbers, chosen)
            )
        self.state.untried.pop(chosen, None)

    def _note_unmoved(self, reason, *numbers):
        """Say of a perturbation that is still the identity why."""
        if not self.state.perturbs:
            self.state.untried |= dict.fromkeys(names_of(self.state.perturbation), Untried(0.0, reason, *numbers))

    def _gradients(self, extensions):
        """Gradients at the present parameters."""
        if self.state.gradients is None:
            samples = self.samples.take(self._draw(_SUBSAMPLE_SIZE)) if self.subsampled else self.samples
            temperature = self.temperature.item()
            gradients_of = wide_gradients if self.state.wide else gradient_moments
            gradients = gradients_of(samples, self.state.perturbation, temperature, [self.settings.gamma], extensions)
            if self.subsampled:
                return gradients
            self.state.gradients = gradients
        return self.state.gradients

    def _displacement(self):
        """The perturbation's parameters minus the identity."""
        if not self.state.identity:
            return torch.empty(0)
        return parameters_of(self.state.perturbation) - parameters_to_vector(self.state.identity)

    def _extend(self, name):
        extension, prior_precision = self.state.extensions.pop(name)
        for special_case in family_of(extension).special_cases:
            if self.state.extensions.pop(special_case, None):
                self.state.untried[special_case] = Untried(0.0, Reason.SPECIAL_CASE, about=name)
        if self.state.wide:
            self.state.extensions.clear()
        self.state.perturbation.add_module(name, extension)
        self.state.prior_precisions.append(prior_precision)
        self.state.identity.extend(p.detach().clone() for p in extension.parameters())

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

    def _search(self, step, lengthen):
        """Move along a step as far as the loss of some samples falls, or no further than usual; the length."""
        # Other samples than the direction's, where there are any: what these alone would like is not worth having.
        rows = self._draw(_SUBSAMPLE_TRIAL_SIZE if self.subsampled else _TRIAL_SIZE)
        trial, known, self.state.gradients = self.samples.take(rows), self.state.gradients, None
        start = parameters_of(self.state.perturbation)
        direction = step.direction.to(start)
        at_start = None if known is None else self.samples.logits_of(rows, known.logits)
        tried = {0.0: self._try(start, step, trial, at_start)}

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
        # The gradients' second moments may be off from the curvature, by about the same factor from step to step.
        self.step_size = best or self.step_size
        self._move(start + best * direction)
        with torch.no_grad():
            self.temperature.fill_(tried[best].temperature)
        self._note_temperature(known, trial, tried[0.0], tried[best])
        return best

    def _note_temperature(self, known, trial=None, start=None, end=None):
        """Note T of all the samples at the present parameters, if a pass over all told it of the last step's start.

        A trial tells by what factor the step has changed it: of the same few samples, so that most noise cancels.
        """
        if known is None or not self.state.identity:
            return
        temperature = _smooth_temperature(self.samples, known.logits)
        if trial is not None:
            temperature *= _smooth_temperature(trial, end.logits) / _smooth_temperature(trial, start.logits)
        self.state.in_sample = InSample(parameters_of(self.state.perturbation), temperature)

    def _try(self, parameters, step, trial, logits=None):
        """What some samples say of some parameters."""
        self._move(parameters)
        logits = trial.try_logits_under(self.state.perturbation) if logits is None else logits
        if logits is None:
            # So long a step.
            return _Trial(math.inf, math.inf, self.temperature.item(), torch.full((len(trial),), math.inf), logits)
        solved = trial.solve(logits, gamma=self.settings.gamma)
        temperature = solved.temperature
        if solved.at_bound:
            # At the T of samples that are separated, next to 0, gradients vanish or know no bounds.
            temperature = trial.solve(logits, gamma=self.settings.gamma, smooth=True).temperature
        displacement = self._displacement()
        bare = solved.loss + self.settings.penalty * displacement.norm().item()
        losses = trial.losses(solved.temperature, logits, gamma=self.settings.gamma)
        return _Trial(bare + step.prior(displacement), bare, temperature, losses, logits)

    def _move(self, parameters):
        vector_to_parameters(parameters, learnable(self.state.perturbation))


class _Trial(NamedTuple):
    """Loss with the prior, loss without, T to go on at, each sample's loss times its weight, and the logits if any."""

    penalised: float
    bare: float
    temperature: float
    losses: torch.Tensor
    logits: torch.Tensor | None = None

    def clearly_below(self, other, which):
        """Whether a loss is lower than another's by more than two standard errors of their difference."""
        gap = getattr(other, which) - getattr(self, which)
        if len(self.losses) < 2 or math.isinf(gap):
            return gap > 0
        error = (self.losses - other.losses).std().item() / math.sqrt(len(self.losses))
        return gap > max(2 * error, _SMALLEST_GAIN / len(self.losses))


def _smooth_temperature(problem, logits):
    return problem.solve(logits, smooth=True).temperature


def _draw(problem, n_samples, generator):
    """Some samples that have weight at random, as their numbers."""
    rows = problem.nonzero_weight_indices()
    return rows[torch.randperm(len(rows), generator=generator)[:n_samples].sort().values]


def _is_short(length, fall, step):
    """Whether a parabola with a step's slope, and this fall of the mean loss, is lowest beyond 3/2 of this length."""
    return length < _LONGEST_STEP and fall * step.n_effective > 4 / 3 * length * step.gain


def _gains(step, least):
    return step is not None and step.gain >= max(least, _SMALLEST_GAIN)


def _evidence(step):
    return 0.0 if step is None else step.evidence


def descend(state, problem, settings, generator):
    """Train in place by natural gradient descent; the parameters are those of `run_net`."""
    # What draws in train mode, such as dropout, has no gradients.
    state.perturbation.eval()
    state.in_sample = None
    most = most_samples(n_learnable(state.perturbation)) if state.wide else len(problem)
    if len(problem) > most:
        problem = problem.take(_draw(problem, most, generator))
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
    measured = prior_diagonal_of if state.wide else prior_precision_of
    if state.identity and not state.prior_precisions:
        state.prior_precisions.append(measured(state.perturbation, x, generator, shard))
    for name, extension in state.extensions.items():
        if not isinstance(extension, tuple):
            state.extensions[name] = extension, measured(extension, x, generator, shard)
