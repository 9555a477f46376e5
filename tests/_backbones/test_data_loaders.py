"""What a DataLoader says is done: its batch size, its workers and how it puts batches together."""

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler, TensorDataset

from skclamp import NeuralClampingCalibrator, TemperatureScaling

N_SAMPLES = 120
NETWORK = convolutional()
X = torch.from_numpy(images(N_SAMPLES))
Y = torch.from_numpy(labels_of(bare_logits(NETWORK, X)))
PAIRS = TensorDataset(X, Y)


def natural(network, **options):
    return NeuralClampingCalibrator(network, perturbation="affine", validation_fraction=None, random_state=0, **options)


def adam(network, **options):
    return natural(network, optimizer="adam", max_epochs=2, **options)


MAKE = [TemperatureScaling, natural, adam]


class Watching(nn.Module):
    """Notes the sizes of the batches that it sees."""

    def __init__(self):
        super().__init__()
        self.network = NETWORK
        self.sizes = set()

    def forward(self, x):
        self.sizes.add(len(x))
        return self.network(x)


@pytest.mark.parametrize(
    "loader",
    [
        DataLoader(PAIRS, batch_size=24),
        DataLoader(PAIRS, batch_sampler=BatchSampler(SequentialSampler(PAIRS), 24, False)),
    ],
    ids=["batch_size", "batch_sampler"],
)
def test_its_batch_size_wins(loader):
    watching = Watching()
    calibrator = TemperatureScaling(watching, batch_size=60).fit(loader)
    # Four inputs of the first batch are given once more, which tells a network that is random.
    assert watching.sizes == {24, 4}
    watching.sizes.clear()
    calibrator.predict_proba(loader)
    calibrator.score(loader)
    assert watching.sizes == {24}
    calibrator.predict_proba(X)
    assert watching.sizes == {24, 60}


def test_its_batch_size_is_that_of_training_steps():
    own, given = adam(NETWORK, batch_size=24).fit(PAIRS), adam(NETWORK).fit(DataLoader(PAIRS, batch_size=24))
    assert [len(epoch["batches"]) for epoch in given.history_] == [5, 5]
    np.testing.assert_array_equal(given.predict_proba(X), own.predict_proba(X))


def doubled(items):
    """As many networks are fed: what the items hold, and more."""
    inputs, labels = zip(*items, strict=True)
    return 2 * torch.stack(inputs), torch.tensor(labels)


@pytest.mark.parametrize("n_workers", [0, 1])
@pytest.mark.parametrize("make", MAKE)
def test_its_collate_fn_makes_the_batches(make, n_workers):
    loader = DataLoader(PAIRS, batch_size=64, collate_fn=doubled, num_workers=n_workers)
    calibrator, expected = make(NETWORK).fit(loader), make(NETWORK).fit(2 * X, Y)
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
    calibrator, expected = TemperatureScaling(network).fit(loader), TemperatureScaling(network).fit(whole)
    np.testing.assert_allclose(calibrator.predict_proba(loader), expected.predict_proba(whole), rtol=0, atol=1e-5)
    # A perturbation is for inputs of one shape.
    with pytest.raises(ValueError, match="'x' of X must hold inputs of one size; got .*pad them"):
        natural(network, input_key="x").fit(loader)


def leaving_out(items):
    return doubled(items[:-1])


@pytest.mark.parametrize(
    ("collate_fn", "error", "message"),
    [
        (leaving_out, ValueError, "collate_fn keeps each sample, along the first axis; of 64 it made 63"),
        (lambda items: (doubled(items)[0], [0]), ValueError, "keeps each sample.* of 64 it made 1 and 64"),
        (lambda items: doubled(items)[0].sum(), ValueError, "keeps each sample.* of 64 it made"),
        (lambda items: items, TypeError, "collate_fn returns what the network takes.* got list of tuple, tuple, tuple"),
        (str, TypeError, "collate_fn returns what the network takes, a tensor or a dict of tensors.* got str"),
    ],
)
def test_a_collate_fn_that_breaks_a_rule(collate_fn, error, message):
    with pytest.raises(error, match=message):
        TemperatureScaling(NETWORK).fit(DataLoader(PAIRS, batch_size=64, collate_fn=collate_fn))


class OfWorker(Dataset):
    """Inputs that are there only in a worker that was told so."""

    told = None

    def __len__(self):
        return N_SAMPLES

    def __getitem__(self, index):
        return X[index] + (0.0 if self.told == 0 else torch.nan), int(Y[index])


def tell(number):
    torch.utils.data.get_worker_info().dataset.told = number


def test_its_workers_are_started_as_it_says():
    options = {"worker_init_fn": tell, "prefetch_factor": 3, "timeout": 60, "multiprocessing_context": "fork"}
    loader = DataLoader(OfWorker(), batch_size=64, num_workers=1, **options)
    calibrator = TemperatureScaling(NETWORK).fit(loader)
    np.testing.assert_array_equal(
        calibrator.predict_proba(loader), TemperatureScaling(NETWORK).fit(X, Y).predict_proba(X)
    )


def test_neither_its_generator_nor_torchs_is_drawn_from():
    generator = torch.Generator().manual_seed(1)
    loader = DataLoader(PAIRS, batch_size=64, shuffle=True, generator=generator)
    before = generator.get_state(), torch.get_rng_state()
    adam(NETWORK).fit(loader).score(loader)
    assert torch.equal(generator.get_state(), before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize("name", ["num_workers", "pin_memory"])
@pytest.mark.parametrize("make", MAKE)
def test_workers_are_no_parameters(make, name):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
        make(NETWORK, **{name: 1})
