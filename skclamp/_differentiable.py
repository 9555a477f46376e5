"""scikit-learn's differentiable classifiers as frozen networks, for what perturbs their inputs.

Imports `_backbone` and what lies below it.
"""

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import get_tags
from sklearn.utils.validation import validate_data
from torch.utils.data import Dataset

from ._backbone import NetworkBackbone, on_device, scoring_method
from ._validation import to_numpy
from .modules import LogitsModule, as_module


class DifferentiableBackbone(NetworkBackbone):
    """A fitted classifier as a network in float64, which takes inputs as the classifier itself does.

    Parameters
    ----------
    classifier : fitted scikit-learn classifier
        One that `as_module` knows.
    response : {"auto", "logits", "probabilities"}
        See `open_backbone`.
    device, **loading
        As in `open_backbone`.
    """

    def __init__(self, classifier, response, *, device=None, **loading):
        super().__init__(_logits_module(classifier, response, device), classes=classifier.classes_, **loading)
        self.classifier = classifier

    def open(self, X):
        """The inputs behind one interface, see `open_inputs`; frames and sparse matrices become dense."""
        return super().open(X if isinstance(X, Dataset) else as_table(self.classifier, X))


def _logits_module(classifier, response, device):
    # The scores of the calibrators that see outputs alone: without a perturbation the result is theirs.
    module = as_module(classifier, response_method=scoring_method(classifier, response))
    return LogitsModule(on_device(module, device))


def as_table(classifier, X):
    """Inputs as a dense float64 array, checked against what a fitted classifier was fitted to."""
    sparse = get_tags(classifier).input_tags.sparse
    X = to_numpy(X) if hasattr(X, "detach") else X
    X = validate_data(classifier, X, reset=False, accept_sparse=sparse, dtype=np.float64)
    return X.toarray() if issparse(X) else X
