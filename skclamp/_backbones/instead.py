"""What to give in place of what is no estimator, or of an estimator in the place of samples."""

import inspect
import os
from collections.abc import Mapping

import numpy as np
import torch
from sklearn.base import BaseEstimator
from skorch import NeuralNet
from torch import nn

_LOGITS = "give its logits as X, without an estimator: TemperatureScaling().fit(logits, y)"
# What to do with a file, by the end of its name; others hold what torch saves.
_FILES = {
    ".onnx": f"Run it, as by onnxruntime, and {_LOGITS}",
    ".pt2": "Pass torch.export.load({path!r}).module()",
    ".safetensors": "Pass the network after network.load_state_dict(safetensors.torch.load_file({path!r}))",
}
_OF_TORCH = (
    "Pass the network, after network.load_state_dict(torch.load({path!r})) if the file holds weights; "
    "torch.load({path!r}, weights_only=False) if it holds a whole network; torch.jit.load({path!r}) if TorchScript"
)


def check_samples(X, owner, method="fit"):
    """Raise for an estimator in the place of samples; `owner` is the class of what they are given to."""
    if isinstance(X, (nn.Module, BaseEstimator, NeuralNet)) or (inspect.isclass(X) and issubclass(X, nn.Module)):
        name = "classifier" if isinstance(X, BaseEstimator) and not isinstance(X, NeuralNet) else "net"
        kind = f"the class {X.__name__}" if inspect.isclass(X) else type(X).__name__
        raise TypeError(
            f"X must be samples; got {kind}, an estimator, which the constructor takes: {owner}({name}).{method}(X, y)"
        )


def instead_of(estimator):
    """What an object that is no estimator is, and what to pass or do instead, for a message."""
    if isinstance(estimator, (str, os.PathLike)):
        path = os.fspath(estimator)
        return f"the path {path!r}. {_FILES.get(os.path.splitext(path)[1], _OF_TORCH).format(path=path)}"
    if inspect.isclass(estimator):
        return f"the class {estimator.__name__}. Pass an instance: {estimator.__name__}(...)"
    return f"{type(estimator).__name__}. {_advice(estimator)}".removesuffix(". ")


def _advice(estimator):
    if isinstance(estimator, BaseEstimator):
        return ""
    if isinstance(estimator, Mapping):
        return "If it holds weights, pass the network after network.load_state_dict(weights)"
    if isinstance(estimator, torch.export.ExportedProgram):
        return "Pass its module: program.module()"
    if isinstance(estimator, (np.ndarray, torch.Tensor)):
        return "Logits are given as X, without an estimator: TemperatureScaling().fit(logits, y)"
    if isinstance(getattr(estimator, "model", None), nn.Module):
        return "Pass the network that it holds as `model`, and as X what that takes"
    return f"Run it yourself, and {_LOGITS}"
