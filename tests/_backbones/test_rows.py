"""Hashes of rows: what makes two rows the same, and which rows two sets share, told beyond chance."""

import numpy as np
import pytest

from skclamp._backbones.rows import row_prints
from skclamp._judging.overlap import shared_share


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


# Rows that two sets share.

DRAWS = {
    "normal": lambda rng, n: rng.normal(size=(n, 3)),
    "rounded": lambda rng, n: np.round(rng.normal(size=(n, 3)), 1),
    "rare": lambda rng, n: (rng.random((n, 20)) < 0.1).astype(float),
    "whole numbers": lambda rng, n: rng.integers(50, size=(n, 1)),
    "binary": lambda rng, n: rng.integers(2, size=(n, 3)),
    "heavy tails": lambda rng, n: rng.zipf(1.3, (n, 1)).clip(max=10**6),
    "categories": lambda rng, n: rng.integers(4, size=(n, 8)),
    "a finite record": lambda rng, n: rng.normal(size=(n // 3, 2))[rng.integers(n // 3, size=n)],
}


@pytest.mark.parametrize("halved", [False, True])
@pytest.mark.parametrize(("n_rows", "n_seen"), [(300, 300), (100, 1000), (1000, 100), (500, 20000)])
@pytest.mark.parametrize("name", DRAWS)
def test_no_overlap_is_told_where_there_is_none(name, n_rows, n_seen, halved):
    for seed in range(20):
        prints = row_prints(DRAWS[name](np.random.default_rng(seed), n_rows + n_seen))
        seen = (prints[n_rows:] >> 16).astype(np.uint16) if halved else prints[n_rows:]
        assert shared_share(prints[:n_rows], seen) == 0
        if name == "normal":
            both = np.append(prints[: n_rows // 2], prints[n_rows : n_rows + (n_rows + 1) // 2])
            if n_rows < 2 * n_seen:
                assert shared_share(both, seen) == pytest.approx(0.5, abs=0.1)


def test_repeated_rows_that_are_shared_are_told():
    prints = row_prints(np.random.default_rng(0).normal(size=(900, 2)))
    for times in (1, 2, 5, 10):
        seen = np.repeat(prints[:300], times)
        for n in (1, times):
            assert shared_share(np.repeat(prints[150:450], n), seen) == pytest.approx(0.5, abs=1e-6)
            assert shared_share(np.repeat(prints[300:600], n), seen) == 0
