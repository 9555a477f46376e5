"""Arrays of logits or probabilities as a backbone."""

from .._utils.arrays import check_probability_rows, check_scores, check_unit_interval
from ..modules import logits_from
from .datasets import check_no_dataset
from .device import check_device


class ArrayBackbone:
    """No network: the inputs are logits, as "auto" has it, or probabilities, brought to `device` where one is given."""

    classes = None
    likely_classes = None
    scaled = False
    # Whether probabilities of 0 may be votes.
    votes = True

    def __init__(self, response, device=None):
        self.response = "logits" if response == "auto" else response
        self.device = None if device is None else check_device(device)

    def open(self, X):
        """The scores as a tensor."""
        check_no_dataset(X, "where there is no estimator")
        return check_scores(X).to(self.device)

    def logits(self, scores, *, labelled=False):
        """Logits of shape (n, K), and None for labels, wanted or not."""
        if self.response == "probabilities":
            check_probabilities(scores)
        return logits_from(scores, self.response, n_samples=len(scores)), None


def check_probabilities(scores, name="X"):
    """Raise unless the rows of (n, K) are distributions, or the entries of (n, 1) or (n,) probabilities."""
    if scores.ndim == 2 and scores.shape[1] > 1:
        check_probability_rows(scores, name)
    else:
        check_unit_interval(scores, name)
