"""What is said of each finding, as part of the one warning of a fit."""

import math
from collections.abc import Callable
from typing import NamedTuple

from .._utils.warnings import CAUSES_OF_LARGE_T, CAUSES_OF_SMALL_T, note, suspect, warn_caller
from ..exceptions import CalibrationSetWarning, TrainingDataWarning
from .diagnosis import MIN_SAMPLES_PER_PARAMETER, Sign

_MAX_SHOWN = 20
_NO_CHANCE = 1e-16


class _Words(NamedTuple):
    """A sentence with places for the finding's numbers, or what makes one of them; and whether it names a cause."""

    sentence: str | Callable[..., str]
    explains: bool = False
    category: type = CalibrationSetWarning


def tell(findings, owner="", at_once=False):
    """Note findings of samples that a calibrator of the class `owner` is fitted to; `at_once` says them already."""
    for sign, numbers in findings:
        if sign is Sign.RARE_CLASSES:
            suspect(_rare_classes(**numbers))
            continue
        sentence, explains, category = _WORDS[sign]
        numbers = {**numbers, "owner": owner}
        message = sentence.format(**numbers) if isinstance(sentence, str) else sentence(**numbers)
        puzzles: tuple = ()
        if sign is Sign.EXTREME_TEMPERATURE:
            puzzles = CAUSES_OF_LARGE_T if numbers["large"] else CAUSES_OF_SMALL_T
        if at_once:
            warn_caller(message, category)
        else:
            note(message, category, explains=explains, puzzles=puzzles)


def _rare_classes(n_samples, few, more):
    shown = ", ".join(f"class {name!r} ({n})" for name, n in few)
    return (
        f"Few of the {n_samples} samples are of {shown}{', ...' if more else ''}: how sure to be of a class can't be "
        "learned from so few; collect more"
    )


def _another_order(as_given, permuted, classes, order, **_):
    shown = ", ".join(map(repr, classes[:4].tolist())) + (", ..." if len(classes) > 4 else "")
    names = [*classes[order].tolist(), *classes[len(order) :].tolist()]
    return (
        f"the columns may be in another order: the accuracy is {as_given:.1%} with classes [{shown}], and "
        f"{permuted:.1%} were the columns permuted: pass classes={names if len(names) <= _MAX_SHOWN else '...'}, a "
        "name for each column in its order"
    )


def _sigmoid(single, **_):
    advice = 'say response="probabilities"' if single else "give the network without its sigmoid"
    return (
        f"what is taken for logits lies between 0 and 1, as the outputs of a sigmoid do: if it is one's, {advice}; if "
        'not, say response="logits"'
    )


def _which(solved):
    return "temperature_" if solved else "the best temperature of the logits"


def _double_softmax(temperature, solved, n_classes, **_):
    return (
        f"{_which(solved)} is {temperature:.2g}, and no confidence before calibration is above "
        f"{math.e / (math.e + n_classes - 1):.2f}, the most that a softmax of probabilities can reach: a softmax may "
        'have been applied twice. Give the network without its own, or say response="probabilities" where nothing else '
        'takes one; response="logits", if it was trained so'
    )


def _extreme_temperature(temperature, solved, accuracy, inputs, **_):
    scale = "" if inputs is None else f", and X ranges from {inputs[0]:.4g} to {inputs[1]:.4g}"
    return f"{_which(solved)} is {temperature:.4g}, which is extreme; the accuracy is {accuracy:.1%}{scale}"


def _frequencies(name, share, mean, p_value, remedy, **_):
    chance = f"= {p_value:.2g}" if p_value > _NO_CHANCE else f"< {_NO_CHANCE:g}"
    return (
        f"class frequencies are off: class {name!r} is {share:.2%} of the labels, and has a mean probability of "
        f"{mean:.2%} (p {chance}). {remedy}"
    )


def _few_samples(n_samples, n_parameters, owner):
    one = n_parameters == 1
    which = "the parameter" if one else f"each of the {n_parameters} parameters"
    other = "" if one else ", or take a calibrator with fewer, such as TemperatureScaling"
    return (
        f"{n_samples} samples are fewer than {MIN_SAMPLES_PER_PARAMETER} for {which} that {owner} fits: collect "
        f"more{other}"
    )


def _worse_out_of_fold(n_samples, n_parameters, loss, of_temperature, owner):
    few = (
        f", and fewer than {MIN_SAMPLES_PER_PARAMETER} for each of the {n_parameters} parameters that it fits"
        if n_samples < MIN_SAMPLES_PER_PARAMETER * n_parameters
        else ""
    )
    return (
        f"{owner} is likely worse than one temperature: out of fold its NLL is {loss:.3g}, for {of_temperature:.3g} of "
        f"TemperatureScaling; {n_samples} samples are few for it{few}. Collect more, or take a calibrator with fewer "
        "parameters, such as TemperatureScaling"
    )


def _hopeless(n_samples, n_classes, owner):
    return (
        f"{owner} is likely worse than one temperature: {n_samples:,} samples are {n_samples / n_classes:.2g} for each "
        f"of {n_classes:,} classes, and it fits each by itself. Take TemperatureScaling, or StructuredVectorScaling, "
        "which holds its parameters near that"
    )


_WORDS = {
    Sign.PROBABILITIES: _Words(
        "X, or what the network makes of it, holds rows that sum to 1, and is taken for logits: if it is "
        'probabilities, say response="probabilities"; if not, response="logits"',
        explains=True,
    ),
    Sign.NEW_PROBABILITIES: _Words(
        "the rows given sum to 1, as probabilities do, and are taken for logits, which those of fit were: give "
        'logits, or fit to probabilities with response="probabilities"'
    ),
    Sign.ONE_CLASS: _Words(
        "all labels are of one class, {name!r}, of {n_classes}: how sure to be of the others can't be learned from "
        "them",
        explains=True,
    ),
    Sign.NO_ERRORS: _Words(
        "the network makes no error on the {n_samples} samples of the calibration set: if they trained it, calibrate "
        "on others, since how sure to be of its errors can't be learned from these",
        explains=True,
        category=TrainingDataWarning,
    ),
    Sign.SEVERAL_OUTPUTS: _Words(
        "the network returns several things, and {guess} is taken for the logits: LogitsModule(network, "
        "output_key=...) says which it is"
    ),
    Sign.RANDOM_NETWORK: _Words(
        "the network is random in eval mode: a batch that it was given twice has other logits the second time. Dropout "
        "that never ends, as F.dropout(x, training=True), or augmentation in forward does that: make it heed "
        "self.training, or calibrate an average of passes",
        explains=True,
    ),
    Sign.ANOTHER_ORDER: _Words(_another_order, explains=True),
    Sign.EMPTY_COLUMNS: _Words(
        "there are {n_columns} columns for {n_distinct} distinct labels, and {astray:.0%} of the predictions are in "
        "columns that no label has: what the network returns may be features, not logits, or the labels those of "
        "another problem",
        explains=True,
    ),
    Sign.GUESSES: _Words(
        "the accuracy before calibration is {accuracy:.0%}, on {n:.0f} samples no better than guessing among "
        "{n_classes} classes: are the trained weights loaded, is X scaled as in training, and is y in the order of X?",
        explains=True,
    ),
    Sign.SIGMOID: _Words(_sigmoid, explains=True),
    Sign.DOUBLE_SOFTMAX: _Words(_double_softmax, explains=True),
    Sign.EXTREME_TEMPERATURE: _Words(_extreme_temperature),
    Sign.FREQUENCIES: _Words(_frequencies),
    Sign.FEW_SAMPLES: _Words(_few_samples),
    Sign.WORSE_OUT_OF_FOLD: _Words(_worse_out_of_fold),
    Sign.HOPELESS: _Words(_hopeless),
}
