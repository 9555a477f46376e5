"""Abstention: classifiers that answer only where their risk is proven to be within a target."""

from ._selective_classifier import SelectiveClassifier

__all__ = ["SelectiveClassifier"]
