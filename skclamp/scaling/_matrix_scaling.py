"""MatrixScaling and DirichletCalibration: free affine maps with off-diagonal and intercept regularisation (ODIR)."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from sklearn.base import clone

from .._judging.splits import draw_folds
from .._solvers.penalty_path import Folds, folds_with_weight, last_that_gains
from .._solvers.softmax_regression import SoftmaxRegression, strengths_by_role
from .._solvers.temperature import DEFAULT_BOUNDS
from .._utils.arrays import absent_among, without
from .._utils.docstrings import with_shared_docs
from .._utils.parameters import N_FOLDS, NOT_NEGATIVE
from .._utils.progress import progress_bar
from ._affine import AffineMap, AffineScaling, largest_of, n_present, unit_of

# Multiples of the strengths that structured matrix scaling fixes: K (K - 1) / n off the diagonal, K / n for offsets.
_OFF_DIAGONAL_MULTIPLES = 4.0 ** np.arange(3, -9, -1)
_INTERCEPT_MULTIPLES = 4.0 ** np.arange(2, -9, -1)
# Relative to this, float64 holds differences of a hundredth.
_LARGEST_RATIO = 1e13


class CentredMap(AffineMap):
    """An affine map of logits less the mean of their row."""

    def features(self, logits):
        return logits - without(logits, absent_among(logits)).sum(1, keepdim=True) / n_present(logits)


@dataclass(eq=False, repr=False, kw_only=True)
class OdirScaling(AffineScaling):
    """An affine map of all classes' features; ridges on the entries off the diagonal, and on the offsets.

    The regression sees features divided by the temperature, so that it starts at the identity; the strengths are meant
    for the coefficients of the features themselves.

    Parameters
    ----------
    off_diagonal_penalty : float, default=None
        Strength that draws the entries off the diagonal to 0, at least 0. None chooses it by cross-validation: the
        lowest out-of-fold NLL on the way from strong to weak.
    intercept_penalty : float, default=None
        Strength that draws the offsets to 0, at least 0. None chooses it in the same way, before the other and with a
        diagonal matrix.
    n_folds : int, default=5
        Folds of the calibration set for the strengths, at least 2. They spread each class and its hard samples evenly,
        and nothing about them is random. Where n_samples * n_classes^2 is above 10^9 one of them judges alone off the
        diagonal.
    """

    off_diagonal_penalty: float | None = None
    intercept_penalty: float | None = None
    n_folds: int = 5

    _parameter_constraints = {
        "off_diagonal_penalty": [NOT_NEGATIVE, None],
        "intercept_penalty": [NOT_NEGATIVE, None],
        "n_folds": N_FOLDS,
    }

    @property
    def _tags(self):
        given = self.off_diagonal_penalty is not None and self.intercept_penalty is not None
        return replace(
            super()._tags,
            n_per_class=2,
            holds_out=True,
            held_out="out of fold" if given else "out of fold, save for the penalties",
            group="matrices",
            # Full matrices of more classes take minutes.
            compared_classes=50,
        )

    def _regression(self, map_, features, y, sample_weight, unit=None):
        n_classes = features.shape[1]
        scale = unit_of(map_.temperature_, features, y, sample_weight)
        data = features / scale, y, sample_weight.to(features)
        # The penalties on mean squares of coefficients for strengths of 1 on squares in the regression.
        units = n_classes * (n_classes - 1) * scale**2, n_classes
        penalties = self.off_diagonal_penalty, self.intercept_penalty
        given = [None if penalty is None else penalty / one for penalty, one in zip(penalties, units, strict=True)]
        off_diagonal, intercept = self._chosen(data, unit, *given)
        self.off_diagonal_penalty_ = off_diagonal * units[0]
        self.intercept_penalty_ = intercept * units[1]
        strengths = strengths_by_role(n_classes, off_diagonal, intercept=intercept)
        return SoftmaxRegression(*data, mixes=True), scale, strengths

    @property
    def _n_free(self):
        if not self.off_diagonal_penalty_:
            return self._n_parameters
        # The gains, and the offsets unless a penalty holds them.
        return len(self.coef_) * (1 if self.intercept_penalty_ else 2)

    def _to_cross_fit(self):
        # With the strengths that all samples chose, which flatters the map: to choose them anew would take most of the
        # time.
        strengths = {name: getattr(self, f"{name}_") for name in ("off_diagonal_penalty", "intercept_penalty")}
        return clone(self).set_params(**strengths)

    def _chosen(self, data, unit, off_diagonal, intercept):
        """Strengths of least out-of-fold loss: of the intercepts with gains alone, then off the diagonal."""
        if off_diagonal is not None and intercept is not None:
            return float(off_diagonal), float(intercept)
        features, y, weight = data
        n_classes = features.shape[1]
        one = n_classes / weight.sum().item()
        numbers = draw_folds(features.log_softmax(1), y, weight, self.n_folds, unit)
        folds = folds_with_weight(numbers, weight)
        if len(folds) < 2:
            off_diagonal = one * (n_classes - 1) if off_diagonal is None else off_diagonal
            return float(off_diagonal), float(one if intercept is None else intercept)

        def walk(name, strengths, losses_of):
            bar = progress_bar(strengths, verbose=self.verbose, unit="strength", desc=name)
            return float(last_that_gains((strength, losses_of(strength)) for strength in bar))

        gains = Folds(data, folds, mixes=False)
        tried = one * _INTERCEPT_MULTIPLES if intercept is None else [intercept]
        intercept = walk("intercept_penalty", tried, lambda strength: gains.losses([0.0, strength]))
        if off_diagonal is not None:
            return float(off_diagonal), intercept
        matrices = Folds(data, folds, mixes=True)
        tried = one * (n_classes - 1) * _OFF_DIAGONAL_MULTIPLES
        penalty_of = partial(strengths_by_role, n_classes, intercept=intercept)
        return walk("off_diagonal_penalty", tried, lambda strength: matrices.losses(penalty_of(strength))), intercept


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class MatrixScaling(OdirScaling):
    """Calibration by an affine map of the logits: ``softmax(coef @ (logits - their mean) + intercept)``.

    It minimises the mean negative log-likelihood (NLL) with off-diagonal and intercept regularisation (ODIR) for K
    classes,

        mean NLL + off_diagonal_penalty / (K (K - 1)) * sum of squares off the diagonal of coef
                 + intercept_penalty / K * sum(intercept^2),

    which is convex. Gains of the classes, on the diagonal, are free. Each row's mean is taken off first, which makes
    the map blind to constants added to it. Without the penalties, K^2 coefficients overfit badly when K is large.

    Parameters
    ----------
    {estimator}
    {off_diagonal_penalty, intercept_penalty, n_folds}
    {shared_parameters}

    Attributes
    ----------
    coef_ : ndarray of shape (n_classes, n_classes)
        What each class's score (row) takes of the centred logits.
    intercept_ : ndarray of shape (n_classes,)
        Offsets, in nats.
    off_diagonal_penalty_, intercept_penalty_ : float
        The strengths given or chosen.
    temperature_ : float
        The optimal T of temperature scaling: the search starts at ``coef_ = identity / T``.
    n_iter_ : int
        How often the last fit read all the logits.
    {shared_attributes}

    Warns
    -----
    NotConvergedWarning
        If the temperature is at its bound, or the solver stops early.

    See Also
    --------
    DirichletCalibration : The same of log-probabilities.
    StructuredMatrixScaling : Penalties of fixed strength: much faster, often as good.

    References
    ----------
    C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.
    M. Kull, M. Perello Nieto, M. Kängsepp, T. Silva Filho, H. Song and P. Flach, "Beyond temperature scaling: Obtaining
    well-calibrated multi-class probabilities with Dirichlet calibration", NeurIPS 2019 (ODIR).

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import MatrixScaling
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(4000, 3))
    >>> confusion = np.array([[0.5, 0.2, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 0.5]])  # class 0 should take of class 1
    >>> y = (logits @ confusion.T + rng.gumbel(size=logits.shape)).argmax(axis=1)
    >>> calibrator = MatrixScaling().fit(logits, y)
    >>> (calibrator.coef_[0] - calibrator.coef_[2]).round(1)
    array([ 0.4,  0.1, -0.6])
    """

    _map = CentredMap

    def _regression(self, map_, features, y, sample_weight, unit=None):
        largest = largest_of(features)
        temperature = unit_of(map_.temperature_, features, y, sample_weight)
        if largest > _LARGEST_RATIO * temperature > _LARGEST_RATIO * DEFAULT_BOUNDS[0]:
            raise ValueError(
                f"X must hold logits of at most {_LARGEST_RATIO:g} times the temperature, beside which the others of "
                f"their row are lost in its mean; got {largest:g} at a temperature of {temperature:g}. Clip what "
                "stands for a class that is impossible, or take DirichletCalibration"
            )
        return super()._regression(map_, features, y, sample_weight, unit)


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class DirichletCalibration(OdirScaling):
    """Dirichlet calibration: an affine map of log-probabilities, ``softmax(coef @ log_softmax(logits) + intercept)``.

    It is what Bayes' rule gives when the probabilities of each class's samples follow a Dirichlet distribution. It
    minimises the mean negative log-likelihood (NLL) with off-diagonal and intercept regularisation (ODIR) for K
    classes,

        mean NLL + off_diagonal_penalty / (K (K - 1)) * sum of squares off the diagonal of coef
                 + intercept_penalty / K * sum(intercept^2),

    which is convex. Gains of the classes, on the diagonal, are free. Without the penalties, K^2 coefficients overfit
    badly when K is large.

    Parameters
    ----------
    {estimator}
    {off_diagonal_penalty, intercept_penalty, n_folds}
    {shared_parameters}

    Attributes
    ----------
    coef_ : ndarray of shape (n_classes, n_classes)
        What each class's score (row) takes of the log-probabilities.
    intercept_ : ndarray of shape (n_classes,)
        Offsets, in nats.
    off_diagonal_penalty_, intercept_penalty_ : float
        The strengths given or chosen.
    temperature_ : float
        The optimal T of temperature scaling: the search starts at ``coef_ = identity / T``.
    n_iter_ : int
        How often the last fit read all the logits.
    {shared_attributes}

    Warns
    -----
    NotConvergedWarning
        If the temperature is at its bound, or the solver stops early.

    See Also
    --------
    MatrixScaling : The same of logits.
    StructuredMatrixScaling : Penalties of fixed strength: much faster, often as good.

    References
    ----------
    M. Kull, M. Perello Nieto, M. Kängsepp, T. Silva Filho, H. Song and P. Flach, "Beyond temperature scaling: Obtaining
    well-calibrated multi-class probabilities with Dirichlet calibration", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import DirichletCalibration
    >>> rng = np.random.default_rng(0)
    >>> proba = rng.dirichlet([1.0, 1.0, 1.0], size=4000)
    >>> y = (2.0 * np.log(proba) + rng.gumbel(size=proba.shape)).argmax(axis=1)  # the network is too cautious
    >>> calibrator = DirichletCalibration(response="probabilities").fit(proba, y)
    >>> calibrator.coef_.diagonal().round()
    array([2., 2., 2.])
    """
