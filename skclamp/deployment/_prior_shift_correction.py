"""PriorShiftCorrection: calibrated probabilities for class frequencies that have changed."""

import copy
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from .._backbones.inputs import dataset_behind
from .._backbones.opening import is_frozen, open_backbone
from .._backbones.samples import Samples, read
from .._judging.class_frequencies import (
    MEANS_LEVEL,
    ClassHistograms,
    ClassMeans,
    ProbabilityMoments,
    decide_on_frequencies,
)
from .._judging.words import verdict_of_frequencies
from .._solvers.temperature import solve_temperature, warn_of_bound
from .._utils.arrays import tensor_of, to_numpy
from .._utils.docstrings import with_shared_docs
from .._utils.least_probability import MIN_PROBABILITY
from .._utils.warnings import note, warn_caller
from ..base import BaseCalibrator, Map
from ..base._map import Learned
from ..base._tags import MapTags
from ..exceptions import CalibrationSetWarning, InputShiftWarning
from ._priors import estimate_priors

# How far from 1 given frequencies may sum.
_ROUNDING = 1e-6


class PriorShiftMap(Map):
    """Temperature scaling, and each class's frequency in ``priors_`` over that in ``labelled_priors_``."""

    given = False

    def transform(self, logits):
        priors = self.priors_.to(logits)
        labelled = self.labelled_priors_.to(logits)
        # EM leaves no class without any frequency, beyond rounding: an exact 0 is the user's own word.
        priors = priors if self.given else priors.clamp_min(MIN_PROBABILITY)
        shift = priors.log() - labelled.clamp_min(MIN_PROBABILITY).log()
        return logits / getattr(self, "temperature_", 1.0) + shift


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class PriorShiftCorrection(BaseCalibrator):
    """Temperature scaling for class frequencies that have changed since calibration: ``p(y|x) * new_y / old_y``.

    `fit` learns a temperature and the old frequencies from labelled samples. `adapt` estimates the new ones from
    unlabelled samples of the deployment, by expectation maximisation (EM) on calibrated probabilities. Inputs that have
    changed for another reason, such as a darker picture, would mislead it. Two tests therefore guard it. The mean
    probabilities must differ from those of the labelled samples by more than the errors of both allow. And each class's
    probability, and the largest one, must be distributed as in a mixture of the labelled samples' classes, as they are
    where the classes look as they did. Where they aren't, `adapt` warns. Where a test fails or there are too few
    samples for it, probabilities stay those of `fit`. They do as well, with another warning, where classes aren't as
    probable on average as the labels have them: see Notes.

    Frequencies that are known go to `priors`; nothing is estimated or tested then.

    Parameters
    ----------
    {estimator} A fitted calibrator of this package takes the temperature's place: its probabilities are corrected.
        One that isn't fitted is cloned and fitted to the same samples; the classifier in it must be fitted.
    priors : array-like of shape (n_classes,) or dict, default=None
        Class frequencies of the deployment, in the order of ``classes_``, that sum to 1. A dict, and a pandas Series,
        are read by the classes' names. A class of frequency 0 gets a probability of 0. None has them estimated by
        `adapt`.
    {shared_parameters}

    Attributes
    ----------
    temperature_ : float
        The optimal T of temperature scaling; not set around a calibrator.
    labelled_priors_ : ndarray of shape (n_classes,)
        Each class's mean probability on the labelled samples. These are the frequencies that the probabilities are
        for, and the labels' own where the classes are calibrated.
    priors_ : ndarray of shape (n_classes,)
        Frequencies that the probabilities are for: those of the labelled samples, unless `priors` gives others or
        `adapt` has kept its own.
    accepted_ : bool
        Whether ``priors_`` are given ones, or such as `adapt` has found and kept.
    verdict_ : Verdict
        What `adapt` decided, once it was called. ``accepted`` : bool. ``reason`` : str. ``gain`` : float, how much
        likelier the samples are with the new frequencies, in nats per sample, less what chance gains (Akaike's
        criterion). ``p_value`` : float, of the test against frequencies as they were. ``fit_p_value`` : float, of the
        test that nothing else has changed, and ``inputs_changed`` : bool, whether it rejects that for sure.
        ``n_samples`` and ``n_labelled`` : int.
    {shared_attributes}

    Warns
    -----
    NotConvergedWarning
        If the temperature is at its bound.
    CalibrationSetWarning
        If `priors` are given, and the probabilities are off class by class.

    See Also
    --------
    TemperatureScaling : What this is before it adapts.

    Notes
    -----
    That the classes look as they did can't be proved, only not be rejected. At least 100 unlabelled samples are asked
    for, and 20 labelled ones a class, 100 in all. Have 500 labelled ones: with 200, a mild change of the inputs that
    comes with one of the frequencies may pass. Draw the unlabelled ones as those come that you predict for: repeated
    images, frames of one video and sorted files are no such draw. The level of the first test, Hotelling's of two
    samples, is 0.01. By the second one frequencies are kept where its p-value is above 0.05, and `adapt` warns where it
    is below 0.001.

    The labelled samples' mean probabilities have an error too, which more unlabelled samples don't lower. The estimate
    is shrunk towards them: samples with the labelled ones' frequencies join it, at least one a class. Their number is
    twice the concentration of the Dirichlet distribution under which Hotelling's statistic is expected (empirical
    Bayes), times ``1 + n_unlabelled / n_labelled``.

    The probabilities of a network that was trained on balanced classes are off class by class where the labelled
    samples' aren't. No temperature mends that. `fit` tests it by the differences between the classes' frequencies and
    mean probabilities (a score test of level 0.01), and `adapt` refuses where it shows. A calibrator that sets each
    class right passes: ``PriorShiftCorrection(StructuredVectorScaling(network))``.

    References
    ----------
    M. Saerens, P. Latinne and C. Decaestecker, "Adjusting the Outputs of a Classifier to New a Priori Probabilities: A
    Simple Procedure", Neural Computation 14, 2002. A. Alexandari, A. Kundaje and A. Shrikumar, "Maximum Likelihood with
    Bias-Corrected Calibration is Hard-To-Beat at Label Shift Adaptation", ICML 2020. H. Hotelling, "The Generalization
    of Student's Ratio", Annals of Mathematical Statistics 2, 1931.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import PriorShiftCorrection
    >>> rng = np.random.default_rng(0)
    >>> centers = 2 * np.eye(3)
    >>> def draw(n, frequencies):
    ...     y = rng.choice(3, size=n, p=frequencies)
    ...     return 2 * (centers[y] + rng.normal(size=(n, 3))), y
    >>> logits, y = draw(2000, [1 / 3, 1 / 3, 1 / 3])
    >>> calibrator = PriorShiftCorrection().fit(logits, y)
    >>> deployed, _ = draw(1000, [0.1, 0.1, 0.8])
    >>> calibrator.adapt(deployed).priors_.round(1)
    array([0.1, 0.1, 0.8])
    >>> calibrator.accepted_
    True
    """

    priors: object = None

    _parameter_constraints = {"priors": ["array-like", dict, torch.Tensor, None]}

    priors_ = Learned()
    labelled_priors_ = Learned()
    temperature_ = Learned()

    def adapt(self, X, y=None, sample_weight=None):
        """Estimate the class frequencies of unlabelled samples, and use them if two tests let them pass.

        It starts from the labelled samples' frequencies, whatever an earlier call has found.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            As in `fit`, of the deployment; a DataLoader may shuffle. Labels in it are left aside.
        y, sample_weight : None
            Not taken: the samples have no labels, and count once each.

        Returns
        -------
        self : object
            The calibrator itself, with a new ``verdict_``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If `priors` gives the frequencies; if X isn't what the calibrator was fitted to; if there are labels or
            weights. An earlier result is kept.

        Warns
        -----
        InputShiftWarning
            If more has changed than class frequencies. Label some samples then, and fit again.
        CalibrationSetWarning
            If the probabilities are off class by class. Put a calibrator of each class inside then, and fit again.
        """
        check_is_fitted(self)
        if y is not None or sample_weight is not None:
            raise TypeError("adapt takes no labels and no weights, only X; labelled samples are for fit")
        if self.priors is not None:
            raise ValueError(f"priors must be None for adapt, which estimates them; got {self.priors!r}")
        plain = copy.copy(self)
        plain.priors_ = self.labelled_priors_
        log_proba = to_numpy(plain.predict_log_proba(dataset_behind(X, any_order=True)))
        priors, verdict = self._judge(log_proba)
        self.priors_ = priors if verdict.accepted else self.labelled_priors_
        self.accepted_ = verdict.accepted
        self.verdict_ = verdict
        if self._off_by_class:
            warn_caller(self._off_by_class, CalibrationSetWarning)
        elif verdict.inputs_changed and not self._flaw:
            warn_caller(
                "the inputs have changed too: label some and refit. Probabilities stay those of the labelled samples' "
                f"class frequencies, since no mixture of the classes looks like X (p = {verdict.fit_p_value:.2g})",
                InputShiftWarning,
            )
        return self

    def _judge(self, log_proba):
        """The verdict on the frequencies that samples suggest."""
        moments = ProbabilityMoments(*self._moments)
        histograms = ClassHistograms(*self._histograms)
        n_samples, n_classes = log_proba.shape
        squared = moments.squared(np.exp(log_proba))
        priors = estimate_priors(log_proba, moments.mean, strength=moments.strength(squared, n_samples))
        likelier = logsumexp(log_proba + np.log(priors / moments.mean), axis=1).mean()
        decision = decide_on_frequencies(
            moments.p_value(squared, n_samples),
            histograms.p_value(log_proba, priors),
            # Less what estimates win on their own samples by chance, as in Akaike's criterion.
            gain=float(likelier - (n_classes - 1) / moments.n_both(n_samples)),
            n_samples=n_samples,
            n_labelled=self._n_labelled,
            n_classes=n_classes,
            n_like=histograms.n_like(priors),
            flaw=self._flaw or self._off_by_class,
        )
        return priors, verdict_of_frequencies(decision)

    def _validate_params(self):
        super()._validate_params()
        if self.priors is not None:
            _frequencies(self.priors)

    def _opening(self):
        return super()._opening()._replace(exact=True)

    def _read(self, X, y, *, any_order, metadata, **told):
        if not self._corrects_a_calibrator or is_frozen(self.estimator):
            return super()._read(X, y, any_order=any_order, metadata=metadata, **told)
        if not is_frozen(self._frozen_part().estimator):
            raise ValueError(
                "estimator must not be a calibrator around a classifier that isn't fitted: pass the classifier itself, "
                f"or fit it first; got {self.estimator!r}"
            )
        # Probabilities out of fold would be those of other maps than the deployed one, and look like other inputs.
        params = dict(metadata.fit)
        fitted = clone(self.estimator)._learn(X, y, params.pop("sample_weight", None), params, checks=False)
        found = read(open_backbone(fitted, self._opening()), X, y, any_order=any_order)
        return Samples.of(**found, **told, metadata=metadata, estimator=fitted)

    @property
    def _tags(self):
        return MapTags(
            map_of_labels=None,
            takes_places=False,
            needs_independence=False,
            treats_classes_alike=self.priors is None and not self._corrects_a_calibrator,
            mend_by_class="Calibrate each class first: PriorShiftCorrection(StructuredVectorScaling(estimator))",
        )

    def _routed_to(self, groups=None):
        routed = super()._routed_to(groups)
        if self._corrects_a_calibrator:
            # Which is fitted to all samples, once.
            routed.pop("splitter", None)
        return routed

    @property
    def _corrects_a_calibrator(self):
        return isinstance(self._frozen_part(), BaseCalibrator)

    def _fit_logits(self, logits, y, sample_weight):
        learned = PriorShiftMap()
        solution = None
        temperature = 1.0
        if not self._corrects_a_calibrator:
            solution = solve_temperature(logits, y, sample_weight=sample_weight, prior=True)
            warn_of_bound(solution)
            temperature = solution.temperature
            learned.learn(temperature_=temperature)
        weight = sample_weight.cpu().numpy()
        counted = weight > 0
        weight = weight[counted] / weight.max()
        y_encoded = y.cpu().numpy()[counted]
        log_proba = (logits.double() / temperature).log_softmax(1).cpu().numpy()[counted]
        # What the probabilities imply, and not the labels' frequencies: the difference would pass for a change.
        moments = ProbabilityMoments.of(np.exp(log_proba), weight)
        self._moments = tuple(moments)
        self._flaw = _flaw(y_encoded, solution)
        chance = 1.0 if self._flaw else ClassMeans.of(np.exp(log_proba), y_encoded, weight).p_value
        by_class = self._corrects_a_calibrator and self._frozen_part()._tags.learns_by_class
        self._off_by_class = _off_by_class(chance, by_class)
        self._n_labelled = len(weight)
        self._histograms = tuple(ClassHistograms.of(log_proba, y_encoded, weight))
        return learned.learn(priors_=moments.mean, labelled_priors_=moments.mean)

    def _remember(self, samples):
        super()._remember(samples)
        self.accepted_ = self.priors is not None
        if self.accepted_:
            self.map_ = copy.deepcopy(self.map_).learn(priors_=_frequencies(self.priors, self.classes_), given=True)
            if self._off_by_class:
                note(self._off_by_class, CalibrationSetWarning)

    @property
    def module_(self):
        """An ordinary torch module that yields the logits of ``priors_`` as they are now."""
        self.__dict__.pop("module_", None)
        return super().module_

    def _sentences(self):
        yield from super()._sentences()
        if hasattr(self, "verdict_"):
            yield self.verdict_.reason
        elif self.map_.given:
            yield "Class frequencies are those given as priors, which nothing has tested."
        else:
            yield "Class frequencies are those of the labelled samples."

    @property
    def _n_parameters(self):
        estimated = len(self.classes_) - 1 if self.accepted_ and hasattr(self, "verdict_") else 0
        return self._n_free + estimated

    @property
    def _n_free(self):
        return int(hasattr(self, "temperature_"))


def _flaw(y_encoded, solution):
    """Why no frequencies can be learned from the labelled samples, in words; empty if they can."""
    if (y_encoded == y_encoded[0]).all():
        return "the labelled samples are all of one class"
    if solution is None or not solution.at_bound:
        return ""
    if solution.prior_strength:
        return "the labelled samples are flawless, so that how sure to be can't be learned from them"
    return "the temperature is at its bound, so that the probabilities say nothing of the classes"


def _off_by_class(p_value, by_class):
    """Advice on probabilities that are off class by class, in words; empty if they aren't.

    `by_class` says that they are those of a map of each class, which something else held too far from the samples.
    """
    if p_value >= MEANS_LEVEL:
        return ""
    free = "VectorScaling" if by_class else "StructuredVectorScaling"
    return (
        f"the probabilities are off class by class (p = {p_value:.2g}): calibrate with {free}, "
        f"PriorShiftCorrection({free}(estimator)), and adapt that"
    )


def _frequencies(given, classes=None):
    """Frequencies as an array that sums to 1, in the order of the classes; raises unless they are such."""
    priors = given
    expected = "one per class" if classes is None else f"one for each of {len(classes)} classes"
    if hasattr(given, "items"):
        by_class = dict(given.items())
        names = list(by_class) if classes is None else classes.tolist()
        if set(by_class) != set(names):
            raise ValueError(f"priors must have a frequency for each of the classes {names}; got {by_class}")
        priors = [by_class[each] for each in names]
    values = tensor_of(priors, "priors").cpu().double().numpy()
    total = values.sum()
    are_shares = values.shape == (len(values) if classes is None else len(classes),) and (values >= 0).all()
    if not are_shares or not abs(total - 1) <= _ROUNDING:
        mend = f": give priors / {total:g}" if are_shares and 0 < total < np.inf else ""
        raise ValueError(f"priors must be frequencies of at least 0, {expected}, that sum to 1; got {given!r}{mend}")
    return values / total
