"""Which samples the guard holds out: by counts alone, or as the user's splitter says."""

import numpy as np
from sklearn.model_selection import KFold

from .._judging.out_of_fold import MIN_SAMPLES
from .._judging.splits import check_disjoint
from .._utils.parameters import is_splitter

# Below so many samples a half may be too few to learn from.
FEW_SAMPLES = 1000


def tries_of(validation_fraction, problem, learner):
    """Splits of each try of the guard, of which the next one follows where one proves nothing.

    Parameters
    ----------
    validation_fraction : float, "auto", splitter, iterable or None
        The parameter of `skclamp.NeuralClampingCalibrator`.
    problem : Problem
        All the samples.
    learner : Learner
        The source of random splits.

    Returns
    -------
    list of list of tuple
        Training and held-out rows, positions among the samples with weight. No try where so few samples could prove
        nothing.
    """
    if validation_fraction is None:
        if problem.n_weighted < 2:
            raise ValueError(f"gamma must be a number for fewer than two samples; got 'auto' for {problem.n_weighted}")
        return [_drawn(2, problem, learner.draw_seed())]
    if isinstance(validation_fraction, str):
        numbers = [2, 5] if problem.n_distinct < FEW_SAMPLES else [2]
    elif np.isscalar(validation_fraction):
        numbers = [_n_folds(validation_fraction, problem.n_distinct)]
    elif problem.n_weighted >= MIN_SAMPLES:
        return [_given(validation_fraction, problem)]
    if problem.n_distinct < MIN_SAMPLES:
        return []
    seed = learner.draw_seed()
    return [_drawn(n_folds, problem, seed) for n_folds in numbers]


def _drawn(n_folds, problem, seed):
    """Random folds, copies kept together."""
    places = problem.places
    splits = KFold(n_folds, shuffle=True, random_state=seed).split(np.arange(problem.n_distinct))
    return [tuple(np.flatnonzero(np.isin(places, part)) for part in split) for split in splits]


def _n_folds(fraction, n_samples):
    n_folds = max(2, round(1 / fraction))
    # Fewer samples, of which nothing is held out, excuse no part that would be refused of more.
    n_samples = max(n_samples, MIN_SAMPLES)
    if n_folds > n_samples:
        raise ValueError(f"validation_fraction must hold out at least one of {n_samples} samples; got {fraction}")
    return n_folds


def _given(validation_fraction, problem):
    """The user's splits, one try, the same on all processes."""
    pairs = validation_fraction
    if is_splitter(validation_fraction):
        # To it samples without weight are as good as absent; in an iterable they have positions.
        problem = problem.weighted()
        y_encoded = problem.shard.all_gather(problem.y_encoded).cpu().numpy()
        pairs = validation_fraction.split(y_encoded, y_encoded, **problem.split_params)
    places = np.full(len(problem), -1)
    places[problem.nonzero_weight_indices().numpy()] = np.arange(problem.n_weighted)
    splits = [tuple(_placed(part, places) for part in _pair(pair)) for pair in pairs]
    check_disjoint(splits, problem.n_weighted)
    # A splitter may draw.
    return problem.shard.ranks.all_gather_object(splits)[0]


def _pair(pair):
    try:
        train, held_out = pair
    except (TypeError, ValueError):
        raise ValueError(f"validation_fraction must have splits of the form (train, test); got {pair!r}") from None
    return train, held_out


def _placed(part, places):
    """Positions among the samples with weight of those of a part that have any."""
    try:
        rows = places[list(part)]
    except (TypeError, IndexError) as error:
        raise ValueError(
            f"validation_fraction must have splits of positions among {len(places)} samples: {error}"
        ) from error
    return rows[rows >= 0]
