"""Which layer of a network takes what and gives what: one run, told by hooks on its layers.

Only for networks that nobody else runs meanwhile, such as private copies.
"""

from collections import Counter
from typing import NamedTuple

import torch
from torch import nn

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class LayerCall(NamedTuple):
    """A layer's input and output, and their versions then: changes in place raise a tensor's version."""

    layer: nn.Module
    taken: torch.Tensor
    taken_version: int
    given: torch.Tensor
    given_version: int
    gradient: torch.autograd.graph.Node | None


def record(layers, run):
    """Run a network by calling `run`; the calls of some of its layers, in order, and what `run` returned.

    Only calls that turn one tensor into another count. While the list lives no two of its tensors are taken for one.
    """
    calls = []

    def note(layer, inputs, output):
        if len(inputs) == 1 and isinstance(inputs[0], torch.Tensor) and isinstance(output, torch.Tensor):
            (x,) = inputs
            calls.append(LayerCall(layer, x, x._version, output, output._version, output.grad_fn))

    handles = [layer.register_forward_hook(note) for layer in layers]
    try:
        return calls, run()
    finally:
        for handle in handles:
            handle.remove()


def called_once(calls):
    """The calls of layers that were called no more than once."""
    counts = Counter(id(call.layer) for call in calls)
    return [call for call in calls if counts[id(call.layer)] == 1]


def convolutions_before_norms(network, run):
    """Pairs (convolution, batch norm) of which the norm alone takes what the convolution gave.

    The network is in eval mode, and `run` returns its logits. Its convolutions are left with weights that take
    gradients.
    """
    convolutions = [part for part in network.modules() if isinstance(part, _CONVOLUTIONS)]
    for convolution in convolutions:
        convolution.requires_grad_(True)
    norms = [
        part
        for part in network.modules()
        if type(part) in _BATCH_NORMS
        and part.running_mean is not None
        and not (part.training or part._forward_hooks or part._forward_pre_hooks)
    ]
    with torch.enable_grad():
        calls, logits = record([*convolutions, *norms], run)
    calls, users = called_once(calls), _users(logits)
    given = {id(call.given): call for call in calls if isinstance(call.layer, _CONVOLUTIONS) and _is_plain(call)}
    pairs = []
    for norm in calls:
        before = given.get(id(norm.taken)) if type(norm.layer) in _BATCH_NORMS else None
        if before and before.given_version == norm.taken_version and users[before.gradient] == 1:
            pairs.append((before.layer, norm.layer))
    return pairs


def _is_plain(call):
    """Return whether a convolution did no more than that, with its own weights: subclasses and hooks may."""
    if call.gradient is None or call.gradient.name() != "ConvolutionBackward0":
        return False
    _, (weight, _), (bias, _) = call.gradient.next_functions
    pairs = (weight, call.layer.weight), (bias, call.layer.bias)
    return all(getattr(leaf, "variable", None) is parameter for leaf, parameter in pairs)


def _users(tensor):
    """Return how often each operation's result is used, of those that a tensor was computed by."""
    users, waiting = Counter([tensor.grad_fn]), [tensor.grad_fn]
    while waiting:
        operation = waiting.pop()
        for before, _ in operation.next_functions if operation else ():
            if before is not None:
                users[before] += 1
                if users[before] == 1:
                    waiting.append(before)
    return users
