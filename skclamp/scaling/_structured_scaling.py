"""StructuredVectorScaling and StructuredMatrixScaling: affine maps drawn towards temperature scaling."""

from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

from .._solvers.softmax_regression import MatrixRegression, VectorRegression, minimise
from .._utils.docstrings import with_shared_docs
from .._utils.sklearn_private import Interval
from ._affine import StructuredScaling, identity_matrix, identity_vector, matrix_strengths

_STRENGTH = [Interval(Real, 0, None, closed="left")]


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class StructuredVectorScaling(StructuredScaling):
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

    _parameter_constraints: ClassVar[dict] = {
        **StructuredScaling._parameter_constraints,
        "diagonal_penalty": _STRENGTH,
        "intercept_penalty": _STRENGTH,
    }

    _group = "scales and shifts per class"

    @classmethod
    def _default_candidates(cls):
        return [("structured vector", cls())]

    def _solve(self, features, y, sample_weight):
        n_classes = features.shape[1]
        unit = n_classes / self._n_effective
        strengths = [[unit * self.diagonal_penalty], [unit * self.intercept_penalty]]
        solution = minimise(VectorRegression(features, y, sample_weight), identity_vector(n_classes), strengths)
        self.coef_, self.intercept_ = solution.parameters
        return solution


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class StructuredMatrixScaling(StructuredScaling):
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

    _parameter_constraints: ClassVar[dict] = {
        **StructuredScaling._parameter_constraints,
        "off_diagonal_penalty": _STRENGTH,
        "diagonal_penalty": _STRENGTH,
        "intercept_penalty": _STRENGTH,
    }

    _group = "matrices"

    @classmethod
    def _default_candidates(cls):
        def weaker(share):
            return cls(off_diagonal_penalty=share, diagonal_penalty=1 / 16, intercept_penalty=1 / 16)

        # What suits 10 classes is far too strong for 100.
        name = "structured matrix"
        return [(name, cls()), (f"{name} / 16", weaker(1 / 16)), (f"{name} / 256", weaker(1 / 256))]

    def _solve(self, features, y, sample_weight):
        n_classes = features.shape[1]
        unit = n_classes / self._n_effective
        strengths = matrix_strengths(
            n_classes,
            off_diagonal=unit * (n_classes - 1) * self.off_diagonal_penalty,
            diagonal=unit * self.diagonal_penalty,
            intercept=unit * self.intercept_penalty,
        )
        solution = minimise(MatrixRegression(features, y, sample_weight), identity_matrix(n_classes), strengths)
        self.coef_ = solution.parameters[:, :-1].copy()
        self.intercept_ = solution.parameters[:, -1].copy()
        return solution
