"""What was decided, in words: the reason of every verdict, the sentences of a summary, and what warnings say of it."""

from dataclasses import dataclass, field

import numpy as np

from .._utils.encoding import register, register_former
from .class_frequencies import SURE_LEVEL
from .out_of_fold import MIN_SAMPLES, Reason

# What it is where nothing is kept; of a perturbation, also beside views that are.
WITHOUT_PERTURBATION = "this is temperature scaling"
BESIDE_VIEWS = "views see the inputs as they are"
WITHOUT_VIEWS = "a prediction takes one pass"
WITHOUT_NEW_FREQUENCIES = "the class frequencies are those of the labelled samples"

_TOO_FEW = "other inputs would look the same, for there are too few samples to tell:"
_WORDS = {
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
    Reason.FEW_FOR_THE_GUARD: "the guard needs {needed} samples with weight, got {value}",
    Reason.FEW_FOR_VIEWS: "views need {needed} samples with weight, got {value}",
    Reason.NO_VIEWS_GIVEN: "views holds none beside the inputs as they are",
    Reason.NO_VIEWS_KNOWN: "no views are known of inputs of shape {about}: views may be a list of modules",
    Reason.GUESSES: (
        "the network is no better than guessing, and says much the same of all samples; a perturbation that is asked "
        "for by name is tried all the same"
    ),
    Reason.LOST_FOLDS: "it fell in {value} of {needed} folds, needs all",
    Reason.CHANCE: "chance alone may do as much (Student's p = {value:.2g}, needs below {needed:g})",
    Reason.ANY_TEMPERATURE: (
        "a temperature chosen for the held-out samples may do as well (evidence against it of {value:.2f} nats, needs "
        "{needed:.2f})"
    ),
    Reason.FLAW: "{about}",
    Reason.INPUTS_CHANGED: (
        "the inputs have changed too, since no mixture of the classes looks like these (p = {value:.2g})"
    ),
    Reason.FEW_UNLABELLED: f"{_TOO_FEW} {{value:,}} unlabelled samples (needs {{needed}})",
    Reason.FEW_LABELLED: f"{_TOO_FEW} {{value:,}} labelled samples (needs {{needed:,}} for {{about:,}} classes)",
    Reason.FEW_OF_FREQUENT_CLASSES: (
        f"{_TOO_FEW} labelled samples of the classes that are frequent now, which say as much as {{value:.0f}} (needs "
        "{needed})"
    ),
    Reason.ALL_ALIKE: "the samples are all alike, so that none can be held out",
    Reason.CHANCE_OF_FREQUENCIES: (
        "chance alone may do as much (p = {value:.2g} on {about:,} samples that didn't estimate the new ones, needs "
        "below {needed:g})"
    ),
    Reason.INPUTS_MAY_HAVE_CHANGED: (
        "the inputs may have changed too, since few mixtures of the classes look like these (p = {value:.2g}, needs "
        "above {needed:g})"
    ),
}
# Why no fold's word counts.
_UNHEARD = range(Reason.FEW_FOR_THE_GUARD, Reason.GUESSES + 1)


def words_of(finding):
    """An `Objection`, or why something is `Untried`, in words."""
    value = finding.value
    if Reason.LITTLE_EVIDENCE <= finding.reason <= Reason.LITTLE_EVIDENCE_THERE:
        # What rounds to zero from below would have its sign.
        value = round(value, 2) + 0.0
    return _WORDS[finding.reason].format(value=value, needed=finding.needed, about=finding.about)


@register
@dataclass(frozen=True)
class Verdict:
    """The decision on a perturbation or, where it says so, on views or class frequencies.

    Views have to beat the single one of what was kept, and class frequencies those of the labelled samples.

    Attributes
    ----------
    accepted : bool
        Whether the perturbation is kept.
    difference, standard_error : float
        Mean held-out NLL of the best candidate minus that of temperature scaling, in nats, and its standard error. Of
        class frequencies, the negative mean log-likelihood ratio, and 0, since their test needs none.
    p_value : float
        Of the tests against "not below zero", Student's and that of universal inference, the larger one, times the
        number of candidates. Of class frequencies that of universal inference alone.
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
        is that of the try that kept the perturbation or, if none did, came nearest to it. Of class frequencies all the
        unlabelled samples.
    detectable_gain : float or None
        Mean gain of held-out NLL per sample, in nats, at which the guard would have kept the perturbation on half of
        such sets of samples. None where nothing was held out, or no difference was seen.
    folds : list of dict
        What each fold did: "n_samples" held out, the "perturbation" that it learned in "n_epochs" (or, of views, the
        "views" that it chose), the "temperature" beside it, and on the samples held out its "nll", and
        "nll_temperature_scaling".
    fit_p_value : float or None
        Of the test that nothing but the class frequencies has changed; None where it isn't about them.
    n_labelled : int or None
        Labelled samples with weight, where it is about class frequencies.
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
    fit_p_value: float | None = None
    n_labelled: int | None = None

    @property
    def gain(self):
        """How much likelier held-out samples are: mean log-likelihood ratio, in nats per sample."""
        return -self.difference

    @property
    def inputs_changed(self):
        """Whether more than class frequencies has changed for sure, at a level of 0.001; they are kept above 0.05."""
        return self.fit_p_value is not None and self.fit_p_value < SURE_LEVEL

    def __str__(self):
        return self.reason

    def sentences(self):
        """The reason and, of a refusal, how small a gain would have been seen."""
        yield self.reason
        if not self.accepted and self.detectable_gain is not None:
            yield f"Half of such sets of samples would have shown a gain of {self.detectable_gain:.2g} nats per sample."


def verdict_of(decision, otherwise):
    """The verdict that tells a decision; `otherwise` says what it is where nothing is kept."""
    reason = _reason_of_frequencies if otherwise == WITHOUT_NEW_FREQUENCIES else _reason
    return Verdict(
        decision.accepted,
        decision.difference,
        decision.standard_error,
        decision.p_value,
        reason(decision, otherwise),
        decision.tried,
        {name: words_of(why) for name, why in decision.untried.items()},
        decision.n_samples,
        decision.detectable_gain,
        decision.folds,
        decision.fit_p_value,
        decision.n_labelled,
    )


def _reason(decision, otherwise):
    refused, nothing_was_tried = f"Refused, so {otherwise}", f"Nothing was tried, so {otherwise}"
    if decision.objections and decision.objections[0].reason in _UNHEARD:
        return f"{refused if decision.tried else nothing_was_tried} ({words_of(decision.objections[0])})."
    n_candidates, n_folds = decision.n_candidates, len(decision.folds)
    folds = f"{n_folds} fold{'s' * (n_folds > 1)}"
    if decision.tried and not decision.names:
        return f"{refused}: none of {n_candidates} candidates lowered the held-out NLL of {folds}."
    if not decision.names:
        name, nearest = min(decision.untried.items(), key=lambda named: named[1].lack, default=("", None))
        if nearest is not None and Reason.VIEW_GAINED_LITTLE <= nearest.reason <= Reason.BETTER_VIEWS_ON_FEW:
            why = f"({name} came nearest: {words_of(nearest)})"
            return f"{refused}: no view gained beyond chance where it was chosen {why}."
        why = _why_nothing(decision.untried)
        return f"{nothing_was_tried} ({why})." if why else f"{nothing_was_tried}."
    which = " or ".join(decision.names) + (f", the best of {n_candidates} candidates," if n_candidates > 1 else "")
    verb = "lowered" if decision.difference < 0 else "raised"
    gain = f"{which} {verb} the held-out NLL by {abs(decision.difference):.2g} nats per sample"
    spread = f"standard error {decision.standard_error:.2g}"
    if decision.accepted:
        where = f"{'each' if decision.n_gains == n_folds else decision.n_gains} of {folds}"
        return f"Kept: {gain} ({spread}), in {where} and beyond chance (p = {decision.p_value:.2g})."
    objections = "; ".join(map(words_of, decision.objections))
    why = f", which proves nothing: {objections}" if decision.difference < 0 else ""
    return f"{refused}: {gain} ({spread}, {folds}){why}."


def _why_nothing(untried):
    """Why no family was tried, in one clause where the data asked for none of several."""
    fitting = [why for why in untried.values() if np.isfinite(why.lack)]
    if len(fitting) > 1 and all(why.weighed for why in fitting):
        return f"none of {len(fitting)} families is suggested by the data"
    return "; ".join(f"{name}: {words_of(why)}" for name, why in untried.items())


def _reason_of_frequencies(decision, otherwise):
    if not decision.accepted:
        return f"Refused, so {otherwise}: {words_of(decision.objections[0])}."
    n_judging = sum(fold["n_samples"] for fold in decision.folds)
    return (
        f"Kept: the class frequencies have changed (p = {decision.p_value:.2g}, on {n_judging:,} samples that didn't "
        f"estimate them), and {decision.n_samples:,} show no other change (p = {decision.fit_p_value:.2g})."
    )


def left_out(perturbation, n_samples):
    """What is said of a family that was asked for in vain."""
    name = repr(perturbation) if isinstance(perturbation, str) else f"{type(perturbation).__name__}(...)"
    return (
        f"perturbation={name} is left out, and temperature scaling it is: {n_samples} samples are fewer than the "
        f"{MIN_SAMPLES} of which held-out ones could prove that it helps. Collect more, or have it unproven with "
        "NeuralClampingCalibrator's validation_fraction=None"
    )


def _of_frequencies(accepted, gain, p_value, fit_p_value, inputs_changed, n_samples, n_labelled, reason):
    """What older files hold of class frequencies."""
    numbers = {"n_samples": n_samples, "fit_p_value": fit_p_value, "n_labelled": n_labelled}
    return Verdict(accepted, -gain, 0.0, p_value, reason, **numbers)


register_former("PriorShiftVerdict", _of_frequencies)
