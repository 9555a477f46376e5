"""Summaries of monitors, in words."""

import math

from .._utils.least_probability import MIN_PROBABILITY
from ._bets import LOG_TEMPERATURES
from ._e_process import gain_of_frequencies


def sentences(monitor, rules, evidence, alarms):
    """Sentences of a summary; `rules` are the parameters that the samples were watched with."""
    n, n_missing = monitor.n_samples_, monitor.n_missing_
    were = "was" if n_missing == 1 else "were"
    if not n:
        yield f"No label has come yet ({n_missing:,} {were} missing)."
        return
    missing = f" ({n_missing:,} more {were} missing)" if n_missing else ""
    yield f"{_which(rules, alarms)} {_labels(n)}{missing}: {_level(monitor, rules)}."
    if alarms.since is None:
        yield f"A refit of T, {_won(monitor)}."
        return
    if evidence.n_impossible:
        yield (
            f"Of {_labels(evidence.n_impossible)} so far the probability was at most {MIN_PROBABILITY:.2g} and counts "
            "as that; if it was 0, no T undoes it."
        )
    if all(alarms.first):
        yield f"{_change_alarm(rules)} after {alarms.first[1]:,}."
    yield from _what_has_gone(rules, evidence, alarms)
    start, when, those = (
        "were never true, or changed before labels could tell",
        "from the first label on",
        "all of them",
    )
    if alarms.since:
        start, when = f"were true at first, and have changed since about label {alarms.since:,}", "since then"
        those = "those since then"
    elif alarms.changed:
        start = f"were true on {_labels(evidence.n_before)} before the watch, and have changed since"
    elif getattr(monitor, "never_true_", False):
        start = "were never true, as held-out labels say"
    yield f"The probabilities {start}: {_how(monitor.temperature_, rules['tolerance'])} {when}."
    yield f"A refit of T on {those}, {_won(monitor)}."
    yield _whether_enough(monitor, rules, evidence.totals - alarms.before)


def risk_sentences(monitor, rules, evidence, alarms):
    """Sentences of a summary of answered samples."""
    n = monitor.n_samples_
    others = f"{monitor.n_abstained_:,} abstained, {monitor.n_missing_:,} without a label"
    if not n:
        yield f"No label of an answered sample has come yet ({others})."
        return
    yield f"{_which(rules, alarms)} {_labels(n)} of answered samples ({others}): {_level(monitor, rules)}."
    yield f"The risk so far is {monitor.risk_:.3g}, the target {evidence.risk(evidence.target):.3g}."
    if alarms.since is None:
        return
    if all(alarms.first):
        yield f"{_change_alarm(rules)} after {alarms.first[1]:,}."
    yield from _what_has_gone(rules, evidence, alarms)
    if alarms.since:
        before = evidence.risk(alarms.before[0] / alarms.since)
        since = evidence.risk((evidence.totals[0] - alarms.before[0]) / (n - alarms.since))
        yield f"It was {before:.3g} at first, and has been {since:.3g} since about label {alarms.since:,}."
    elif alarms.changed:
        yield f"It was within the target on {_labels(evidence.n_before)} before the watch."
    elif getattr(monitor, "never_true_", False):
        yield "It was never within the target, as held-out labels say."
    else:
        yield "It was never within the target, or left it before labels could tell."


def _level(monitor, rules):
    p_value = f"{monitor.p_value_:.2g}" if monitor.p_value_ >= 1e-300 else "below 1e-300"
    return f"the p value is {p_value}, alpha {rules['alpha']:g}"


def _labels(number):
    return f"{number:,} label{'s' * (number != 1)}"


def _which(rules, alarms):
    if alarms.since is None:
        return "No alarm after"
    at, change_at = alarms.first
    return f"{_change_alarm(rules)} after {change_at:,} of" if at is None else f"Alarm after {at:,} of"


def _change_alarm(rules):
    return f"Change alarm, one in {rules['average_run_length']:,.15g} labels by chance,"


def _won(monitor):
    """T and what it wins."""
    at_bound = abs(math.log(monitor.temperature_)) >= LOG_TEMPERATURES[-1] - 1e-9
    bound = ", the bound of what is searched," if at_bound else ","
    return f"to {monitor.temperature_:.3g}{bound} would win {monitor.gain_:.2g} nats a label"


def _what_has_gone(rules, evidence, alarms):
    """Where most of the evidence has gone since its peak, by a factor of alpha at least."""
    change = alarms.first[0] is None
    what = "logarithm of the restarting test's sum" if change else "log e-value"
    now, peak = evidence.last[1 + change], evidence.max_log_r if change else evidence.max_log_e
    if now < min(peak / 2, peak + math.log(rules["alpha"])):
        yield f"The evidence has since gone: the {what} is {now:.3g}, and was {peak:.3g} at its peak."


def _how(temperature, tolerance):
    """Where the confidence went, beyond the tolerance."""
    if temperature > 1 + tolerance:
        return "the classifier has been over-confident"
    if temperature < 1 / (1 + tolerance):
        return "the classifier has been under-confident"
    return "its confidence has been right, within the tolerance,"


def _whether_enough(monitor, rules, totals):
    """Tell that bets on class frequencies, which learn as they go, have won no more than T would; or nothing."""
    n_since = max(1, monitor.n_samples_ - monitor.since_)
    more = gain_of_frequencies(totals) - n_since * monitor.gain_
    if more < -math.log(rules["alpha"]):
        return "Bets on class frequencies have won no more than T alone would; other changes aren't tested."
    return (
        f"T alone would not do: the classes have other frequencies than predicted, and bets on them have won "
        f"{more / n_since:.2g} nats a label more. A map with an offset per class, such as StructuredVectorScaling, "
        "takes that in."
    )
