"""Sentences of findings, each with its numbers, as parts of the one warning of a fit."""

import math

import numpy as np

from .._judging.recordings import IN_ORDER

MIN_SAMPLES_PER_PARAMETER = 20
MAX_SHOWN = 20


# What rows of probabilities sum to.
TOTALS = (
    {"total": 1, "name": "probabilities", "mend": ""},
    {"total": 100, "name": "percentages", "mend": "divide it by 100 and "},
)
PROBABILITIES = (
    "X, or what the network makes of it, holds rows that sum to {total}, and is taken for logits: if it is {name}, "
    '{mend}say response="probabilities"; if not, response="logits"'
)
PROBABILITIES_OF_LABELS = (
    "X, or what the network makes of it, lies between 0 and 1 everywhere, and is taken for logits: if it is "
    'probabilities, say response="probabilities"; if not, response="logits"'
)
NEW_PROBABILITIES = (
    "the rows given sum to {total}, as {name} do, and are taken for logits, which those of fit were: give logits, or "
    'fit to probabilities with response="probabilities"'
)
NEW_PROBABILITIES_OF_LABELS = (
    "the rows given lie between 0 and 1 everywhere, as probabilities do, and are taken for logits, which those of fit "
    'were: give logits, or fit to probabilities with response="probabilities"'
)
ONE_CLASS = "all labels are of one class, {name!r}, of {n_classes}: how sure to be of others can't be learned"


def _first_of(parts):
    """As many parts as are shown."""
    return ", ".join(parts[:MAX_SHOWN]) + ", ..." * (len(parts) > MAX_SHOWN)


def without_samples(seen, classes=None):
    """Of classes that no sample is of, by name or else by column; `seen` says which have some."""
    missing = np.flatnonzero(~seen)
    names = [f"{name!r}" for name in (missing if classes is None else classes[missing]).tolist()]
    have = "has" if len(names) == 1 else "have"
    by = "by column: " * (classes is None)
    return f"{len(names)} of {len(seen)} classes {have} no sample in the calibration set ({by}{_first_of(names)})"


def unknown_labels(names):
    """Of labels that are NaN in all samples."""
    shown = _first_of([f"{name!r}" for name in names.tolist()])
    return f"labels that are NaN in all samples: {shown}. Their probabilities are by what all labels share"


def labels_of_one_value(which):
    """Labels that are all 0 or all 1."""
    return (
        f"{sum(which)} of {len(which)} labels are 0 in all samples, or 1 in all: one temperature of all labels sets "
        "their probabilities. Collect samples of both kinds, or use "
        "PlattScaling(pooling='partial'), which draws them to what all labels share"
    )


def missing_classes(seen):
    """Of classes that no sample is of, though the network expects some."""
    return (
        f"{without_samples(seen)}, though the network expects some: nothing is learned of them, and their "
        "probabilities are temperature scaling's. Collect samples of all classes"
    )


def perturbed_without(seen, is_guarded):
    """Of classes that no sample is of, though the network expects some, where inputs or features are perturbed."""
    how = "was learned and judged among the others alone, and no sample tells what it does to these"
    how = how if is_guarded else "may have learned to rule them out, and no guard judged it"
    return (
        f"{without_samples(seen)}, though the network expects some: the perturbation {how}. Collect samples of all "
        "classes, or use TemperatureScaling"
    )


NO_ERRORS = (
    "the network makes no error on the {n_samples} samples of the calibration set: if they trained it, {purpose} "
    "on others, since how sure to be of its errors can't be learned from these"
)
NEAR_MISSES = (
    "the network's few errors on the {n_samples} samples of the calibration set are near misses, as after training on "
    "them: if they trained it, {purpose} on others, since errors on new samples are no near misses"
)
NORMALIZED_WEIGHTS = (
    "sample_weight adds up to {total:.3g} for {n_samples:,} samples, and a weight counts as so many samples: what "
    "holds back on few samples sees far fewer. Give sample_weight / sample_weight[sample_weight > 0].mean()"
)
GROUPS_AGAIN = (
    "{} of {} samples add nothing, since their groups came in an earlier call: give all of a group in one call. Where "
    "each call numbers its groups from 0 on, make the numbers of calls differ"
)
SAMPLES_SEEN = "X holds samples that {name} was fitted to, about {share:.0%} of X"
RECORDING = IN_ORDER.format(
    samples="the samples",
    then="its samples are few independent ones, and what is learned from them may fail on another",
    groups="groups",
)
LOSING_PARTS = (
    "one calibrator for all parts is worse for {} than a temperature of its own, beyond its error: fit one calibrator "
    "each; summary tells by how much"
)
SMALL_PARTS = (
    f"most parts have fewer than {MIN_SAMPLES_PER_PARAMETER} independent samples, too few to tell: by is for parts "
    "such as scanners; samples that depend on each other are told of by groups"
)
NEVER_TRUE = (
    "the probabilities aren't true on the {n:,} samples given (p {p_value:.2g}), before any watch: calibrate "
    "anew, on more samples or by a map with more parameters, such as {map}; summary says how they are off"
)
NEVER_WITHIN = (
    "the risk of the {n:,} answered samples given is {risk:.3g}, above the target {target:.3g} (p {p_value:.2g}), "
    "before any watch: fit the selective classifier anew, on samples like these"
)
LABEL_NOISE = (
    "labels may be wrong, or confident mistakes are real, as where inputs have changed: a rate of wrong labels beside "
    "a sharper temperature gains {:.0f} nats. TemperatureScaling(label_noise='auto') helps in the first case alone, "
    "and is too sure in the other: look at the labels that are least probable, or have cleanlab find them"
)
NO_RATE = "label_noise='auto' has no rate of wrong labels, since {}"
NO_GAIN = "none makes the labels 20 times as likely"
TOO_NOISY = "it would come to a half, and labels are taken to be right more often"
OFF_BESIDE_NOISE = "classes would be more or less frequent than their labels beside it"
PLATT_BESIDE_NOISE = ": PlattScaling(label_noise='auto') sets frequencies right too"
LABELS_AS_GIVEN = "NLL and accuracy take labels as they were given, the wrong ones too."
SEVERAL_OUTPUTS = (
    "the network returns several things, and {guess} is taken for the logits: LogitsModule(network, "
    "output_key=...) says which it is"
)
RANDOM_NETWORK = (
    "the network is random in eval mode: a batch that it was given twice has other logits the second time. Dropout "
    "that never ends, as F.dropout(x, training=True), or augmentation in forward does that: make it heed "
    "self.training, or calibrate an average of passes"
)
COUPLED_SAMPLES = (
    "the network's logits of a sample depend on what else is in its batch: batch norm that takes the batch's own "
    "moments, as with track_running_stats=False, does that in eval mode too. What is calibrated then holds for "
    "batches like these alone: give such layers running statistics"
)
PADDING = (
    "the network reads the padding of texts: where equal ids at their ends are masked, it yields other logits. Give "
    "attention_mask beside input_ids, 1 at a token and 0 at padding"
)


def another_order(as_given, permuted, classes, order, from_one):
    """Of columns that fit the labels in another order; `from_one` says that they are numbers, without a 0."""
    shown = ", ".join(map(repr, classes[:4].tolist())) + (", ..." if len(classes) > 4 else "")
    if from_one and (order[:-1] == np.arange(1, len(order))).all():
        return (
            f"labels seem to count from 1: the accuracy is {as_given:.1%} with classes [{shown}], and {permuted:.1%} "
            "if they do: give y - 1"
        )
    names = [*classes[order].tolist(), *classes[len(order) :].tolist()]
    others = np.flatnonzero(order != np.arange(len(order)))
    moved = ""
    if len(others) <= MAX_SHOWN < len(names):
        moved = f"; columns {others.tolist()} look like those of {classes[order[others]].tolist()}"
    return (
        f"the columns may be in another order: the accuracy is {as_given:.1%} with classes [{shown}], and "
        f"{permuted:.1%} were the columns permuted: pass classes={names if len(names) <= MAX_SHOWN else '...'}, a "
        f"name for each column in its order{moved}"
    )


EMPTY_COLUMNS = (
    "there are {n_columns} columns for {n_distinct} distinct labels, and {astray:.0%} of the predictions are in "
    "columns that no label has: what the network returns may be features, not logits, or the labels those of "
    "another problem"
)
LABELS_IN_ANOTHER_ORDER = "the labels fit the columns better in another order: y[:, {}]"
UPSIDE_DOWN = (
    "labels may be upside down, since their probabilities are higher where they are 0: {}. If 1 says that a sample "
    "doesn't have the label, give 1 - y"
)
ALL_ONES = (
    "all labels that are known are 1: how sure to be of a 0 can't be learned. Give 0 where a sample doesn't have a "
    "label, and NaN only where nobody knows"
)
FLAWLESS_LABELS = (
    "labels without an error: {}, fewer than their probabilities promise. If the samples trained the network, "
    "calibrate on others, since how sure to be of its errors can't be learned from these"
)
GUESSES_OF_LABELS = (
    "on {} samples labels have hardly higher probabilities where they are 1 than where they are 0: are the trained "
    "weights loaded, is X scaled as in training, and is y in the order of X?"
)
SIGMOID_TWICE = (
    "all probabilities lie between 0.5 and 0.74, as those of a sigmoid that was applied twice, and labels are rarer: "
    "give the outputs of one sigmoid"
)
GUESSES = (
    "the accuracy before calibration is {accuracy:.0%}, on {n:.0f} samples no better than guessing among "
    "{n_classes} classes: are the trained weights loaded, is X scaled as in training, and is y in the order of X?"
)


LABELS_AMONG = "column {column} of what is taken for logits equals y: leave the labels out of X"
ROUNDED = (
    "what is taken for logits lies between 0 and 1, in rows that sum to 1 but for rounding: if it is probabilities, "
    'give X / X.sum(1, keepdims=True) and say response="probabilities"; if not, response="logits"'
)
OTHER_COLUMN = (
    "the probability of class {name!r} is higher where samples are of the other class: the column given may be the "
    "other class's. Give 1 - p, or pass classes in the order of the columns"
)


def sigmoid(single):
    """Of logits between 0 and 1."""
    advice = 'say response="probabilities"' if single else "give the network without its sigmoid"
    return (
        f"what is taken for logits lies between 0 and 1, as the outputs of a sigmoid do: if it is one's, {advice}; if "
        'not, say response="logits"'
    )


def double_softmax(temperature, solved, n_classes):
    """Of logits that are probabilities but for a constant."""
    return (
        f"{_which(solved)} is {temperature:.2g}, and no confidence before calibration is above "
        f"{math.e / (math.e + n_classes - 1):.2f}, the most that a softmax of probabilities can reach: a softmax may "
        'have been applied twice. Give the network without its own, or say response="probabilities" where nothing else '
        'takes one; response="logits", if it was trained so'
    )


def extreme_temperature(temperature, solved, accuracy, inputs):
    """Of a temperature that is hardly ever right."""
    scale = "" if inputs is None else f", and X ranges from {inputs[0]:.4g} to {inputs[1]:.4g}"
    return f"{_which(solved)} is {temperature:.4g}, which is extreme; the accuracy is {accuracy:.1%}{scale}"


def _which(solved):
    return "temperature_" if solved else "the best temperature of the logits"


def frequencies(name, share, mean, p_value, remedy):
    """Of classes that aren't as frequent as they are probable."""
    return (
        f"class frequencies are off: class {name!r} is {share:.2%} of the labels, and has a mean probability of "
        f"{mean:.2%} (p = {p_value:.2g}). {remedy}"
    )


def few_samples(n_samples, n_parameters, owner):
    """Of samples that are too few for a calibrator of the class `owner`."""
    one = n_parameters == 1
    which = "the parameter" if one else f"each of the {n_parameters} parameters"
    other = "" if one else ", or take a calibrator with fewer, such as TemperatureScaling"
    samples = "1 sample is" if n_samples == 1 else f"{n_samples} samples are"
    return f"{samples} fewer than {MIN_SAMPLES_PER_PARAMETER} for {which} that {owner} fits: collect more{other}"


def worse_than_temperature(n_samples, n_parameters, loss, of_temperature, owner):
    """Of a map that does worse than one temperature on samples that it hasn't seen."""
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


def hopeless(n_samples, n_classes, owner):
    """Of a map by class of samples that are far too few for one, whatever they say."""
    return (
        f"{owner} is likely worse than one temperature: {n_samples:,} samples are {n_samples / n_classes:.2g} for each "
        f"of {n_classes:,} classes, and it fits each by itself. Take TemperatureScaling, or StructuredVectorScaling, "
        "which holds its parameters near that"
    )


def by_part(parts):
    """Of what one calibrator for all costs each part, as `parts_` of a calibrator tells."""
    told = [
        f"{name!r} {part['difference']:+.2g} nats (standard error {part['standard_error']:.2g})"
        if part["n_samples"] >= MIN_SAMPLES_PER_PARAMETER
        else f"{name!r} too few samples to tell"
        for name, part in parts.items()
    ]
    where = "held out" if all(part["held_out"] for part in parts.values()) else "in sample"
    return f"NLL by part against a temperature of its own, {where}: {_first_of(told)}."
