"""Maps that are learned beside a rate of wrong labels, each of which may be any of its sample's other classes."""

from dataclasses import dataclass
from numbers import Real

import torch

from .._judging.class_frequencies import ClassMeans
from .._solvers.temperature import beside_wrong_labels, log_likelihoods
from .._utils.parameters import Choices, check_number
from .._utils.warnings import silenced
from ..base import BaseCalibrator

# Where the search for a rate starts, and up to where one is believed, as most labels are right.
_FIRST_RATE = 0.1
_MOST = 0.49
# In nats of all samples: where the search ends, and a likelihood ratio of 20; a rate that gains less is none.
_TOLERANCE = 1e-4
_LEAST_GAIN = 3.0
# A rate with which classes are as often predicted as labelled with a probability below this stands for offsets.
_LEVEL = 1e-5


@dataclass(eq=False, repr=False, kw_only=True)
class BesideWrongLabels(BaseCalibrator):
    """Learns a map beside a rate of wrong labels.

    Parameters
    ----------
    label_noise : "auto", float or None, default=None
        The rate e of labels that are wrong, each any of the other classes: a class of probability p is then the label
        with ``(1 - e) p + e (1 - p) / (K - 1)`` of K classes. The map is the most likely one so, and e is left aside in
        predictions. A rate is at least 0 and less than (K - 1) / K. "auto" learns it with the map, of more than two
        classes. It has none where that makes the labels less than 20 times as likely, where it would come to a half, or
        where classes are then more or less frequent than their labels. None, as 0, takes all labels to be right. Of
        labels that don't exclude each other K is 2, and they share the rate.

    Attributes
    ----------
    label_noise_ : float
        The rate of wrong labels, given or learned; not there where ``label_noise`` is None.
    """

    label_noise: float | str | None = None

    _parameter_constraints = {"label_noise": [Real, Choices("auto"), None]}

    def _fit_rows(self, rows, n_labels=None):
        if self.label_noise is not None:
            # What is told is told of the last fit.
            with silenced():
                self.label_noise_, rows = self._rate_and_rows(rows, n_labels)
        super()._fit_rows(rows, n_labels)

    def _rate_and_rows(self, rows, n_labels):
        """The rate of wrong labels, and `Rows` with weights that a fit makes the most likely map beside it of.

        The gradient of log q, q being the mixture of a label's p, is that of log p times p / q and a constant, and log
        q is convex in log p: fits with the weights times p / q never lower the likelihood. The rate follows by EM.
        """
        auto = self.label_noise == "auto"
        n_classes = rows.logits.shape[1]
        next_rate = _FIRST_RATE
        # Two classes hardly tell wrong labels from curved logits.
        if not auto or n_classes == 2:
            next_rate = check_number(
                self.label_noise, f"label_noise, of {n_classes} classes,", high=1 - 1 / n_classes, closed="left"
            )
        n_others = ((rows.logits > -torch.inf).sum(1) - 1).clamp(min=1).cpu()
        rate = 0.0
        learning = rows
        likelihoods = [-torch.inf]
        # The next is that of right labels, and may be above the one after it.
        while len(likelihoods) < 4 or likelihoods[-1] - likelihoods[-2] > _TOLERANCE:
            super()._fit_rows(learning, n_labels)
            mapped = self.map_(rows.logits.to(torch.float64, copy=True))
            # Logarithms have to be finite.
            proba = log_likelihoods(mapped, rows.y, 1.0).exp().clamp(min=1e-300).cpu()
            mixed = beside_wrong_labels(proba, rate, n_others)
            likelihoods.append(rows.weight @ mixed.log())
            learning = rows._replace(weight=rows.weight * (proba / mixed))
            if auto and rate:
                next_rate = 1 - ((1 - rate) * learning.weight.sum() / rows.weight.sum()).item()
            rate = next_rate
        if auto:
            mixed = beside_wrong_labels(mapped.softmax(1), rate, n_classes - 1)
            means = ClassMeans.of(*(values.cpu().numpy() for values in (mixed, rows.y, rows.weight)))
            if likelihoods[-1] - likelihoods[1] < _LEAST_GAIN or rate > _MOST or means.p_value < _LEVEL:
                return 0.0, rows
        return rate, learning
