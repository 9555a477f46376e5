"""Output maps in the temperature's place: a pool of maps, or one by name, judged out of fold."""

import numpy as np

from .._judging.splits import folds_of_rows
from .._pooling.candidates import maps_for, tried_places
from .._pooling.pool import learn_pool, try_out
from .._utils.warnings import note
from ..exceptions import CalibrationSetWarning
from ..scaling import TemperatureScaling

# Of more classes, or more samples times squared classes, no map is pooled unasked: 2,500 samples of 200 classes take
# six seconds, and win next to nothing. Of ten classes a pool takes less than the passes of clamping do.
_MAX_CLASSES = 200
_MAX_PRODUCT = 100_000_000
_N_FOLDS = 5


def suits_pool(n_samples, n_classes):
    """Return whether maps of so many samples are pooled unasked: they are fitted in seconds."""
    return n_classes <= _MAX_CLASSES and n_samples * n_classes**2 <= _MAX_PRODUCT


def judge_output(asked, problem, logits, temperature, splits, verbose):
    """Fit the map in the temperature's place to logits that no label of theirs has moved, and judge it.

    The fitted map, None where the temperature does as well, and the NLL out of fold under what is kept, a sample's mean
    and of each row at the places that are tried, both None where nothing was held out. Where none was `asked` for, it
    is a pool of the default maps; where one was, a refusal is told. Maps are fitted to what all but one of the
    `splits`, training and held-out rows, hold out; where there are none, folds are drawn.
    """
    everywhere = problem.rows(logits)
    outputs = problem.outputs
    rows = problem.rows(logits, tried_places(len(problem)))
    # The temperature comes first.
    given = [("temperature", TemperatureScaling()), (type(asked).__name__, asked)]
    names, maps = zip(*(maps_for(rows, outputs) if asked is None else given), strict=True)
    numbers = fold_numbers(problem, rows, splits)
    if not numbers.any():
        if asked is not None:
            mend = "Have it unjudged with NeuralClampingCalibrator's validation_fraction=None"
            _note_left_out(names[1], f"the folds hold out one part, which leaves none to judge it by. {mend}")
        return None, None, None
    weight = rows.weight.numpy()
    # Of several labels a sample has the losses of all.
    n_rows = problem.rows_a_sample
    verbose = 0 if problem.shard.ranks.rank else verbose
    trial = try_out(maps, rows, outputs, numbers, verbose=verbose, desc="output maps")
    if asked is not None:
        losses = trial.losses(rows.y)
        baseline, loss = (float(np.average(each, weights=weight)) for each in losses)
        # Labels that may be wrong can't judge a map that knows of them.
        if loss <= baseline or getattr(asked, "label_noise", None):
            return asked._fitted_to(everywhere, outputs), n_rows * loss, losses[1]
        nlls = f"{loss:.4g}, temperature scaling's {baseline:.4g}"
        _note_left_out(names[1], f"on samples that it wasn't fitted to its NLL is {nlls}")
        return None, n_rows * baseline, losses[0]
    found = learn_pool(trial, names, maps, 0, rows, outputs, everywhere, temperature)
    earned = found.weights[1:].any()
    return found.pool if earned else None, n_rows * float(np.average(found.losses, weights=weight)), found.losses


def _note_left_out(name, why):
    note(f"output={name}(...) is left out, and a temperature takes its place: {why}", CalibrationSetWarning)


def fold_numbers(problem, rows, splits):
    """Number of the fold that holds out each row."""
    if splits:
        parts = [rows for _, rows in splits]
        numbers = np.arange(len(parts)).repeat(list(map(len, parts)))[np.concatenate(parts).argsort()]
        return numbers.repeat(len(rows.y) // len(problem))
    return folds_of_rows(rows, _N_FOLDS)
