"""A network's last linear layer: found by what it gives, read, and changed in a copy that shares all else."""

from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .._utils.encoding import register
from ._logits import LogitsModule
from ._norm_layers import OtherLayersError, copy_to_change, is_close, parts_of


@register
@dataclass(eq=False)
class LastLayer:  # numpydoc ignore=PR01
    """What neural clamping adds to the weights of a network's last linear layer.

    Attributes
    ----------
    name : str
        Its name among the network's ``named_modules``.
    weight : ndarray of shape (n_classes, n_features)
    bias : ndarray of shape (n_classes,)
    difference : float
        Of held-out NLL, in nats a sample, to what it took the place of, the maps or the perturbation.
    standard_error : float
        Of the difference.

    Examples
    --------
    >>> import torch
    >>> from skclamp import NeuralClampingCalibrator
    >>> _ = torch.manual_seed(0)
    >>> network = torch.nn.Sequential(torch.nn.Linear(20, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    >>> X = torch.randn(600, 20)
    >>> moved = network(X) + torch.nn.Linear(8, 3)(network[:2](X))
    >>> y = torch.multinomial((5 * moved).softmax(1), 1)[:, 0]
    >>> NeuralClampingCalibrator(network, perturbation=None).fit(X, y).last_layer_
    LastLayer('2', 27 numbers)
    """

    name: str
    weight: np.ndarray
    bias: np.ndarray
    difference: float = 0.0
    standard_error: float = 0.0

    def __repr__(self):
        return f"LastLayer({self.name!r}, {self.weight.size + self.bias.size:,} numbers)"


@torch.no_grad()
def find_last_layer(head, x, others):
    """The name of the linear layer whose output is the logits, whatever its weights are; None without one.

    Parameters
    ----------
    head : LogitsModule
        Around a private copy of a network, in eval mode.
    x : torch.Tensor or None
        A few inputs; None where all have names.
    others : dict of str to torch.Tensor
        Those that the network takes by name.
    """
    logits = head(x, **others)
    generator = torch.Generator().manual_seed(0)
    for name, part in parts_of(head.module).items():
        # Kinds that are made of it may have weights of another form.
        if type(part) is not nn.Linear or part.bias is None or part.out_features != logits.shape[1]:
            continue
        with features_read(head, name) as read:
            head(x, **others)
        if len(read) != 1 or read[0].ndim != 2:
            continue
        added = [torch.randn(shape, generator=generator).to(logits) for shape in (part.weight.shape, part.bias.shape)]
        weight, bias = (each.cpu().double().numpy() for each in added)
        changed = with_last_layer(head, LastLayer(name, weight, bias))
        if is_close(changed(x, **others), logits + nn.functional.linear(read[0].to(logits), *added)):
            return name
    return None


@contextmanager
def features_read(head, name):
    """Yield a list to which a layer of a private copy adds what it takes, call by call."""
    read: list[torch.Tensor] = []
    with parts_of(head.module)[name].register_forward_pre_hook(lambda _, inputs: read.append(inputs[0].clone())):
        yield read


@torch.no_grad()
def with_last_layer(head, change):
    """A head around a copy of its network whose last linear layer has other weights.

    Parameters
    ----------
    head : LogitsModule
        Around the user's network, which stays as it is.
    change : LastLayer
        The layer, which the network must have, and what is added to its weights.

    Returns
    -------
    LogitsModule
        Its network shares every tensor with the user's but the weights of this layer.

    Raises
    ------
    OtherLayersError
        If the network lacks it.
    """
    network = copy_to_change(head)
    part = parts_of(network).get(change.name)
    if not isinstance(part, nn.Linear) or part.bias is None or part.weight.shape != change.weight.shape:
        raise OtherLayersError(
            f"estimator must have a linear layer {change.name!r} with a bias and a weight of shape "
            f"{change.weight.shape}, to which others were fitted; got {'none' if part is None else type(part).__name__}"
        )
    for name, added in (("weight", change.weight), ("bias", change.bias)):
        old = getattr(part, name)
        # Of half precision the sum is rounded once.
        value = (old.cpu().double() + torch.from_numpy(added)).to(old)
        setattr(part, name, nn.Parameter(value, old.requires_grad))
    return LogitsModule(network, **head.reading)
