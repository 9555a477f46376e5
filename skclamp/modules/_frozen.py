"""frozen: a network held in eval mode, its weights without gradients."""

import threading
from contextlib import contextmanager

from torch import nn

from ._logits import LogitsModule, set_mode


@contextmanager
def frozen(module):
    """Hold a network in eval mode with weights that take no gradient; give back every flag as it was.

    Parameters
    ----------
    module : torch.nn.Module
        The user's network. Nothing of it but its flags is touched, and these are restored even when the body raises.

    Yields
    ------
    torch.nn.Module
        The network itself.

    Examples
    --------
    >>> import torch
    >>> from skclamp.modules import frozen
    >>> network = torch.nn.Linear(3, 4)
    >>> with frozen(network):
    ...     network.training, network.weight.requires_grad
    (False, False)
    >>> network.training, network.weight.requires_grad
    (True, True)
    """
    # What was made in inference mode takes no gradient, and its flag couldn't be given back.
    with evaluating(module, [parameter for parameter in nn.Module.parameters(module) if not parameter.is_inference()]):
        yield module


@contextmanager
def evaluating(module, parameters=()):
    """Hold a network in eval mode, and these parameters without gradient; give back every flag as it was."""
    network = module.module if isinstance(module, LogitsModule) else module
    # What torch.jit.freeze made has no mode.
    parts = [part for part in nn.Module.modules(network) if hasattr(part, "training")]
    still = [*((part, "training") for part in parts), *((parameter, "requires_grad") for parameter in parameters)]
    with _LOCK:
        for thing, name in still:
            flag, n_holders = _HELD.get(id(thing), (getattr(thing, name), 0))
            _HELD[id(thing)] = flag, n_holders + 1
    try:
        with _LOCK:
            # The network's own ``train`` may raise, and takes a while where there are many parts.
            if any(part.training for part in parts):
                set_mode(network, False)
            for parameter in parameters:
                if parameter.requires_grad:
                    parameter.requires_grad_(False)
        yield
    finally:
        with _LOCK:
            for thing, name in still:
                flag, n_holders = _HELD.pop(id(thing))
                if n_holders > 1:
                    _HELD[id(thing)] = flag, n_holders - 1
                elif getattr(thing, name) != flag:
                    setattr(thing, name, flag)


# Flags as they were, of parts of networks and of parameters that are held, and how many hold each: threads whose
# networks have parts in common hold these together, and the last to leave gives them back.
_HELD: dict[int, tuple[bool, int]] = {}
_LOCK = threading.RLock()
