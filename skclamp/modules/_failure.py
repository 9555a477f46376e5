"""Errors for whoever gave a batch on which a network failed."""

import inspect
import re

import torch
from torch import nn

from .._utils.labels import LABELS
from ..exceptions import ForwardError

# What torch and the layers of others raise for inputs that don't suit them. Classes of the user's own, and torch's for
# a lack of memory or a fault of a device, say enough by themselves.
_OF_INPUTS = (RuntimeError, ValueError, IndexError, TypeError, AssertionError, torch.jit.Error)
_OF_MEMORY = "out of memory|can't allocate memory"
# What embeddings raise for floats, for what is no row of theirs, and bags of them for that.
_OF_EMBEDDINGS = "'indices'|index out of range in self|of input takes value"
_COUNTS_OF_CHANNELS = (1, 3, 4)
_OF_IMAGES = (nn.Conv2d, nn.ConvTranspose2d)
_OF_INTEGERS = (nn.Embedding, nn.EmbeddingBag)
_OF_FEW = 12


def told(network, error, first, others, input_key=None):
    """The error to raise from what a network raised on its inputs, one without a name or `others` by theirs."""
    if type(error) not in _OF_INPUTS or re.search(_OF_MEMORY, str(error)):
        return error
    if isinstance(error, TypeError) and (taken := names_taken(network)) is not None:
        try:
            inspect.signature(network.forward).bind(*first, **others)
        except TypeError:
            return TypeError(f"{_of_names(taken, others, input_key)}: {error}")
    shapes = [_shown(value) for value in first] + [f"{name!r}: {_shown(value)}" for name, value in others.items()]
    rows = {part.num_embeddings for part in nn.Module.modules(network) if isinstance(part, _OF_INTEGERS)}
    advice = _advice(network, first[0], rows) if first else ""
    if rows and re.search(_OF_EMBEDDINGS, str(error)):
        advice = (
            ". An embedding takes integers from 0 to below its number of rows, for padding and positions too: of type "
            f"int64, not floats nor -100. The network's embeddings have as many rows: {sorted(rows)}"
        )
    return ForwardError(f"the network failed on a batch of shape {', '.join(shapes)}: {error}{advice}")


def _shown(value):
    return str(tuple(value.shape)) if isinstance(value, torch.Tensor) else type(value).__name__


def names_taken(network):
    """Names of the inputs, labels aside, that a network's forward takes; None where it can't tell."""
    try:
        parameters = inspect.signature(network.forward).parameters.values()
    except (TypeError, ValueError):
        return None
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [each.name for each in parameters if each.kind not in variadic and each.name not in LABELS]


def is_only_input(network, name):
    """Return whether a network takes one input, which has another name, as `image` of a Dataset of dicts may be."""
    taken = names_taken(network)
    if taken is None or len(taken) != 1:
        return False
    try:
        inspect.signature(network.forward).bind(**{name: None})
    except TypeError:
        return True
    return False


def _of_names(taken, others, input_key):
    if input_key is not None and input_key not in taken:
        return f"input_key must be a name of an input that the network takes, {_listed(taken)}; got {input_key!r}"
    if not others:
        return (
            f"X must be a dict of the inputs that the network takes by name, {_listed(taken)}, or a Dataset of such "
            "dicts, alone or each beside its label; got a single input"
        )
    return (
        f"X must have the entries that the network takes by name, {_listed(taken)}, beside labels as 'labels' or "
        f"'label'; got {_listed(others)}"
    )


def _listed(names):
    return ", ".join(map(repr, list(names)[:_OF_FEW])) or "none"


def _advice(network, x, rows):
    """Advice where a network got what looks like its logits, or integers, or one of images something else."""
    if not isinstance(x, torch.Tensor):
        return ""
    if not x.is_floating_point() and not rows:
        return ". X must hold floating-point inputs, unless the network embeds integers such as tokens"
    # Of the last layer that tells how many outputs it has.
    widths = [getattr(part, "out_features", getattr(part, "out_channels", None)) for part in nn.Module.modules(network)]
    n_outputs = next((width for width in reversed(widths) if width is not None), None)
    if x.ndim == 2 and x.is_floating_point() and x.shape[1] == n_outputs:
        return (
            f". Its outputs have {x.shape[1]} columns too: if X holds logits, leave out the estimator, "
            "TemperatureScaling().fit(logits, y); once fitted, transform_logits(logits) takes them"
        )
    if not any(isinstance(part, _OF_IMAGES) for part in nn.Module.modules(network)):
        return ""
    rule = ". Images must be (n, channels, height, width)"
    if x.ndim == 3:
        return f"{rule}: X[:, None] gives grey ones their channel, X[None] makes a batch of a single image"
    if x.ndim != 4:
        return rule
    if x.shape[3] in _COUNTS_OF_CHANNELS and x.shape[1] not in _COUNTS_OF_CHANNELS:
        return f"{rule}, and the last axis looks like channels: np.moveaxis(X, -1, 1), or X.movedim(-1, 1) of a tensor"
    return ""
