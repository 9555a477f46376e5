"""BaseClamping: what the calibrators that perturb the input share, around two hooks."""

from dataclasses import dataclass, fields, replace
from functools import partial
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state
from torch import nn

from .._backbones.array import ArrayBackbone
from .._backbones.classifier import ClassifierBackbone
from .._backbones.cross_fit import cross_fit_networks
from .._backbones.differentiable import DifferentiableBackbone
from .._backbones.network import ScoresBackbone
from .._solvers.temperature import warn_of_bound
from .._utils.parameters import Choices
from .._utils.sklearn_private import Interval
from ..base import BaseCalibrator
from ..distributed import ALONE
from ..modules import ClampedModule, frozen
from ..perturbations import FullPerturbation, additive_part, in_words
from ._learner import Learner
from ._problem import Problem
from ._progress import Progress
from ._state import Settings, State
from ._training import resolve_optimizer


@dataclass(eq=False, repr=False, kw_only=True)
class BaseClamping(BaseCalibrator):
    """What the calibrators that perturb the input share: the problem, the competition, the last exact temperature."""

    loss_eps: float = 0.0
    init: object = "zeros"
    init_scale: float = 0.001
    init_temperature: str | float = "optimal"
    refit_temperature: bool = True
    optimizer: str | type[torch.optim.Optimizer] | partial = "auto"
    max_epochs: int = 10
    shuffle: bool = True
    output: BaseCalibrator | None = None
    precision: str = "auto"
    random_state: int | np.random.RandomState | None = None
    callbacks: list | None = None
    verbose: int = 0
    input_key: str | None = None

    _parameter_constraints: ClassVar[dict] = {
        **BaseCalibrator._parameter_constraints,
        "loss_eps": [Interval(Real, 0, 0.5, closed="left")],
        "init": [Choices("zeros", "normal", "gradient"), "array-like", torch.Tensor],
        "init_scale": [Interval(Real, 0, None, closed="left")],
        "init_temperature": [Choices("optimal"), Interval(Real, 0, None, closed="neither")],
        "refit_temperature": ["boolean"],
        "optimizer": "no_validation",  # `resolve_optimizer` says more
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "precision": [Choices("auto", "float32", "bfloat16")],
        "output": [BaseCalibrator, None],
        "input_key": [str, None],
        "random_state": ["random_state"],
        "callbacks": [list, None],
        "verbose": ["verbose"],
    }

    _not_saved: ClassVar[frozenset] = BaseCalibrator._not_saved | {"module_", "delta_", "history_"}
    _reads_again = True

    def _open_backbone(self, **options):
        backbone = super()._open_backbone(input_key=self.input_key, perturbs=True, **options)
        if isinstance(backbone, ClassifierBackbone):
            return DifferentiableBackbone(backbone.classifier, self.response, device=self.device, **self._loading())
        if isinstance(backbone, ArrayBackbone):
            return ScoresBackbone(backbone, batch_size=self.batch_size)
        return backbone

    def _validate_params(self):
        super()._validate_params()
        if self.optimizer not in ("auto", "natural"):
            resolve_optimizer(self.optimizer)
        for settings in self._candidates():
            _check_auto(settings)
        if self.output is not None and (self.output.estimator is not None or self.output.classes is not None):
            raise ValueError(
                "output must have estimator=None and classes=None, since it takes the logits of the perturbed inputs; "
                f"got {self.output!r}"
            )

    @property
    def _solved_temperature(self):
        # A few steps of training may leave T where it began.
        return self.temperature_ if self.refit_temperature else None

    def _cross_fitting(self):
        return partial(cross_fit_networks, response=self.response, cv=self.cv, device=self.device, **self._loading())

    def _fit(self, samples):
        ranks = samples.shard.ranks
        seed = ranks.all_gather_object(_draw_seed(self.random_state))[0]
        generator = torch.Generator().manual_seed(seed)
        with frozen(samples.reading.backbone.module):
            problem = Problem.of(samples)
            if ranks is not ALONE:
                # A DataLoader may have another batch size than the parameter.
                ranks.check_alike(
                    shape_of_an_input=tuple(problem.example(1).shape[1:]), batch_size=problem.inputs.batch_size
                )
            # At 2, skorch's own lines take its place.
            with Progress(self.verbose == 1 and ranks.rank == 0, self.max_epochs) as progress:
                outcome = self._search(problem, self._candidates(), Learner(generator, progress))
            if outcome.verdict is not None:
                self.verdict_ = outcome.verdict
            if outcome.state is None:
                outcome = replace(outcome, state=self._unperturbed(problem), problem=problem, logits=problem.logits)
            self._fit_output(outcome.problem, outcome.logits)
            self._set_fitted(problem, outcome.state, samples.reading.deployed.module)

    def _fit_output(self, problem, logits):
        """Fit a clone of the output map, where there is one, to this process's logits and those of the others."""
        if self.output is None:
            return
        logits, y_encoded = problem.shard.all_gather(logits), problem.shard.all_gather(problem.y_encoded)
        columns = np.arange(logits.shape[1])
        output = clone(self.output).set_params(estimator=None, response="logits", classes=columns)
        self.output_ = output.fit(logits, y_encoded.cpu(), sample_weight=problem.weight_of_all)

    def _unperturbed(self, problem, gamma=0.0):
        """Temperature scaling."""
        solution = problem.solve(gamma=gamma)
        warn_of_bound(solution)
        return State(nn.Identity(), [], solution.temperature)

    def _settings(self, **varied):
        """The settings of one candidate."""
        names = [field.name for field in fields(Settings) if hasattr(self, field.name) and field.name not in varied]
        return Settings(**varied, **{name: getattr(self, name) for name in names})

    def _set_fitted(self, problem, state, network):
        self.temperature_ = state.temperature
        self.perturbation_ = state.perturbation
        self._input_shape = problem.example(1).shape[1:]
        self._set_derived(network)
        self.accepted_ = bool(state.identity)
        self.cost_ = problem.cost()
        self.history_ = state.history
        self.n_iter_ = len(state.history)

    def _set_derived(self, network):
        delta = additive_part(self.perturbation_, self._input_shape)
        if delta is not None:
            self.delta_ = delta.detach().cpu().numpy()
        output = self.output_._transform_logits if hasattr(self, "output_") else None
        self.module_ = ClampedModule(network, self.perturbation_, temperature=self.temperature_, output=output)

    def _restore(self, learned, backbone=None):
        super()._restore(learned, backbone)
        self.perturbation_.to(self._backbone.device)
        self._set_derived(self._backbone.module)

    def _logits(self, X, labelled=False):
        return self._backbone.logits(self._backbone.open(X), self._perturb, labelled=labelled)

    def _perturb(self, x):
        """Perturbed batch; raises where the fitted perturbation is for inputs of another shape."""
        misfit = _other_shape(tuple(self._input_shape), tuple(x.shape))
        # Broadcasting would let some other shapes pass; networks of images may well take them in other sizes.
        whole = isinstance(self.perturbation_, FullPerturbation)
        if x.ndim != len(self._input_shape) + 1 or (whole and x.shape[1:] != self._input_shape):
            raise ValueError(misfit)
        try:
            perturbed = self.perturbation_(x)
        except RuntimeError as error:
            if x.shape[1:] == self._input_shape:
                raise
            raise ValueError(misfit) from error
        if perturbed.shape != x.shape:
            raise ValueError(misfit)
        return perturbed.to(x.dtype)

    def _transform_logits(self, logits):
        return self.output_._transform_logits(logits) if hasattr(self, "output_") else logits / self.temperature_

    def _sentences(self):
        inputs = f"pass through {in_words(self.perturbation_)}" if self.accepted_ else "stay as they are"
        logits = f"are divided by T = {self.temperature_:.4g}"
        if hasattr(self, "output_"):
            logits = f"pass through {type(self.output_).__name__} ({self.output_._n_parameters:,} numbers)"
        yield f"{type(self).__name__}: inputs {inputs}, and logits {logits}."
        if hasattr(self, "verdict_"):
            yield from self.verdict_.sentences()
        else:
            yield "No guard judged this."
        passes = " and ".join(f"{n:.3g} {name}" for name, n in self.cost_.items())
        yield f"The fit took {passes} passes over {self._n_samples:,} samples; epochs on all of them: {self.n_iter_}."

    @property
    def _n_parameters(self):
        # The network in `module_` isn't learned, and `delta_` is the perturbation's once more.
        output = self.output_._n_parameters if hasattr(self, "output_") else 1
        return output + sum(parameter.numel() for parameter in self.perturbation_.parameters())

    @property
    def _n_free(self):
        # A perturbation has to prove itself on held-out samples or, without a guard, is held by training that ends.
        return self.output_._n_free if hasattr(self, "output_") else 1


def _other_shape(expected, shape):
    """What is said of inputs of another shape than the perturbation was fitted to."""
    rule = f"X must have inputs of the shape that the perturbation was fitted to, {expected}; "
    if shape == expected:
        return f"{rule}X of shape {shape} looks like one sample: X[None]"
    return f"{rule}got inputs of shape {shape[1:]}"


def _check_auto(settings):
    """Raise where something is asked of "auto", which starts without parameters, that needs a family."""
    if not (isinstance(settings.perturbation, str) and settings.perturbation == "auto"):
        return
    if not (isinstance(settings.init, str) and settings.init == "zeros"):
        raise ValueError(f"init must be 'zeros' where perturbation is 'auto'; got {settings.init!r}. Name a family")
    if settings.optimizer not in ("auto", "natural"):
        raise ValueError(
            "optimizer must be 'auto' or 'natural' where perturbation is 'auto', since others can't append families; "
            f"got {settings.optimizer!r}. Name a family"
        )


def _draw_seed(random_state):
    """A seed for torch from scikit-learn's ``random_state``; None leaves numpy's global state alone."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    return int(check_random_state(random_state).randint(2**31))
