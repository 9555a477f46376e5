"""The one door: whatever the user has becomes logits here.

An array of logits or probabilities, an nn.Module, an initialised skorch net, a scikit-learn classifier. Batching,
device, dtype and eval mode are decided in this file alone.
"""

import copy
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.base import clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import cross_val_predict
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet
from torch import nn

from ._data import open_inputs
from ._validation import check_labels, check_probability_rows, check_scores
from .modules import LogitsModule, frozen, logits_from


def is_frozen(estimator):
    """Whether an estimator is used as it is: given, fitted or initialised, and never cloned or fitted by us."""
    return isinstance(estimator, (nn.Module, NeuralNet, FrozenEstimator)) or _is_fitted(estimator)


def _is_fitted(estimator):
    if estimator is None:
        return True
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        return False
    return True


def open_backbone(estimator, *, response="auto", device=None, batch_size=128, num_workers=0, pin_memory=False):
    """Find the way from an estimator's inputs to logits.

    Parameters
    ----------
    estimator : None, torch.nn.Module, skorch.NeuralNet, FrozenEstimator or fitted classifier
        None means that the inputs are the response themselves.
    response : {"auto", "logits", "probabilities"}, default="auto"
        What the array or the estimator yields; "auto" follows what is known of it.
    device : str or torch.device, default=None
        Where a network runs; None is where it is. On another device a copy of it runs.
    batch_size : int, default=128
        Samples a forward pass.
    num_workers, pin_memory
        As in torch's DataLoader, for Datasets.

    Returns
    -------
    ArrayBackbone, NetworkBackbone or ClassifierBackbone

    Raises
    ------
    TypeError
        If the estimator is of no known kind.
    NotFittedError
        If a skorch net isn't initialised.
    ValueError
        If the device isn't there, or it can't be known what a skorch net yields.
    """
    if isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    loading = {"batch_size": batch_size, "num_workers": num_workers, "pin_memory": pin_memory}
    if estimator is None:
        return ArrayBackbone(response)
    if isinstance(estimator, nn.Module):
        response = "logits" if response == "auto" else response
        return NetworkBackbone(LogitsModule(on_device(estimator, device), response=response), **loading)
    if isinstance(estimator, NeuralNet):
        return NetworkBackbone(
            _skorch_logits(estimator, response, device), classes=_skorch_classes(estimator), **loading
        )
    if is_classifier(estimator) and (hasattr(estimator, "decision_function") or hasattr(estimator, "predict_proba")):
        return ClassifierBackbone(estimator, response)
    raise TypeError(
        "estimator must be None, a torch.nn.Module, an initialised skorch net or a scikit-learn classifier with "
        f"decision_function or predict_proba; got {type(estimator).__name__}"
    )


class ArrayBackbone:
    """No network: the inputs are logits or probabilities already."""

    classes = None

    def __init__(self, response):
        self.response = "logits" if response == "auto" else response

    def logits(self, X):
        """Logits of shape (n, K), and None for labels."""
        scores = check_scores(X)
        if self.response == "probabilities" and scores.ndim == 2 and scores.shape[1] > 1:
            check_probability_rows(scores)
        elif self.response == "probabilities":
            _check_unit_interval(scores)
        return logits_from(scores, self.response, n_samples=len(scores)), None


def _check_unit_interval(scores):
    low, high = scores.min().item(), scores.max().item()
    if low < 0 or high > 1:
        raise ValueError(f"X must hold probabilities between 0 and 1; got values from {low} to {high}")


class NetworkBackbone:
    """A frozen torch network, run in batches on its device.

    Parameters
    ----------
    module : LogitsModule
        The network; its response is known.
    classes : ndarray of shape (K,), default=None
        Names of its columns, where they are known.
    batch_size, num_workers, pin_memory
        See `open_backbone`.

    Attributes
    ----------
    device, dtype
        Where inputs go and what floating-point inputs become: those of the network's first floating-point weight.
    """

    def __init__(self, module, *, classes=None, batch_size=128, num_workers=0, pin_memory=False):
        self.module = module
        self.classes = classes
        self.batch_size = batch_size
        self.loading = {"num_workers": num_workers, "pin_memory": pin_memory}
        self.device, self.dtype = _place_of(module)

    def open(self, X):
        """The inputs behind one interface, see `open_inputs`."""
        return open_inputs(X, **self.loading)

    def to_device(self, x):
        """A batch of inputs as the network takes it."""
        if x.is_floating_point():
            return x.to(self.device, self.dtype, non_blocking=True)
        return x.to(self.device, torch.int64, non_blocking=True)

    @contextmanager
    def evaluating(self):
        """The network in eval mode and without gradients; its flags are restored."""
        with frozen(self.module), torch.no_grad():
            yield

    def logits(self, X, transform=None):
        """Logits of shape (n, K) on the network's device, and the labels where X is a Dataset of pairs.

        Parameters
        ----------
        X : array-like, torch.Tensor, Dataset or inputs of `open`
            The inputs.
        transform : callable, default=None
            Applied to each batch of inputs on the device.
        """
        inputs = X if hasattr(X, "batches") else self.open(X)
        with self.evaluating():
            return self._run(inputs, transform or nn.Identity())

    def _run(self, inputs, transform):
        out, labels, done = None, [], 0
        for x, y in inputs.batches(self.batch_size):
            z = self.module(transform(self.to_device(x)))
            out = z.new_empty(len(inputs), z.shape[1]) if out is None else out
            out[done : done + len(z)] = z
            done += len(z)
            labels.append(y)
        check_logits(out)
        return out, None if labels[0] is None else check_labels(torch.cat(labels))


def check_logits(logits):
    """Raise unless a network's outputs are finite and of two classes at least."""
    if not torch.isfinite(logits.sum()) and not torch.isfinite(logits).all():
        row = int((~torch.isfinite(logits)).any(1).nonzero()[0])
        raise ValueError(f"the network must yield finite logits; got NaN or infinity for sample {row}")


def _place_of(module):
    """Device and floating-point dtype of a network, from its first weight or buffer that has one."""
    tensors = [*module.parameters(), *module.buffers()]
    floating = [tensor for tensor in tensors if tensor.is_floating_point()]
    first = next(iter(floating + tensors), torch.empty(0))
    return first.device, floating[0].dtype if floating else torch.get_default_dtype()


def on_device(module, device):
    """The network itself where `device` is None or its own; else a copy there."""
    if device is None:
        return module
    device = check_device(device)
    own, _ = _place_of(module)
    same = own.type == device.type and (device.index is None or own.index == device.index)
    return module if same else copy.deepcopy(module).to(device)


def check_device(device):
    """A torch.device that exists, or ValueError."""
    try:
        checked = torch.device(device)
        torch.empty(0, device=checked)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ValueError(
            f"device must name a device that is there, such as 'cpu' or 'cuda:0'; got {device!r}: {error}"
        ) from error
    return checked


def _skorch_logits(net, response, device):
    """A skorch net's module, with what its criterion and nonlinearity say of its output."""
    if not getattr(net, "initialized_", False):
        raise NotFittedError(
            f"estimator must be an initialised skorch net: call fit or initialize; got {type(net).__name__}"
        )
    module = on_device(net.module_, device)
    if response != "auto":
        return LogitsModule(module, response=response)
    criterion = getattr(net.criterion_, "_orig_mod", net.criterion_)
    if callable(net.predict_nonlinearity):
        return LogitsModule(module, response="probabilities", nonlinearity=net.predict_nonlinearity)
    if isinstance(criterion, (nn.CrossEntropyLoss, nn.BCEWithLogitsLoss)):
        return LogitsModule(module, response="logits")
    if isinstance(criterion, (nn.NLLLoss, nn.BCELoss)):
        return LogitsModule(module, response="probabilities")
    raise ValueError(
        "response must be 'logits' or 'probabilities' where a skorch net's criterion and predict_nonlinearity don't tell "
        f"what its module yields; got criterion {type(criterion).__name__} and predict_nonlinearity "
        f"{net.predict_nonlinearity!r}"
    )


def _skorch_classes(net):
    try:
        return net.classes_
    except AttributeError:
        return None


class ClassifierBackbone:
    """A fitted scikit-learn classifier: its decision function, or else the logarithm of its probabilities."""

    def __init__(self, classifier, response):
        self.classifier = classifier
        self.method = scoring_method(classifier, response)
        self.classes = classifier.classes_

    def logits(self, X):
        """Logits of shape (n, K), and None for labels."""
        return self.logits_of(getattr(self.classifier, self.method)(X)), None

    def logits_of(self, scores):
        """Logits from what the scoring method returned."""
        scores = check_scores(scores, f"{type(self.classifier).__name__}.{self.method}(X)")
        if scores.ndim == 2 and scores.shape[1] != len(self.classes):
            raise ValueError(
                f"estimator must give one score a class; {self.method} gave {scores.shape[1]} columns for "
                f"{len(self.classes)} classes. For a support vector machine set decision_function_shape='ovr'"
            )
        return logits_from(
            scores, "logits" if self.method == "decision_function" else "probabilities", n_samples=len(scores)
        )


def scoring_method(classifier, response):
    """The method to call: decision_function where there is one, unless probabilities are asked for."""
    wanted = {"logits": "decision_function", "probabilities": "predict_proba"}.get(response)
    if wanted is None:
        wanted = "decision_function" if hasattr(classifier, "decision_function") else "predict_proba"
    if not hasattr(classifier, wanted):
        raise ValueError(
            f"response must be what the estimator offers; got {response!r}, but {type(classifier).__name__} has no "
            f"{wanted}"
        )
    return wanted


def cross_fit(classifier, X, y, *, response, cv, sample_weight=None):
    """Fit an unfitted classifier on all the data, and its logits for each sample from a clone that hasn't seen it.

    Parameters
    ----------
    classifier : unfitted scikit-learn classifier
        Cloned, never fitted itself.
    X, y : array-like
        The training data.
    response : {"auto", "logits", "probabilities"}
        See `open_backbone`.
    cv : int, cross-validation generator or None
        As in `sklearn.model_selection.cross_val_predict`.
    sample_weight : ndarray of shape (n_samples,), default=None
        Passed to the classifier's ``fit`` where given.

    Returns
    -------
    backbone : ClassifierBackbone
        Around the classifier fitted on all the data.
    logits : torch.Tensor of shape (n_samples, n_classes)
        Out of fold.
    """
    params = {} if sample_weight is None else {"sample_weight": np.asarray(sample_weight)}
    fitted = clone(classifier).fit(X, y, **params)
    backbone = ClassifierBackbone(fitted, response)
    scores = cross_val_predict(clone(classifier), X, y, cv=cv, method=backbone.method, params=params)
    return backbone, backbone.logits_of(scores)
