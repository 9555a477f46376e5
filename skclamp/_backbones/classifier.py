"""A fitted scikit-learn classifier as a backbone."""

from .._utils.arrays import check_scores
from .._utils.least_probability import LOG_MIN_PROBABILITY
from ..modules import logits_from
from .array import check_probabilities
from .datasets import check_no_dataset


class ClassifierBackbone:
    """A fitted scikit-learn classifier: its decision function, or else the logarithm of its probabilities."""

    likely_classes = None
    scaled = False
    votes = True

    def __init__(self, classifier, response):
        self.classifier = classifier
        self.response = response
        self.method = scoring_method(classifier, response)
        self.classes = classifier.classes_

    def open(self, X):
        """X itself, whatever the classifier takes."""
        check_no_dataset(X, "where the estimator is a scikit-learn classifier")
        return X

    def logits(self, X, *, labelled=False):
        """Logits of shape (n, K), and None for labels, wanted or not."""
        return self.logits_of(getattr(self.classifier, self.method)(X)), None

    def logits_of(self, scores):
        """Logits from what the scoring method returned."""
        name = f"{type(self.classifier).__name__}.{self.method}(X)"
        scores = check_scores(scores, name)
        if scores.ndim == 2 and scores.shape[1] != len(self.classes):
            raise ValueError(
                f"estimator must give one score per class; {self.method} gave {scores.shape[1]} columns for "
                f"{len(self.classes)} classes. For a support vector machine set decision_function_shape='ovr'"
            )
        if self.method == "decision_function":
            return logits_from(scores, "logits", n_samples=len(scores))
        check_probabilities(scores, name)
        return logits_from(scores.double(), "probabilities", n_samples=len(scores))


def of_all_classes(logits, columns, n_classes):
    """Logits of all classes, from those of some: the others have next to no probability."""
    least = logits.logsumexp(1, keepdim=True) + LOG_MIN_PROBABILITY
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
