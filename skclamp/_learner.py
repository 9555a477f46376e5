"""Fits a perturbation and a temperature to a problem, as the settings say: start, optimiser, warm starts.

No guard here: what a Learner returns is the best it can do on the samples it was given.
"""

import copy
from dataclasses import replace
from itertools import groupby

import torch
from torch import nn

from ._natural import descend
from ._problem import candidates, identity_of, initialise, make_perturbation
from ._scores import Scores, score_moments
from ._sharded_training import train_on_shards
from ._training import State, train
from .distributed import ALONE
from .losses import FocalLoss

# Up to so many parameters, their empirical Fisher matrix is cheap next to a pass over any network.
FEW_PARAMETERS = 512


class Learner:
    """Fits states to problems.

    Parameters
    ----------
    generator : torch.Generator
        Source of noise, of the order of samples and of the samples that steps are tried on.
    progress : Progress, default=None
        Told of every training.
    """

    def __init__(self, generator, progress=None):
        self.generator = generator
        self.progress = progress

    def draw_seed(self):
        """A seed for scikit-learn."""
        return torch.randint(2**31, (), generator=self.generator).item()

    def fit(self, problem, settings, start=None):
        """The state that training leaves.

        Parameters
        ----------
        problem : Problem
            The samples and the network.
        settings : Settings
            What to learn, and how.
        start : State, default=None
            Where to start instead of at the identity.

        Returns
        -------
        State
        """
        state = self._start(problem, settings) if start is None else copy.deepcopy(start)
        if not state.identity and not state.extensions:
            return state
        natural = is_natural(state, settings)
        if natural and settings.optimizer_params:
            raise ValueError(
                "optimizer_params must be None for natural-gradient steps, which have none; got "
                f"{settings.optimizer_params!r}. Name an optimizer of torch"
            )
        optimise = descend if natural else train_on_shards if problem.shard.ranks is not ALONE else train
        callbacks = [*(settings.callbacks or ()), *([self.progress] if self.progress else ())]
        optimise(state, problem, replace(settings, callbacks=callbacks), self.generator)
        state.perturbation.eval()
        return state

    def fit_path(self, problem, path):
        """A state for each of several settings, of which those that differ by gamma alone share the first one's fit.

        Parameters
        ----------
        problem : Problem
            The samples and the network.
        path : list of Settings
            Neighbours should resemble each other.

        Returns
        -------
        list of State
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
        losses = [FocalLoss(settings.gamma, eps=settings.loss_eps) for settings in path]
        scores = score_moments(problem, leader.perturbation, leader.temperature, losses)
        return [
            self.fit(
                problem,
                replace(settings, max_epochs=1),
                replace(leader, extensions={}, scores=Scores(scores.logits, [moments])),
            )
            for settings, moments in zip(path, scores.moments, strict=True)
        ]

    def _start(self, problem, settings):
        if settings.init_temperature == "optimal":
            temperature = problem.solve(gamma=settings.gamma).temperature
        else:
            temperature = float(settings.init_temperature)
        if isinstance(settings.perturbation, str) and settings.perturbation == "auto":
            return State(nn.Sequential(), [], temperature, candidates(problem))
        perturbation = make_perturbation(settings.perturbation, problem)
        state = State(perturbation, identity_of(perturbation), temperature)
        initialise(
            perturbation,
            settings.init,
            scale=settings.init_scale,
            generator=self.generator,
            problem=problem,
            temperature=temperature,
        )
        return state


def is_natural(state, settings):
    """Whether training takes natural-gradient steps: by default where there are few parameters."""
    if settings.optimizer != "auto":
        return settings.optimizer == "natural"
    return sum(identity.numel() for identity in state.identity) <= FEW_PARAMETERS
