"""scikit-learn's differentiable classifiers as frozen networks, for what perturbs their inputs."""

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils import get_tags
from sklearn.utils.validation import validate_data
from skorch import NeuralNet
from torch import nn
from torch.utils.data import Dataset

from .._utils.arrays import to_numpy
from .._utils.least_probability import floored
from ..modules import LogitsModule, as_module
from ..modules._from_sklearn import check_transformers, differentiable_steps, flat_steps, transformer_layers
from .array import ArrayBackbone
from .classifier import ClassifierBackbone, of_all_classes, scoring_method
from .datasets import NamedArrays
from .device import on_device, place_of
from .network import NetworkBackbone
from .pipeline import PipelineBackbone
from .skorch_net import skorch_logits


class DifferentiableBackbone(NetworkBackbone):
    """A fitted classifier as a network in float64, which takes inputs as the classifier itself does."""

    def __init__(self, classifier, response, *, device=None, **loading):
        network = on_device(network_of(classifier, response), device)
        options = {"classes": classifier.classes_, "perturbs": True, "dtype": torch.float64}
        super().__init__(LogitsModule(network), **options, **loading)
        self.classifier = classifier

    def open(self, X):
        """The inputs behind one interface, see `open_inputs`; frames and sparse matrices become dense."""
        return super().open(X if isinstance(X, Dataset) else as_table(self.classifier, X))


class CrossFittedBackbone(NetworkBackbone):
    """Classifiers fitted without one fold each, as one network: a sample goes through that of its own fold.

    The inputs of `open` have the number of their fold beside them, which goes to the network by name. `all_gather` is
    the backbone of the classifier fitted to all the samples; of the others, one per fold, some may have missed classes.
    `splits` holds training and held-out rows of each fold; each row is held out once.
    """

    def __init__(self, whole, classifiers, splits, response, *, device=None, **loading):
        networks = [_of_all_classes(each, response, whole.classes) for each in classifiers]
        router = LogitsModule(on_device(_Router(networks), device), input_key="x")
        options = {"perturbs": True, "classes": whole.classes, "dtype": whole.dtype}
        # Tables are floats by now.
        super().__init__(router, **options, **{**loading, "integer_scale": None})
        self.splits = splits
        self._classifier = getattr(whole, "classifier", None)

    def open(self, X):
        """The samples that the classifiers were fitted to, each with its fold."""
        folds = np.empty(sum(len(rows) for _, rows in self.splits), dtype=np.int64)
        for k, (_, rows) in enumerate(self.splits):
            folds[rows] = k
        X = X if self._classifier is None else as_table(self._classifier, X)
        return super().open(NamedArrays({"x": X, "folds": folds}))


def as_table(classifier, X):
    """Inputs as a dense float64 array, checked against what a fitted classifier was fitted to."""
    sparse = get_tags(classifier).input_tags.sparse
    X = to_numpy(X) if hasattr(X, "detach") else X
    X = validate_data(classifier, X, reset=False, accept_sparse=sparse and "csr", dtype=np.float64)
    return X.toarray() if issparse(X) else X


def module_behind(backbone, name):
    """What a backbone does, as a LogitsModule; AttributeError of a calibrator of this name where torch can't do it."""
    if isinstance(backbone, ArrayBackbone):
        return LogitsModule(nn.Identity(), response=backbone.response)
    if not isinstance(backbone, (ClassifierBackbone, PipelineBackbone)):
        return backbone.module
    try:
        check_differentiable(backbone.classifier)
    except TypeError as error:
        raise AttributeError(
            f"{name} has module_ where the estimator is a torch network, a skorch net, None, or a classifier that "
            f"skclamp.modules.as_module makes a network of, and {type(backbone.classifier).__name__} is none: {error}"
        ) from error
    network = network_of(backbone.classifier, backbone.response)
    return LogitsModule(network if isinstance(backbone, ClassifierBackbone) else on_device(network, backbone.device))


def check_differentiable(estimator):
    """Raise a TypeError for an estimator, fitted or not, that `network_of` knows nothing of."""
    *transformers, classifier = flat_steps(estimator)
    if isinstance(classifier, NeuralNet):
        check_transformers(transformers)
    else:
        differentiable_steps(estimator)


def network_of(classifier, response):
    """A fitted classifier, Pipeline or skorch net as a network of inputs as it takes them; the net is shared."""
    *transformers, net = flat_steps(classifier)
    if isinstance(net, NeuralNet):
        check_transformers(transformers)
        # Of a Pipeline it says which method is asked, not what the net yields.
        head = skorch_logits(net, "auto" if response == "probabilities" and transformers else response, None)
        if not transformers:
            return head
        device, dtype = place_of(head)
        return nn.Sequential(*transformer_layers(transformers), _Cast(dtype)).to(device).append(head)
    # The scores of the calibrators that see outputs alone: without a perturbation the result is theirs.
    method = scoring_method(classifier, response)
    network = as_module(classifier, response_method=method)
    return network if method == "decision_function" else nn.Sequential(network, _LogProbabilities())


def _of_all_classes(classifier, response, classes):
    """The network of a classifier that may have missed classes, which a net's outputs have all the same."""
    network, seen = network_of(classifier, response), classifier.classes_
    if len(seen) == len(classes) or isinstance(flat_steps(classifier)[-1], NeuralNet):
        return network
    return _Widened(network, np.searchsorted(classes, seen), len(classes))


class _Cast(nn.Module):
    """What transformers yield, in a network's own precision."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, x):
        return x if self.dtype is None else x.to(self.dtype)


class _LogProbabilities(nn.Module):
    """Logarithms of the softmax of scores, which the least probability bounds."""

    def forward(self, scores):
        return floored(torch.log_softmax(scores, 1))


class _Widened(nn.Module):
    """A network of some classes as one of all, see `of_all_classes`."""

    def __init__(self, network, columns, n_classes):
        super().__init__()
        self.network = network
        self.n_classes = n_classes
        self.register_buffer("columns", torch.as_tensor(columns))

    def forward(self, x):
        return of_all_classes(self.network(x), self.columns, self.n_classes)


class _Router(nn.Module):
    """Each sample through the network of its fold."""

    def __init__(self, networks):
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x, folds):
        rows = [(folds == k).nonzero()[:, 0] for k in range(len(self.networks))]
        parts = [network(x[of_fold]) for network, of_fold in zip(self.networks, rows, strict=True) if len(of_fold)]
        return torch.cat(parts)[torch.cat(rows).argsort()]
