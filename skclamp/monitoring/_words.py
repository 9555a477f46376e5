"""What a monitor has seen, in words."""

import math

from ._evidence import gain_of_frequencies


def sentences(monitor, totals):
    """Those of a summary; `totals` are the sums that its temperature comes from."""
    missing = f" ({monitor.n_missing_:,} more were missing)" if monitor.n_missing_ else ""
    p_value = f"the p value is {monitor.p_value_:.2g}, alpha {monitor.alpha:g}"
    if monitor.since_ is None:
        yield f"No alarm after {_labels(monitor.n_samples_)}{missing}: {p_value}."
        yield f"A refit of T, to {monitor.temperature_:.3g}, would win {monitor.gain_:.2g} nats a label."
        return
    yield f"{_which(monitor)} after {monitor._alarmed_at:,} of {_labels(monitor.n_samples_)}{missing}: {p_value}."
    start = "The change seems to have been there from the first label on"
    if monitor.since_:
        start = f"The change is estimated to have begun after {_labels(monitor.since_)}"
    yield f"{start}{_how(monitor)}."
    temperature, gain = f"{monitor.temperature_:.3g}", f"{monitor.gain_:.2g}"
    yield f"A refit of T on those since then, to {temperature}, would win {gain} nats a label."
    yield _whether_enough(monitor, totals)


def _labels(number):
    return f"{number:,} label{'s' * (number != 1)}"


def _which(monitor):
    if monitor.alarm_:
        return "Alarm"
    return f"Change alarm, one in {_labels(monitor.average_run_length)} by chance,"


def _how(monitor):
    """Where the confidence went, beyond the tolerance."""
    if monitor.temperature_ > 1 + monitor.tolerance:
        return ": the classifier has been over-confident since then"
    if monitor.temperature_ < 1 / (1 + monitor.tolerance):
        return ": the classifier has been under-confident since then"
    return ": the temperature that fits best since then is within the tolerance"


def _whether_enough(monitor, totals):
    """Whether T alone would do: bets on class frequencies, which learn as they go, have won no more than it would."""
    n_since = monitor.n_samples_ - monitor.since_
    more = gain_of_frequencies(totals) - n_since * monitor.gain_
    if more < -math.log(monitor.alpha):
        return "T alone would do, as far as class frequencies go: bets on them have won no more."
    return (
        f"T alone would not do: the classes have other frequencies than predicted, and bets on them have won "
        f"{more / n_since:.2g} nats a label more. A map with an offset per class, such as VectorScaling, takes that in."
    )
