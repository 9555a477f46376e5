"""scikit-learn's differentiable classifiers as torch modules in float64."""

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, Normalizer, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.nn.utils import skip_init

from .._utils.arrays import to_numpy
from .._utils.least_probability import log_of
from .._utils.parameters import check_choice

_EPS = torch.finfo(torch.float64).eps


def as_module(estimator, *, response_method="auto"):
    """A fitted scikit-learn classifier as a torch module that yields logits in float64.

    Parameters
    ----------
    estimator : fitted classifier or Pipeline
        A LogisticRegression(CV), SGDClassifier, Perceptron, LinearSVC, RidgeClassifier(CV), LinearDiscriminantAnalysis
        or MLPClassifier; before it, in a Pipeline, any of StandardScaler, MinMaxScaler, MaxAbsScaler, Normalizer and
        PCA. Its numbers are copied.
    response_method : {"auto", "predict_proba", "decision_function"}, default="auto"
        What the logits agree with: their softmax with the probabilities, or they themselves with the decision
        function. "auto" is the former where the classifier has it.

    Returns
    -------
    torch.nn.Module
        Maps float64 inputs of shape (n_samples, n_features) to logits of shape (n_samples, n_classes), columns in the
        order of ``classes_``. Of two classes the first has logit 0. Several labels have their log-odds.

    Raises
    ------
    TypeError
        If the estimator, or a step of it, is of another kind.
    ValueError
        If it lacks `response_method`, or tells labels that don't exclude each other without their probabilities.
    NotFittedError
        If it isn't fitted.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skclamp.modules import as_module
    >>> X, y = load_iris(return_X_y=True)
    >>> pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    >>> module = as_module(pipeline)
    >>> with torch.no_grad():
    ...     proba = module(torch.from_numpy(X)).softmax(1)
    >>> bool(abs(proba.numpy() - pipeline.predict_proba(X)).max() < 1e-9)
    True
    """
    check_choice(response_method, "response_method", ("auto", "predict_proba", "decision_function"))
    *transformers, classifier = flat_steps(estimator)
    check_steps(transformers, [classifier])
    layers = transformer_layers(transformers)
    kind = type(classifier)
    if response_method == "auto":
        response_method = "predict_proba" if hasattr(classifier, "predict_proba") else "decision_function"
    elif not hasattr(classifier, response_method):
        raise ValueError(
            f"response_method must be what the estimator offers; got {response_method!r}, but {kind.__name__} has no "
            f"{response_method}"
        )
    check_is_fitted(classifier)
    layers += _CLASSIFIERS[kind](classifier)
    n_columns = layers[-1].out_features
    # Other scores than a perceptron's aren't log-odds of several labels.
    if len(classifier.classes_) < 2 or (tells_labels(classifier) and response_method == "decision_function"):
        raise ValueError(
            "estimator must tell two or more classes apart that exclude each other, or have the probability of each of "
            f"several labels; got {kind.__name__} with {n_columns} scores for the labels {classifier.classes_.tolist()}"
        )
    if response_method == "predict_proba":
        layers += _link(classifier)
    if n_columns == 1:
        # A single score as the logits (0, z).
        layers.append(nn.ConstantPad1d((1, 0), 0.0))
    return nn.Sequential(*layers)


def tells_labels(classifier):
    """Return True where a fitted classifier tells several labels that don't exclude each other."""
    classifier = getattr(classifier, "best_estimator_", classifier)
    of_perceptron = getattr(getattr(classifier, "_label_binarizer", None), "y_type_", "").startswith("multilabel")
    classes = getattr(classifier, "classes_", None)
    of_several_outputs = isinstance(classes, list) and all(np.ndim(each) for each in classes)
    return of_perceptron or getattr(classifier, "multilabel_", of_several_outputs)


def check_steps(transformers, classifiers=()):
    """Raise a TypeError for a transformer or a classifier, fitted or not, that `as_module` doesn't know."""
    for steps, role, known in (
        (transformers, "transformers", _TRANSFORMERS),
        (classifiers, "classifiers", _CLASSIFIERS),
    ):
        for step in steps:
            if type(step) not in known:
                raise TypeError(
                    "estimator must be a scikit-learn classifier whose output has a gradient with respect to its "
                    f"input. The {role} known are {', '.join(kind.__name__ for kind in known)}; got "
                    f"{type(step).__name__}. Calibrate others by their outputs alone, for instance with "
                    "TemperatureScaling"
                )


def transformer_layers(transformers):
    """Modules that do as fitted transformers do."""
    layers = []
    for step in transformers:
        check_is_fitted(step)
        layers += _TRANSFORMERS[type(step)](step)
    return layers


def flat_steps(estimator):
    """Transformers of a Pipeline and, last, its classifier, with nested Pipelines taken apart."""
    if isinstance(estimator, FrozenEstimator):
        return flat_steps(estimator.estimator)
    if isinstance(estimator, Pipeline):
        kept = [step for _, step in estimator.steps if step is not None and not isinstance(step, str)]
        return [part for step in kept for part in flat_steps(step)] or [estimator]
    return [estimator]


def _link(classifier):
    """Layers between scores and the logarithm of probabilities, where that isn't the softmax or the sigmoid."""
    several = len(classifier.classes_) > 2
    if isinstance(classifier, SGDClassifier):
        if classifier.loss == "modified_huber":
            return [_ModifiedHuber()]
        return [nn.LogSigmoid()] if several else []
    # Only older scikit-learns have `multi_class`, and let liblinear tell several classes apart.
    strategy = getattr(classifier, "multi_class", "auto")
    if several:
        return [nn.LogSigmoid()] if strategy == "ovr" or getattr(classifier, "solver", None) == "liblinear" else []
    # Log-odds of the softmax over (-z, z).
    return [_Scaled(0.0, 0.5)] if strategy == "multinomial" else []


def _linear_classifier(classifier):
    weight = classifier.coef_.toarray() if issparse(classifier.coef_) else to_numpy(classifier.coef_)
    # One row of two classes; some keep it as a vector.
    return [_linear(np.atleast_2d(weight), np.atleast_1d(to_numpy(classifier.intercept_)))]


def _multilayer_perceptron(classifier):
    linear = [_linear(w.T, b) for w, b in zip(classifier.coefs_, classifier.intercepts_, strict=True)]
    activation = _ACTIVATIONS[classifier.activation]
    return [layer for hidden in linear[:-1] for layer in (hidden, activation())] + linear[-1:]


def _clip(scaler, low, high):
    # Of MaxAbsScaler it is younger than the scaler itself.
    return [nn.Hardtanh(float(low), float(high))] if getattr(scaler, "clip", False) else []


def _pca(pca):
    weight = to_numpy(pca.components_)
    scale = np.maximum(np.sqrt(to_numpy(pca.explained_variance_)), _EPS) if pca.whiten else np.ones(len(weight))
    return [_linear(weight / scale[:, None], -(weight @ to_numpy(pca.mean_)) / scale)]


def _linear(weight, bias):
    weight = _float64(weight)
    bias = _float64(bias)
    # Without drawing from the global random state.
    layer = skip_init(nn.Linear, weight.shape[1], weight.shape[0], dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def _float64(values):
    return torch.tensor(to_numpy(values), dtype=torch.float64)


class _Scaled(nn.Module):
    """(x - center) / scale."""

    def __init__(self, center, scale):
        super().__init__()
        self.register_buffer("center", _float64(center))
        self.register_buffer("scale", _float64(scale))

    def forward(self, x):
        return (x - self.center) / self.scale


class _Normalised(nn.Module):
    """Rows over their norms; what scikit-learn takes for zero stays next to it."""

    def __init__(self, order):
        super().__init__()
        self.order = order

    def forward(self, x):
        return nn.functional.normalize(x, self.order, eps=10 * _EPS)


class _ModifiedHuber(nn.Module):
    """Log-probabilities, or the log-odds of a single score, that rise linearly in probability from -1 to 1."""

    def forward(self, scores):
        proba = (scores.clamp(-1, 1) + 1) / 2
        logits = log_of(proba)
        return logits if scores.shape[1] > 1 else logits - log_of(1 - proba)


_LINEAR = (
    *(LogisticRegression, LogisticRegressionCV, SGDClassifier, Perceptron, LinearSVC),
    *(RidgeClassifier, RidgeClassifierCV, LinearDiscriminantAnalysis),
)
_CLASSIFIERS = {**dict.fromkeys(_LINEAR, _linear_classifier), MLPClassifier: _multilayer_perceptron}
_TRANSFORMERS = {
    StandardScaler: lambda fit: [_Scaled(fit.mean_ if fit.with_mean else 0.0, fit.scale_ if fit.with_std else 1.0)],
    MinMaxScaler: lambda fit: [_Scaled(-fit.min_ / fit.scale_, 1 / fit.scale_), *_clip(fit, *fit.feature_range)],
    MaxAbsScaler: lambda fit: [_Scaled(0.0, fit.scale_), *_clip(fit, -1, 1)],
    Normalizer: lambda fit: [_Normalised({"l1": 1.0, "l2": 2.0, "max": np.inf}[fit.norm])],
    PCA: _pca,
}
_ACTIVATIONS = {"identity": nn.Identity, "logistic": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
