"""Decisions in words: the reason of every verdict, the sentences of a summary, and what warnings say of it."""

from dataclasses import replace
from typing import NamedTuple

from .out_of_fold import MIN_UNITS
from .verdict import Reason


class Phrases(NamedTuple):
    """Of a verdict's sentences: what it is where nothing is kept; what made the candidates, and on what they build.

    And of how many classes the NLL is, where others have no samples; 0 is all.
    """

    otherwise: str
    made_by: str = ""
    on: str = ""
    n_observed: int = 0


WITHOUT_PERTURBATION = Phrases("this is temperature scaling")
# Where views are kept, or maps take the temperature's place.
BESIDE_VIEWS = Phrases("views see the inputs as they are")
BESIDE_MAPS = Phrases("inputs stay as they are")
WITHOUT_VIEWS = Phrases("a prediction takes one pass")
WITHOUT_LABELS = Phrases("nothing is learned from unlabelled samples", "what unlabelled samples teach")
TAUGHT_WITHOUT_LABELS = Phrases("what unlabelled samples taught stays as it is", on="what unlabelled samples taught")

# Why what folds had kept isn't taken after all.
_PASSED_OVER = Reason.LABELS_TEACH_MORE, Reason.MAPS_DO_AS_WELL, Reason.STRAYED, Reason.LAST_LAYER_DOES_BETTER


def sentences(verdict):
    """The reason and, of a refusal, how small a gain would have been seen."""
    yield verdict.reason
    if not verdict.accepted and verdict.detectable_gain is not None:
        yield f"Half of such sets of samples would have shown a gain of {verdict.detectable_gain:.2g} nats per sample."


def verdict_of(decision, phrases):
    """The verdict that tells a decision in such phrases."""
    not_tried = {name: str(why) for name, why in decision.untried.items()}
    return replace(decision.verdict, reason=_reason(decision, phrases), not_tried=not_tried)


def _reason(decision, phrases):
    verdict = decision.verdict
    dismissed = decision.dismissed
    n_candidates = decision.n_candidates
    n_folds = len(verdict.folds)
    folds = f"{n_folds} fold{'s' * (n_folds > 1)}"
    refused = f"{'Refused' if verdict.tried else 'Nothing was tried'}, so {phrases.otherwise}"
    passed_over = dismissed is not None and dismissed.reason in _PASSED_OVER
    if dismissed is not None and not passed_over:
        return f"{refused} ({dismissed})."
    if not decision.names and verdict.tried:
        return f"{refused}: none of {n_candidates} candidates lowered the held-out NLL of {folds}."
    if not decision.names:
        why = "; ".join(f"{name}: {why}" for name, why in decision.untried.items())
        return f"{refused} ({why})." if why else f"{refused}."
    which = " or ".join(decision.names)
    which = f"{phrases.made_by} ({which})" if phrases.made_by else which
    which += f", the best of {n_candidates} candidates," if n_candidates > 1 else ""
    verb = "lowered" if verdict.difference < 0 else "raised"
    gain = f"{which} {verb} the held-out NLL by {abs(verdict.difference):.3g} nats per sample"
    gain += f" on top of {phrases.on}" if phrases.on else ""
    gain += f" among the {phrases.n_observed} classes with samples" if phrases.n_observed else ""
    spread = f"standard error {verdict.standard_error:.2g}"
    if passed_over:
        return f"Passed over, so {phrases.otherwise}: {gain} ({spread}), {dismissed}."
    if verdict.accepted:
        where = f"{'each' if decision.n_gains == n_folds else decision.n_gains} of {folds}"
        proof = ", and its gradients are beyond chance (p" if decision.by_score else " and beyond chance (adjusted p"
        return f"Kept: {gain} ({spread}), in {where}{proof} = {verdict.p_value:.2g})."
    objections = "; ".join(map(str, decision.objections))
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
        reason = f"Refused, so the class frequencies are those of the labelled samples: {decision.objections[0]}."
    return replace(verdict, reason=reason)


def left_out(perturbation, n_samples):
    """Return the warning of a family that was asked for in vain."""
    name = repr(perturbation) if isinstance(perturbation, str) else f"{type(perturbation).__name__}(...)"
    return (
        f"perturbation={name} is left out, and temperature scaling it is: {n_samples} independent samples are fewer "
        f"than the {MIN_UNITS} of which held-out ones could prove that it helps. Collect more, or have it unproven "
        "with NeuralClampingCalibrator's validation_fraction=None"
    )
