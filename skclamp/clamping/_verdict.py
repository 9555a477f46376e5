"""The guard's decision and its reason, and how small a gain such samples would have shown."""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import stats
from scipy.optimize import bisect

from .._utils.encoding import register
from ._state import Reason

# Each of so many folds must gain; of more, each of fewer samples, one may well lose by chance.
MAX_UNANIMOUS = 2
# Samples that are drawn to tell what half of them would have shown.
_N_DRAWS = 1000


@register
@dataclass(frozen=True)
class Verdict:
    """The guard's decision on a perturbation or, where it says so, on views against the single one of what was kept.

    Attributes
    ----------
    accepted : bool
        Whether the perturbation is kept.
    difference, standard_error : float
        Mean held-out NLL of the best candidate minus that of temperature scaling, in nats, and its standard error.
    p_value : float
        Of the tests against "not below zero", Student's and that of universal inference, the larger one, times the
        number of candidates.
    reason : str
        Why a perturbation was kept or refused, or none was tried.
    tried : dict of str to float
        Mean held-out NLL minus that of temperature scaling, in nats, of each family that a fold fitted, on the samples
        of these folds; "affine + grid" for families that were appended one after another. Of several settings of a
        family the best one's.
    not_tried : dict of str to str
        Families that no fold fitted, and why: of the fold that came nearest to it.
    n_samples : int
        Samples with weight that were held out, each once; 0 where none were. Of several tries, this and all else here
        is that of the try that kept the perturbation or, if none did, came nearest to it.
    detectable_gain : float or None
        Mean gain of held-out NLL per sample, in nats, at which the guard would have kept the perturbation on half of
        such sets of samples. None where nothing was held out, or no difference was seen.
    folds : list of dict
        What each fold did: "n_samples" held out, the "perturbation" that it learned in "n_epochs" (or, of views, the
        "views" that it chose), the "temperature" beside it, and on the samples held out its "nll", and
        "nll_temperature_scaling".
    """

    accepted: bool
    difference: float
    standard_error: float
    p_value: float
    reason: str = ""
    tried: dict[str, float] = field(default_factory=dict)
    not_tried: dict[str, str] = field(default_factory=dict)
    n_samples: int = 0
    detectable_gain: float | None = None
    folds: list[dict] = field(default_factory=list)

    def __str__(self):
        return self.reason

    def sentences(self):
        """The reason and, of a refusal, how small a gain would have been seen."""
        yield self.reason
        if not self.accepted and self.detectable_gain is not None:
            yield f"Half of such sets of samples would have shown a gain of {self.detectable_gain:.2g} nats per sample."


# How reasons begin.
REFUSED = "Refused, so this is temperature scaling"
NOTHING_WAS_TRIED = "Nothing was tried, so this is temperature scaling"
NOTHING_TRIED = Verdict(False, 0.0, 0.0, 1.0)
NOTHING_TRIED_ON_GUESSES = replace(
    NOTHING_TRIED,
    reason=f"{NOTHING_WAS_TRIED} (the network is no better than guessing, and says much the same of all samples; a "
    "perturbation that is asked for by name is tried all the same).",
)


_REASONS = {
    Reason.SPECIAL_CASE: "a special case of {about}",
    Reason.LITTLE_EVIDENCE: "evidence of {value:.2f} nats, needs {needed:g}",
    Reason.LESS_EVIDENCE_THAN_ANOTHER: "evidence of {value:.2f} nats, less than that of {about}",
    Reason.LITTLE_EVIDENCE_THERE: "evidence of {value:.2f} nats where its first step led, needs {needed:g}",
    Reason.LITTLE_GAIN: "its first step promises a gain of {value:.2f} nats, needs {needed:g}",
    Reason.NO_DESCENT: "no step along its gradient lowers the loss",
    Reason.TOO_MANY_PARAMETERS: "{value:,} parameters, at most {needed:,}",
    Reason.TOO_MANY_PARAMETERS_WITH_PENALTY: "{value:,} parameters, at most {needed:,} with a penalty",
    Reason.TOO_FEW_SAMPLES: "{value:,} parameters need {needed:,} samples to learn from, got {about:,} in a fold",
    Reason.TOO_MANY_GRADIENTS: "{value:,} parameters times {about:,} samples in a fold, at most {needed:,}",
    Reason.TOO_LARGE_MATRIX: "{value:,} parameters and {about:,} samples in a fold, at most {needed:,} of one of them",
    Reason.OTHER_SHAPE: "not for inputs of shape {about}",
    Reason.VIEW_GAINED_LITTLE: "inner folds gained {value:.2g} nats, needs {needed:.2g}",
    Reason.VIEW_WITHOUT_WEIGHT: "inner folds gave it no weight",
    Reason.BETTER_VIEW_JOINED: "another view did better",
    Reason.BETTER_VIEWS_ON_FEW: "others did better on {about} samples",
}


def words_of(untried):
    """Why a family, or a view, wasn't tried."""
    value = untried.value
    if untried.weighed:
        # What rounds to zero from below would have its sign.
        value = round(value, 2) + 0.0
    return _REASONS[untried.reason].format(value=value, needed=untried.needed, about=untried.about)


def detectable_gain(standard_error, n_effective, head_starts, level):
    """Mean gain that passes the guard on half of such sets of samples.

    Parameters
    ----------
    standard_error : float
        Of the mean difference.
    n_effective : array-like of shape (n_folds,)
        Number of samples of each fold.
    head_starts : array-like of shape (n_folds,)
        By how much temperature scaling's mean NLL is lower on each fold at the fold's own best temperature.
    level : float
        Of each test.

    Returns
    -------
    float or None
        None where the differences don't vary.
    """
    if not 0 < standard_error < np.inf:
        return None
    n, head_starts = np.asarray(n_effective), np.asarray(head_starts)
    shares = n / n.sum()
    noise = np.random.default_rng(0).standard_normal((_N_DRAWS, len(n))) * standard_error / np.sqrt(shares)
    needed = np.log(len(n) / level)
    student = -stats.t.ppf(level, n.sum() - 1) * standard_error

    def majority(gain):
        by_fold = gain + noise
        universal = np.logaddexp.reduce(n * (by_fold - head_starts), axis=1)
        gained = (by_fold > 0).all(1) | (len(n) > MAX_UNANIMOUS)
        return np.mean(gained & (by_fold @ shares > student) & (universal > needed)) - 0.5

    high = standard_error
    while majority(high) < 0:
        high *= 2
    return float(bisect(majority, 0.0, high, xtol=1e-3 * standard_error))
