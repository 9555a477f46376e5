import numpy as np
import pytest
import torch

from skclamp._utils.arrays import check_finite, check_probability_rows, check_scores, check_unit_interval, tensor_of
from skclamp._utils.labels import check_sample_weight, encode_labels, resolve_classes


@pytest.mark.parametrize(
    ("y", "n_columns", "expected"),
    [
        (np.array([0, 2]), 4, [0, 1, 2, 3]),
        (np.array([0.0, 2.0]), 3, [0.0, 1.0, 2.0]),
        (np.array([1, 2, 3]), 3, [1, 2, 3]),
        (np.array(["b", "a"]), 2, ["a", "b"]),
        (np.array([True, True]), 2, [False, True]),
        (np.array([7, 7, 9]), 2, [7, 9]),
    ],
)
def test_resolve_classes_from_the_labels(y, n_columns, expected):
    classes = resolve_classes(y, n_columns)
    np.testing.assert_array_equal(classes, expected)
    assert classes.dtype.kind == np.asarray(expected).dtype.kind


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.float16])
def test_column_indices_are_distinct_where_the_labels_dtype_is_narrow(dtype):
    classes = resolve_classes(np.array([0, 1, 100], dtype=dtype), 5000)
    assert len(np.unique(classes)) == 5000


def test_resolve_classes_prefers_what_the_user_says():
    y = np.array([0, 1])
    np.testing.assert_array_equal(resolve_classes(y, 2, classes=["x", "y"], known=["p", "q"]), ["x", "y"])
    np.testing.assert_array_equal(resolve_classes(y, 2, known=["p", "q"]), ["p", "q"])


@pytest.mark.parametrize(
    ("y", "n_columns", "given", "message"),
    [
        ([5, 6], 3, {}, r"classes must be given when the labels are neither 0 \.\.\. 2 .* 2 distinct labels: \[5, 6\]"),
        (["a"], 2, {}, "classes must be given .* y has 1 distinct labels"),
        (
            ["a", "b"],
            2,
            {"classes": ["b", "a"], "known": ["a", "b"]},
            r"classes must be in the order of the estimator's classes_, \['a', 'b'\]; got \['b', 'a'\]",
        ),
        ([True, False], 3, {}, "classes must be given .* y has 2 distinct labels"),
        ([0, 1], 3, {"classes": [0, 1]}, r"classes must name the 3 columns of the logits; got shape \(2,\)"),
        ([0, 1], 2, {"classes": [[0, 1]]}, r"classes must name the 2 columns of the logits; got shape \(1, 2\)"),
        ([0, 1], 2, {"classes": [1, 1]}, r"classes must not repeat a name; got \[1, 1\]"),
        ([0, 1], 3, {"known": [0, 1]}, "the estimator's classes_ must name the 3 columns"),
    ],
)
def test_resolve_classes_says_what_is_wrong(y, n_columns, given, message):
    with pytest.raises(ValueError, match=message):
        resolve_classes(np.asarray(y), n_columns, **given)


@pytest.mark.parametrize(
    ("classes", "y", "y_encoded"),
    [
        (["b", "a", "c"], ["a", "b", "c", "a"], [1, 0, 2, 1]),
        ([0, 1, 2], [2, 0], [2, 0]),
        ([3, 1, 2], [1.0, 3.0], [1, 0]),
        ([False, True], [True, False], [1, 0]),
    ],
)
def test_encode_labels_gives_columns_in_any_order_of_classes(classes, y, y_encoded):
    found = encode_labels(np.asarray(y), np.asarray(classes))
    np.testing.assert_array_equal(found, y_encoded)
    assert found.dtype == np.int64


@pytest.mark.parametrize(
    ("classes", "y", "message"),
    [
        ([0, 1, 2], [0, 3], r"y must hold labels among the classes \[0, 1, 2\]; got \[3\]"),
        ([0, 1, 2], [-1], r"got \[-1\]"),
        (["a", "b"], ["z"], r"got \['z'\]"),
        (["a", "b"], [1, 0], r"y must hold labels among the classes \['a', 'b'\]; got \[0, 1\]"),
        ([0, 1], ["a"], r"y must hold labels among the classes \[0, 1\]; got \['a'\]"),
    ],
)
def test_encode_labels_names_unknown_labels(classes, y, message):
    with pytest.raises(ValueError, match=message):
        encode_labels(np.asarray(y), np.asarray(classes))


def test_sample_weight_becomes_float64():
    assert check_sample_weight(None, 3).tolist() == [1, 1, 1]
    weight = check_sample_weight([1, 2, 0], 3)
    assert weight.dtype == torch.float64
    assert weight.tolist() == [1, 2, 0]
    assert check_sample_weight(2, 3).tolist() == [2, 2, 2]


def test_check_finite_looks_twice_where_a_sum_overflows():
    check_finite(torch.full((100,), 60000.0, dtype=torch.float16), "X")
    with pytest.raises(ValueError, match="X must be finite: Input X contains NaN or infinity; got inf"):
        check_finite(torch.tensor([1.0, torch.inf]), "X")


def test_opposite_infinities_do_not_cancel():
    with pytest.raises(ValueError, match="contains NaN or infinity; got inf"):
        check_finite(torch.tensor([torch.inf, -torch.inf]), "X")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_scores_keep_their_precision_and_memory(dtype):
    X = np.zeros((3, 2), dtype=dtype)
    scores = check_scores(X)
    assert scores.dtype == torch.from_numpy(X).dtype
    assert scores.data_ptr() == X.ctypes.data


def test_scores_from_lists_and_integers_are_floating_point():
    assert check_scores([[1, 2], [3, 4]]).dtype == torch.float64
    assert check_scores(torch.tensor([[1, 2], [3, 4]])).dtype == torch.float64
    assert check_scores([0.5, 1.0]).shape == (2,)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (np.zeros((2, 3, 4)), ValueError, r"X must hold one row of logits or probabilities .* got shape \(2, 3, 4\)"),
        (np.float64(1.0), ValueError, r"X must hold one row of logits or probabilities .* got shape \(\)"),
        (np.zeros((3, 0)), ValueError, r"X must not be empty; got shape \(3, 0\)"),
        ([[0.0, np.nan]], ValueError, "X must be finite: Input X contains NaN or infinity; got nan"),
        ([[0.0, np.inf]], ValueError, "X must be finite: Input X contains NaN or infinity; got inf in row 0, column 1"),
        ([["a", "b"]], TypeError, "X must be numeric and real; got dtype <U1"),
        ([[1j, 0]], TypeError, "X must be numeric and real; got dtype complex128"),
        (torch.tensor([[1j, 0]]), TypeError, "X must be numeric and real.*got torch.complex64"),
    ],
)
def test_scores_say_what_is_wrong(X, error, message):
    with pytest.raises(error, match=message):
        check_scores(X)


def test_read_only_and_wide_arrays_become_tensors_without_a_warning():
    X = np.zeros((2, 2))
    X.flags.writeable = False
    assert tensor_of(X, "X").dtype == torch.float64
    assert tensor_of(np.zeros((2, 2), dtype=np.longdouble), "X").dtype == torch.float64
    assert tensor_of(np.zeros((4, 4))[::2, ::-1], "X").shape == (2, 4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_distributions_are_told_to_the_precision_of_their_dtype(dtype):
    rows = torch.softmax(torch.randn(50, 1000, generator=torch.Generator().manual_seed(0)), 1).to(dtype)
    check_probability_rows(rows)


def test_rounding_errors_above_one_are_allowed():
    check_unit_interval(torch.tensor([1 + 1e-7, 0.0]))
    with pytest.raises(ValueError, match="got values from 0.5 to 1.01"):
        check_unit_interval(torch.tensor([1.01, 0.5]))
