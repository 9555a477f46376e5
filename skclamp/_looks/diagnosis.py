"""Silent nonsense: findings of a misuse that logits and labels show, and no single value."""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import entropy

from .._judging.class_frequencies import ClassMeans
from .._judging.column_order import better_order
from .._judging.paired import n_effective, numbered, of_groups
from .._solvers.temperature import DEFAULT_BOUNDS, beside_wrong_labels, log_likelihoods, solve_temperature
from .._utils.arrays import MOST_BY_ROUNDING, counted_rows, drawn_rows, row_sum_tolerance
from .._utils.warnings import CAUSES_OF_LARGE_T, CAUSES_OF_SMALL_T, Finding
from ..exceptions import TrainingDataWarning
from . import words
from .words import MIN_SAMPLES_PER_PARAMETER

# By the rule of three, so many samples without an error put the error rate below 0.6 % with 95 % confidence.
MANY_SAMPLES = 500
# Looks at more samples, or of columns at more than so many, or so many for each class, would cost time and see no more.
_MAX_ROWS, _FEW_ROWS, _ROWS_PER_CLASS = 1 << 16, 5000, 50
_MAX_ROWS_FOR_T = 2000
_DEVIATIONS = 3.09  # of a level of 1e-3, one-sided
# To tell guesses from what is a little better: samples of other classes than the most frequent one.
_MIN_OTHERS = 25
_DEVIATIONS_OF_GUESSES = 1.645  # of a level of 0.05, one-sided
# Guesses are right less often than so many times the most frequent class's share. Of so many classes, about as frequent
# as each other, those of an untrained network are told by their order too.
_LUCKY, _MIN_CLASSES_IN_ORDER = 1.5, 5
# Of outputs that are guesses, in nats: what they tell of which sample it is. Untrained networks, deep or of one layer,
# have 0.00 to 0.19 of ten classes; trained ones on inputs upside down, of which they may be wrong on all, 0.7 and more.
_MIN_INFORMATION = 0.25
_MIN_T, _MAX_T = 0.05, 20.0
# Sharper than any network on samples that it hasn't seen, where it is right on nearly all.
_SHARP_T, _NEARLY_ALWAYS = 0.3, 0.998
_DOUBLE_SOFTMAX_T = 0.3
# Learned by heart: at most so many errors, among so many of the least sure samples on average, and a T below this over
# the root of log K. Forests that haven't seen their samples come near to it, the more so the more classes share votes.
_FEW_ERRORS, _HEART_T = 0.1, 0.25
# Of the classes that errors are of, so large a part at most is wrong.
_MOST_OF_A_CLASS = 0.5
# Of what is a softmax's outputs but for a constant, the least lies by this part of 1 / K below the mean, or by more.
_FAR_FROM_EQUAL = 0.8
# Class frequencies that are off by chance; and what part of the NLL offsets would win, of two classes and of more, to
# matter: classifiers fitted to balanced classes have a half, and naive Bayes on digits a fifth.
_LEVEL_OF_FREQUENCIES, _MIN_SHARE_OF_NLL = 1e-5, (0.15, 0.25)
# A rate of wrong labels that is tried beside a share of the temperature. And what it has to gain, in nats: where
# probabilities are right it does in one fit of 1,000 at most (Markov).
_TRIED_RATE = 0.05
_TRIED_SHARE = 0.8
_CLEAR_GAIN = 7.0
# Of one label: a few confident mistakes, as sharp classifiers make, aren't clear.
_MOST_OF_ONE = 3.0
# Logits of a span of 1 that need no sharpening needn't come from a sigmoid.
_SIGMOID_T = 0.5


class Looked(NamedTuple):
    """First look at the samples of a fit, kept for the second look at what the fit found.

    Attributes
    ----------
    rows : Rows
        Of all samples, or of some drawn the same way each time; those without weight are left out.
    n_samples : int
        How many have weight, of all.
    accuracy : float
        Weighted, of the samples looked at.
    guesses : bool
        Whether the logits are those of an untrained network: they say nothing of the labels, and are much alike.
    misordered : bool
        Whether the columns fit the labels in another order.
    random : bool
        Whether the network draws in eval mode.
    """

    rows: Any
    n_samples: int
    accuracy: float
    guesses: bool
    misordered: bool
    random: bool


def diagnose(samples, *, fitted):
    """Findings of what samples show before a fit, and what was looked at; None in its place where there is no network.

    `samples` are `Samples`; `fitted` says whether their estimator was given fitted, so that it may have seen them.
    """
    # Rows of one image are no independent ones.
    rows = samples.rows(max(1, _MAX_ROWS // len(samples.weight)))
    backbone, classes = samples.backbone, samples.classes
    labels = rows.y.cpu()[rows.weight > 0].numpy()
    findings = []
    if len(labels) > 1 and not np.ptp(labels):
        message = words.ONE_CLASS.format(name=classes.tolist()[labels[0]], n_classes=len(classes))
        findings.append(Finding(message, explains=True))
    same = (rows.logits == rows.y[:, None]).all(0)
    if len(labels) >= MIN_SAMPLES_PER_PARAMETER and np.ptp(labels) and same.any():
        message = words.LABELS_AMONG.format(column=int(same.nonzero()[0]))
        return [*findings, Finding(message, explains=True)], None
    # Folds are fitted without what they calibrate on.
    if fitted:
        findings += look_for_errors(*rows[:3])
    if not backbone.yields_logits:
        return findings, None
    if backbone.guessed_item is not None:
        findings.append(Finding(words.SEVERAL_OUTPUTS.format(guess=backbone.guessed_item)))
    said = {"random": words.RANDOM_NETWORK, "batch": words.COUPLED_SAMPLES, "padding": words.PADDING}
    why = backbone.second_look() if backbone.in_batches else None
    if why:
        findings.append(Finding(said[why], explains=True))
    chosen = counted_rows(rows.weight, min(max(_FEW_ROWS, _ROWS_PER_CLASS * len(classes)), _MAX_ROWS))
    some = rows if len(chosen) == len(rows.y) else rows.take(chosen)
    accuracy, misordered, misfits = _look_at_columns(some, classes, backbone.classes is None)
    guesses, guessing = ([], False) if misfits else _look_for_guesses(some, accuracy, classes.tolist())
    looked = Looked(some, len(labels), accuracy, guessing, misordered, random=why == "random")
    return [*findings, *misfits, *guesses], looked


def look_for_errors(logits, y_encoded, weight, purpose="calibrate"):
    """Look for many samples without an error, as of those that trained a network; to what `purpose` they are."""
    n_samples = int((weight > 0).sum())
    if n_samples < MANY_SAMPLES:
        return []
    seen = words.NO_ERRORS
    wrong = logits.argmax(1) != y_encoded
    if (wrong & (weight > 0).to(wrong.device)).any():
        rows = counted_rows(weight, _FEW_ROWS).to(logits.device)
        if not _are_near_misses(logits[rows], y_encoded[rows]):
            return []
        seen = words.NEAR_MISSES
    return [Finding(seen.format(n_samples=n_samples, purpose=purpose), TrainingDataWarning, explains=True)]


def _are_near_misses(logits, y_encoded):
    """Return True where errors are few, among the least sure samples, and wrong by little, as those are in training."""
    confidence, best = torch.log_softmax(logits.double(), 1).max(1)
    wrong = best != y_encoded
    if max(wrong.sum(), confidence.argsort().argsort()[wrong].double().mean()) > _FEW_ERRORS * len(wrong):
        return False
    # A class that is hardly ever predicted wasn't learned by heart.
    if wrong.sum() > _MOST_OF_A_CLASS * torch.isin(y_encoded, y_encoded[wrong]).sum():
        return False
    # What is a softmax's outputs is far too flat whatever it was fitted to.
    temperature = solve_temperature(logits, y_encoded, prior=True).temperature
    return temperature < _HEART_T / math.sqrt(math.log(logits.shape[1])) and not _is_softmax_but_for_a_constant(logits)


def _look_at_columns(rows, classes, in_any_order):
    """Accuracy of rows with weight, whether their columns fit the labels in another order, and findings of columns.

    An estimator that knows its classes has them in its order, and columns `in_any_order` are for others.
    """
    best, labels, weights = rows.logits.argmax(1).cpu().numpy(), rows.y.cpu().numpy(), rows.weight.numpy()
    accuracy = float(np.average(best == labels, weights=weights))
    if not in_any_order:
        return accuracy, False, []
    misfits = look_at_width(best, labels, weights, len(classes))
    order = better_order(best, labels, weights, numbered(rows.unit, len(labels)))
    if order is not None:
        permuted = float(np.average(order[best] == labels, weights=weights))
        from_one = labels.min() == 1 and np.array_equal(classes, np.arange(len(classes)))
        message = words.another_order(accuracy, permuted, classes, order, from_one)
        misfits = [Finding(message, explains=True), *misfits]
    return accuracy, order is not None, misfits


def look_at_width(best, labels, weight, n_columns):
    """Look for predictions mostly in columns that no label has, by more than the rarity of labels explains."""
    labelled = np.bincount(labels, weight, minlength=n_columns)
    n_distinct = int((labelled > 0).sum())
    if not 1 < n_distinct <= n_columns / 2 or n_effective(weight) < MIN_SAMPLES_PER_PARAMETER:
        return []
    astray = np.average(labelled[best] == 0, weights=weight)
    # Good and Turing: classes that were seen once have the share of those that weren't seen.
    unseen = (np.bincount(labels, minlength=n_columns) == 1).sum() / len(labels)
    if astray - unseen <= 0.5:
        return []
    message = words.EMPTY_COLUMNS.format(n_columns=n_columns, n_distinct=n_distinct, astray=astray)
    return [Finding(message, explains=True)]


def _look_for_guesses(rows, accuracy, names):
    """Look for logits that say no more of the labels than guesses; and whether they say much the same of all rows."""
    labels, weight, units = rows.y.cpu().numpy(), rows.weight.numpy(), numbered(rows.unit, len(rows.y))
    n_classes = rows.logits.shape[1]
    share = np.bincount(labels, weight, n_classes) / weight.sum()
    n_units = n_effective(np.bincount(units, weight))
    if n_units * (1 - share.max()) < _MIN_OTHERS or accuracy >= _LUCKY * share.max():
        return [], False
    proba = rows.logits.double().softmax(1).cpu().numpy()
    mean = np.average(proba, axis=0, weights=weight)
    # Labels must have higher probabilities than others would.
    centred = proba - mean
    excess = np.bincount(units, weight * (centred[np.arange(len(labels)), labels] - centred @ share))
    spread = np.linalg.norm(excess)
    if n_classes >= _MIN_CLASSES_IN_ORDER and share.max() * n_classes < 2:
        # An untrained network tells apart what looks different, and what it says of a class is luck, however many
        # samples there are: columns in another order fit about as well. Hoeffding's spread over random permutations.
        sums = np.array([np.bincount(labels, weight * column, n_classes) for column in centred.T])
        spread = max(spread, np.linalg.norm(sums) / np.sqrt(n_classes - 1))
    if excess.sum() > _DEVIATIONS_OF_GUESSES * spread:
        return [], False
    if n_classes == 2 and excess.sum() < -_DEVIATIONS * spread:
        return [Finding(words.OTHER_COLUMN.format(name=names[1]), explains=True)], False
    message = words.GUESSES.format(accuracy=accuracy, n=n_units, n_classes=n_classes)
    # The mutual information of outputs and samples.
    information = entropy(mean) - np.average(entropy(proba, axis=1), weights=weight)
    return [Finding(message, explains=True)], bool(information < _MIN_INFORMATION)


def look_back(looked, temperature, *, inputs, guessed, declared, notes):
    """Findings of the temperature of logits once it is known; temperature scaling's stands in for one that is None.

    `inputs` is the range of a network's first inputs, or None. `guessed` says that nobody called the logits logits,
    `declared` that the user did; `notes` are those of the fit so far.
    """
    logits, solved = looked.rows.logits, temperature is not None
    if not solved:
        some = looked.rows.take(drawn_rows(len(logits), _MAX_ROWS_FOR_T))
        temperature = solve_temperature(some.logits, some.y, sample_weight=some.weight).temperature
    findings, enough = [], looked.n_samples >= MIN_SAMPLES_PER_PARAMETER
    if guessed and enough and logits.min() >= 0 and 0 < logits.max() <= 1:
        # A single sigmoid's output is the second of two columns; several are far too flat for logits.
        single = logits.shape[1] == 2 and not logits[:, 0].any()
        if (single or temperature < _SIGMOID_T) and not _are_probabilities(logits):
            rounded = not single and (logits.sum(1) - 1).abs().max() < MOST_BY_ROUNDING
            return [Finding(words.ROUNDED if rounded else words.sigmoid(single), explains=True)]
    flat = temperature < _DOUBLE_SOFTMAX_T and enough and not notes.explained
    if flat and not (declared and _are_probabilities(logits)) and _is_softmax_but_for_a_constant(logits):
        findings.append(Finding(words.double_softmax(temperature, solved, logits.shape[1]), explains=True))
    sharp = temperature < _SHARP_T and looked.accuracy > _NEARLY_ALWAYS
    # A search that ended at a bound has said so; where only this one does, separable samples are no news.
    news = not notes.puzzled and (solved or temperature != DEFAULT_BOUNDS[0])
    if news and (temperature < _MIN_T or temperature > _MAX_T or sharp):
        message = words.extreme_temperature(temperature, solved, looked.accuracy, inputs)
        causes = CAUSES_OF_LARGE_T if temperature > _MAX_T else CAUSES_OF_SMALL_T
        findings.append(Finding(message, puzzles=causes))
    return findings


def _is_softmax_but_for_a_constant(logits):
    """Return True where logits are probabilities but for a constant in each row, and far from equal."""
    least = (logits.mean(1) - logits.amin(1)).max() * logits.shape[1]
    # Of probabilities, one is small somewhere; where all logits are as good as equal, it is their scale that is odd.
    return bool(_FAR_FROM_EQUAL <= least <= 1 + row_sum_tolerance(logits.dtype))


def _are_probabilities(logits, total=1):
    """Return True where all rows are positive numbers of the same sum, as hardly any row of logits is."""
    # The first row tells nearly always.
    if logits[0].min() < 0 or logits.min() < 0:
        return False
    return bool((logits.sum(1) - total).abs().max() <= total * row_sum_tolerance(logits.dtype))


def look_for_probabilities(logits, outputs, of_classes=words.PROBABILITIES, of_labels=words.PROBABILITIES_OF_LABELS):
    """Look for probabilities that are taken for logits, of classes or of labels, and tell in such words."""
    if outputs.n_labels:
        # A few may lie there by chance.
        found = logits.numel() >= MIN_SAMPLES_PER_PARAMETER and logits.min() >= 0 and 0 < logits.max() <= 1
        return [Finding(of_labels, explains=True)] if found else []
    rows = outputs.rows(logits)
    for told in words.TOTALS:
        if _are_probabilities(rows, told["total"]):
            return [Finding(of_classes.format(**told), explains=True)]
    return []


def look_at_new(logits, outputs):
    """Look for new logits that are probabilities, where those of the fit weren't; a row alone may be so by chance."""
    if len(logits) == 1:
        return []
    some = logits[:_MAX_ROWS_FOR_T]
    return look_for_probabilities(some, outputs, words.NEW_PROBABILITIES, words.NEW_PROBABILITIES_OF_LABELS)


def look_at_frequencies(proba, y_encoded, weight, classes, nll, mend, unit=None):
    """Look for classes that a map, which can't move all of a class, has on average more or less often than labels do.

    `proba` is what the map makes of samples with weight, `nll` its mean NLL; `mend` says what mends it. Samples of a
    unit tell as much as one.
    """
    if len(proba) < MIN_SAMPLES_PER_PARAMETER:
        return []
    proba, y_encoded, weight = proba.cpu().numpy(), y_encoded.cpu().numpy(), weight.cpu().numpy()
    test = ClassMeans.of(proba, y_encoded, weight, None if unit is None else numbered(unit))
    if test.gain <= _MIN_SHARE_OF_NLL[len(classes) > 2] * nll or test.p_value >= _LEVEL_OF_FREQUENCIES:
        return []
    share = np.bincount(y_encoded, weight, proba.shape[1]) / weight.sum()
    mean = weight @ proba / weight.sum()
    # Of two classes, the event; of more, one that has samples, without which nothing mends it.
    worst = 1 if len(classes) == 2 else int(np.where(share > 0, np.abs(mean - share), 0).argmax())
    name = classes.tolist()[worst]
    return [Finding(words.frequencies(name, share[worst], mean[worst], test.p_value, mend))]


def look_at_label_noise(calibrated, y_encoded, weight, unit=None):
    """Look for labels that wrong ones among them, beside a sharper temperature, make much likelier.

    Of two classes, a logit that isn't linear in the log-odds looks the same. Samples of a unit tell as much as one.
    """
    n_classes = calibrated.shape[1]
    proba = log_likelihoods(calibrated, y_encoded, _TRIED_SHARE).exp()
    gains = beside_wrong_labels(proba, _TRIED_RATE, n_classes - 1).log() - log_likelihoods(calibrated, y_encoded, 1.0)
    weight = weight.cpu().numpy()
    gains, totals = of_groups(gains.clamp(max=_MOST_OF_ONE).cpu().numpy(), weight, unit)
    gain = np.average(gains, weights=totals) * n_effective(totals)
    clear = gain > _CLEAR_GAIN and n_classes > 2 and len(y_encoded) >= MIN_SAMPLES_PER_PARAMETER
    return [Finding(words.LABEL_NOISE.format(gain))] if clear else []
