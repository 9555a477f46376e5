"""Fits a perturbation and a temperature to a problem, as the settings say: start, optimiser, warm starts."""

import copy
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import torch
from skorch.history import History
from torch import nn

from .._judging.verdict import Objection, Reason
from .._utils.arrays import absent_among, at_least_single, tensor_of, without
from ..perturbations._families import PERTURBATIONS, learnable, n_learnable
from ..perturbations._norm import NormPerturbation, norm_part
from ..perturbations._words import reasons_in_words
from ._evidence_step import most_samples
from ._natural_gradient import descend
from ._state import State, identity_of
from ._torch_training import train

# Up to so many parameters, their empirical Fisher matrix is cheap next to a pass over any network. Of more, which
# "auto" chooses for tables alone, the gradients themselves are, where samples are few.
MAX_PARAMETERS = 512
# Of images and sequences; so few parameters a prior holds, however few samples there are.
SAMPLES_PER_PARAMETER = 5
_FEW_PARAMETERS = 10
# So many parameters on so few samples never converge: later steps fit noise. From the mean of the folds it isn't far.
_MOST_STEPS = 5
_LAST_STEPS = 4


class Learner:
    """Fits states to problems; `generator` is the source of noise, of orders and of the samples to try steps on."""

    def __init__(self, generator, progress):
        self.generator = generator
        self.progress = progress

    def fit(self, problem, settings, start=None):
        """The state that training leaves; it starts at `start`, if given, instead of at the identity."""
        if settings.features:
            state = start or self._start(problem, replace(settings, features=False))
            features, problem, settings = _clamping_features(problem, settings, state)
            if features.identity:
                descend(features, problem, settings, self.generator, self.progress)
            return _on_top(state, features)
        state = self._start(problem, settings) if start is None else copy.deepcopy(start)
        if not state.identity and not state.extensions:
            return state
        if state.natural:
            descend(state, problem, settings, self.generator, self.progress)
        else:
            train(state, problem, settings, self.generator, self.progress)
        state.perturbation.eval()
        return state

    def following(self, problem, settings, states):
        """Settings and where to start with them, after the states of others that differ by gamma, or clamp no features.

        Neighbours should resemble each other: a step from a converged one, in the perturbation that it chose, will do.
        """
        if not states:
            return settings, None
        leader = states[0]
        has_features = norm_part(leader.perturbation) is not None
        if settings.features and not has_features and settings.perturbation == "auto":
            return settings, leader
        if not leader.natural or (leader.wide and len(problem) > most_samples(n_learnable(leader.perturbation))):
            return settings, None
        return replace(settings, max_epochs=1, features=has_features), replace(leader, extensions={})

    def _start(self, problem, settings):
        """Return a state where training starts: at the identity, or as a `TorchTraining` says."""
        state = State(nn.Sequential(), [], 1.0, natural=True)
        training = settings.torch_training
        if settings.perturbation == "auto":
            families, state.untried = competing_families(problem, settings.penalty)
            # Families that are appended one after another may together be more than few.
            state.wide = any(n_learnable(family) > MAX_PARAMETERS for family in families.values())
            state.extensions = {name: (family, None) for name, family in families.items()}
        elif settings.perturbation != "norm":
            # What draws in train mode, such as dropout, would blur where training starts; skorch's loop turns it on.
            state.perturbation = make_perturbation(settings.perturbation, problem).eval()
            state.identity = identity_of(state.perturbation)
            limited = settings.training != "natural"
            state.wide = takes_wide_steps(state.perturbation, problem, settings.penalty, limited)
            # Natural steps where parameters, or samples, are few; else Adam.
            few = state.wide or n_learnable(state.perturbation) <= MAX_PARAMETERS
            state.natural = few if settings.training == "auto" else not limited
        # Natural steps have T at its optimum at every trial: one far off would only blur the first direction.
        if state.natural or training.init_temperature == "optimal":
            state.temperature = problem.solve(gamma=settings.gamma, prior=True).temperature
        else:
            state.temperature = float(training.init_temperature)
        if not state.natural:
            _initialise(state, training, self.generator, problem)
        return state


def _clamping_features(problem, settings, state):
    """A state of features to train on top of another, and the problem and the settings to train it with.

    It has nothing to learn where no layer can be clamped.
    """
    others = _without_norm(state.perturbation)
    before = norm_part(state.perturbation)
    features = State(nn.Sequential(), [], state.temperature, natural=True, wide=True)
    if not problem.norm_layers:
        features.untried = {"norm": without_layers(problem)}
        return features, problem, settings
    identity = make_perturbation("norm", problem)
    features.perturbation = copy.deepcopy(before) or identity
    features.identity = identity_of(identity)
    features.prior_precisions = [torch.ones(n_learnable(identity), dtype=torch.float64)]
    if others:
        problem = problem.behind(nn.Sequential(OrderedDict(others)))
    most = _MOST_STEPS if before is None else _LAST_STEPS
    return features, problem, replace(settings, max_epochs=min(settings.max_epochs, most))


def _on_top(state, features):
    """One state of another and, in the place of those that it has, of features that were trained on top of it."""
    if not features.perturbs:
        return replace(state, untried=state.untried | features.untried)
    others = _without_norm(state.perturbation)
    before = norm_part(state.perturbation)
    n_before = len(state.identity) - (0 if before is None else len(features.identity))
    return replace(
        features,
        perturbation=nn.Sequential(OrderedDict([*copy.deepcopy(others), ("norm", features.perturbation)])),
        identity=state.identity[:n_before] + features.identity,
        untried=state.untried,
        history=History([*(state.history if before is None else []), *features.history]),
    )


def _without_norm(perturbation):
    """Named parts of a perturbation that act on inputs."""
    return [(name, part) for name, part in perturbation.named_children() if norm_part(part) is None]


def make_perturbation(perturbation, problem):
    """Return a perturbation at the identity, in the place and precision of the problem's inputs.

    It is a name of `PERTURBATIONS`, or a module to copy. One that isn't the identity, changes the shape or has no
    parameters is refused.
    """
    if perturbation == "norm":
        dtype = torch.promote_types(problem.backbone.dtype or torch.float32, torch.float32)
        return NormPerturbation(problem.norm_layers or [], problem.layers_left_out).to(problem.backbone.device, dtype)
    x = problem.example()
    dtype = at_least_single(x)
    if isinstance(perturbation, str):
        return PERTURBATIONS[perturbation](tuple(x.shape[1:])).to(x.device, dtype)
    if norm_part(perturbation) is not None:
        raise ValueError(
            "perturbation must be 'norm' to clamp features, whose layers fit looks for; got a module with a "
            "NormPerturbation, which is for ClampedModule"
        )
    made = copy.deepcopy(perturbation).to(x.device, dtype)
    name = type(perturbation).__name__
    if not learnable(made):
        raise ValueError(f"perturbation must have parameters to learn; got {name}, which has none")
    with torch.no_grad():
        perturbed = made(x)
    if perturbed.shape != x.shape:
        raise ValueError(
            f"perturbation must keep the shape of its input {tuple(x.shape)}; {name} gave {tuple(perturbed.shape)}"
        )
    distance = (perturbed - x).abs().max().item()
    if not distance <= 1e-5 * max(1.0, x.abs().max().item()):
        raise ValueError(f"perturbation must start as the identity; {name} moves an input by {distance:.3g}")
    return made


def with_values(problem, family, values):
    """Return a perturbation of one family with such parameters, in the place and precision of a problem's inputs."""
    x = problem.example(1)
    family = family.to(x.device, at_least_single(x))
    with torch.no_grad():
        for name, value in values.items():
            parameter = getattr(family, name)
            parameter.copy_(torch.tensor(np.array(value)).view_as(parameter))
    return nn.Sequential(OrderedDict({family.name: family}))


def takes_wide_steps(perturbation, problem, penalty, limited=True):
    """Return whether natural steps are made from the samples' own gradients, for a perturbation of many parameters.

    Of more samples than `most_samples`, these have no place where `limited`, and are made from some of them otherwise.
    The penalty's curvature has no room in their form.
    """
    n_parameters = n_learnable(perturbation)
    many = n_parameters > MAX_PARAMETERS and not penalty
    return many and (not limited or len(problem) <= most_samples(n_parameters))


def competing_families(problem, penalty=0.0, n_samples=None):
    """Return the families that "auto" chooses from, at the identity, by name, and why the others are none of them.

    The shape of an input has to allow them, and so many samples, all by default, to teach their parameters.
    """
    x = problem.example(1)
    shape = tuple(x.shape[1:])
    n_samples = n_samples or len(problem)
    is_table = x.ndim == 2
    most = MAX_PARAMETERS if is_table else min(MAX_PARAMETERS, max(_FEW_PARAMETERS, n_samples // SAMPLES_PER_PARAMETER))
    made = {}
    untried = {}
    if problem.norm_layers == []:
        untried["norm"] = without_layers(problem)
    for name, kind in PERTURBATIONS.items():
        if not (kind.tried_on_tables if is_table else kind.tried_on_signals):
            continue
        try:
            family = make_perturbation(name, problem)
        except ValueError:
            untried[name] = Objection(Reason.OTHER_SHAPE, about=shape)
            continue
        n = n_learnable(family)
        if n <= most or (is_table and takes_wide_steps(family, problem, penalty)):
            made[name] = family
        elif is_table and not penalty:
            untried[name] = Objection(Reason.TOO_MANY_GRADIENTS, n, most_samples(n), n_samples)
        elif n > MAX_PARAMETERS:
            reason = Reason.TOO_MANY_PARAMETERS_WITH_PENALTY if is_table else Reason.TOO_MANY_PARAMETERS
            untried[name] = Objection(reason, n, MAX_PARAMETERS)
        else:
            untried[name] = Objection(Reason.TOO_FEW_SAMPLES, n, SAMPLES_PER_PARAMETER * n, n_samples)
    return made, untried


def without_layers(problem):
    """Why features aren't clamped where no layer's can be."""
    left_out = problem.layers_left_out
    lacking = f"that can be clamped: {reasons_in_words(left_out)}" if left_out else "at all"
    return Objection(Reason.NO_NORM_LAYERS, about=lacking)


def check_settings(problem, settings):
    """Raise where the start doesn't suit the perturbation, or this the inputs."""
    if settings.perturbation in ("auto", "norm"):
        return
    perturbation = make_perturbation(settings.perturbation, problem)
    init = settings.torch_training.init
    parameters = learnable(perturbation)
    by_name = isinstance(init, str)
    if len(parameters) > 1 and not (by_name and init in ("zeros", "normal")):
        raise ValueError(
            "init must be 'zeros' or 'normal' for a perturbation with several parameters; got "
            f"{repr(init) if by_name else 'an array'} for {type(perturbation).__name__}"
        )
    if not by_name:
        _as_value_of(parameters[0], init)


def _initialise(state, training, generator, problem):
    """Move a state's perturbation from the identity to where a `TorchTraining` starts."""
    parameters = learnable(state.perturbation)
    init = training.init
    by_name = isinstance(init, str)
    if by_name and init == "zeros":
        return
    with torch.no_grad():
        if by_name and init == "normal":
            for parameter in parameters:
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
                parameter.add_(noise.to(parameter), alpha=training.init_scale)
        elif by_name:
            parameters[0].add_(_mean_gradient(state.perturbation, problem, state.temperature))
        else:
            parameters[0].copy_(_as_value_of(parameters[0], init))


def _as_value_of(parameter, init):
    value = tensor_of(init, "init")
    if value.shape != parameter.shape:
        raise ValueError(
            f"init must have the shape of the perturbation's parameter, {tuple(parameter.shape)}; got "
            f"{tuple(value.shape)}"
        )
    value = value.to(parameter)
    if not value.isfinite().all():
        raise ValueError(f"init must be finite; got NaN or infinity in {value.dtype}")
    return value


def _mean_gradient(perturbation, problem, temperature):
    """The "gradient" initialisation of Tang (2022): the mean gradient of sum_k f_k / T by the only parameter."""
    # In float64 the order of the samples is of no account, nor which process has them.
    exact = copy.deepcopy(perturbation).double()
    (parameter,) = learnable(exact)
    total = torch.zeros_like(parameter)
    mean_weight = problem.weight.mean().item()
    for x, others, _, weight in problem.labelled_batches():
        x = x.detach().requires_grad_()
        with torch.enable_grad():
            logits = problem.backbone.module(x, **others)
            share = (weight / (mean_weight * temperature)).to(logits)
            (gradient,) = torch.autograd.grad(without(logits, absent_among(logits)).flatten(1).sum(1) @ share, x)
            perturbed = exact(x.detach().double())
        problem.passes.forward += len(x)
        problem.passes.backward += len(x)
        total += torch.autograd.grad(perturbed, parameter, gradient.to(perturbed.dtype))[0]
    return problem.shard.ranks.sum(total) / len(problem)
