"""Decisions in words: the reason of every verdict, the sentences of a summary, and what warnings say of it."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .class_frequencies import FrequencyDoubt
from .out_of_fold import MIN_SAMPLES, Doubt
from .verdict import FamilyReason, Unheard, ViewReason


class Phrases(NamedTuple):
    """Of a verdict's sentences: what it is where nothing is kept, what made the candidates, and on what they build."""

    otherwise: str
    made_by: str = ""
    on: str = ""


WITHOUT_PERTURBATION = Phrases("this is temperature scaling")
# Where views are kept, or maps take the temperature's place.
BESIDE_VIEWS = Phrases("views see the inputs as they are")
BESIDE_MAPS = Phrases("inputs stay as they are")
WITHOUT_VIEWS = Phrases("a prediction takes one pass")
WITHOUT_LABELS = Phrases("nothing is learned from unlabelled samples", "what unlabelled samples teach")
TAUGHT_WITHOUT_LABELS = Phrases("what unlabelled samples taught stays as it is", on="what unlabelled samples taught")

_TOO_FEW = "other inputs would look the same, for there are too few samples to tell:"
_WORDS = {
    FamilyReason.SPECIAL_CASE: "a special case of {about}",
    FamilyReason.LITTLE_EVIDENCE: "evidence of {value:.2f} nats, needs {needed:g}",
    FamilyReason.LESS_EVIDENCE_THAN_ANOTHER: "evidence of {value:.2f} nats, less than that of {about}",
    FamilyReason.LITTLE_GAIN: "its first step promises a gain of {value:.2f} nats, needs {needed:g}",
    FamilyReason.NO_GAIN_FORESEEN: (
        "gradients of some samples foresee a change of {value:+.2g} nats for others, needs below {needed:.2g}"
    ),
    FamilyReason.NO_DESCENT: "no step along its gradient lowers the loss",
    FamilyReason.TOO_MANY_PARAMETERS: "{value:,} parameters, at most {needed:,}",
    FamilyReason.TOO_MANY_PARAMETERS_WITH_PENALTY: "{value:,} parameters, at most {needed:,} with a penalty",
    FamilyReason.TOO_FEW_SAMPLES: "{value:,} parameters need {needed:,} samples to learn from, got {about:,} in a fold",
    FamilyReason.TOO_MANY_GRADIENTS: "{value:,} parameters times {about:,} samples in a fold, at most {needed:,}",
    FamilyReason.TOO_LARGE_MATRIX: (
        "{value:,} parameters and {about:,} samples in a fold, at most {needed:,} of one of them"
    ),
    FamilyReason.OTHER_SHAPE: "not for inputs of shape {about}",
    FamilyReason.CROSS_FITTED: "features are clamped where the network is fitted before, not in several that fit makes",
    FamilyReason.NO_NORM_LAYERS: "the network has no normalisation layer {about}",
    ViewReason.GAINED_LITTLE: "inner folds gained {value:.2g} nats, needs {needed:.2g}",
    ViewReason.WITHOUT_WEIGHT: "inner folds gave it no weight",
    ViewReason.BETTER_ONE_JOINED: "another view did better",
    ViewReason.BETTER_ONES_ON_FEW: "others did better on {about} samples",
    Unheard.FEW_FOR_THE_GUARD: "the guard needs {needed} samples with weight, got {value}",
    Unheard.NO_STATISTICS: (
        "the network has no batch norm, whose statistics would tell, and X_reference gives none to compare with"
    ),
    Unheard.LABELS_TEACH_MORE: "but the labelled samples alone are expected to teach more",
    Unheard.MAPS_DO_AS_WELL: (
        "but maps of the network's own logits do as well (with it their held-out NLL changes by {value:+.2g} "
        "nats, standard error {needed:.2g})"
    ),
    Unheard.GRADIENTS_BY_CHANCE: (
        "gradients with respect to {about:,} numbers may be chance (p = {value:.2g}, needs at most {needed:g})"
    ),
    Unheard.NO_GAIN_FORESEEN: (
        "gradients of some samples foresee too little of others: {about} changes their NLL by {value:+.2g} nats per "
        "sample, needs below {needed:.2g}"
    ),
    Unheard.FEW_FOR_VIEWS: "views need {needed} samples with weight, got {value}",
    Unheard.NO_VIEWS_GIVEN: "views holds none beside the inputs as they are",
    Unheard.NO_VIEWS_KNOWN: "no views are known of inputs of shape {about}: views may be a list of modules",
    Unheard.NO_VIEWS_OF_INTEGERS: "no views are known of integers such as tokens",
    Unheard.GUESSES: (
        "the network is no better than guessing, and says much the same of all samples; a perturbation that is asked "
        "for by name, such as 'affine', is tried all the same"
    ),
    Unheard.RANDOM: (
        "the network draws at random, so that its gradients and its losses are those of other networks; a perturbation "
        "that is asked for by name is tried all the same"
    ),
    Unheard.ANOTHER_ORDER: (
        "the labels fit the columns in another order, and a perturbation learned from them would turn right answers "
        "into wrong ones: pass classes=..., a name for each column"
    ),
    Doubt.LOST_FOLDS: "it fell in {value} of {needed} folds, needs all",
    Doubt.FEATURES_UNMOVED: "features moved in {value} of {needed} folds, needs all",
    Doubt.CHANCE: (
        "chance alone may do as much (Student's p = {value:.2g}, adjusted for the tests made, needs below {needed:.2g})"
    ),
    Doubt.CHANCE_GRADIENTS: "gradients that ask for {about} may be chance (p = {value:.2g}, needs below {needed:.2g})",
    Doubt.NO_GAIN_ALONG_GRADIENTS: (
        "the gradients ask for {about} beyond chance (p = {value:.2g}), but it didn't lower the held-out NLL"
    ),
    Doubt.ANY_TEMPERATURE: (
        "a temperature chosen for the held-out samples may do as well (evidence against it of {value:.2f} nats, needs "
        "{needed:.2f})"
    ),
    FrequencyDoubt.FLAW: "{about}",
    FrequencyDoubt.INPUTS_CHANGED: (
        "the inputs have changed too, since no mixture of the classes looks like these (p = {value:.2g})"
    ),
    FrequencyDoubt.FEW_UNLABELLED: f"{_TOO_FEW} {{value:,}} unlabelled samples (needs {{needed}})",
    FrequencyDoubt.FEW_LABELLED: (
        f"{_TOO_FEW} {{value:,}} labelled samples (needs {{needed:,}} for {{about:,}} classes)"
    ),
    FrequencyDoubt.FEW_OF_FREQUENT_CLASSES: (
        f"{_TOO_FEW} labelled samples of the classes that are frequent now, which say as much as {{value:.0f}} (needs "
        "{needed})"
    ),
    FrequencyDoubt.CHANCE: "chance alone may do as much (p = {value:.2g}, needs below {needed:g})",
    FrequencyDoubt.INPUTS_MAY_HAVE_CHANGED: (
        "the inputs may have changed too, since few mixtures of the classes look like these (p = {value:.2g}, needs "
        "above {needed:g})"
    ),
}
# Where data spoke against a family.
_WEIGHED = FamilyReason.LITTLE_EVIDENCE, FamilyReason.LESS_EVIDENCE_THAN_ANOTHER


def words_of(finding):
    """Return an `Objection`, or why something is `Untried`, in words."""
    # What rounds to zero from below would have its sign.
    value = round(finding.value, 2) + 0.0 if finding.reason in _WEIGHED else finding.value
    return _WORDS[finding.reason].format(value=value, needed=finding.needed, about=finding.about)


def sentences(verdict):
    """The reason and, of a refusal, how small a gain would have been seen."""
    yield verdict.reason
    if not verdict.accepted and verdict.detectable_gain is not None:
        yield f"Half of such sets of samples would have shown a gain of {verdict.detectable_gain:.2g} nats per sample."


def verdict_of(decision, phrases):
    """The verdict that tells a decision in such phrases."""
    not_tried = {name: words_of(why) for name, why in decision.untried.items()}
    return replace(decision.verdict, reason=_reason(decision, phrases), not_tried=not_tried)


def _reason(decision, phrases):
    refused, nothing_was_tried = f"Refused, so {phrases.otherwise}", f"Nothing was tried, so {phrases.otherwise}"
    verdict = decision.verdict
    passed_over = decision.unheard and decision.unheard.reason in (Unheard.LABELS_TEACH_MORE, Unheard.MAPS_DO_AS_WELL)
    if decision.unheard and not passed_over:
        return f"{refused if verdict.tried else nothing_was_tried} ({words_of(decision.unheard)})."
    n_candidates, n_folds = decision.n_candidates, len(verdict.folds)
    folds = f"{n_folds} fold{'s' * (n_folds > 1)}"
    if verdict.tried and not decision.names:
        return f"{refused}: none of {n_candidates} candidates lowered the held-out NLL of {folds}."
    if not decision.names:
        name, nearest = min(decision.untried.items(), key=lambda named: named[1].lack, default=("", None))
        if nearest is not None and isinstance(nearest.reason, ViewReason):
            why = f"({name} came nearest: {words_of(nearest)})"
            return f"{refused}: no view gained beyond chance where it was chosen {why}."
        fitting = [why for why in decision.untried.values() if np.isfinite(why.lack)]
        why = "; ".join(f"{name}: {words_of(why)}" for name, why in decision.untried.items())
        if len(fitting) > 1 and all(why.reason in _WEIGHED for why in fitting):
            why = f"none of {len(fitting)} families is suggested by the data"
        return f"{nothing_was_tried} ({why})." if why else f"{nothing_was_tried}."
    names = " or ".join(decision.names)
    which = f"{phrases.made_by} ({names})" if phrases.made_by else names
    which += f", the best of {n_candidates} candidates," if n_candidates > 1 else ""
    verb = "lowered" if verdict.difference < 0 else "raised"
    gain = f"{which} {verb} the held-out NLL by {abs(verdict.difference):.3g} nats per sample"
    gain += f" on top of {phrases.on}" if phrases.on else ""
    spread = f"standard error {verdict.standard_error:.2g}"
    if passed_over:
        return f"Passed over, so {phrases.otherwise}: {gain} ({spread}), {words_of(decision.unheard)}."
    if verdict.accepted:
        where = f"{'each' if decision.n_gains == n_folds else decision.n_gains} of {folds}"
        if decision.by_score:
            return (
                f"Kept: {gain} ({spread}), in {where}, and its gradients are beyond chance (p = {verdict.p_value:.2g})."
            )
        return f"Kept: {gain} ({spread}), in {where} and beyond chance (adjusted p = {verdict.p_value:.2g})."
    objections = "; ".join(map(words_of, decision.objections))
    why = f", which proves nothing: {objections}" if verdict.difference < 0 else ""
    return f"{refused}: {gain} ({spread}, {folds}){why}."


def verdict_of_frequencies(decision):
    """The verdict that tells a decision on class frequencies."""
    verdict = decision.verdict
    reason = (
        f"Kept: the class frequencies have changed (p = {verdict.p_value:.2g}), and {verdict.n_samples:,} unlabelled "
        f"samples show no other change (p = {verdict.fit_p_value:.2g})."
    )
    if not verdict.accepted:
        why = words_of(decision.objections[0])
        reason = f"Refused, so the class frequencies are those of the labelled samples: {why}."
    return replace(verdict, reason=reason)


def left_out(perturbation, n_samples):
    """Return the warning of a family that was asked for in vain."""
    name = repr(perturbation) if isinstance(perturbation, str) else f"{type(perturbation).__name__}(...)"
    return (
        f"perturbation={name} is left out, and temperature scaling it is: {n_samples} samples are fewer than the "
        f"{MIN_SAMPLES} of which held-out ones could prove that it helps. Collect more, or have it unproven with "
        "NeuralClampingCalibrator's validation_fraction=None"
    )
