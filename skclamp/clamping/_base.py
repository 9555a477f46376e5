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
from .._backbones.inputs import StreamInputs
from .._backbones.network import ScoresBackbone
from .._backbones.opening import is_frozen
from .._solvers.temperature import warn_of_bound
from .._utils.sklearn_private import Interval, StrOptions
from ..base import BaseCalibrator
from ..distributed import ALONE, Shard
from ..modules import ClampedModule, frozen
from ..perturbations import FullPerturbation, additive_part
from ._learner import Learner
from ._problem import Passes, Problem
from ._progress import Progress
from ._state import OPTIMIZERS, Settings, State
from ._training import resolve_optimizer

_OTHER_SHAPE = "X must have inputs of the shape that the perturbation was fitted to, {}; got inputs of shape {}"


@dataclass(eq=False, repr=False, kw_only=True)
class BaseClamping(BaseCalibrator):
    """What the calibrators that clamp share: the problem, the competition, the last exact temperature."""

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
        "init": [StrOptions({"zeros", "normal", "gradient"}), "array-like", torch.Tensor],
        "init_scale": [Interval(Real, 0, None, closed="left")],
        "init_temperature": [StrOptions({"optimal"}), Interval(Real, 0, None, closed="neither")],
        "refit_temperature": ["boolean"],
        "optimizer": [StrOptions({"auto", "natural", *OPTIMIZERS}), type, partial],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "precision": [StrOptions({"auto", "float32", "bfloat16"})],
        "output": [BaseCalibrator, None],
        "input_key": [str, None],
        "random_state": ["random_state"],
        "callbacks": [list, None],
        "verbose": ["verbose"],
    }

    _not_saved: ClassVar[frozenset] = BaseCalibrator._not_saved | {"module_", "delta_", "history_"}

    def _open_backbone(self, **options):
        backbone = super()._open_backbone(input_key=self.input_key, perturbs=True, **options)
        if isinstance(backbone, ClassifierBackbone):
            return DifferentiableBackbone(backbone.classifier, self.response, device=self.device, **self._loading())
        if isinstance(backbone, ArrayBackbone):
            return ScoresBackbone(backbone, batch_size=self.batch_size)
        return backbone

    def _fit(self, X, y, sample_weight, ranks):
        if self.optimizer not in ("auto", "natural"):
            resolve_optimizer(self.optimizer)
        candidates = self._candidates()
        for settings in candidates:
            _check_auto(settings)
        if is_frozen(self.estimator):
            backbone = deployed = self._open_backbone()
        else:
            options = {"response": self.response, "cv": self.cv, "device": self.device, **self._loading()}
            backbone, deployed = cross_fit_networks(self.estimator, X, y, self._metadata, **options)
            self.estimator_ = deployed.classifier
        seed = ranks.everyone(_draw_seed(self.random_state))[0]
        generator = torch.Generator().manual_seed(seed)
        with frozen(backbone.module):
            problem, classes = self._pose(backbone, X, y, sample_weight, ranks)
            # At 2, skorch's own lines take its place.
            with Progress(self.verbose == 1 and ranks.rank == 0, self.max_epochs) as progress:
                outcome = self._search(problem, candidates, Learner(generator, progress))
            if outcome.verdict is not None:
                self.verdict_ = outcome.verdict
            if outcome.state is None:
                outcome = replace(outcome, state=self._unperturbed(problem), problem=problem, logits=problem.logits)
            self._fit_output(outcome.problem, outcome.logits)
            self._set_fitted(problem, outcome.state, deployed.module)
        self._remember(deployed, classes, X)

    def _pose(self, backbone, X, y, sample_weight, ranks):
        """The problem that `fit` solves, and the names of its classes."""
        inputs = backbone.open(X)
        if isinstance(inputs, StreamInputs):
            raise TypeError(
                "X must be an array, a dict or a map-style Dataset: clamping reads samples several times, by their "
                f"numbers; got {type(X).__name__}, a stream. Collect its samples first, or use a calibrator of the "
                "outputs alone, such as TemperatureScaling"
            )
        logits, labels = backbone.logits(inputs, labelled=y is None)
        classes, codes = self._check_y(labels if y is None else y, logits, backbone, ranks)
        weight = self._check_weight(sample_weight, len(inputs), ranks)
        self._look_at(logits, codes, weight, classes, backbone, ranks)
        shard = Shard.of(ranks, len(inputs))
        problem = Problem(backbone, inputs, codes, weight, logits, shard, Passes(forward=len(inputs)))
        if ranks is not ALONE:
            ranks.check_alike(shape_of_an_input=tuple(problem.example(1).shape[1:]))
        return problem, classes

    def _fit_output(self, problem, logits):
        """Fit a clone of the output map, where there is one, to this process's logits and those of the others."""
        if self.output is None:
            return
        logits, codes = problem.shard.whole(logits), problem.shard.whole(problem.codes)
        columns = np.arange(logits.shape[1])
        output = clone(self.output).set_params(estimator=None, response="logits", classes=columns)
        self.output_ = output.fit(logits, codes.cpu(), sample_weight=problem.sample_weights())

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

    def _logits(self, X):
        return self._backbone.logits(X, self._perturb, labelled=False)[0]

    def _perturb(self, x):
        """Perturbed batch; raises where the fitted perturbation is for inputs of another shape."""
        misfit = _OTHER_SHAPE.format(tuple(self._input_shape), tuple(x.shape[1:]))
        # Broadcasting would let some other shapes pass; networks of images may well take them in other sizes.
        whole = isinstance(self.perturbation_, FullPerturbation)
        if x.ndim != len(self._input_shape) + 1 or (whole and x.shape[1:] != self._input_shape):
            raise ValueError(misfit)
        try:
            moved = self.perturbation_(x)
        except RuntimeError as error:
            if x.shape[1:] == self._input_shape:
                raise
            raise ValueError(misfit) from error
        if moved.shape != x.shape:
            raise ValueError(misfit)
        return moved.to(x.dtype)

    def _transform_logits(self, logits):
        return self.output_._transform_logits(logits) if hasattr(self, "output_") else logits / self.temperature_

    @property
    def _n_parameters(self):
        # The network in `module_` isn't learned, and `delta_` is the perturbation's once more.
        output = self.output_._n_parameters if hasattr(self, "output_") else 1
        return output + sum(parameter.numel() for parameter in self.perturbation_.parameters())

    @property
    def _n_free(self):
        # A perturbation has to prove itself on held-out samples or, without a guard, is held by training that ends.
        return self.output_._n_free if hasattr(self, "output_") else 1


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
