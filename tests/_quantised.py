"""Networks that torchao has quantised."""

import copy

import pytest
import torch
from sklearn.utils.fixes import parse_version


def torchao(name):
    """A module of torchao's, or a test that is skipped."""
    if parse_version(torch.__version__) < parse_version("2.7"):
        pytest.skip(f"torchao 0.18 can't be imported with torch {torch.__version__}")
    return pytest.importorskip(f"torchao.{name}", reason="needs torchao: pip install torchao")


def quantised(network, config="Int8DynamicActivationInt8WeightConfig"):
    """A copy with int8 in its linear layers, by default in what they take as well, which stops gradients."""
    quantization = torchao("quantization")
    network = copy.deepcopy(network)
    quantization.quantize_(network, getattr(quantization, config)())
    return network
