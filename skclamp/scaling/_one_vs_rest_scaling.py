"""PlattScaling and BetaCalibration: each class calibrated against the rest, then renormalised."""

from typing import ClassVar

import torch
from torch.nn.functional import logsigmoid

from .._solvers.one_vs_rest import fit_one_vs_rest, log_odds_terms
from .._utils.docstrings import with_shared_docs
from ._temperature_scaling import TemperatureFirst


class OneVsRestScaling(TemperatureFirst):
    """A sigmoid of terms of each class's log-odds at the optimal temperature.

    Subclasses implement ``_terms(logits)``, a list, and name in `_arrays` the attributes of their coefficients and,
    last, of the offset.
    """

    _takes_absent = False
    _n_per_class = 2
    _group = "scales and shifts per class"
    _monotone = False

    def _fit_map(self, logits, y, sample_weight):
        solution = fit_one_vs_rest(self._terms(logits / self.temperature_), y, sample_weight, monotone=self._monotone)
        self.__dict__.update(zip(self._arrays, solution.parameters, strict=True))
        return solution

    def _transform_logits(self, logits):
        *coefs, score = (torch.as_tensor(getattr(self, name)).to(logits) for name in self._arrays)
        for coef, term in zip(coefs, self._terms(logits / self.temperature_), strict=True):
            score = torch.addcmul(score, coef, term)
        return logsigmoid(score)

    @property
    def _n_free(self):
        return self._n_parameters


@with_shared_docs
class PlattScaling(OneVsRestScaling):
    """Platt scaling, one class against the rest: a sigmoid of each class's log-odds, renormalised.

    With p = softmax(logits / T), T the optimal temperature, class k gets
    ``sigmoid(coef_k * log(p_k / (1 - p_k)) + intercept_k)``, a logistic regression on whether the label is k, and a row
    is divided by its sum. ``coef = 1, intercept = 0`` is temperature scaling, where the search starts. The targets are
    Platt's, as if one sample more had come out either way: few samples of a class, or separable ones, need them.

    Parameters
    ----------
    {estimator}
    {shared_parameters}

    Attributes
    ----------
    coef_ : ndarray of shape (n_classes,)
        Gains of the log-odds.
    intercept_ : ndarray of shape (n_classes,)
        Offsets, in nats.
    temperature_ : float
        The optimal T of temperature scaling.
    n_iter_ : int
        Newton steps of the class that took most.
    {shared_attributes}

    Warns
    -----
    NotConvergedWarning
        If the temperature is at its bound, or the solver stops early.

    See Also
    --------
    BetaCalibration : Two gains per class.
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
    >>> calibrator.intercept_.round(1)
    array([-1.,  1.])
    """

    _arrays = "coef_", "intercept_"

    def _terms(self, logits):
        log_p, log_rest = log_odds_terms(logits)
        return [log_p - log_rest]


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
        Newton steps of the class that took most.
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

    _n_per_class = 3
    _monotone = True
    _arrays = "a_", "b_", "intercept_"
    _default_candidates: ClassVar = {"beta": {}}

    def _terms(self, logits):
        log_p, log_rest = log_odds_terms(logits)
        return [log_p, -log_rest]
