"""The focal loss: its values, its gradients at the extremes, its checks."""

import math
import pickle

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from skclamp.losses import FocalLoss, focal_loss

GAMMAS = [0.0, 0.3, 0.5, 1.0, 2.0, 5.0]


def _logits(n=50, k=7, scale=3.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(n, k, generator=generator, dtype=torch.float64)
    return logits.to(dtype), torch.randint(k, (n,), generator=generator)


def _by_definition(logits, target, gamma):
    own = logits.softmax(1).gather(1, target[:, None])[:, 0]
    return -((1 - own) ** gamma) * own.log()


@pytest.mark.parametrize("gamma", GAMMAS)
def test_equals_its_definition(gamma):
    logits, target = _logits()
    loss = focal_loss(logits, target, gamma=gamma, reduction="none")
    torch.testing.assert_close(loss, _by_definition(logits, target, gamma), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_is_exactly_the_cross_entropy_at_gamma_zero(dtype, reduction):
    logits, target = _logits(dtype=dtype)
    ours = focal_loss(logits, target, gamma=0, reduction=reduction)
    # A sum or mean of the samples' losses may be taken in another order than torch's.
    torch.testing.assert_close(ours, F.cross_entropy(logits, target, reduction=reduction), rtol=1e-6, atol=0)
    assert focal_loss(logits, target, reduction="none").equal(F.cross_entropy(logits, target, reduction="none"))


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("eps", [0.0, 1e-7])
def test_gradient_is_the_numerical_one(gamma, eps):
    logits, target = _logits(n=6, k=4)
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: focal_loss(z, target, gamma=gamma, eps=eps), logits)


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("scale", [30.0, 1e3, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_value_and_gradient_are_finite_where_probabilities_are_0_or_1(gamma, scale, dtype):
    logits = torch.tensor([[scale, 0, -scale], [-scale, 0, scale], [0, 0, 0]], dtype=dtype, requires_grad=True)
    loss = focal_loss(logits, torch.tensor([0, 0, 0]), gamma=gamma, reduction="none")
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert loss.isfinite().all() and gradient.isfinite().all()
    torch.testing.assert_close(loss[1].item(), 2 * scale, rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient[1], torch.tensor([-1, 0, 1], dtype=dtype), rtol=0, atol=1e-6)


def test_stays_accurate_where_the_probability_rounds_to_one():
    # 1 - p_y is about exp(-40): float64 rounds p_y to 1, and the naive loss to 0.
    logits = torch.tensor([[40.0, 0.0]], dtype=torch.float64)
    loss = focal_loss(logits, torch.tensor([0]), gamma=0.5)
    assert loss.item() == pytest.approx(math.exp(-40) ** 1.5, rel=1e-9)


def test_module_is_the_function():
    logits, target = _logits()
    weight = torch.linspace(0, 1, len(target), dtype=torch.float64)
    for reduction in ("mean", "sum", "none"):
        criterion = pickle.loads(pickle.dumps(FocalLoss(gamma=2.0, reduction=reduction, eps=0.01)))
        expected = focal_loss(logits, target, gamma=2.0, eps=0.01, sample_weight=weight, reduction=reduction)
        assert criterion(logits, target, sample_weight=weight).equal(expected)


def test_clips_probabilities():
    logits = torch.tensor([[0.0, 5.0], [5.0, 0.0], [0.2, 0.0]], dtype=torch.float64, requires_grad=True)
    loss = focal_loss(logits, torch.zeros(3, dtype=torch.int64), gamma=2, eps=0.1, reduction="none")
    expected = [-(0.9**2) * math.log(0.1), -(0.1**2) * math.log(0.9)]
    np.testing.assert_allclose(loss[:2].detach(), expected, rtol=1e-12)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert not gradient[:2].any() and gradient[2].all()


@pytest.mark.parametrize("gamma", ["0", "0.5", "1", "2", "5"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agrees_with_the_reference(reference, gamma, dtype):
    """The reference clips p_y at 1e-7: without that its values are lower by 1.1e-3 on these logits."""
    logits = torch.from_numpy(reference["cifar10_resnet20/logits"]).to(dtype)
    target = torch.from_numpy(reference["cifar10_resnet20/labels"])
    expected = float(reference[f"focal/gamma{gamma}"])
    assert focal_loss(logits, target, gamma=float(gamma), eps=1e-7).item() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        *(({"gamma": bad}, f"gamma must be a finite number >= 0, got {bad}") for bad in (-1.0, math.nan, math.inf)),
        *(({"eps": bad}, rf"eps must be in \[0, 0.5\), got {bad}") for bad in (-0.1, 0.5, math.nan)),
        ({"reduction": "average"}, r"reduction must be one of \('mean', 'sum', 'none'\), got 'average'"),
        ({"logits": torch.zeros(5)}, r"logits must have shape \(n_samples, n_classes >= 2\), got \(5,\)"),
        ({"logits": torch.zeros(5, 1)}, r"logits must have shape .*, got \(5, 1\)"),
        ({"logits": torch.zeros(5, 3, 2)}, r"target must have shape \(5, 2\), one value per place, got \(5,\)"),
        ({"target": torch.zeros(4).long()}, r"target must have shape \(5,\), one value per sample, got \(4,\)"),
        ({"sample_weight": torch.ones(6)}, r"sample_weight must have shape \(5,\), one value per sample, got \(6,\)"),
    ],
)
def test_refuses_bad_input(given, match):
    logits, target = _logits(n=5)
    with pytest.raises(ValueError, match=match):
        focal_loss(**{"logits": logits, "target": target, **given})
    if "gamma" in given:
        with pytest.raises(ValueError, match=match):
            FocalLoss(**given)
