"""Arrays and modules at the entry point."""

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of, logits, perceptron, softmax, vectors
from scipy.special import log_softmax
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from skclamp import NeuralClampingCalibrator, TemperatureScaling

X = vectors()


def log_proba_at_1(network, X, **options):
    """What a calibrator says of a network at T = 1."""
    calibrator = TemperatureScaling(network, **options).fit(X, np.resize(np.arange(4), len(X)))
    calibrator.temperature_ = 1.0
    return calibrator.predict_log_proba(X)


# Arrays


def test_arrays_that_require_grad_are_read_without_it():
    Z = torch.tensor(logits(), requires_grad=True)
    TemperatureScaling().fit(Z, labels_of(logits())).predict_proba(Z)
    assert Z.grad is None


@pytest.mark.parametrize(
    ("P", "message"),
    [
        ([[0.5, 0.6], [0.5, 0.5]], "X must hold probabilities: each row must sum to 1; row 0 sums to 1.1"),
        ([[-0.5, 1.5], [0.5, 0.5]], "X must hold probabilities between 0 and 1; got values from -0.5 to 1.5"),
        ([1.5, 0.5], "X must hold probabilities between 0 and 1; got values from 0.5 to 1.5"),
        ([[1.5], [0.5]], "X must hold probabilities between 0 and 1; got values from 0.5 to 1.5"),
    ],
)
def test_rows_that_are_no_distributions(P, message):
    with pytest.raises(ValueError, match=message):
        TemperatureScaling(response="probabilities").fit(np.array(P), [0, 1])


@pytest.mark.parametrize("estimator", [None, nn.Identity()])
def test_rounding_errors_of_one_minus_p_are_probabilities(estimator):
    second = np.linspace(0, 1, 41) - 1e-7
    P = np.stack([1 - second, second], 1)
    calibrator = TemperatureScaling(estimator, response="probabilities").fit(P, second > 0.45)
    proba = calibrator.predict_proba(P)
    assert ((proba >= 0) & (proba <= 1)).all() and (proba[:, 1] > 0.5).tolist() == (second > 0.5).tolist()


# Modules


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_inputs_of_any_float_dtype_reach_the_network_in_its_own(dtype):
    network = perceptron()
    expected = log_softmax(bare_logits(network, X.astype(dtype).astype(np.float32)), axis=1)
    np.testing.assert_allclose(log_proba_at_1(network, X.astype(dtype)), expected, atol=1e-6)


def test_a_float64_network_sees_float64():
    network = perceptron().double()
    expected = log_softmax(bare_logits(network, X.astype(np.float64)), axis=1)
    np.testing.assert_allclose(log_proba_at_1(network, X), expected, rtol=1e-11)


def test_a_half_precision_network_yields_calibrated_float64():
    network = perceptron().bfloat16()
    y = labels_of(bare_logits(perceptron(), X))
    calibrator = TemperatureScaling(network).fit(X, y)
    proba = calibrator.predict_proba(X)
    assert proba.dtype == np.float64
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-12)
    assert calibrator.temperature_ == pytest.approx(2, rel=0.3)


def test_a_network_without_weights_takes_inputs_as_they_are():
    found = log_proba_at_1(nn.Softmax(1), logits(), response="probabilities")
    np.testing.assert_allclose(np.exp(found), softmax(logits()), rtol=0, atol=1e-14)


class Embedding(nn.Module):
    """Mean of the tokens' embeddings, as logits."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(20, 4)

    def forward(self, tokens):
        return self.table(tokens).mean(1) * 8


def test_integer_tokens_reach_an_embedding():
    tokens = np.random.default_rng(0).integers(0, 20, size=(200, 7)).astype(np.int32)
    network = Embedding()
    scores = bare_logits(network, tokens)
    calibrator = TemperatureScaling(network).fit(tokens, labels_of(scores))
    np.testing.assert_allclose(calibrator.predict_proba(tokens), softmax(scores / calibrator.temperature_), atol=1e-6)


@pytest.mark.parametrize("shape", [(6,), (3, 2), (3, 2, 2)])
def test_inputs_of_any_rank(shape):
    size = int(np.prod(shape))
    network = nn.Sequential(nn.Flatten(), perceptron(n_features=size))
    inputs = np.random.default_rng(0).normal(size=(50, *shape))
    expected = log_softmax(bare_logits(network, inputs.astype(np.float32)), axis=1)
    np.testing.assert_allclose(log_proba_at_1(network, inputs), expected, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 96, 1000])
def test_batches_do_not_change_logits(batch_size):
    network = convolutional()
    expected = log_softmax(bare_logits(network, images()), axis=1)
    np.testing.assert_allclose(log_proba_at_1(network, images(), batch_size=batch_size), expected, atol=2e-5)


class Inputs(Dataset):
    """Inputs alone."""

    def __init__(self, values):
        self.values = torch.as_tensor(values)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return self.values[index]


class Named(Dataset):
    """Inputs with their class's name."""

    def __init__(self, values, names):
        self.values, self.names = torch.as_tensor(values), names

    def __len__(self):
        return len(self.values)

    def __getitem__(self, index):
        return self.values[index], str(self.names[index])


def test_datasets_may_name_their_classes():
    network = perceptron()
    y = labels_of(bare_logits(network, X))
    calibrator = TemperatureScaling(network).fit(Named(X, np.array(list("abcd"))[y]))
    assert calibrator.classes_.tolist() == ["a", "b", "c", "d"]
    assert calibrator.temperature_ == TemperatureScaling(network).fit(X, y).temperature_


def test_module_that_yields_probabilities():
    network = perceptron(0, 6, 4, nn.Softmax(1))
    y = labels_of(bare_logits(perceptron(), X))
    found = TemperatureScaling(network, response="probabilities").fit(X, y)
    expected = TemperatureScaling(perceptron()).fit(X, y)
    assert found.temperature_ == pytest.approx(expected.temperature_, rel=1e-4)
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("last", [(), (nn.Sigmoid(),)], ids=["logits", "several sigmoids"])
def test_module_declared_to_yield_probabilities_that_yields_none(last):
    network = perceptron(0, 6, 4, *last)
    with pytest.raises(ValueError, match="the network's output for samples 0, 1, ... must hold probabilities"):
        TemperatureScaling(network, response="probabilities").fit(X, np.zeros(len(X), int))


class Signs(nn.Module):
    """+1 and -1, whose least probability sums to 1."""

    def forward(self, x):
        return torch.stack([x[:, 0].sign(), -x[:, 0].sign()], 1)


@pytest.mark.parametrize("kind", [TemperatureScaling, NeuralClampingCalibrator])
@pytest.mark.parametrize(("network", "found"), [(Signs(), "-1 to 1"), (perceptron(), "-[0-9.]+ to [0-9.]+")])
def test_outputs_that_are_no_probabilities_are_told_as_they_are(kind, network, found):
    rule = "with response='probabilities', the network's output for samples 0, 1, ... must hold probabilities between 0"
    with pytest.raises(ValueError, match=f"^{rule} and 1; got values from {found}$"):
        kind(network, response="probabilities").fit(X, np.arange(len(X)) % 2)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("response", ["logits", "probabilities"])
def test_sigmoid_heads(flat, response):
    last = ([nn.Sigmoid()] if response == "probabilities" else []) + ([nn.Flatten(0)] if flat else [])
    network = perceptron(0, 6, 1, *last)
    score = bare_logits(perceptron(0, 6, 1), X).ravel()
    y = labels_of(np.column_stack([0 * score, score]))
    calibrator = TemperatureScaling(network, response=response).fit(X, y)
    p = 1 / (1 + np.exp(-score / calibrator.temperature_))
    np.testing.assert_allclose(calibrator.predict_proba(X), np.column_stack([1 - p, p]), atol=1e-5)


def test_networks_that_yield_nan():
    network = perceptron()
    with torch.no_grad():
        network[2].weight[1] = torch.nan
    with pytest.raises(ValueError, match="the network's output must be finite: .* got nan in row 0, column 1"):
        TemperatureScaling(network).fit(X, np.zeros(len(X), int))


# Accelerators


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("X_kind", ["array", "dataset"])
def test_cuda_runs_a_copy_and_leaves_the_network_where_it_is(X_kind):
    network = convolutional()
    y = labels_of(bare_logits(network, images()))
    pairs = TensorDataset(torch.as_tensor(images()), torch.as_tensor(y))
    inputs = images() if X_kind == "array" else DataLoader(pairs, batch_size=64, pin_memory=True)
    found = TemperatureScaling(network, device="cuda").fit(inputs, y)
    expected = TemperatureScaling(network).fit(images(), y)
    assert next(network.parameters()).device.type == "cpu"
    assert found.temperature_ == pytest.approx(expected.temperature_, rel=1e-3)
    np.testing.assert_allclose(found.predict_proba(inputs), expected.predict_proba(images()), atol=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_logits_are_treated_where_they_are():
    Z = torch.as_tensor(logits(), device="cuda")
    y = labels_of(logits())
    found = TemperatureScaling().fit(Z, torch.as_tensor(y, device="cuda"))
    assert found.temperature_ == pytest.approx(TemperatureScaling().fit(logits(), y).temperature_, rel=1e-9)
    np.testing.assert_allclose(found.predict_proba(Z), TemperatureScaling().fit(logits(), y).predict_proba(logits()))


def test_probabilities_in_bfloat16_are_as_exact_as_they_can_be():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(8, 10), nn.Softmax(1)).to(torch.bfloat16)
    X = torch.randn(400, 8)
    with torch.no_grad():
        y = torch.multinomial(network(X.to(torch.bfloat16)).float(), 1)[:, 0]
    calibrator = TemperatureScaling(network, response="probabilities").fit(X, y)
    np.testing.assert_allclose(calibrator.predict_proba(X).sum(1), 1)
