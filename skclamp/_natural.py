"""Natural gradient descent for perturbations of few parameters.

A step is solved for with the second moments of the per-sample scores (the empirical Fisher metric), and its length is
found on a subsample by forward passes alone, with T at its optimum at every trial. The way is made on the subsample,
and the last steps on all the samples: a few such passes do what hundreds of plain gradient steps do.
"""

from dataclasses import replace

import torch
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from ._posterior import natural_step
from ._scores import parameters_of, perturbation_metric, score_moments
from ._training import ClampingNet, Converged, run_net
from .perturbations import CONTAINED_IN_ALL, learnable

# Samples that the first steps are made on and that the length of each step is tried on.
_TRIAL_SAMPLES = 512
_LONGEST_STEP, _SHORTEST_STEP = 16.0, 1 / 16
# A step that should gain less, in nats summed over the samples and as a share of all that speaks for the perturbation,
# is no longer worth a pass.
_SMALLEST_GAIN, _SMALLEST_SHARE = 1.0, 0.03
# Log Bayes factor that speaks for another family; nats.
_LEAST_EVIDENCE = 3.0


class NaturalNet(ClampingNet):
    """A net of skorch that takes one natural-gradient step an epoch.

    ``lr`` is the length of the first trial step, in natural steps; the line search doubles or halves it from there.

    Parameters
    ----------
    *args, **kwargs
        As for `ClampingNet`.
    samples : Problem
        All the samples, on the backbone that takes the steps.
    trial : Problem
        Some of them.
    state : State
        Whose perturbation the module holds. Before each step, that of its extensions for which the scores speak
        loudest, if any, is appended to the perturbation, an nn.Sequential then.
    rough : bool
        Whether to begin on the trial samples.
    """

    def __init__(self, *args, samples=None, trial=None, rough=False, **kwargs):
        super().__init__(*args, **kwargs)
        self.samples = samples
        self.trial = trial
        self.rough = rough
        self.finished = False

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """One step."""
        if not training:
            return
        if self.finished:
            raise Converged
        # Half of the epochs at the least are for all the samples.
        self.rough = self.rough and 2 * len(self.history) <= self.max_epochs
        step = self._choose_step()
        if self.rough and not _is_worth(step):
            self.rough = False
            step = self._choose_step()
        if not _is_worth(step):
            raise Converged
        length, loss = self._search(step)
        self.history.record("train_loss", loss)
        self.history.record("temperature", self.module_.temperature.item())
        self.history.record("gain", step.gain)
        self.history.record("step", length)
        # A step that the search had to shorten leads along the floor of a valley, where passes buy little more.
        self.finished = not self.rough and length < self.lr
        self.rough = self.rough and length > 0

    def _choose_step(self):
        """The step of the perturbation as it is, or, where more evidence speaks for it, of an extended one; or None."""
        state, left = self.state, list(self.state.extensions.items())
        moved = self._moved()
        moments = score_moments(
            self.trial if self.rough else self.samples,
            state.perturbation,
            self.module_.temperature.item(),
            loss=self.criterion_,
            extensions=[extension for _, (extension, _) in left],
        )
        moments = [self._penalised(part, moved) for part in moments]
        step = natural_step(moments[0], moved, state.metrics) if len(moved) else None
        best, name = step, None
        for part, (key, (_, metric)) in zip(moments[1:], left, strict=True):
            extended = natural_step(part, torch.cat([moved, moved.new_zeros(len(metric))]), [*state.metrics, metric])
            if extended.evidence > max(_evidence(best), _evidence(step) + _LEAST_EVIDENCE):
                best, name = extended, key
        if name is not None:
            self._extend(name)
        elif not self.rough:
            # Families that all the samples didn't ask for won't be asked for again; their scores cost time.
            state.extensions.clear()
        return best

    def _moved(self):
        """The perturbation's parameters minus the identity."""
        if not self.state.identity:
            return torch.empty(0)
        return parameters_of(self.state.perturbation) - parameters_to_vector(self.state.identity)

    def _extend(self, name):
        extension, metric = self.state.extensions.pop(name)
        for contained in CONTAINED_IN_ALL:
            self.state.extensions.pop(contained, None)
        self.state.perturbation.add_module(name, extension)
        self.state.metrics.append(metric)
        self.state.identity.extend(p.detach().clone() for p in extension.parameters())

    def _penalised(self, moments, moved):
        """With the slope and the curvature of the penalty, where it has them: away from the identity."""
        if not self.penalty or not moved.any():
            return moments
        norm = moved.norm().item()
        first, second, own = moments.first.clone(), moments.second.clone(), slice(0, len(moved))
        first[own] += self.penalty * moved.double() / norm
        second.diagonal()[own] += self.penalty / norm
        return replace(moments, first=first, second=second)

    def _search(self, step):
        """Move along a step as far as the trial samples' loss falls."""
        start = parameters_of(self.module_.perturbation)
        direction = step.direction.to(start)
        tried = {}

        def loss(length):
            if length not in tried:
                tried[length] = self._try(start + length * direction, step)
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

    def _try(self, parameters, step):
        """Loss, with the prior and the penalty, and optimal temperature of the trial samples at some parameters."""
        self._move(parameters)
        logits = self.trial.logits_under(self.module_.perturbation)
        solved = self.trial.solve(logits, gamma=self.criterion_.gamma)
        penalty = self.penalty * self._deviation().item() if self.penalty else 0.0
        return solved.loss + step.prior(self._moved()) + penalty, solved.temperature

    def _move(self, parameters):
        vector_to_parameters(parameters, learnable(self.module_.perturbation))


def _is_worth(step):
    return step is not None and step.gain >= max(_SMALLEST_GAIN, _SMALLEST_SHARE * step.evidence)


def _evidence(step):
    return 0.0 if step is None else step.evidence


def descend(state, problem, settings, generator):
    """Train in place by natural gradient descent; the parameters are those of `run_net`."""
    # What draws in train mode, such as dropout, has no scores.
    state.perturbation.eval()
    trial = problem.take(torch.randperm(len(problem), generator=generator)[:_TRIAL_SAMPLES].sort().values)
    rough = len(problem) > len(trial) and not state.metrics
    _measure(state, trial, generator)
    run_net(
        NaturalNet,
        state,
        problem,
        settings,
        generator,
        lr=1.0 if settings.lr == "auto" else settings.lr,
        samples=problem,
        trial=trial,
        rough=rough,
    )


def _measure(state, trial, generator):
    """Give a state, and its extensions, the metrics of their parameters where they have none yet."""
    x = trial.example(len(trial))
    if state.identity and not state.metrics:
        state.metrics.append(perturbation_metric(state.perturbation, x, generator))
    for name, extension in state.extensions.items():
        if not isinstance(extension, tuple):
            state.extensions[name] = extension, perturbation_metric(extension, x, generator)
