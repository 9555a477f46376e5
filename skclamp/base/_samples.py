"""What a fit learns from: X is read, its labels and weights are understood and looked at."""

import math
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from skorch import NeuralNet

from .._backbones.cross_fit import cross_fit
from .._backbones.fingerprint import content_hash, fingerprint
from .._backbones.opening import is_frozen, open_backbone
from .._backbones.plausibility import (
    look_at,
    look_at_classes,
    look_at_frequencies,
    look_at_item,
    look_at_loss,
    look_at_new,
    look_at_number,
    look_at_repetition,
    look_back,
    look_for_errors,
    look_like_probabilities,
    note_probabilities,
    tell_of_hopeless,
)
from .._backbones.reading import Reading, read
from .._solvers.zeros import least_by_labels
from .._utils.arrays import absent_among, tensor_of
from .._utils.labels import check_sample_weight, encode_labels, resolve_classes
from .._utils.least_probability import LOG_MIN_PROBABILITY, least_vote, raised, stand_in_for_zero
from .._utils.metadata import Metadata
from .._utils.warnings import explained, is_unheard, note, puzzled, within_another_fit
from ..distributed import ALONE, Fingerprint, Shard
from ..exceptions import UnusedParameterWarning
from ._overfit import MAX_CLASSES, is_doubtful, is_hopeless, out_of_fold
from ._parameters import arguments_of
from ._scores import Mapped, scored, scores_of

# Parameters in which the ranks of a sharded fit may differ.
_OF_EACH_RANK = ("callbacks", "device", "random_state", "verbose")


class CalibrationSet(NamedTuple):
    """The samples of one fit, of which this process may hold a part only.

    Attributes
    ----------
    reading : Reading
        The inputs of this process, and what the estimator says of them.
    y_encoded : torch.Tensor of shape (n_samples,), dtype int64
        Column index of each label, on the logits' device.
    weight : torch.Tensor of shape (n_samples,), float64
        Sample weights, 1 where the user gave none.
    shard : Shard
        Which samples these are of those of all processes.
    metadata : Metadata
        What the user gave beside them, and where it goes.
    guesses : bool
        Whether the logits are those of an untrained network: they say nothing of the labels, and are much alike.
    """

    reading: Reading
    y_encoded: torch.Tensor
    weight: torch.Tensor
    shard: Shard
    metadata: Metadata
    guesses: bool = False

    def of_all(self):
        """Logits, column indices and weights of the samples of all processes."""
        return tuple(map(self.shard.all_gather, (self.reading.logits, self.y_encoded, self.weight)))


class ReadingMixin(BaseEstimator):
    """From what the user gave `fit` to a `CalibrationSet`."""

    def _read(self, X, y, metadata, any_order):
        """X opened, and what the estimator says of it."""
        if is_frozen(self.estimator):
            return read(self._open_backbone(), X, y, any_order=any_order, again=self._reads_again)
        return self._cross_fitting()(self.estimator, X, y, metadata)

    def _cross_fitting(self):
        """What fits a classifier, and reads X without each fold."""
        return partial(cross_fit, response=self.response, cv=self.cv, device=self.device, **self._loading())

    def _understand(self, reading, sample_weight, metadata, ranks):
        """What is to be learned from, the names of its classes, and how it looks."""
        backbone, logits = reading.backbone, reading.logits
        classes, y_encoded = self._check_y(reading.labels, logits, backbone, ranks)
        weight = self._check_weight(sample_weight, len(logits), ranks)
        looks = self._look_at(logits, y_encoded, weight, classes, backbone, ranks)
        self._check_absent(absent_among(logits), logits, y_encoded, weight)
        shard = Shard.of(ranks, len(logits))
        self.least_probability_ = self._least_probability(reading, y_encoded, weight, shard)
        reading = reading._replace(logits=raised(logits, self.least_probability_))
        guesses = looks is not None and looks.guesses
        return CalibrationSet(reading, y_encoded, weight, shard, metadata, guesses), classes, looks

    def _check_absent(self, absent, logits=None, y_encoded=None, weight=None):
        """Raise where logits of -inf are none that the map takes, or those of labels that count."""
        if absent is None or not absent.any():
            return
        if not self._takes_absent:
            raise ValueError(
                f"{type(self).__name__} takes no logits of -inf, as those of classes that a sample doesn't have: what "
                "it learns of a class would mix samples with and without it. TemperatureScaling, "
                "EnsembleTemperatureScaling, VectorScaling and StructuredVectorScaling take them, among others"
            )
        if y_encoded is None:
            return
        impossible = absent.gather(1, y_encoded[:, None])[:, 0] & (weight > 0).to(absent.device)
        if impossible.any():
            row = int(impossible.nonzero()[0])
            raise ValueError(
                f"the label of sample {row} has a logit of -inf, which says that the sample doesn't have that class: "
                f"give labels among the finite ones; got {logits[row].tolist()} for class {y_encoded[row].item()}"
            )

    def _least_probability(self, reading, y_encoded, weight, shard):
        """What stands for probabilities of 0, in the samples of all processes; 0 where there are none."""
        logits, n_classes = reading.logits, reading.logits.shape[1]
        given, applies = self.least_probability, self._takes_logarithms and reading.backbone.votes
        if given != "auto":
            if given * n_classes >= 1:
                raise ValueError(f"least_probability must be below 1 / {n_classes}, one over the classes; got {given}")
            return float(given) if applies else 0.0
        step = math.inf
        if applies:
            if reading.unseen is not None:
                # Who doesn't know a class hasn't voted.
                logits = logits.masked_fill(reading.unseen, LOG_MIN_PROBABILITY - 1)
            counted = (weight > 0).to(logits.device)
            step = least_vote(logits if counted.all() else logits[counted])
        half = stand_in_for_zero(min(shard.ranks.all_gather_object(step)), n_classes)
        return least_by_labels(logits, y_encoded, weight, half, shard, reading.unseen) if half else 0.0

    def _check_alike(self, ranks, sample_weight, params):
        """Raise on all ranks where one was asked for something else."""
        if ranks is ALONE:
            return
        if not is_frozen(self.estimator):
            raise ValueError(f"estimator must be fitted where samples are sharded; got {self.estimator!r}")
        if params:
            raise ValueError(f"metadata must be sample_weight alone where samples are sharded; got {sorted(params)}")
        given = {name: value for name, value in arguments_of(self).items() if name not in _OF_EACH_RANK}
        fingerprints: dict[str, Fingerprint | str] = {
            name: Fingerprint(repr(value), content_hash(value)) for name, value in given.items()
        }
        fingerprints["sample_weight"] = "None" if sample_weight is None else "weights"
        ranks.check_alike(calibrator=type(self).__name__, **fingerprints)

    def _check_weight(self, sample_weight, n_samples, ranks):
        """Weights of this process's samples, of which those of all mustn't be 0."""
        weight = check_sample_weight(sample_weight, n_samples, some=ranks is ALONE)
        if ranks is not ALONE and not ranks.sum(weight.sum()):
            raise ValueError("sample_weight must not be zero everywhere; got zeros on all ranks")
        return weight

    def _check_y(self, y, logits, backbone, ranks):
        """Names of the columns, and the labels as column indices on the logits' device."""
        self._like_probabilities = look_like_probabilities(logits)
        if self._like_probabilities and self._takes_for_logits() and not within_another_fit():
            note_probabilities()
        seen = y
        if ranks is not ALONE:
            kinds = {"dtype_of_the_logits": logits.dtype, "kind_of_the_labels": y.dtype.kind}
            ranks.check_alike(number_of_classes=logits.shape[1], network=fingerprint(backbone), **kinds)
            seen = np.concatenate(ranks.all_gather_object(np.unique(y)))
        names = {"known": backbone.classes, "likely": backbone.likely_classes}
        classes = resolve_classes(seen, logits.shape[1], classes=self.classes, **names)
        return classes, tensor_of(encode_labels(y, classes), "y").to(logits.device)

    def _takes_for_logits(self):
        """Whether nobody said that what is taken for logits is."""
        return self.response == "auto" and isinstance(self._frozen_part(), (torch.nn.Module, type(None)))

    def _look_at(self, logits, y_encoded, weight, classes, backbone, ranks=ALONE):
        """Note what looks like a mistake in the data; None where another fit has looked at them, or no network."""
        if ranks is not ALONE or within_another_fit():
            return None
        self._look_at_parameters(backbone)
        look_at_classes(logits, y_encoded, weight, classes)
        # Folds are fitted without what they calibrate on.
        if self.estimator is not None and is_frozen(self.estimator):
            look_for_errors(logits, y_encoded, weight)
        # What other classifiers call scores needn't be logits, and they know their classes.
        if not isinstance(self._frozen_part(), (torch.nn.Module, NeuralNet, type(None))):
            return None
        inputs = None
        if self.estimator is not None:
            look_at_item(backbone.guessed_item)
            look_at_repetition(backbone.is_random())
            inputs = backbone.range_of_inputs
        return look_at(logits, y_encoded, weight, classes, known=backbone.classes is not None, inputs=inputs)

    def _look_at_parameters(self, backbone):
        """Note what has no effect beside the other parameters and X."""
        if self.cv is not None and "splitter" not in self._routed_to():
            note(
                "cv has no effect: it is for an estimator that is a classifier and isn't fitted, and so fitted without "
                "each fold",
                UnusedParameterWarning,
            )
        if self.least_probability != "auto" and not (self._takes_logarithms and backbone.votes):
            note(
                "least_probability has no effect: it is for probabilities, or logits, that are given or that a "
                "classifier of scikit-learn yields, and for maps that take their logarithms",
                UnusedParameterWarning,
            )
        if self.integer_scale is not None and not backbone.scaled:
            note(
                "integer_scale has no effect: it is for a network's integer inputs, of which X has none. "
                "Floating-point inputs must be on the scale that the network was trained with",
                UnusedParameterWarning,
            )

    def _look_ahead(self, samples):
        """Tell of a fit that is in vain, of a long one before it starts; whether it is."""
        n_classes = samples.reading.logits.shape[1]
        if not self._is_examined(samples) or not is_hopeless(samples.weight, n_classes, self._n_per_class):
            return False
        tell_of_hopeless(
            int((samples.weight > 0).sum()), n_classes, type(self).__name__, at_once=n_classes > MAX_CLASSES
        )
        return True

    def _look_out_of_fold(self, samples):
        """Note that a map of many numbers is worse than one temperature out of fold; None where it can't be."""
        logits = samples.reading.logits
        enough = self._n_per_class * self._enough_per_number
        if not self._is_examined(samples) or not is_doubtful(samples.weight, logits.shape[1], enough):
            return None
        fresh = self._to_cross_fit().set_params(estimator=None, response="logits", classes=np.arange(logits.shape[1]))
        found = out_of_fold(fresh, logits, samples.y_encoded, samples.weight)
        if found is not None and found.worse:
            n_samples = int((samples.weight > 0).sum())
            look_at_loss(n_samples, self._n_free, type(self).__name__, found.loss, found.of_temperature)
        return found

    def _is_examined(self, samples):
        """Whether nobody else judges the fit that is going on."""
        return self._n_per_class and samples.shard.ranks is ALONE and not within_another_fit() and not explained()

    def _to_cross_fit(self):
        """Hook: what is fitted without each fold, unfitted, to be judged in its place."""
        return clone(self)

    def _look_over(self, samples, mapped, rival):
        """Score what was fitted, and note class frequencies that it can't set right."""
        self._scores = None
        if is_unheard():
            return
        if mapped is None:
            logits = samples.reading.logits
            loss = None if rival is None else rival.loss
            mapped = Mapped(logits, logits, samples.y_encoded, samples.weight, loss)
        mapped = mapped.some()
        before, _ = scored(mapped.raw.to(mapped.logits.device), mapped.y_encoded, mapped.weight)
        calibrated = self._calibrated(mapped.logits.to(torch.float64, copy=True))
        after, proba = scored(calibrated, mapped.y_encoded, mapped.weight)
        before, after = samples.shard.ranks.sum(torch.stack([before, after]))
        self._scores = scores_of(before, after, mapped.out_of_fold)
        alike = self._treats_classes_alike and samples.shard.ranks is ALONE and not within_another_fit()
        if alike and not (explained() or puzzled()):
            nll = self._scores.after[2]
            look_at_frequencies(proba, mapped.y_encoded, mapped.weight, self.classes_, nll, self._mend_by_class())

    def _mend_by_class(self):
        """Hook: which calibrators set each class right, in words."""
        maps = "PlattScaling, BetaCalibration" if len(self.classes_) == 2 else "StructuredVectorScaling"
        return f"{type(self).__name__} treats all classes alike, and can't mend it: {maps} and VectorScaling can"

    def _look_back(self, looks, few=False):
        """Note what looks like a mistake in what was fitted; that samples are `few` was said."""
        if looks is None:
            return
        look_back(looks, self._solved_temperature, raw=self._takes_for_logits(), declared=self.response == "logits")
        if not few:
            look_at_number(looks.n_samples, self._n_free, type(self).__name__)

    def _look_at_new(self, logits):
        """Note that new rows, taken for logits, are probabilities, unless those of the fit looked so."""
        if not self._like_probabilities:
            look_at_new(logits)

    @property
    def _solved_temperature(self):
        """Hook: the temperature where the fit has solved for one, else None."""
        return getattr(self, "temperature_", None)

    def _open_backbone(self, **options):
        options |= self._loading()
        return open_backbone(self.estimator, response=self.response, device=self.device, **options)

    def _loading(self):
        """How a network's inputs are read."""
        return {name: getattr(self, name) for name in ("batch_size", "integer_scale", "verbose")}
