"""The output maps that pools are made of where nobody says."""

from .. import nonparametric, scaling

# Of dense outputs, places of each sample that maps are tried on, which agree with their neighbours; and rows that few
# samples have at all of these.
_TRIED_PLACES = 128
_TRIED_ROWS = 1 << 15
# Every map of the output, in the order in which comparisons have them.
MAPS = [getattr(room, name) for room in (scaling, nonparametric) for name in room.__all__]


def default_candidates():
    """Output maps for `CalibratorSelector` to pool: a short list, from few parameters to many.

    The three structured matrices differ in strength: what suits 10 classes is far too strong for 100.
    "quadratic" is for two classes.

    Returns
    -------
    list of (str, BaseCalibrator)
        Names and unfitted maps.

    Examples
    --------
    >>> from skclamp import default_candidates
    >>> [name for name, _ in default_candidates()][:2]
    ['temperature', 'ensemble temperature']
    """
    return [(name, kind(**params)) for kind in MAPS for name, params in kind()._tags.default_candidates.items()]


def maps_for(rows, outputs):
    """Names and maps that rows of an output layer are pooled of where nobody says; of labels those that pool them."""
    if outputs.n_labels:
        return [("temperature", scaling.TemperatureScaling()), ("platt", scaling.PlattScaling())]
    pairs = default_candidates()
    if outputs.is_dense:
        pairs = [(name, map_) for name, map_ in pairs if map_._tags.where_dense == "pooled"]
    return takers(pairs, rows.logits)


def tried_places(n_samples):
    """Return at how many places of each sample of dense outputs maps are tried."""
    return max(_TRIED_PLACES, _TRIED_ROWS // n_samples)


def takers(pairs, *logits):
    """Of pairs of a name and a calibrator those that suit these logits: their classes, and some that may be -inf."""
    n_classes = logits[0].shape[1]
    any_absent = any(part.isneginf().any() for part in logits)
    return [
        (name, calibrator)
        for name, calibrator in pairs
        if n_classes <= calibrator._tags.compared_classes and (calibrator._tags.takes_absent or not any_absent)
    ]
