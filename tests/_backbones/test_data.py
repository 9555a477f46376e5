import numpy as np
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from skclamp import NeuralClampingCalibrator, TemperatureScaling
from skclamp._backbones.inputs import dataset_behind, open_inputs

X = np.arange(40, dtype=np.float32).reshape(10, 4)
Y = torch.arange(10)


def opened(X, **loading):
    return open_inputs(dataset_behind(X, any_order=True), **loading)


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


LABELLED = {"pairs", "lists", "triples", "subset"}


@pytest.mark.parametrize("kind", KINDS)
def test_batches_hold_all_samples_in_order_and_the_labels_that_come_with_them(kind):
    inputs = opened(KINDS[kind])
    batches, labels = zip(*inputs.batches(3), strict=True)
    assert len(inputs) == 10
    assert [len(x) for x in batches] == [3, 3, 3, 1]
    np.testing.assert_array_equal(torch.cat(batches), X)
    if kind in LABELLED:
        assert torch.cat(labels).tolist() == Y.tolist()
    else:
        assert set(labels) == {None}


def test_arrays_and_tensors_are_not_copied():
    assert open_inputs(X).values.data_ptr() == X.ctypes.data
    tensor = torch.from_numpy(X)
    assert open_inputs(tensor).values.data_ptr() == tensor.data_ptr()


@pytest.mark.parametrize("kind", KINDS)
def test_take_picks_samples(kind):
    rows = [7, 0, 7]
    taken = opened(KINDS[kind]).take(torch.tensor(rows))
    (x, _), *rest = taken.batches(10)
    assert not rest
    np.testing.assert_array_equal(x, X[rows])


@pytest.mark.parametrize("kind", KINDS)
def test_training_sets_put_our_targets_in_place_of_labels(kind):
    inputs = opened(KINDS[kind])
    dataset = inputs.training_set(torch.arange(100, 110), torch.arange(10) / 10)
    loader = DataLoader(dataset, batch_size=4, shuffle=True, collate_fn=inputs.collate, generator=torch.Generator())
    seen = set()
    for x, (y_encoded, weight) in loader:
        rows = y_encoded - 100
        np.testing.assert_array_equal(x, X[rows])
        torch.testing.assert_close(weight, rows / 10)
        seen.update(rows.tolist())
    assert seen == set(range(10))


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (X[:, 0], ValueError, "X must have samples along its first axis .* got a 1-dimensional array for a network"),
        (X[:0], ValueError, r"X must not be empty: .* got shape \(0, 4\)"),
        (Items(None, length=0), ValueError, "X must not be empty; got a Dataset of length 0"),
        ([["a", "b"]], TypeError, "X must be numeric and real; got dtype <U1"),
        (torch.zeros(2, 2, dtype=torch.complex64), TypeError, "X must be numeric and real.*complex64"),
    ],
)
def test_opening_says_what_is_wrong(bad, error, message):
    with pytest.raises(error, match=message):
        opened(bad)


class Uncounted(Dataset):
    def __getitem__(self, index):
        return torch.zeros(3)


@pytest.mark.parametrize(
    "made", [Uncounted(), DataLoader(Uncounted(), sampler=range(3))], ids=["Dataset", "DataLoader"]
)
def test_datasets_without_a_length_are_refused(made):
    with pytest.raises(TypeError, match="X must be a Dataset with a length, or an IterableDataset; got Uncounted"):
        opened(made)


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (lambda i: "text", TypeError, "X must be a tensor or an array in each item of a Dataset.* got .* type str"),
        (lambda i: None, TypeError, "X must be a tensor or an array in each item of a Dataset.* got .* type NoneType"),
        (lambda i: (object(), 0), TypeError, "X must be a tensor or an array .* got inputs of type object"),
        (lambda i: ([torch.zeros(3)] * 2, 0), TypeError, "X must be a tensor or an array .* got inputs of type list"),
        (lambda i: {"x": "text"}, TypeError, "entry 'x' of X must be a tensor or an array .* type str"),
        (lambda i: {"x": [[1], [2, 3]]}, ValueError, "entry 'x' of X must hold numbers in equal rows"),
        (
            lambda i: {"x": X[i]} if i % 2 else {"x": X[i], "y": X[i]},
            TypeError,
            r"X must be a Dataset whose items have the same entries; got \('x'.*\) and \('x'.*\)",
        ),
        (lambda i: {"x": X[i]} if i % 2 else X[i], TypeError, "X must be a Dataset whose items have the same entries"),
        (
            lambda i: {"x": X[i], "ids": [0] * i},
            ValueError,
            r"entry 'ids' of X must hold inputs of one size; got inputs of shapes \(0,\), \(1,\), \(2,\), \(3,\)",
        ),
        (
            lambda i: torch.zeros(i),
            ValueError,
            r"X must hold inputs of one size; got inputs of shapes \(0,\), \(1,\), \(2,\), \(3,\). Resize",
        ),
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
        list(opened(bad).batches(4))


# DataLoaders


PAIRS = KINDS["pairs"]


@pytest.mark.parametrize("options", [{}, {"batch_size": 5, "drop_last": True}])
def test_a_loader_in_order_is_its_dataset(options):
    batches = [x for x, _ in opened(DataLoader(PAIRS, **options)).batches()]
    assert {len(x) for x in batches} == {options.get("batch_size", 1)}
    assert torch.equal(torch.cat(batches), torch.from_numpy(X))


def test_a_loader_may_shuffle_where_nothing_goes_by_its_order():
    loader = DataLoader(PAIRS, shuffle=True)
    assert torch.equal(torch.cat([x for x, _ in opened(loader).batches()]), torch.from_numpy(X))
    with pytest.raises(ValueError, match="in order: pass shuffle=False: y, .* order; got one with a RandomSampler"):
        dataset_behind(loader)


@pytest.mark.parametrize(
    "sampler",
    [
        RandomSampler(PAIRS, replacement=True),
        RandomSampler(PAIRS, num_samples=3),
        SubsetRandomSampler(range(3)),
        WeightedRandomSampler(torch.ones(10), 10),
        SequentialSampler(range(3)),
        RandomSampler(range(3), num_samples=10),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_a_loader_must_load_each_sample_once(sampler):
    with pytest.raises(ValueError, match=f"loads each sample once; got one with a {type(sampler).__name__}"):
        dataset_behind(DataLoader(PAIRS, sampler=sampler), any_order=True)
    with pytest.raises(ValueError, match="loads each sample once"):
        dataset_behind(DataLoader(PAIRS, batch_sampler=BatchSampler(sampler, 4, False)), any_order=True)


class Backwards(SequentialSampler):
    def __iter__(self):
        return reversed(range(len(self)))


class Scaling(DataLoader):
    def __iter__(self):
        return ((x / 2, y) for x, y in super().__iter__())


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(PAIRS, batch_sampler=type("Twice", (BatchSampler,), {})(SequentialSampler(PAIRS), 2, False)),
        DataLoader(PAIRS, batch_size=None),
        Scaling(PAIRS),
    ],
    ids=["batch_sampler", "no batches", "subclass"],
)
def test_a_loader_that_does_something_of_its_own_is_refused(loader):
    with pytest.raises(TypeError, match="torch's own DataLoader, with its own batch_sampler; .*Give its Dataset"):
        dataset_behind(loader, any_order=True)


def test_a_loader_must_neither_turn_round_nor_leave_out():
    with pytest.raises(ValueError, match="in order: pass shuffle=False: y, .* order; got one with a Backwards"):
        dataset_behind(DataLoader(PAIRS, sampler=Backwards(PAIRS)))
    with pytest.raises(ValueError, match="leaves out no sample; its drop_last leaves out 1"):
        dataset_behind(DataLoader(PAIRS, batch_size=3, drop_last=True))
    with pytest.raises(ValueError, match="its drop_last leaves out 1"):
        dataset_behind(DataLoader(PAIRS, batch_sampler=BatchSampler(SequentialSampler(PAIRS), 3, True)))
    with pytest.raises(ValueError, match="in order: pass shuffle=False: y, .* order; got one with a RandomSampler"):
        dataset_behind(DataLoader(PAIRS, batch_sampler=BatchSampler(RandomSampler(PAIRS), 4, False)))


@pytest.mark.parametrize(
    "make",
    [TemperatureScaling, lambda network: NeuralClampingCalibrator(network, random_state=0)],
    ids=["temperature", "clamping"],
)
def test_calibrators_take_loaders_as_datasets(make):
    network = convolutional()
    x = torch.from_numpy(images(200))
    pairs = TensorDataset(x, torch.from_numpy(labels_of(bare_logits(network, x))))
    expected = make(network).fit(pairs)
    # Batches of one size, so that sums are rounded alike.
    calibrator = make(network).fit(DataLoader(pairs, batch_size=64, shuffle=True))
    loader = DataLoader(pairs, batch_size=64)
    np.testing.assert_array_equal(calibrator.predict_proba(loader), expected.predict_proba(x))
    with pytest.raises(ValueError, match="RandomSampler"):
        calibrator.predict(DataLoader(pairs, shuffle=True))
    for with_order in ({"y": pairs.tensors[1]}, {"sample_weight": np.ones(200)}):
        with pytest.raises(ValueError, match="RandomSampler"):
            calibrator.fit(DataLoader(pairs, shuffle=True), **with_order)


class Odd(TensorDataset):
    """Images with what isn't a label, as data sets to predict have it."""

    def __init__(self, images, label):
        super().__init__(images)
        self.label = label

    def __getitem__(self, index):
        return super().__getitem__(index)[0], self.label


@pytest.mark.parametrize(
    "label", [float("nan"), 0.3, torch.eye(3)[0], {"box": 1}], ids=["nan", "real", "one-hot", "dict"]
)
def test_labels_are_left_aside_where_none_are_wanted(label):
    network, X = convolutional(), torch.as_tensor(images(60))
    y = labels_of(bare_logits(network, X), 1.0)
    calibrator = TemperatureScaling(network).fit(X, y)
    np.testing.assert_array_equal(calibrator.predict_proba(Odd(X, label)), calibrator.predict_proba(X))
    given = TemperatureScaling(network).fit(Odd(X, label), y)
    assert given.temperature_ == calibrator.temperature_
