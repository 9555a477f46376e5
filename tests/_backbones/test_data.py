"""Whatever holds samples: arrays, memory maps, Datasets, streams and DataLoaders are the arrays that they hold."""

import functools
import os

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of, put_into_odd_state, snapshot
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)

from skclamp import HistogramBinning, NeuralClampingCalibrator, TemperatureScaling, TorchTraining, VectorScaling

N_SAMPLES = 150
NETWORK = convolutional()
X = torch.from_numpy(images(N_SAMPLES))
Y = torch.from_numpy(labels_of(bare_logits(NETWORK, X)))
PAIRS = TensorDataset(X, Y)


def natural(network=NETWORK, **options):
    return NeuralClampingCalibrator(network, perturbation="affine", random_state=0, **options)


def adam(network=NETWORK, **options):
    options = {"training": TorchTraining(), "max_epochs": 2, "validation_fraction": None, **options}
    return natural(network, **options)


def temperature(network=NETWORK, **options):
    return TemperatureScaling(network, **options)


MAKE = [temperature, natural, adam]


class Items(Dataset):
    """A Dataset of whatever a function of the index gives."""

    def __init__(self, item, length=N_SAMPLES):
        self.item, self.length = item, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return self.item(index)


class Stream(IterableDataset):
    """Goes through items; counts how often."""

    def __init__(self, items):
        self.items, self.passes = items, 0

    def __iter__(self):
        self.passes += 1
        return iter(self.items)


class Counted(Stream):
    def __len__(self):
        return len(self.items)


class Shared(Stream):
    """Each worker takes its part, as torch's documentation has it."""

    def __iter__(self):
        worker = get_worker_info()
        return iter(self.items if worker is None else self.items[worker.id :: worker.num_workers])


def memory_map(folder):
    np.save(folder / "images.npy", X)
    return np.load(folder / "images.npy", mmap_mode="r")


def batches_of(size, **options):
    """The batches of a loader in its dataset's order."""
    return lambda folder: DataLoader(PAIRS, batch_size=size, **options)


def twice(values):
    return torch.cat([values, values])


# What holds the same samples, by a folder to put them in, and whether labels come with them.
KINDS = {
    "list": (lambda folder: X.tolist(), False),
    "tensor": (lambda folder: X, False),
    "memory map": (memory_map, False),
    "inputs alone": (lambda folder: Items(lambda i: X[i]), False),
    "numpy items": (lambda folder: Items(lambda i: X[i].numpy()), False),
    "tuples of one": (lambda folder: TensorDataset(X), False),
    "pairs": (lambda folder: PAIRS, True),
    "lists": (lambda folder: Items(lambda i: [X[i], int(Y[i])]), True),
    "triples": (lambda folder: TensorDataset(X, Y, Y), True),
    "subset": (lambda folder: Subset(TensorDataset(twice(X), twice(Y)), range(N_SAMPLES, 2 * N_SAMPLES)), True),
    "loader": (batches_of(64), True),
    "loader of batches": (lambda folder: DataLoader(PAIRS, batch_sampler=in_order(64)), True),
}
# What training reads anew in each way that it has.
READ_OFTEN = ["tensor", "memory map", "numpy items", "subset", "loader", "loader of batches"]
# Those that training goes through in other batches, or not at all.
READ_ONCE = {
    "loader that drops the last": (batches_of(40, drop_last=True), True),
    "stream": (lambda folder: Stream(list(PAIRS)), True),
    "counted stream": (lambda folder: Counted(list(PAIRS)), True),
    "stream of inputs": (lambda folder: Stream(list(X)), False),
    "loader of a stream": (lambda folder: DataLoader(Stream(list(PAIRS)), batch_size=7), True),
}


def in_order(batch_size):
    return BatchSampler(SequentialSampler(PAIRS), batch_size, drop_last=False)


@functools.cache
def of_arrays(make):
    return make().fit(X.numpy(), Y.numpy()).predict_proba(X.numpy())


@pytest.mark.parametrize(
    ("make", "kind"),
    [(temperature, kind) for kind in (*KINDS, *READ_ONCE)]
    + [(make, kind) for make in (natural, adam) for kind in READ_OFTEN],
)
def test_data_of_any_kind_are_the_arrays_that_they_hold(make, kind, tmp_path):
    """Also through folds, which take some, and training, which puts targets of ours in place of labels."""
    held, labelled = {**KINDS, **READ_ONCE}[kind]
    data = held(tmp_path)
    # Batches of one size, so that sums are rounded alike.
    calibrator = make(batch_size=64).fit(data, None if labelled else Y)
    np.testing.assert_allclose(calibrator.predict_proba(data), of_arrays(make), rtol=0, atol=2e-5)
    if labelled:
        np.testing.assert_allclose(make(batch_size=64).fit(data, Y).predict_proba(X), of_arrays(make), atol=2e-5)


def test_a_loader_may_shuffle_where_nothing_goes_by_its_order():
    loader = DataLoader(PAIRS, batch_size=64, shuffle=True)
    for make in MAKE:
        calibrator = make().fit(loader)
        np.testing.assert_array_equal(calibrator.predict_proba(X), of_arrays(make))
        calls = [functools.partial(calibrator.fit, y=Y), functools.partial(calibrator.fit, sample_weight=np.ones(150))]
        for call in (*calls, calibrator.predict):
            with pytest.raises(ValueError, match="in order: pass shuffle=False: y, .* order; got one with a RandomSam"):
                call(loader)


class Backwards(SequentialSampler):
    def __iter__(self):
        return reversed(range(len(self)))


class Scaling(DataLoader):
    def __iter__(self):
        return ((x / 2, y) for x, y in super().__iter__())


ONCE = "X must be a DataLoader that loads each sample once; got one with a "
OWN = "torch's own DataLoader, with its own batch_sampler; .*Give its Dataset"
SAMPLERS = [
    RandomSampler(PAIRS, replacement=True),
    RandomSampler(PAIRS, num_samples=3),
    SubsetRandomSampler(range(3)),
    WeightedRandomSampler(torch.ones(10), 10),
    SequentialSampler(range(3)),
    RandomSampler(range(3), num_samples=N_SAMPLES),
    Backwards(PAIRS),
]
SAME_BATCHES = type("Twice", (BatchSampler,), {})(SequentialSampler(PAIRS), 2, False)


@pytest.mark.parametrize(
    ("loader", "error", "message"),
    [(DataLoader(PAIRS, sampler=own), ValueError, ONCE + type(own).__name__) for own in SAMPLERS]
    + [(DataLoader(PAIRS, batch_sampler=BatchSampler(own, 4, False)), ValueError, ONCE) for own in SAMPLERS]
    + [
        (DataLoader(PAIRS, batch_sampler=SAME_BATCHES), TypeError, OWN),
        (DataLoader(PAIRS, batch_size=None), TypeError, OWN),
        (Scaling(PAIRS), TypeError, OWN),
    ],
)
def test_a_loader_that_does_not_go_through_its_samples_is_refused(loader, error, message):
    with pytest.raises(error, match=message):
        temperature().fit(loader)


class Uncounted(Dataset):
    def __getitem__(self, index):
        return X[0]


NO_ITEM = "X must be a tensor or an array in each item of a Dataset.* got .* type "
SIZES = r"must hold inputs of one size; got inputs of shapes "
ENTRIES = "X must be a Dataset whose items have the same entries; got "


def item_of(function):
    return Items(function)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (
            np.zeros(N_SAMPLES),
            ValueError,
            "X must have samples along its first axis .* got a 1-dimensional array for a network",
        ),
        (X[:0], ValueError, r"X and y have inconsistent numbers of samples, 0 and 150"),
        (Items(None, length=0), ValueError, "X must not be empty: Found array with 0 sample"),
        (Stream([]), ValueError, "X must not be empty: Found array with 0 sample"),
        ([["a", "b"]] * N_SAMPLES, TypeError, "X must be numeric and real; got dtype <U1"),
        (torch.zeros(N_SAMPLES, 2, dtype=torch.complex64), TypeError, "X must be numeric and real.*complex64"),
        (Uncounted(), TypeError, "X must be a Dataset with a length, or an IterableDataset; got Uncounted"),
        (DataLoader(Uncounted(), sampler=range(3)), TypeError, "X must be a Dataset with a length"),
        (item_of(lambda i: "text"), TypeError, f"{NO_ITEM}str"),
        (item_of(lambda i: None), TypeError, f"{NO_ITEM}NoneType"),
        (item_of(lambda i: (object(), 0)), TypeError, f"{NO_ITEM}object"),
        (
            item_of(lambda i: ([torch.zeros(3)] * 2, 0)),
            TypeError,
            f"{NO_ITEM}list. An item is .* Several inputs go into a dict",
        ),
        (item_of(lambda i: {"x": "text"}), TypeError, "entry 'x' of X must be a tensor or an array .* type str"),
        (
            item_of(lambda i: {"x": [[1], [2, 3]]}),
            ValueError,
            "entry 'x' of X must hold numbers or names in equal rows",
        ),
        (item_of(lambda i: {"x": X[i]} if i % 2 else {"x": X[i], "y": X[i]}), TypeError, rf"{ENTRIES}\('x'.*\) and"),
        (item_of(lambda i: {"x": X[i]} if i % 2 else X[i]), TypeError, ENTRIES),
        (item_of(lambda i: {"x": X[i], "ids": [0] * i}), ValueError, rf"entry 'ids' of X {SIZES}\(0,\), \(1,\), "),
        (item_of(lambda i: torch.zeros(i)), ValueError, rf"X {SIZES}\(0,\), \(1,\), \(2,\), .* Resize"),
        (item_of(lambda i: X[i] * (torch.nan if i == 7 else 1)), ValueError, "X must be finite: Input X contains NaN"),
        (Stream([*X[:3], X[3, :, :5]]), ValueError, rf"X {SIZES}\(3, 5, 8\), \(3, 8, 8\)"),
        (
            DataLoader(Stream(list(PAIRS)), collate_fn=list),
            TypeError,
            "what a collate_fn returns; got inputs of type tuple",
        ),
        (Stream(list(X[:9])), ValueError, "y must have one value per sample: .* 9 and 150"),
    ],
)
def test_what_is_wrong_with_data_is_said(data, error, message):
    with pytest.raises(error, match=message):
        temperature().fit(data, Y)


class Odd(TensorDataset):
    """Images with what isn't a label, as data sets to predict have it."""

    def __init__(self, label):
        super().__init__(X)
        self.label = label

    def __getitem__(self, index):
        return super().__getitem__(index)[0], self.label


@pytest.mark.parametrize("label", [float("nan"), 0.3, torch.eye(3)[0], {"box": 1}], ids=str)
def test_labels_are_left_aside_where_none_are_wanted(label):
    calibrator = temperature().fit(Odd(label), Y)
    for data in (Odd(label), X):
        np.testing.assert_array_equal(calibrator.predict_proba(data), of_arrays(temperature))


# Streams


@pytest.mark.parametrize("make", [VectorScaling, HistogramBinning])
def test_one_pass_of_a_stream_brings_inputs_and_labels(make):
    stream = Stream(list(PAIRS))
    calibrator = make(NETWORK, batch_size=32).fit(stream)
    assert stream.passes == 1
    expected = make(NETWORK, batch_size=32).fit(X, Y)
    np.testing.assert_array_equal(calibrator.predict_proba(stream), expected.predict_proba(X))
    assert stream.passes == 2
    for n_samples in (1, 64, 65):
        assert calibrator.predict_proba(Stream(X[:n_samples])).shape == (n_samples, 4)


@pytest.mark.parametrize("kind", [Stream, Shared])
@pytest.mark.usefixtures("one_core")
def test_several_workers_neither_repeat_samples_nor_change_their_order(kind):
    with pytest.warns(UserWarning, match="2 worker processes"):
        pairs = DataLoader(kind(list(PAIRS)), num_workers=2)
        workers = DataLoader(kind(list(X)), batch_size=64, num_workers=2)
    calibrator = temperature().fit(pairs)
    np.testing.assert_allclose(calibrator.predict_proba(workers), of_arrays(temperature), rtol=0, atol=1e-6)


def test_clamping_predicts_for_a_stream_and_reads_its_samples_several_times():
    calibrator, before = natural().fit(X, Y), snapshot(NETWORK)
    np.testing.assert_array_equal(calibrator.predict_proba(Stream(list(PAIRS))), calibrator.predict_proba(X))
    for stream in (Stream(list(PAIRS)), DataLoader(Stream(list(PAIRS)))):
        with pytest.raises(TypeError, match="X must be an array, a dict or a map-style Dataset.* got Stream, a stream"):
            natural().fit(stream)
    assert snapshot(NETWORK) == before


# Loaders: batch sizes, collate functions, workers


def doubled(items):
    """As many networks are fed: what the items hold, and more."""
    inputs, labels = zip(*items, strict=True)
    return 2 * torch.stack(inputs), torch.tensor(labels)


@pytest.mark.parametrize(("make", "n_workers"), [(temperature, 1), (natural, 0), (adam, 0)])
def test_a_loaders_collate_fn_makes_the_batches(make, n_workers):
    loader = DataLoader(PAIRS, batch_size=64, collate_fn=doubled, num_workers=n_workers)
    calibrator, expected = make().fit(loader), make().fit(2 * X, Y)
    np.testing.assert_array_equal(calibrator.predict_proba(loader), expected.predict_proba(2 * X))
    assert calibrator.score(loader) == expected.score(2 * X, Y)


def padded(items):
    rows, labels = zip(*items, strict=True)
    mask = nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in rows], batch_first=True)
    return {"x": nn.utils.rnn.pad_sequence(rows, batch_first=True), "mask": mask, "labels": list(labels)}


class Pooling(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 4)

    def forward(self, x, mask):
        return 5 * (self.linear(x) * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)


def test_batches_padded_to_their_own_length():
    network, rows = Pooling(), [X[i].reshape(-1, 3)[: 3 + i % 5] for i in range(N_SAMPLES)]
    whole = padded([(row, 0) for row in rows])
    y = labels_of(network(whole["x"], whole["mask"]).detach())
    loader = DataLoader(list(zip(rows, y, strict=True)), batch_size=2, collate_fn=padded)
    whole["labels"] = y
    calibrator, expected = temperature(network).fit(loader), temperature(network).fit(whole)
    np.testing.assert_allclose(calibrator.predict_proba(loader), expected.predict_proba(whole), rtol=0, atol=1e-5)
    # A perturbation of inputs is for those of one shape; "auto" is left with features, of which there are none.
    auto = NeuralClampingCalibrator(network, input_key="x", random_state=0).fit(loader)
    assert "no normalisation layer" in auto.verdict_.reason
    np.testing.assert_allclose(auto.predict_proba(loader), auto.predict_proba(whole), rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="'x' of X must hold inputs of one size; got .*pad them"):
        natural(network, input_key="x").fit(loader)


@pytest.mark.parametrize(
    ("collate_fn", "error", "message"),
    [
        (lambda items: doubled(items[:-1]), ValueError, "keeps each sample, along the first axis; of 64 it made 63"),
        (lambda items: (doubled(items)[0], [0]), ValueError, "y must have one value per sample"),
        (lambda items: doubled(items)[0].sum(), ValueError, "keeps each sample.* of 64 it made"),
        (lambda items: items, TypeError, "what a collate_fn returns; got inputs of type tuple. An item is"),
        (str, TypeError, "what a collate_fn returns; got inputs of type str, .*Give numbers"),
    ],
)
def test_a_collate_fn_that_breaks_a_rule(collate_fn, error, message):
    with pytest.raises(error, match=message):
        temperature().fit(DataLoader(PAIRS, batch_size=64, collate_fn=collate_fn))


@pytest.mark.usefixtures("one_core")
def test_workers_and_pinned_memory_change_nothing():
    """What torch says of two workers on one core is said once, where the loader is made."""
    with pytest.warns(UserWarning, match="2 worker processes"):
        loader = DataLoader(PAIRS, batch_size=64, num_workers=2, pin_memory=True)
    np.testing.assert_array_equal(temperature().fit(loader).predict_proba(loader), of_arrays(temperature))
    for name in ("num_workers", "pin_memory"):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            temperature(**{name: 1})


def test_neither_a_loaders_generator_nor_torchs_is_drawn_from():
    generator = torch.Generator().manual_seed(1)
    loader = DataLoader(PAIRS, batch_size=64, shuffle=True, generator=generator)
    before = generator.get_state(), torch.get_rng_state()
    adam().fit(loader).score(loader)
    assert torch.equal(generator.get_state(), before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


def fail():
    raise OSError("image 10 can't be read")


def die():
    # Only ever in a worker: the tests' own process goes on.
    if get_worker_info() is not None:
        os._exit(3)


class Failing(Dataset):
    """Reading the eleventh does what it is told."""

    def __init__(self, at_10):
        self.at_10 = at_10

    def __len__(self):
        return N_SAMPLES

    def __getitem__(self, index):
        if index == 10:
            self.at_10()
        return X[index], int(Y[index])


@pytest.mark.parametrize(
    ("make", "at_10", "n_workers", "error", "message"),
    [
        (temperature, fail, 0, OSError, "image 10 can't be read"),
        (adam, fail, 1, OSError, "image 10 can't be read"),
        (temperature, die, 1, RuntimeError, "DataLoader worker .* exited unexpectedly"),
    ],
)
def test_a_worker_that_fails_or_dies_ends_the_fit_with_its_error(make, at_10, n_workers, error, message, monkeypatch):
    # So long torch waits for a worker to end, five seconds otherwise.
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.1)
    network = put_into_odd_state(convolutional())
    calibrator = make(network).fit(PAIRS)
    before, predicted = snapshot(network), calibrator.predict_proba(X[:3])
    bad = DataLoader(Failing(at_10), batch_size=64, num_workers=n_workers)
    for call in (calibrator.fit, calibrator.predict):
        with pytest.raises(error, match=message):
            call(bad)
    assert snapshot(network) == before
    # The earlier fit is there.
    np.testing.assert_array_equal(calibrator.predict_proba(X[:3]), predicted)
