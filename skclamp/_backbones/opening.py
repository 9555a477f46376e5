"""Opens an estimator: finds the way from its inputs to logits."""

import inspect

from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet
from torch import nn

from ..modules import LogitsModule
from ..modules._from_sklearn import flat_steps
from .array import ArrayBackbone
from .classifier import ClassifierBackbone
from .device import on_device
from .instead import instead_of
from .network import NetworkBackbone
from .pipeline import PipelineBackbone
from .skorch_net import skorch_classes, skorch_logits


def is_frozen(estimator):
    """Whether an estimator is used as it is: given, fitted or initialised, and never cloned or fitted by us."""
    return isinstance(estimator, (nn.Module, FrozenEstimator)) or _is_fitted(estimator)


def _is_fitted(estimator):
    if estimator is None:
        return True
    if isinstance(estimator, Pipeline) and estimator.steps:
        return _is_fitted(estimator.steps[-1][1])
    if isinstance(estimator, NeuralNet):
        # scikit-learn takes nets of older skorchs for fitted from the start.
        return estimator.initialized_
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        return False
    return True


def open_backbone(estimator, *, response="auto", device=None, input_key=None, perturbs=False, **loading):
    """Find the way from an estimator's inputs to logits; an estimator of None means that the inputs are the response.

    Parameters
    ----------
    estimator : None, torch.nn.Module, skorch.NeuralNet, FrozenEstimator or fitted classifier
    response, device
        As of every calibrator.
    input_key : str, default=None
        The entry of a dict of inputs that is perturbed; and the name under which a network takes an array. None is the
        only entry.
    perturbs : bool, default=False
        Whether inputs are to be perturbed, so that a dict of several needs an `input_key`.
    **loading
        How a network's inputs are read, see `NetworkBackbone`.

    Returns
    -------
    ArrayBackbone, NetworkBackbone, PipelineBackbone or ClassifierBackbone
    """
    if isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    if estimator is None:
        return ArrayBackbone(response, device)
    if isinstance(estimator, nn.Module):
        response = "logits" if response == "auto" else response
        module = LogitsModule(on_device(estimator, device), response=response, input_key=input_key)
        return NetworkBackbone(module, perturbs=perturbs, **loading)
    if isinstance(estimator, NeuralNet):
        module = skorch_logits(estimator, response, device, input_key)
        return NetworkBackbone(module, classes=skorch_classes(estimator), perturbs=perturbs, **loading)
    check_classifier(estimator)
    if isinstance(flat_steps(estimator)[-1], NeuralNet) and response != "probabilities":
        return PipelineBackbone(estimator, response, device=device, **loading)
    return ClassifierBackbone(estimator, response)


def check_classifier(estimator):
    """Raise unless an estimator is a scikit-learn classifier that gives scores."""
    scoring = hasattr(estimator, "decision_function") or hasattr(estimator, "predict_proba")
    if inspect.isclass(estimator) or not (scoring and is_classifier(estimator)):
        raise TypeError(
            "estimator must be None, a torch.nn.Module, an initialised skorch net or a scikit-learn classifier with "
            f"decision_function or predict_proba; got {instead_of(estimator)}"
        )
