"""EnsembleTemperatureScaling: a mixture of tempered, plain and uniform probabilities."""

import math

import numpy as np
import torch

from .._solvers.by_gradient import minimise_by_gradient
from .._solvers.temperature import DEFAULT_BOUNDS, first_temperature, log_likelihoods
from .._utils.docstrings import with_shared_docs
from .._utils.warnings import note_unconverged
from ..base import BaseCalibrator, Map
from ..base._map import Learned
from ..base._tags import MapTags
from ._affine import n_present

# Where the search starts, what it takes for none, and when it ends.
_FIRST_SHARES = (0.98, 0.01, 0.01)
_MIN_SHARE = 1e-8
_OPTIONS = {"ftol": 1e-10, "gtol": 1e-6}
# Whose quotients by any temperature are finite.
_LEAST_LOGIT = -1e300


class EnsembleMap(Map):
    """Shares ``weights_`` of tempered, plain and uniform probabilities."""

    def transform(self, logits):
        uniform = -n_present(logits).log().expand_as(logits)
        parts = [(logits / self.temperature_).log_softmax(1), logits.log_softmax(1), uniform]
        shares = self.weights_.to(logits).log()
        return torch.logsumexp(torch.stack(parts) + shares[:, None, None], 0)

    @property
    def n_parameters(self):
        # The shares sum to 1: one of them follows from the others.
        return super().n_parameters - 1


@with_shared_docs
class EnsembleTemperatureScaling(BaseCalibrator):
    """Ensemble temperature scaling (ETS): ``w0 softmax(logits / T) + w1 softmax(logits) + w2 / n_classes``.

    T and the weights, which are non-negative and sum to 1, minimise the NLL together: it is convex in the weights, and
    the best T is sought near that of temperature scaling, which is ``w = (1, 0, 0)``. The predicted class stays what it
    was; w2 keeps every probability away from 0.

    Parameters
    ----------
    {estimator}
    {shared_parameters}

    Attributes
    ----------
    temperature_ : float
        The temperature of the first part.
    weights_ : ndarray of shape (3,)
        Shares of the tempered, the plain and the uniform probabilities.
    {shared_attributes}

    Warns
    -----
    NotConvergedWarning
        If the NLL still falls beyond the bounds of the temperature, 1e-4 and 1e4, or the solver stops early.

    See Also
    --------
    TemperatureScaling : The first part alone.

    References
    ----------
    J. Zhang, B. Kailkhura and T. Y.-J. Han, "Mix-n-Match: Ensemble and compositional methods for uncertainty
    calibration in deep learning", ICML 2020, section 3.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import EnsembleTemperatureScaling
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(20000, 4))
    >>> y = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
    >>> noisy = rng.random(20000) < 0.2  # a fifth of the labels are drawn blindly
    >>> y[noisy] = rng.integers(4, size=noisy.sum())
    >>> calibrator = EnsembleTemperatureScaling().fit(logits, y)
    >>> round(float(calibrator.weights_[2]), 1)
    0.2
    """

    temperature_ = Learned()
    weights_ = Learned()
    _tags = MapTags(
        map_of_labels="all",
        group="temperatures",
        treats_classes_alike=True,
        n_free="all",
        default_candidates={"ensemble temperature": {}},
        where_dense="pooled",
    )

    def _fit_logits(self, logits, y, sample_weight):
        solution = first_temperature(logits, y, sample_weight)
        if solution.prior_strength:
            # Errors are too few for this T too, and for shares.
            return EnsembleMap(temperature_=solution.temperature, weights_=np.array([1.0, 0.0, 0.0]))
        # Of classes that a sample doesn't have -inf would have a slope that is no number.
        logits, y = logits.double(), y.to(logits.device)
        finite = logits.clamp(min=_LEAST_LOGIT)
        theta = torch.tensor([math.log(solution.temperature), *_FIRST_SHARES]).to(finite).requires_grad_()

        def loss(logits, y, weight, plain, uniform):
            # Maximising ``mean log(parts @ shares) - sum(shares)`` over all shares makes their sum 1.
            shares = theta[1:]
            tempered = (logits / theta[0].exp()).log_softmax(1).gather(1, y)[:, 0]
            mixed = torch.logsumexp(torch.stack([tempered, plain, uniform]) + shares.log()[:, None], 0)
            return weight.sum() * shares.sum() - weight @ mixed

        weight = (sample_weight / sample_weight.sum()).to(finite)
        data = finite, y[:, None], weight, log_likelihoods(logits, y, 1.0), -n_present(logits)[:, 0].log()
        bounds = [tuple(np.log(DEFAULT_BOUNDS)), *[(0.1 * _MIN_SHARE, None)] * 3]
        note_unconverged(minimise_by_gradient(loss, [theta], data, bounds=bounds, **_OPTIONS).success)
        found = theta.detach().cpu().numpy()
        shares = np.where(found[1:] < _MIN_SHARE, 0, found[1:])
        return EnsembleMap(temperature_=math.exp(found[0]), weights_=shares / shares.sum())
