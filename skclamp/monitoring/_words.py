"""Summaries of monitors, in words."""

import math

from .._utils.least_probability import MIN_PROBABILITY
from ._bets import LOG_TEMPERATURES
from ._e_process import gain_of_frequencies


def sentences(monitor):
    """Sentences of a summary."""
    n, n_missing, evidence = monitor.n_samples_, monitor.n_missing_, monitor._evidence
    were = "was" if n_missing == 1 else "were"
    if not n:
        yield f"No label has come yet ({n_missing:,} {were} missing)."
        return
    yield from _alarms(monitor, f" ({n_missing:,} more {were} missing)" if n_missing else "")
    if evidence.n_impossible:
        yield (
            f"Of {_labels(evidence.n_impossible)} so far the probability was at most {MIN_PROBABILITY:.2g} and counts "
            "as that; if it was 0, no T undoes it."
        )
    if evidence.since is None:
        yield f"A refit of T, {_won(monitor)}."
        return
    when, those = "from the first label on", "all of them"
    if evidence.since:
        start = f"were true at first, and have changed since about label {evidence.since:,}"
        when, those = "since then", "those since then"
    elif evidence.changed:
        start = f"were true on {_labels(evidence.n_before)} before the watch, and have changed since"
    elif getattr(monitor, "never_true_", False):
        start = "were never true, as held-out labels say"
    else:
        start = "were never true, or changed before labels could tell"
    yield f"The probabilities {start}: {_how(monitor.temperature_, monitor._rules['tolerance'])} {when}."
    yield f"A refit of T on {those}, {_won(monitor)}."
    yield _whether_enough(monitor)


def risk_sentences(monitor):
    """Sentences of a summary of answered samples."""
    n, evidence = monitor.n_samples_, monitor._evidence
    others = f"({monitor.n_abstained_:,} abstained, {monitor.n_missing_:,} without a label)"
    if not n:
        yield f"No label of an answered sample has come yet {others}."
        return
    yield from _alarms(monitor, f" of answered samples {others}")
    yield f"The risk so far is {monitor.risk_:.3g}, the target {evidence.risk(evidence.target):.3g}."
    if evidence.since:
        before = evidence.risk(evidence.before[0] / evidence.since)
        since = evidence.risk((evidence.totals[0] - evidence.before[0]) / (n - evidence.since))
        yield f"It was {before:.3g} at first, and has been {since:.3g} since about label {evidence.since:,}."
    elif evidence.changed:
        yield f"It was within the target on {_labels(evidence.n_before)} before the watch."
    elif evidence.since is not None and getattr(monitor, "never_true_", False):
        yield "It was never within the target, as held-out labels say."
    elif evidence.since is not None:
        yield "It was never within the target, or left it before labels could tell."


def _alarms(monitor, others):
    """Sentences on the alarms, and where most of the evidence has gone since; `others` tells of other samples."""
    rules, evidence, (at, change_at) = monitor._rules, monitor._evidence, monitor._evidence.alarms
    which, change = "No alarm after", ""
    if change_at is not None:
        change = f"Change alarm, one in {rules['average_run_length']:,.15g} labels by chance, after {change_at:,}"
        which = f"{change} of"
    if at is not None:
        which = f"Alarm after {at:,} of"
    p_value = f"{monitor.p_value_:.2g}" if monitor.p_value_ >= 1e-300 else "below 1e-300"
    level = f"the p value is {p_value}, alpha {rules['alpha']:g}"
    yield f"{which} {_labels(monitor.n_samples_)}{others}: {level}."
    if at is not None and change:
        yield f"{change}."
    what = "log e-value" if at is not None else "logarithm of the restarting test's sum"
    now, peak = evidence.trail[-1, 1 + (at is None)], evidence.peaks[int(at is None)]
    if evidence.since is not None and now < min(peak / 2, peak + math.log(rules["alpha"])):
        yield f"The evidence has since gone: the {what} is {now:.3g}, and was {peak:.3g} at its peak."


def _labels(number):
    return f"{number:,} label{'s' * (number != 1)}"


def _won(monitor):
    """T and what it wins."""
    at_bound = abs(math.log(monitor.temperature_)) >= LOG_TEMPERATURES[-1] - 1e-9
    bound = ", the bound of what is searched," if at_bound else ","
    return f"to {monitor.temperature_:.3g}{bound} would win {monitor.gain_:.2g} nats a label"


def _how(temperature, tolerance):
    """Where the confidence went, beyond the tolerance."""
    if temperature > 1 + tolerance:
        return "the classifier has been over-confident"
    if temperature < 1 / (1 + tolerance):
        return "the classifier has been under-confident"
    return "its confidence has been right, within the tolerance,"


def _whether_enough(monitor):
    """Tell that bets on class frequencies, which learn as they go, have won no more than T would; or nothing."""
    n_since = max(1, monitor.n_samples_ - monitor.since_)
    evidence = monitor._evidence
    more = gain_of_frequencies(evidence.totals - evidence.before) - n_since * monitor.gain_
    if more < -math.log(monitor._rules["alpha"]):
        return "Bets on class frequencies have won no more than T alone would; other changes aren't tested."
    return (
        f"T alone would not do: the classes have other frequencies than predicted, and bets on them have won "
        f"{more / n_since:.2g} nats a label more. A map with an offset per class, such as StructuredVectorScaling, "
        "takes that in."
    )
