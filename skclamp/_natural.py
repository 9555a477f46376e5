"""Natural gradient descent for perturbations of few parameters.

A step is solved for with the second moments of the per-sample scores (the empirical Fisher metric), and its length is
found on a subsample by forward passes alone, with T at its optimum at every trial. A few such steps over all the
samples do what hundreds of plain gradient steps do.
"""

import math
from dataclasses import replace

import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from ._scores import natural_step, parameters_of, score_moments
from ._training import ClampingNet, Converged, run_net
from .perturbations import CONTAINED_IN_ALL, learnable

# Samples that the length of a step is tried on.
_TRIAL_SAMPLES = 512
_LONGEST_STEP, _SHORTEST_STEP = 16.0, 1 / 16


class NaturalNet(ClampingNet):
    """skorch's loop with one natural-gradient step an epoch.

    ``lr`` is the length of the first trial step, in natural steps; the line search doubles or halves it from there.

    Parameters
    ----------
    *args, **kwargs
        As for `ClampingNet`.
    samples : Problem
        The samples, on the backbone that takes the steps.
    trial : Problem
        The samples that step lengths are tried on.
    extensions : dict of str to torch.nn.Module
        Perturbations at the identity. Before each step, the one for which the scores speak loudest, if any, is appended
        to the module's perturbation, an nn.Sequential then.
    """

    def __init__(self, *args, samples=None, trial=None, extensions=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.samples = samples
        self.trial = trial
        self.extensions = extensions

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """One step on all the samples."""
        if not training:
            return
        step = self._choose_step()
        self.history.record("statistic", step.statistic)
        if step.evidence <= -step.freedom:
            raise Converged
        length, loss = self._search(step)
        self.history.record("step", length)
        self.history.record("train_loss", loss)
        self.history.record("temperature", self.module_.temperature.item())
        if length == 0:
            raise Converged

    def _choose_step(self):
        """The step of the perturbation as it is, or, where more evidence speaks for it, of an extended one."""
        left = dict(self.extensions)
        moments = score_moments(
            self.samples,
            self.module_.perturbation,
            self.module_.temperature.item(),
            gamma=self.criterion_.gamma,
            extensions=left.values(),
        )
        steps = [natural_step(self._penalised(part)) for part in moments]
        best = max(range(len(steps)), key=lambda k: steps[k].evidence)
        if best > 0:
            self._extend(list(left)[best - 1])
        return steps[best]

    def _extend(self, name):
        extension = self.extensions.pop(name)
        for contained in CONTAINED_IN_ALL:
            self.extensions.pop(contained, None)
        self.module_.perturbation.add_module(name, extension)
        self.identity.extend(p.detach().clone() for p in extension.parameters())

    def _penalised(self, moments):
        """With the slope and the curvature of the penalty, where it has them: away from the identity."""
        moved = (
            parameters_of(self.module_.perturbation) - parameters_to_vector(self.identity) if self.identity else None
        )
        if not self.penalty or moved is None or not moved.any():
            return moments
        norm = moved.norm().item()
        first, second, own = moments.first.clone(), moments.second.clone(), slice(0, len(moved))
        first[own] += self.penalty * moved.double() / norm
        second.diagonal()[own] += self.penalty / norm
        return replace(moments, first=first, second=second)

    def _search(self, step):
        """Move along a step as far as the trial samples' loss falls."""
        start = parameters_of(self.module_.perturbation)
        direction = step.direction[:-1].to(start)
        tried = {}

        def loss(length):
            if length not in tried:
                tried[length] = self._try(start + length * direction)
            return tried[length][0]

        length = self.lr
        if loss(length) < loss(0.0):
            while length < _LONGEST_STEP and loss(2 * length) < loss(length):
                length *= 2
        else:
            while length > _SHORTEST_STEP * self.lr and loss(length) >= loss(0.0):
                length /= 2
        best = min(tried, key=loss)
        self._move(start + best * direction)
        with torch.no_grad():
            self.module_.temperature.fill_(tried[best][1])
        return best, tried[best][0]

    def _try(self, parameters):
        """Loss and optimal temperature of the trial samples at some parameters."""
        self._move(parameters)
        try:
            logits = self.trial.logits_under(self.module_.perturbation)
        except ValueError:
            # So long a step that the network's arithmetic overflows.
            return math.inf, self.module_.temperature.item()
        solved = self.trial.solve(logits, gamma=self.criterion_.gamma)
        penalty = self.penalty * self._deviation().item() if self.penalty else 0.0
        return solved.loss + penalty, solved.temperature

    def _move(self, parameters):
        vector_to_parameters(parameters, learnable(self.module_.perturbation))


def descend(state, problem, settings, generator):
    """Train in place by natural gradient descent; the parameters are those of `run_net`."""
    # What draws in train mode, such as dropout, has no scores.
    state.perturbation.eval()
    trial = problem.take(torch.randperm(len(problem), generator=generator)[:_TRIAL_SAMPLES].sort().values)
    run_net(
        NaturalNet,
        state,
        problem,
        settings,
        generator,
        lr=1.0 if settings.lr == "auto" else settings.lr,
        samples=problem,
        trial=trial,
        extensions=state.extensions,
    )
