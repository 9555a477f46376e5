"""Hashes of rows: what makes two rows the same."""

import numpy as np
import pytest

from skclamp._backbones.rows import row_prints


def test_a_row_has_the_same_hash_whatever_its_neighbours_are():
    rows = np.array([["n/a", 1], ["1", 2.5], ["2", None], ["3", True]], dtype=object)
    whole = row_prints(rows)
    for k in range(4):
        assert row_prints(rows[k:]).tolist() == whole[k:].tolist()


def test_equal_numbers_have_equal_hashes_whatever_their_type():
    whole, fractions = np.arange(50)[:, None], np.random.default_rng(0).normal(size=(50, 3))
    for kind in (np.int16, np.float32, np.float64, object):
        np.testing.assert_array_equal(row_prints(whole.astype(kind)), row_prints(whole))
    np.testing.assert_array_equal(row_prints(fractions.astype(np.float32)), row_prints(fractions))
    assert row_prints(np.array([[-0.0]])) == row_prints(np.array([[0.0]]))
    assert row_prints(np.array([[np.nan]])) == row_prints(np.array([[-np.nan]]))


@pytest.mark.parametrize("kind", [np.int64, np.float64])
def test_large_whole_numbers_differ(kind):
    """Such as times in seconds and identifiers, which a float of 32 bits doesn't tell apart."""
    assert len(np.unique(row_prints((1_700_000_000 + np.arange(20_000)).astype(kind)[:, None]))) > 19_990


def test_hashes_stay_the_same_from_one_version_of_numpy_to_the_next():
    assert row_prints(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist() == [792343838, 123663340]
