"""scikit-learn's classifiers as backbones: by their scores, as Pipelines around a skorch net, and as torch networks."""

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.utils import get_tags
from sklearn.utils.validation import validate_data
from skorch import NeuralNet
from torch import nn
from torch.utils.data import Dataset

from .._utils.arrays import check_scores, naming_text, to_numpy
from .._utils.labels import columns_of_labels
from .._utils.least_probability import floored
from ..modules import LogitsModule, as_module, logits_from
from ..modules._from_sklearn import check_steps, flat_steps, tells_labels, transformer_layers
from .backbone import Backbone, Opening, check_probabilities
from .fingerprint import Digest
from .inputs import check_no_dataset
from .network import NetworkBackbone, on_device, place_of, skorch_logits
from .scale import finite_rows


class ClassifierBackbone(Backbone):
    """A fitted scikit-learn classifier: its decision function, or else the logarithm of its probabilities."""

    votes = True

    def __init__(self, classifier, opening):
        self.classifier = classifier
        self.response = opening.response
        self.outputs = opening.outputs
        self.method = scoring_method(classifier, opening.response)
        self.classes = classifier.classes_

    def open(self, X):
        check_no_dataset(X, "where the estimator is a scikit-learn classifier")
        return X

    def logits(self, X, *, labelled=False):
        self.look_at_scale(finite_rows(X))
        name = f"{type(self.classifier).__name__}.{self.method}(X)"
        with naming_text(X, self.classifier):
            scores = getattr(self.classifier, self.method)(X)
        of_labels = self.outputs == "sigmoid"
        scores = check_scores(columns_of_labels(scores, self.classes) if of_labels else scores, name)
        if scores.ndim == 2 and not of_labels and scores.shape[1] != len(self.classes):
            raise ValueError(
                f"estimator must give one score per class; {self.method} gave {scores.shape[1]} columns for "
                f"{len(self.classes)} classes. For a support vector machine set decision_function_shape='ovr'"
            )
        response = "logits"
        if self.method != "decision_function":
            response = "probabilities"
            check_probabilities(scores, name, outputs=self.outputs)
        if of_labels or response == "probabilities":
            scores = scores.double()
        return logits_from(scores, response, n_samples=len(scores), outputs=self.outputs), None

    def as_module(self, owner):
        if self.outputs == "sigmoid":
            # Where its probabilities are 1 in floating point, a classifier of labels doesn't say what its network does.
            raise AttributeError(
                f"{owner} has module_ of several labels where the estimator is a torch network or None; got "
                f"{type(self.classifier).__name__}"
            )
        return LogitsModule(module_of(self.classifier, self.response, owner))

    def fingerprint(self):
        return Digest().arrays(self.classifier).hex()


class CalibratorBackbone(ClassifierBackbone):
    """A fitted calibrator, which reads labels as it predicts; where probabilities underflow, their logarithms don't."""

    # What is calibrated stays as it is until class frequencies change.
    votes = False

    def open(self, X):
        return X

    def logits(self, X, *, labelled=False):
        normalise = log_odds if self.outputs == "sigmoid" else torch.log_softmax
        logits, labels = self.classifier._map_rows(normalise, X, labelled=labelled)
        return torch.from_numpy(logits), labels

    def handed_on(self, logits):
        return self.classifier.transform_logits(logits)

    def as_module(self, owner):
        return self.classifier.module_


def log_odds(rows, _):
    """Return log-odds of rows of labels, where `torch.log_softmax` would give log-probabilities."""
    return rows - rows[:, :1]


class PipelineBackbone(NetworkBackbone):
    """A fitted Pipeline that ends in a skorch net: the net's logits of what the transformers make of inputs."""

    yields_logits = False

    def __init__(self, pipeline, opening):
        *self.transformers, net = flat_steps(pipeline)
        super().__init__(skorch_logits(net, opening), opening, classes=getattr(net, "classes_", None))
        self.classifier = pipeline
        self.response = opening.response

    def open(self, X):
        check_no_dataset(X, "where the estimator is a Pipeline")
        for step in self.transformers:
            X = step.transform(X)
        return super().open(X.toarray() if issparse(X) else np.asarray(X))

    def as_module(self, owner):
        return LogitsModule(on_device(module_of(self.classifier, self.response, owner), self.device))

    def fingerprint(self):
        return Digest().arrays(self.transformers).network(self.module).hex()


class DifferentiableBackbone(NetworkBackbone):
    """A fitted classifier as a network in float64, which takes inputs as the classifier itself does."""

    yields_logits = False

    def __init__(self, classifier, opening):
        network = on_device(network_of(classifier, opening.response), opening.device)
        super().__init__(LogitsModule(network), opening, classes=classifier.classes_, dtype=torch.float64)
        self.classifier = classifier

    def open(self, X):
        """The inputs behind one interface, see `open_inputs`; frames and sparse matrices become dense."""
        if isinstance(X, Dataset):
            return super().open(X)
        sparse = get_tags(self.classifier).input_tags.sparse
        if hasattr(X, "detach"):
            X = to_numpy(X)
        X = validate_data(self.classifier, X, reset=False, accept_sparse=sparse and "csr", dtype=np.float64)
        return super().open(X.toarray() if issparse(X) else X)


def module_of(classifier, response, owner):
    """See `network_of`; AttributeError of a calibrator `owner` where torch can't do what the classifier does."""
    try:
        check_differentiable(classifier)
    except TypeError as error:
        raise AttributeError(
            f"{owner} has no module_: skclamp.modules.as_module makes no network of {type(classifier).__name__}. "
            f"predict_proba and save work without; or calibrate logits, {owner}().fit(logits, y).module_"
        ) from error
    return network_of(classifier, response)


def check_differentiable(estimator):
    """Raise a TypeError for an estimator, fitted or not, that `network_of` knows nothing of."""
    *transformers, classifier = flat_steps(estimator)
    check_steps(transformers, [] if isinstance(classifier, NeuralNet) else [classifier])


def network_of(classifier, response):
    """A fitted classifier, Pipeline or skorch net as a network of inputs as it takes them; the net is shared."""
    *transformers, net = flat_steps(classifier)
    if isinstance(net, NeuralNet):
        check_steps(transformers)
        # Of a Pipeline it says which method is asked, not what the net yields.
        head = skorch_logits(net, Opening("auto" if response == "probabilities" else response))
        device, dtype = place_of(head)
        return nn.Sequential(*transformer_layers(transformers), _Cast(dtype)).to(device).append(head)
    # The scores of the calibrators that see outputs alone: without a perturbation the result is theirs.
    method = scoring_method(classifier, response)
    network = as_module(classifier, response_method=method)
    if method == "decision_function" or tells_labels(net):
        return network
    return nn.Sequential(network, _LogProbabilities())


class _Cast(nn.Module):
    """Cast of what transformers yield to a network's own precision."""

    def __init__(self, dtype):
        super().__init__()
        self.dtype = dtype

    def forward(self, x):
        return x if self.dtype is None else x.to(self.dtype)


class _LogProbabilities(nn.Module):
    """Logarithms of the softmax of scores, which the least probability bounds."""

    def forward(self, scores):
        return floored(scores.log_softmax(1))


def scoring_method(classifier, response):
    """The method to call: decision_function where there is one, unless probabilities are asked for."""
    preferred = "decision_function" if hasattr(classifier, "decision_function") else "predict_proba"
    wanted = {"logits": "decision_function", "probabilities": "predict_proba"}.get(response, preferred)
    if not hasattr(classifier, wanted):
        raise ValueError(
            f"response must be what the estimator offers; got {response!r}, but {type(classifier).__name__} has no "
            f"{wanted}"
        )
    return wanted
