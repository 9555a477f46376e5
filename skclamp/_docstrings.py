"""What the docstrings of all calibrators say alike: the parameters and attributes of `BaseCalibrator`."""

import inspect

_SHARED = {
    "estimator": """
estimator : torch.nn.Module, skorch.NeuralNet, scikit-learn classifier or None, default=None
    What yields the logits. A network, an initialised skorch net and a fitted classifier are frozen and shared by
    reference. An unfitted scikit-learn classifier is cloned, and cross-fitted as `cv` says. With None, X itself
    holds logits.""",
    "shared_parameters": """
response : {"auto", "logits", "probabilities"}, default="auto"
    What X or the estimator yields. "auto" takes arrays and modules to yield logits, and follows what a skorch net
    or a classifier says of itself.
classes : array-like of shape (n_classes,), default=None
    Names of the logits' columns. Needed unless the labels are 0 ... n_classes - 1 or of exactly n_classes kinds, or
    the estimator knows them.
cv : int, cross-validation generator or iterable, default=None
    Splits for an estimator that isn't fitted, as in scikit-learn's ``cross_val_predict``.
device : str or torch.device, default=None
    Where a network runs: by default where it is, elsewhere a copy of it.
batch_size : int, default=64
    Samples a forward pass of a network.
num_workers, pin_memory : int, default=0, and bool, default=False
    As in torch's DataLoader, for Datasets.""",
    "shared_attributes": """
classes_ : ndarray of shape (n_classes,)
    Names of the classes, in the order of the columns.
n_features_in_ : int
    Second dimension of X in `fit`; not set for a Dataset.""",
}


def with_shared_docs(calibrator):
    """Fill the places that a class's docstring leaves for what all calibrators share.

    A place is a line of its own: ``{estimator}``, ``{shared_parameters}`` or ``{shared_attributes}``. Docstrings that
    Python has stripped (``-OO``) stay away.
    """
    if calibrator.__doc__ is not None:
        doc = inspect.cleandoc(calibrator.__doc__)
        for name, text in _SHARED.items():
            doc = doc.replace(f"{{{name}}}", text.strip("\n"))
        calibrator.__doc__ = doc
    return calibrator
