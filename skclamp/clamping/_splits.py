"""Which samples the guard holds out, and copies among them: equal inputs prove no more than one, and share a fold."""

from dataclasses import replace
from numbers import Real

import numpy as np
import torch

from .._judging.out_of_fold import MIN_SAMPLES, MIN_UNITS
from .._judging.splits import check_partition, folds_of_rows
from .._utils.outputs import numbers_of
from .._utils.parameters import is_splitter
from .._utils.warnings import note
from ..exceptions import CalibrationSetWarning

# A few equal rows of a table mislead nobody.
_MANY_TORN = 0.1


def splits_of(validation_fraction, problem):
    """Return the splits of the guard, positions among the samples with weight; none of too few samples."""
    n_distinct = problem.n_distinct
    n_folds = 2
    if isinstance(validation_fraction, Real):
        n_folds = max(2, round(1 / float(validation_fraction)))
        # Fewer samples, of which nothing is held out, excuse no part that would be refused of more.
        if n_folds > (n_samples := max(n_distinct, MIN_SAMPLES)):
            rule = f"validation_fraction must hold out at least one of {n_samples} samples"
            raise ValueError(f"{rule}; got {validation_fraction}")
    elif not (validation_fraction is None or isinstance(validation_fraction, str)):
        return _given(validation_fraction, problem) if problem.n_weighted >= MIN_UNITS else []
    if n_distinct < (2 if validation_fraction is None else MIN_UNITS):
        return []
    # The same ones whatever the order of the samples is, whatever is drawn, and whatever unlabelled ones taught.
    fold = folds_of_rows(problem.rows(problem.raw), n_folds)
    # Rows of one sample share a fold.
    fold = fold[:: len(fold) // len(problem)]
    if problem.is_recording:
        # Whole parts.
        fold = problem.places * n_folds // n_distinct
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(fold.max() + 1)]


def _given(validation_fraction, problem):
    """The user's splits, the same on all processes."""
    pairs = validation_fraction
    if is_splitter(validation_fraction):
        # To it samples without weight are as good as absent; in an iterable they have positions.
        problem = problem.weighted()
        y_encoded = problem.y_encoded.cpu().numpy()
        pairs = validation_fraction.split(y_encoded, y_encoded, **problem.split_params)
    places = np.full(len(problem), -1)
    places[problem.nonzero_weight_indices().numpy()] = np.arange(problem.n_weighted)
    pairs = list(pairs)
    try:
        pairs = [(places[list(train)], places[list(rows)]) for train, rows in pairs]
    except (TypeError, ValueError, IndexError) as error:
        rule = f"splits of the form (train, test), positions among {len(places)} samples"
        raise ValueError(f"validation_fraction must have {rule}: {error}") from error
    # In the order of the samples, as processes that share them need it.
    splits = [[np.sort(part[part >= 0]) for part in pair] for pair in pairs]
    for k, (train, rows) in enumerate(splits):
        if not (len(train) and len(rows)):
            raise ValueError(
                f"validation_fraction must have samples with weight in both parts of each split; got {len(train)} to "
                f"train on and {len(rows)} held out in split {k}"
            )
        if len(both := np.intersect1d(train, rows)):
            rule = "validation_fraction must hold out samples that aren't trained on"
            raise ValueError(f"{rule}; got sample {both[0]} in both parts of split {k}")
    if not splits:
        raise ValueError("validation_fraction must have at least one split; got none")
    check_partition([rows for _, rows in splits], problem.n_weighted, "validation_fraction", "at most once")
    # A splitter may draw.
    return problem.shard.ranks.all_gather_object(splits)[0]


def merged(problem):
    """Return the problem with copies of one label, near-copies too, as the first of them, of their total weight.

    Weights count as repetitions: what is to be learned stays the same. Copies of several labels stay several samples.
    """
    if problem.copies is None:
        return problem
    y_encoded = numbers_of(problem.y_encoded.cpu().numpy())
    alike = problem.copies * (y_encoded.max() + 1) + y_encoded
    _, first, number = np.unique(alike, return_index=True, return_inverse=True)
    weight = torch.from_numpy(np.bincount(number, problem.weight.numpy())[first.argsort()])
    part = problem.take(np.sort(first))
    return replace(part, weight=weight, copies=part.copies if part.n_distinct < len(part) else None)


def look_for_torn_copies(problem, splits):
    """Note splits of the user's that have copies of the same samples, or samples of a group, on both sides."""
    # Of fewer nothing is kept anyway.
    if problem.units is None or problem.n_weighted < MIN_UNITS:
        return
    units = problem.units
    held_out, torn = np.zeros((2, len(problem)), dtype=bool)
    for train, rows in splits:
        held_out[rows] = True
        torn[rows] = np.isin(units[rows], units[train])
    if torn.sum() > _MANY_TORN * held_out.sum():
        shared = "equal inputs" if problem.groups is None else "others of their groups"
        note(
            f"{torn.sum()} of {held_out.sum()} samples that validation_fraction holds out have {shared} among those "
            "that are learned from, so that they prove nothing: keep these together by groups=... and a splitter that "
            "goes by them, such as GroupKFold()",
            CalibrationSetWarning,
            explains=True,
        )
