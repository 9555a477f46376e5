"""A network and a plain calibrator of it, fitted once; not to be changed."""

import pytest
from _plain_clamping import X, Y, clamping
from _small_networks import convolutional


@pytest.fixture(scope="module")
def network():
    return convolutional()


@pytest.fixture(scope="module")
def fitted(network):
    return clamping(network).fit(X, Y)
