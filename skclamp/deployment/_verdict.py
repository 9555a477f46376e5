"""The decision whether class frequencies have changed, and nothing else, and its reason."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from .._utils.encoding import register

# Where nothing has changed new frequencies pass this rarely; where these alone have, they are refused this rarely, and
# the inputs said to have changed so rarely.
CHANGE_LEVEL = 0.02
FIT_LEVEL = 0.05
SURE_LEVEL = 0.001
# Where each class is as probable on average as labels have it, this is denied so rarely.
MEANS_LEVEL = 0.01
# With a quarter as many labelled samples a class the second test has let darker and noisier images pass.
MIN_SAMPLES, LABELLED_PER_CLASS = 100, 20
MIN_LIKE = 30
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
    fit_p_value : float
        Of the test that nothing but the frequencies has changed.
    inputs_changed : bool
        Whether it rejects that for sure, at a level of 0.001. New frequencies are kept above 0.05.
    n_samples, n_labelled : int
        Unlabelled samples, and labelled ones with weight.
    reason : str
        The decision in words.
    """

    accepted: bool
    gain: float
    p_value: float
    fit_p_value: float
    inputs_changed: bool
    n_samples: int
    n_labelled: int
    reason: str

    def __str__(self):
        return self.reason


class Evidence(NamedTuple):
    """What the samples say.

    Attributes
    ----------
    change : float
        Log-likelihood ratio of the new frequencies to the old ones, in nats, of all the samples that judge them.
    fit : float
        P value of the test that nothing else has changed.
    n_judging, n_samples, n_labelled, n_classes : int
        Samples that judge, unlabelled ones, and labelled ones.
    n_like : float
        What number of labelled samples tells how samples of the new frequencies should look, Kish's.
    flaw : str
        Why the labelled samples' probabilities allow no conclusion, in words; empty where they do.
    """

    change: float
    fit: float
    n_judging: int
    n_samples: int
    n_labelled: int
    n_classes: int
    n_like: float
    flaw: str

    def lack(self):
        """Which samples are too few to tell other frequencies from other inputs; empty where none are."""
        if self.n_samples < MIN_SAMPLES:
            return f"{self.n_samples:,} unlabelled samples (needs {MIN_SAMPLES})"
        needed = max(MIN_SAMPLES, LABELLED_PER_CLASS * self.n_classes)
        if self.n_labelled < needed:
            return f"{self.n_labelled:,} labelled samples (needs {needed:,} for {self.n_classes:,} classes)"
        if self.n_like < MIN_LIKE:
            return (
                "labelled samples of the classes that are frequent now, which say as much as "
                f"{self.n_like:.0f} (needs {MIN_LIKE})"
            )
        return ""


def decide(evidence):
    """The verdict on what the samples say."""
    # A half of the level goes to what the old frequencies may have been.
    p_value = min(1.0, 2 * math.exp(min(0.0, -evidence.change)))
    changed = evidence.fit < SURE_LEVEL
    objection = _objection(evidence, p_value, changed)
    reason = f"{_REFUSED}: {objection}."
    if not objection:
        reason = (
            f"Kept: the class frequencies have changed (p = {p_value:.2g}, on {evidence.n_judging:,} samples that "
            f"didn't estimate them), and {evidence.n_samples:,} show no other change (p = {evidence.fit:.2g})."
        )
    numbers = (evidence.n_samples, evidence.n_labelled)
    gain = evidence.change / max(1, evidence.n_judging)
    return PriorShiftVerdict(not objection, gain, p_value, evidence.fit, changed, *numbers, reason)


def _objection(evidence, p_value, changed):
    """What speaks against new frequencies, in words; empty if nothing does."""
    if evidence.flaw:
        return evidence.flaw
    if changed:
        return f"the inputs have changed too, since no mixture of the classes looks like these (p = {evidence.fit:.2g})"
    if lack := evidence.lack():
        return f"other inputs would look the same, for there are too few samples to tell: {lack}"
    if not evidence.n_judging:
        return "the samples are all alike, so that none can be held out"
    if not p_value < CHANGE_LEVEL:
        return (
            f"chance alone may do as much (p = {p_value:.2g} on {evidence.n_judging:,} samples that didn't estimate "
            f"the new ones, needs below {CHANGE_LEVEL:g})"
        )
    if not evidence.fit > FIT_LEVEL:
        return (
            "the inputs may have changed too, since few mixtures of the classes look like these "
            f"(p = {evidence.fit:.2g}, needs above {FIT_LEVEL:g})"
        )
    return ""
