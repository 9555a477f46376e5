"""MapTags: what fits, reports, comparisons and pools know of a calibrator's map."""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class MapTags:
    """Facts of a calibrator's map, as scikit-learn's tags are of an estimator.

    Attributes
    ----------
    takes_logarithms : bool, default=True
        Whether the map is one of logarithms, which probabilities of 0 don't have.
    takes_absent : bool, default=True
        Whether it takes logits of -inf, as of classes that a sample doesn't have, and gives the others what they would
        have among themselves.
    takes_places : bool, default=True
        Whether it takes a class at each place of a sample.
    map_of_labels : {"all", "each"} or None, default="each"
        Of several labels that don't exclude each other: whether all have one map, or each one of its own. None takes no
        such labels.
    learns_by_class : bool, default=False
        Whether the map has numbers of each class. `_fit_logits` and the map then see the columns of classes with
        samples alone, and temperature scaling sets the probabilities of the others.
    reads_again : bool, default=False
        Whether the fit reads samples several times, by their numbers, which streams don't have.
    holds_out : bool, default=False
        Whether `_fit_logits` holds samples out, and takes ``unit``: numbers that samples share which depend on each
        other, or None.
    held_out : str, default="out of fold"
        What the held-out samples of the summary are to the map.
    needs_independence : bool or "proof", default=True
        Whether samples that depend on each other mislead it, as they do maps of many numbers; "proof" is what judges
        its own parts by them.
    n_per_class : int, default=0
        About how many numbers of each class samples alone have to set; 0 where so few can't do harm.
    enough_per_number : int, default=10
        With how many samples for each of these nothing is held out: a temperature is hardly ever better.
    n_free : int or "all", default=0
        How many numbers nothing but the samples holds: no penalty, no pooling, no held-out samples.
    treats_classes_alike : bool, default=False
        Whether the map can't make one class more frequent.
    mend_by_class : str
        Of such a map: which calibrators set each class right, `maps` being those of outputs.
    group : str, default="others"
        The group of a page that it is in.
    compared_classes : float, default=inf
        Comparisons and selectors have it up to so many classes where nobody names it.
    compared_samples : float, default=0
        Comparisons have it from so many samples for each class.
    where_dense : {"pooled", "compared"} or None, default=None
        Of a class at each place of a sample: whether pools and comparisons have it where nobody names it, or
        comparisons alone.
    default_candidates : dict of str to dict, default={}
        What a selector chooses from where nobody says: parameters of maps of this kind by name, from few numbers to
        many.
    """

    takes_logarithms: bool = True
    takes_absent: bool = True
    takes_places: bool = True
    map_of_labels: str | None = "each"
    learns_by_class: bool = False
    reads_again: bool = False
    holds_out: bool = False
    held_out: str = "out of fold"
    needs_independence: bool | str = True
    n_per_class: int = 0
    enough_per_number: int = 10
    n_free: int | str = 0
    treats_classes_alike: bool = False
    mend_by_class: str = (
        "{name} treats all classes alike, and can't mend it: {maps} can. Where inputs have changed, take "
        "NeuralClampingCalibrator"
    )
    group: str = "others"
    compared_classes: float = math.inf
    compared_samples: float = 0
    where_dense: str | None = None
    default_candidates: dict[str, dict] = field(default_factory=dict)
