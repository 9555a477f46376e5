"""TemperatureScaling: one temperature for all logits."""

from dataclasses import dataclass

import numpy as np

from .._solvers.temperature import DEFAULT_BOUNDS, ENOUGH_ERRORS, solve_temperature, warn_of_bound
from .._utils.docstrings import with_shared_docs
from .._utils.parameters import NOT_NEGATIVE
from ..base._map import Learned, Temperature
from ..base._seen_classes import labels_that_teach
from ..base._tags import MapTags
from ._label_noise import BesideWrongLabels


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class TemperatureScaling(BesideWrongLabels):
    """Calibration by one temperature: ``softmax(logits / T)``, with T at the exact optimum of the loss.

    The predicted class stays what it was; only the confidence changes. The mean negative log-likelihood (NLL) is convex
    in 1/T, so its optimum is unique, and found to rounding error, usually in two passes over the logits. The memory
    needed beyond the logits is below 64 MB whatever their number.

    Parameters
    ----------
    {estimator}
    gamma : float, default=0.0
        Focusing parameter of the focal loss that T minimises, at least 0; at 0 it is the NLL. The focal loss isn't
        convex: the best of the valleys that a grid on log T shows is taken. Values above 0 make probabilities less
        confident.
    bounds : tuple of two floats, default=(1e-4, 1e4)
        Least and largest temperature, both positive; equal ones fix T. T ends at the largest where the labels' logits
        are on average no higher than the others. Where no label has a lower logit than another class (separable data),
        the loss falls as long as T does: see Notes.
    {label_noise}
    {shared_parameters}

    Attributes
    ----------
    temperature_ : float
        The optimal T.
    {label_noise_}
    n_iter_ : int
        How often the solver read all the logits.
    {shared_attributes}

    Warns
    -----
    NotConvergedWarning
        If the loss still falls beyond one of the `bounds`, as it does where all samples are flawless, or the solver
        stops early.

    See Also
    --------
    skclamp.NeuralClampingCalibrator : Learns a perturbation of the input together with the temperature.

    Notes
    -----
    How sure to be is learned from errors. T needs about ten, however many samples there are. Flawless samples say that
    T is small, not how small: at the least of the `bounds` a single error on new samples would cost thousands of nats.
    There log T has a logistic prior around 0 of scale 0.2, and labels are smoothed by an eighth of what Platt does, as
    if one of 8 (n + 2) were wrong. Where labels lead by much T stays near 1; where they lead by little, many samples
    overrule the prior.

    With errors, both are multiplied by a strength, ``(1 - 0.01 I) min(1, (10 - e) / 9)``, or by 0 where that is
    negative. I is the information of all samples on log T at the optimum, so that the first factor is 0 where the
    standard error of log T is 0.1 or less. e is the number of errors, to which each other sample adds the square of its
    best other class's probability over that of its label. From ten errors on T is the optimum exactly. Uneven weights
    count as the number of equal ones that tell as much.

    Labels of one sample that don't exclude each other are no independent observations, and count as fewer: I is less by
    the design effect of their scores, the variance of the scores' sums by sample over what it would be of independent
    labels. Many of them may err together, and the strength is ``1 - 0.01 I`` whatever the errors.

    References
    ----------
    C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On Calibration of Modern Neural Networks", ICML 2017, section 4.2.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import TemperatureScaling
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 5))
    >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)  # labels drawn from softmax(logits / 2)
    >>> calibrator = TemperatureScaling().fit(logits, y)
    >>> round(calibrator.temperature_, 2)
    2.08
    >>> calibrator.predict_proba(logits[:2]).round(2)
    array([[0.19, 0.13, 0.41, 0.19, 0.08],
           [0.13, 0.52, 0.31, 0.03, 0.01]])
    """

    gamma: float = 0.0
    bounds: tuple[float, float] = DEFAULT_BOUNDS

    _parameter_constraints = {
        "gamma": [NOT_NEGATIVE],
        "bounds": ["array-like"],
    }

    @property
    def _tags(self):
        return MapTags(
            group="temperatures",
            needs_independence=False,
            map_of_labels="all",
            n_free=1,
            # A focal loss has other frequencies on purpose, and wrong labels have others than right ones.
            treats_classes_alike=not (self.gamma or getattr(self, "label_noise_", 0.0)),
            default_candidates={"temperature": {}},
            where_dense="pooled",
        )

    def _validate_params(self):
        super()._validate_params()
        values = np.asarray(self.bounds)
        if values.shape != (2,) or values.dtype.kind not in "iuf" or not 0 < values[0] <= values[1] < np.inf:
            raise ValueError(f"bounds must be two finite temperatures, 0 < lowest <= highest; got {self.bounds!r}")
        if self.gamma and self.label_noise:
            raise ValueError(f"label_noise must be None where gamma is above 0; got {self.label_noise!r}")

    temperature_ = Learned()

    def _fit_labels(self, rows, n_labels):
        weight = labels_that_teach(rows, n_labels)[2]
        return self._fit_logits(rows.logits, rows.y, weight, unit=rows.unit)

    def _fit_logits(self, logits, y, sample_weight, unit=None):
        bounds = tuple(map(float, self.bounds))
        solution = solve_temperature(
            logits, y, sample_weight=sample_weight, gamma=self.gamma, bounds=bounds, prior=True, unit=unit
        )
        warn_of_bound(solution, bounds)
        self._prior_strength = solution.prior_strength
        self.n_iter_ = solution.n_passes
        return Temperature(temperature_=solution.temperature)

    def _sentences(self):
        yield from super()._sentences()
        if getattr(self, "_prior_strength", 0.0):
            yield (
                "So few errors, or so few samples of several labels, leave T open, and a prior around 1 has a part in "
                f"it. With one label a sample T needs {ENOUGH_ERRORS} errors, however many samples there are."
            )
