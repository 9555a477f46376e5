import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from skclamp._data import ArrayInputs, DatasetInputs, open_inputs

X = np.arange(40, dtype=np.float32).reshape(10, 4)
Y = torch.arange(10)


class Items(Dataset):
    """A Dataset of whatever a function of the index gives."""

    def __init__(self, item, length=10):
        self.item = item
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return self.item(index)


KINDS = {
    "array": X,
    "list": X.tolist(),
    "tensor": torch.from_numpy(X),
    "inputs alone": Items(lambda i: torch.from_numpy(X[i])),
    "numpy items": Items(lambda i: X[i]),
    "tuples of one": TensorDataset(torch.from_numpy(X)),
    "pairs": TensorDataset(torch.from_numpy(X), Y),
    "lists": Items(lambda i: [torch.from_numpy(X[i]), int(Y[i])]),
    "triples": TensorDataset(torch.from_numpy(X), Y, Y),
    "subset": Subset(TensorDataset(torch.from_numpy(np.concatenate([X, X])), torch.cat([Y, Y])), range(10, 20)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_batches_hold_all_samples_in_order(kind):
    inputs = open_inputs(KINDS[kind])
    batches = [x for x, _ in inputs.batches(3)]
    assert len(inputs) == 10
    assert [len(x) for x in batches] == [3, 3, 3, 1]
    np.testing.assert_array_equal(torch.cat(batches), X)


@pytest.mark.parametrize("kind", ["pairs", "lists", "triples", "subset"])
def test_datasets_of_pairs_bring_labels(kind):
    labels = torch.cat([y for _, y in open_inputs(KINDS[kind]).batches(4)])
    assert labels.tolist() == Y.tolist()


@pytest.mark.parametrize("kind", ["array", "tensor", "inputs alone", "numpy items", "tuples of one"])
def test_inputs_alone_bring_none(kind):
    assert all(y is None for _, y in open_inputs(KINDS[kind]).batches(4))


def test_arrays_and_tensors_are_not_copied():
    assert open_inputs(X).values.data_ptr() == X.ctypes.data
    tensor = torch.from_numpy(X)
    assert open_inputs(tensor).values.data_ptr() == tensor.data_ptr()


def test_opened_inputs_carry_no_gradient():
    assert not open_inputs(torch.ones(2, 2, requires_grad=True)).values.requires_grad


@pytest.mark.parametrize("kind", KINDS)
def test_take_picks_samples(kind):
    rows = [7, 0, 7]
    taken = open_inputs(KINDS[kind]).take(torch.tensor(rows))
    (x, _), *rest = taken.batches(10)
    assert not rest
    np.testing.assert_array_equal(x, X[rows])


@pytest.mark.parametrize("kind", KINDS)
def test_training_sets_put_our_targets_in_place_of_labels(kind):
    inputs = open_inputs(KINDS[kind])
    dataset = inputs.training_set(torch.arange(100, 110), torch.arange(10) / 10)
    loader = DataLoader(dataset, batch_size=4, shuffle=True, collate_fn=inputs.collate, generator=torch.Generator())
    seen = set()
    for x, (codes, weight) in loader:
        rows = codes - 100
        np.testing.assert_array_equal(x, X[rows])
        torch.testing.assert_close(weight, rows / 10)
        seen.update(rows.tolist())
    assert seen == set(range(10))


@pytest.mark.parametrize("kind", ["array", "pairs"])
def test_reading_leaves_the_global_random_states_alone(kind):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    list(open_inputs(KINDS[kind]).batches(4))
    assert torch.equal(before, torch.get_rng_state())


def test_worker_processes_keep_the_order():
    inputs = open_inputs(KINDS["pairs"], num_workers=1)
    np.testing.assert_array_equal(torch.cat([x for x, _ in inputs.batches(3)]), X)


def test_integer_tokens_pass():
    assert next(open_inputs(np.ones((3, 5), dtype=np.int32)).batches(3))[0].dtype == torch.int32


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (X[:, 0], ValueError, "X must have samples along its first axis .* got a 1-dimensional array for a network"),
        (X[:0], ValueError, r"X must not be empty: .* got shape \(0, 4\)"),
        (Items(None, length=0), ValueError, "X must not be empty; got a Dataset of length 0"),
        (np.zeros((2, 3, 8, 8), dtype=np.uint8), TypeError, "X must hold floating-point inputs .*uint8.*X / 255"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.int64), TypeError, "X must hold floating-point inputs .*int64"),
        ([["a", "b"]], TypeError, "X must be numeric and real; got dtype <U1"),
        (torch.zeros(2, 2, dtype=torch.complex64), TypeError, "X must be numeric and real.*complex64"),
    ],
)
def test_opening_says_what_is_wrong(bad, error, message):
    with pytest.raises(error, match=message):
        open_inputs(bad)


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.zeros(3, 2))


def test_streams_are_refused():
    with pytest.raises(TypeError, match="X must be a map-style Dataset with a length and __getitem__; got Stream"):
        open_inputs(Stream())


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (lambda i: {"x": torch.zeros(3)}, TypeError, "X must be a Dataset whose items are .* got inputs of type dict"),
        (lambda i: ((torch.zeros(3), torch.zeros(3)), 0), TypeError, "X must be a Dataset .* got inputs of type list"),
        (lambda i: torch.zeros(3, 4, 4, dtype=torch.uint8), TypeError, "X must hold floating-point inputs .*uint8"),
        (
            lambda i: torch.full((3,), torch.nan if i == 7 else 0.0),
            ValueError,
            "X must be finite: Input X contains NaN",
        ),
    ],
)
def test_reading_a_dataset_says_what_is_wrong(item, error, message):
    with pytest.raises(error, match=message):
        list(open_inputs(Items(item)).batches(4))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_reading_an_array_finds_the_bad_entry(value):
    bad = X.copy()
    bad[8, 2] = value
    with pytest.raises(ValueError, match=f"X must be finite: Input X contains NaN or infinity; got {value}"):
        list(open_inputs(bad).batches(4))


def test_opening_tells_arrays_from_datasets():
    assert isinstance(open_inputs(X), ArrayInputs)
    assert isinstance(open_inputs(KINDS["pairs"]), DatasetInputs)
