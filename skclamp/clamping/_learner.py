"""Fits a perturbation and a temperature to a problem, as the settings say: start, optimiser, warm starts."""

import copy
from dataclasses import replace
from itertools import groupby

import torch
from torch import nn

from ..distributed import ALONE
from ..perturbations._families import n_learnable
from ._gradient_moments import GradientMoments, gradient_moments
from ._initialisation import (
    MAX_PARAMETERS,
    candidates,
    check_init,
    identity_of,
    initialise,
    is_zeros,
    make_perturbation,
    takes_wide_steps,
)
from ._natural_gradient import descend
from ._sharded_training import ShardedNet
from ._state import State
from ._training import ClampingNet, train
from ._wide_gradients import most_samples, wide_gradients


class Learner:
    """Fits states to problems; `generator` is the source of noise, of orders and of the samples to try steps on."""

    def __init__(self, generator, progress=None):
        self.generator = generator
        self.progress = progress

    def draw_seed(self):
        """A seed for scikit-learn."""
        return torch.randint(2**31, (), generator=self.generator).item()

    def fit(self, problem, settings, start=None):
        """The state that training leaves; it starts at `start`, if given, instead of at the identity."""
        state = self._start(problem, settings) if start is None else _copy(start)
        if not state.identity and not state.extensions:
            return state
        optimizer = chosen_optimizer(state, settings)
        callbacks = [*(settings.callbacks or ()), *([self.progress] if self.progress else ())]
        settings = replace(settings, optimizer=optimizer, callbacks=callbacks)
        if optimizer == "natural":
            descend(state, problem, settings, self.generator)
        else:
            net_class = ClampingNet if problem.shard.ranks is ALONE else ShardedNet
            train(state, problem, settings, self.generator, net_class)
        state.perturbation.eval()
        return state

    def fit_path(self, problem, path):
        """A state for each of several settings, of which those that differ by gamma alone share the first one's fit.

        Neighbours on the path should resemble each other.
        """
        states: list[State] = []
        for _, family in groupby(path, key=lambda settings: (settings.perturbation, settings.penalty, settings.lr)):
            leading, *following = family
            leader = self.fit(problem, leading)
            states.append(leader)
            if is_natural(leader, leading):
                states.extend(self._follow(problem, following, leader))
            else:
                states.extend(self.fit(problem, settings) for settings in following)
        return states

    def _follow(self, problem, path, leader):
        """A step from a converged neighbour, in the perturbation that it chose; one pass serves them all."""
        if not path or not leader.identity:
            return [leader] * len(path)
        if leader.wide and len(problem) > most_samples(n_learnable(leader.perturbation)):
            return [self.fit(problem, settings) for settings in path]
        gammas = [settings.gamma for settings in path]
        gradients_of = wide_gradients if leader.wide else gradient_moments
        gradients = gradients_of(problem, leader.perturbation, leader.temperature, gammas)
        return [
            self.fit(
                problem,
                replace(settings, max_epochs=1),
                replace(leader, extensions={}, gradients=GradientMoments(gradients.logits, [moments])),
            )
            for settings, moments in zip(path, gradients.moments, strict=True)
        ]

    def _start(self, problem, settings):
        state = _at_identity(problem, settings)
        natural = is_natural(state, settings)
        # Natural steps have T at its optimum at every trial: one far off would only blur the first direction.
        if natural or settings.init_temperature == "optimal":
            state.temperature = problem.solve(gamma=settings.gamma, prior=True).temperature
        else:
            state.temperature = float(settings.init_temperature)
        initialise(
            state.perturbation,
            settings.init,
            scale=settings.init_scale,
            generator=self.generator,
            problem=problem,
            temperature=state.temperature,
        )
        if natural and not is_zeros(settings.init):
            logits = problem.try_logits_under(state.perturbation)
            if logits is not None:
                state.temperature = problem.solve(logits, gamma=settings.gamma, prior=True).temperature
        return state


def _copy(state):
    """A state to go on from; the gradients, which may be large, are shared."""
    return replace(copy.deepcopy(replace(state, gradients=None)), gradients=state.gradients)


def _at_identity(problem, settings):
    """A state at the identity, its T at 1."""
    if _is_auto(settings.perturbation):
        families, untried = candidates(problem, settings.penalty)
        wide = any(n_learnable(family) > MAX_PARAMETERS for family in families.values())
        return State(nn.Sequential(), [], 1.0, families, wide=wide, untried=untried)
    # What draws in train mode, such as dropout, would blur where training starts; skorch's loop turns it on.
    perturbation = make_perturbation(settings.perturbation, problem).eval()
    wide = takes_wide_steps(perturbation, problem, settings.penalty, limited=settings.optimizer != "natural")
    return State(perturbation, identity_of(perturbation), 1.0, wide=wide)


def _is_auto(perturbation):
    return isinstance(perturbation, str) and perturbation == "auto"


def check_settings(problem, settings):
    """Raise where the start doesn't suit the perturbation, or this the inputs."""
    appends = _is_auto(settings.perturbation)
    state = State(nn.Sequential(), [], 1.0) if appends else _at_identity(problem, settings)
    check_init(state.perturbation, settings.init)


def chosen_optimizer(state, settings):
    """The optimiser; of "auto" natural-gradient steps where parameters, or samples, are few; else Adam."""
    if settings.optimizer != "auto":
        return settings.optimizer
    # Families that are appended one after another may together be more than few.
    few = _is_auto(settings.perturbation) or sum(part.numel() for part in state.identity) <= MAX_PARAMETERS
    return "natural" if few or state.wide else "adam"


def is_natural(state, settings):
    """Whether training takes natural-gradient steps."""
    return chosen_optimizer(state, settings) == "natural"
