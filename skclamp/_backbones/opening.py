"""Opens an estimator: which backbone leads from its inputs to logits, and what to give in place of what is none."""

import inspect
import os

from sklearn.base import BaseEstimator, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet
from torch import nn

from .._utils.outputs import SOFTMAX
from ..modules import LogitsModule
from ..modules._from_sklearn import flat_steps, tells_labels
from .backbone import ArrayBackbone
from .classifier import CalibratorBackbone, ClassifierBackbone, DifferentiableBackbone, PipelineBackbone
from .network import NetworkBackbone, on_device, skorch_logits

_INSTEAD = (
    "Of weights or a file pass the network, after network.load_state_dict(weights) or from torch.export.load(path)."
    "module(); of a class an instance, of a pipeline its model. Run anything else, such as an ONNX file, yourself, and "
    "give its logits as X, without an estimator: TemperatureScaling().fit(logits, y); or its probabilities, with "
    'response="probabilities"'
)


def open_backbone(estimator, opening):
    """The `Backbone` of an estimator, opened as an `Opening` says; None means that the inputs are the response."""
    response = opening.response
    if isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    if estimator is None:
        if opening.perturbs:
            raise ValueError(
                "estimator must be the network whose inputs clamping perturbs; got None: of X that holds logits take "
                "VectorScaling or TemperatureScaling"
            )
        return ArrayBackbone(response, opening.outputs, opening.device)
    if isinstance(estimator, NeuralNet):
        return NetworkBackbone(skorch_logits(estimator, opening), opening, classes=getattr(estimator, "classes_", None))
    if isinstance(estimator, nn.Module):
        guessed = response == "auto"
        head = LogitsModule(
            on_device(estimator, opening.device),
            response="logits" if guessed else response,
            input_key=opening.input_key,
            outputs=opening.outputs,
        )
        return NetworkBackbone(head, opening, guesses_response=guessed)
    check_classifier(estimator)
    _check_of(estimator, opening.outputs, opening.takes_places, ". Give y a column for each label, or calibrate")
    if opening.perturbs:
        return DifferentiableBackbone(estimator, opening)
    if response != "probabilities" and isinstance(flat_steps(estimator)[-1], NeuralNet):
        return PipelineBackbone(estimator, opening)
    # A calibrator of ours, whatever methods others have.
    if opening.exact and hasattr(type(estimator), "_map_rows"):
        return CalibratorBackbone(estimator, opening)
    return ClassifierBackbone(estimator, opening)


def is_frozen(estimator):
    """Return True where an estimator is used as it is: given, fitted or initialised, never cloned or fitted by us."""
    if estimator is None or isinstance(estimator, (nn.Module, FrozenEstimator)):
        return True
    if isinstance(estimator, Pipeline) and estimator.steps:
        return is_frozen(estimator.steps[-1][1])
    if isinstance(estimator, NeuralNet):
        # scikit-learn takes nets of older skorchs for fitted from the start.
        return estimator.initialized_
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        return False
    return True


def check_classifier(estimator):
    """Raise unless an estimator is a scikit-learn classifier that gives scores."""
    scoring = hasattr(estimator, "decision_function") or hasattr(estimator, "predict_proba")
    if inspect.isclass(estimator) or not (scoring and is_classifier(estimator)):
        shown = isinstance(estimator, (str, os.PathLike)) or inspect.isclass(estimator)
        got = repr(estimator) if shown else type(estimator).__name__
        raise TypeError(
            "estimator must be None, a torch.nn.Module, an initialised skorch net or a scikit-learn classifier with "
            f"decision_function or predict_proba; got {got}. {_INSTEAD}"
        )


def check_probabilistic(estimator, outputs="softmax", takes_places=False):
    """Raise unless an estimator is a calibrator or a classifier that has probabilities, fitted or not."""
    if estimator is None or isinstance(estimator, nn.Module):
        what = "None" if estimator is None else f"a network alone, {type(estimator).__name__}"
        raise TypeError(
            f"estimator must be a classifier; got {what}: give a fitted calibrator, such as "
            "TemperatureScaling(network).fit(X, y), or TemperatureScaling() for logits"
        )
    check_classifier(estimator)
    _check_of(estimator, outputs, takes_places)
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(f"estimator must have predict_proba; got {type(estimator).__name__}: calibrate it first")


def _check_of(estimator, outputs, takes_places, mend=". Calibrate"):
    """Raise for what was fitted to several labels or places a sample where a class is asked for."""
    own = getattr(estimator, "_outputs", SOFTMAX)
    if own.is_dense and not takes_places:
        raise ValueError(
            f"estimator must say one class a sample; got a {type(estimator).__name__} of a class at each place of a "
            "sample. Give the probabilities at some places as rows, and what sample each is of as groups"
        )
    if outputs == "softmax" and (own.n_labels or tells_labels(flat_steps(estimator)[-1])):
        raise ValueError(
            f"estimator must tell classes apart that exclude each other; got a {type(estimator).__name__} of "
            f"{len(estimator.classes_)} labels that don't{mend} each label by itself, as one of two classes"
        )


def check_samples(X, owner, method="fit"):
    """Raise for an estimator in the place of samples; `owner` is the class of what they are given to."""
    if isinstance(X, (nn.Module, BaseEstimator, NeuralNet)) or (inspect.isclass(X) and issubclass(X, nn.Module)):
        name = "classifier" if isinstance(X, BaseEstimator) and not isinstance(X, NeuralNet) else "net"
        kind = f"the class {X.__name__}" if inspect.isclass(X) else type(X).__name__
        raise TypeError(
            f"X must be samples; got {kind}, an estimator, which the constructor takes: {owner}({name}).{method}(X, y)"
        )
