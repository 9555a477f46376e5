"""Maps that are learned beside a rate of wrong labels, each of which may be any of its sample's other classes."""

from dataclasses import dataclass
from numbers import Real

import torch

from .._judging.class_frequencies import ClassMeans
from .._judging.paired import n_effective, of_groups
from .._looks import words
from .._solvers.temperature import beside_wrong_labels, log_likelihoods
from .._utils.parameters import Choices, check_number
from .._utils.warnings import note, silenced
from ..base import BaseCalibrator
from ..exceptions import CalibrationSetWarning

# Where the search for a rate starts, and up to where one is believed, as most labels are right.
_FIRST_RATE = 0.1
_MOST = 0.49
# In nats of all samples: a search ends where a fit gains less for each number of the map, which chance moves by half a
# nat each. And a likelihood ratio of 20; a rate that gains less is none.
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
        classes. It has none where that makes the labels less than 20 times as likely, where classes are then more or
        less frequent than their labels, or where it would come to a half. ``summary()`` says which. Equal samples, a
        group or an image count as one there, and uneven weights as the number of equal ones that tell as much. None, as
        0, takes all labels to be right. Of labels that don't exclude each other K is 2, and they share the rate. A rate
        takes about as long as 10 to 30 fits without one.

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
                self.label_noise_, self._no_rate, rows = self._beside_rate(rows, n_labels)
        super()._fit_rows(rows, n_labels)
        if self.label_noise is not None and self._no_rate not in ("", words.NO_GAIN):
            note(words.NO_RATE.format(self._no_rate), CalibrationSetWarning)

    def _sentences(self):
        yield from super()._sentences()
        yield from self._of_noise()

    def _of_noise(self):
        """Yield why "auto" has no rate, where it has none."""
        if no_rate := getattr(self, "_no_rate", ""):
            yield f"{words.NO_RATE.format(no_rate)}."

    def _beside_rate(self, rows, n_labels):
        """The rate of wrong labels, why "auto" has none, and `Rows` that a fit makes the most likely map beside it of.

        The gradient of log q, q being the mixture of a label's p, is that of log p times p / q and a constant, and log
        q is convex in log p: fits with the weights times p / q never lower the likelihood. The rate follows by EM.
        """
        auto = self.label_noise == "auto"
        n_classes = rows.logits.shape[1]
        # Two classes hardly tell wrong labels from curved logits.
        if auto and n_classes == 2:
            raise ValueError(
                "label_noise must be a number, such as 0.1, of two classes and of labels that don't exclude each "
                "other; got 'auto', which takes more than two classes"
            )
        rate = _FIRST_RATE
        if not auto:
            rate = check_number(
                self.label_noise, f"label_noise, of {n_classes} classes,", high=1 - 1 / n_classes, closed="left"
            )
        weight = rows.weight.numpy()
        # What depends on each other tells as much as one sample.
        n_independent = float(n_effective(of_groups(weight, weight, rows.unit)[1]))
        super()._fit_rows(rows, n_labels)
        right_labels, _ = self._beside_wrong(rows, 0.0)
        enough = _TOLERANCE * self.map_.n_parameters / n_independent
        last = -torch.inf
        likelihood, learning = self._beside_wrong(rows, rate)
        while likelihood - last > enough:
            super()._fit_rows(learning, n_labels)
            if auto:
                rate = 1 - ((1 - rate) * learning.weight.sum() / rows.weight.sum()).item()
            last = likelihood
            likelihood, learning = self._beside_wrong(rows, rate)
        if not auto:
            return rate, "", learning
        proba = self.map_(rows.logits.to(torch.float64, copy=True)).softmax(1)
        means = ClassMeans.of(
            *(values.cpu().numpy() for values in (beside_wrong_labels(proba, rate, n_classes - 1), rows.y, rows.weight))
        )
        means = means._replace(statistic=means.statistic * n_independent / means.n_samples)
        no_rate = ""
        if (likelihood - right_labels) * n_independent < _LEAST_GAIN:
            no_rate = words.NO_GAIN
        elif means.p_value < _LEVEL:
            no_rate = words.OFF_BESIDE_NOISE + words.PLATT_BESIDE_NOISE * (not self._tags.learns_by_class)
        elif rate > _MOST:
            no_rate = words.TOO_NOISY
        return (0.0, no_rate, rows) if no_rate else (rate, no_rate, learning)

    def _beside_wrong(self, rows, rate):
        """Mean log-likelihood of labels under ``map_`` beside a rate, and `Rows` with the weights of right ones."""
        n_others = ((rows.logits > -torch.inf).sum(1) - 1).clamp(min=1).cpu()
        mapped = self.map_(rows.logits.to(torch.float64, copy=True))
        # Logarithms have to be finite.
        proba = log_likelihoods(mapped, rows.y, 1.0).exp().clamp(min=1e-300).cpu()
        mixed = beside_wrong_labels(proba, rate, n_others)
        likelihood = (rows.weight @ mixed.log() / rows.weight.sum()).item()
        return likelihood, rows._replace(weight=rows.weight * (proba / mixed))
