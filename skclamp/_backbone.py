"""The one door: whatever the user has becomes logits here.

An array of logits or probabilities, an nn.Module, an initialised skorch net, a scikit-learn classifier. Batching,
device, dtype and eval mode are decided in this file alone.
"""

import inspect
from collections.abc import Mapping
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted
from skorch import NeuralNet
from torch import nn

from ._data import open_inputs
from ._data_sets import check_no_dataset
from ._device import Destination, check_device, on_device, place_of
from ._least_probability import LOG_LEAST
from ._skorch import skorch_classes, skorch_logits
from ._validation import (
    check_labels,
    check_logit_range,
    check_probability_rows,
    check_scores,
    check_unit_interval,
    to_numpy,
)
from ._wrappers import unwrapped
from .modules import LogitsModule, frozen, logits_from


def is_frozen(estimator):
    """Whether an estimator is used as it is: given, fitted or initialised, and never cloned or fitted by us."""
    return isinstance(estimator, (nn.Module, NeuralNet, FrozenEstimator)) or _is_fitted(estimator)


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
    """Find the way from an estimator's inputs to logits.

    Parameters
    ----------
    estimator : None, torch.nn.Module, skorch.NeuralNet, FrozenEstimator or fitted classifier
        None means that the inputs are the response themselves.
    response : {"auto", "logits", "probabilities"}, default="auto"
        What the array or the estimator yields; "auto" follows what is known of it.
    device : str or torch.device, default=None
        Where a network runs; None is where it is. On another device a copy of it runs.
    input_key : str, default=None
        The entry of a dict of inputs that is perturbed; and the name under which a network takes an array.
    perturbs : bool, default=False
        Whether inputs are to be perturbed, so that a dict of them needs an `input_key`.
    **loading
        How a network's inputs are read, see `NetworkBackbone`.

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
    likely_classes = None

    def __init__(self, response, device=None):
        self.response = "logits" if response == "auto" else response
        self.device = None if device is None else check_device(device)

    def logits(self, X, *, labelled=False):
        """Logits of shape (n, K), and None for labels, wanted or not."""
        check_no_dataset(X, "where there is no estimator")
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
    perturbs : bool, default=False
        See `open_backbone`.
    batch_size : int, default=64
        Samples a forward pass.
    num_workers, pin_memory
        As in torch's DataLoader, for Datasets.
    integer_scale
        See `Destination`.

    Attributes
    ----------
    device, dtype
        Where inputs go and what floating-point inputs become: those of the network's first floating-point weight. A
        network without one takes inputs as they are.
    range_of_inputs : tuple of two floats or None
        Of the first batch of floating-point inputs that it was given.
    """

    range_of_inputs = None

    def __init__(
        self,
        module,
        *,
        classes=None,
        perturbs=False,
        batch_size=64,
        num_workers=0,
        pin_memory=False,
        integer_scale=None,
    ):
        self.module = module
        self.classes = classes
        self.perturbs = perturbs
        self.batch_size = batch_size
        self.device, self.dtype = place_of(module)
        self._destination = Destination(self.device, self.dtype, integer_scale)
        # torch warns of pinned memory where there is nowhere to copy it to.
        pins = pin_memory and self.device is not None and self.device.type != "cpu"
        self.loading = {"num_workers": num_workers, "pin_memory": pins}

    @property
    def likely_classes(self):
        """What a Hugging Face model's config calls the columns, in their order; None without one."""
        network = unwrapped(self.module.module)
        network = unwrapped(network.module) if isinstance(network, LogitsModule) else network
        names = getattr(getattr(network, "config", None), "id2label", None)
        return None if not isinstance(names, Mapping) else np.array([str(names[k]) for k in sorted(names, key=int)])

    @property
    def guessed_item(self):
        """What is taken of what the network returns, where others could be meant."""
        heads = (part for part in self.module.modules() if isinstance(part, LogitsModule))
        return next((head.guessed for head in heads if head.guessed is not None), None)

    def open(self, X):
        """The inputs behind one interface, see `open_inputs`."""
        return open_inputs(X, **self.loading)

    def to_device(self, batch):
        """A batch of inputs as the network takes it.

        Returns
        -------
        x : torch.Tensor or None
            The input that is perturbed. None where all have names, and none is to be perturbed.
        others : dict of str to torch.Tensor
            What goes to the network by name.

        Raises
        ------
        TypeError
            If it holds integers that stand for measurements, on a scale that isn't known.
        ValueError
            If it has no entry of the name of the input that is perturbed.
        """
        if isinstance(batch, torch.Tensor):
            return self._destination.bring(batch), {}
        key = self.module.input_key
        destination = self._destination.among(batch, key)
        others = {name: destination.bring(entry, name) for name, entry in batch.items()}
        if key is None and not self.perturbs:
            return None, others
        if key not in others:
            raise ValueError(
                f"input_key must name the entry of X that is perturbed, one of {', '.join(map(repr, others))}; got "
                f"{key!r}"
            )
        return others.pop(key), others

    @contextmanager
    def evaluating(self):
        """The network in eval mode and without gradients; its flags are restored."""
        with frozen(self.module), torch.no_grad():
            yield

    def logits(self, X, transform=None, *, labelled=True):
        """Logits of shape (n, K) on the network's device, and the labels where X brings them.

        Parameters
        ----------
        X : array-like, torch.Tensor, mapping, Dataset or inputs of `open`
            The inputs.
        transform : callable, default=None
            Applied on the device to each batch of the inputs that are perturbed.
        labelled : bool, default=True
            Whether the labels are wanted.
        """
        inputs = X if hasattr(X, "batches") else self.open(X)
        with self.evaluating():
            return self._run(inputs, transform, labelled)

    def _run(self, inputs, transform, labelled):
        out, labels, done = None, [], 0
        for batch, y in inputs.batches(self.batch_size):
            x, others = self.to_device(batch)
            if self.range_of_inputs is None and x is not None and x.is_floating_point() and x.numel():
                self.range_of_inputs = x.min().item(), x.max().item()
            z = self._forward(x if transform is None else transform(x).to(x.dtype), others)
            # Only of the inputs as given: what a perturbation does to them says nothing of the user's declaration.
            if transform is None and self.module.response == "probabilities":
                name = f"the network's output for samples {done}, {done + 1}, ..."
                check_probability_rows(z.exp(), name, self.dtype)
            if out is None:
                out = z.new_empty(len(inputs) if hasattr(inputs, "__len__") else len(z), z.shape[1])
            out = _with_room(out, done + len(z))
            out[done : done + len(z)] = z
            done += len(z)
            labels.append(y)
        if out is None:
            raise ValueError("X must not be empty; got a stream without samples")
        check_logits(out[:done])
        given = labelled and labels[0] is not None
        return out[:done], check_labels(np.concatenate([to_numpy(part) for part in labels])) if given else None

    def _forward(self, x, others):
        try:
            return self.module(x, **others)
        except RuntimeError as error:
            if x is not None and x.is_floating_point() and self.dtype is None and not others:
                raise TypeError(
                    "X must have the dtype that the network computes in, which has no weights that would tell; got "
                    f"{x.dtype}: {error}"
                ) from error
            if others or x.is_floating_point():
                raise
            raise TypeError(
                "X must hold floating-point inputs, unless the network embeds integers such as tokens; got integers "
                f"that the network can't take: {error}"
            ) from error


def _with_room(rows, n_rows):
    """These rows, with room for so many: streams don't say how many are to come."""
    if n_rows <= len(rows):
        return rows
    larger = rows.new_empty(max(n_rows, 2 * len(rows)), rows.shape[1])
    larger[: len(rows)] = rows
    return larger


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
    """Raise unless a network's outputs are finite, and small enough to be computed with."""
    if not torch.isfinite(logits.sum()) and not torch.isfinite(logits).all():
        row = int((~torch.isfinite(logits)).any(1).nonzero()[0])
        raise ValueError(f"the network must yield finite logits; got NaN or infinity for sample {row}")
    check_logit_range(logits, "the network's output")


class ClassifierBackbone:
    """A fitted scikit-learn classifier: its decision function, or else the logarithm of its probabilities."""

    likely_classes = None

    def __init__(self, classifier, response):
        self.classifier = classifier
        self.method = scoring_method(classifier, response)
        self.classes = classifier.classes_

    def logits(self, X, *, labelled=False):
        """Logits of shape (n, K), and None for labels, wanted or not."""
        check_no_dataset(X, "where the estimator is a scikit-learn classifier")
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
        return logits_from(scores.double(), "probabilities", n_samples=len(scores))


def of_all_classes(logits, columns, n_classes):
    """Logits of all classes, from those of some: the others have next to no probability."""
    least = logits.logsumexp(1, keepdim=True) + LOG_LEAST
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
