"""Arrays and modules at the entry point."""

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of, logits, perceptron, softmax, vectors
from scipy.special import log_softmax
from torch import nn
from torch.utils.data import Dataset

from skclamp import TemperatureScaling

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


# Modules


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_inputs_of_any_float_dtype_reach_the_network_in_its_own(dtype):
    network = perceptron()
    expected = log_softmax(bare_logits(network, X.astype(dtype).astype(np.float32)), axis=1)
    np.testing.assert_allclose(log_proba_at_1(network, X.astype(dtype)), expected, atol=1e-6)


def test_a_half_precision_network_yields_calibrated_float64():
    network = perceptron().bfloat16()
    y = labels_of(bare_logits(perceptron(), X))
    calibrator = TemperatureScaling(network).fit(X, y)
    proba = calibrator.predict_proba(X)
    assert proba.dtype == np.float64
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-12)
    assert calibrator.temperature_ == pytest.approx(2, rel=0.3)


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


def test_module_that_yields_probabilities():
    network = perceptron(0, 6, 4, nn.Softmax(1))
    y = labels_of(bare_logits(perceptron(), X))
    found = TemperatureScaling(network, response="probabilities").fit(X, y)
    expected = TemperatureScaling(perceptron()).fit(X, y)
    assert found.temperature_ == pytest.approx(expected.temperature_, rel=1e-4)
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(X), atol=1e-5)


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
