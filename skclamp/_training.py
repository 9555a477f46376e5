"""Trains a clamped module by gradient descent: skorch's loop, with the focal loss, the penalty and T kept positive.

The loop is skorch's own, so its callbacks, history, ``lr``, ``max_epochs`` and ``verbose`` mean what they mean there.
"""

import inspect

import torch
from skorch import NeuralNet
from torch.utils.data import DataLoader

from .losses import FocalLoss

OPTIMIZERS = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}

# A raw T that a large step carried below zero restarts here rather than flipping every prediction.
SMALLEST_TEMPERATURE = 1e-4


class ClampingNet(NeuralNet):
    """skorch's loop around a ClampedModule whose network is frozen.

    Parameters
    ----------
    *args, **kwargs
        skorch's own.
    to_device : callable
        Puts a batch of inputs where the network takes it.
    passes : Passes
        Where samples that went through the network are counted.
    penalty : float, default=0.0
        Weight of the norm of (perturbation parameters - identity) in the loss.
    identity : list of torch.Tensor, default=()
        The perturbation's parameters at the identity.
    """

    def __init__(self, *args, to_device=None, passes=None, penalty=0.0, identity=(), **kwargs):
        super().__init__(*args, **kwargs)
        self.to_device = to_device
        self.passes = passes
        self.penalty = penalty
        self.identity = identity

    def get_all_learnable_params(self):
        """The perturbation and T: the user's weights, and the gradients that hang on them, are nobody's business here."""
        for name, parameter in self.module_.named_parameters():
            if not name.startswith("logits."):
                yield name, parameter

    def infer(self, x, **fit_params):
        """Logits of a batch."""
        self.passes.forward += len(x)
        self.passes.backward += len(x)
        return self.module_(self.to_device(x), **fit_params)

    def get_loss(self, y_pred, y_true, X=None, training=False):
        """Mean focal loss plus the penalty."""
        codes, *weight = (target.to(y_pred.device) for target in y_true)
        loss = self.criterion_(y_pred.float() if y_pred.dtype.itemsize < 4 else y_pred, codes, *weight)
        return loss + self.penalty * self._deviation() if self.penalty else loss

    def _deviation(self):
        parameters = self.module_.perturbation.parameters()
        moved = [(p - at).flatten() for p, at in zip(parameters, self.identity, strict=True)]
        return torch.linalg.vector_norm(torch.cat(moved))

    def train_step(self, batch, **fit_params):
        """One step of the optimiser; stops where the loss is no longer a number."""
        step = super().train_step(batch, **fit_params)
        if not torch.isfinite(step["loss"]):
            raise ValueError(
                f"training diverged: the loss became {step['loss'].item()} in epoch {len(self.history)}; lower lr, got "
                f"{self.lr}"
            )
        with torch.no_grad():
            self.module_.temperature.clamp_(min=SMALLEST_TEMPERATURE)
        return step

    def run(self, dataset):
        """Train from the module's present state; unlike ``fit``, an interrupt isn't swallowed."""
        self.initialize()
        self.notify("on_train_begin", X=dataset, y=None)
        self.fit_loop(dataset)
        self.notify("on_train_end", X=dataset, y=None)
        return self


def resolve_optimizer(optimizer):
    """The class of a torch optimiser from its name or itself.

    Raises
    ------
    ValueError
        If it is neither a known name nor a subclass of torch.optim.Optimizer.
    """
    found = OPTIMIZERS.get(optimizer, optimizer) if isinstance(optimizer, str) else optimizer
    if not (inspect.isclass(found) and issubclass(found, torch.optim.Optimizer)):
        raise ValueError(
            f"optimizer must be one of {sorted(OPTIMIZERS)} or a subclass of torch.optim.Optimizer; got {optimizer!r}"
        )
    return found


def optimizer_settings(optimizer, momentum, optimizer_params):
    """skorch's ``optimizer__*`` arguments; momentum goes to the optimisers that have it."""
    has_momentum = "momentum" in inspect.signature(optimizer).parameters
    settings = {"momentum": momentum} if has_momentum else {}
    settings.update(optimizer_params or {})
    return {f"optimizer__{name}": value for name, value in settings.items()}


def train(module, problem, *, gamma, penalty, identity, optimizer, optimizer_params, lr, momentum, **settings):
    """Train the perturbation and the temperature of a clamped module in place.

    Parameters
    ----------
    module : ClampedModule
        Its network is frozen already.
    problem : Problem
        The samples, their labels and weights, and the network they are for.
    gamma, penalty : float
        Focusing parameter; weight of the norm of the perturbation's distance from the identity.
    identity : list of torch.Tensor
        The perturbation's parameters at the identity.
    optimizer : str or class
        See `resolve_optimizer`.
    optimizer_params : dict or None
        Further arguments of the optimiser.
    lr, momentum : float
        Its learning rate and, where it has one, momentum.
    **settings
        ``max_epochs``, ``batch_size``, ``callbacks``, ``verbose``, ``shuffle``, ``generator``, ``num_workers`` and
        ``pin_memory``.

    Returns
    -------
    skorch.history.History
    """
    optimizer = resolve_optimizer(optimizer)
    loading = {name: settings.pop(name) for name in ("shuffle", "generator", "num_workers", "pin_memory")}
    net = ClampingNet(
        module,
        criterion=FocalLoss(gamma=gamma),
        optimizer=optimizer,
        lr=lr,
        train_split=None,
        device=None,
        iterator_train=DataLoader,
        to_device=problem.backbone.to_device,
        passes=problem.passes,
        penalty=penalty,
        identity=identity,
        **{f"iterator_train__{name}": value for name, value in loading.items()},
        iterator_train__collate_fn=problem.inputs.collate,
        **optimizer_settings(optimizer, momentum, optimizer_params),
        **settings,
    )
    return net.run(problem.inputs.training_set(*problem.targets())).history
