"""RiskBound: what was proven of the risk of answered samples, in numbers and in words."""

from dataclasses import dataclass

from .._utils.encoding import register


@register
@dataclass(frozen=True)
class RiskBound:
    """The decision on a threshold.

    Attributes
    ----------
    guaranteed : bool
        Whether the risk of answered samples is proven to be within the target.
    reason : str
        What was proven, by which test, or what is missing.
    risk : float
        Mean loss of the answered calibration samples, by weight; with groups the mean over those with an answer, each
        counting as the mean of its answered samples. NaN where none are answered.
    target_risk, confidence : float
        What was asked for.
    p_value, level : float
        Of the test of the kept threshold, and the part of ``1 - confidence`` that it had; where nothing is proven, of
        that start of a sequence of tests which came nearest.
    n_samples, n_answered : int
        Calibration samples with weight, and how many of them are answered.
    test : {"exact binomial", "betting"}
        For losses of 0 and 1; and for other costs, for weights and for groups.
    n_needed : int or None
        About how many such samples would prove something; None where no number would.
    """

    guaranteed: bool
    reason: str
    risk: float
    target_risk: float
    confidence: float
    p_value: float
    level: float
    n_samples: int
    n_answered: int
    test: str
    n_needed: int | None

    def __str__(self):
        return self.reason


def reason_of(bound, answered, doubt, n_distinct, of_samples, *, grouped):
    """Sentences on what a threshold proves, or what is missing.

    `answered` is what was proven, and `doubt` says why a proof is no promise. `n_distinct` is the number of distinct
    samples. `of_samples` is the risk sample by sample, also where groups count.
    """
    share = f"{bound.n_answered:,} of {bound.n_samples:,}"
    of_all = 1 - bound.confidence
    part = f", its share of {of_all:.2g}" if bound.level < of_all else ""
    test = f"({bound.test} test, p = {bound.p_value:.2g}, needs at most {bound.level:.2g}{part})"
    aside = (
        "" if grouped or n_distinct == bound.n_samples else f" Equal samples count once: {n_distinct:,} are distinct."
    )
    if grouped and of_samples > bound.target_risk:
        aside += (
            f" Sample by sample the risk of what is answered is {of_samples:.3g}, above the target: answers in large "
            "groups are wrong more often."
        )
    if answered.n_samples:
        promised = "Guaranteed:" if doubt is None else f"Not guaranteed, for {doubt}. Taken at face value,"
        what = (
            "the mean risk of groups with an answer, each counting once," if grouped else "the risk of what is answered"
        )
        return (
            f"{promised} {what} is at most {bound.target_risk:g}, with a confidence of {bound.confidence:g} "
            f"over calibration sets; {share} calibration samples are answered, with a risk of {bound.risk:.3g} "
            f"{test}.{aside}"
        )
    if not answered.n_eligible:
        return "Not guaranteed: every answer would cost as much as to abstain, so that everything abstains."
    more = "no number of such samples would do: even the surest answers have a risk of about that or more"
    if bound.n_needed is not None:
        enough = f"about {bound.n_needed:,}" if bound.n_needed > bound.n_samples else "some more"
        more = f"{enough} such samples would do, if the risks stay what they seem"
    instead = f"answered, unproven, are {share}" if bound.n_answered else "everything abstains"
    return (
        f"Not guaranteed: no threshold keeps the risk within {bound.target_risk:g} beyond chance {test}, so that "
        f"{instead}; {more}.{aside}"
    )
