"""Predictions of a fitted classifier, as displays take them."""

import numpy as np

from .._utils.arrays import to_numpy
from .._utils.labels import calibrator_in, predict_labelled
from .._utils.sklearn_private import take_rows


def predictions_of(estimator, X, y, name, **beside):
    """Arguments of a display's ``from_predictions`` for a fitted classifier on data; `beside` have a value a sample."""
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"estimator must have predict_proba; got {type(estimator).__name__}, which has none: of a network give a "
            "fitted calibrator, such as TemperatureScaling(network).fit(X, y)"
        )
    y_proba, y = predict_labelled(estimator, X, y, in_order=any(each is not None for each in beside.values()))
    # Of several labels at each place all are events.
    classes = None if np.ndim(y) == y_proba.ndim > 2 else getattr(estimator, "classes_", None)
    ignored = getattr(calibrator_in(estimator), "ignore_index", None) if y_proba.ndim > 2 else None
    return {
        **beside,
        **({} if ignored is None else {"ignore_index": ignored}),
        "y_true": y,
        "y_proba": y_proba,
        "labels": None if classes is None else to_numpy(classes),
        "name": type(estimator).__name__ if name is None else name,
    }


def held_out_predictions(cv_results, X, y, name, **beside):
    """Arguments of a display's ``from_predictions`` for the samples that folds of ``cross_validate`` held out."""
    if not {"estimator", "indices"} <= set(cv_results or ()):
        raise ValueError(
            "cv_results must hold estimators and indices: call cross_validate with return_estimator=True and "
            f"return_indices=True; got {sorted(cv_results or ())}"
        )
    tests = cv_results["indices"]["test"]
    rows = np.concatenate(tests)
    if len(np.unique(rows)) < len(rows):
        raise ValueError("cv_results must hold out each sample once at most, since intervals count a sample once")
    folds = [
        predictions_of(estimator, take_rows(X, test), take_rows(y, test), name)
        for estimator, test in zip(cv_results["estimator"], tests, strict=True)
    ]
    classes = folds[0]["labels"]
    if not all(np.array_equal(fold["labels"], classes) for fold in folds):
        raise ValueError("cv_results must have folds that each learned every class; use a stratified splitter")
    found = {key: np.concatenate([to_numpy(fold[key]) for fold in folds]) for key in ("y_true", "y_proba")}
    return folds[0] | found | {key: np.asarray(each)[rows] for key, each in beside.items() if each is not None}
