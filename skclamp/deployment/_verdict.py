"""The decision whether class frequencies have changed, and nothing else, and its reason."""

import math
from dataclasses import dataclass

from .._utils.encoding import register

# Where nothing has changed new frequencies pass this rarely; where these alone have, they are refused this rarely.
CHANGE_LEVEL = 0.02
FIT_LEVEL = 0.001
_REFUSED = "Refused, so the class frequencies are those of the labelled samples"


@register
@dataclass(frozen=True)
class PriorShiftVerdict:
    """The decision on the class frequencies that unlabelled samples suggest.

    Attributes
    ----------
    accepted : bool
        Whether they are used.
    gain : float
        How much likelier samples that didn't estimate them are with them than with the labelled samples' frequencies:
        mean log-likelihood ratio, in nats per sample.
    p_value : float
        Of the test, by universal inference, against frequencies as they were.
    fit_p_value : float or None
        Of Pearson's test that nothing but the frequencies has changed; None where there are too few samples for it.
    degrees_of_freedom : int
        Of this test.
    inputs_changed : bool
        Whether it rejects.
    n_samples, n_labelled : int
        Unlabelled samples, and labelled ones with weight.
    reason : str
        The decision in words.
    """

    accepted: bool
    gain: float
    p_value: float
    fit_p_value: float | None
    degrees_of_freedom: int
    inputs_changed: bool
    n_samples: int
    n_labelled: int
    reason: str

    def __str__(self):
        return self.reason


def decide(evidence, n_judging, mixture, *, n_samples, n_labelled):
    """The verdict on a change's evidence, in nats of all the judging samples, and on the test of the mixture."""
    degrees = mixture.degrees_of_freedom
    tested = degrees > 0
    # A half of the level goes to what the old frequencies may have been.
    p_value = min(1.0, 2 * math.exp(min(0.0, -evidence)))
    change = f"p = {p_value:.2g}, on {n_judging:,} samples that didn't estimate them"
    fit = f"p = {mixture.p_value:.2g}, {degrees} degree{'s' * (degrees != 1)} of freedom, {n_samples:,} samples"
    changed = tested and mixture.p_value < FIT_LEVEL
    accepted = False
    if changed:
        reason = f"{_REFUSED}: the inputs have changed too, since no mixture of the classes looks like these ({fit})."
    elif not n_judging:
        reason = f"{_REFUSED}: of samples that are all alike none could be held out."
    elif not p_value < CHANGE_LEVEL:
        reason = f"{_REFUSED}: chance alone may do as much ({change}, needs below {CHANGE_LEVEL:g})."
    elif not tested:
        reason = (
            f"{_REFUSED}: these have changed ({change}), or the inputs have; {n_samples:,} unlabelled and "
            f"{n_labelled:,} labelled samples are too few to tell."
        )
    else:
        accepted = True
        reason = (
            f"Kept: the class frequencies have changed ({change}), and nothing else has as far as one sees ({fit})."
        )
    return PriorShiftVerdict(
        accepted,
        evidence / n_judging if n_judging else 0.0,
        p_value,
        mixture.p_value if tested else None,
        degrees,
        changed,
        n_samples,
        n_labelled,
        reason,
    )
