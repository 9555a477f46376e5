"""Natural steps from the gradients of the samples themselves: those of the second moments, for a diagonal prior."""

import numpy as np
import pytest
import torch
from _problems import flat, moments_of, moved, pose
from _small_networks import bare_logits, labels_of, perceptron, vectors

from skclamp.clamping._gradient_moments import prior_diagonal_of, prior_precision_of
from skclamp.clamping._posterior import natural_step
from skclamp.clamping._wide_gradients import MAX_ENTRIES, most_samples, wide_gradients
from skclamp.clamping._wide_step import wide_step
from skclamp.perturbations._families import PERTURBATIONS

N_FEATURES = 30


def drifted(n_samples):
    """A problem of a table whose sensors have drifted, with uneven weights, of which some are 0."""
    network, x = perceptron(0, N_FEATURES), vectors(n_samples, N_FEATURES)
    rng = np.random.default_rng(0)
    weight = rng.uniform(0, 3, n_samples)
    weight[::5] = 0
    offset = rng.normal(size=N_FEATURES).astype(np.float32)
    return pose(network, x + 2 * offset, labels_of(bare_logits(network, x), 0.2), weight, batch_size=16)


@pytest.mark.parametrize("gamma", [0.0, 1.5])
@pytest.mark.parametrize("n_samples", [20, 40, 90, 400])
@pytest.mark.parametrize("scale", [0.0, 0.3])
def test_the_step_is_that_of_the_second_moments(n_samples, gamma, scale):
    """With fewer samples than parameters and with more, at the identity and away from it."""
    problem = drifted(n_samples)
    perturbation = PERTURBATIONS["affine"]((N_FEATURES,))
    identity = torch.as_tensor(flat(perturbation))
    prior = prior_diagonal_of(perturbation, problem.example(512), torch.Generator().manual_seed(0))
    displacement = torch.as_tensor(flat(moved(perturbation, scale))) - identity
    (moments,) = moments_of(problem, perturbation, 1.3, gamma)
    ((gradients,),) = wide_gradients(problem, perturbation, 1.3, [gamma]).moments
    expected = natural_step(moments, displacement, [prior.diag()])
    found = wide_step(gradients, displacement, prior)
    size = expected.direction.abs().max().item()
    np.testing.assert_allclose(found.direction, expected.direction, rtol=1e-6, atol=1e-6 * size)
    np.testing.assert_allclose(found.precision.diag(), expected.precision, rtol=1e-6)
    for name in ("gain", "evidence", "n_effective_parameters", "n_effective"):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-6, abs=1e-6), name
    assert found.prior(displacement) == pytest.approx(expected.prior(displacement), rel=1e-6)
    assert gradients.loss == pytest.approx(moments.loss, rel=1e-6)
    assert found.n_effective_parameters > 1
