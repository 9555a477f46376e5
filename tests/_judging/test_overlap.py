"""Rows that two sets share: told beyond chance, and never of independent draws, however often values come."""

import numpy as np
import pytest

from skclamp._backbones.rows import row_prints
from skclamp._judging.overlap import shared_share

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
