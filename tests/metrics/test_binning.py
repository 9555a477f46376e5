"""Bins: exact edges in every dtype, tables against naive ones, one pass shared."""

from dataclasses import asdict

import numpy as np
import pytest
import torch

from skclamp.metrics._binning import BinTable, Probabilities, bin_indices, equal_mass_edges

DTYPES = [np.float16, np.float32, np.float64]


def _naive_index(value, edges):
    """Index b of the bin (edges[b], edges[b + 1]] that holds the value, the first for its lower edge."""
    inside = [b for b in range(len(edges) - 1) if edges[b] < value <= edges[b + 1]]
    return inside[0] if inside else 0


def _two_columns(p):
    return np.stack([1 - p, p], 1)


def _top_label_table(proba, y_encoded, edges):
    return proba.pairs(y_encoded).table(edges)


def _equal_mass_edges(proba, n_bins):
    return equal_mass_edges(proba.top_label[0], proba.weight, n_bins, side="right")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_bins", [1, 2, 3, 7, 10, 15, 30, 49, 100])
def test_a_probability_of_k_over_n_closes_bin_k_in_every_dtype(n_bins, dtype):
    k = np.arange(1, n_bins + 1)
    on_edge = (k / n_bins).astype(dtype)
    edges = Probabilities(_two_columns(on_edge)).equal_width_edges(n_bins)
    np.testing.assert_array_equal(bin_indices(on_edge.astype(float), edges), k - 1)
    just_above = np.nextafter(on_edge[:-1], dtype(2))
    np.testing.assert_array_equal(bin_indices(just_above.astype(float), edges), k[:-1])
    just_below = np.nextafter(on_edge, dtype(0))
    np.testing.assert_array_equal(bin_indices(just_below.astype(float), edges), k - 1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_edges_of_tensors(dtype):
    k = torch.arange(1, 16)
    on_edge = (k.double() / 15).to(dtype)
    edges = Probabilities(torch.stack([1 - on_edge, on_edge], 1)).equal_width_edges(15)
    np.testing.assert_array_equal(bin_indices(on_edge.double().numpy(), edges), k - 1)


def test_what_rounds_beyond_one_is_in_the_last_bin():
    edges = np.linspace(0, 1, 11)
    np.testing.assert_array_equal(bin_indices(np.array([1.0000001, -1e-9]), edges), [9, 0])


@pytest.mark.parametrize(("shape", "n_chunks"), [((1, 2), 1), ((700, 3), 1), ((900, 250), 2), ((2, 200_000), 2)])
def test_chunks_cover_all_rows_in_order(shape, n_chunks):
    values = np.random.default_rng(0).dirichlet(np.ones(shape[1]), shape[0])
    chunks = list(Probabilities(values).chunks())
    assert len(chunks) == n_chunks
    np.testing.assert_array_equal(np.concatenate([chunk for _, chunk in chunks]), values)
    for rows, chunk in chunks:
        np.testing.assert_array_equal(values[rows], chunk)


@pytest.mark.parametrize(
    "layout",
    [
        np.asfortranarray,
        lambda p: np.repeat(p, 2, axis=0)[::2],
        lambda p: p[:, ::-1].copy()[:, ::-1],
        torch.from_numpy,
        lambda p: torch.from_numpy(p).t().contiguous().t(),
        lambda p: torch.from_numpy(p).requires_grad_(),
        lambda p: p.tolist(),
        lambda p: np.broadcast_to(p, p.shape),
    ],
)
def test_memory_layout_doesnt_matter(layout):
    values = np.random.default_rng(0).dirichlet(np.ones(5), 300)
    y_encoded = np.random.default_rng(1).integers(5, size=300)
    for table in (_top_label_table, Probabilities.classwise_table):
        plain, other = Probabilities(values), Probabilities(layout(values))
        expected, got = (table(p, y_encoded, p.equal_width_edges(10)) for p in (plain, other))
        for field, value in asdict(expected).items():
            np.testing.assert_allclose(asdict(got)[field], value, rtol=1e-12, atol=1e-15)


def test_top_label_is_the_first_of_equals():
    _, prediction = Probabilities([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.25, 0.25, 0.5]]).top_label
    np.testing.assert_array_equal(prediction, [0, 1, 2])


def test_the_array_is_read_once_for_many_labels(monkeypatch):
    passes = []
    chunks = Probabilities.chunks
    monkeypatch.setattr(Probabilities, "chunks", lambda self: passes.append(self) or chunks(self))
    proba = Probabilities(np.random.default_rng(0).dirichlet(np.ones(3), 50))
    for y_encoded in (np.zeros(50, int), np.ones(50, int)):
        _top_label_table(proba, y_encoded, proba.equal_width_edges(5))
        _top_label_table(proba, y_encoded, _equal_mass_edges(proba, 5))
        proba.classwise_table(y_encoded, proba.equal_width_edges(5))
    assert len(passes) == 2  # one for the top label, one for the columns


def test_table_sums_and_gaps():
    edges = np.array([0.0, 0.5, 1.0])
    table = BinTable.from_sums(edges, np.array([0, 4]), np.array([0.0, 3.0]), np.array([0.0, 1.0]))
    np.testing.assert_array_equal(table.edges, edges)
    np.testing.assert_array_equal(table.share, [0, 1])
    np.testing.assert_array_equal(table.confidence, [0, 0.75])
    np.testing.assert_array_equal(table.gap, [0, -0.5])
    assert table.expected_gap() == table.maximum_gap() == 0.5


def test_table_goes_into_a_data_frame():
    pandas = pytest.importorskip("pandas")
    proba = Probabilities(np.random.default_rng(0).dirichlet(np.ones(3), 50))
    frame = pandas.DataFrame(asdict(_top_label_table(proba, np.zeros(50, int), proba.equal_width_edges(8))))
    assert list(frame.columns) == ["lower", "upper", "count", "confidence", "accuracy"]
    assert frame["count"].sum() == 50 and len(frame) == 8


@pytest.mark.parametrize("n", [1, 2, 5, 14, 15, 16, 100, 1000])
@pytest.mark.parametrize("n_bins", [1, 4, 15])
def test_bins_of_equal_mass_hold_equal_numbers(n, n_bins):
    p = np.random.default_rng(0).uniform(0.5, 1, n)
    proba = Probabilities(_two_columns(p))
    edges = _equal_mass_edges(proba, n_bins)
    count = _top_label_table(proba, np.ones(n, int), edges).count
    assert count.sum() == n and (np.diff(edges) >= 0).all()
    # Edge k is the (floor(k n / n_bins) + 1)-th smallest, which the bin below it holds.
    expected = np.sort(p)[[min(k * n // n_bins, n - 1) for k in range(n_bins + 1)]]
    np.testing.assert_array_equal(edges, expected)
    if n >= n_bins:
        assert count[1:-1].size == 0 or np.ptp(count[1:-1]) <= 1


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("weight", [None, np.tile([1, 0, 3, 2], 10), np.ones(40)], ids=["none", "unequal", "equal"])
def test_edges_of_equal_mass_are_the_last_with_less_before(side, weight):
    """Weights of tenths, whose sums are rounded, give the edges of whole numbers."""
    confidence = np.random.default_rng(0).random(40)
    confidence[::2] = confidence[::2].round(1)
    confidence[:2] = -0.2, -0.1
    order = np.argsort(confidence, kind="stable")
    own = np.ones(40) if weight is None else weight[order]
    before = own.cumsum() - own
    for n_bins in (1, 3, 4, 8, 50):
        few = [5 * before * n_bins < 5 * k * own.sum() + (side == "right") for k in range(n_bins + 1)]
        last = [max(np.flatnonzero(each), default=0) for each in few]
        edges = equal_mass_edges(confidence, None if weight is None else weight / 10, n_bins, side)
        np.testing.assert_array_equal(edges, confidence[order][last])


def test_bins_of_equal_mass_dont_part_ties():
    p = np.repeat([0.6, 0.7, 0.8], [5, 50, 5])
    proba = Probabilities(_two_columns(p))
    table = _top_label_table(proba, np.ones(60, int), _equal_mass_edges(proba, 10))
    np.testing.assert_array_equal(table.count[table.count > 0], [55, 5])
    constant = Probabilities(np.full((9, 3), 1 / 3))
    table = _top_label_table(constant, np.zeros(9, int), _equal_mass_edges(constant, 4))
    assert table.count.tolist() == [9, 0, 0, 0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n_bins", "n_classes"), [(1, 2), (2, 3), (30, 3), (10, 40), (2, 500)])
def test_classwise_table_is_the_naive_one(dtype, n_bins, n_classes):
    """Of 500 classes the rows come in two chunks."""
    random = np.random.default_rng(0)
    values = random.dirichlet(np.full(n_classes, 0.3), 300).astype(dtype)
    # Rows with entries on edges, at 0 and at 1.
    values[:20] = np.eye(n_classes)[random.integers(n_classes, size=20)]
    values[20:40] = 0
    values[20:40, 0], values[20:40, 1] = dtype(0.3), dtype(0.7)
    y_encoded = random.integers(n_classes, size=300)
    proba = Probabilities(values)
    edges = proba.equal_width_edges(n_bins)
    table = proba.classwise_table(y_encoded, edges)
    for column in range(n_classes):
        p = values[:, column].astype(float)
        place = np.array([_naive_index(value, edges) for value in p])
        for b in range(n_bins):
            held = place == b
            assert table.count[b, column] == held.sum()
            if held.any():
                assert table.confidence[b, column] == pytest.approx(p[held].mean(), abs=1e-6)
                assert table.accuracy[b, column] == pytest.approx((y_encoded[held] == column).mean(), abs=1e-12)
            else:
                assert table.confidence[b, column] == table.accuracy[b, column] == 0
