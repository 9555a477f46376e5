"""The one door: whatever the user has becomes logits here.

An array of logits or probabilities, an nn.Module, an initialised skorch net, a scikit-learn classifier. Batching,
device, dtype and eval mode are decided in this file alone.
"""

import copy
import inspect
import math
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet
from torch import nn

from ._data import open_inputs
from ._validation import check_labels, check_probability_rows, check_scores, check_unit_interval, to_numpy
from .modules import LogitsModule, frozen, logits_from

# Forests and neighbours vote probabilities of exactly 0, which aren't meant to be infinite log-odds; scikit-learn's own
# calibration takes them for as much.
LEAST_VOTE = torch.finfo(torch.float64).eps


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


def open_backbone(estimator, *, response="auto", device=None, batch_size=64, num_workers=0, pin_memory=False):
    """Find the way from an estimator's inputs to logits.

    Parameters
    ----------
    estimator : None, torch.nn.Module, skorch.NeuralNet, FrozenEstimator or fitted classifier
        None means that the inputs are the response themselves.
    response : {"auto", "logits", "probabilities"}, default="auto"
        What the array or the estimator yields; "auto" follows what is known of it.
    device : str or torch.device, default=None
        Where a network runs; None is where it is. On another device a copy of it runs.
    batch_size : int, default=64
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
        return ArrayBackbone(response, device)
    if isinstance(estimator, nn.Module):
        response = "logits" if response == "auto" else response
        return NetworkBackbone(LogitsModule(on_device(estimator, device), response=response), **loading)
    if isinstance(estimator, NeuralNet):
        return NetworkBackbone(
            _skorch_logits(estimator, response, device), classes=_skorch_classes(estimator), **loading
        )
    check_classifier(estimator)
    return ClassifierBackbone(estimator, response)


def check_classifier(estimator):
    """Raise unless an estimator is a scikit-learn classifier that gives scores."""
    scoring = hasattr(estimator, "decision_function") or hasattr(estimator, "predict_proba")
    if inspect.isclass(estimator) or not (scoring and is_classifier(estimator)):
        got = f"the class {estimator.__name__}" if inspect.isclass(estimator) else type(estimator).__name__
        raise TypeError(
            "estimator must be None, a torch.nn.Module, an initialised skorch net or a scikit-learn classifier with "
            f"decision_function or predict_proba; got {got}"
        )


class ArrayBackbone:
    """No network: the inputs are logits or probabilities already.

    Parameters
    ----------
    response : {"auto", "logits", "probabilities"}
        What they are; "auto" means logits.
    device : str or torch.device, default=None
        Where they are brought; None is where they are.
    """

    classes = None

    def __init__(self, response, device=None):
        self.response = "logits" if response == "auto" else response
        self.device = None if device is None else check_device(device)

    def logits(self, X):
        """Logits of shape (n, K), and None for labels."""
        scores = check_scores(X).to(self.device)
        if self.response == "probabilities":
            check_probabilities(scores)
        return logits_from(scores, self.response, n_samples=len(scores)), None


def check_probabilities(scores, name="X"):
    """Raise unless the rows of (n, K) are distributions, or the entries of (n, 1) or (n,) probabilities."""
    if scores.ndim == 2 and scores.shape[1] > 1:
        check_probability_rows(scores, name)
    else:
        check_unit_interval(scores, name)


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
        Where inputs go and what floating-point inputs become: those of the network's first floating-point weight. A
        network without one takes inputs as they are.
    """

    def __init__(self, module, *, classes=None, batch_size=64, num_workers=0, pin_memory=False):
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
            return x.to(self.device, self.dtype or x.dtype, non_blocking=True)
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
            return self._run(inputs, transform)

    def _run(self, inputs, transform):
        out, labels, done = None, [], 0
        for x, y in inputs.batches(self.batch_size):
            x = self.to_device(x)
            z = self._forward(x if transform is None else transform(x).to(x.dtype))
            # Only of the inputs as given: what a perturbation does to them says nothing of the user's declaration.
            if transform is None and self.module.response == "probabilities":
                check_probability_rows(z.exp(), f"the network's output for samples {done}, {done + 1}, ...")
            out = z.new_empty(len(inputs), z.shape[1]) if out is None else out
            out[done : done + len(z)] = z
            done += len(z)
            labels.append(y)
        check_logits(out)
        return out, None if labels[0] is None else check_labels(np.concatenate([to_numpy(part) for part in labels]))

    def _forward(self, x):
        try:
            return self.module(x)
        except RuntimeError as error:
            if x.is_floating_point() and self.dtype is None:
                raise TypeError(
                    "X must have the dtype that the network computes in, which has no weights that would tell; got "
                    f"{x.dtype}: {error}"
                ) from error
            if x.is_floating_point():
                raise
            raise TypeError(
                "X must hold floating-point inputs, unless the network embeds integers such as tokens; got integers "
                f"that the network can't take: {error}"
            ) from error


class ScoresBackbone(NetworkBackbone):
    """Logits or probabilities as the inputs of a network that hands logits on: what clamps them perturbs logits.

    Parameters
    ----------
    scores : ArrayBackbone
        Makes logits of them.
    batch_size : int, default=64
        Samples at a time.
    """

    def __init__(self, scores, *, batch_size=64):
        super().__init__(LogitsModule(nn.Identity()), batch_size=batch_size)
        self.scores = scores

    def open(self, X):
        """The logits behind one interface, see `open_inputs`."""
        return super().open(self.scores.logits(X)[0])


def check_logits(logits):
    """Raise unless a network's outputs are finite."""
    if not torch.isfinite(logits.sum()) and not torch.isfinite(logits).all():
        row = int((~torch.isfinite(logits)).any(1).nonzero()[0])
        raise ValueError(f"the network must yield finite logits; got NaN or infinity for sample {row}")


def _place_of(module):
    """Device and floating-point dtype of a network, from its first weight or buffer that has one; or None."""
    tensors = [*module.parameters(), *module.buffers()]
    floating = [tensor for tensor in tensors if tensor.is_floating_point()]
    device = (floating + tensors)[0].device if tensors else None
    return device, floating[0].dtype if floating else None


def on_device(module, device):
    """The network itself where `device` is None or its own; else a copy there."""
    if device is None:
        return module
    device = check_device(device)
    own, _ = _place_of(module)
    if own is None or (own.type == device.type and device.index in (None, own.index)):
        return module
    return copy.deepcopy(module).to(device)


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
    for kind, known, nonlinearity in _CRITERIA:
        if isinstance(criterion, kind):
            return LogitsModule(module, response=known, nonlinearity=nonlinearity)
    raise ValueError(
        "response must be 'logits' or 'probabilities' where a skorch net's criterion and predict_nonlinearity don't "
        f"tell what its module yields; got criterion {type(criterion).__name__} and predict_nonlinearity "
        f"{net.predict_nonlinearity!r}"
    )


def single_score(output):
    """A sigmoid head's output, unless there are several: those are labels that don't exclude each other."""
    if output.ndim > 1 and output.shape[-1] > 1:
        raise ValueError(
            "the network must tell exclusive classes apart: multilabel outputs, a binary cross-entropy on "
            f"{output.shape[-1]} columns, aren't supported"
        )
    return output


# What a module yields that was trained with each criterion.
_CRITERIA = (
    (nn.CrossEntropyLoss, "logits", None),
    (nn.NLLLoss, "probabilities", None),
    (nn.BCEWithLogitsLoss, "logits", single_score),
    (nn.BCELoss, "probabilities", single_score),
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
        name = f"{type(self.classifier).__name__}.{self.method}(X)"
        scores = check_scores(scores, name)
        if scores.ndim == 2 and scores.shape[1] != len(self.classes):
            raise ValueError(
                f"estimator must give one score a class; {self.method} gave {scores.shape[1]} columns for "
                f"{len(self.classes)} classes. For a support vector machine set decision_function_shape='ovr'"
            )
        if self.method == "decision_function":
            return logits_from(scores, "logits", n_samples=len(scores))
        check_probabilities(scores, name)
        return logits_from(scores.double(), "probabilities", n_samples=len(scores), floor=LEAST_VOTE)


def of_all_classes(logits, columns, n_classes):
    """Logits of all classes, from those of some: the others have next to no probability."""
    least = logits.logsumexp(1, keepdim=True) + math.log(LEAST_VOTE)
    return least.expand(-1, n_classes).index_copy(1, columns, logits)


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
