"""Decisions: why something wasn't tried, what speaks against it, and the verdict."""

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from .._utils.encoding import register

# Below this p value inputs are said to have changed, beside class frequencies.
SURE_LEVEL = 0.001

_TRIED_BY_NAME = "a perturbation that is asked for by name, such as 'affine', is tried all the same"


class Reason(Enum):
    """Reasons against a candidate, in words around what an `Objection` tells."""

    # Why a family wasn't tried.
    SPECIAL_CASE = "a special case of {about}"
    LITTLE_EVIDENCE = "evidence of {value:z.2f} nats, needs {needed:g}"
    LESS_EVIDENCE_THAN_ANOTHER = "evidence of {value:z.2f} nats, less than that of {about}"
    LITTLE_GAIN = "its first step promises a gain of {value:.2f} nats, needs {needed:g}"
    NO_GAIN_FOR_OTHERS = "gradients of some samples foresee {value:+.2g} nats for others, needs below {needed:.2g}"
    NO_DESCENT = "no step along its gradient lowers the loss"
    TOO_MANY_PARAMETERS = "{value:,} parameters, at most {needed:,}"
    TOO_MANY_PARAMETERS_WITH_PENALTY = "{value:,} parameters, at most {needed:,} with a penalty"
    TOO_FEW_SAMPLES = "{value:,} parameters need {needed:,} samples to learn from, got {about:,} in a fold"
    TOO_MANY_GRADIENTS = "{value:,} parameters and {about:,} samples in a fold, at most {needed:,} for so many"
    OTHER_SHAPE = "not for inputs of shape {about}"
    NO_NORM_LAYERS = "the network has no normalisation layer {about}"
    # Why a view didn't join.
    GAINED_LITTLE = "inner folds gained {value:z.2g} nats, needs more than {needed:.2g}"
    ANOTHER_VIEW_DID_BETTER = "another view did better"
    # Why held-out folds weren't used.
    FEW_FOR_THE_GUARD = "the guard needs {needed} independent samples with weight, got {value}"
    FEW_FOR_VIEWS = "views need {needed} independent samples with weight, got {value}"
    CLASSES_MISSING = (
        "{value} of {needed} classes that the network expects have no samples, and views may hide what tells them"
    )
    NO_VIEWS_GIVEN = "max_views holds none beside the inputs as they are"
    NO_VIEWS_KNOWN = "no views are known of inputs of shape {about}: max_views may be a list of modules"
    NO_VIEWS_OF_INTEGERS = "no views are known of integers such as tokens, nor of inputs of several sizes"
    GUESSES = f"the network is no better than guessing, and says much the same of all samples; {_TRIED_BY_NAME}"
    RANDOM = f"the network draws at random: its gradients and its losses are those of other networks; {_TRIED_BY_NAME}"
    RECORDING = (
        "the order of the samples looks like a recording, and what one recording proves may do harm on another: give "
        f"groups=..., a name for each sample of what it belongs to; {_TRIED_BY_NAME}"
    )
    ANOTHER_ORDER = (
        "the labels fit the columns in another order, and a perturbation learned from them would turn right answers "
        "into wrong ones: pass classes=..., a name for each column"
    )
    ONE_CLASS = "all samples are of one class, and what rules out the others would lower their NLL"
    NO_STATISTICS = "the network has no batch norm, whose statistics would tell, and X_reference gives none"
    LABELS_TEACH_MORE = "but the labelled samples alone are expected to teach more"
    MAPS_DO_AS_WELL = (
        "but maps of the network's own logits do as well (with it their held-out NLL changes by {value:+.2g} nats)"
    )
    LAST_LAYER_DOES_BETTER = (
        "but other weights of the network's last layer do better without it (their held-out NLL is lower by "
        "{value:.2g} nats)"
    )
    STRAYED = (
        "but the fit to all the samples ended elsewhere than those of the folds, and loses {value:.2g} nats per sample "
        "against them (standard error {needed:.2g})"
    )
    GRADIENTS_BY_CHANCE = (
        "gradients with respect to {about:,} numbers may be chance (p = {value:.2g}, needs at most {needed:g})"
    )
    NO_GAIN_FORESEEN = (
        "gradients of some samples foresee no gain on others: {about}, which does best, changes their NLL by "
        "{value:+.2g} nats per sample"
    )
    # Doubts about a candidate that folds have judged.
    LOST_FOLDS = "it fell in {value} of {about} folds, needs {needed}"
    WORSE_AMONG_ALL = (
        "among all classes, those without samples too, it changes the held-out NLL by {value:+.2g} nats per sample "
        "(standard error {needed:.2g})"
    )
    FEATURES_UNMOVED = "features moved in {value} of {needed} folds, needs all"
    CHANCE = (
        "chance alone may do as much (Student's p = {value:.2g}, adjusted for the tests made, needs below {needed:.2g})"
    )
    ANY_TEMPERATURE = (
        "a temperature chosen for the held-out samples may do as well (evidence against it of {value:.2f} nats, "
        "needs {needed:.2f})"
    )
    CHANCE_GRADIENTS = "gradients that ask for {about} may be chance (p = {value:.2g}, needs below {needed:.2g})"
    NO_GAIN_ALONG_GRADIENTS = "gradients ask for {about} (p = {value:.2g}), but it didn't lower the held-out NLL"
    # Doubts about new class frequencies.
    FLAWED_PROBABILITIES = "{about}"
    INPUTS_CHANGED = "the inputs have changed too, since no mixture of the classes looks like these (p = {value:.2g})"
    FEW_UNLABELLED = "too few samples to tell a change of the inputs: {value:,} unlabelled samples (needs {needed})"
    FEW_LABELLED = (
        "too few samples to tell a change of the inputs: {value:,} labelled samples (needs {needed:,} for {about:,} "
        "classes)"
    )
    FEW_OF_FREQUENT_CLASSES = (
        "too few samples to tell a change of the inputs: labelled samples of the classes that are frequent now, which "
        "say as much as {value:.0f} (needs {needed})"
    )
    CHANCE_FREQUENCIES = "chance alone may do as much (p = {value:.2g}, needs below {needed:g})"
    INPUTS_MAY_HAVE_CHANGED = (
        "the inputs may have changed too, since few mixtures of the classes look like these (p = {value:.2g}, needs "
        "above {needed:g})"
    )


class Objection(NamedTuple):
    """A reason against a candidate: what it has of something, and what it should have."""

    reason: Reason
    value: float = 0.0
    needed: float = 0.0
    # Another candidate, the number of samples, or the shape of an input.
    about: str | int | tuple | None = None

    def __str__(self):
        return self.reason.value.format(value=self.value, needed=self.needed, about=self.about)


@register
@dataclass(frozen=True)
class Verdict:
    """The decision on a perturbation or, where it says so, on views or class frequencies.

    Views have to beat the single one of what was kept, and class frequencies those of the labelled samples. Where
    unlabelled samples have taught something that stays, it stands, with a temperature, in temperature scaling's place.

    Attributes
    ----------
    accepted, reason : bool, str
        Whether the perturbation is kept; why it was kept or refused, or none was tried.
    difference, standard_error : float
        Mean held-out NLL of the best candidate minus that of temperature scaling, in nats, and its standard error;
        where classes that the network expects have no samples, among the others. Of class frequencies, the negative
        mean log-likelihood ratio of all unlabelled samples, less what chance gains (Akaike's), and 0, since their test
        needs none.
    p_value : float
        Of the tests against "not below zero", Student's and that of universal inference, the larger one, adjusted for
        the number of candidates; where the gradients kept it, of the score test. Of class frequencies, Hotelling's.
    tried : dict of str to float
        Mean held-out NLL minus that of temperature scaling, in nats, of each family that a fold fitted, on the samples
        of these folds, at the best of several settings; "affine + grid" for families appended one after another.
    not_tried : dict of str to str
        Families that no fold fitted, and why: of the first fold that left it out.
    n_samples, n_labelled : int
        Samples with weight that were held out, each once; 0 where none were. Of class frequencies the unlabelled
        samples, and the labelled ones with weight.
    detectable_gain : float or None
        Mean gain of held-out NLL per sample, in nats, at which the folds would have kept the perturbation on half of
        such sets of samples. None where nothing was held out, or no difference was seen.
    folds : list of dict
        Of each fold "n_samples" held out, the "perturbation" that it learned in "n_epochs" (or the "views" that it
        chose), the "temperature" beside it, and on the samples held out its "nll", and "nll_temperature_scaling".
    fit_p_value : float or None
        Of the test that nothing but the class frequencies has changed; None where it isn't about them.
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
        """Return how much likelier held-out samples are: mean log-likelihood ratio, in nats per sample."""
        return -self.difference

    @property
    def inputs_changed(self):
        """Return whether more than class frequencies has changed, at a level of 0.001; they are kept above 0.05."""
        return self.fit_p_value is not None and self.fit_p_value < SURE_LEVEL

    def __str__(self):
        return self.reason


class Decision(NamedTuple):
    """A verdict in numbers, and its grounds, of which words are made."""

    verdict: Verdict
    # What speaks against the candidate; nothing does where it is accepted.
    objections: list[Objection] = []
    # Why nothing that folds say counts, where it doesn't.
    dismissed: Objection | None = None
    untried: dict[str, Objection] = {}
    # What the folds made of the candidate, but for the baseline; how many there were, and in how many folds it gained.
    names: list[str] = []
    n_candidates: int = 0
    n_gains: int = 0
    # Whether the score test keeps it, and folds don't speak against it.
    by_score: bool = False
    candidate: int = 0

    def refused(self, *objections, dismissed=None):
        """Return the decision against the candidate, for other reasons."""
        return self._replace(
            verdict=replace(self.verdict, accepted=False), objections=list(objections), dismissed=dismissed
        )


def nothing_tried(why, untried=(), detectable_gain=None):
    """Return the decision where nothing was held out, for one reason, an `Objection`."""
    return Decision(
        Verdict(False, 0.0, 0.0, 1.0, detectable_gain=detectable_gain), dismissed=why, untried=dict(untried)
    )
