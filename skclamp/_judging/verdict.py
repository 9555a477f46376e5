"""Decisions in numbers and enums: why something wasn't tried, what speaks against it, and the verdict."""

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import NamedTuple

from .._utils.encoding import register

# Below this p value inputs are said to have changed, beside class frequencies.
SURE_LEVEL = 0.001


class FamilyReason(Enum):
    """Why a family wasn't tried. Of reasons that lack as much, the first is told, here and below."""

    SPECIAL_CASE = auto()
    LITTLE_EVIDENCE = auto()
    LESS_EVIDENCE_THAN_ANOTHER = auto()
    LITTLE_GAIN = auto()
    NO_GAIN_FORESEEN = auto()
    NO_DESCENT = auto()
    TOO_MANY_PARAMETERS = auto()
    TOO_MANY_PARAMETERS_WITH_PENALTY = auto()
    TOO_FEW_SAMPLES = auto()
    TOO_MANY_GRADIENTS = auto()
    TOO_LARGE_MATRIX = auto()
    OTHER_SHAPE = auto()
    NO_NORM_LAYERS = auto()
    CROSS_FITTED = auto()


class ViewReason(Enum):
    """Why a view didn't join."""

    GAINED_LITTLE = auto()
    WITHOUT_WEIGHT = auto()
    BETTER_ONE_JOINED = auto()
    BETTER_ONES_ON_FEW = auto()


class Unheard(Enum):
    """Why no fold's word counts."""

    FEW_FOR_THE_GUARD = auto()
    FEW_FOR_VIEWS = auto()
    NO_VIEWS_GIVEN = auto()
    NO_VIEWS_KNOWN = auto()
    NO_VIEWS_OF_INTEGERS = auto()
    GUESSES = auto()
    RANDOM = auto()
    ANOTHER_ORDER = auto()
    NO_STATISTICS = auto()
    LABELS_TEACH_MORE = auto()
    MAPS_DO_AS_WELL = auto()
    GRADIENTS_BY_CHANCE = auto()
    NO_GAIN_FORESEEN = auto()


class Objection(NamedTuple):
    """A reason against a candidate: what it has of something, and what it should have."""

    reason: Enum
    value: float = 0.0
    needed: float = 0.0
    about: str | int | tuple | None = None


class Untried(NamedTuple):
    """The reason why a family, or a view, wasn't tried, in numbers; that with the least lack came nearest to it."""

    # By how much it missed what is asked for: what it had of that, and what it should have.
    lack: float
    reason: Enum
    value: float = 0.0
    needed: float = 0.0
    # The family that was chosen instead, the number of samples, or the shape of an input.
    about: str | int | tuple | None = None


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
        Mean held-out NLL of the best candidate minus that of temperature scaling, in nats, and its standard error. Of
        class frequencies, the negative mean log-likelihood ratio of all unlabelled samples, less what chance gains
        (Akaike's), and 0, since their test needs none.
    p_value : float
        Of the tests against "not below zero", Student's and that of universal inference, the larger one, times the
        number of candidates or, with "auto", over the candidate's share of the level; where the score test of the
        gradients kept it, of that, times the number of families. Of class frequencies, Hotelling's.
    tried : dict of str to float
        Mean held-out NLL minus that of temperature scaling, in nats, of each family that a fold fitted, on the samples
        of these folds, at the best of several settings; "affine + grid" for families appended one after another.
    not_tried : dict of str to str
        Families that no fold fitted, and why: of the fold that came nearest to it.
    n_samples, n_labelled : int
        Samples with weight that were held out, each once; 0 where none were. Of several tries, all here is that of the
        one that kept the perturbation or, if none did, came nearest. Of class frequencies the unlabelled samples, and
        the labelled ones with weight; else None.
    detectable_gain : float or None
        Mean gain of held-out NLL per sample, in nats, at which the folds would have kept the perturbation on half of
        such sets of samples. None where nothing was held out, or no difference was seen.
    folds : list of dict
        Of each fold "n_samples" held out, the "perturbation" that it learned in "n_epochs" (or, of views, the "views"
        that it chose), the "temperature" beside it, and on the samples held out its "nll", and
        "nll_temperature_scaling".
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
    unheard: Objection | None = None
    untried: dict[str, Untried] = {}
    # What the folds made of the candidate, but for the baseline; how many there were, and in how many folds it gained.
    names: list[str] = []
    n_candidates: int = 0
    n_gains: int = 0
    # Whether the score test keeps it, and folds don't speak against it.
    by_score: bool = False
    # Its number among the candidates.
    candidate: int = 0

    def refused(self, *objections, unheard=None):
        """Return the decision against the candidate, for other reasons."""
        verdict = replace(self.verdict, accepted=False)
        return self._replace(verdict=verdict, objections=[*objections], unheard=unheard)


def nothing_tried(reason, value=0.0, needed=0.0, about=None, untried=(), detectable_gain=None):
    """Return the decision where nothing was held out, for one reason."""
    verdict = Verdict(False, 0.0, 0.0, 1.0, detectable_gain=detectable_gain)
    return Decision(verdict, unheard=Objection(reason, value, needed, about), untried=dict(untried))
