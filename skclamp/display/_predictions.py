"""Predictions of a fitted classifier, as displays take them."""

from .._backbones.samples import predict_labelled
from .._utils.arrays import to_numpy


def predictions_of(estimator, X, y, name, sample_weight):
    """Arguments of a display's ``from_predictions`` for a fitted classifier on data."""
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(f"estimator must have predict_proba; got {type(estimator).__name__}, which has none")
    y_proba, y = predict_labelled(estimator, "predict_proba", X, y, in_order=sample_weight is not None)
    classes = getattr(estimator, "classes_", None)
    is_dense = y_proba.ndim > 2 and hasattr(estimator, "ignore_index")
    return ({"ignore_index": estimator.ignore_index} if is_dense else {}) | {
        "y_true": y,
        "y_proba": y_proba,
        "labels": None if classes is None else to_numpy(classes),
        "name": type(estimator).__name__ if name is None else name,
        "sample_weight": sample_weight,
    }
