import math
import weakref

import numpy as np
import pytest
import torch
from _small_networks import smoothed_temperature
from scipy.optimize import brentq
from scipy.special import softmax
from torch.utils._python_dispatch import TorchDispatchMode

from skclamp._solvers.temperature import DEFAULT_BOUNDS, log_likelihoods, solve_temperature
from skclamp._solvers.temperature_sums import _KEPT_SIZE
from skclamp.losses import focal_loss

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def draw(n_samples, n_classes, *, temperature=1.5, scale=1.0, seed=0):
    """Logits within +-scale, and labels drawn from softmax(logits / temperature)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n_samples, n_classes))
    logits *= scale / np.abs(logits).max()
    y = (logits / temperature + rng.gumbel(size=logits.shape)).argmax(1)
    return torch.from_numpy(logits), torch.from_numpy(y)


def first_order_gap(logits, y, temperature):
    """The first-order condition: mean label logit minus mean expected logit, over the mean absolute logit."""
    z = logits.double().numpy()
    p = softmax(z / temperature, axis=1)
    own = z[np.arange(len(y)), y.numpy()][:, None]
    return (p * (z - own)).sum(1).mean() / np.abs(z).mean()


def reference_temperature(logits, y):
    """The root of the first-order condition, by scipy alone."""
    low, high = np.log(DEFAULT_BOUNDS)
    return math.exp(
        brentq(lambda place: first_order_gap(logits, y, math.exp(place)), low, high, xtol=1e-14, rtol=1e-14)
    )


class PeakMemory(TorchDispatchMode):
    """Largest number of bytes that tensors made inside the block held at one time."""

    def __init__(self):
        super().__init__()
        self.now, self.peak, self.seen = 0, 0, set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        known = {tensor.untyped_storage()._cdata for tensor in args if isinstance(tensor, torch.Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (list, tuple)) else [out]:
            if isinstance(tensor, torch.Tensor):
                self._count(tensor.untyped_storage(), known)
        return out

    def _count(self, storage, known):
        key = storage._cdata
        if key in known or key in self.seen:
            return
        self.seen.add(key)
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, storage.nbytes())

    def _forget(self, key, size):
        self.seen.discard(key)
        self.now -= size


@pytest.mark.parametrize("n_classes", [2, 10, 1000])
@pytest.mark.parametrize(
    ("temperature", "steepness"), [(0.02, 2.0), (1.0, 20.0), (1.0, 200.0), (5.0, 2.0), (100.0, 200.0)]
)
def test_first_order_condition(n_classes, temperature, steepness):
    logits, y = draw(400, n_classes, temperature=temperature, scale=steepness * temperature)
    found = solve_temperature(logits, y)
    assert found.converged
    if not found.at_bound:
        assert abs(first_order_gap(logits, y, found.temperature)) < 1e-11
        assert found.temperature == pytest.approx(reference_temperature(logits, y), rel=1e-8)


@pytest.mark.parametrize(("n_samples", "n_classes"), [(40, 10), (5000, 30), (4000, 200)])
@pytest.mark.parametrize("dtype", FLOATS)
def test_narrow_dtypes_agree_with_float64_on_the_same_data(dtype, n_samples, n_classes):
    logits = draw(n_samples, n_classes, scale=12.0)[0].to(dtype)
    y = draw(n_samples, n_classes, scale=12.0)[1]
    exact = solve_temperature(logits.double(), y)
    found = solve_temperature(logits, y)
    assert found.temperature == pytest.approx(exact.temperature, rel=2e-8)
    assert found.loss == pytest.approx(exact.loss, rel=1e-7)
    assert abs(first_order_gap(logits, y, found.temperature)) < 1e-8


@pytest.mark.parametrize("unit", [1e-2, 10.0])
def test_smoothing_has_no_scale(unit):
    logits, y = draw(400, 6, temperature=2.0, scale=30.0)
    expected = solve_temperature(logits, y, smooth=True).temperature
    assert solve_temperature(unit * logits, y, smooth=True).temperature == pytest.approx(unit * expected, rel=1e-6)


@pytest.mark.parametrize("masked", [-math.inf, -1e3, -1e4, -1e9])
@pytest.mark.parametrize("smoothed", [{"smooth": True}, {"prior": True}])
def test_masked_classes_smooth_nothing(masked, smoothed):
    """Of few errors, so that there is a prior; some classes are masked in all rows, and one in every other row."""
    logits, y = draw(400, 3, temperature=0.05, scale=10.0)
    assert 0 < (logits.argmax(1) != y).sum() < 10
    expected = solve_temperature(logits, y, **smoothed).temperature
    rows = torch.nn.functional.pad(logits, (0, 2), value=masked)
    assert solve_temperature(rows, y, **smoothed).temperature == pytest.approx(expected, rel=1e-9)
    some = torch.cat([logits, torch.where(torch.arange(400) % 2 == 0, masked, logits.min(1).values - 1)[:, None]], 1)
    least = torch.where(some < -100, -math.inf, some)
    expected = solve_temperature(least, y, **smoothed).temperature
    assert solve_temperature(some, y, **smoothed).temperature == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize(
    ("n_samples", "scale", "dtype"),
    [
        (200, 0.1, FLOATS[0]),
        (200, 10.0, FLOATS[0]),
        (200, 1e4, FLOATS[0]),
        (20_000, 10.0, FLOATS[0]),
        (20_000, 10.0, FLOATS[1]),
    ],
)
def test_separable_data_and_labels_worse_than_chance_end_at_the_bounds(n_samples, scale, dtype, gamma):
    logits = draw(n_samples, 5, scale=scale)[0].to(dtype)
    for y, bound in ((logits.argmax(1), 0.05), (logits.argmin(1), 20.0)):
        found = solve_temperature(logits, y, gamma=gamma, bounds=(0.05, 20.0))
        assert (found.at_bound, found.temperature) == (True, bound)
        expected = focal_loss(logits.double() / bound, y, gamma=gamma).item()
        assert found.loss == pytest.approx(expected, rel=1e-9 if dtype == torch.float64 else 1e-6, abs=1e-15)


@pytest.mark.parametrize("bounds", [(2.0, 5.0), (0.2, 0.9)])
def test_optimum_outside_the_bounds(bounds):
    logits, y = draw(5000, 5, temperature=1.4, scale=8.0)
    found = solve_temperature(logits, y, bounds=bounds)
    assert found.at_bound
    assert found.temperature == min(bounds, key=lambda bound: abs(bound - 1.4))
    assert found.loss == pytest.approx(-log_likelihoods(logits, y, found.temperature).mean().item(), rel=1e-12)


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_constant_logits_leave_the_temperature_at_one(gamma):
    found = solve_temperature(torch.full((20, 3), 4.0), torch.arange(20) % 3, gamma=gamma)
    assert (found.temperature, found.converged, found.at_bound) == (1.0, True, False)
    assert found.loss == pytest.approx((2 / 3) ** gamma * math.log(3))


@pytest.mark.parametrize("temperature", [0.05, 1.0, 1.5, 30.0])
def test_two_passes_do(temperature):
    """The sample finds the way; all the rows are read once to arrive and once to make sure."""
    logits, y = draw(20000, 10, temperature=temperature, scale=8.0 * temperature)
    assert solve_temperature(logits, y).n_passes <= 2
    assert solve_temperature(logits.float(), y).n_passes <= 2


@pytest.mark.parametrize("seed", range(20))
def test_hard_landscapes_take_few_passes(seed):
    """Few rows of huge spread: the slope is flat nearly everywhere."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.standard_cauchy(size=(7, 10)) * 10 ** rng.uniform(-2, 4))
    y = torch.from_numpy(rng.integers(0, 10, size=7))
    found = solve_temperature(logits, y)
    assert found.converged
    assert found.n_passes <= 20
    assert found.at_bound or abs(first_order_gap(logits, y, found.temperature)) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("gamma", [0.0, 1.0])
@pytest.mark.parametrize(("n_samples", "n_classes"), [(1_500_000, 2), (9_000, 600)])
def test_memory_beyond_the_logits(n_samples, n_classes, gamma):
    """Less than 64 MB; with these 12 and 22 MB of logits it would show that a pass copies them."""
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(n_samples, n_classes, generator=generator)
    y = torch.randint(n_classes, (n_samples,), generator=generator)
    with PeakMemory() as memory:
        solve_temperature(logits, y, gamma=gamma)
    assert memory.peak < 64e6
    if logits.numel() > _KEPT_SIZE:
        assert memory.peak < logits.nbytes
    with PeakMemory() as memory:
        log_likelihoods(logits, y, 1.3)
    assert memory.peak < 8 * n_samples + 16e6


@pytest.mark.parametrize("dtype", FLOATS)
def test_log_likelihoods(dtype):
    """Of few rows, and of more than a chunk."""
    for n_samples in (200, 40_000):
        logits, y = draw(n_samples, 7, scale=300.0)
        logits = logits.to(dtype)
        expected = (logits.double() / 0.6).log_softmax(1)[torch.arange(n_samples), y]
        found = log_likelihoods(logits, y, 0.6)
        assert found.dtype == torch.float64
        assert found.max() <= 0
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def focal_on_grid(logits, y, gamma, n_points=600):
    places = np.linspace(*np.log(DEFAULT_BOUNDS), n_points)
    return min(focal_loss(logits / math.exp(place), y, gamma=gamma).item() for place in places)


@pytest.mark.parametrize("gamma", [0.3, 1.0, 3.0])
@pytest.mark.parametrize(("n_samples", "scale"), [(20, 0.5), (300, 10.0), (5000, 10.0), (300, 2e3)])
def test_focal_loss_is_least(gamma, n_samples, scale):
    logits, y = draw(n_samples, 5, scale=scale)
    y[: n_samples // 5] = 0
    found = solve_temperature(logits, y, gamma=gamma)
    here = focal_loss(logits / found.temperature, y, gamma=gamma).item()
    assert found.loss == pytest.approx(here, rel=1e-10)
    assert here <= focal_on_grid(logits, y, gamma) + 1e-12
    for factor in (0.999, 1.001):
        assert here <= focal_loss(logits / (factor * found.temperature), y, gamma=gamma).item()


@pytest.mark.parametrize("gamma", [0.0, 1.0])
def test_integer_weights_equal_repetition(gamma):
    logits, y = draw(3000, 6, scale=8.0)
    weight = torch.from_numpy(np.random.default_rng(1).integers(0, 4, size=3000))
    repeated = solve_temperature(logits.repeat_interleave(weight, 0), y.repeat_interleave(weight), gamma=gamma)
    weighted = solve_temperature(logits, y, sample_weight=weight.double(), gamma=gamma)
    assert weighted.temperature == pytest.approx(repeated.temperature, rel=1e-9)
    assert weighted.loss == pytest.approx(repeated.loss, rel=1e-12)
    scaled = solve_temperature(logits, y, sample_weight=1e-3 * weight, gamma=gamma)
    assert scaled.temperature == pytest.approx(weighted.temperature, rel=1e-9)


# Smoothed labels.


def separable(n_samples, n_classes, dtype=torch.float64):
    """Logits whose largest is the label's."""
    rng = np.random.default_rng(0)
    scores = torch.as_tensor(rng.normal(size=(n_samples, n_classes)), dtype=dtype)
    return scores, scores.argmax(1)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("n_classes", [2, 5, 60])
def test_flawless_samples_have_an_inner_optimum(n_classes, gamma):
    scores, y = separable(80, n_classes)
    weight = torch.rand(80, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert solve_temperature(scores, y, sample_weight=weight, gamma=gamma).at_bound
    found = solve_temperature(scores, y, sample_weight=weight, gamma=gamma, smooth=True)
    assert found.converged
    assert not found.at_bound
    assert found.temperature == pytest.approx(smoothed_temperature(scores, y, weight.numpy(), gamma), rel=1e-5)


def test_binary_targets_are_platts_for_balanced_classes():
    """His target for one of n samples of a class is (n + 1) / (n + 2)."""
    scores = torch.tensor([[0.0, -1.0]] * 40)
    found = solve_temperature(scores, torch.zeros(40, dtype=torch.int64), smooth=True)
    assert torch.sigmoid(torch.tensor(1 / found.temperature)).item() == pytest.approx(41 / 42)
