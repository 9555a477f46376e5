"""Trains a clamped module by a torch optimiser: skorch's loop, with the focal loss, the penalty and T kept positive.

Where several processes hold the samples, each takes its part of every batch that one process with all of them would
draw, and each step's loss and gradients are summed over the processes.
"""

import inspect
import logging
import math
from dataclasses import dataclass
from functools import partial
from numbers import Real
from typing import ClassVar

import torch
from sklearn.base import BaseEstimator
from skorch import NeuralNet
from skorch.callbacks import Callback
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from .._backbones.inputs import TrainingSet
from .._utils.arrays import at_least_single
from .._utils.encoding import register
from .._utils.parameters import NOT_NEGATIVE, POSITIVE, Choices, check_parameters
from .._utils.sklearn_private import Interval
from ..distributed import ALONE
from ..losses import FocalLoss
from ..modules import ClampedModule
from ..perturbations._families import learnable
from ._progress import warn_of_interrupt

logger = logging.getLogger("skclamp")

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
DEFAULT_LR = 0.01

# A raw T that a large step carried below zero restarts here rather than flipping every prediction.
SMALLEST_TEMPERATURE = 1e-4

# How far the loss may rise in training by noise, as a factor and in nats.
_MOST_RAISED = 1.1
_RISE = 0.05


@register
@dataclass(eq=False, repr=False, kw_only=True)
class TorchTraining(BaseEstimator):
    """How a torch optimiser trains a perturbation and T, in skorch's loop: `NeuralClampingCalibrator`'s `training`.

    The calibrator's own `lr`, `max_epochs`, `batch_size`, `gamma` and `penalty` hold as well. It is only read, never
    changed, so that several calibrators may share one; in a grid its parameters are ``training__optimizer`` and so on.

    Parameters
    ----------
    optimizer : {"adam", "sgd"}, class or functools.partial, default="adam"
        A subclass of torch.optim.Optimizer also will do; a partial of one sets arguments other than `lr`.
    init : {"zeros", "normal", "gradient"} or array-like, default="zeros"
        Where the perturbation starts: at the identity. There plus normal noise of standard deviation `init_scale` on
        each parameter. There plus the mean gradient, with respect to the parameter, of the summed logits over T. Or at
        an array of the parameter's shape, such as a delta. The last two are for perturbations of one parameter, such as
        "full" and "channel".
    init_scale : float, default=0.001
        Standard deviation of "normal", in units of the input.
    init_temperature : "optimal" or float, default="optimal"
        Where T starts; "optimal" is temperature scaling's.
    refit_temperature : bool, default=True
        Whether T is solved for exactly at the end, for the NLL and with the perturbation held, as after natural steps.
        Without, T is that of the focal loss; held-out folds compare perturbations at the T of least NLL all the same.
    loss_eps : float, default=0.0
        The training loss clips a label's probability to [loss_eps, 1 - loss_eps], below 0.5, beyond which a sample has
        no gradient. The authors' toolkit does so at 1e-7; 0 is the exact loss.
    shuffle : bool, default=True
        Whether samples come in a new order each epoch.
    callbacks : list of skorch.callbacks.Callback, default=None
        Called in the final training, whose history has a "train_loss" and no "valid_loss" to wait for. `save` leaves
        them out, with a warning.

    See Also
    --------
    NeuralClampingCalibrator : Takes natural-gradient steps by default, which need no such settings.

    Examples
    --------
    >>> import torch
    >>> from skclamp import NeuralClampingCalibrator, TorchTraining
    >>> network = torch.nn.Linear(20, 3)
    >>> training = TorchTraining(optimizer="sgd", init="normal")
    >>> calibrator = NeuralClampingCalibrator(network, perturbation="full", training=training)
    >>> calibrator.set_params(training__init_scale=0.01).training
    TorchTraining(init='normal', init_scale=0.01, optimizer='sgd')
    """

    optimizer: str | type[torch.optim.Optimizer] | partial = "adam"
    init: object = "zeros"
    init_scale: float = 0.001
    init_temperature: str | float = "optimal"
    refit_temperature: bool = True
    loss_eps: float = 0.0
    shuffle: bool = True
    callbacks: list | None = None

    _parameter_constraints: ClassVar[dict] = {
        "optimizer": "no_validation",  # `resolve_optimizer` says more
        "init": [Choices("zeros", "normal", "gradient"), "array-like", torch.Tensor],
        "init_scale": [NOT_NEGATIVE],
        "init_temperature": [Choices("optimal"), POSITIVE],
        "refit_temperature": ["boolean"],
        "loss_eps": [Interval(Real, 0, 0.5, closed="left")],
        "shuffle": ["boolean"],
        "callbacks": [list, None],
    }

    def _validate_params(self):
        check_parameters(self._parameter_constraints, self.get_params(deep=False), type(self).__name__)
        resolve_optimizer(self.optimizer)
        check_callbacks(self.callbacks)


def train(state, problem, settings, generator, progress):
    """Train a state in place, with an optimiser of torch; the generator is the source of the order of samples."""
    start = problem.losses(state.temperature, problem.logits, settings.gamma).mean().item()
    net = ClampingNet.around(state, problem, settings, generator, progress)
    net.run()
    losses = [epoch["train_loss"] for epoch in net.history if "train_loss" in epoch]
    if losses:
        # Training may have begun far from the identity.
        start = max(start, net.history[0, "batches", 0, "train_loss"])
        state.diverged = losses[-1] > _MOST_RAISED * start + _RISE


class _EndedByCallback(KeyboardInterrupt):
    """A callback of skorch's has ended the training."""


class ClampingNet(NeuralNet):
    """A net of skorch around a ClampedModule whose network is frozen already; processes share each batch."""

    @classmethod
    def around(cls, state, problem, settings, generator, progress):
        """A net that trains a state."""
        shard = problem.shard
        inputs = problem.inputs
        training = settings.torch_training
        # This process's samples, and one more that weighs nothing, for batches that have none of them.
        targets = [part[shard.own].cpu() for part in (problem.y_encoded, problem.weight)]
        dataset = TrainingSet(inputs, *(torch.cat([part, part.new_zeros(1, *part.shape[1:])]) for part in targets))
        module = ClampedModule(problem.backbone.module, temperature=state.temperature)
        # What clamps features does so by hooks meanwhile.
        module.perturbation = state.perturbation
        net = cls(
            module,
            criterion=FocalLoss(gamma=settings.gamma, eps=training.loss_eps),
            optimizer=resolve_optimizer(training.optimizer),
            lr=DEFAULT_LR if settings.lr == "auto" else settings.lr,
            max_epochs=settings.max_epochs,
            callbacks=None if settings.for_guard else training.callbacks,
            verbose=0,
            train_split=None,
            device=None,
        )
        net.state = state
        net.problem = problem
        net.settings = settings
        net.dataset = dataset
        net.generator = generator
        net.progress = progress
        net.ranks = shard.ranks
        return net.initialize()

    def get_iterator(self, dataset, training=False):
        """Batches, as inputs and targets."""
        inputs = self.problem.inputs
        shuffle = self.settings.torch_training.shuffle
        batches = _Batches(self.problem.shard, inputs.batch_size, shuffle, self.generator)
        options = {"batch_sampler": batches, "generator": self.generator, "collate_fn": tuple}
        return DataLoader(dataset, **inputs.loading, **options)

    def run(self):
        """Have the state learn in a loop over the epochs, which ends by itself or by an interrupt.

        One from a callback such as EarlyStopping keeps what was learned, one from the keyboard the best state at the
        end of an epoch.
        """
        self.keep()
        self.notify("on_train_begin", X=self.dataset, y=None)
        try:
            self.fit_loop(self.dataset)
        except _EndedByCallback:
            logger.info("training ended by a callback in epoch %d", len(self.history))
        except KeyboardInterrupt:
            if self.settings.for_guard or self.ranks is not ALONE:
                raise
            n_epochs, learned = self.kept_
            for (_, parameter), best in zip(self.get_all_learnable_params(), learned, strict=True):
                parameter.data.copy_(best)
            warn_of_interrupt(len(self.history), self.max_epochs, n_epochs)
            # An epoch that wasn't finished has no loss.
            if self.history and "train_loss" not in self.history[-1]:
                self.history.pop()
        self.notify("on_train_end", X=self.dataset, y=None)
        self.progress.end()
        self.state.history = self.history
        self.state.temperature = self.module_.temperature.item()
        if not 0 < self.state.temperature < math.inf:
            raise ValueError(f"training diverged: the temperature has become {self.state.temperature:g}; lower lr")

    def keep(self):
        """Have an interrupt from the keyboard return to the present state."""
        learned = [p.detach().clone() for _, p in self.get_all_learnable_params()]
        self.kept_ = len(self.history), learned

    def notify(self, method_name, **cb_kwargs):
        """Tell the callbacks, of which one may end the training as an interrupt from the keyboard does."""
        ends = False
        try:
            super().notify(method_name, **cb_kwargs)
        except KeyboardInterrupt:
            ends = True
        if method_name == "on_epoch_end":
            ends = bool(self.ranks.sum(torch.tensor(float(ends))))
            # A callback of skorch's puts the loss into the history.
            self.progress.epoch(self.history)
            losses = self.history[:, "train_loss"]
            if losses[-1] <= min(losses):
                self.keep()
        if ends:
            # Within an epoch the other processes wouldn't know of it.
            raise _EndedByCallback if self.ranks is ALONE or method_name == "on_epoch_end" else KeyboardInterrupt

    def get_all_learnable_params(self):
        """The perturbation and T; the user's weights, and the gradients that hang on them, are left alone."""
        for name, parameter in self.module_.named_parameters():
            if not name.startswith("logits."):
                yield name, parameter

    def infer(self, x, **fit_params):
        """Logits of a batch."""
        x, others = self.problem.backbone.to_device(x)
        return self.module_(x, **others, **fit_params)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Mean focal loss plus the penalty; of several processes each has its share, and their sum is the whole."""
        y_encoded, weight = y_true
        self.batch_weight_ = self.ranks.sum(weight.sum())
        loss = y_pred.sum() * 0.0
        # The sample that stands for none of this process's isn't one.
        if weight.any():
            self.problem.passes.forward += len(weight)
            self.problem.passes.backward += len(weight)
            logits = y_pred.to(at_least_single(y_pred))
            share = (weight.sum() / self.batch_weight_).item()
            loss = self.criterion_(logits, y_encoded.to(logits.device), weight.to(logits)) * share
        if not self.settings.penalty:
            return loss
        parameters = learnable(self.module_.perturbation)
        displacement = [(p - at.to(p)).flatten() for p, at in zip(parameters, self.state.identity, strict=True)]
        return loss + self.settings.penalty * torch.linalg.vector_norm(torch.cat(displacement)) / self.ranks.size

    def train_step_single(self, batch, **fit_params):
        """Loss and gradients of a batch, summed over the processes."""
        step = super().train_step_single(batch, **fit_params)
        if self.ranks is ALONE:
            return step
        for _, parameter in self.get_all_learnable_params():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            parameter.grad = self.ranks.sum(gradient.double()).to(parameter)
        return {**step, "loss": self.ranks.sum(step["loss"].detach().double())}

    def on_batch_end(self, net, batch=None, training=False, **kwargs):
        """Have the history count each batch for its weight with all processes, as its means of losses need it."""
        super().on_batch_end(net, batch=batch, training=training, **kwargs)
        self.history.record_batch("train_batch_size", self.batch_weight_.item())

    def train_step(self, batch, **fit_params):
        """One step of the optimiser; stops where the loss is no longer a number."""
        step = super().train_step(batch, **fit_params)
        if not torch.isfinite(step["loss"]):
            raise ValueError(
                f"training diverged: the loss became {step['loss'].item()} in epoch {len(self.history)}; lower lr, got "
                f"{self.lr}"
            )
        self.module_.temperature.data.clamp_(min=SMALLEST_TEMPERATURE)
        return step

    def on_epoch_end(self, net, **kwargs):
        """Have the history tell T."""
        super().on_epoch_end(net, **kwargs)
        self.history.record("temperature", self.module_.temperature.item())


class _Batches(BatchSampler):
    """Each batch of all the samples as the positions of this process's own; -1, the sample without weight, for none."""

    def __init__(self, shard, batch_size, shuffle, generator):
        everything = range(shard.total)
        order = RandomSampler(everything, generator=generator) if shuffle else SequentialSampler(everything)
        super().__init__(order, batch_size, drop_last=False)
        self.own = everything[shard.own]

    def __iter__(self):
        for batch in super().__iter__():
            yield [row - self.own.start for row in batch if row in self.own] or [-1]


def resolve_optimizer(optimizer):
    """Return a class of torch's optimisers, or a partial of one, from its name or itself; refuse anything else."""
    resolved = OPTIMIZERS.get(optimizer, optimizer) if isinstance(optimizer, str) else optimizer
    kind = resolved.func if isinstance(resolved, partial) else resolved
    misused = isinstance(resolved, partial) and (resolved.args or "lr" in resolved.keywords)
    if misused or not (inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer)):
        raise ValueError(
            f"optimizer must be one of {list(OPTIMIZERS)}, a subclass of torch.optim.Optimizer or a functools.partial "
            "of one with named arguments alone, and without lr, which is a parameter of the calibrator; got "
            f"{optimizer!r}"
        )
    return resolved


def check_callbacks(callbacks):
    """Refuse what skorch can't call, and what waits for a loss of held-out samples, which training doesn't have."""
    for given in callbacks or ():
        callback = given[-1] if isinstance(given, tuple) else given
        callback = callback() if isinstance(callback, type) else callback
        if not isinstance(callback, Callback):
            raise TypeError(
                "callbacks must be a list of skorch.callbacks.Callback; a function becomes one as the method "
                f"on_epoch_end(self, net, **kwargs) of a subclass. Got {callback!r}"
            )
        monitor = getattr(callback, "monitor", None)
        if isinstance(monitor, str) and monitor.startswith("valid_"):
            name = type(callback).__name__
            instead = monitor.replace("valid_", "train_", 1)
            raise ValueError(
                f"callbacks must not wait for {monitor!r}, as {name} does: this training holds out no samples. Pass "
                f"{name}(monitor={instead!r})"
            )
