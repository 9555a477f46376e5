"""Affine maps of log-probabilities: vector scaling, and its structured forms of a diagonal and a full matrix."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch

from .._solvers.softmax_regression import SoftmaxRegression, minimise, strengths_by_role
from .._solvers.temperature import DEFAULT_BOUNDS, first_temperature, solve_temperature
from .._utils.arrays import absent_again, absent_among, without
from .._utils.docstrings import with_shared_docs
from .._utils.parameters import NOT_NEGATIVE
from ..base import BaseCalibrator, Map
from ..base._map import Learned
from ..base._tags import MapTags

# Features are brought below this, by a power of two, where no temperature within its bounds calms them.
_LARGEST_FEATURE = 2.0**10
_STRENGTH = [NOT_NEGATIVE]
# Beside the sum of losses, what draws gains and offsets to temperature scaling: hardly seen of many samples, enough for
# few separable ones.
_PRIOR = np.array([0.25, 0.125])
_WEAK = {"diagonal_penalty": 1 / 16, "intercept_penalty": 1 / 16}


def n_present(logits):
    """Number of classes that each row has, (n, 1), of the logits' dtype."""
    return (logits > -torch.inf).sum(1, keepdim=True).to(logits)


class AffineMap(Map):
    """An affine map of the log-probabilities; subclasses take other features.

    Classes that a sample doesn't have, with logits of -inf, add nothing to the others' scores and have none.
    """

    def features(self, logits):
        """Float64 rows that don't change with a constant added to a row of logits."""
        return torch.log_softmax(logits, 1)

    def transform(self, logits):
        features = self.features(logits)
        absent = absent_among(features)
        features = without(features, absent)
        coef = self.coef_.to(features)
        intercept = self.intercept_.to(features)
        linear = coef.ndim == 1
        mapped = torch.addcmul(intercept, features, coef) if linear else torch.addmm(intercept, features, coef.T)
        return absent_again(mapped, absent)

    @property
    def n_parameters(self):
        # Without T: maps of one form tie, whether they keep it apart or their gains absorb it.
        return self.coef_.numel() + self.intercept_.numel()


class SmoothedMap(AffineMap):
    """An affine map of smoothed log-probabilities at the optimal temperature."""

    def features(self, logits):
        """Logarithms of softmax(logits / T) mixed with one part in n + 1 of the uniform distribution."""
        proba = self.n_effective * torch.softmax(logits / self.temperature_, 1)
        mixed = torch.log((proba + 1 / n_present(logits)) / (self.n_effective + 1))
        return absent_again(mixed, absent_among(logits))


class AffineScaling(BaseCalibrator):
    """Learns an affine map of features.

    Hook: ``_regression(map_, features, y, sample_weight)`` returns a `SoftmaxRegression` on features over a unit, that
    unit, and the strengths of a penalty. The map, of the class `_map`, knows the temperature by then.

    Attributes
    ----------
    seen_ : ndarray of shape (n_classes,), dtype bool
        Whether the calibration set holds a sample with weight of each class. Nothing is learned of the others:
        temperature scaling sets their probabilities, and learned arrays have entries of the classes with samples alone.
    """

    _tags: ClassVar[Any] = MapTags(learns_by_class=True, map_of_labels=None, n_free=1)
    _map: type[AffineMap] = AffineMap
    temperature_, coef_, intercept_ = Learned(), Learned(), Learned()

    def _fit_logits(self, logits, y, sample_weight, **told):
        found = first_temperature(logits, y, sample_weight)
        map_ = self._map(temperature_=found.temperature, n_effective=sample_weight.sum().item())
        features = map_.features(logits.double())
        regression, unit, penalty = self._regression(map_, features, y, sample_weight, **told)
        solution = minimise(regression, penalty)
        self.n_iter_ = solution.n_evaluations
        parameters = solution.parameters.cpu()
        return map_.learn(coef_=parameters[:, :-1].squeeze(1) / unit, intercept_=parameters[:, -1])


def unit_of(temperature, features, y, sample_weight):
    """Return the divisor of features with which the search starts at the identity: the temperature.

    Where it is at its upper bound and logits are so large that more is needed, the best without a bound.
    """
    scale = 2.0 ** np.ceil(np.log2(max(largest_of(features), 1) / _LARGEST_FEATURE))
    if temperature < DEFAULT_BOUNDS[1] or scale <= temperature:
        return temperature
    return scale * solve_temperature(features / scale, y, sample_weight=sample_weight).temperature


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class VectorScaling(AffineScaling):
    """Calibration by one gain and one offset per class: ``softmax(coef * log_softmax(logits) + intercept)``.

    Both minimise the negative log-likelihood, which is convex in them; the search starts at the optimal temperature.
    The log-softmax makes the map blind to constants added to a row of logits. With T that temperature and n samples

        prior_strength * (sum((T * coef - 1)^2) / 4 + sum(intercept^2) / 8) / n

    joins the mean loss. This weak prior keeps maps of few or separable samples near temperature scaling, and is hardly
    seen of many: it doesn't grow with n.

    Parameters
    ----------
    {estimator}
    prior_strength : float, default=1.0
        Strength of the prior, at least 0: without it a map of few samples can be far worse than no calibration. The
        maps that clamps and selectors choose from have none, since folds judge them.
    {shared_parameters}

    Attributes
    ----------
    coef_ : ndarray of shape (n_classes,)
        Gains of the log-probabilities.
    intercept_ : ndarray of shape (n_classes,)
        Offsets, in nats.
    temperature_ : float
        The optimal T of temperature scaling: the search starts at ``coef_ = 1 / T``.
    n_iter_ : int
        How often the solver read all the logits after that.
    {shared_attributes}

    Warns
    -----
    NotConvergedWarning
        If the temperature is at its bound, or the solver stops early.

    See Also
    --------
    StructuredVectorScaling : The same map drawn more towards temperature scaling; better where samples per class are
        few.
    MatrixScaling : Mixes the logits of different classes.

    Notes
    -----
    Sample weights count as repetitions: n is their sum.

    References
    ----------
    C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import VectorScaling
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(4000, 3))
    >>> bias = np.array([0.0, 1.0, 2.0])  # what the network gets wrong
    >>> y = (logits / 2.0 + bias + rng.gumbel(size=logits.shape)).argmax(axis=1)
    >>> calibrator = VectorScaling().fit(logits, y)
    >>> (calibrator.intercept_ - calibrator.intercept_[0]).round(1)
    array([0., 1., 2.])
    """

    prior_strength: float = 1.0

    _parameter_constraints = {"prior_strength": _STRENGTH}

    _tags = replace(
        AffineScaling._tags,
        n_per_class=2,
        # Nothing holds a gain of a class whose samples are all right: worse by a half with 25 samples a number, still.
        enough_per_number=50,
        n_free="all",
        group="scales and shifts per class",
        default_candidates={"vector": {"prior_strength": 0.0}},
        where_dense="compared",
    )

    def _regression(self, map_, features, y, sample_weight):
        unit = unit_of(map_.temperature_, features, y, sample_weight)
        strengths = self.prior_strength / map_.n_effective * _PRIOR
        return SoftmaxRegression(features / unit, y, sample_weight, mixes=False), unit, strengths


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class StructuredVectorScaling(AffineScaling):
    """Structured vector scaling (SVS): one gain and one offset per class on the temperature-scaled log-probabilities.

    With x the logarithms of softmax(logits / T), T the optimal temperature, of n samples and K classes, the map is
    ``softmax(coef * x + intercept)``, and it minimises

        mean NLL + (K / n) * (diagonal_penalty * sum((coef - 1)^2) + intercept_penalty * sum(intercept^2)),

    which is convex. As strengths grow it tends to temperature scaling, as n grows to vector scaling. The probabilities
    are first mixed with one part in n + 1 of the uniform distribution, so that no logarithm is extreme.

    Parameters
    ----------
    {estimator}
    diagonal_penalty : float, default=1.0
        Strength that draws the gains to 1, at least 0.
    intercept_penalty : float, default=1.0
        Strength that draws the offsets to 0, at least 0.
    {shared_parameters}

    Attributes
    ----------
    coef_ : ndarray of shape (n_classes,)
        Gains of the temperature-scaled log-probabilities.
    intercept_ : ndarray of shape (n_classes,)
        Offsets, in nats.
    temperature_ : float
        The optimal T.
    n_iter_ : int
        How often the solver read all the logits after that.
    {shared_attributes}

    Warns
    -----
    NotConvergedWarning
        If the temperature is at its bound, or the solver stops early.

    See Also
    --------
    StructuredMatrixScaling : Mixes the log-probabilities of different classes too.

    Notes
    -----
    Sample weights count as repetitions: n is their sum.

    References
    ----------
    E. Berta, D. Holzmüller, M. I. Jordan and F. Bach, "Structured matrix scaling for multi-class calibration", 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import StructuredVectorScaling
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 5))
    >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)  # labels drawn from softmax(logits / 2)
    >>> calibrator = StructuredVectorScaling().fit(logits, y)
    >>> round(calibrator.temperature_, 2)
    2.08
    >>> calibrator.coef_.round(2)
    array([1.05, 0.95, 1.04, 1.06, 0.91])
    """

    diagonal_penalty: float = 1.0
    intercept_penalty: float = 1.0

    _parameter_constraints = {
        "diagonal_penalty": _STRENGTH,
        "intercept_penalty": _STRENGTH,
    }

    _map = SmoothedMap
    _tags = replace(
        AffineScaling._tags,
        group="scales and shifts per class",
        default_candidates={"structured vector": {}},
        where_dense="pooled",
    )

    def _regression(self, map_, features, y, sample_weight):
        unit = features.shape[1] / map_.n_effective
        strengths = [unit * self.diagonal_penalty, unit * self.intercept_penalty]
        return SoftmaxRegression(features, y, sample_weight, mixes=False), 1.0, strengths


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class StructuredMatrixScaling(AffineScaling):
    """Structured matrix scaling (SMS): an affine map of the temperature-scaled log-probabilities, near the identity.

    With x the logarithms of softmax(logits / T), T the optimal temperature, of n samples and K classes, the map is
    ``softmax(coef @ x + intercept)``, and it minimises

        mean NLL + (K / n) * (  off_diagonal_penalty * (K - 1) * sum of squares off the diagonal of coef
                              + diagonal_penalty * sum of squares of (its diagonal - 1)
                              + intercept_penalty * sum(intercept^2)),

    which is convex. As strengths grow it tends to temperature scaling, as n grows to matrix scaling: the entries that
    are many are held most. The probabilities are first mixed with one part in n + 1 of the uniform distribution, so
    that no logarithm is extreme.

    Parameters
    ----------
    {estimator}
    off_diagonal_penalty : float, default=1.0
        Strength that draws the entries off the diagonal to 0, at least 0.
    diagonal_penalty : float, default=1.0
        Strength that draws the diagonal to 1, at least 0.
    intercept_penalty : float, default=1.0
        Strength that draws the offsets to 0, at least 0.
    {shared_parameters}

    Attributes
    ----------
    coef_ : ndarray of shape (n_classes, n_classes)
        What each class's score (row) takes of the temperature-scaled log-probabilities.
    intercept_ : ndarray of shape (n_classes,)
        Offsets, in nats.
    temperature_ : float
        The optimal T.
    n_iter_ : int
        How often the solver read all the logits after that.
    {shared_attributes}

    Warns
    -----
    NotConvergedWarning
        If the temperature is at its bound, or the solver stops early.

    See Also
    --------
    StructuredVectorScaling : The same with a diagonal matrix.
    MatrixScaling, DirichletCalibration : Leave the diagonal free, and choose the strengths by cross-validation.

    Notes
    -----
    Sample weights count as repetitions: n is their sum.

    References
    ----------
    E. Berta, D. Holzmüller, M. I. Jordan and F. Bach, "Structured matrix scaling for multi-class calibration", 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import StructuredMatrixScaling
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(500, 3))
    >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)  # labels drawn from softmax(logits / 2)
    >>> calibrator = StructuredMatrixScaling().fit(logits, y)
    >>> calibrator.coef_.shape
    (3, 3)
    >>> calibrator.coef_.diagonal().round(1)
    array([1., 1., 1.])
    """

    off_diagonal_penalty: float = 1.0
    diagonal_penalty: float = 1.0
    intercept_penalty: float = 1.0

    _parameter_constraints = {
        "off_diagonal_penalty": _STRENGTH,
        "diagonal_penalty": _STRENGTH,
        "intercept_penalty": _STRENGTH,
    }

    _map = SmoothedMap
    _tags = replace(
        AffineScaling._tags,
        group="matrices",
        # What suits 10 classes is far too strong for 100.
        default_candidates={
            "structured matrix": {},
            "structured matrix / 16": {"off_diagonal_penalty": 1 / 16, **_WEAK},
            "structured matrix / 256": {"off_diagonal_penalty": 1 / 256, **_WEAK},
        },
    )

    def _regression(self, map_, features, y, sample_weight):
        n_classes = features.shape[1]
        strengths = strengths_by_role(
            n_classes,
            (n_classes - 1) * self.off_diagonal_penalty,
            diagonal=self.diagonal_penalty,
            intercept=self.intercept_penalty,
        )
        strengths *= n_classes / map_.n_effective
        return SoftmaxRegression(features, y, sample_weight, mixes=True), 1.0, strengths


def largest_of(features):
    """The largest magnitude among features, those of -inf left aside."""
    return features.nan_to_num(neginf=0.0).abs().max().item()
