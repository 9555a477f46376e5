"""Output maps in the temperature's place: a pool of maps, or one by name, judged out of fold."""

from typing import NamedTuple

import numpy as np
import torch

from .._judging.paired import of_groups, student_below_zero
from .._judging.splits import draw_folds
from .._judging.verdict import Objection, Reason
from .._pooling.candidates import maps_for, tried
from .._pooling.pool import learn_pool, losses_under, try_out, units_of
from .._utils.warnings import note
from ..base import BaseCalibrator
from ..exceptions import CalibrationSetWarning
from ..scaling import TemperatureScaling

# Of more classes, or more samples times squared classes, no map is pooled unasked: 2,500 samples of 200 classes take
# six seconds, and win next to nothing. Of ten classes a pool takes less than the passes of clamping do.
_MAX_CLASSES, _MAX_PRODUCT = 200, 100_000_000
_N_FOLDS = 5
# How many samples tell whether the last fit has ended where those of the folds did, and a part of the error that is no
# loss. More may be within it: few samples that lose much make both large.
_N_ASKED, _FEWEST_ERRORS = 256, 0.5


class Judged(NamedTuple):
    """A map in the temperature's place, as folds judge it."""

    # Fitted; None where the temperature does as well.
    output: BaseCalibrator | None
    # Mean NLL out of fold under what is kept; None where nothing was held out.
    loss: float | None = None

    def passed_over_for(self, other):
        """An `Objection` where another's loss of the same samples is no higher; else None."""
        if other.loss is None or self.loss < other.loss:
            return None
        return Objection(Reason.MAPS_DO_AS_WELL, self.loss - other.loss)


def suits_pool(n_samples, n_classes):
    """Return whether maps of so many samples are pooled unasked: they are fitted in seconds."""
    return n_classes <= _MAX_CLASSES and n_samples * n_classes**2 <= _MAX_PRODUCT


def judge_output(asked, problem, logits, temperature, splits, verbose):
    """Fit the map in the temperature's place to logits that no label of theirs has moved, and judge it, as `Judged`.

    Where none was `asked` for, it is a pool of the default maps; where one was, a refusal is told. Maps are fitted to
    what all but one of the `splits`, training and held-out rows, hold out; where there are none, folds are drawn.
    """
    everywhere = problem.labelled(logits)
    samples = tried(everywhere)
    # The temperature comes first.
    given = [("temperature", TemperatureScaling()), (type(asked).__name__, asked)]
    names, maps = zip(*(maps_for(samples) if asked is None else given), strict=True)
    numbers = _fold_numbers(problem, samples, splits)
    if not numbers.any():
        if asked is not None:
            mend = "Have it unjudged with NeuralClampingCalibrator's validation_fraction=None"
            _note_left_out(names[1], f"the folds hold out one part, which leaves none to judge it by. {mend}")
        return Judged(None)
    weight = samples.weight.numpy()
    verbose = 0 if problem.shard.ranks.rank else verbose
    trial = try_out(maps, samples, numbers, verbose=verbose, desc="output maps")
    if asked is not None:
        plain, loss = (float(np.average(each, weights=weight)) for each in trial.losses(samples))
        if loss <= plain:
            return Judged(everywhere.fit(asked), loss)
        n_rows = samples.rows_a_sample
        nlls = f"{loss / n_rows:.4g}, temperature scaling's {plain / n_rows:.4g}"
        _note_left_out(names[1], f"on samples that it wasn't fitted to its NLL is {nlls}")
        return Judged(None, plain)
    units = units_of(samples, problem.copies, problem.groups)
    found = learn_pool(trial, names, maps, 0, samples, units, everywhere, temperature)
    earned = found.weights[1:].any()
    return Judged(found.pool if earned else None, float(np.average(found.losses, weights=weight)))


def strayed(judged, state, problem, logits, plain, generator, views=()):
    """An `Objection` where the last fit ended elsewhere than its folds, and gains nothing there; else None.

    Folds vouch for a last fit that ends where theirs did. Of a loss with several valleys it may end in another, and the
    map or the views behind it then take logits that are unlike all that they were fitted to. So some samples are asked:
    those that taught it shouldn't lose more than they did when they were held out, which made the `logits`. `plain`
    returns what there is without it, a `Judged` map and T.
    """
    rows = problem.nonzero_weight_indices()
    rows = rows[torch.randperm(len(rows), generator=generator)[:_N_ASKED].sort().values]
    part = problem.take(rows)

    def losses(judged, temperature, logits):
        return losses_under(judged.output, temperature, part.labelled(logits))

    deployed = part.logits_under(state.perturbation, views)
    of_all = losses(judged, state.temperature, deployed)
    of_folds = losses(judged, state.temperature, logits[rows])
    lost, error, _ = student_below_zero(*of_groups(of_all - of_folds, part.weight.numpy(), part.units))
    if lost <= _FEWEST_ERRORS * error:
        return None
    without, temperature = plain()
    gains = np.average(of_all - losses(without, temperature, part.logits), weights=part.weight) < 0
    return None if gains else Objection(Reason.STRAYED, lost, error)


def _note_left_out(name, why):
    note(f"output={name}(...) is left out, and a temperature takes its place: {why}", CalibrationSetWarning)


def _fold_numbers(problem, samples, splits):
    """Number of the fold that holds out each sample."""
    if splits:
        parts = [rows for _, rows in splits]
        return np.repeat(np.arange(len(parts)), [*map(len, parts)])[np.argsort(np.concatenate(parts))]
    log_proba, labels = samples.drawn_by()
    return draw_folds(log_proba, labels, samples.weight, _N_FOLDS, problem.units)
