"""A fitted Pipeline that ends in a skorch net: scikit-learn's transformers, then the network."""

import numpy as np
from scipy.sparse import issparse

from ..modules._from_sklearn import flat_steps
from .datasets import check_no_dataset
from .network import NetworkBackbone
from .skorch_net import skorch_classes, skorch_logits


class PipelineBackbone(NetworkBackbone):
    """The net's logits of what the transformers make of inputs."""

    def __init__(self, pipeline, response, *, device=None, **loading):
        *self.transformers, net = flat_steps(pipeline)
        super().__init__(skorch_logits(net, response, device), classes=skorch_classes(net), **loading)
        self.classifier = pipeline
        self.response = response

    def open(self, X):
        """The transformed inputs behind one interface, see `open_inputs`."""
        check_no_dataset(X, "where the estimator is a Pipeline")
        for step in self.transformers:
            X = step.transform(X)
        return super().open(X.toarray() if issparse(X) else np.asarray(X))
