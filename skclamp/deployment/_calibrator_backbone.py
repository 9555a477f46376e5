"""A fitted calibrator as a backbone: its log-probabilities are the logits."""

import torch

from .._backbones.classifier import ClassifierBackbone
from .._backbones.datasets import LabelledSamples


class CalibratorBackbone(ClassifierBackbone):
    """Takes whatever the calibrator takes; where probabilities underflow, their logarithms don't."""

    # What is calibrated stays as it is until class frequencies change.
    votes = False

    def open(self, X):
        """X itself, which `dataset_behind` returned."""
        return X

    def logits(self, X, *, labelled=False):
        """Logits of shape (n, K), and the labels that X brings, or None."""
        samples = LabelledSamples(X)
        return torch.from_numpy(self.classifier.predict_log_proba(samples)), samples.labels
