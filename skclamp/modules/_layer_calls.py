"""Which layer of a network takes what and gives what: one run, told by hooks on its layers.

Only for networks that nobody else runs meanwhile, such as private copies.
"""

from collections import Counter
from typing import NamedTuple

import torch
from torch import nn


class LayerCall(NamedTuple):
    """A layer's input and output, and their versions then: changes in place raise a tensor's version."""

    layer: nn.Module
    taken: torch.Tensor
    taken_version: int
    given: torch.Tensor
    given_version: int


def record(layers, run):
    """Run a network by calling `run`; the calls of some of its layers, in order, and what `run` returned.

    Only calls that turn one tensor into another count. While the list lives no two of its tensors are taken for one.
    """
    calls = []

    def note(layer, inputs, output):
        if len(inputs) == 1 and isinstance(inputs[0], torch.Tensor) and isinstance(output, torch.Tensor):
            (x,) = inputs
            calls.append(LayerCall(layer, x, x._version, output, output._version))

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
