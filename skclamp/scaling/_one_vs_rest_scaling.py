"""PlattScaling, QuadraticScaling and BetaCalibration: each class calibrated against the rest, then renormalised."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from sklearn.base import clone
from torch.nn.functional import logsigmoid

from .._judging.splits import draw_folds
from .._solvers.one_vs_rest import fit_one_vs_rest, log_odds_terms, out_of_fold_losses, scores_of
from .._solvers.penalty_path import folds_with_weight, last_that_gains
from .._solvers.pooled_platt import fit_pooled_platt
from .._solvers.temperature import first_temperature
from .._utils.docstrings import with_shared_docs
from .._utils.parameters import N_FOLDS, NOT_NEGATIVE, Choices
from ..base import BaseCalibrator, Map
from ..base._map import Learned
from ..base._seen_classes import labels_that_teach
from ..base._tags import MapTags
from ._label_noise import BesideWrongLabels

# Multiples of the strength that structured vector scaling fixes, K / n; and what each has to gain out of fold over the
# last, in nats of all samples, so that chance rarely leads to the weakest.
_MULTIPLES = 4.0 ** -np.arange(9)
_LEAST_GAIN = 0.5
# Temperatures of all labels between this and its inverse leave the prior of pooled pairs at the logits as they are.
_SAME_SCALE = 4.0
# A threshold separates a label of fewer by chance.
_MANY_HITS = 20


class OneVsRestMap(Map):
    """A sigmoid of terms of each class's log-odds at the optimal temperature.

    Subclasses implement ``terms(logits)``, a list, and name the numbers of each, then the offset, in `coefficients`.
    """

    coefficients: ClassVar[tuple[str, ...]] = "coef_", "intercept_"

    def terms(self, logits):
        """Return the factors of the coefficients, each of shape (n_samples, n_classes)."""
        return [_log_odds(logits)]

    @property
    def n_parameters(self):
        """Free ones: of two classes, each coefficient of one is that of the other, but for the sign."""
        return super().n_parameters - len(self.coefficients) * (len(self.intercept_) == 2)

    def transform(self, logits):
        terms = self.terms(logits / self.temperature_)
        return logsigmoid(scores_of([getattr(self, name) for name in self.coefficients], terms))


class QuadraticMap(OneVsRestMap):
    """A quadratic of the log-odds within ``range_``, linear beyond."""

    coefficients = "slope_low_", "slope_high_", "intercept_"

    def terms(self, logits):
        z, (low, high) = _log_odds(logits), self.range_.to(logits)
        width = (high - low).clamp(min=torch.finfo(low.dtype).tiny)

        def ramp(beyond):
            """Integrate a slope that rises from 0 to 1 over the range."""
            return width * (beyond / width).clamp(0, 1).square() / 2 + (beyond - width).clamp(min=0)

        # Their sum is z.
        return [ramp(high) - ramp(high - z), ramp(z - low) - ramp(-low)]


class BetaMap(OneVsRestMap):
    """Gains of log p and of -log(1 - p)."""

    coefficients = "a_", "b_", "intercept_"

    def terms(self, logits):
        log_p, log_rest = log_odds_terms(logits)
        return [log_p, -log_rest]


class PlattMap(OneVsRestMap):
    """A gain and an offset of each class's log-odds in units of the logits: of two classes, of their difference."""

    def transform(self, logits):
        log_odds = self.temperature_ * self.terms(logits / self.temperature_)[0]
        return logsigmoid(scores_of([self.coef_, self.intercept_], [log_odds]))

    @property
    def n_parameters(self):
        """Free ones: of two classes, the gain takes the temperature in."""
        return super().n_parameters - (len(self.intercept_) == 2)


class PlattMapOfLabels(Map):
    """A gain and an offset of each label's log-odds: rows are the labels of a sample in turn."""

    def transform(self, logits):
        log_odds = (logits[:, 1] - logits[:, 0]).view(-1, len(self.coef_))
        score = torch.addcmul(self.intercept_.to(logits), log_odds, self.coef_.to(logits)).view(-1)
        return torch.stack([logsigmoid(-score), logsigmoid(score)], 1)


class OneVsRestScaling(BaseCalibrator):
    """Learns the coefficients of a map's terms, beside a ridge that `_ridge` tells.

    Attributes
    ----------
    seen_ : ndarray of shape (n_classes,), dtype bool
        Whether the calibration set holds a sample with weight of each class. Nothing is learned of the others:
        temperature scaling sets their probabilities, and learned arrays have entries of the classes with samples alone.
    """

    _map: type[OneVsRestMap] = OneVsRestMap
    _tags = MapTags(
        learns_by_class=True, takes_absent=False, n_per_class=2, n_free="all", group="scales and shifts per class"
    )
    temperature_, intercept_ = Learned(), Learned()
    _monotone = False

    def _fit_logits(self, logits, y, sample_weight, **told):
        found = first_temperature(logits, y, sample_weight)
        map_ = self._map(temperature_=found.temperature)
        scaled = logits.double() / found.temperature
        ridge = self._ridge(map_, scaled, y, sample_weight, **told)
        solution = fit_one_vs_rest(map_.terms(scaled), y, sample_weight, ridge=ridge, monotone=self._monotone)
        self.n_iter_ = solution.n_evaluations
        return map_.learn(**dict(zip(map_.coefficients, solution.parameters, strict=True)))

    def _ridge(self, map_, scaled, y, sample_weight):
        """Hook: what draws the coefficients to the start; None beside Platt's targets."""


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class PlattScaling(BesideWrongLabels, OneVsRestScaling):
    """Platt scaling, one class against the rest: a sigmoid of each class's log-odds, renormalised.

    With p = softmax(logits / T), T the optimal temperature, and z_k = T * log(p_k / (1 - p_k)), class k gets
    ``sigmoid(coef_k * z_k + intercept_k)``, a logistic regression on whether the label is k, and a row is divided by
    its sum. z has the scale of the logits: of two classes it is their difference, or the single logit that was given.
    ``coef = 1 / T, intercept = 0`` is temperature scaling, where the search starts. The targets are a quarter of the
    way to Platt's, as if a quarter of a sample more had come out either way, and of n samples

        ((T * coef_k - 1)^2 + intercept_k^2) / (8 * n)

    joins the mean log loss: few samples of a class, or separable ones, need both.

    Of labels that don't exclude each other, y of shape (n_samples, n_labels), label l gets
    ``sigmoid(coef_l * z_l + intercept_l)``, z its logit. Most labels are rare, so that their pairs are drawn to one
    that all labels share, the more so the less the labels differ. That one is held near (1, 0) by a prior of precisions
    4 and 0.25, or near (1 / T, 0) where the temperature T of all labels is above 4 or below 1/4. The precisions around
    it are those that empirical Bayes finds in eight rounds. A label that is 0 in all samples, or 1 in all, teaches
    nothing of what is shared where chance makes that rarer than 1 in 1,000. Its own pair is drawn to the shared one by
    precisions of 4 and 1.

    Parameters
    ----------
    {estimator}
    pooling : {"partial", "complete", "none"}, default="partial"
        What labels that don't exclude each other share: "complete" is one pair for all; "partial" draws each label's
        pair to it; "none" fits each label by itself, and needs some ten samples of each. Without effect where y is one
        label a sample.
    {label_noise}
    {shared_parameters}

    Attributes
    ----------
    coef_ : ndarray of shape (n_classes,) or (n_labels,)
        Gains of z, on the scale of the logits. Of labels with ``pooling="none"`` ``map_.maps`` has them.
    intercept_ : ndarray of shape (n_classes,) or (n_labels,)
        Offsets, in nats.
    shared_ : ndarray of shape (2,)
        Of labels: the gain and the offset that all share.
    temperature_ : float
        The optimal T of temperature scaling, where y is one label a sample.
    {label_noise_}
    n_iter_ : int
        How often the losses of the class that took most were evaluated.
    {shared_attributes}

    Warns
    -----
    NotConvergedWarning
        If the temperature is at its bound, or the solver stops early.

    See Also
    --------
    BetaCalibration : Two gains per class.
    QuadraticScaling : A square beside the gain, and a penalty.
    VectorScaling : One softmax of all classes in place of a sigmoid for each.

    References
    ----------
    J. Platt, "Probabilistic outputs for support vector machines and comparisons to regularized likelihood methods",
    1999. B. Zadrozny and C. Elkan, "Transforming classifier scores into accurate multiclass probability estimates",
    KDD 2002 (one-vs-rest).

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import PlattScaling
    >>> rng = np.random.default_rng(0)
    >>> margin = rng.normal(scale=3.0, size=5000)  # two classes: the logit of the second
    >>> y = (margin / 2.0 + 1.0 + rng.logistic(size=5000) > 0).astype(int)
    >>> calibrator = PlattScaling().fit(margin, y)
    >>> calibrator.coef_.round(1), calibrator.intercept_.round(1)
    (array([0.5, 0.5]), array([-1.,  1.]))

    Of three labels that don't exclude each other:

    >>> logits = rng.normal(scale=3.0, size=(5000, 3))
    >>> Y = (logits / 2.0 - 1.0 + rng.logistic(size=logits.shape) > 0).astype(int)
    >>> calibrator = PlattScaling().fit(logits, Y)
    >>> calibrator.coef_.round(1), calibrator.predict_proba(logits[:2]).shape
    (array([0.5, 0.5, 0.5]), (2, 3))
    """

    pooling: str = "partial"

    _parameter_constraints = {"pooling": [Choices("partial", "complete", "none")]}

    _map = PlattMap
    coef_ = Learned()
    shared_ = Learned()

    def _ridge(self, map_, scaled, y, sample_weight):
        return 0.125 / sample_weight.sum().item()

    def _fit_logits(self, logits, y, sample_weight, **told):
        map_ = super()._fit_logits(logits, y, sample_weight, **told)
        return map_.learn(coef_=map_.coef_ / map_.temperature_)

    def _in_numbers(self):
        if len(self.classes_) > 2 or self._outputs.n_labels:
            return super()._in_numbers()
        others = [each for each in super()._in_numbers() if not each.startswith("temperature_")]
        return [f"log-odds of {self.classes_[1]!s} {self.coef_[-1]:.4g} times, and {self.intercept_[-1]:+.4g}", *others]

    def _fit_labels(self, rows, n_labels):
        if self.pooling == "none":
            # Each label by itself, at the weights of all.
            alone = clone(self).set_params(label_noise=None)
            return super(PlattScaling, alone)._fit_labels(rows, n_labels)
        logits = rows.logits.double()
        z = (logits[:, 1] - logits[:, 0]).view(-1, n_labels).T
        hit, weight = (values.to(z).view(-1, n_labels).T for values in rows[1:3])
        # Of logits of another scale the prior would hold what is wrong.
        _, teach, _, temperature = labels_that_teach(rows, n_labels)
        # A label that a threshold separates could have any gain, and would lend it to all.
        least = z.masked_fill((hit == 0) | (weight == 0), torch.inf).amin(1)
        most = z.masked_fill((hit == 1) | (weight == 0), -torch.inf).amax(1)
        teach = teach.to(z.device)
        errs = teach & ((least <= most) | (least - most).isinf())
        unit = 1.0 if 1 / _SAME_SCALE < temperature < _SAME_SCALE or not errs.any() else temperature
        teach = errs | (teach & errs.any() & (hit.sum(1) < _MANY_HITS))
        pairs, shared, self.n_iter_ = fit_pooled_platt(z / unit, hit, weight, teach, self.pooling)
        scale = torch.tensor([1 / unit, 1.0], dtype=torch.float64)
        return PlattMapOfLabels(coef_=pairs[:, 0] / unit, intercept_=pairs[:, 1], shared_=shared * scale)


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class QuadraticScaling(OneVsRestScaling):
    """Quadratic scaling, one class against the rest: a sigmoid of a quadratic of each class's log-odds, renormalised.

    With p = softmax(logits / T), T the optimal temperature, and z = log(p_k / (1 - p_k)), class k gets
    ``sigmoid(a + b z + c z^2)``, a logistic regression on whether the label is k, and a row is divided by its sum. Of
    two classes it is one quadratic of the logit. Its slope in z changes linearly over the range that z has on the
    samples, from one that is at least 0 to another, and stays what it is at either end beyond: the score never falls.
    Of n samples and K classes it minimises

        mean log loss + (K / n) * penalty * ((slope_low - 1)^2 + (slope_high - 1)^2 + intercept^2),

    which is convex, and tends to temperature scaling as `penalty` grows. The targets are a quarter of the way to
    Platt's, without which flawless samples would make the score ever steeper.

    Parameters
    ----------
    {estimator}
    penalty : float, default=None
        Strength that draws to temperature scaling, at least 0. None chooses it by cross-validation, for all classes
        together: on the way from 1 to weaker ones, the last that gains half a nat out of fold.
    n_folds : int, default=5
        Folds of the calibration set for the strength, at least 2; nothing about them is random.
    {shared_parameters}

    Attributes
    ----------
    slope_low_, slope_high_ : ndarrays of shape (n_classes,)
        Slopes of the score at the least and at the largest log-odds of the samples, at least 0; of equal slopes the
        score is Platt's.
    intercept_ : ndarray of shape (n_classes,)
        The score where z is 0, in nats.
    range_ : ndarray of shape (2, n_classes)
        The least and the largest log-odds of samples with weight.
    penalty_ : float
        The strength given or chosen.
    temperature_ : float
        The optimal T of temperature scaling.
    n_iter_ : int
        How often the losses of the class that took most were evaluated.
    {shared_attributes}

    Warns
    -----
    NotConvergedWarning
        If the temperature is at its bound, or the solver stops early.

    See Also
    --------
    PlattScaling : Without the square.
    BetaCalibration : Two gains, of the logarithms of p and 1 - p.

    Notes
    -----
    Sample weights count as repetitions: n is their sum. The quadratic is what Bayes' rule gives when z is normal in
    class k, and in the rest, with another variance.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import QuadraticScaling
    >>> rng = np.random.default_rng(0)
    >>> margin = rng.uniform(-4.0, 4.0, size=5000)  # two classes: the logit of the second
    >>> y = (margin + margin**2 / 10 + rng.logistic(size=5000) > 0).astype(int)
    >>> proba = QuadraticScaling().fit(margin, y).predict_proba(np.array([-2.0, 0.0, 2.0]))
    >>> proba[:, 1].round(1)  # sigmoid(-1.6), sigmoid(0), sigmoid(2.4)
    array([0.2, 0.5, 0.9])
    """

    penalty: float | None = None
    n_folds: int = 5

    _parameter_constraints = {
        "penalty": [NOT_NEGATIVE, None],
        "n_folds": N_FOLDS,
    }

    _tags = replace(
        OneVsRestScaling._tags,
        n_per_class=0,
        n_free=1,
        holds_out=True,
        compared_classes=2,
        default_candidates={"quadratic": {}},
    )
    _monotone = True
    _map = QuadraticMap
    slope_low_, slope_high_, range_ = Learned(), Learned(), Learned()

    def _ridge(self, map_, scaled, y, sample_weight, unit=None):
        log_odds = _log_odds(scaled)[(sample_weight > 0).to(scaled.device)]
        map_.learn(range_=torch.stack([log_odds.amin(0), log_odds.amax(0)]).cpu())
        weight = sample_weight.to(scaled)
        penalty = self.penalty
        n_effective = weight.sum().item()
        one = scaled.shape[1] / n_effective
        if penalty is None:
            terms = map_.terms(scaled)
            log_proba = torch.log_softmax(logsigmoid(sum(terms)), 1)
            folds = folds_with_weight(draw_folds(log_proba, y, weight, self.n_folds, unit), weight)
            # Nothing can be held out where one fold holds all the weight.
            tried = _MULTIPLES[: None if len(folds) > 1 else 1]
            losses = (out_of_fold_losses(terms, y, weight, folds, multiple * one) for multiple in tried)
            penalty = last_that_gains(zip(tried, losses, strict=True), _LEAST_GAIN / n_effective)
        self.penalty_ = float(penalty)
        return one * self.penalty_


@with_shared_docs
class BetaCalibration(OneVsRestScaling):
    """Beta calibration, one class against the rest: a sigmoid of log p and log(1 - p) for each class, renormalised.

    With p = softmax(logits / T), T the optimal temperature, class k gets
    ``sigmoid(a_k * log(p_k) - b_k * log(1 - p_k) + intercept_k)`` with a, b >= 0, a logistic regression on whether the
    label is k, and a row is divided by its sum. It is what Bayes' rule gives when p_k follows one beta distribution in
    class k and another in the rest. ``a = b = 1, intercept = 0`` is temperature scaling, where the search starts. The
    targets are Platt's, as if one sample more had come out either way: three parameters per class need them.

    Parameters
    ----------
    {estimator}
    {shared_parameters}

    Attributes
    ----------
    a_, b_ : ndarrays of shape (n_classes,)
        Gains of log p and of -log(1 - p), at least 0.
    intercept_ : ndarray of shape (n_classes,)
        Offsets, in nats.
    temperature_ : float
        The optimal T of temperature scaling.
    n_iter_ : int
        How often the losses of the class that took most were evaluated.
    {shared_attributes}

    Warns
    -----
    NotConvergedWarning
        If the temperature is at its bound, or the solver stops early.

    See Also
    --------
    PlattScaling : One gain per class.
    DirichletCalibration : Its generalisation to all classes at once.

    References
    ----------
    M. Kull, T. Silva Filho and P. Flach, "Beta calibration: a well-founded and easily implemented improvement on
    logistic calibration for binary classifiers", AISTATS 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import BetaCalibration
    >>> rng = np.random.default_rng(0)
    >>> margin = rng.normal(scale=3.0, size=5000)  # two classes: the logit of the second
    >>> y = (margin / 2.0 + rng.logistic(size=5000) > 0).astype(int)
    >>> proba = BetaCalibration().fit(margin, y).predict_proba(np.array([-2.0, 0.0, 2.0]))
    >>> proba[:, 1].round(1)  # sigmoid(margin / 2)
    array([0.3, 0.5, 0.7])
    """

    _tags = replace(OneVsRestScaling._tags, n_per_class=3, default_candidates={"beta": {}})
    _monotone = True
    _map = BetaMap
    a_, b_ = Learned(), Learned()


def _log_odds(logits):
    log_p, log_rest = log_odds_terms(logits)
    return log_p - log_rest
