"""Trains a clamped module by a torch optimiser: skorch's loop, with the focal loss, the penalty and T kept positive.

The loop is skorch's own, so its callbacks, history, ``lr``, ``max_epochs`` and ``verbose`` mean what they mean there.
"""

import inspect
import logging
import math
from functools import partial

import torch
from skorch import NeuralNet
from torch.utils.data import DataLoader

from .._utils.parameters import did_you_mean
from .._utils.warnings import warn_caller
from ..distributed import ALONE
from ..exceptions import InterruptedFitWarning
from ..losses import FocalLoss
from ..modules import ClampedModule
from ..perturbations._families import learnable
from ._state import OPTIMIZERS

logger = logging.getLogger("skclamp")

DEFAULT_LR = 0.01

# A raw T that a large step carried below zero restarts here rather than flipping every prediction.
SMALLEST_TEMPERATURE = 1e-4

# How far the loss may rise in training by noise, as a factor and in nats.
_MOST_RAISED, _RISE = 1.1, 0.05


class ClampingNet(NeuralNet):
    """skorch's loop around a ClampedModule whose network is frozen; its extra arguments are those of `run_net`."""

    def __init__(self, *args, problem, settings, state, **kwargs):
        super().__init__(*args, **kwargs)
        self.problem = problem
        self.settings = settings
        self.state = state
        self.ranks = problem.shard.ranks
        self.ended_by_callback = False

    @staticmethod
    def reading(problem, settings, generator):
        """A Dataset of (input, targets), and how torch's DataLoader is to read it."""
        loading = {"batch_size": problem.inputs.batch_size, "shuffle": settings.shuffle}
        return problem.inputs.training_set(*problem.targets()), loading

    def get_all_learnable_params(self):
        """The perturbation and T; the user's weights, and the gradients that hang on them, are left alone."""
        for name, parameter in self.module_.named_parameters():
            if not name.startswith("logits."):
                yield name, parameter

    def infer(self, x, **fit_params):
        """Logits of a batch."""
        x, others = self.problem.backbone.to_device(x)
        self.problem.passes.forward += len(x)
        self.problem.passes.backward += len(x)
        return self.module_(x, **others, **fit_params)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Mean focal loss plus the penalty."""
        return self._data_loss(y_pred, y_true) + self._penalty()

    def _data_loss(self, y_pred, targets):
        y_encoded, *weight = (target.to(y_pred.device) for target in targets)
        return self.criterion_(y_pred.float() if y_pred.dtype.itemsize < 4 else y_pred, y_encoded, *weight)

    def _penalty(self):
        if not self.settings.penalty:
            return 0.0
        parameters = learnable(self.module_.perturbation)
        displacement = [(p - at).flatten() for p, at in zip(parameters, self.state.identity, strict=True)]
        return self.settings.penalty * torch.linalg.vector_norm(torch.cat(displacement))

    def train_step(self, batch, **fit_params):
        """One step of the optimiser; stops where the loss is no longer a number."""
        try:
            step = super().train_step(batch, **fit_params)
        except RuntimeError as error:
            # Some optimisers compute with numbers of Python's own, which torch then refuses.
            if "without overflow" not in str(error):
                raise
            raise self._diverged("a step became infinite") from error
        if not torch.isfinite(step["loss"]):
            raise self._diverged(f"the loss became {step['loss'].item()}")
        with torch.no_grad():
            self.module_.temperature.clamp_(min=SMALLEST_TEMPERATURE)
        return step

    def _diverged(self, sign):
        return ValueError(f"training diverged: {sign} in epoch {len(self.history)}; lower lr, got {self.lr}")

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """An epoch, and T at its end."""
        super().run_single_epoch(iterator, training, prefix, step_fn, **fit_params)
        if training:
            self.history.record("temperature", self.module_.temperature.item())

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
            losses = self.history[:, "train_loss"]
            if losses[-1] <= min(losses):
                self.keep()
        if ends:
            # Within an epoch the other processes wouldn't know of it.
            self.ended_by_callback = self.ranks is ALONE or method_name == "on_epoch_end"
            raise KeyboardInterrupt

    def keep(self):
        """Have an interrupt from the keyboard return to the present state."""
        learned = [p.detach().clone() for _, p in self.get_all_learnable_params()]
        self.kept_ = len(self.history), learned

    def run(self, dataset, loop):
        """Train from the module's present state until a loop over the epochs ends, or an interrupt.

        As with skorch's ``fit``, an interrupt ends the training. One from a callback such as EarlyStopping keeps what
        was learned, one from the keyboard the best state at the end of an epoch.
        """
        self.initialize()
        self.keep()
        self.notify("on_train_begin", X=dataset, y=None)
        try:
            loop(self, dataset)
        except KeyboardInterrupt:
            if not self.settings.interruptible or not (self.ended_by_callback or self.ranks is ALONE):
                raise
            if self.ended_by_callback:
                logger.info("training ended by a callback in epoch %d", len(self.history))
            else:
                self._return_to_the_best()
        self.notify("on_train_end", X=dataset, y=None)
        return self

    def _return_to_the_best(self):
        n_epochs, learned = self.kept_
        with torch.no_grad():
            for (_, parameter), best in zip(self.get_all_learnable_params(), learned, strict=True):
                parameter.copy_(best)
        warn_caller(
            f"training was interrupted in epoch {len(self.history)} of {self.max_epochs}: the state after epoch "
            f"{n_epochs} is kept, the best so far",
            InterruptedFitWarning,
        )
        # An epoch that wasn't finished has no loss.
        if self.history and "train_loss" not in self.history[-1]:
            self.history.pop()


def run_net(net_class, state, problem, settings, generator, loop=NeuralNet.fit_loop, **extra):
    """Train a state, in place, with a net of skorch: ClampingNet or a subclass, whose arguments `extra` are.

    The network is frozen already. The generator is the source of the order of samples. `loop`, given the net and the
    dataset, goes over the epochs; it is skorch's by default.
    """
    module = ClampedModule(problem.backbone.module, state.perturbation, temperature=state.temperature)
    dataset, loading = net_class.reading(problem, settings, generator)
    loading |= {
        **problem.inputs.loading,
        "generator": generator,
        "collate_fn": problem.inputs.collate,
    }
    net = net_class(
        module,
        criterion=FocalLoss(gamma=settings.gamma, eps=settings.loss_eps),
        max_epochs=settings.max_epochs,
        batch_size=problem.inputs.batch_size,
        callbacks=settings.callbacks,
        verbose=0 if settings.verbose == "auto" else max(0, settings.verbose - 1),
        train_split=None,
        device=None,
        iterator_train=DataLoader,
        problem=problem,
        settings=settings,
        state=state,
        **{f"iterator_train__{name}": value for name, value in loading.items()},
        **extra,
    )
    start = problem.losses(state.temperature, problem.logits, settings.gamma).mean().item()
    net.run(dataset, loop)
    state.temperature = net.module_.temperature.item()
    if not 0 < state.temperature < math.inf:
        raise ValueError(f"training diverged: the temperature has become {state.temperature:g}; lower lr")
    state.history = net.history
    state.diverged = _has_risen(net.history, start)


def _has_risen(history, start):
    """Whether an epoch's steps have left a greater loss than that at the identity, or of the first batch."""
    if not history or not history[0]["batches"] or "train_loss" not in history[-1]:
        return False
    start = max(start, history[0]["batches"][0].get("train_loss", start))
    return history[-1]["train_loss"] > _MOST_RAISED * start + _RISE


def train(state, problem, settings, generator, net_class=ClampingNet, **extra):
    """Train in place with an optimiser of torch; the parameters are those of `run_net`."""
    optimizer, lr = resolve_optimizer(settings.optimizer), DEFAULT_LR if settings.lr == "auto" else settings.lr
    run_net(net_class, state, problem, settings, generator, optimizer=optimizer, lr=lr, **extra)


def resolve_optimizer(optimizer):
    """A class of torch's optimisers, or a partial of one, from its name or itself.

    Raises
    ------
    ValueError
        If it is neither a known name, a subclass of torch.optim.Optimizer nor a partial of one; if a partial sets `lr`.
    """
    found = OPTIMIZERS.get(optimizer, optimizer) if isinstance(optimizer, str) else optimizer
    kind = found.func if isinstance(found, partial) else found
    if not (inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer)):
        # The repr of an optimiser has many lines.
        got = f"an instance of {type(kind).__name__}" if isinstance(kind, torch.optim.Optimizer) else repr(optimizer)
        raise ValueError(
            f"optimizer must be 'auto', 'natural', one of {list(OPTIMIZERS)}, a subclass of torch.optim.Optimizer or a "
            f"functools.partial of one; got {got}.{did_you_mean(optimizer, ('auto', 'natural', *OPTIMIZERS))}"
        )
    if isinstance(found, partial) and (found.args or "lr" in found.keywords):
        raise ValueError(
            "optimizer must be a functools.partial with named arguments alone, and without lr, which is a parameter of "
            f"the calibrator; got {optimizer!r}"
        )
    return found
