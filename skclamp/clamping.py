"""NeuralClampingCalibrator: a learned perturbation of the input and a temperature, around a frozen network."""

from numbers import Integral, Real

import numpy as np
import torch
from sklearn.utils import check_random_state
from skorch.history import History
from torch import nn

from ._backbone import ArrayBackbone, ClassifierBackbone, ScoresBackbone, is_frozen
from ._problem import Passes, Problem, check_differentiable, identity_of, initialise, make_perturbation
from ._training import OPTIMIZERS, resolve_optimizer, train
from ._validation import Interval, StrOptions, check_sample_weight
from .base import BaseCalibrator
from .modules import ClampedModule, frozen
from .perturbations import PERTURBATIONS, FullPerturbation, additive_part

REFERENCE_SETTINGS = {
    "perturbation": "full",
    "gamma": 1.0,
    "penalty": 0.01,
    "init": "normal",
    "init_scale": 0.001,
    "init_temperature": 1.0,
    "refit_temperature": False,
    "optimizer": "sgd",
    "lr": 0.01,
    "momentum": 0.9,
    "max_epochs": 100,
    "batch_size": 1000,
    "shuffle": True,
    "validation_fraction": None,
}


_NEEDS_GRADIENT = (
    "estimator must be a torch network, whose input has a gradient, for neural clamping: an nn.Module, an initialised skorch "
    "net, or None with logits as X; got {}. For other classifiers use TemperatureScaling"
)

_OTHER_SHAPE = "X must have inputs of the shape that the perturbation was fitted to, {}; got inputs of shape {}"

_TRAINING = (
    "gamma",
    "penalty",
    "optimizer",
    "optimizer_params",
    "lr",
    "momentum",
    "max_epochs",
    "batch_size",
    "shuffle",
)
_LOADING = ("num_workers", "pin_memory", "callbacks", "verbose")


class NeuralClampingCalibrator(BaseCalibrator):
    """Doc."""

    _parameter_constraints: dict = {
        **BaseCalibrator._parameter_constraints,
        "perturbation": [StrOptions(set(PERTURBATIONS)), nn.Module, None],
        "gamma": [Interval(Real, 0, None, closed="left")],
        "penalty": [Interval(Real, 0, None, closed="left")],
        "init": [StrOptions({"zeros", "normal", "gradient"}), "array-like", torch.Tensor],
        "init_scale": [Interval(Real, 0, None, closed="left")],
        "init_temperature": [StrOptions({"optimal"}), Interval(Real, 0, None, closed="neither")],
        "refit_temperature": ["boolean"],
        "optimizer": [StrOptions(set(OPTIMIZERS)), type],
        "optimizer_params": [dict, None],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "momentum": [Interval(Real, 0, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither"), None],
        "random_state": ["random_state"],
        "callbacks": [list, None],
        "verbose": ["verbose"],
    }

    def __init__(
        self,
        estimator=None,
        *,
        perturbation="full",
        gamma=0.0,
        penalty=0.0,
        init="zeros",
        init_scale=0.001,
        init_temperature="optimal",
        refit_temperature=True,
        optimizer="adam",
        optimizer_params=None,
        lr=0.01,
        momentum=0.9,
        max_epochs=10,
        batch_size=128,
        shuffle=True,
        validation_fraction=None,
        num_workers=0,
        pin_memory=False,
        device=None,
        random_state=None,
        callbacks=None,
        verbose=0,
        response="auto",
        classes=None,
        cv=None,
    ):
        self.estimator = estimator
        self.perturbation = perturbation
        self.gamma = gamma
        self.penalty = penalty
        self.init = init
        self.init_scale = init_scale
        self.init_temperature = init_temperature
        self.refit_temperature = refit_temperature
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.lr = lr
        self.momentum = momentum
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.validation_fraction = validation_fraction
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.device = device
        self.random_state = random_state
        self.callbacks = callbacks
        self.verbose = verbose
        self.response = response
        self.classes = classes
        self.cv = cv

    def _open_backbone(self):
        if not is_frozen(self.estimator):
            raise TypeError(_NEEDS_GRADIENT.format(type(self.estimator).__name__))
        backbone = super()._open_backbone()
        if isinstance(backbone, ClassifierBackbone):
            raise TypeError(_NEEDS_GRADIENT.format(type(backbone.classifier).__name__))
        if isinstance(backbone, ArrayBackbone):
            return ScoresBackbone(backbone, batch_size=self.batch_size)
        return backbone

    def _fit(self, X, y, sample_weight):
        resolve_optimizer(self.optimizer)
        backbone = self._open_backbone()
        generator = torch.Generator().manual_seed(_draw_seed(self.random_state))
        with frozen(backbone.module), torch.random.fork_rng(devices=[]):
            problem, classes = self._pose(backbone, X, y, sample_weight)
            perturbation, temperature, history = self._clamp(problem, generator)
        self._set_fitted(problem, perturbation, temperature, history)
        self._remember(backbone, classes, X)

    def _pose(self, backbone, X, y, sample_weight):
        """The problem that `fit` solves, and the names of its classes."""
        inputs = backbone.open(X)
        logits, labels = backbone.logits(inputs)
        classes, codes = self._check_y(labels if y is None else y, logits, backbone)
        weight = check_sample_weight(sample_weight, len(inputs))
        return Problem(backbone, inputs, codes, weight, logits, Passes(forward=len(inputs))), classes

    def _clamp(self, problem, generator):
        """Learn from a problem: the perturbation, the temperature and the training's history."""
        if self.perturbation is None:
            return nn.Identity(), problem.temperature(gamma=0.0 if self.refit_temperature else self.gamma), History()
        check_differentiable(problem)
        perturbation = make_perturbation(self.perturbation, problem)
        identity = identity_of(perturbation)
        start = problem.temperature() if self.init_temperature == "optimal" else float(self.init_temperature)
        initialise(
            perturbation, self.init, scale=self.init_scale, generator=generator, problem=problem, temperature=start
        )
        module = ClampedModule(problem.backbone.module, perturbation, temperature=start)
        history = train(
            module,
            problem,
            identity=identity,
            generator=generator,
            **{name: getattr(self, name) for name in _TRAINING + _LOADING},
        )
        perturbation.eval()
        if self.refit_temperature:
            return perturbation, problem.temperature(problem.logits_under(perturbation)), history
        return perturbation, module.temperature.item(), history

    def _set_fitted(self, problem, perturbation, temperature, history):
        self.temperature_ = temperature
        self.perturbation_ = perturbation
        self._input_shape = problem.example(1).shape[1:]
        delta = additive_part(perturbation, self._input_shape)
        if delta is not None:
            self.delta_ = delta.detach().cpu().numpy()
        self.module_ = ClampedModule(problem.backbone.module, perturbation, temperature=temperature)
        self.history_ = history
        self.n_iter_ = len(history)

    def _logits(self, X):
        return self._backbone.logits(X, self._perturb)[0]

    def _perturb(self, x):
        """Perturbed batch; raises where the fitted perturbation is for inputs of another shape."""
        # Broadcasting would let some other shapes pass; networks of images may well take them in other sizes.
        whole = isinstance(self.perturbation_, FullPerturbation)
        if x.ndim != len(self._input_shape) + 1 or (whole and x.shape[1:] != self._input_shape):
            raise ValueError(_OTHER_SHAPE.format(tuple(self._input_shape), tuple(x.shape[1:])))
        try:
            moved = self.perturbation_(x)
        except RuntimeError as error:
            raise ValueError(_OTHER_SHAPE.format(tuple(self._input_shape), tuple(x.shape[1:]))) from error
        if moved.shape != x.shape:
            raise ValueError(_OTHER_SHAPE.format(tuple(self._input_shape), tuple(x.shape[1:])))
        return moved.to(x.dtype)

    def _transform_logits(self, logits):
        return logits / self.temperature_


def _draw_seed(random_state):
    """A seed for torch from scikit-learn's ``random_state``; None leaves numpy's global state alone."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    return int(check_random_state(random_state).randint(2**31))
