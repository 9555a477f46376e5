"""Silent nonsense: what logits and labels show of a misuse that no single value betrays."""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.special import betainc

from .._judging.class_frequencies import ClassMeans
from .._judging.paired import n_effective
from .._solvers.temperature import DEFAULT_BOUNDS, solve_temperature
from .._utils.arrays import row_sum_tolerance
from .._utils.warnings import (
    CAUSES_OF_LARGE_T,
    CAUSES_OF_SMALL_T,
    explained,
    note,
    puzzled,
    suspect,
    warn_caller,
)
from ..exceptions import CalibrationSetWarning, TrainingDataWarning

# By the rule of three, so many samples without an error put the error rate below 0.6 % with 95 % confidence.
MANY_SAMPLES = 500
# Looks at more samples would cost time and see no more.
_MAX_ROWS = 1 << 16
_MAX_ROWS_FOR_T = 2000
# The Hungarian method takes time with the cube of the columns.
_MAX_COLUMNS = 2048
_MAX_SHOWN = 20
_LEVEL = 1e-3
_DEVIATIONS = 3.09  # of that level, one-sided
# Of an order with the labels, beyond chance: Cohen's kappa.
_MIN_AGREEMENT = 0.5
_MIN_SAMPLES_PER_PARAMETER = 20
_MAX_RARE = 3
# To tell guesses from what is a little better: samples, and samples of other classes than the most frequent one.
_MIN_GUESSES, _MIN_OTHERS = 50, 20
_LEVEL_OF_GUESSES, _DEVIATIONS_OF_GUESSES = 0.05, 1.645
# Of so many classes, about as frequent as each other, those of an untrained network are told by their order too, where
# the accuracy is below so many times the most frequent one's share.
_MIN_CLASSES_IN_ORDER, _LUCKY = 5, 1.5
# Of outputs that are guesses, in nats: what they tell of which sample it is. Untrained networks, deep or of one layer,
# have 0.00 to 0.19 of ten classes; trained ones on inputs upside down, of which they may be wrong on all, 0.7 and more.
_MIN_INFORMATION = 0.25
_MIN_T, _MAX_T = 0.05, 20.0
# Sharper than any network on samples that it hasn't seen, where it is right on nearly all.
_SHARP_T, _NEARLY_ALWAYS = 0.3, 0.998
_DOUBLE_SOFTMAX_T = 0.3
# Of what is a softmax's outputs but for a constant, the least lies by this part of 1 / K below the mean, or by more.
_FAR_FROM_EQUAL = 0.8
# Class frequencies that are off by chance; and what part of the NLL offsets would win, of two classes and of more, to
# matter: classifiers fitted to balanced classes have a half, and naive Bayes on digits a fifth.
_LEVEL_OF_FREQUENCIES, _MIN_SHARE_OF_NLL = 1e-5, (0.15, 0.25)
_NO_CHANCE = 1e-16
# Logits of a span of 1 that need no sharpening needn't come from a sigmoid.
_SIGMOID_T = 0.5


class Looks(NamedTuple):
    """What was looked at before a fit, kept for the second look at what it found.

    Attributes
    ----------
    logits, y_encoded, weight : torch.Tensor
        Of all samples, or of some drawn the same way each time; those without weight are left out.
    n_samples : int
        How many have weight, of all.
    accuracy : float
        Weighted, of the samples looked at.
    inputs : tuple of two floats or None
        Range of a network's first inputs.
    guesses : bool
        Whether the logits say nothing of the labels, which was noted, and are much alike, as an untrained network's.
    """

    logits: torch.Tensor
    y_encoded: torch.Tensor
    weight: torch.Tensor
    n_samples: int
    accuracy: float
    inputs: tuple | None
    guesses: bool


def look_at(logits, y_encoded, weight, classes, *, known, inputs=None):
    """Look at a network's logits and the labels before a fit.

    `known` says that the estimator itself knows the classes, so that their order can't be wrong; `inputs` is the range
    of the network's first inputs, where that is known.
    """
    n_samples = int((weight > 0).sum())
    rows = _some_rows(y_encoded, weight)
    if len(rows) < len(y_encoded):
        logits, y_encoded, weight = logits[rows], y_encoded[rows], weight[rows.to(weight.device)]
    weight = weight.cpu()
    best, labels, weights = (
        logits.argmax(1).cpu().numpy(),
        y_encoded.cpu().numpy(),
        weight.numpy() / weight.max().item(),
    )
    explained = False
    if not known:
        explained = _look_at_order(best, labels, weights, classes)
        explained |= look_at_width(best, labels, weights, len(classes))
    accuracy = float(np.average(best == labels, weights=weights))
    guesses = not explained and _look_at_accuracy(accuracy, logits, labels, weights) and _are_alike(logits, weights)
    return Looks(logits, y_encoded, weight, n_samples, accuracy, inputs, guesses)


def _some_rows(y_encoded, weight):
    """Positions of the samples with weight, or of some of them, drawn the same way each time."""
    rows = weight.cpu().nonzero()[:, 0]
    return rows[_drawn(len(rows), _MAX_ROWS)].to(y_encoded.device)


def _drawn(n, most):
    if n <= most:
        return torch.arange(n)
    return torch.from_numpy(np.sort(np.random.default_rng(0).choice(n, most, replace=False)))


def _look_at_order(best, labels, weight, classes):
    """Whether the columns fit the labels better in another order, which is noted."""
    order = better_order(best, labels, weight)
    if order is None:
        return False
    as_given = np.average(best == labels, weights=weight)
    permuted = np.average(order[best] == labels, weights=weight)
    shown = ", ".join(repr(name) for name in classes[:4].tolist()) + (", ..." if len(classes) > 4 else "")
    note(
        f"the columns may be in another order: the accuracy is {as_given:.1%} with classes [{shown}], and "
        f"{permuted:.1%} were the columns permuted: pass classes={_in_order(classes, order)}, a name for each column "
        "in its order",
        CalibrationSetWarning,
        explains=True,
    )
    return True


def _in_order(classes, order):
    """What classes to pass, where they aren't too many to be read."""
    names = np.concatenate([classes[order], classes[len(order) :]])
    return names.tolist() if len(names) <= _MAX_SHOWN else "..."


def better_order(best, labels, weight):
    """Where each column goes in an order that fits the labels significantly better; None where there is none.

    It is found on one half of the samples and tested on the other. `best` and `labels` are the columns of the greatest
    logits and of the labels; the weights are positive.
    """
    # Of fewer errors even flawless mending isn't significant.
    if (best != labels).sum() < -np.log2(_LEVEL):
        return None
    columns, places = np.unique(np.concatenate([best, labels]), return_inverse=True)
    best, labels = places.reshape(2, -1)
    if len(columns) > _MAX_COLUMNS:
        return None
    first = np.random.default_rng(0).random(len(best)) < 0.5
    counts = np.zeros((len(columns), len(columns)))
    np.add.at(counts, (best[first], labels[first]), weight[first])
    # Each column goes to one label at the best, which bounds the accuracy of every order; most nonsense ends here.
    if counts.max(1).sum() <= _MIN_AGREEMENT * counts.sum():
        return None
    # Beyond what the shares of columns and labels make by chance: a class that is predicted too often isn't misplaced.
    excess = counts - np.outer(counts.sum(1), counts.sum(0)) / max(counts.sum(), np.finfo(float).tiny)
    # Where a column's own label leads in its row and its column no other order is sought, which saves most of the time.
    own = excess.diagonal()
    suspects = np.flatnonzero((own < excess.max(0)) | (own < excess.max(1)))
    order = np.arange(len(columns))
    order[suspects] = suspects[linear_sum_assignment(excess[np.ix_(suspects, suspects)], maximize=True)[1]]
    if not _is_better(order, best[~first], labels[~first], weight[~first]):
        return None
    places = np.arange(columns[-1] + 1)
    places[columns] = columns[order]
    return places


def _is_better(order, best, labels, weight):
    """Whether an order is more accurate, by a sign test of the samples on which the two differ, and beyond chance."""
    if not len(best):
        return False
    gain = (order[best] == labels).astype(float) - (best == labels)
    differ = gain != 0
    if not differ.any():
        return False
    effective = n_effective(weight[differ])
    n_better = effective * np.average(gain[differ] > 0, weights=weight[differ])
    if n_better == 0 or betainc(n_better, effective - n_better + 1, 0.5) >= _LEVEL:
        return False
    share = np.bincount(labels, weight, minlength=len(order)) / weight.sum()
    surplus = weight * (gain - (share[order[best]] - share[best]))
    if surplus.sum() <= _DEVIATIONS * np.sqrt((surplus**2).sum()):
        return False
    # Inputs that have shifted confuse classes as well, but the right order makes a network worth its calibration.
    hits, chance = np.average([order[best] == labels, share[order[best]]], axis=1, weights=weight)
    return hits - chance > _MIN_AGREEMENT * (1 - chance)


def look_at_width(best, labels, weight, n_columns):
    """Columns that most predictions are in and no label has, by more than the rarity of labels explains; whether so."""
    labelled = np.bincount(labels, weight, minlength=n_columns)
    n_distinct = int((labelled > 0).sum())
    n_samples = weight.sum() ** 2 / (weight**2).sum()
    if not 1 < n_distinct <= n_columns / 2 or n_samples < _MIN_SAMPLES_PER_PARAMETER:
        return False
    astray = np.average(labelled[best] == 0, weights=weight)
    # Good and Turing: classes that were seen once have the share of those that weren't seen.
    unseen = (np.bincount(labels, minlength=n_columns) == 1).sum() / len(labels)
    if astray - unseen <= 0.5:
        return False
    note(
        f"there are {n_columns} columns for {n_distinct} distinct labels, and {astray:.0%} of the predictions are "
        "in columns that no label has: what the network returns may be features, not logits, or the labels those "
        "of another problem",
        CalibrationSetWarning,
        explains=True,
    )
    return True


def _look_at_accuracy(accuracy, logits, labels, weight):
    """Whether always naming the most frequent class is as accurate, and the outputs say nothing of the labels."""
    n = n_effective(weight)
    share = np.bincount(labels, weight, minlength=logits.shape[1]) / weight.sum()
    if n < _MIN_GUESSES or n * (1 - share.max()) < _MIN_OTHERS:
        return False
    better = accuracy > 0 and betainc(n * accuracy, n * (1 - accuracy) + 1, share.max()) < _LEVEL_OF_GUESSES
    if better or not _says_nothing(logits, labels, weight, share):
        even = len(share) >= _MIN_CLASSES_IN_ORDER and share.max() * len(share) < 2
        if not even or accuracy >= _LUCKY * share.max() or not _is_in_any_order(logits, labels, weight, share):
            return False
    note(
        f"the accuracy before calibration is {accuracy:.0%}, on {n:.0f} samples no better than guessing among "
        f"{logits.shape[1]} classes: are the trained weights loaded, is X scaled as in training, and is y in the order "
        "of X?",
        CalibrationSetWarning,
        explains=True,
    )
    return True


def _are_alike(logits, weight):
    """Whether outputs tell next to nothing of which sample they are of: their mutual information is small."""
    proba, share = logits.double().softmax(1).cpu(), torch.from_numpy(weight / weight.sum())
    information = torch.special.entr(share @ proba).sum() - share @ torch.special.entr(proba).sum(1)
    return bool(information < _MIN_INFORMATION)


def _says_nothing(logits, labels, weight, share):
    """Whether labels have no higher probabilities than others would: where one class is frequent accuracy tells little.

    `share` is that of each class.
    """
    proba = logits.float().softmax(1).cpu().numpy()
    proba -= np.average(proba, axis=0, weights=weight)
    excess = weight * (proba[np.arange(len(labels)), labels] - proba @ share)
    return excess.sum() <= _DEVIATIONS_OF_GUESSES * np.sqrt((excess**2).sum())


def _is_in_any_order(logits, labels, weight, share):
    """Whether columns in another order fit the labels about as well, as those of an untrained network do.

    Its outputs tell classes apart that look different, and what they say of each is luck, however many samples there
    are. Hoeffding's variance of the sum over a random permutation takes the place of the samples'.
    """
    proba = logits.float().softmax(1).double().cpu()
    weight = torch.from_numpy(weight / weight.sum())[:, None]
    together = torch.zeros(len(share), len(share), dtype=torch.float64)
    together.index_add_(0, torch.from_numpy(labels), weight * proba)
    excess = together - torch.from_numpy(share)[:, None] * (weight * proba).sum(0)
    spread = (excess**2).sum().div(len(share) - 1).sqrt()
    return bool(excess.diagonal().sum() <= _DEVIATIONS_OF_GUESSES * spread)


def look_back(looks, temperature, *, raw, declared=False):
    """Look at the temperature of logits once it is known; temperature scaling's stands in for one that is None.

    `raw` says that nobody called the logits logits, `declared` that the user did.
    """
    found = temperature is not None
    seen = "temperature_" if found else "the best temperature of the logits"
    if not found:
        rows = _drawn(len(looks.y_encoded), _MAX_ROWS_FOR_T)
        on = rows.to(looks.y_encoded.device)
        temperature = solve_temperature(
            looks.logits[on], looks.y_encoded[on], sample_weight=looks.weight[rows]
        ).temperature
    if raw and _look_at_sigmoid(looks, temperature):
        return
    if temperature < _DOUBLE_SOFTMAX_T and not (declared and look_like_probabilities(looks.logits)):
        _look_at_double_softmax(looks, f"{seen} is {temperature:.2g}")
    # A search that ended at a bound has said so; where only this one does, separable samples are no news.
    if puzzled() or (not found and temperature == DEFAULT_BOUNDS[0]):
        return
    sharp = temperature < _SHARP_T and looks.accuracy > _NEARLY_ALWAYS
    if not (temperature < _MIN_T or temperature > _MAX_T or sharp):
        return
    scale = "" if looks.inputs is None else f", and X ranges from {looks.inputs[0]:.4g} to {looks.inputs[1]:.4g}"
    note(
        f"{seen} is {temperature:.4g}, which is extreme; the accuracy is {looks.accuracy:.1%}{scale}",
        CalibrationSetWarning,
        puzzles=CAUSES_OF_LARGE_T if temperature > _MAX_T else CAUSES_OF_SMALL_T,
    )


def _look_at_sigmoid(looks, temperature):
    """Outputs of sigmoids: a single one, the second of two columns, or one per class, far too flat for logits."""
    logits = looks.logits
    if looks.n_samples < _MIN_SAMPLES_PER_PARAMETER or not _in_unit_interval(logits):
        return False
    single = logits.shape[1] == 2 and not logits[:, 0].any()
    if not (single or temperature < _SIGMOID_T) or _sum_to_one(logits):
        return False
    advice = 'say response="probabilities"' if single else "give the network without its sigmoid"
    note(
        f"what is taken for logits lies between 0 and 1, as the outputs of a sigmoid do: if it is one's, {advice}; if "
        'not, say response="logits"',
        CalibrationSetWarning,
        explains=True,
    )
    return True


def _look_at_double_softmax(looks, seen):
    """Logits that are probabilities but for a constant in each row, and far too flat."""
    logits, n_classes = looks.logits, looks.logits.shape[1]
    if looks.n_samples < _MIN_SAMPLES_PER_PARAMETER or explained():
        return
    # The first row tells nearly always.
    for rows in (logits[:1], logits):
        least = (rows.mean(1) - rows.amin(1)).max() * n_classes
        # Infinite ones aren't.
        if not least <= 1 + row_sum_tolerance(torch.finfo(rows.dtype).eps):
            return
    # Of probabilities, one is small somewhere; where all logits are as good as equal, it is their scale that is odd.
    if least < _FAR_FROM_EQUAL:
        return
    note(
        f"{seen}, and no confidence before calibration is above {math.e / (math.e + n_classes - 1):.2f}, the most that "
        "a softmax of probabilities can reach: a softmax may have been applied twice. Give the network without its "
        'own, or say response="probabilities" where nothing else takes one; response="logits", if it was trained so',
        CalibrationSetWarning,
        explains=True,
    )


def _in_unit_interval(logits):
    """Whether all lie between 0 and 1, and some above 0; the first row tells nearly always."""
    return all(part.min() >= 0 and part.max() <= 1 for part in (logits[:1], logits)) and bool(logits.any())


def look_like_probabilities(logits):
    """Whether all rows are positive numbers that sum to 1, which hardly any row of logits is."""
    # The first row tells nearly always.
    return all(bool((part >= 0).all()) and _sum_to_one(part) for part in (logits[:1], logits))


def note_probabilities():
    """Note that what is taken for logits, because nothing else was said, looks like probabilities."""
    note(
        "X, or what the network makes of it, holds rows that sum to 1, and is taken for logits: if it is "
        'probabilities, say response="probabilities"; if not, response="logits"',
        CalibrationSetWarning,
        explains=True,
    )


def look_at_new(logits):
    """Look whether new logits are probabilities, where those of the fit weren't; a row alone may be so by chance."""
    if len(logits) > 1 and look_like_probabilities(logits[:_MAX_ROWS_FOR_T]):
        note(
            "the rows given sum to 1, as probabilities do, and are taken for logits, which those of fit were: give "
            'logits, or fit to probabilities with response="probabilities"',
            CalibrationSetWarning,
        )


def _sum_to_one(logits):
    return bool(((logits.sum(1) - 1).abs() <= row_sum_tolerance(torch.finfo(logits.dtype).eps)).all())


def look_for_errors(logits, y_encoded, weight):
    """Look whether a network is right on each of many samples, those with weight, as on those that trained it."""
    n_samples = int((weight > 0).sum())
    if n_samples < MANY_SAMPLES:
        return
    if _has_errors(logits, y_encoded, weight):
        return
    note(
        f"the network makes no error on the {n_samples} samples of the calibration set: if they trained it, calibrate "
        "on others, since how sure to be of its errors can't be learned from these",
        TrainingDataWarning,
        explains=True,
    )


def _has_errors(logits, y_encoded, weight):
    """Whether a sample with weight has a greater logit than its label's; the first rows tell nearly always."""
    for start in range(0, len(y_encoded), MANY_SAMPLES):
        rows = slice(start, start + MANY_SAMPLES)
        wrong = logits[rows].argmax(1) != y_encoded[rows]
        if (wrong & (weight[rows].to(wrong.device) > 0)).any():
            return True
    return False


def look_at_classes(logits, y_encoded, weight, classes):
    """Look whether all labels, of several samples with weight, are of one class, or flawless ones rarely of some."""
    seen = y_encoded[(weight > 0).to(y_encoded.device)]
    if len(seen) > 1 and (seen == seen[0]).all():
        (name,) = classes[seen[:1].cpu().numpy()].tolist()
        note(
            f"all labels are of one class, {name!r}, of {len(classes)}: how sure to be of the others can't be learned "
            "from them",
            CalibrationSetWarning,
            explains=True,
        )
        return
    counts = torch.bincount(seen, minlength=len(classes)).cpu().numpy()
    rare = np.flatnonzero((counts > 0) & (counts < _MIN_SAMPLES_PER_PARAMETER))
    enough = counts.sum() >= _MIN_SAMPLES_PER_PARAMETER * (counts > 0).sum()
    if len(rare) and enough and not _has_errors(logits, y_encoded, weight):
        _suspect_rarity(counts, rare, classes)


def _suspect_rarity(counts, rare, classes):
    """Name the classes of few samples, in case that no error among them makes T too small."""
    rarest = rare[counts[rare].argsort(kind="stable")][:_MAX_RARE]
    few = ", ".join(f"class {name!r} ({n})" for name, n in zip(classes[rarest].tolist(), counts[rarest], strict=True))
    suspect(
        f"Few of the {counts.sum()} samples are of {few}{', ...' if len(rare) > _MAX_RARE else ''}: how sure to be of "
        "a class can't be learned from so few; collect more"
    )


def look_at_frequencies(proba, y_encoded, weight, classes, nll, remedy):
    """Look whether classes are as frequent as a map has them on average that can't move all of a class.

    `proba` is what the map makes of samples with weight, and `nll` its mean NLL.
    """
    if len(proba) < _MIN_SAMPLES_PER_PARAMETER:
        return
    proba, y_encoded, weight = proba.cpu().numpy(), y_encoded.cpu().numpy(), weight.cpu().numpy()
    test = ClassMeans.of(proba, y_encoded, weight)
    if test.gain <= _MIN_SHARE_OF_NLL[len(classes) > 2] * nll or test.p_value >= _LEVEL_OF_FREQUENCIES:
        return
    share = np.bincount(y_encoded, weight, proba.shape[1]) / weight.sum()
    mean = weight @ proba / weight.sum()
    # Of two classes, the event.
    worst = 1 if len(classes) == 2 else int(np.abs(mean - share).argmax())
    (name,) = classes[[worst]].tolist()
    chance = f"= {test.p_value:.2g}" if test.p_value > _NO_CHANCE else f"< {_NO_CHANCE:g}"
    note(
        f"class frequencies are off: class {name!r} is {share[worst]:.2%} of the labels, and has a mean probability of "
        f"{mean[worst]:.2%} (p {chance}). {remedy}",
        CalibrationSetWarning,
    )


def look_at_repetition(differs):
    """Note that the same inputs have other logits the second time."""
    if not differs:
        return
    note(
        "the network is random in eval mode: a batch that it was given twice has other logits the second time. Dropout "
        "that never ends, as F.dropout(x, training=True), or augmentation in forward does that: make it heed "
        "self.training, or calibrate an average of passes",
        CalibrationSetWarning,
        explains=True,
    )


def look_at_item(guess):
    """Note what is taken of the several things that a network returns; None where there is no choice."""
    if guess is None:
        return
    note(
        f"the network returns several things, and {guess} is taken for the logits: LogitsModule(network, "
        "output_key=...) says which it is",
        CalibrationSetWarning,
    )


def look_at_loss(n_samples, n_parameters, name, loss, of_temperature):
    """Note that a map's NLL of held-out samples is above that of one temperature."""
    few = (
        f", and fewer than {_MIN_SAMPLES_PER_PARAMETER} for each of the {n_parameters} parameters that it fits"
        if n_samples < _MIN_SAMPLES_PER_PARAMETER * n_parameters
        else ""
    )
    note(
        f"{name} is likely worse than one temperature: out of fold its NLL is {loss:.3g}, for {of_temperature:.3g} of "
        f"TemperatureScaling; {n_samples} samples are few for it{few}. Collect more, or take a calibrator with fewer "
        "parameters, such as TemperatureScaling",
        CalibrationSetWarning,
    )


def tell_of_hopeless(n_samples, n_classes, name, *, at_once):
    """Say that samples are too few for a map, at once where the fit may take minutes."""
    tell = warn_caller if at_once else note
    tell(
        f"{name} is likely worse than one temperature: {n_samples:,} samples are {n_samples / n_classes:.2g} for each "
        f"of {n_classes:,} classes, and it fits each by itself. Take TemperatureScaling, or StructuredVectorScaling, "
        "which holds its parameters near that",
        CalibrationSetWarning,
    )


def look_at_number(n_samples, n_parameters, name):
    """Look whether the samples are many enough for the parameters that nothing else holds."""
    if n_samples >= _MIN_SAMPLES_PER_PARAMETER * n_parameters:
        return
    held = "parameter" if n_parameters == 1 else f"each of the {n_parameters} parameters"
    other = "" if n_parameters == 1 else ", or take a calibrator with fewer, such as TemperatureScaling"
    note(
        f"{n_samples} samples are fewer than {_MIN_SAMPLES_PER_PARAMETER} for {'the ' if n_parameters == 1 else ''}"
        f"{held} that {name} fits: collect more{other}",
        CalibrationSetWarning,
    )
