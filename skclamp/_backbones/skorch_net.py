"""skorch nets: their module, what it yields and the names of its classes."""

from sklearn.exceptions import NotFittedError
from skorch import NeuralNet
from torch import nn

from ..modules import LogitsModule
from ..modules._from_sklearn import flat_steps
from .device import on_device


def skorch_logits(net, response, device, input_key=None):
    """A skorch net's module as a LogitsModule, with what its criterion and nonlinearity say of its output."""
    if not getattr(net, "initialized_", False):
        raise NotFittedError(
            f"estimator must be an initialised skorch net: call fit or initialize; got {type(net).__name__}. With cv, "
            "such as cv=5, clones of it are fitted"
        )
    module = on_device(net.module_, device)
    known, nonlinearity = (response, None) if response != "auto" else _response_of(net)
    return LogitsModule(module, response=known, nonlinearity=nonlinearity, input_key=input_key)


def check_fitting(estimator, cv):
    """Raise for a net that was forgotten to be initialised: to train several takes time, and has to be asked for."""
    net = flat_steps(estimator)[-1]
    if isinstance(net, NeuralNet) and cv is None:
        skorch_logits(net, "auto", None)


def _response_of(net):
    criterion = getattr(net.criterion_, "_orig_mod", net.criterion_)
    if callable(net.predict_nonlinearity):
        return "probabilities", net.predict_nonlinearity
    for kind, known, nonlinearity in _CRITERIA:
        if isinstance(criterion, kind):
            return known, nonlinearity
    raise ValueError(
        "response must be 'logits' or 'probabilities' where a skorch net's criterion and predict_nonlinearity don't "
        f"tell what its module yields; got criterion {type(criterion).__name__} and predict_nonlinearity "
        f"{net.predict_nonlinearity!r}"
    )


def single_score(output):
    """A sigmoid head's output, unless there are several: those are labels that don't exclude each other."""
    if output.ndim > 1 and output.shape[-1] > 1:
        raise ValueError(
            "the network must tell exclusive classes apart: multilabel outputs, a binary cross-entropy on "
            f"{output.shape[-1]} columns, aren't supported"
        )
    return output


# What a module yields that was trained with each criterion.
_CRITERIA = (
    (nn.CrossEntropyLoss, "logits", None),
    (nn.NLLLoss, "probabilities", None),
    (nn.BCEWithLogitsLoss, "logits", single_score),
    (nn.BCELoss, "probabilities", single_score),
)


def skorch_classes(net):
    """Names of a net's classes, or None."""
    try:
        return net.classes_
    except AttributeError:
        return None
