"""SelectiveClassifier: answers where the risk of its answers is proven, and abstains elsewhere."""

import math
from dataclasses import dataclass, replace
from numbers import Real

import numpy as np
import torch
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import nn
from torch.utils.data import Dataset

from .._backbones.backbone import Opening
from .._backbones.opening import check_probabilistic, check_samples, is_frozen, open_backbone
from .._backbones.rows import prints_of, row_prints
from .._backbones.samples import Samples, cross_fit, read
from .._judging.near_duplicates import units_of
from .._judging.paired import numbered
from .._judging.risk import best_unproven, mean_risk, prove
from .._judging.splits import likely_labels
from .._looks import words
from .._looks.diagnosis import look_for_errors
from .._utils.arrays import as_given, to_numpy
from .._utils.labels import (
    accuracy,
    are_in_no_class,
    check_groups,
    check_labels,
    check_sample_weight,
    predict_labelled,
)
from .._utils.metadata import NO_METADATA, route, without_none
from .._utils.parameters import FINITE, Choices
from .._utils.progress import fit_task
from .._utils.sklearn_private import CallbackSupportMixin, Interval
from .._utils.warnings import note, one_warning, tell
from ..base import BaseCalibrator
from ..base._around import AroundEstimator
from ..distributed import ALONE, current
from ..exceptions import CalibrationSetWarning
from ..modules import SelectiveModule
from ..modules._from_sklearn import flat_steps
from ..persistence import write
from ._bound import RiskBound, reason_of

_OPENING = Opening("probabilities", exact=True)


@dataclass(eq=False, repr=False, kw_only=True)
class SelectiveClassifier(CallbackSupportMixin, ClassifierMixin, AroundEstimator):
    """Answer only where the risk of the answers is proven to be within a target; abstain elsewhere.

    A sample is answered where its largest probability is above a threshold. `fit` finds the lowest threshold of which
    held-out samples prove that answers are wrong at most as often as `target_risk` says. This holds for a share of at
    least `confidence` of all calibration sets that could have been drawn, for inputs like these, whatever the network,
    and whether or not its probabilities are calibrated. Good probabilities make it answer more.

    Parameters
    ----------
    estimator : classifier
        Whose answers they are: a calibrator of this package, or any classifier of scikit-learn's kind with
        ``predict_proba``. A fitted one is frozen and shared by reference: give `fit` samples that it hasn't seen. One
        that isn't fitted is fitted to all the samples. What clones say of samples that they haven't seen, as `cv` folds
        them, sets the threshold.
    target_risk : float, default=0.1
        Bound on the mean loss of answered samples: the share of wrong ones or, with `costs`, the mean cost.
    confidence : float, default=0.95
        Probability, over draws of the calibration samples, that the bound holds.
    costs : array-like of shape (n_classes, n_classes), default=None
        Cost of each prediction, ``costs[true, predicted]``, in the order of ``classes_``. Gains are refused. The class
        of the least expected cost is predicted, and a threshold is for minus that cost. None costs 1 for a wrong class,
        and 0 for the right one.
    abstention_cost : float, default=None
        What it costs to abstain: a sample isn't answered where its expected cost is that or more (Chow's rule). None
        abstains for the target's sake alone.
    abstain_label : object, default="auto"
        What `predict` returns of samples that aren't answered; no class. "auto" is -1 where classes are numbers, one
        less than the least where there is a class -1, and "abstain" elsewhere.
    unproven : {"abstain", "best"}, default="abstain"
        Where nothing can be proven, abstain from everything, or take the lowest threshold above which the calibration
        samples' own risk is within the target. The true risk is then above it for about half of all calibration sets.
    others : {"raise", "wrong"}, default="raise"
        What labels are that aren't among the classes of the estimator, as of requests out of a chatbot's scope. "raise"
        takes them for a mistake of the caller; "wrong" for samples that no answer is right for. The bound then counts
        each answer to one as wrong. Not beside `costs`, nor for an estimator that isn't fitted.
    cv : int, cross-validation generator or iterable, default=None
        Folds for an estimator that isn't fitted: by default five stratified ones, which keep `groups` together.

    Attributes
    ----------
    threshold_ : float
        Samples whose score is above it are answered. A score is the largest probability or, with `costs`, minus the
        least expected cost. Infinite where none are answered.
    coverage_ : float
        Share of the calibration samples that are answered, by weight.
    guaranteed_ : bool
        Whether the bound is proven. Never where the estimator wasn't fitted: the threshold is then proven of the
        clones, and what is fitted to all the samples is seldom worse. Nor where rows of X are found to have fitted the
        calibrator, more than chance explains. That isn't known of other packages' classifiers, nor of one that was
        saved with ``remember=False``.
    verdict_ : RiskBound
        What was proven, by which test: ``reason``, ``risk``, ``p_value``, ``n_answered``, ``n_needed`` and others.
    abstain_label_ : object
        What `predict` returns of samples that aren't answered.
    estimator_ : classifier
        Which answers: the estimator itself or, where it wasn't fitted, a clone fitted to all the samples.
    classes_ : ndarray of shape (n_classes,)
        Names of the classes.
    costs_ : ndarray of shape (n_classes, n_classes) or None
        The costs that the threshold is for.
    n_features_in_ : int
        Second dimension of X in `fit`; not set where X has more than two, or is a dict or a Dataset.
    module_ : SelectiveModule
        A torch module from inputs to column indices, -1 where it abstains. The estimator must be a calibrator of this
        package, or a classifier that `skclamp.modules.as_module` knows.

    See Also
    --------
    skclamp.RiskMonitor : Watches whether the bound still holds.
    sklearn.model_selection.TunedThresholdClassifierCV : Tunes the threshold between two classes, without a bound.

    Notes
    -----
    The threshold is at one of the calibration samples' scores. Given it, the samples above are independent draws of
    what will be answered, so that the number of wrong ones is binomial, and its tail an exact p value of "the risk is
    above the target". It is a hundredth of the way to the next score higher. Otherwise rounding would decide on samples
    that tie, as at the steps of isotonic calibration. Such tests go from few answered samples to ever more ([1]_,
    "fixed sequence testing"), from up to five starts that share the level 1 - `confidence`. A sequence that reaches the
    next start takes on that one's share (Wiens' fallback procedure [2]_), so that the probability of any wrong proof is
    at most the level. Starts among the surest samples may stop at one confident mistake, often a wrong label. So .35 of
    the level is for one more start, which the probabilities choose and no label: the largest number of answers that
    would pass with a probability of .9 if risks were as predicted.

    With costs that aren't 0 and 1, with weights or with groups, bets take the binomial's place ([3]_): a mixture of
    ``prod (1 - b w (l - r))`` over eight b, with the loss l, the target r, and the weight w over the largest one, has
    an expectation of at most 1 where the risk is r or above; one over it is a p value. A group counts as the mean of
    ``w (l - r)`` over its answered samples, whatever its size. There, a threshold among many scores of a group is only
    about independent of them. Groups whose samples share a score, as duplicates do, are answered as one, and keep the
    exact test: a group's loss is its largest one.

    Samples of equal inputs count as one. So do those of equal scores that are given in the inputs' place, unless their
    labels differ as those of independent samples do.

    The bound speaks of the mean over what is answered, not of each class or each input. It doesn't hold for inputs of
    another kind than those of calibration. Where `fit` fitted the estimator, it is proven of the clones alone. An
    estimator that other samples would make quite another, such as a single tree, may break it often.

    References
    ----------
    .. [1] A. N. Angelopoulos, S. Bates, E. J. Candès, M. I. Jordan and L. Lei, "Learn then Test: Calibrating
       Predictive Algorithms to Achieve Risk Control", Annals of Applied Statistics 19, 2025.
    .. [2] B. L. Wiens, "A fixed sequence Bonferroni procedure for testing multiple endpoints", Pharmaceutical
       Statistics 2, 2003.
    .. [3] I. Waudby-Smith and A. Ramdas, "Estimating means of bounded random variables by betting", Journal of the
       Royal Statistical Society B 86, 2024.
    .. [4] Y. Geifman and R. El-Yaniv, "Selective Classification for Deep Neural Networks", NeurIPS 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import SelectiveClassifier, TemperatureScaling
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=8.0, size=(3000, 3))
    >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    >>> calibrator = TemperatureScaling().fit(logits[:1000], y[:1000])
    >>> selective = SelectiveClassifier(calibrator, target_risk=0.05).fit(logits[1000:2000], y[1000:2000])
    >>> selective.guaranteed_
    True
    >>> answered = selective.is_answered(logits[2000:])
    >>> bool(np.mean(selective.predict(logits[2000:])[answered] != y[2000:][answered]) <= 0.05)
    True
    """

    target_risk: float = 0.1
    confidence: float = 0.95
    costs: object = None
    abstention_cost: float | None = None
    abstain_label: object = "auto"
    unproven: str = "abstain"
    others: str = "raise"
    cv: object = None

    _parameter_constraints = {
        "target_risk": [FINITE],
        "confidence": [Interval(Real, 0, 1, closed="neither")],
        "costs": ["array-like", torch.Tensor, None],
        "abstention_cost": [FINITE, None],
        "abstain_label": "no_validation",
        "unproven": [Choices("abstain", "best")],
        "others": [Choices("raise", "wrong")],
        "cv": ["cv_object"],
    }

    _not_saved = frozenset({"_backbone", "estimator_", "module_"})

    def fit(self, X, y=None, sample_weight=None, groups=None, **params):
        """Find the lowest threshold whose risk is proven.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            Inputs of the estimator, none of which it has seen. Of one that isn't fitted, an array.
        y : array-like of shape (n_samples,), default=None
            Class labels. May be left out where X brings them.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples in the risk, as where some are drawn more often than they come. None may come that is
            heavier than all of these: the bound takes the largest weight for the largest possible one.
        groups : array-like of shape (n_samples,), default=None
            Of samples that depend on each other, such as frames of a video or visits of a patient: a name for each of
            what it belongs to. A group counts as the mean of its answered samples, however many: the bound is of the
            mean over groups with an answer.
        **params : dict
            For the ``fit`` of an estimator that isn't fitted, which has the weights as well where it takes any. With
            scikit-learn's metadata routing all go to whoever requests them.

        Returns
        -------
        self : object
            The fitted classifier.

        Raises
        ------
        ValueError, TypeError
            If a parameter, X or y breaks a rule, or samples are sharded; the message says which. An earlier fit is then
            kept.

        Warns
        -----
        CalibrationSetWarning
            If nothing can be proven: it says how many samples would do; or if the calibrator was fitted to some of
            these samples.
        TrainingDataWarning
            If a fitted estimator is right on each of 500 samples or more, or wrong on few by little, as on those that
            trained it.
        """
        with fit_task(self, X, y, sample_weight), self._kept_on_error(anew=True), one_warning():
            if current() is not ALONE:
                raise ValueError(
                    f"{type(self).__name__} can't be fitted where samples are sharded: each process would prove "
                    "another threshold. Fit it outside, to samples of one process"
                )
            self._validate_params()
            check_probabilistic(self._frozen_part())
            check_samples(X, type(self).__name__)
            self.costs_ = None
            if self.costs is None:
                self._scale(self.target_risk)
            samples, in_no_class = self._read(X, y, sample_weight, groups, params)
            self._backbone = samples.deployed
            if samples.estimator is not None:
                self.estimator_ = samples.estimator
            self.classes_ = np.asarray(self.estimator_.classes_)
            self.costs_ = self._check_costs()
            self.abstain_label_ = self._choose_label()
            y_encoded = samples.y_encoded.cpu()
            weight = samples.weight
            log_proba = samples.logits.double().cpu().log_softmax(1)
            if in_no_class.any():
                # A class more, which is never predicted.
                y_encoded = y_encoded.masked_fill(torch.from_numpy(in_no_class), log_proba.shape[1])
                log_proba = nn.functional.pad(log_proba, (0, 1), value=-math.inf)
            are_scores = getattr(self.estimator_, "estimator", self) is None
            # Why what is proven isn't a promise.
            doubt = (
                "this is proven of clones that hadn't seen the samples, and not of the estimator fitted to all of them"
            )
            if samples.estimator is None:
                doubt = self._look_for_samples_seen(samples.X, samples.prints, weight.numpy() > 0)
                tell(look_for_errors(log_proba, y_encoded, weight, purpose="prove the risk"))
            units = units_of(
                samples.X,
                samples.prints,
                y_encoded.numpy(),
                weight,
                log_proba,
                samples.groups,
                labels=likely_labels(log_proba, y_encoded) if are_scores else None,
            )
            if units.are_near:
                doubt = doubt or "many samples are near-copies, and nobody has said by groups=... what belongs together"
            proba = log_proba.exp().numpy()
            self._choose_threshold(
                proba, y_encoded.numpy(), weight.numpy(), units.numbers, doubt, grouped=groups is not None
            )
            if not isinstance(X, (Dataset, dict)) and len(getattr(X, "shape", None) or np.asarray(X).shape) == 2:
                validate_data(self, X, skip_check_array=True)
        return self

    def _read(self, X, y, sample_weight, groups, params):
        """`Samples` that are new to a fitted estimator, or out of fold of clones; and which are of none of its classes.

        These have the first class's number.
        """
        if y is not None:
            y = check_labels(y)
            # Before clones are fitted.
            if groups is not None:
                check_groups(groups, len(y))
        if is_frozen(self.estimator):
            # Raises for what nobody takes.
            metadata = self._route(params)._replace(groups=groups)
            any_order = y is None and sample_weight is None and groups is None
            found = read(self._open_backbone(), X, y, any_order=any_order)
        else:
            if self.others == "wrong":
                raise ValueError("others must be 'raise' where the estimator isn't fitted: it needs a class of each")
            metadata = self._route({"sample_weight": sample_weight, "groups": groups, **params})
            found = cross_fit(self.estimator, _OPENING, X, y, metadata, cv=5 if self.cv is None else self.cv)
        backbone, labels = found["backbone"], found["labels"]
        in_no_class = np.zeros(len(labels), dtype=bool)
        if self.others == "wrong":
            known = [names for names in (backbone.classes, backbone.likely_classes) if names is not None]
            classes = known[0] if known else np.arange(found["logits"].shape[1])
            in_no_class = are_in_no_class(labels, classes)
            found["labels"] = np.where(in_no_class, classes[0], labels)
        return Samples.of(**found, sample_weight=sample_weight, metadata=metadata), in_no_class

    def _look_for_samples_seen(self, X, prints, counted):
        """Return what speaks against a proof by samples that fitted a calibrator, known by hashes, or None."""
        share = 0.0
        name = ""
        *transformers, calibrator = flat_steps(self.estimator_)
        while isinstance(calibrator, BaseCalibrator):
            for transformer in transformers:
                X = transformer.transform(X)
            # A calibrator has seen rows as its pipeline transforms them.
            prints = row_prints(X) if transformers else prints
            share, name = max((share, name), (calibrator._share_seen(prints, counted), type(calibrator).__name__))
            *transformers, inner = flat_steps(calibrator._backbone.classifier)
            if isinstance(inner, BaseCalibrator):
                # Which has seen of rows what the one around it hands on.
                X, _ = calibrator._parted(X)
                prints = prints_of(X, [prints], len(counted))
            calibrator = inner
        if not share:
            return None
        note(
            f"{words.SAMPLES_SEEN.format(name=name, share=share)}, which flatter it: the bound isn't proven for "
            "others. Give fit other samples, or an estimator that isn't fitted, which it cross-fits",
            CalibrationSetWarning,
        )
        return f"about {share:.0%} of the samples had fitted the calibrator, and flatter it"

    def _check_costs(self):
        """The costs as an array, or None."""
        if self.costs is None:
            return None
        if self.others == "wrong":
            raise ValueError("costs must be None with others='wrong', as they have no row for samples of no class")
        costs = np.asarray(to_numpy(self.costs, "costs"), dtype=float)
        shape = (len(self.classes_),) * 2
        got = None if np.isfinite(costs).all() else "NaN or infinity"
        if costs.shape != shape:
            got = f"shape {costs.shape}"
        if got is not None:
            raise ValueError(f"costs must be finite, one for each pair of classes, shape {shape}; got {got}")
        if (np.diag(costs) > costs.min(1)).all():
            raise ValueError(
                "costs must be what it costs, costs[true, predicted]; got some by which every class costs more when it "
                "is right than when it is wrong. Of gains give gains.max() - gains"
            )
        return costs

    def _scale(self, target_risk):
        """Return the target, checked, on a scale of losses from 0 to 1, the least loss, and the range of all."""
        costs = np.arange(2.0) if self.costs_ is None else self.costs_
        low = float(costs.min())
        span = float(np.ptp(costs))
        if not low < target_risk < low + span:
            is_percent = self.costs_ is None and 1 < target_risk <= 50
            mend = f": {target_risk:g} % is {target_risk / 100:g}" if is_percent else ""
            raise ValueError(
                f"target_risk must lie between the least and the largest loss, {low:g} and {low + span:g}; got "
                f"{float(target_risk)}{mend}"
            )
        return float(target_risk - low) / span, low, span

    def _losses(self, y_encoded, columns, low, span):
        """Losses of predictions, on the scale from 0 to 1."""
        if self.costs_ is None:
            return (columns != y_encoded).astype(float)
        return (self.costs_[y_encoded, columns] - low) / span

    def _choose_label(self):
        """Return the label that stands for no answer."""
        label = self.abstain_label
        if isinstance(label, str) and label == "auto":
            label = "abstain"
            if self.classes_.dtype.kind in "iuf":
                label = int(np.floor(self.classes_.min())) - 1 if -1 in self.classes_ else -1
        if label in self.classes_.tolist():
            raise ValueError(f"abstain_label must be none of the classes {self.classes_.tolist()}; got {label!r}")
        return label

    def _choose_threshold(self, proba, y_encoded, weight, units, doubt, *, grouped):
        """Prove a threshold by samples with weight, or find that none can be proven; whether a doubt stays."""
        counted = weight > 0
        weight = weight[counted]
        columns, scores = self._decide(proba[counted])
        units = numbered(None if units is None else units[counted], len(scores))
        target, low, span = self._scale(self.target_risk)
        losses = self._losses(y_encoded[counted], columns, low, span)
        answered = prove(
            scores,
            losses,
            target,
            1 - self.confidence,
            expected=1 - scores if self.costs_ is None else (-scores - low) / span,
            # Equal weights are none.
            weight=weight if np.ptp(weight) else None,
            groups=units,
            floor=self._floor(),
            zero_one=self.costs_ is None or bool(np.isin((self.costs_ - low) / span, (0.0, 1.0)).all()),
        )
        proven = answered.n_samples > 0
        self.threshold_ = answered.threshold
        if not proven and self.unproven == "best":
            self.threshold_ = best_unproven(scores, losses, target, weight, units, self._floor())
        chosen = scores > self.threshold_
        risk = of_samples = math.nan
        if chosen.any():
            risk, of_samples = (
                low + span * mean_risk(losses[chosen], weight[chosen], each)
                for each in (units[chosen] if grouped else None, None)
            )
        self.coverage_ = float(weight[chosen].sum() / weight.sum())
        self.guaranteed_ = proven and doubt is None
        bound = RiskBound(
            guaranteed=self.guaranteed_,
            reason="",
            risk=risk,
            target_risk=self.target_risk,
            confidence=self.confidence,
            n_samples=len(scores),
            n_answered=int(chosen.sum()),
            p_value=answered.p_value,
            level=answered.level,
            test=answered.test,
            n_needed=answered.n_needed,
        )
        reason = reason_of(bound, answered, doubt, units.max() + 1, of_samples, grouped=grouped)
        self.verdict_ = replace(bound, reason=reason)
        if not proven:
            note(reason, CalibrationSetWarning)

    def _floor(self):
        """Scores up to this are never answered: it costs more than to abstain."""
        cost = self.abstention_cost
        if cost is None:
            return 0.0 if self.costs_ is None else -math.inf
        if self.costs_ is not None:
            return -float(cost)
        if cost <= 0:
            raise ValueError(f"abstention_cost must be above 0 where a right answer costs nothing; got {cost!r}")
        return max(0.0, 1.0 - cost)

    def _decide(self, proba):
        """Column of the prediction, and its score, for each row of probabilities."""
        if self.costs_ is None:
            return proba.argmax(1), proba.max(1)
        expected = proba @ self.costs_
        return expected.argmin(1), -expected.min(1)

    def predict(self, X):
        """The predicted class of each sample, or the label that abstains.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            As the estimator's ``predict_proba`` takes it.

        Returns
        -------
        ndarray of shape (n_samples,)
            Names of ``classes_``, or ``abstain_label_``; objects where no other type holds both, as with a label of
            another kind, or NaN beside integers above 2**53.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X isn't what the estimator takes.
        """
        columns, answered = self._answers(X)
        label = np.empty(1, self._dtype_of_answers())
        label[0] = self.abstain_label_
        return as_given(np.where(answered, self.classes_[columns].astype(label.dtype), label), X)

    def is_answered(self, X):
        """Return which samples are answered.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            As the estimator's ``predict_proba`` takes it.

        Returns
        -------
        ndarray of shape (n_samples,), bool
            True where `predict` names a class.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X isn't what the estimator takes.
        """
        return as_given(self._answers(X)[1], X)

    def _answers(self, X):
        """Column of the prediction for each sample, and whether it is answered."""
        columns, scores = self._decide(to_numpy(self.predict_proba(X)))
        return columns, scores > self.threshold_

    def _dtype_of_answers(self):
        """Return the dtype that holds the classes and the label that abstains, each as it is."""
        label = np.asarray([self.abstain_label_])
        kinds = self.classes_.dtype.kind + label.dtype.kind
        if not (set(kinds) <= set("iuf") or kinds == "UU"):
            return object
        dtype = np.result_type(self.classes_, label)
        # Large integers would be others as floats.
        return dtype if self.classes_.astype(dtype).tolist() == self.classes_.tolist() else object

    def predict_proba(self, X):
        """Probabilities of the estimator, of samples that aren't answered too.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            As the estimator's ``predict_proba`` takes it.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X isn't what the estimator takes.
        """
        check_is_fitted(self)
        if hasattr(self, "n_features_in_") and not isinstance(X, Dataset) and len(getattr(X, "shape", ())) == 2:
            validate_data(self, X, reset=False, skip_check_array=True)
        return self.estimator_.predict_proba(X)

    def score(self, X, y=None, sample_weight=None):
        """Share of all samples that are answered, and rightly.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            As in `fit`.
        y : array-like of shape (n_samples,), default=None
            Class labels. May be left out where X brings them.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        float
            Between 0 and the coverage.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            As `predict`; if there are no labels, not one for each sample, or such of another type.
        """
        check_is_fitted(self)
        proba, y = predict_labelled(self.estimator_, X, y, in_order=sample_weight is not None)
        columns, scores = self._decide(proba)
        y = check_labels(y)
        predicted = self.classes_[columns]
        # Raises for labels of another kind or number, as any classifier's score does.
        accuracy(y, predicted)
        right = (scores > self.threshold_) & (predicted == y)
        return float(np.average(right, weights=check_sample_weight(sample_weight, len(right)).numpy()))

    @property
    def module_(self):
        """A torch module from inputs to column indices, -1 where it abstains, of the estimator as it is now."""
        check_is_fitted(self)
        return SelectiveModule(self._backbone.as_module(type(self.estimator_).__name__), self.threshold_, self.costs_)

    def summary(self):
        """Tell in a sentence or two what was proven, and what the estimator says of itself.

        Returns
        -------
        str
            For reading; its words may change.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        check_is_fitted(self)
        return self.verdict_.reason

    def save(self, path):
        """Write the threshold and its verdict to a file, without the estimator; `skclamp.load` reads it.

        Parameters
        ----------
        path : str or path-like
            The safetensors file to write. One that is there is replaced once the new one is complete.

        Raises
        ------
        NotFittedError
            Before `fit`.
        FileNotFoundError
            If there is no such folder.
        ImportError
            If safetensors isn't installed: ``pip install "skclamp[save]"``.
        """
        check_is_fitted(self)
        write(self, path)

    def _open_backbone(self):
        # Of one that load is given.
        check_probabilistic(self._frozen_part())
        self.estimator_ = self._frozen_part()
        return open_backbone(self.estimator_, _OPENING)

    def _route(self, params):
        params = without_none(params)
        return route(self, params, **self._routed_to(params.get("groups"))) if params else NO_METADATA
