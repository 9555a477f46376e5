"""LocalTemperatureScaling: a temperature for each row of logits, by how far it leads and how spread it is."""

import math

import numpy as np
import torch

from .._judging.paired import of_groups, student_below_zero
from .._judging.splits import folds_of_rows
from .._solvers.by_gradient import minimise_by_gradient
from .._solvers.temperature import first_temperature, log_likelihoods, solve_temperature
from .._utils.arrays import at_labels, counted_rows
from .._utils.docstrings import with_shared_docs
from .._utils.least_probability import LOG_MIN_PROBABILITY
from .._utils.outputs import Rows
from .._utils.warnings import note_unconverged
from ..base import BaseCalibrator, Map
from ..base._map import Learned, Temperature
from ..base._tags import MapTags

_N_FOLDS = 5
# Of Student's test whether one T for each row has a lower loss: two standard errors where samples are many.
_LEVEL = 0.025
# A quadratic penalty counts as so many samples; features that vary less than this are constants.
_PENALTY = 10.0
_LEAST_SCALE = 1e-3
# Of dense outputs, rows that coefficients come from, at about the most.
_MOST_ROWS = 1 << 18
_TOLERANCE = 1e-13
_GRADIENT_TOLERANCE = 1e-7


class LocalTemperature(Map):
    """Divides each row by ``temperature_`` and the exponential of what ``coef_`` make of its features."""

    @property
    def n_parameters(self):
        """Number of floats that the fit has set; the limits of features are none."""
        return 1 + self.coef_.numel()

    def transform(self, logits):
        scaled = logits / self.temperature_
        # Beyond what the fit has seen nothing says how T goes on.
        features = features_of(scaled).clamp(self.low_.to(logits), self.high_.to(logits))
        return scaled * torch.exp(-(features @ self.coef_.to(logits)))[:, None]


def features_of(scaled):
    """Features (n, 3) of rows of temperature-scaled logits: a constant, log(1 + margin of the first two), entropy."""
    log_proba = scaled.log_softmax(1).clamp(min=LOG_MIN_PROBABILITY)
    first, second = log_proba.topk(2, 1).values.unbind(1)
    entropy = -(log_proba.exp() * log_proba).sum(1)
    return torch.stack([torch.ones_like(first), torch.log1p(first - second), entropy], 1)


@with_shared_docs
class LocalTemperatureScaling(BaseCalibrator):
    """Calibration by a temperature for each sample, or place of one, that its own logits tell (LTS).

    ``T = temperature_ * exp(coef_ @ [1, log(1 + m), h])``, where m is the margin between the two greatest logits of
    temperature scaling, at most 36, and h the entropy of its probabilities, both held within what the fit has seen. The
    coefficients minimise the negative log-likelihood
    with a quadratic penalty. They are kept only where folds over samples prove that they lower it: by Student's test of
    the samples' paired losses, beyond two standard errors. Elsewhere it is `TemperatureScaling` to the bit. An image
    with a class at each place is one sample, and so are those that share one of `fit`'s ``groups``. The predicted class
    stays what it was.

    Parameters
    ----------
    {estimator}
    {shared_parameters}

    Attributes
    ----------
    temperature_ : float
        The T of temperature scaling.
    coef_ : ndarray of shape (3,)
        Of a constant, log(1 + m) and h in the logarithm of T over ``temperature_``; zeros where one T is kept.
    accepted_ : bool
        Whether folds prove that these lower the loss.
    difference_ : list of two floats
        Mean difference of the NLL out of fold to one T, of a sample, label or place, and its standard error. It is set
        only where some were held out.
    {shared_attributes}

    Warns
    -----
    NotConvergedWarning
        If the NLL still falls beyond the bounds of the temperature, 1e-4 and 1e4, or the solver stops early.

    See Also
    --------
    TemperatureScaling : One temperature for all.
    ParameterizedTemperatureScaling : A network tells the temperature of a row, unjudged.

    Notes
    -----
    The paper's network sees the image and its logits around each place. This sees the logits of the place alone: few
    samples set three numbers, not a network.

    References
    ----------
    Z. Ding, X. Han, P. Liu and M. Niethammer, "Local Temperature Scaling for Probability Calibration", ICCV 2021.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import LocalTemperatureScaling
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(4000, 4))
    >>> margin = np.diff(np.sort(logits)[:, -2:])
    >>> y = (logits / (1 + margin) + rng.gumbel(size=logits.shape)).argmax(axis=1)  # the surer, the more too sure
    >>> calibrator = LocalTemperatureScaling().fit(logits, y)
    >>> calibrator.accepted_, bool(calibrator.coef_[1] > 0)
    (True, True)
    """

    temperature_ = Learned()
    _tags = MapTags(
        map_of_labels="all",
        holds_out=True,
        # One class a sample has one temperature, where nobody names it.
        compared_samples=math.inf,
        where_dense="compared",
        group="temperatures",
        needs_independence=False,
        treats_classes_alike=True,
        n_free="all",
    )

    def _fit_logits(self, logits, y, sample_weight, unit=None):
        rows = Rows(logits, y, sample_weight, unit).take(sample_weight > 0)
        solution = first_temperature(*rows[:3])
        self.accepted_ = False
        self.coef_ = np.zeros(3)
        if len(rows.y) > _MOST_ROWS:
            total = rows.weight.sum()
            rows = rows.take(counted_rows(rows.weight, _MOST_ROWS))
            rows = rows._replace(weight=rows.weight * (total / rows.weight.sum()))
        numbers = folds_of_rows(rows, _N_FOLDS)
        # Samples that say too little of one T do of several; and without folds nothing judges.
        if numbers.any() and not (solution.prior_strength or solution.at_bound):
            differences = np.empty(len(numbers))
            for k in range(numbers.max() + 1):
                held_out = torch.from_numpy(numbers == k)
                train = rows.take(~held_out)
                held = rows.take(held_out)
                found = solve_temperature(train.logits, train.y, sample_weight=train.weight, prior=True)
                plain = Temperature(temperature_=found.temperature)
                local = _localised(plain.temperature_, train)
                differences[held_out.numpy()] = _losses(local, held) - _losses(plain, held)
            judged = of_groups(differences, rows.weight.cpu().numpy(), rows.unit)
            *self.difference_, p_value = student_below_zero(*judged)
            self.accepted_ = p_value < _LEVEL
        if not self.accepted_:
            return Temperature(temperature_=solution.temperature)
        local = _localised(solution.temperature, rows)
        self.coef_ = local.coef_.cpu().numpy()
        return local

    def _sentences(self):
        yield from super()._sentences()
        # Where some were held out.
        if hasattr(self, "difference_"):
            mean, error = self.difference_
            kept = "A T for each row is kept" if self.accepted_ else "One T is kept"
            yield f"{kept}: out of fold, a T for each changes the NLL by {mean:+.2g} ± {error:.2g}."


def _losses(map_, rows):
    return -log_likelihoods(map_(rows.logits.double()), rows.y, 1.0).cpu().numpy()


def _localised(temperature, rows):
    """Return the local map of least penalised NLL of rows with weight, from one temperature."""
    total = rows.weight.sum().item()
    scaled = (rows.logits.double() / temperature).log_softmax(1)
    features = features_of(scaled)
    share = (rows.weight / total).to(features)
    mean = share @ features
    scale = (share @ (features - mean).square()).sqrt().clamp(min=_LEAST_SCALE)
    # The constant stays.
    mean[0] = 0.0
    scale[0] = 1.0
    # Classes that a sample doesn't have must have gradients.
    scaled.clamp_(min=torch.finfo(scaled.dtype).min)
    theta = torch.zeros(3).to(features).requires_grad_()

    def loss(scaled, y, standardised, share):
        log_proba = (scaled * torch.exp(-(standardised @ theta))[:, None]).log_softmax(1)
        return -(share @ at_labels(log_proba, y))

    data = scaled, rows.y, (features - mean) / scale, share
    limits = {"ftol": _TOLERANCE, "gtol": _GRADIENT_TOLERANCE}
    note_unconverged(minimise_by_gradient(loss, [theta], data, penalty=_PENALTY / total, **limits).success)
    coef = theta.detach() / scale
    coef[0] -= mean @ coef
    return LocalTemperature(temperature_=temperature, coef_=coef, low_=features.amin(0), high_=features.amax(0))
