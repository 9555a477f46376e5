"""VectorScaling: one gain and one offset per class."""

import torch

from .._solvers.softmax_regression import VectorRegression, minimise
from .._utils.docstrings import with_shared_docs
from ._affine import AffineScaling, identity_vector


@with_shared_docs
class VectorScaling(AffineScaling):
    """Calibration by one gain and one offset per class: ``softmax(coef * log_softmax(logits) + intercept)``.

    Both minimise the negative log-likelihood, which is convex in them; the search starts at the optimal temperature.
    The log-softmax makes the map blind to constants added to a row of logits. A ridge too weak to be seen otherwise
    keeps the optimum finite where the data are separable or miss a class.

    Parameters
    ----------
    {estimator}
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
    StructuredVectorScaling : The same map drawn towards temperature scaling; better where samples per class are few.
    MatrixScaling : Mixes the logits of different classes.

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
    array([0. , 1.1, 2. ])
    """

    _n_per_class = 2
    _group = "scales and shifts per class"

    @classmethod
    def _default_candidates(cls):
        return [("vector", cls())]

    @property
    def _n_free(self):
        return self._n_parameters

    def _features(self, logits):
        return torch.log_softmax(logits, 1)

    def _solve(self, features, y, sample_weight):
        unit = self._unit(features, y, sample_weight)
        regression = VectorRegression(features / unit, y, sample_weight)
        solution = minimise(regression, identity_vector(features.shape[1]))
        gain, self.intercept_ = solution.parameters
        self.coef_ = gain / unit
        return solution
