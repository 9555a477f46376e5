"""BaseCalibrator: fit, predict_proba, predict_log_proba, predict and score around a map of logits."""

import copy
import math
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import ClassifierMixin, clone
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn
from torch.utils.data import Dataset

from .._backbones.backbone import ArrayBackbone, Opening
from .._backbones.classifier import log_odds
from .._backbones.fingerprint import Digest
from .._backbones.inputs import dataset_behind
from .._backbones.opening import check_classifier, check_samples, is_frozen, open_backbone
from .._backbones.samples import Samples, cross_fit, labels_beside, read
from .._backbones.scale import joined
from .._judging.overlap import shared_share
from .._judging.paired import n_effective
from .._looks import words
from .._looks.dependence import look_for_dependence
from .._looks.diagnosis import (
    diagnose,
    look_at_frequencies,
    look_at_label_noise,
    look_at_new,
    look_back,
    look_for_probabilities,
)
from .._looks.labels import look_at_labels
from .._looks.overfit import HOPELESS, MAX_CLASSES, against_temperature
from .._solvers.temperature import log_likelihoods
from .._solvers.zeros import least_by_labels
from .._utils.arrays import absent_among, as_given, at_labels, counted_rows, n_axes, to_numpy
from .._utils.docstrings import with_shared_docs
from .._utils.labels import (
    accuracy,
    check_groups,
    check_labels,
    check_same_length,
    check_sample_weight,
    encode_labels,
)
from .._utils.least_probability import raised, stand_in_for_zero
from .._utils.metadata import NO_METADATA, route, routing_enabled, without_none
from .._utils.outputs import (
    OUTPUTS,
    SOFTMAX,
    Rows,
    Targets,
    are_known,
    check_columns,
    check_not_swapped,
    other_places,
    understood,
)
from .._utils.parameters import COUNT, POSITIVE, Choices, is_splitter
from .._utils.progress import VERBOSE, fit_task
from .._utils.sklearn_private import CallbackSupportMixin
from .._utils.warnings import note, one_warning, silenced, tell, warn_caller
from ..distributed import ALONE, Shard, current
from ..exceptions import CalibrationSetWarning, UnusedParameterWarning
from ..metrics._binning import weights_of_rows
from ..modules import ClampedModule
from ..persistence import write
from ._around import AroundEstimator, arguments_of
from ._map import Map, MapsByLabel, OnOutputs, Temperature, refuse_absent
from ._parts import judged_by_part
from ._scores import FEW_PLACES, Scores, most_rows, scored
from ._seen_classes import SeenClasses, labels_that_teach
from ._tags import MapTags

# A float64 chunk of this many entries is 1 MB and stays in the cache from one step to the next.
_ENTRIES_AT_ONCE = 1 << 17
# Of dense outputs, places of a sample that tell whether they are probabilities.
_FEW_PLACES = 64
# Parameters in which the ranks of a sharded fit may differ.
_OF_EACH_RANK = ("device", "random_state", "verbose")


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class BaseCalibrator(CallbackSupportMixin, ClassifierMixin, AroundEstimator):
    """The base of every calibrator.

    A calibrator of one's own implements ``_fit_logits``, which learns from logits, column indices and weights (1 where
    none are given), all tensors, and returns a `Map`.

    Parameters
    ----------
    estimator : torch.nn.Module, skorch.NeuralNet, scikit-learn classifier or None, default=None
        What yields the logits. A network, an initialised skorch net and a fitted classifier, a Pipeline too, are frozen
        and shared by reference. An unfitted scikit-learn classifier is cloned, and cross-fitted as `cv` says; so is a
        skorch net that isn't initialised, if `cv` is given. With None, X itself holds logits.
    response : {"auto", "logits", "probabilities"}, default="auto"
        What X or the estimator yields. "auto" takes arrays and modules to yield logits, and follows what a skorch net
        or a classifier says of itself. Probabilities become logits by their logarithm; each below 2.2e-16, float64's
        epsilon, counts as that.
    outputs : {"auto", "softmax", "sigmoid"}, default="auto"
        What a row of logits means: one softmax of classes that exclude each other, or a sigmoid for each of several
        labels that don't. "auto" follows the shape of y.
    classes : array-like of shape (n_classes,), default=None
        Names of the logits' columns. Needed unless the labels are 0 ... n_classes - 1 or of exactly n_classes kinds, or
        the estimator knows them.
    cv : int, cross-validation generator or iterable, default=None
        Splits for an estimator that isn't fitted, as in scikit-learn's ``cross_val_predict``.
    integer_scale : float or dict of str to float, default=None
        What a network's integer inputs are multiplied by, such as 1 / 255 for images of bytes. It is done batch by
        batch on the device, so that X stays small. Floating-point inputs are taken as they are. Where X is a dict, the
        scales of the entries that have one. None leaves integers, such as tokens, and refuses images of them.
    device : str or torch.device, default=None
        Where a network runs: by default where it is, elsewhere a copy of it.
    batch_size : "auto" or int, default="auto"
        Samples a forward pass of a network; of a DataLoader its own batch size counts. "auto" is 64. A CPU, which takes
        longer for many at a time, takes fewer large ones, such as 16 images of 224 x 224 in colour.
    ignore_index : int, default=-100
        The label of a place that isn't known, such as a pixel between objects, where y has a class at each place of a
        sample.
    verbose : int or "auto", default="auto"
        "auto" shows a progress bar after five seconds of work, where a terminal or a notebook listens. 0 shows nothing.
        1 shows a bar at once, whoever listens.

    Attributes
    ----------
    map_ : Map
        A torch module from rows of float64 logits to calibrated logits: what was learned.
    module_ : ClampedModule
        An ordinary torch module from what the estimator takes, or X without one, to calibrated logits. It shares the
        network, its weights and its flags: call ``module_.eval()`` before use. Scikit-learn's classifiers have one
        where `skclamp.modules.as_module` knows them; ONNX lacks what a map with steps or knots needs.
    classes_ : ndarray of shape (n_classes,)
        Names of the classes, in the order of the columns.
    n_features_in_ : int
        Second dimension of X in `fit`. Not set where X has more than two, or is a dict or a Dataset, or y is of places.
    least_probability_ : float
        What less counts as wherever a logarithm of probabilities, given or a classifier's, is taken. Votes of 25 trees
        don't tell 0.02 from 0: where the calibration samples hold zeros beside such steps, it is half of the least
        vote. Or the share of labels among the zeros, (hits + 1) / zeros, where that is less and has a clearly lower
        NLL. Zeros of masked actions and cut vocabularies are such. Elsewhere it is 0, and so it is for networks, and
        for bins and ranks, which take no logarithm.
    parts_ : dict of str, int, float or bool to dict
        Only where `fit` was given ``by``. A dict for each part with weight. "n_samples" is the number of its
        independent samples. "difference" is its mean NLL less that of a temperature of its own, in nats, beside its
        "standard_error". "loses" says whether this is more than 0.01 nats, and more than chance makes of the worst
        part, in Student's test at 2.5 % over the number of parts. The temperature is fitted to one half of the part's
        samples and judged on the other, each in turn. Of fewer than 20 samples the difference and its error are NaN.
        The NLL is that of clamping held out, as "held_out" says, where folds judged what is kept. Of other calibrators
        that of the samples they learned from.

    Examples
    --------
    >>> import torch
    >>> from skclamp.base import BaseCalibrator, Map
    >>> class Shift(Map):
    ...     def transform(self, logits):
    ...         return logits + self.shift.to(logits)
    >>> class PriorCorrection(BaseCalibrator):
    ...     def _fit_logits(self, logits, y, sample_weight):
    ...         predicted, labelled = logits.softmax(1).mean(0), y.bincount(minlength=logits.shape[1]) / len(y)
    ...         return Shift(shift=torch.log(labelled / predicted))
    >>> logits, y = torch.zeros(4, 2), [0, 1, 1, 1]
    >>> PriorCorrection().fit(logits, y).predict_proba(logits[:1]).round(2)
    array([[0.25, 0.75]])
    """

    response: str = "auto"
    outputs: str = "auto"
    classes: object = None
    cv: object = None
    device: str | torch.device | None = None
    batch_size: int | str = "auto"
    integer_scale: float | dict[str, float] | None = None
    ignore_index: int = -100
    verbose: int | str = "auto"

    _parameter_constraints: ClassVar[dict] = {
        "response": [Choices("auto", "logits", "probabilities")],
        "outputs": [Choices("auto", *OUTPUTS)],
        "classes": ["array-like", torch.Tensor, None],
        "cv": ["cv_object"],
        "device": [str, torch.device, None],
        "batch_size": [COUNT, Choices("auto")],
        "integer_scale": [POSITIVE, dict, None],
        "ignore_index": [Integral],
        "verbose": VERBOSE,
    }

    __metadata_request__fit = {"by": True}

    # Hashes of rows are no part of what was learned: the file of the calibrator itself may have them beside.
    _not_saved: ClassVar[frozenset] = frozenset({"_backbone", "_rows_seen", "estimator_", "cv_results_", "module_"})

    # What hangs on parameters a class computes, in a property.
    _tags: ClassVar[Any] = MapTags()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        inner = self._frozen_part()
        # Of a network nobody knows.
        takes = inner is None or isinstance(inner, nn.Module) or get_tags(inner).classifier_tags.multi_label
        tags.classifier_tags.multi_label = takes and self._tags.map_of_labels is not None
        return tags

    def fit(self, X, y=None, sample_weight=None, groups=None, *, by=None, **params):
        """Learn the calibration map on held-out data; the network stays as it is.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            Inputs of the estimator, first axis the samples; or, without an estimator, logits (probabilities, if
            ``response`` says so) of shape (n_samples, n_classes). A logit of -inf, an array's or a network's, says that
            the sample doesn't have the class, as masked actions are. Its probability is then exactly 0, or the
            calibrator says that it takes none. A network that takes several inputs by name, ``network(**X)``, has them
            in a dict of arrays. A Dataset yields inputs, such dicts, or pairs of either and a label; what else an item
            holds, such as a weight, is left aside. Hugging Face's data sets and skorch's SliceDataset are Datasets too.
            A dict's "labels" or "label" are labels. A DataLoader stands for its Dataset, read in its own order with the
            loader's batch size, collate_fn, pinned memory and workers. It may shuffle where nothing else goes by the
            order. An IterableDataset is gone through once, which all calibrators can do but those that perturb the
            input. For scikit-learn's searches, which choose rows, wrap a Dataset in skorch's SliceDataset, a dict in
            its SliceDict.
        y : array-like of shape (n_samples,), (n_samples, n_labels) or (n_samples, ...), default=None
            Class labels. May be left out where X brings them, and must be the same otherwise, or other names for them,
            such as strings for numbers. Or a class at each place of a sample, such as a pixel. Or, of several labels
            that don't exclude each other, 0, 1 or NaN for each, a sparse matrix too; NaN isn't known. Where X brings
            these, or at places, (n_samples, n_labels, ...), ``outputs`` must be "sigmoid".
        sample_weight : array-like of shape (n_samples,), (n_samples, n_labels) or (n_samples, ...), default=None
            Weights of the samples or, given y, of its labels or places, those of what is clamped or isn't fitted a
            mask: 0, or the weight of the sample. They count as repetitions: what is smoothed or penalised by the
            number of samples, as Platt's targets are, goes by their sum. The largest must lie between 1e-100 and 1e100.
        groups : array-like of shape (n_samples,), default=None
            Of samples that depend on each other, such as frames of a video or visits of a patient: a name or number for
            each of what it belongs to. Wherever samples are held out a group stays together: in the folds of `cv`, of a
            guard and of a selector, and in those of a penalty or a map. Where a gain has to be proved, a group counts
            as one sample. What is learned from all the samples is the same. Splitters that go by groups, such as
            ``GroupKFold()``, get them.
        by : array-like of shape (n_samples,), default=None
            Names or numbers of the parts that samples come from, such as scanners, sites or cameras. What is learned
            stays the same. `parts_`, ``summary`` and a warning tell which part would do better with a calibrator of its
            own. Parts needn't be independent of each other, which is what `groups` are for. Not beside ``label_noise``.
        **params : dict
            For the ``fit`` of a classifier that isn't fitted. With scikit-learn's metadata routing they, the weights
            and the groups go to whoever requests them.

        Returns
        -------
        self : object
            The fitted calibrator.

        Raises
        ------
        ValueError, TypeError
            If a parameter, X or y breaks a rule; the message says which. An earlier fit is then kept.

        Warns
        -----
        TrainingDataWarning
            If a fitted estimator is right on each of 500 samples or more, or wrong on few by little, as on those that
            trained it.
        CalibrationWarning
            Others of its kind, see `skclamp.exceptions`.
        """
        with fit_task(self, X, y, sample_weight):
            return self._learn(X, y, sample_weight, {"groups": groups, "by": by, **params})

    def _learn(self, X, y=None, sample_weight=None, params=None, *, beside=(), checks=True):
        """Read, diagnose, fit the map, report; as part of a fit that has looked at the samples, without `checks`.

        `params` are metadata by name, `beside` what `_fit` takes beside the samples. X may be `Samples`, read before.
        """
        params = without_none(params or {})
        ranks = current()
        with self._kept_on_error(anew=True), ranks.fitting(), one_warning() as notes:
            self._validate_params()
            samples = self._samples_of(X, y, sample_weight, params, ranks)
            samples, looked = self._diagnose(samples, checks)
            checks = checks and ranks is ALONE
            # Labels that may be wrong can't judge either.
            judged = (
                checks and self._outputs == SOFTMAX and self._unjudged._tags.n_per_class > 0 and not self._label_noise
            )
            few = judged and not notes.explained and self._are_hopeless(samples)
            rows, raw, held_out = self._fit(samples, looked, *beside)
            if self.least_probability_:
                self.map_.learn(least_probability=self.least_probability_)
            if judged and not (few or notes.explained):
                few, held_out = self._against_temperature(samples, rows, held_out)
            self._n_samples = samples.shard.total
            if checks and looked is not None:
                self._look_back(looked, samples, notes, few or self._outputs.is_dense)
            self._scores = None if notes.silent else self._score(samples, rows, raw, held_out, checks, notes)
            self._remember(samples)
        return self

    # Reading.

    def _samples_of(self, X, y, sample_weight, params, ranks):
        """The `Samples` of what `fit` was given, checked."""
        if isinstance(X, Samples):
            self._take_on(X.outputs, ranks)
            return X
        check_samples(X, type(self).__name__)
        check_not_swapped(X, y)
        outputs, y = understood(self.outputs, y, self.ignore_index)
        self._take_on(outputs, ranks)
        if isinstance(y, Targets):
            only_masks = self._tags.reads_again or not is_frozen(self.estimator)
            y, sample_weight = y.weighted(sample_weight, only_masks=only_masks)
        if ranks is not ALONE:
            self._check_alike(ranks, sample_weight, params)
        alone = sample_weight is None and not params
        metadata = NO_METADATA if alone else self._route(y, {"sample_weight": sample_weight, **params}, ranks)
        samples = self._read(
            X,
            y,
            any_order=y is None and alone,
            classes=self.classes,
            sample_weight=sample_weight,
            metadata=metadata,
            ranks=ranks,
        )
        # Those of a Dataset are known by now.
        self._take_on(samples.outputs, ranks)
        return samples

    def _opening(self):
        """Hook: how the estimator is opened."""
        # A forged file may lack them.
        outputs = getattr(self, "_outputs", SOFTMAX).kind
        return Opening(
            self.response,
            outputs,
            self.device,
            batch_size=self.batch_size,
            integer_scale=self.integer_scale,
            verbose=self.verbose,
        )

    def _open_backbone(self):
        """Hook: the way from the estimator's inputs to logits."""
        return open_backbone(self.estimator, self._opening())

    def _read(self, X, y, *, any_order, metadata, names=("X", "y"), **told):
        """Hook: the `Samples` of X, with what the user has told of them."""
        if is_frozen(self.estimator):
            found = read(
                self._open_backbone(),
                X,
                y,
                any_order=any_order,
                again=self._tags.reads_again,
                names=names,
                ignore_index=self.ignore_index,
            )
        else:
            found = self._fit_estimator(X, y, told["sample_weight"], metadata, names)
        return Samples.of(**{**told, "metadata": metadata, **found}, name=names[1])

    def _fit_estimator(self, X, y, sample_weight, metadata, names):
        """Hook: fit an estimator that isn't fitted; what `Samples.of` takes of samples that it hasn't seen."""
        return cross_fit(self.estimator, self._opening(), X, y, metadata, cv=self.cv, names=names)

    def _take_on(self, outputs, ranks):
        """Go by an output layer from now on; raises where labels don't exclude each other, for what takes none such."""
        name = type(self).__name__
        rule = "y must be one label a sample"
        if outputs.is_dense and not self._tags.takes_places:
            raise ValueError(
                f"{rule}; got a class at each place of a sample, which {name} doesn't take. Give some places as rows"
            )
        if outputs.n_labels and self._tags.map_of_labels is None:
            raise ValueError(
                f"{rule}; got several labels that don't exclude each other, which {name} doesn't take. PlattScaling, "
                "BetaCalibration, TemperatureScaling and the nonparametric calibrators do"
            )
        if outputs != SOFTMAX and ranks is not ALONE:
            raise ValueError(f"{rule} where samples are sharded; got several labels or places of each")
        if outputs.is_dense and not is_frozen(self.estimator):
            raise ValueError(f"estimator must be fitted where y has a class at each place; got {self.estimator!r}")
        self._outputs = outputs

    # Diagnosing.

    def _diagnose(self, samples, checks):
        """Tell what looks wrong; return the samples as the map takes them, and what was looked at, a `Looked` or None.

        Zeros are raised to what stands for them, and samples that depend on each other are known.
        """
        tags = self._tags
        alone = samples.shard.ranks is ALONE
        self._like_probabilities = self._look_for_probabilities(samples, checks)
        checks = checks and alone
        looked = None
        # A perturbation goes by what is seen, even where nobody is told.
        if checks or (tags.reads_again and alone):
            with nullcontext() if checks else silenced():
                looked = self._look_at(samples)
        if self._outputs == SOFTMAX:
            self._check_absent(samples)
        self.least_probability_ = self._least_probability(samples)
        if self.least_probability_:
            rows = raised(self._outputs.rows(samples.logits), self.least_probability_)
            samples = replace(samples, logits=self._outputs.logits_of_rows(rows, samples.logits))
        if tags.needs_independence and (checks or tags.reads_again) and samples.groups is None:
            samples = look_for_dependence(samples, tags.needs_independence == "proof")
        return samples, looked

    def _look_for_probabilities(self, samples, checks=True):
        """Return whether logits look like probabilities; tell where these are taken for logits unasked."""
        logits = samples.logits[:, :, :_FEW_PLACES] if self._outputs.is_dense else samples.logits
        findings = look_for_probabilities(logits, self._outputs)
        if checks and samples.backbone.guesses_response:
            tell(findings)
        return bool(findings)

    def _look_at(self, samples):
        """Tell what looks like a mistake in the parameters and the data; what was looked at, None without a network."""
        if self.cv is not None and "splitter" not in self._routed_to():
            note(
                "cv has no effect: the estimator stays as it is, and cv is for classifiers that aren't fitted",
                UnusedParameterWarning,
            )
        if self.integer_scale is not None and not samples.backbone.scaled:
            note(
                "integer_scale has no effect: it is for a network's integer inputs, of which X has none. "
                "Floating-point inputs must be on the scale that the network was trained with",
                UnusedParameterWarning,
            )
        # Normalized over all samples, or over those of each class. Temperatures are the same at any scale.
        n_samples = int((samples.weight > 0).sum())
        total = samples.weight.sum()
        n_columns = samples.logits.shape[1]
        matter = self._tags.group != "temperatures"
        if matter and total < n_columns + 0.5 and n_samples >= words.MIN_SAMPLES_PER_PARAMETER * n_columns:
            note(words.NORMALIZED_WEIGHTS.format(total=total, n_samples=n_samples), CalibrationSetWarning)
        if self._outputs.n_labels:
            tell(look_at_labels(samples))
            return None
        # Errors of neighbouring places come together.
        fitted = self.estimator is not None and samples.estimator is None and not self._outputs.is_dense
        findings, looked = diagnose(samples, fitted=fitted)
        tell(findings)
        return looked

    def _check_absent(self, samples):
        """Raise where logits of labels that count are -inf."""
        absent = absent_among(samples.logits)
        if absent is None:
            return
        counted = (samples.weight > 0).to(absent.device)
        impossible = at_labels(absent, samples.y_encoded) & counted
        if impossible.any():
            row = int(impossible.nonzero()[0])
            raise ValueError(
                f"the label of sample {row} has a logit of -inf, which says that the sample doesn't have that class: "
                f"give labels among the finite ones; got {samples.logits[row].tolist()} for class "
                f"{samples.y_encoded[row].item()}"
            )

    def _least_probability(self, samples):
        """Return the stand-in for probabilities of 0, in the samples of all processes; 0 where there are none."""
        if not (self._tags.takes_logarithms and samples.backbone.votes):
            return 0.0
        logits, y, weight, _ = samples.rows()
        counted = (weight > 0).to(logits.device)
        half = stand_in_for_zero(logits if counted.all() else logits[counted], logits.shape[1])
        return half and least_by_labels(logits, y, weight, half)

    # Fitting the map.

    def _fit(self, samples, looked):
        """Hook of what needs more than logits; by default the map is fitted to those of all processes.

        `looked` is what diagnostics saw, a `Looked` or None. It returns `Rows` that the map takes, the estimator's
        logits of them, if others, and their NLL out of fold, if some were held out.
        """
        rows = samples.rows(in_units=bool(self._tags.holds_out or self._label_noise))
        self._fit_rows(rows, samples.outputs.n_labels)
        if samples.parts is not None:
            self._judge_parts(samples.parts, samples.rows(FEW_PLACES))
        return rows, None, None

    def _fit_rows(self, rows, n_labels=None):
        """Learn ``map_`` from `Rows`: nothing is read, hashed or diagnosed. Of labels, a sample's are in turn."""
        if n_labels is not None:
            self.map_ = self._fit_labels(rows, n_labels)
            return
        tags = self._tags
        if not tags.takes_absent and (absent := absent_among(rows.logits)) is not None and absent.any():
            refuse_absent(type(self).__name__)
        seen = SeenClasses.of(rows) if tags.learns_by_class else None
        if tags.learns_by_class:
            self.seen_ = np.ones(rows.logits.shape[1], dtype=bool) if seen is None else seen.mask
        if seen is not None:
            if len(seen.columns) > 1 and not seen.are_missing_by_chance(rows):
                note(words.missing_classes(seen.mask), CalibrationSetWarning)
            rows = seen.among(rows)
        told = {"unit": rows.unit} if tags.holds_out else {}
        learned = self._fit_logits(rows.logits, rows.y, rows.weight, **told)
        if not isinstance(learned, Map):
            raise TypeError(f"_fit_logits must return a skclamp.base.Map; got {type(learned).__name__}")
        # A copy: what was returned may be another calibrator's.
        refused_by = "" if tags.takes_absent else type(self).__name__
        self.map_ = copy.deepcopy(learned).learn(seen=seen, refused_by=refused_by)

    def _fitted_to(self, rows, outputs):
        """Return a clone that takes logits, its map fitted to `Rows` of an output layer."""
        n_columns = outputs.n_labels or rows.logits.shape[1]
        fitted = clone(self).set_params(
            estimator=None, response="logits", outputs=outputs.kind, classes=np.arange(n_columns), ignore_index=-1
        )
        fitted._validate_params()
        fitted._take_on(outputs, ALONE)
        fitted._backbone = fitted._open_backbone()
        fitted.classes_ = fitted.classes
        fitted.least_probability_ = 0.0
        fitted._like_probabilities = False
        fitted._n_samples = len(rows.y)
        if not outputs.is_dense:
            fitted.n_features_in_ = n_columns
        own = type(self)
        learns_more = own._fit is not BaseCalibrator._fit or own._remember is not BaseCalibrator._remember
        if learns_more and outputs == SOFTMAX:
            # Than a map of rows.
            return fitted.fit(rows.logits, rows.y.cpu().numpy(), rows.weight.cpu().numpy())
        fitted._fit_rows(rows, outputs.n_labels)
        return fitted

    def _fit_labels(self, rows, n_labels):
        """Return the map of rows of all labels: one for all, or one for each label that has come out either way."""
        varies, _, weight, temperature = labels_that_teach(rows, n_labels)
        if self._tags.map_of_labels == "all":
            told = {"unit": rows.unit} if self._tags.holds_out else {}
            return self._fit_logits(rows.logits, rows.y, weight, **told)
        maps = []
        shared = Temperature(temperature_=temperature)
        for label in range(n_labels):
            of_one = clone(self)
            if varies[label]:
                of_one._fit_rows(Rows(*(values[label::n_labels] for values in rows[:3])))
            maps.append(of_one.map_ if varies[label] else shared)
        if not varies.all():
            note(words.labels_of_one_value((~varies).tolist()), CalibrationSetWarning)
        return MapsByLabel(maps=nn.ModuleList(maps))

    def _fit_logits(self, logits, y, sample_weight):
        """Hook: the `Map` learned from logits (n, K), column indices (n,) and float64 weights (n,)."""
        raise TypeError(f"{type(self).__name__} must implement _fit_logits")

    def _to_cross_fit(self):
        """Hook: what clones are made of that are fitted without each fold, to be judged in its place."""
        return self

    # Reporting.

    def _are_hopeless(self, samples):
        """Tell of samples that are too few for the map, whatever they say; return whether they are."""
        n_classes = samples.logits.shape[1]
        if n_effective(samples.weight.cpu().numpy()) > HOPELESS * self._unjudged._tags.n_per_class * n_classes:
            return False
        message = words.hopeless(int((samples.weight > 0).sum()), n_classes, self._owner)
        # Of a long fit before it starts.
        (warn_caller if n_classes > MAX_CLASSES else note)(message, CalibrationSetWarning)
        return True

    def _against_temperature(self, samples, rows, held_out):
        """Tell of a map that does worse than a temperature out of fold; return whether it does, and its NLL there."""
        calibrator = self._unjudged
        n_classes = samples.logits.shape[1]
        # A look out of fold takes time, and pays where samples are few.
        enough = calibrator._tags.enough_per_number * calibrator._tags.n_per_class * n_classes
        rival = None
        weight = rows.weight.cpu().numpy()
        n_samples = n_effective(weight)
        if n_classes == 2:
            # The rarer class has what decides; of more classes, a rare one decides little.
            y = rows.y.cpu().numpy()
            n_samples = 2 * min(n_effective(weight[y == k]) if weight[y == k].any() else 0.0 for k in (0, 1))
        if n_classes <= MAX_CLASSES and n_samples < enough:
            rival = against_temperature(calibrator._to_cross_fit(), rows._replace(unit=samples.unit))
        if rival is None:
            return False, held_out
        if rival.worse:
            n_samples = int((samples.weight > 0).sum())
            message = words.worse_than_temperature(
                n_samples, calibrator._n_free, rival.loss, rival.of_temperature, self._owner
            )
            note(message, CalibrationSetWarning)
        return rival.worse, rival.loss if held_out is None else held_out

    def _score(self, samples, rows, raw, held_out, checks, notes):
        """Scores of what was fitted; class frequencies that it can't set right are told."""
        # Labels of a sample, or of a place, stay together: each may have a map of its own.
        n_each = self._outputs.n_labels or 1
        weight = rows.weight.view(-1, n_each).sum(1)
        n_counted = int(weight.count_nonzero())
        drawn = counted_rows(weight, most_rows(n_counted, n_each * rows.logits.shape[1]))
        some = torch.arange(len(rows.y)).view(-1, n_each)[drawn].flatten()
        logits, y, weight, _ = rows.take(some)
        raw = logits if raw is None else raw[some.to(raw.device)]
        calibrated = self.map_(logits.to(torch.float64, copy=True))
        before, after = (scored(each.to(calibrated), y, weight.to(calibrated)) for each in (raw, calibrated))
        looks = checks and self._outputs == SOFTMAX and not (notes.explained or notes.puzzled)
        if looks and self._tags.treats_classes_alike:
            maps = "PlattScaling and BetaCalibration" if logits.shape[1] == 2 else "VectorScaling and PlattScaling"
            mend = self._tags.mend_by_class.format(name=type(self).__name__, maps=maps)
            looks = [partial(look_at_frequencies, calibrated.softmax(1), y, weight, samples.classes, after[2], mend)]
            # Maps of more numbers have answers of their own, and zeros of votes are no certainties.
            if type(self.map_) is Temperature and self._label_noise is None and not self.least_probability_:
                looks.append(partial(look_at_label_noise, calibrated, y, weight))
            found = next((look for look in looks if look()), None)
            if found is not None:
                # Units take a while to find, and never add to what is clear.
                unit = samples.unit
                tell(found(unit=unit if unit is None else unit[drawn]))
        return Scores(before, after, len(drawn) / n_counted, held_out)

    def _judge_parts(self, parts, rows, losses=None, held_out=False):
        """Set and tell what one calibrator for all costs each part; see `judged_by_part`."""
        if losses is None:
            losses = -log_likelihoods(self.map_(rows.logits.to(torch.float64, copy=True)), rows.y, 1.0).cpu().numpy()
        self.parts_ = judged_by_part(parts, rows, losses, held_out)
        if np.mean([np.isnan(part["difference"]) for part in self.parts_.values()]) > 0.5:
            note(words.SMALL_PARTS, CalibrationSetWarning)
        if losing := [repr(name) for name, part in self.parts_.items() if part["loses"]]:
            note(words.LOSING_PARTS.format(", ".join(losing)), CalibrationSetWarning)

    def _share_seen(self, prints, counted):
        """Share of rows, known by hashes, that those of the fit are among; 0 where they aren't known."""
        seen = getattr(self, "_rows_seen", None)
        return 0.0 if prints is None or seen is None else shared_share(prints[counted], seen)

    def _remember(self, samples):
        """Take on what predictions need beside what was learned."""
        X = samples.X
        self._rows_seen = samples.rows_seen()
        self._backbone = samples.deployed
        self._scale_of_inputs = joined(samples.shard.ranks.all_gather_object(samples.backbone.scale))
        self._backbone.scale_of_fit = self._scale_of_inputs
        self.classes_ = samples.classes
        if samples.estimator is not None:
            self.estimator_ = samples.estimator
        # Images and texts have no number of features: what is told one tries the estimator on rows of so many.
        if not (self._outputs.is_dense or isinstance(X, Dataset)) and len(shape := np.shape(X)) <= 2:
            self.n_features_in_ = int(shape[1]) if len(shape) > 1 else 1
        if hasattr(X, "columns"):
            validate_data(self, X, skip_check_array=True)

    def _look_back(self, looked, samples, notes, few=False):
        """Tell what looks like a mistake in what was fitted; that samples are `few` was said."""
        backbone = samples.backbone
        inputs = backbone.scale if backbone.in_batches else None
        findings = look_back(
            looked,
            self._solved_temperature,
            inputs=inputs,
            notes=notes,
            guessed=backbone.guesses_response,
            declared=self.response == "logits",
        )
        tell(findings)
        n_free = self._unjudged._n_free
        if not few and looked.n_samples < words.MIN_SAMPLES_PER_PARAMETER * n_free:
            note(words.few_samples(looked.n_samples, n_free, self._owner), CalibrationSetWarning)

    @property
    def _unjudged(self):
        """Hook: the calibrator whose parameters samples may be too few for."""
        return self

    @property
    def _n_free(self):
        """Hook: how many numbers nothing but the samples holds."""
        return self._n_parameters if self._tags.n_free == "all" else self._tags.n_free

    @property
    def _owner(self):
        """Name of that calibrator."""
        name = type(self._unjudged).__name__
        return name if self._unjudged is self else f"output={name}(...)"

    @property
    def _label_noise(self):
        """The rate of wrong labels that was asked for, of the map itself or of clamping's."""
        return getattr(getattr(self, "output", self), "label_noise", None)

    @property
    def _solved_temperature(self):
        """Hook: the temperature where the fit has solved for one, else None."""
        return getattr(self, "temperature_", None)

    # Predicting: open, logits, map.

    def predict_proba(self, X, **params):
        """Calibrated probabilities.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            As in `fit`; a DataLoader mustn't shuffle. Labels in it are left aside.
        **params : dict
            What the calibrator takes beside X: `CovariateScaling` its ``covariates``, others nothing.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Columns in the order of ``classes_``; each row sums to 1, unless y had several labels a sample. Of a class
            at each place it has shape (n_samples, n_classes, ...), float32.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X isn't what the calibrator was fitted to: its shape, its dtype, NaN or infinity in it.
        """
        return as_given(self._map_rows(torch.softmax, X, **params)[0], X)

    def predict_log_proba(self, X, **params):
        """Logarithm of the calibrated probabilities, exact where they underflow.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            As in `fit`; a DataLoader mustn't shuffle. Labels in it are left aside.
        **params : dict
            What the calibrator takes beside X: `CovariateScaling` its ``covariates``, others nothing.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Columns in the order of ``classes_``. Of a class at each place (n_samples, n_classes, ...), float32.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X isn't what the calibrator was fitted to: its shape, its dtype, NaN or infinity in it.
        """
        return as_given(self._map_rows(torch.log_softmax, X, **params)[0], X)

    def transform_logits(self, logits, **params):
        """Calibrated log-probabilities of logits that were computed before.

        For whoever runs the network elsewhere, once and for several uses. What `predict_log_proba` makes of the inputs,
        this makes of the network's logits for them. Of neural clamping, of its logits for the *perturbed* inputs under
        the last layer that it has learned, averaged over its views: with ``module = calibrator.module_.eval()``, of
        ``module.averaged_logits(x)``.

        Parameters
        ----------
        logits : array-like or torch.Tensor of shape (n_samples, n_classes)
            Or (n_samples,) or (n_samples, 1), for the second of two classes. Logits whatever ``response`` says;
            logarithms of positive probabilities are some.
        **params : dict
            What the calibrator takes beside them: `CovariateScaling` its ``covariates``, others nothing.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Logits whose softmax are the calibrated probabilities, which these are the logarithms of; of several labels
            a sample log-odds, whose sigmoid are the probabilities.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If there isn't one logit per class, finite or -inf.

        Examples
        --------
        >>> import torch
        >>> from skclamp import TemperatureScaling
        >>> _ = torch.manual_seed(0)
        >>> network = torch.nn.Linear(2, 3)
        >>> X = 5 * torch.randn(500, 2)
        >>> y = torch.multinomial((network(X) / 2).softmax(1), 1)[:, 0]
        >>> calibrator = TemperatureScaling(network).fit(X, y)
        >>> logits = network(X[:4]).detach()
        >>> bool((calibrator.transform_logits(logits) == calibrator.predict_log_proba(X[:4])).all())
        True
        """
        check_is_fitted(self)
        backbone = ArrayBackbone("logits", self._outputs.kind)
        backbone.scale_of_fit = None if self.estimator is not None else self._backbone.scale_of_fit
        rows, _ = backbone.logits(backbone.open(self._backbone.handed_on(logits)))
        normalise = log_odds if self._outputs.n_labels else torch.log_softmax
        return as_given(self._transform_rows(normalise, rows, given=True, **params), logits)

    def predict(self, X, **params):
        """The most probable class of each sample.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            As in `fit`; a DataLoader mustn't shuffle. Labels in it are left aside.
        **params : dict
            What the calibrator takes beside X: `CovariateScaling` its ``covariates``, others nothing.

        Returns
        -------
        ndarray of shape (n_samples,), (n_samples, n_labels) or (n_samples, ...)
            Names of ``classes_``; of several labels 1 where the probability is at least 0.5, else 0.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X isn't what the calibrator was fitted to: its shape, its dtype, NaN or infinity in it.
        """
        proba = to_numpy(self.predict_proba(X, **params))
        return as_given(self._outputs.predict(proba, self.classes_), X)

    def score(self, X, y=None, sample_weight=None, **params):
        """Accuracy: the share of samples whose most probable class is their label.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            As in `fit`.
        y : array-like of shape (n_samples,), (n_samples, n_labels) or (n_samples, ...), default=None
            Class labels. May be left out where X brings them. Of several labels all of a sample's must be right; places
            count one by one, those of ``ignore_index`` aside.
        sample_weight : array-like of shape (n_samples,) or that of places, default=None
            Weights of the samples.
        **params : dict
            What the calibrator takes beside X: `CovariateScaling` its ``covariates``, others nothing.

        Returns
        -------
        float
            Between 0 and 1.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            As `predict`. If there are no labels, not one for each sample, such of another type, or not those that X
            brings. If places have labels that aren't among ``classes_``, nor ``ignore_index``.
        """
        if type(self).predict is not BaseCalibrator.predict:
            # One's own calibrator predicts as it likes, and knows nothing of labels.
            return super().score(X, y, sample_weight)
        outputs = self._outputs
        proba, y = self._predict_labelled(X, y, in_order=sample_weight is not None, **params)
        predicted = outputs.predict(proba, self.classes_)
        if outputs.is_dense:
            known = are_known(y, self.ignore_index)
            weight = None
            if sample_weight is not None:
                if outputs.n_labels and n_axes(sample_weight, "sample_weight") > 1:
                    sample_weight = to_numpy(sample_weight)[:, None].repeat(y.shape[1], 1)
                weight = weights_of_rows(sample_weight, y.shape).reshape(y.shape)
                known &= weight > 0
                weight = weight[known]
            if not known.any():
                raise ValueError("y must have a place whose class is known, and that has weight; got none")
            if not outputs.n_labels:
                encode_labels(y[known], self.classes_)
            return accuracy(y[known], predicted[known], weight)
        if outputs.n_labels and np.isnan(y).any():
            raise ValueError("y must be 0 or 1 everywhere: accuracy counts samples whose labels are all right; got NaN")
        if outputs.n_labels and np.ndim(sample_weight) > 1:
            raise ValueError(
                f"sample_weight must have shape ({len(y)},): accuracy counts samples whose labels are all right; got "
                f"shape {np.shape(sample_weight)}. Metrics and scorers of skclamp.metrics take weights of labels"
            )
        return accuracy(y, predicted, sample_weight)

    def _predict_labelled(self, X, y=None, *, in_order=False, name="y", **params):
        """Return probabilities for X, and the labels: y or those that X brings, read in the same pass.

        `in_order` says that something beside goes by the order of the samples, `name` what the user calls y.
        """
        check_is_fitted(self)
        X = dataset_behind(X, any_order=y is None and not in_order)
        if type(self).predict_proba is BaseCalibrator.predict_proba:
            proba, labels = self._map_rows(torch.softmax, X, labelled=isinstance(X, Dataset), **params)
        else:
            proba = to_numpy(self.predict_proba(X, **params))
            labels = None
        if self._outputs == SOFTMAX:
            labels = labels_beside(labels, None if y is None else check_labels(y, name), len(proba), name)
            return proba, understood("softmax", labels, self.ignore_index, name)[1]
        if self._outputs.n_labels:
            check_columns(y, self.classes_, name)
        y = self._outputs.targets(labels if y is None else y, name)
        check_same_length(y, len(proba), name)
        places = proba.shape[1 if self._outputs.n_labels else 2 :]
        if self._outputs.is_dense and y.shape[1:] != places:
            raise ValueError(other_places(name, y.shape[1:], places, len(self.classes_)))
        return proba, y

    def _map_rows(self, normalise, X, labelled=False, **params):
        """Calibrated and normalised rows in float64 and, if wanted, the labels that X brings, or None."""
        if not hasattr(self, "classes_"):
            check_is_fitted(self)
        X = dataset_behind(X)
        self._check_columns(X)
        X, params = self._parted(X, **params)
        if isinstance(X, torch.Tensor) and hasattr(self, "estimator_"):
            # The classifier that we fitted was given arrays.
            X = to_numpy(X)
        logits, labels = self._logits(X, labelled)
        return self._transform_rows(normalise, logits, given=self.estimator is None, **params), labels

    def _parted(self, X, **params):
        """Hook: what the estimator takes of X, and what `_transform_rows` does, by name, of X and what is beside it."""
        if params:
            raise TypeError(f"{type(self).__name__} takes no {next(iter(params))} beside X")
        return X, {}

    def _check_columns(self, X):
        """Raise unless an array or a frame has the columns of `fit`."""
        if not isinstance(X, Dataset) and len(getattr(X, "shape", ())) == 2:
            named = hasattr(X, "columns") or hasattr(self, "feature_names_in_")
            if named or X.shape[1] != getattr(self, "n_features_in_", X.shape[1]):
                validate_data(self, X, reset=False, skip_check_array=True)

    def _logits(self, X, labelled):
        """Hook: logits of X and, if wanted, the labels that it brings, or None."""
        return self._backbone.logits(self._backbone.open(X), labelled=labelled)

    def _transform_rows(self, normalise, logits, *, given):
        """From logits in the network's precision, a chunk at a time; `given` are those that no network yields here.

        Those of places become float32, and a network's own logits make room for them. Raises where none of a sample's
        classes is left.
        """
        self._check_new(logits, given)
        outputs = self._outputs
        dtype = torch.float32 if outputs.is_dense else torch.float64
        own = outputs.is_dense and not given and logits.device.type == "cpu" and logits.dtype == dtype
        out = logits if own and logits.is_contiguous() else torch.empty(tuple(logits.shape), dtype=dtype)
        n_rows = max(1, _ENTRIES_AT_ONCE // logits.shape[1])
        n_samples = max(1, n_rows // math.prod(logits.shape[2:]))

        def parts(values):
            for some in values.split(n_samples):
                yield from some.flatten(2).split(n_rows, 2) if outputs.is_dense else [some]

        for part, place in zip(parts(logits), parts(out), strict=True):
            rows = outputs.rows(part.to(torch.float64, copy=True))
            absent = absent_among(rows)
            mapped = self.map_(rows)
            if absent is not None and (lost := (mapped == -math.inf).all(1) | mapped.isnan().any(1)).any():
                row = rows[int(lost.nonzero()[0])]
                raise ValueError(
                    f"{type(self).__name__} leaves no class to a sample with logits of -inf; got {row.tolist()}"
                )
            place.copy_(outputs.of_rows(normalise(mapped, 1), part))
        return out.numpy()

    def _check_new(self, logits, given):
        """Raise unless logits have the shape of `fit`'s; tell what looks wrong."""
        outputs = self._outputs
        if (logits.ndim > 2) != outputs.is_dense:
            kind = "at each place of a sample" if outputs.is_dense else "of one row a sample"
            raise ValueError(f"X must have logits {kind}, as in fit; got logits of shape {tuple(logits.shape)}")
        if logits.shape[1] != len(self.classes_):
            raise ValueError(
                f"X has {logits.shape[1]} columns of logits, but {type(self).__name__} is expecting "
                f"{len(self.classes_)} features as input"
            )
        guessed = self._backbone.guesses_response or not outputs.n_labels
        if given and guessed and not (outputs.is_dense or self._like_probabilities):
            tell(look_at_new(logits, outputs))

    @cached_property
    def module_(self):
        """An ordinary torch module from what the estimator takes to calibrated logits."""
        check_is_fitted(self)
        network = self._backbone.as_module(type(self).__name__)
        learned = self.map_
        if type(learned) is Temperature and not learned.least_probability:
            return ClampedModule(network, temperature=learned.temperature_)
        return ClampedModule(network, output=OnOutputs.around(learned, self._outputs))

    # What was learned, in words and in a file.

    def summary(self):
        """Tell what was learned, in a few sentences.

        Returns
        -------
        str
            For reading; its words may change.

        Raises
        ------
        NotFittedError
            Before `fit`.

        Examples
        --------
        >>> import numpy as np
        >>> from skclamp import TemperatureScaling
        >>> rng = np.random.default_rng(0)
        >>> logits = rng.normal(scale=3.0, size=(1000, 3))
        >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)
        >>> print(TemperatureScaling().fit(logits, y).summary())
        In sample accuracy 68.8%, mean confidence 82.1% -> 68.6%, NLL 0.8513 -> 0.7198. TemperatureScaling learned 1
        number from 1,000 samples: temperature_ = 2.016.
        """
        check_is_fitted(self)
        scores = getattr(self, "_scores", None)
        sentences = [] if scores is None else [scores.sentence(self._tags.held_out)]
        sentences += self._sentences()
        # A clamp's verdict may tell it.
        if hasattr(self, "parts_") and (told := words.by_part(self.parts_)) not in " ".join(sentences):
            sentences.append(told)
        if getattr(self, "least_probability_", 0.0):
            sentences.append(f"Probabilities of 0 count as {self.least_probability_:.2g}.")
        if getattr(getattr(self, "output_", self), "label_noise_", 0.0):
            sentences.append(words.LABELS_AS_GIVEN)
        return " ".join(sentences)

    def _sentences(self):
        """Hook: those of `summary`."""
        n = self._n_parameters
        learned = f"{type(self).__name__} learned {n:,} number{'s' * (n != 1)} from {self._n_samples:,} samples"
        told = ", ".join(self._in_numbers())
        yield f"{learned}{': ' * bool(told)}{told}."
        yield from self._of_missing_classes()

    def _in_numbers(self):
        """Hook: the numbers that `summary` tells of what was learned."""
        return [
            f"{name} = {value:.4g}"
            for name, value in {**self.map_.learned(), **vars(self)}.items()
            if name.endswith("_") and isinstance(value, float) and not name.startswith(("_", "least_probability_"))
        ]

    def _of_missing_classes(self):
        """Sentences of `summary` on classes without samples, where there are some."""
        seen = [part.seen for part in self.map_.modules() if isinstance(part, Map) and part.seen is not None]
        return dict.fromkeys(
            f"{words.without_samples(each.mask, self.classes_)}: their probabilities are temperature scaling's (T = "
            f"{each.temperature:.4g})."
            for each in seen
        )

    @property
    def _n_parameters(self):
        """Hook: how many numbers the fit has set."""
        return self.map_.n_parameters

    def save(self, path, *, remember=True):
        """Write what was learned to a file, without the network; `skclamp.load` reads it.

        Parameters
        ----------
        path : str or path-like
            The safetensors file to write. One that is there is replaced once the new one is complete.
        remember : bool, default=True
            Whether to write 16 bits of a hash of each calibration sample, in no order, by which `SelectiveClassifier`
            tells samples that it is given again. Who has a sample can tell by them that it isn't among these or, with
            a chance of error, that it is. False writes nothing of the samples.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError
            If a perturbation is a module of the user's own that `skclamp.persistence.register` doesn't know.
        FileNotFoundError
            If there is no such folder.
        ImportError
            If safetensors isn't installed: ``pip install "skclamp[save]"``.

        Warns
        -----
        NotSavedWarning
            If a parameter, such as callbacks or an optimiser that isn't given by its name, can't be saved.
        """
        check_is_fitted(self)
        write(self, path, remember=remember)

    # Who gets what is given beside X and y, and what several processes agree on.

    def _route(self, y, params, ranks=ALONE):
        """Metadata on their way, the weights among them."""
        params = without_none(params)
        if "sample_weight" in params and y is not None:
            weight = check_sample_weight(params["sample_weight"], len(y), some=ranks is ALONE)
            # A scorer sees the samples of all.
            params["sample_weight"] = Shard.of(ranks, len(y)).all_gather(weight).numpy()
        by = params.pop("by", None)
        if by is not None and self._label_noise:
            raise ValueError("by must be None beside label_noise: labels that may be wrong don't tell which part loses")
        if by is not None and y is not None:
            by = check_groups(by, len(y), "by")
        if "groups" in params and y is not None:
            check_groups(params["groups"], len(y))
        if not is_frozen(self.estimator):
            check_classifier(self.estimator)
        parts = self._routed_to(params.get("groups"))
        metadata = route(self, params, **parts) if params else NO_METADATA
        # With metadata routing the user has said so.
        torn = metadata.groups is not None and "groups" not in metadata.split and not routing_enabled()
        if torn and "estimator" in parts and is_splitter(parts.get("splitter")):
            note(
                f"groups are torn apart by the folds of cv={self.cv!r}, which don't go by them: give it a splitter "
                "that does, such as GroupKFold()",
                CalibrationSetWarning,
            )
        return metadata._replace(by=by)

    def _check_alike(self, ranks, sample_weight, params):
        """Raise on all ranks where one was asked for something else."""
        if not is_frozen(self.estimator):
            raise ValueError(f"estimator must be fitted where samples are sharded; got {self.estimator!r}")
        if params:
            raise ValueError(f"metadata must be sample_weight alone where samples are sharded; got {sorted(params)}")
        given = {name: value for name, value in arguments_of(self).items() if name not in _OF_EACH_RANK}
        # Of arrays and networks a repr doesn't tell all.
        contents = {name: Digest().value(value).hex() for name, value in given.items()}
        shown = {name: f"{value!r} (hash {contents[name][:8]})" for name, value in given.items()}
        contents["sample_weight"] = "None" if sample_weight is None else "weights"
        ranks.check_alike(shown, calibrator=type(self).__name__, **contents)
