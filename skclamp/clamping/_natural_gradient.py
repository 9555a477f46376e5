"""Natural gradient descent for perturbations of few parameters, or of many and few samples.

Each step goes towards where the gradients and a prior meet, and its length is found on a subsample by forward passes
alone, with T at its optimum at every trial.
"""

import math
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import NamedTuple

import torch
from skorch.history import History
from torch.nn.utils import vector_to_parameters

from .._judging.screen import ERRORS, forecast
from .._judging.verdict import Objection, Reason
from ..distributed import ALONE
from ..perturbations._families import family_of, learnable, n_learnable
from ..perturbations._words import names_of
from ._evidence_step import gradients_of, most_samples, natural_step, prior_precision_of, products_of
from ._problem import Problem
from ._progress import warn_of_interrupt
from ._state import Settings, State, identity_of, parameters_of

# Samples that the length of a step is tried on.
_TRIAL_SIZE = 512
# In a fold of fewer than twice as many samples, half of them, whom a step that fits noise pleases less, or these.
_FEWEST_TRIED = 128
_LONGEST_STEP = 16.0
_SHORTEST_STEP = 1 / 16
# A step that should gain less, summed over the samples, is no longer worth a pass; nats.
_SMALLEST_GAIN = 1.0
# One that should gain fewer nats than this, times the root of the number of samples, leaves less than the smallest gain
# behind: a step's error is of third order in its length, in nats as the square of its gain over the samples.
_LAST_GAIN = 0.15
# Where only the verdict counts, also one that adds less than this part to what speaks for the perturbation already:
# many parameters that go on fit noise.
_LAST_PART = 0.25
# Log Bayes factor that speaks for another family; nats.
_MIN_EVIDENCE = 3.0
# Of families whose evidence differs by less, the one with fewer parameters goes first; nats.
_AS_MUCH_EVIDENCE = 1.0


def descend(state, problem, settings, generator, progress):
    """Train a state in place: an epoch is a step.

    The generator is the source of noise and of the samples that steps are tried on.
    """
    # What draws in train mode, such as dropout, has no gradients.
    state.perturbation.eval()
    if state.wide and len(problem) > (most := most_samples(n_learnable(state.perturbation))):
        problem = problem.take(_draw(problem, most, generator))
    samples = problem.take(_draw(problem, _TRIAL_SIZE, generator))
    x = samples.example(len(samples))
    measured = partial(prior_precision_of, x=x, generator=generator, shard=samples.shard, diagonal=state.wide)
    if state.identity and not state.prior_precisions:
        state.prior_precisions.append(measured(state.perturbation))
    for name, (extension, precision) in state.extensions.items():
        state.extensions[name] = extension, measured(extension) if precision is None else precision
    lr = 1.0 if settings.lr == "auto" else settings.lr
    state.history = History()
    descent = _Descent(state, problem, settings, lr, generator)
    try:
        for n_steps in range(1, settings.max_epochs + 1):
            start = perf_counter()
            made = descent.make_step(first=n_steps == 1)
            if made is None:
                break
            loss, step, length, last = made
            # Each step lowers the loss; this is the one before it.
            told = {"batches": [], "epoch": n_steps, "train_loss": loss, "temperature": descent.temperature}
            state.history.append({**told, "gain": step.gain, "step": length, "dur": perf_counter() - start})
            progress.epoch(state.history)
            if last:
                break
    except KeyboardInterrupt:
        if settings.for_guard or problem.shard.ranks is not ALONE:
            raise
        descent.move(descent.rest)
        warn_of_interrupt(len(state.history) + 1, settings.max_epochs, len(state.history))
    progress.end()
    state.temperature = descent.temperature


def _draw(problem, n_samples, generator):
    """Return the numbers of some samples, at random."""
    return torch.randperm(len(problem), generator=generator)[:n_samples].sort().values


@dataclass
class _Descent:
    """The way of one training: where it is, and how the next step is chosen, made and taken back."""

    state: State
    samples: Problem
    settings: Settings
    # The first length that is tried, in natural steps; later ones begin where the line search ended the last time.
    lr: float
    generator: torch.Generator
    step_size: float | None = None

    def __post_init__(self):
        # What is asked on the CPU, and known there: the perturbation's parameters as one vector, which trials move.
        self.temperature = self.state.temperature
        self.parameters = parameters_of(self.state.perturbation)
        self.rest = self.parameters

    def make_step(self, *, first):
        """Make a step that the samples ask for: the loss before it, the step, its length, and whether it is the last.

        None where they ask for none.
        """
        settings = self.settings
        too_little = None
        families = [family for family, _ in self.state.extensions.values()]
        told = gradients_of(self.samples, self.state.perturbation, self.temperature, settings.gamma, families)
        step = self.choose(told)
        # What the model at the identity promises is perhaps a tenth of what there is.
        blind = first and settings.for_guard
        if step is not None and step.gain < _SMALLEST_GAIN:
            too_little = Objection(Reason.LITTLE_GAIN, step.gain, _SMALLEST_GAIN)
        elif blind and settings.features:
            too_little = foresees_too_little(told.own, self.samples.units)
        if too_little or step is None:
            self.note_unmoved(too_little)
            return None
        least = _LAST_GAIN * math.sqrt(step.n_effective)
        if settings.early_stopped:
            least = max(least, _LAST_PART * step.evidence)
        nearly_there = step.gain < least and not blind
        # Beyond a whole step the samples that it was made on would like what is chance.
        length = self.search(step, told.logits, lengthen=not nearly_there)
        if not length:
            self.note_unmoved(Objection(Reason.NO_DESCENT))
            return None
        # A step that the search had to shorten much leads along the floor of a valley, where passes buy little more;
        # the gradients of few samples span a part of the curvature alone, and all their steps are short.
        in_valley = length < self.lr / 2 and not self.state.wide
        return told.own.loss, step, length, nearly_there or in_valley

    def choose(self, gradients):
        """Return the step of the perturbation or, by more evidence, of one that is extended, if there is one."""
        state = self.state
        followed = map(gradients.own.followed_by, gradients.added)
        extended = dict(zip(state.extensions, followed, strict=True))
        step = self.solve(gradients.own, fitted=not self.settings.weak_prior) if state.identity else None
        before = 0.0 if step is None else step.evidence
        steps = {name: self.solve(other, name) for name, other in extended.items()}
        chosen = most_probable(steps, before + _MIN_EVIDENCE)
        for name, other in steps.items():
            gained = other.evidence - before
            reason = Reason.LESS_EVIDENCE_THAN_ANOTHER if gained > _MIN_EVIDENCE else Reason.LITTLE_EVIDENCE
            state.untried[name] = Objection(reason, gained, _MIN_EVIDENCE, chosen)
        # A prior fitted to gradients that are weak, as in the dark, or point nowhere near the optimum, as where images
        # are clipped, leaves nothing of what there is to gain.
        if self.settings.for_guard and not state.displacement_to(self.parameters).any():
            if chosen is None and step is None and self.settings.looked:
                # A half says less than all the samples, which let the search begin; and the guard has the last word.
                units = self.samples.units
                changes = {name: forecast(*products_of(extended[name]), units)[0] for name in steps}
                chosen = min((name for name in changes if changes[name] < 0), key=changes.__getitem__, default=None)
                if chosen is not None:
                    steps[chosen] = self.solve(extended[chosen], chosen, fitted=False)
            elif step is not None and step.gain < _SMALLEST_GAIN and not state.wide:
                step = self.solve(gradients.own, fitted=False)
        state.untried.pop(chosen, None)
        if chosen is not None:
            self.extend(chosen)
            step = steps[chosen]
        else:
            # Families that the samples didn't ask for won't be asked for again; their gradients cost time.
            state.extensions.clear()
        return step

    def solve(self, gradients, name=None, *, fitted=True):
        """The step that gradients ask for, of the perturbation or followed by an extension, given by its name."""
        state = self.state
        penalty = self.settings.penalty
        prior_precisions = self.state.prior_precisions
        if name is not None:
            prior_precisions = [*prior_precisions, state.extensions[name][1]]
        displacement = state.displacement_to(self.parameters)
        return natural_step(gradients, displacement, prior_precisions, penalty=penalty, fitted=fitted)

    def extend(self, name):
        """Append a family to the perturbation."""
        state = self.state
        extension, prior_precision = state.extensions.pop(name)
        for special_case in family_of(extension).special_cases:
            if state.extensions.pop(special_case, None):
                state.untried[special_case] = Objection(Reason.SPECIAL_CASE, about=name)
        if state.wide:
            state.extensions.clear()
        state.perturbation.add_module(name, extension)
        state.prior_precisions.append(prior_precision)
        state.identity.extend(identity_of(extension))
        self.parameters = self.rest = parameters_of(state.perturbation)

    def note_unmoved(self, why):
        """Note of a perturbation that is still the identity why, if there is a reason."""
        if why and not self.state.perturbs:
            self.state.untried |= dict.fromkeys(names_of(self.state.perturbation), why)

    def search(self, step, logits, *, lengthen):
        """Move along a step as far as the loss of some samples falls, or no further than usual; the length.

        `logits` of all the samples at the present parameters cost nothing: the last pass told them.
        """
        n_samples = _TRIAL_SIZE
        if self.settings.for_guard and (self.settings.features or self.settings.looked):
            n_samples = min(n_samples, max(_FEWEST_TRIED, len(self.samples) // 2))
        rows = _draw(self.samples, n_samples, self.generator)
        samples = self.samples.take(rows)
        start = self.parameters
        direction = step.direction.to(start)
        at_start = self.try_at(start, step, samples, logits=logits[rows])

        def after(length):
            return self.try_at(start + length * direction, step, samples, at_start)

        usual = length = self.step_size or self.lr
        reached = after(length)
        tried = {0.0: at_start, length: reached}
        if reached.penalised < at_start.penalised:
            # A parabola with the step's slope and such a fall of the loss is lowest past 3/2 of the length.
            least_fall = 4 / 3 * step.gain / step.n_effective
            while lengthen and length < _LONGEST_STEP and at_start.penalised - reached.penalised > least_fall * length:
                further = tried[2 * length] = after(2 * length)
                if further.penalised >= reached.penalised:
                    break
                length = 2 * length
                reached = further
        else:
            shortest = _SHORTEST_STEP * min(self.lr, 1.0)
            while length / 2 > shortest and reached.penalised >= at_start.penalised:
                length /= 2
                reached = tried[length] = after(length)
        losses = {length: trial.penalised for length, trial in tried.items()}
        best = min(losses, key=losses.__getitem__)
        if losses[usual] < math.inf and not tried[best].clearly_below(tried[usual], "penalised"):
            # These few samples say nothing else that couldn't be chance.
            best = usual
        # The gradients' second moments may be off from the curvature, by about the same factor from step to step.
        self.step_size = best or self.step_size
        self.move(start + best * direction, tried[best].temperature)
        return best

    def try_at(self, parameters, step, samples, at_start=None, logits=None):
        """Return the `_Trial` of some parameters on some samples, beside the one `at_start`."""
        self.move(parameters)
        logits = samples.try_logits_under(self.state.perturbation) if logits is None else logits
        if logits is None:
            # So long a step.
            return _Trial(math.inf, math.inf, self.temperature, torch.full((len(samples),), math.inf))
        gamma = self.settings.gamma
        displacement = self.state.displacement_to(parameters)
        solved = samples.solve(logits, gamma=gamma)
        temperature = solved.temperature
        if solved.at_bound:
            # At the T of samples that are separated, next to 0, gradients vanish or know no bounds.
            temperature = samples.solve(logits, gamma=gamma, smooth=True).temperature
        bare = solved.loss + self.settings.penalty * displacement.norm().item()
        losses = samples.losses(solved.temperature, logits, gamma=gamma)
        trial = _Trial(bare + step.prior(displacement), bare, temperature, losses)
        if at_start is not None and at_start.clearly_below(trial, "bare"):
            # The prior may hold back, not undo: where a network is nearly perfect its gradients vanish, and with them
            # what speaks for the way that led there.
            return trial._replace(penalised=math.inf)
        return trial

    def move(self, parameters, temperature=None):
        """Go to some parameters and, where it is given, to a T."""
        self.parameters = parameters
        own = learnable(self.state.perturbation)
        vector_to_parameters(parameters.to(own[0].device) if own else parameters, own)
        if temperature is not None:
            self.temperature = temperature
            self.rest = parameters


def foresees_too_little(gradients, units):
    """Why gradients of some samples say that a step won't help others; None where it may."""
    foreseen, error = forecast(*products_of(gradients), units)
    needed = -ERRORS * error
    if foreseen < needed:
        return None
    return Objection(Reason.NO_GAIN_FOR_OTHERS, foreseen, needed)


class _Trial(NamedTuple):
    """Loss with the prior, loss without, T to go on at, and each sample's loss times its weight."""

    penalised: float
    bare: float
    temperature: float
    losses: torch.Tensor

    def clearly_below(self, other, which):
        """Return whether a loss is lower than another's by more than two standard errors of their difference."""
        n = len(self.losses)
        gap = getattr(other, which) - getattr(self, which)
        if n < 2 or math.isinf(gap):
            return gap > 0
        error = (self.losses - other.losses).std().item() / math.sqrt(n)
        return gap > max(2 * error, _SMALLEST_GAIN / n)


def most_probable(steps, least):
    """Name of the step with the most evidence above a threshold; of several with as much, that of fewest parameters."""
    probable = {name: step for name, step in steps.items() if step.evidence > least}
    most = max((step.evidence for step in probable.values()), default=0.0)
    as_much = [name for name, step in probable.items() if step.evidence > most - _AS_MUCH_EVIDENCE]
    return min(as_much, key=lambda name: len(probable[name].direction), default=None)
