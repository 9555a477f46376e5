"""What a user gets wrong he can mend from the message alone, and nothing of his has changed: one table of mistakes."""

import re
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch
from _mistakes import N_SAMPLES, Named, labels, problem, table, warned
from _small_networks import bare_logits, labels_of, perceptron, snapshot, softmax
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import skclamp
from skclamp import (
    CalibrationMonitor,
    CalibratorSelector,
    HistogramBinning,
    NeuralClampingCalibrator,
    PlattScaling,
    PriorShiftCorrection,
    TemperatureScaling,
    TorchTraining,
    compare_calibrators,
)
from skclamp.exceptions import CalibrationSetWarning, ForwardError, UnusedParameterWarning
from skclamp.metrics import brier_score, expected_calibration_error, negative_log_likelihood

# A network of images and one of rows, each beside samples and labels.
NETWORK, IMAGES, Y = problem()
MLP, ROWS, LABELS = table()
NETWORK.eval()
LOGITS = bare_logits(NETWORK, IMAGES)
NAMES = np.array(["a", "b", "c", "d"])
FEW = {"calibrators": [TemperatureScaling()], "n_resamples": 2, "n_draws": 1}


def fit(X, y, estimator=None, *, kind=TemperatureScaling, beside=None, **options):
    """A fit to be made."""
    return lambda: kind(estimator, **options).fit(X, y, **(beside or {}))


def clamp(X, y, estimator=NETWORK, **options):
    return fit(X, y, estimator, kind=NeuralClampingCalibrator, **options)


@cache
def fitted(kind=TemperatureScaling, on=None, **options):
    if on == "logits":
        return kind(**options).fit(LOGITS, Y)
    return kind(MLP, **options).fit(ROWS, LABELS) if on == "rows" else kind(NETWORK, **options).fit(IMAGES, Y)


def predict(X, **options):
    return lambda: fitted(**options).predict_proba(X)


def score(y, X=ROWS):
    return lambda: fitted(on="rows").score(X, y)


def compare(*arguments, **options):
    return lambda: compare_calibrators(*arguments, **{**FEW, **options})


def spoilt(values, value, place):
    values = np.array(values)
    values[place] = value
    return values


# Inputs of other shapes than those that the network takes

ADVICE = r"Images must be \(n, channels, height, width\)"
CHANNELS_LAST = (
    rf"the network failed on a batch of shape \(\d+, 8, 8, 3\): .*{ADVICE}, and the last axis looks like channels: np"
)
SINGLE = rf"a batch of shape \(3, 8, 8\): .*{ADVICE}: .* X\[None\] makes a batch of a single image"
HOLDS_LOGITS = r"failed on a batch of shape \(64, 4\): .* Its outputs have 4 columns too: if X holds logits, leave"
PERTURBED = r"X must have inputs of the shape that the perturbation was fitted to, \(3, 8, 8\); "
LAST = np.moveaxis(IMAGES, 1, -1)
CHANNEL = {"kind": NeuralClampingCalibrator, "perturbation": "channel", "validation_fraction": None}
RAGGED = [torch.as_tensor(ROWS[: 3 + k % 4]) for k in range(N_SAMPLES)]
SHAPES = r"shapes \(3, 6\), \(4, 6\), .*\. Resize, crop or pad them, or have a DataLoader pad each batch"
SWAPPED = r"y must have shape \(n_samples,\), one class label a sample"

OF_SHAPES = {
    "channels last": (fit(LAST, Y, NETWORK), ForwardError, CHANNELS_LAST),
    "channels last, new": (predict(LAST), ForwardError, CHANNELS_LAST),
    "channels last, compared": (compare(NETWORK, IMAGES, Y, LAST, Y), ForwardError, CHANNELS_LAST),
    "channels last, deployed": (
        lambda: fitted(NeuralClampingCalibrator, perturbation=None).module_.eval()(torch.from_numpy(LAST)),
        ForwardError,
        CHANNELS_LAST,
    ),
    "no channels": (fit(IMAGES[:, 0], Y, NETWORK), ForwardError, rf"{ADVICE}: X\[:, None\] gives grey ones"),
    "flat": (fit(IMAGES.reshape(-1, 192), Y, NETWORK), ForwardError, rf"a batch of shape \(64, 192\): .*{ADVICE}"),
    "flat, clamped": (clamp(IMAGES.reshape(-1, 192), Y), ForwardError, rf"a batch of shape \(64, 192\): .*{ADVICE}"),
    "another size": (fit(np.tile(IMAGES, 2), Y, NETWORK), ForwardError, r"a batch of shape \(64, 3, 8, 16\): "),
    "a single image, new": (predict(IMAGES[0]), ForwardError, SINGLE),
    "a single image": (
        fit(IMAGES[0], Y[:1], NETWORK),
        ValueError,
        r"axis of X is the samples: a single one is X",
    ),
    "a single row, new": (predict(IMAGES[0, 0, 0]), ValueError, r"Reshape your data.* A single sample is X\[None\]"),
    "a single image, clamped": (predict(IMAGES[0], **CHANNEL), ValueError, PERTURBED + r".* one sample: X\[None\]$"),
    "no channels, clamped": (
        predict(IMAGES[:5, 0], **CHANNEL),
        ValueError,
        PERTURBED + r"got .* shape \(8, 8\)$",
    ),
    "logits for a network": (fit(LOGITS, Y, NETWORK), ForwardError, HOLDS_LOGITS),
    "logits for a perceptron": (clamp(LOGITS, Y, MLP), ForwardError, HOLDS_LOGITS),
    "logits, new": (predict(LOGITS), ValueError, r"f X holds logits, .*transform_logits\(logits\) takes them$"),
    "images without a network": (fit(IMAGES, Y), ValueError, "a network's inputs, give the network as estimator$"),
    "clamping without a network": (clamp(IMAGES, Y, None), ValueError, "be the network whose inputs clamping perturbs"),
    "ragged": (fit(RAGGED, Y, MLP), ValueError, f"X must hold numbers .*; got rows of {SHAPES}"),
    "ragged batches": (
        lambda: TemperatureScaling(MLP).fit(DataLoader(list(zip(RAGGED, Y.tolist(), strict=True)), batch_size=3)),
        ValueError,
        f"X must hold inputs of one size; got inputs of {SHAPES}",
    ),
    "ragged entries": (fit({"pixels": [[1, 2], [1, 2, 3]] * 60}, Y, Named()), ValueError, "'pixels' of X .* Pad them"),
    "nested": (
        fit(torch.nested.nested_tensor(RAGGED, layout=torch.jagged), Y, MLP),
        TypeError,
        r"got a nested tensor: pass X\.to_padded_tensor\(0\.0\)$",
    ),
    "X and y": (fit(Y, IMAGES, NETWORK), ValueError, rf"{SWAPPED}\. X has shape \(120,\): X and y look swapped"),
    "X and y of a selector": (fit(Y, IMAGES, NETWORK, kind=CalibratorSelector), ValueError, "X and y look swapped"),
    "dense labels": (
        fit(IMAGES, np.zeros((120, 8, 8), int), NETWORK),
        ValueError,
        rf"{SWAPPED}\. A class at each",
    ),
    "train_test_split": (
        compare(MLP, ROWS[:60], ROWS[60:], LABELS[:60], LABELS[60:]),
        ValueError,
        "y_cal must have shape .* X_test and y_cal look swapped",
    ),
    "sparse": (fit(scipy.sparse.csr_array(ROWS), Y, MLP), TypeError, r"be dense; got a sparse csr_array: .*X\.toarray"),
    "sparse tensor": (fit(torch.from_numpy(ROWS).to_sparse(), Y, MLP), TypeError, r"sparse tensor of .*X\.to_dense"),
    "empty": (fit(ROWS[:0], Y[:0], MLP, beside={"sample_weight": []}), ValueError, "X must not be empty"),
    "a tuple of both": (fit((LOGITS, Y), None), TypeError, r"got a tuple of 2 as X: give X\[0\], X\[1\]"),
}


# What isn't finite, or no number


def in_row(name, kind=ValueError):
    return kind, f"{name} must be finite: .*; got (nan|inf) in row 70, column 2$"


IN_SAMPLE = (ValueError, r"X must be finite: .*; got inf in sample 70, at \[1, 0, 5\]$")
WITH_INF = spoilt(IMAGES, np.inf, (70, 1, 0, 5))
WITH_NAN = spoilt(softmax(LOGITS), np.nan, (70, 2))
TEXT = pd.DataFrame({"age": np.arange(40.0), "name": ["some one"] * 40})
IN_COLUMN = "in column 'name': leave the column out, or give numbers in its place$"
TO_ENCODE = "in column 'name': have a ColumnTransformer encode or drop it, in a Pipeline before the classifier$"
OF_SKLEARN = "LogisticRegression; got others, such as 'some one'"
NUMBERS = pd.DataFrame(np.eye(4)[:, :2], columns=["age", "name"])
TEXTS = [({"ids": torch.arange(3), "text": "some one"}, k % 4) for k in range(40)]

OF_NUMBERS = {
    "nan in logits": (fit(spoilt(LOGITS, np.nan, (70, 2)), Y), *in_row("X")),
    "inf to a monitor": (lambda: CalibrationMonitor().partial_fit(spoilt(LOGITS, np.inf, (70, 2)), Y), *in_row("X")),
    "nan to a selector": (fit(spoilt(LOGITS, np.nan, (70, 2)), Y, kind=CalibratorSelector), *in_row("X")),
    "inf in an image": (fit(WITH_INF, Y, NETWORK), *IN_SAMPLE),
    "inf in a Dataset": (clamp(TensorDataset(torch.as_tensor(WITH_INF), torch.as_tensor(Y)), None), *IN_SAMPLE),
    "nan in an entry": (
        fit({"pixels": spoilt(ROWS, np.nan, (70, 3))}, LABELS, Named()),
        ValueError,
        "entry 'pixels' of X must be finite: .* nan in row 70, column 3$",
    ),
    "nan in probabilities": (lambda: expected_calibration_error(Y, WITH_NAN), *in_row("y_proba")),
    "nan in a score's": (lambda: negative_log_likelihood(Y, WITH_NAN), *in_row("y_proba")),
    "nan in labels": (fit(LOGITS, spoilt(Y.astype(float), np.nan, 70)), ValueError, "got nan for sample 70$"),
    "a column of text": (
        fit(TEXT, np.arange(40) % 4, nn.Linear(2, 4)),
        TypeError,
        f"X must be numeric and real; got .*, such as 'some one' {IN_COLUMN}",
    ),
    "dates": (
        fit(TEXT.assign(name=pd.Timestamp("2020-01-01")), np.arange(40) % 4, nn.Linear(2, 4)),
        TypeError,
        rf"X must be numeric and real; got .*, such as Timestamp\(.*\) {IN_COLUMN}",
    ),
    **{
        f"a column of text for {name}": (call, ValueError, f"X must hold numbers for {OF_SKLEARN} {TO_ENCODE}")
        for name, call in {
            "an unfitted classifier": fit(TEXT, np.arange(40) % 4, LogisticRegression(), cv=2),
            "a fitted one": fit(TEXT, np.arange(40) % 4, LogisticRegression().fit(NUMBERS, range(4))),
            "one to clamp": clamp(TEXT, np.arange(40) % 4, LogisticRegression()),
        }.items()
    },
    "an entry of text": (
        fit(DataLoader(TEXTS), None, Named()),
        TypeError,
        "entry 'text' of X .* type str, 'some one'. Give numbers, .* leave it out$",
    ),
}


class Tokens(nn.Module):
    """Embeds tokens, of which there are 50, and their positions, 8 at most."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places, self.head = nn.Embedding(50, 4), nn.Embedding(8, 4), nn.Linear(4, 3)

    def forward(self, input_ids):
        return self.head((self.words(input_ids) + self.places(torch.arange(input_ids.shape[1]))).mean(1)) * 8


IDS = np.random.default_rng(0).integers(0, 50, size=(N_SAMPLES, 8))
OF_TOKENS = labels_of(bare_logits(Tokens(), IDS))
NO_TOKENS = {
    "floats": IDS.astype(np.float32),
    "tokens beyond the vocabulary": IDS + 9,
    "tokens padded with -100": np.where(np.arange(8) > 5, -100, IDS),
    "texts that are too long": np.tile(IDS, 2),
}
EMBEDDED = r"takes integers from 0 to below .*-100\. The network's embeddings have as many rows: \[8, 50\]$"
OF_NUMBERS |= {
    name: (fit({"input_ids": ids}, OF_TOKENS, Tokens()), ForwardError, EMBEDDED) for name, ids in NO_TOKENS.items()
}


# Inputs by name, and what is no estimator


class Pair(nn.Module):
    """Takes two inputs by name."""

    def __init__(self):
        super().__init__()
        self.network = perceptron()

    def forward(self, image, mask):
        return self.network(image * mask)


PAIRS = [((ROWS[k], ROWS[k]), int(LABELS[k])) for k in range(N_SAMPLES)]
OF_NAMES = {
    "other names": (
        fit({"image": ROWS, "mask": ROWS}, LABELS, Named()),
        TypeError,
        "that the network takes by name, 'pixels', .*; got 'image', 'mask'",
    ),
    "another key": (
        clamp(ROWS, LABELS, Named(), input_key="image"),
        TypeError,
        "input_key must be a name of an input that .* takes, 'pixels'; got 'image'",
    ),
    "one input of two": (
        fit(ROWS, LABELS, nn.Bilinear(6, 6, 4)),
        TypeError,
        "X must be a dict of the inputs that .*, 'input1', 'input2', or a Dataset .*; got a single input",
    ),
    "a tuple of inputs": (fit((ROWS, ROWS), LABELS, Pair()), TypeError, "a dict of several by name; got a tuple of 2$"),
    "a list of inputs": (clamp([ROWS, ROWS], LABELS, Pair()), TypeError, "a dict of several by name; got a list of 2$"),
    "items of two inputs": (
        fit(DataLoader(PAIRS), None, Pair()),
        TypeError,
        "Several inputs go into a dict, by the names under which the network takes",
    ),
}


def no_estimator(given, got):
    words = (
        rf"estimator must be None, a torch.nn.Module, .*; got {got}\. Of weights or a file pass the network, after "
        r"network\.load_state_dict\(weights\) or from torch\.export\..*; of a class an instance, of a pipeline its"
    )
    return fit(IMAGES, Y, given), TypeError, words


def in_the_constructor(given, got, as_name, kind=TemperatureScaling):
    words = rf"got {got}, an estimator, which the constructor takes: {kind.__name__}\({as_name}\)\.fit\(X, y\)"
    return lambda: kind().fit(given, ROWS, LABELS), TypeError, words


UNINITIALISED = nn.Linear(6, 4, device="meta")
OF_ESTIMATORS = {
    "a path": no_estimator("net.pt", "'net.pt'"),
    "a graph's path": no_estimator(Path("net.onnx"), r"\w+\('net.onnx'\)"),
    "weights": no_estimator(NETWORK.state_dict(), "OrderedDict"),
    "logits": no_estimator(np.zeros((9, 4)), "ndarray"),
    "a class": no_estimator(Named, "<class '.*Named'>"),
    "a function": no_estimator(NETWORK.forward, "method"),
    "a regression": no_estimator(LinearRegression(), "LinearRegression"),
    "a transformer": no_estimator(StandardScaler(), "StandardScaler"),
    "a network in fit": in_the_constructor(MLP, "Sequential", "net"),
    "a network in clamping's fit": in_the_constructor(MLP, "Sequential", "net", NeuralClampingCalibrator),
    "a skorch net in fit": in_the_constructor(NeuralNetClassifier(MLP), "NeuralNetClassifier", "net"),
    "a classifier in fit": in_the_constructor(LogisticRegression(), "LogisticRegression", "classifier"),
    "a class in fit": in_the_constructor(Named, "the class Named", "net"),
    "a classifier to a monitor": (
        lambda: CalibrationMonitor().partial_fit(LogisticRegression().fit(ROWS, LABELS), ROWS),
        TypeError,
        r"CalibrationMonitor\(classifier\)\.partial_fit\(X, y\)",
    ),
    "logits in a comparison's first place": (
        lambda: compare_calibrators(LOGITS, Y, LOGITS, Y),
        TypeError,
        r"Of logits write compare_calibrators\(None, X_cal, y_cal, X_test, y_test\)",
    ),
    "no weights": (fit(ROWS, Y, UNINITIALISED), ValueError, "must have its weights in memory; got .* the meta device"),
    "no weights, on a device": (clamp(ROWS, Y, UNINITIALISED, device="cpu"), ValueError, "have its weights in memory"),
    "a bare Dataset in a search": (
        lambda: GridSearchCV(TemperatureScaling(NETWORK), {"gamma": [0.0]}, cv=2).fit(
            TensorDataset(torch.as_tensor(IMAGES), torch.as_tensor(Y)), Y
        ),
        ValueError,
        r"got a list of items of a Dataset, as .*SliceDataset\(dataset",
    ),
    "the network before the path": (lambda: skclamp.load(MLP, "saved"), TypeError, "the path comes first: load"),
    "a folder": (lambda: skclamp.load("."), ValueError, "must be a file that a calibrator's save wrote; got a folder"),
}


# Labels, and columns for them

PLACES = np.random.default_rng(0).normal(scale=3.0, size=(40, 3, 4, 5))
MASKS = (PLACES / 2 + np.random.default_rng(1).gumbel(size=PLACES.shape)).argmax(1)
SOFT = r"Soft labels aren't taken: give the likeliest class; or each sample once for each class, with .* sample_weight$"
VOID = "by which many masks say .* give ignore_index=-1"
OBJECTS = np.empty(len(MASKS), object)
OBJECTS[:] = [MASKS[0, :2], *MASKS[1:]]
HALF, FROM_ONE = np.full((60, 4), 0.25), 1 + np.arange(60) % 3
UNKNOWN = "y must have a class for each sample; got ignore_index=-100.* leave"
TWO_FOR_THREE = r"must have one column per class: got 2 columns for 3 .* is read as the second of two classes: pass"
WHOLE = "ignore_index"

OF_LABELS = {
    "no labels": (clamp(IMAGES, None), ValueError, "X brings no labels: pass y, one class label per sample"),
    "no test labels": (compare(MLP, ROWS, LABELS, ROWS, None), ValueError, "X brings no labels: pass y_test"),
    "a dict without labels": (fit({"pixels": ROWS}, None, Named()), ValueError, "or a dict with .labels."),
    "None": (fit(LOGITS, [None, *Y[1:].tolist()]), ValueError, "a label is missing; got nan for sample 0$"),
    "None among names": (fit(LOGITS, [None, *NAMES[Y[1:]]]), ValueError, "a label is missing; got None for sample 0$"),
    "soft labels": (fit(LOGITS, softmax(LOGITS)), ValueError, SOFT),
    "smooth labels": (fit(LOGITS, 0.9 * np.eye(4)[Y] + 0.025), ValueError, f"Got 0.025 in it. {SOFT}"),
    "probabilities for labels": (fit(LOGITS[:, :2], softmax(LOGITS)[:, 0]), ValueError, f"real values .* {SOFT}"),
    "-1 for none": (
        fit(LOGITS, np.where(np.arange(120) < 9, -1, np.arange(120) % 4)),
        ValueError,
        "Where -1 stands",
    ),
    "-1 beside classes": (
        fit(LOGITS, spoilt(Y, -1, 0), classes=range(4)),
        ValueError,
        "leave these samples out, or",
    ),
    "classes that are missing": (fit(LOGITS, np.arange(120) % 2 + 5), ValueError, r"such as classes=range\(4\)"),
    "masked labels": (
        fit(LOGITS, np.ma.masked_equal(Y, 2)),
        ValueError,
        "must have no masked entries, which",
    ),
    "names for numbers": (
        score(np.array(["0", "1"] * 60)),
        ValueError,
        "y must hold labels of the kind of fit, such as ",
    ),
    "all unknown": (score(np.full(120, -100)), ValueError, UNKNOWN),
    "some unknown": (score(spoilt(LABELS, -100, slice(3))), ValueError, UNKNOWN),
    "an axis of one first": (fit(PLACES, MASKS[:, None]), ValueError, r"got places \(1, 4, 5\): give y\[:, 0\]$"),
    "an axis of one last": (fit(PLACES, MASKS[..., None]), ValueError, r"got places \(4, 5, 1\): give y\[\.\.\., 0\]$"),
    "one-hot masks": (fit(PLACES, np.eye(3, dtype=int)[MASKS]), ValueError, r"give y.argmax\(-1\) of one-hot ones$"),
    "void": (fit(PLACES, np.where(MASKS == 2, -1, MASKS)), ValueError, f"got -1, {VOID}; if it is a class"),
    "void in floats": (fit(PLACES, np.where(PLACES[:, 0] > 1, -1.0, MASKS)), ValueError, f"got -1, {VOID}"),
    "masks of bytes": (
        fit(PLACES[:, :2], np.uint8(255 * (MASKS > 0))),
        ValueError,
        r"got 0 and 255, as files of images keep masks: give y // 255 or, if 255",
    ),
    "masks of several sizes": (
        fit(PLACES, OBJECTS),
        ValueError,
        "y must hold numbers or names in equal rows",
    ),
    **{
        f"ignore_index={number!r}": (fit(PLACES, MASKS, ignore_index=number), (TypeError, ValueError), WHOLE)
        for number in ("255", True, 1.5, None)
    },
    "ignore_index of a metric": (
        lambda: brier_score(MASKS, softmax(np.moveaxis(PLACES, 1, -1)), ignore_index="255"),
        TypeError,
        r"ignore_index must be a whole number; got",
    ),
    "one column for three": (fit(np.zeros(30), np.arange(30) % 3), ValueError, f"the logits {TWO_FOR_THREE}"),
    "one probability for three": (
        lambda: expected_calibration_error(np.arange(30) % 3, np.full(30, 0.7)),
        ValueError,
        f"y_proba {TWO_FOR_THREE}",
    ),
    "sparse probabilities": (
        lambda: expected_calibration_error(Y, scipy.sparse.csr_array(np.eye(4)[Y])),
        TypeError,
        r"y_proba must be dense; got a sparse csr_array: pass y_proba.toarray\(\)",
    ),
    **{
        f"swapped in a metric, {kind}": (
            partial(expected_calibration_error, softmax(LOGITS), y),
            ValueError,
            "y_proba and y_true look swapped",
        )
        for kind, y in {"two classes": (Y > 1).astype(int), "four": Y, "a list": Y.tolist(), "names": NAMES[Y]}.items()
    },
    "columns in another order": (
        lambda: compare(
            None,
            pd.DataFrame(LOGITS, columns=NAMES[::-1]),
            NAMES[::-1][Y],
            pd.DataFrame(LOGITS, columns=NAMES[::-1])[NAMES],
            NAMES[::-1][Y],
        )(),
        ValueError,
        "X_test must have its columns in the order of X_cal",
    ),
    "counted from one": (
        lambda: brier_score(FROM_ONE, HALF),
        CalibrationSetWarning,
        "^labels 1 ... 3 are taken for column indices, of which 0 is missing; if they count from 1, give labels$",
    ),
    "features for logits": (
        fit(ROWS, LABELS, MLP[:-1]),
        CalibrationSetWarning,
        "^there are 16 columns for 4 distinct labels, and .*% of the predictions are in columns that no label has: ",
    ),
    "one class": (
        fit(ROWS, np.full(120, "b"), MLP, classes=NAMES),
        CalibrationSetWarning,
        "^all labels are of one class, 'b', of 4: (?!.*Likely causes)",
    ),
    "one class, clamped": (
        clamp(ROWS, np.full(120, "b"), MLP, classes=NAMES),
        CalibrationSetWarning,
        "all labels are of one class, 'b', of 4: ",
    ),
    "weights that add up to one": (
        fit(LOGITS, Y, kind=PlattScaling, beside={"sample_weight": np.full(120, 1 / 120)}),
        CalibrationSetWarning,
        r"adds up to 1 for 120 samples.* Give sample_weight / ",
    ),
    "weights of classes that add up to one": (
        fit(LOGITS, Y, kind=PlattScaling, beside={"sample_weight": 1 / np.bincount(Y)[Y]}),
        CalibrationSetWarning,
        r"adds up to 4 for 120 samples.* Give sample_weight / ",
    ),
}


# Options: slips, and what has no effect


def slip(calibrator, meant):
    return lambda: calibrator.fit(ROWS, LABELS), ValueError, f"'{meant}'"


def full(**training):
    return NeuralClampingCalibrator(MLP, perturbation="full", training=TorchTraining(**training))


def unused(name, call):
    return call, UnusedParameterWarning, f"^{name} has no effect: "


def no_scorer(metric, advice):
    call = fit(ROWS, LABELS, MLP, kind=CalibratorSelector, scoring=metric)
    return call, TypeError, re.escape(f", a metric: use {advice}")


PIXELS = np.uint8((IMAGES - IMAGES.min()) / np.ptp(IMAGES) * 255)
OF_PIXELS = labels(NETWORK, np.float32(PIXELS / 255))


OF_INTEGERS = TemperatureScaling(NETWORK, integer_scale=1 / 255).fit(PIXELS, OF_PIXELS)
OTHER_SCALE = "^X holds from 17 to 255, on another scale than in fit: .* as those; integer_scale goes for integers$"
OF_OPTIONS = {
    "chanel": slip(NeuralClampingCalibrator(MLP, perturbation="chanel"), "channel"),
    "autp": slip(NeuralClampingCalibrator(MLP, gamma="autp"), "auto"),
    "Adam": slip(full(optimizer="Adam"), "adam"),
    "zero": slip(full(init="zero"), "zeros"),
    "proba": slip(TemperatureScaling(MLP, response="proba"), "probabilities"),
    "Uniform": slip(HistogramBinning(strategy="Uniform"), "uniform"),
    "log_loss": slip(CalibratorSelector(scoring="log_loss"), "neg_log_loss"),
    "a metric of ours": no_scorer(
        partial(brier_score, scale_by_half=True), "skclamp.metrics.make_calibration_scorer(brier_score, ...)"
    ),
    "a metric of scikit-learn": no_scorer(log_loss, "sklearn.metrics.make_scorer(log_loss, ...)"),
    "a pickle": (lambda: fitted().save("f.pkl"), ValueError, r"skclamp\.load reads.*joblib\.dump"),
    "cv of a network": unused("cv", fit(ROWS, LABELS, MLP, cv=5)),
    "cv around a calibrator": unused(
        "cv", lambda: PriorShiftCorrection(TemperatureScaling(MLP), cv=5).fit(ROWS, LABELS)
    ),
    "cv of a comparison": unused("cv", compare(MLP, ROWS[:60], LABELS[:60], ROWS[60:], LABELS[60:], cv=3)),
    "a scale of floats": unused("integer_scale", fit(ROWS, LABELS, MLP, integer_scale=1 / 255)),
    "a scale of logits": unused("integer_scale", fit(LOGITS, Y, integer_scale=1 / 255)),
    "a scale for a classifier": unused(
        "integer_scale", fit(ROWS, LABELS, LogisticRegression().fit(ROWS, LABELS), integer_scale=1 / 255)
    ),
    "floats after integers": (
        lambda: OF_INTEGERS.predict_proba(np.float32(PIXELS)),
        CalibrationSetWarning,
        OTHER_SCALE,
    ),
    "a family for few samples": (
        clamp(ROWS[:7], LABELS[:7], MLP, perturbation="affine"),
        CalibrationSetWarning,
        "^perturbation='affine' is left out, and temperature scaling it is: 7 independent samples are fewer than",
    ),
}

MISTAKES = OF_SHAPES | OF_NUMBERS | OF_NAMES | OF_ESTIMATORS | OF_LABELS | OF_OPTIONS


def state():
    """What is a user's own."""
    arrays = (IMAGES, Y, ROWS, LABELS, LOGITS)
    return snapshot(NETWORK), snapshot(MLP), [each.tobytes() for each in arrays], torch.get_rng_state().tolist()


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message_names_the_mend_and_nothing_has_changed(mistake):
    call, kind, words = MISTAKES[mistake]
    # Another state than the making of networks leaves.
    torch.manual_seed(1)
    before = state()
    if kind in (CalibrationSetWarning, UnusedParameterWarning):
        assert re.search(words, warned(kind, call))
    else:
        with pytest.raises(kind, match=words) as caught:
            call()
        assert kind is not ForwardError or caught.value.__cause__ is not None
    assert state() == before


def test_the_names_of_mistakes_are_their_own():
    assert len(MISTAKES) == sum(map(len, (OF_SHAPES, OF_NUMBERS, OF_NAMES, OF_ESTIMATORS, OF_LABELS, OF_OPTIONS)))


def test_the_mend_of_weights_mends():
    """And of one kind of labels, a class that doesn't count isn't missed."""
    PlattScaling().fit(LOGITS, Y, sample_weight=np.full(120, 1.0))
    assert TemperatureScaling(ignore_index=0).fit(PLACES, MASKS).classes_.tolist() == [0, 1, 2]
