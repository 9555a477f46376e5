"""Fits a perturbation and a temperature to a problem, as the settings say: start, optimiser, warm starts."""

import copy
from dataclasses import replace
from itertools import groupby

import torch
from torch import nn

from ..perturbations._families import learnable, n_learnable
from ._evidence_step import gradients_of, most_samples
from ._families import (
    MAX_PARAMETERS,
    candidates,
    check_init,
    initialise,
    is_zeros,
    make_perturbation,
    takes_wide_steps,
)
from ._natural_gradient import descend
from ._state import State
from ._torch_training import train


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
        if start is None:
            state = self._start(problem, settings)
        else:
            # The gradients, which may be large, are shared.
            state = replace(copy.deepcopy(replace(start, gradients=None)), gradients=start.gradients)
        if not state.identity and not state.extensions:
            return state
        callbacks = [*(settings.callbacks or ()), *([self.progress] if self.progress else ())]
        settings = replace(settings, callbacks=callbacks)
        (descend if state.natural else train)(state, problem, settings, self.generator)
        state.perturbation.eval()
        return state

    def _start(self, problem, settings):
        state = _at_identity(problem, settings)
        # Natural steps have T at its optimum at every trial: one far off would only blur the first direction.
        if state.natural or settings.init_temperature == "optimal":
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
        if state.natural and not is_zeros(settings.init):
            logits = problem.try_logits_under(state.perturbation)
            if logits is not None:
                state.temperature = problem.solve(logits, gamma=settings.gamma, prior=True).temperature
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
            if not leader.identity and leader.natural:
                states += [leader] * len(following)
            elif not leader.natural or (leader.wide and len(problem) > most_samples(n_learnable(leader.perturbation))):
                states += [self.fit(problem, settings) for settings in following]
            elif following:
                # A step from a converged neighbour, in the perturbation that it chose; one pass serves them all.
                gammas = [settings.gamma for settings in following]
                place = leader.perturbation, leader.temperature
                for settings, gradients in zip(
                    following, gradients_of(problem, *place, gammas, wide=leader.wide), strict=True
                ):
                    start = replace(leader, extensions={}, gradients=gradients)
                    states.append(self.fit(problem, replace(settings, max_epochs=1), start))
        return states


def _at_identity(problem, settings):
    """A state at the identity, its T at 1."""
    if settings.perturbation == "auto":
        families, untried = candidates(problem, settings.penalty)
        wide = any(n_learnable(family) > MAX_PARAMETERS for family in families.values())
        # Families that are appended one after another may together be more than few.
        return State(nn.Sequential(), [], 1.0, natural=True, wide=wide, extensions=families, untried=untried)
    # What draws in train mode, such as dropout, would blur where training starts; skorch's loop turns it on.
    perturbation, optimizer = make_perturbation(settings.perturbation, problem).eval(), settings.optimizer
    identity = [parameter.detach().clone() for parameter in learnable(perturbation)]
    wide = takes_wide_steps(perturbation, problem, settings.penalty, limited=optimizer != "natural")
    few = n_learnable(perturbation) <= MAX_PARAMETERS
    # Natural steps where parameters, or samples, are few; else Adam.
    natural = (few or wide) if optimizer == "auto" else optimizer == "natural"
    return State(perturbation, identity, 1.0, natural=natural, wide=wide)


def check_settings(problem, settings):
    """Raise where the start doesn't suit the perturbation, or this the inputs."""
    if settings.perturbation != "auto":
        check_init(make_perturbation(settings.perturbation, problem), settings.init)
