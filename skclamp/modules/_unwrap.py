"""Networks in wrappers that compute the same: compiled ones, and those spread over devices."""

from torch import nn


def unwrapped(network):
    """The network itself, without what compiles it or runs it on several devices."""
    while True:
        if isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            network = network.module
        elif hasattr(network, "_orig_mod"):
            network = network._orig_mod
        else:
            return network


def is_spread(network):
    """Return whether a network runs on several devices at once."""
    return isinstance(network, nn.DataParallel) and len(network.device_ids) > 1
