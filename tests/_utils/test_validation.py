"""Labels, names of classes and scores: what they are taken for, and what is said of those that can't be taken."""

import numpy as np
import pytest
import torch
from sklearn import config_context
from sklearn.linear_model import LogisticRegression
from skorch import NeuralNetClassifier
from torch import nn

from skclamp import TemperatureScaling

# So few samples are warned of.
pytestmark = pytest.mark.filterwarnings("ignore::skclamp.exceptions.CalibrationWarning")


def fitted(y, n_columns, estimator=None, **options):
    """Temperature scaling of so many columns, of which the samples speak for one after the other."""
    logits = np.eye(n_columns)[np.arange(len(y)) % n_columns]
    return TemperatureScaling(estimator, **options).fit(logits.astype(np.float32), np.asarray(y))


@pytest.mark.parametrize(
    ("y", "n_columns", "expected"),
    [
        ([0, 2], 4, [0, 1, 2, 3]),
        ([0.0, 2.0], 3, [0.0, 1.0, 2.0]),
        ([1, 2, 3], 3, [1, 2, 3]),
        (["b", "a"], 2, ["a", "b"]),
        ([True, True], 2, [False, True]),
        ([7, 7, 9], 2, [7, 9]),
    ],
)
def test_classes_come_from_the_labels(y, n_columns, expected):
    classes = fitted(y, n_columns).classes_
    np.testing.assert_array_equal(classes, expected)
    assert classes.dtype.kind == np.asarray(expected).dtype.kind


OF_AB = LogisticRegression().fit(np.eye(2), ["a", "b"])
OF_TWO = NeuralNetClassifier(nn.Linear(3, 3), criterion=nn.CrossEntropyLoss, classes=[0, 1]).initialize()


@pytest.mark.parametrize(
    ("y", "n_columns", "given", "message"),
    [
        ([5, 6], 3, {}, r"classes must be given when the labels are neither 0 \.\.\. 2 .* 2 distinct labels: \[5, 6\]"),
        (["a"], 2, {}, "classes must be given .* y has 1 distinct labels"),
        ([True, False], 3, {}, "classes must be given .* y has 2 distinct labels"),
        ([0, 1], 3, {"classes": [0, 1]}, r"classes must name the 3 columns of the logits; got shape \(2,\)"),
        ([0, 1], 2, {"classes": [[0, 1]]}, r"classes must name the 2 columns of the logits; got shape \(1, 2\)"),
        ([0, 1], 2, {"classes": [1, 1]}, r"classes must not repeat a name; got \[1, 1\]"),
        (
            ["a", "b"],
            2,
            {"classes": ["b", "a"], "estimator": OF_AB},
            r"classes must be in the order of the estimator's classes_, \['a', 'b'\]; got \['b', 'a'\]",
        ),
        ([0, 1], 3, {"estimator": OF_TWO}, "the estimator's classes_ must name the 3 columns"),
        ([0, 3], 3, {"classes": [0, 1, 2]}, r"y must hold labels among the classes \[0, 1, 2\]; got \[3\]"),
        ([-1], 3, {"classes": [0, 1, 2]}, r"got \[-1\]"),
        (["z"], 2, {"classes": ["a", "b"]}, r"got \['z'\]"),
        ([1, 0], 2, {"classes": ["a", "b"]}, r"y must hold labels among the classes \['a', 'b'\]; got \[0, 1\]"),
        (["a"], 2, {"classes": [0, 1]}, r"y must hold labels among the classes \[0, 1\]; got \['a'\]"),
    ],
)
def test_what_is_wrong_with_classes_and_labels_is_said(y, n_columns, given, message):
    with pytest.raises(ValueError, match=message):
        fitted(y, n_columns, **given)


@pytest.mark.parametrize(
    ("classes", "y"),
    [
        (["b", "a", "c"], ["b", "a", "c", "b"]),
        ([3, 1, 2], [3.0, 1.0, 2.0]),
        ([False, True], [False, True]),
    ],
)
def test_labels_are_columns_in_any_order_of_classes(classes, y):
    calibrator = fitted(y, len(classes), classes=classes)
    assert calibrator.score(np.eye(len(classes))[np.arange(len(y)) % len(classes)], y) == 1


# Scores


class Seen(TemperatureScaling):
    """Keeps what it is fitted to."""

    def _fit_logits(self, logits, y, sample_weight):
        self.seen_ = logits
        return super()._fit_logits(logits, y, sample_weight)


def test_opposite_infinities_do_not_cancel():
    with pytest.raises(ValueError, match="contains NaN or infinity; got inf"):
        TemperatureScaling(nn.Identity()).fit(np.float32([[np.inf, -np.inf], [0, 1]]), [0, 1])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scores_keep_their_precision_and_memory(dtype):
    X = np.eye(3, dtype=dtype)
    seen = Seen().fit(X, [0, 1, 2]).seen_
    assert seen.dtype == torch.from_numpy(X).dtype
    assert seen.data_ptr() == X.ctypes.data


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.zeros((2, 3, 4)), ValueError, r"y must have a class at each place of the logits, .*; got shape \(2,\)"),
        (np.zeros((2, 0)), ValueError, r"X must not be empty; got shape \(2, 0\)"),
        ([[0, np.nan]] * 2, ValueError, "X must be finite: Input X contains NaN or infinity; got nan"),
        ([[0, np.inf]] * 2, ValueError, "X must be finite: Input X contains NaN or infinity; got inf in row 0, col"),
        ([["a", "b"]] * 2, TypeError, "X must be numeric and real; got dtype <U1"),
        ([[1j, 0]] * 2, TypeError, "X must be numeric and real; got dtype complex128"),
        (torch.tensor([[1j, 0]] * 2), TypeError, "X must be numeric and real.*got torch.complex64"),
    ],
)
def test_scores_say_what_is_wrong(X, error, message):
    with pytest.raises(error, match=message):
        TemperatureScaling().fit(X, [0, 1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_distributions_are_told_to_the_precision_of_their_dtype(dtype):
    rows = torch.softmax(torch.randn(50, 1000, generator=torch.Generator().manual_seed(0)), 1).to(dtype)
    TemperatureScaling(response="probabilities", classes=range(1000)).fit(rows, np.arange(50))


def test_parameters_are_as_unchecked_as_scikit_learns():
    logits, y = np.random.default_rng(0).normal(size=(60, 3)), np.arange(60) % 3
    calibrator = TemperatureScaling(cv="five")
    with pytest.raises(ValueError, match="The 'cv' parameter of TemperatureScaling"):
        calibrator.fit(logits, y)
    with config_context(skip_parameter_validation=True):
        assert calibrator.fit(logits, y).temperature_ > 0
