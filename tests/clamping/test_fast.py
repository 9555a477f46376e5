import numpy as np
import torch
from _small_networks import bare_logits, convolutional, images, labels_of

from skclamp import NeuralClampingCalibrator

# The last temperature


def test_the_last_temperature_and_predictions_are_of_the_networks_own_logits():
    """T meets its first-order condition, labels smoothed, on the network's own logits."""
    network, x = convolutional(), images(300)
    y = labels_of(bare_logits(network, x))
    settings = {"perturbation": "affine", "validation_fraction": None, "random_state": 0}
    calibrator = NeuralClampingCalibrator(network, **settings).fit(0.7 * x + 0.2, y)
    with torch.no_grad():
        z = network(calibrator.perturbation_(torch.as_tensor(0.7 * x + 0.2))).double().numpy()
    p = np.exp(z / calibrator.temperature_ - np.logaddexp.reduce(z / calibrator.temperature_, 1)[:, None])
    np.testing.assert_allclose(calibrator.predict_proba(0.7 * x + 0.2), p, atol=1e-6)
    q = np.full_like(p, 1 / (len(z) + 2) / (z.shape[1] - 1))
    q[np.arange(len(z)), y] = 1 - 1 / (len(z) + 2)
    assert abs(((p - q) * z).sum(1).mean()) < 1e-5 * np.abs(z).mean()


# The user's network


def test_the_memory_format_of_the_weights_stays():
    for memory_format in (torch.contiguous_format, torch.channels_last):
        network = convolutional().to(memory_format=memory_format)
        strides = [parameter.stride() for parameter in network.parameters()]
        x = images(200)
        NeuralClampingCalibrator(network, random_state=0).fit(0.5 * x, labels_of(bare_logits(network, x)))
        assert [parameter.stride() for parameter in network.parameters()] == strides
