"""CalibrationMonitor: whether the calibration of a deployed classifier still holds."""

import math
from dataclasses import dataclass
from functools import partial
from numbers import Integral, Real

import numpy as np
import torch
from skorch import NeuralNet

from .._backbones.backbone import Opening
from .._backbones.inputs import dataset_behind
from .._backbones.opening import check_probabilistic, is_frozen, open_backbone
from .._backbones.rows import prints_of, recording
from .._judging.splits import likely_labels
from .._looks import words
from .._looks.diagnosis import look_for_probabilities
from .._utils.arrays import to_numpy
from .._utils.labels import calibrator_in, encode_labels, resolve_classes
from .._utils.least_probability import LOG_MIN_PROBABILITY, MIN_PROBABILITY
from .._utils.outputs import OUTPUTS, SOFTMAX, OutputLayer, check_columns, matrix_of, understood
from .._utils.parameters import Choices
from .._utils.sklearn_private import Interval
from .._utils.warnings import note, tell
from ..exceptions import CalibrationSetWarning
from ._bets import N_SUMS, best_temperature, bets_on, class_weights, gain_of_frequencies, null_betas
from ._evidence import Evidence
from ._watch import Watch, in_labels
from ._watched import read_watched

# Entries of an array of labels and classes at a time, 2 MB each.
_MAX_ENTRIES = 1 << 18


@dataclass(eq=False, repr=False, kw_only=True)
class CalibrationMonitor(Watch):
    """Tells, label by label, whether the calibration of a deployed classifier still holds.

    The null hypothesis is that labels are drawn from the classifier's probabilities, recalibrated by temperatures
    within a tolerance, each sample's by its own. Against it bets a mixture of other temperatures, and of class
    frequencies that the latest samples have shown, each from every label on. A change is seen about as soon after a
    long quiet past as after a short one. What the mixture has won is an e-value: however often one looks, the
    probability of a false alarm, ever, is at most `alpha`. It speaks of the labels that it was given. They may come
    late, or never, as long as this doesn't depend on what they are. Labels have to be independent given their inputs,
    or their `groups` known. Of several labels that don't exclude each other, or of a class at each place, a sample
    counts as one, by those that are known, however they depend on each other: others that are known later mustn't come
    in again.

    Parameters
    ----------
    estimator : fitted classifier or None, default=None
        Whose probabilities are watched: a calibrator, or any fitted classifier of scikit-learn's kind with
        ``predict_proba``, such as LightGBM's and XGBoost's; an initialised skorch net. It is shared by reference. With
        None, X itself holds logits or probabilities.
    alpha : float, default=0.01
        Bound on the probability that `alarm_` is ever raised while the null hypothesis holds.
    tolerance : float, default=0.1
        Temperatures from ``1 / (1 + tolerance)`` to ``1 + tolerance`` are no change, at most 1. A calibrator that was
        fitted on some hundred samples isn't exact; at 0 it alarms of that.
    average_run_length : float, default=None
        Mean number of labels between false alarms of a second test, such as 100,000. It raises `change_alarm_`, sooner
        than `alarm_` after a long past, and some time by chance. None leaves it out.
    by : array-like of shape (n_parts,), default=None
        Names of the parts to watch each by itself, such as sites, whose samples `partial_fit` is told of. None takes
        those of the first call, or none. Half of `alpha` is for all samples together, the other half is divided among
        the parts in equal shares.
    response : {"auto", "logits", "probabilities"}, default="auto"
        What X holds without an estimator; "auto" is logits. Of classifiers it is always the probabilities that count.
    outputs : {"auto", "softmax", "sigmoid"}, default="auto"
        Whether a row is of classes that exclude each other, or of several labels that don't. "auto" follows the
        calibrator or the shape of y.
    classes : array-like of shape (n_classes,), default=None
        Names of the columns. Needed unless the labels are 0 ... n_classes - 1, or the estimator has ``classes_``.
    ignore_index : int, default=-100
        The label of a place that isn't known, where y has a class at each place of a sample; of a calibrator its own
        counts.

    Attributes
    ----------
    log_e_value_ : float
        Logarithm of the e-value, the present evidence against the null hypothesis.
    p_value_ : float
        One over the largest e-value so far, at most 1: a p value whenever one looks. By part the least of them all,
        each over its share of `alpha`.
    alarm_ : bool
        Whether it has been at most `alpha`.
    parts_ : dict
        Of each part, the strongest evidence first, a dict of `n_samples`, `log_e_value`, `p_value`, over its share of
        alpha, `alarm`, `since`, `temperature`, `gain` and `refit_from`, as the attributes of these names are of all
        samples together. It is set only where samples came with their parts.
    never_true_ : bool
        Whether there was an alarm of the held-out samples that `fit` was given; only after `fit`.
    change_alarm_ : bool
        Whether the second test has alarmed; only with `average_run_length`.
    n_samples_ : int
        Labels so far, here and below; those of a group, or of a sample that has several, count as one.
    n_missing_ : int
        Samples so far that had none.
    temperature_ : float
        T that a refit on the labels after the first `refit_from_` would choose; within [0.3, 3.3].
    gain_ : float
        Nats a sample that this T wins on T = 1 there.
    refit_from_ : int
        Number of labels before those that a refit should take: `since_`, or 0 without an alarm. Where labels can't tell
        whether the probabilities were true at first, which `since_` has as 0, those before the likeliest start.
    since_ : int or None
        Number of labels before the start of what the first alarm speaks of, as estimated when it was raised. 0 where
        they don't show that the probabilities were true before. None without an alarm.
    trajectory_ : ndarray of shape (n_points, 3)
        Number of labels, log e-value, and the logarithm of the second test's sum; up to 1,025 points, the last sample
        always among them.
    classes_ : ndarray of shape (n_classes,)
        Names of the columns.
    n_features_in_ : int
        Second dimension of X; not set where X has more than two, or is a dict or a Dataset.

    See Also
    --------
    skclamp.display.MonitorDisplay : Draws the evidence over samples.

    Notes
    -----
    A bet's e-value e_t of sample t is at most 1 in expectation given the past. For a temperature T outside of the
    tolerance, and T_0 the nearest within, it is ``p_T(y) / p_T0(y)``: with b = 1 / T and Z(b) the sum of the classes'
    exp(b z), its expectation under p_T' is ``Z(b0) / Z(b) * Z(b' + b - b0) / Z(b')``. That is 1 at b' = b0 and, log Z
    being convex, at most 1 beyond. For class weights (n_k + 5) / (m_k + 5), where n_k labels were found and m_k
    expected among the latest 100 or so a class, it is the label's weight over the largest expected weight that a T
    within the tolerance allows. Log Z and its weighted kin are convex, which bounds that from above. Temperatures are
    25, ln T from -1.2 to 1.2.

    With ``W(t) = 1 / (1 + ln t)``, a part W(t) - W(t + 1) of the stake is put on each bet before sample t: ``S <- e_t
    (S + W(t) - W(t + 1))``. S + W(t + 1), averaged over bets, is a nonnegative supermartingale that starts at 1. By
    Ville's inequality it ever reaches 1 / alpha with a probability of at most alpha ([1]_, [2]_). Half of the stake is
    on class frequencies, the other one shared by the temperatures. A bet on a change now costs the logarithm of the
    number of labels so far. The evidence never falls below W(t + 1).

    The second test is a Shiryaev-Roberts e-detector ([2]_): the same sum with parts of 1. While nothing changes, the
    samples until it reaches a threshold A are A or more on average.

    Of a group the mean of its samples' e-values counts, which is one however dependent they are.

    Several labels a sample are two classes each, and bets on class frequencies have weights of each label. Given the
    past the e-value of a label is at most 1 in expectation, by its own probability alone. So is the mean over those
    labels of a sample that are known, which is what counts. Expectations add up however labels depend on each other. A
    product would not do, as it takes them for independent. Of a class at each place the same mean is over up to 1,024
    places, drawn once.

    References
    ----------
    .. [1] A. Ramdas, P. Grünwald, V. Vovk and G. Shafer, "Game-theoretic statistics and safe anytime-valid inference",
       Statistical Science 38, 2023.
    .. [2] J. Shin, A. Ramdas and A. Rinaldo, "E-detectors: a nonparametric framework for sequential change detection",
       New England Journal of Statistics in Data Science 2, 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import CalibrationMonitor
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(2000, 3))
    >>> calibrated = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    >>> monitor = CalibrationMonitor().partial_fit(logits, calibrated)
    >>> monitor.alarm_
    False
    >>> now_at_random = rng.integers(3, size=2000)
    >>> monitor.partial_fit(logits, now_at_random).alarm_
    True
    """

    alpha: float = 0.01
    tolerance: float = 0.1
    average_run_length: float | None = None
    by: object = None
    response: str = "auto"
    outputs: str = "auto"
    classes: object = None
    ignore_index: int = -100

    _parameter_constraints = {
        "tolerance": [Interval(Real, 0, 1, closed="both")],
        "response": [Choices("auto", "logits", "probabilities")],
        "outputs": [Choices("auto", *OUTPUTS)],
        "classes": ["array-like", torch.Tensor, None],
        "ignore_index": [Integral],
    }

    @property
    def _unit(self):
        unit = super()._unit
        return "sample" if self._outputs != SOFTMAX and unit == "label" else unit

    @property
    def _map(self):
        """Name a map with offsets."""
        return "PlattScaling" if self._outputs.n_labels else "StructuredVectorScaling"

    def _understand(self, X, y):
        if not hasattr(self, "_evidence"):
            self._outputs = self._understood(X, y)

    def _understood(self, X, y):
        """The output layer of what is watched, by the calibrator, the parameters and y."""
        estimator = self._frozen_part()
        calibrator = calibrator_in(estimator)
        own = getattr(calibrator, "_outputs", None)
        if own is not None:
            watched = type(calibrator).__name__
            if self.outputs not in ("auto", own.kind):
                raise ValueError(
                    f"outputs must be {own.kind!r}, as of the {watched} that is watched, or 'auto'; got "
                    f"{self.outputs!r}"
                )
            if own.is_dense and own.n_labels:
                raise ValueError(
                    "estimator must say one class at each place, or labels of whole samples; got a "
                    f"{watched} of several labels at each place. Watch one of them by itself"
                )
            return own
        if self.outputs == "sigmoid" or (self.outputs == "auto" and matrix_of(y) is not None):
            return OutputLayer(understood(self.outputs, y)[0].n_labels)
        is_dense = estimator is None and getattr(X, "ndim", 0) > 2
        is_dense |= isinstance(estimator, NeuralNet) and math.prod(getattr(y, "shape", ())[1:]) > 1
        return OutputLayer(is_dense=is_dense)

    def _open_backbone(self):
        estimator = self._frozen_part()
        outputs = self._outputs.kind
        if estimator is None or isinstance(estimator, NeuralNet):
            return open_backbone(estimator, Opening(self.response, outputs=outputs))
        check_probabilistic(estimator, outputs, takes_places=True)
        if not is_frozen(estimator):
            raise ValueError(f"estimator must be fitted: a monitor fits none; got {type(estimator).__name__}")
        if self.response == "logits":
            raise ValueError(
                "response must be what is watched, of a classifier the probabilities of its predict_proba; got "
                f"{self.response!r} for {type(estimator).__name__}"
            )
        return open_backbone(estimator, Opening("probabilities", outputs=outputs, exact=True, takes_places=True))

    def _watch(self, X, y, groups, by):
        X = dataset_behind(X, any_order=y is None and groups is None and by is None)
        calibrator = calibrator_in(self._frozen_part())
        ignored = getattr(calibrator, "ignore_index", self.ignore_index)
        with recording() as recorded:
            logits, labels, known = read_watched(self._backbone, X, y, self._outputs, ignored)
        classes = self._names(y, logits.shape[1], labels)
        if self._outputs.n_labels:
            self._outputs = OutputLayer(logits.shape[1])
        outputs = self._outputs
        null = null_betas(self.tolerance)
        parts = self._numbered(by, len(logits))
        there = known.any(1)
        prints = prints_of(X, recorded, len(there))
        if self._begins:
            self.classes_ = classes
            frequencies = np.zeros((outputs.n_labels or 1, 2, 2 if outputs.n_labels else len(classes)))
            self.n_missing_ = 0
            self._start(Evidence(totals=np.zeros(N_SUMS), patience=1.0, learns=True, memory=frequencies), parts)
            if self._backbone.guesses_response:
                tell(look_for_probabilities(logits, outputs))
            if calibrator is not None and (share := calibrator._share_seen(prints, there)):
                told = words.SAMPLES_SEEN.format(name=type(calibrator).__name__, share=share)
                note(f"{told}, which flatter it: give others", CalibrationSetWarning)
        y_encoded = np.full(known.shape, -1)
        y_encoded[known] = labels if outputs.n_labels else encode_labels(labels, classes)
        self.n_missing_ += int((~there).sum())
        log_p = outputs.rows(logits.double().cpu()).log_softmax(1).clamp_(min=LOG_MIN_PROBABILITY)
        rows, sizes = self._new_units(
            X,
            prints,
            np.where(there, y_encoded[:, 0] * (known.shape[1] == 1), -1),
            there,
            groups,
            logits,
            likely_labels(log_p, torch.from_numpy(y_encoded)) if self.estimator is None else None,
        )
        self._take_on(rows, sizes, parts, partial(self._bets, log_p.numpy().reshape(*known.shape, -1), y_encoded, null))
        values = self._values_of(self._evidence)
        self.temperature_, self.gain_, self.refit_from_ = (
            values[name] for name in ("temperature", "gain", "refit_from")
        )

    def _values_of(self, evidence):
        temperature, gain = best_temperature(evidence.totals - evidence.before)
        gain /= max(1, evidence.n_samples - evidence.newest)
        return {"temperature": temperature, "gain": gain, "refit_from": evidence.newest}

    def _part_in_words(self, told):
        return f"and a refit of T on its labels, to {told['temperature']:.3g}, would win {told['gain']:.2g} nats each"

    def _bets(self, log_p, y_encoded, null, samples, sizes, evidence):
        """Yield log e-values, sums and the memory after some units, of so many samples each, one after another.

        A sample has one or several labels, or places, -1 where one isn't known: log-probabilities are (n, R, K).
        """
        n_rows = math.prod(log_p.shape[:-1])
        n_columns = max(log_p.shape[-1], N_SUMS)
        frequencies = evidence.memory
        step = max(1, len(sizes) * _MAX_ENTRIES // max(1, n_rows * n_columns))
        for first in range(0, len(sizes), step):
            those = sizes[first : first + step]
            chosen, samples = np.split(samples, [those.sum()])
            known = y_encoded[chosen] >= 0
            rows = log_p[chosen][known], y_encoded[chosen][known]
            label = known.nonzero()[1] if self._outputs.n_labels else np.zeros(len(rows[1]), dtype=np.int64)
            n_rows = np.add.reduceat(known.sum(1), those.cumsum() - those)
            weights, frequencies = class_weights(*rows, label, n_rows, frequencies)
            log_e_values, sums = bets_on(*rows, weights, null)
            # However dependent samples of a unit, or labels of a sample, are: the mean of e-values is one.
            firsts = n_rows.cumsum() - n_rows
            log_e_values = np.logaddexp.reduceat(log_e_values, firsts) - np.log(n_rows)[:, None]
            yield log_e_values, np.add.reduceat(sums, firsts) / n_rows[:, None], frequencies

    def _names(self, y, n_columns, labels):
        """Names of the columns."""
        names = self._backbone.classes
        likely = self._backbone.likely_classes
        columns = np.arange(n_columns)
        if self._outputs.n_labels and not hasattr(type(self._frozen_part()), "_map_rows"):
            names = getattr(self, "classes_", to_numpy(getattr(y, "columns", columns)))
        elif likely is not None and np.isin(labels, likely).all():
            # Names of a frame's columns.
            names = likely
        classes = resolve_classes(columns, n_columns, classes=getattr(self, "classes_", self.classes), known=names)
        if self._outputs.n_labels:
            check_columns(y, classes)
            if likely is not None:
                check_columns(y, likely.tolist(), owner="X")
        return classes

    def _never_true(self):
        return words.NEVER_TRUE.format(n=self.n_samples_, p_value=self.p_value_, map=self._map)

    def _sentences(self):
        evidence = self._evidence
        unit = self._unit
        were = "had none" if self._outputs.n_labels else "missing"
        each = "place" if self._outputs.is_dense else "label"
        if not self.n_samples_:
            yield f"No label has come yet ({self.n_missing_:,} {were})."
            return
        yield from self._alarms(f" ({self.n_missing_:,} more {were})" if self.n_missing_ else "")
        if evidence.totals[-1]:
            yield (
                f"Some labels had a probability of at most {MIN_PROBABILITY:.2g}, which counts as that. If it was 0, "
                "no T undoes it."
            )
        won = f"to {self.temperature_:.3g}, would win {round(self.gain_, 6):.2g} nats a {each}"
        if evidence.since is None:
            yield f"A refit of T, {won}."
            return
        when = f"from the first {unit} on"
        those = "all of them"
        if evidence.since:
            start = f"were true at first, and have changed since about {unit} {evidence.since:,}"
            when = "since then"
            those = "those since then"
        elif evidence.changed:
            start = f"were true on {in_labels(evidence.n_before, unit)} before the watch, and have changed since"
        elif getattr(self, "never_true_", False):
            start = "were never true, as held-out labels say"
        else:
            start = "were never true, or changed before labels could tell"
            if self.refit_from_:
                when = f"from the first {unit} on or since about {unit} {self.refit_from_:,}, which these can't tell"
        if self.refit_from_ > evidence.since:
            those = f"the newest {unit}s, those since about {unit} {self.refit_from_:,}"
        confidence = "not in their confidence, which has been right within the tolerance"
        if max(self.temperature_, 1 / self.temperature_) > 1 + self._rules["tolerance"]:
            confidence = f"the classifier has been {'over' if self.temperature_ > 1 else 'under'}-confident"
        yield f"The probabilities {start}: {confidence} {when}."
        yield f"A refit of T on {those}, {won}."
        # Bets on class frequencies learn as they go.
        n_since = max(1, self.n_samples_ - self.refit_from_)
        more = gain_of_frequencies(evidence.totals - evidence.before) - n_since * self.gain_
        if more < -math.log(self._rules["alpha"]):
            yield "Other class frequencies would explain no more than T alone; other changes aren't tested."
        else:
            whose, several = ("label", "labels") if self._outputs.n_labels else ("class", "the classes")
            yield (
                f"T alone would not do: {several} have other frequencies than predicted, which would win "
                f"{more / n_since:.2g} nats a {each} more. A map with an offset per {whose}, such as {self._map}, "
                "takes that in."
            )
