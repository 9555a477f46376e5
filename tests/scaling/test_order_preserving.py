import pickle
from functools import partial

import numpy as np
import pytest
import torch
from _small_networks import labels_of, logits, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss

from skclamp import IntraOrderPreservingCalibration, ParameterizedTemperatureScaling, TemperatureScaling
from skclamp.scaling._order_preserving import GapNetwork, RowNetwork, interpolation, spread_ranks

VARIANTS = ["order-invariant", "order-preserving"]
ALL = [
    *(partial(IntraOrderPreservingCalibration, variant=variant) for variant in VARIANTS),
    ParameterizedTemperatureScaling,
]


@pytest.fixture(params=ALL, ids=[*VARIANTS, "PTS"])
def make(request):
    return request.param


def draw(n_samples=400, n_classes=5, seed=0, temperature=2.0):
    Z = logits(n_samples, n_classes, seed=seed)
    return Z, labels_of(Z, temperature, seed=seed + 1)


def mixed(n_samples, n_classes=5, seed=0, share=0.3):
    """Labels of which a share says nothing of the logits: no temperature can mend that."""
    Z, y = draw(n_samples, n_classes, seed, temperature=1.0)
    rng = np.random.default_rng(seed + 2)
    return Z, np.where(rng.random(n_samples) < share, rng.integers(n_classes, size=n_samples), y)


# The modules


def stirred(module, scale=1.0):
    """With parameters of any values."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(std=scale, generator=generator)
    return module


def modules(n_classes):
    return [GapNetwork(n_classes, 6, (4, 3)), RowNetwork(2, (5,))]


@pytest.mark.parametrize("n_classes", [2, 5, 40])
def test_a_new_module_changes_nothing(n_classes):
    ordered = torch.log_softmax(torch.from_numpy(logits(20, n_classes)), 1).sort(dim=1, descending=True).values
    for module in modules(n_classes):
        out = module(ordered)
        torch.testing.assert_close(out - out[:, :1], ordered - ordered[:, :1])


def values_by_hand(network, features):
    a, b, c, d = (parameter.detach().numpy() for parameter in network.layers.parameters())
    return np.log1p(np.exp(c @ np.tanh(a @ features + b) + d + np.log(np.e - 1)))


def test_the_networks_by_hand():
    row = np.log([0.5, 0.25, 0.15, 0.1])
    gaps = stirred(GapNetwork(4, 2, (3,)))
    assert gaps.ranks.tolist() == [0, 3]
    first, last = values_by_hand(gaps, row[[0, 3]])
    middle = np.interp(np.log(2), [0, np.log(3)], [first, last])
    expected = np.append(0, np.cumsum(np.diff(row) * [first, middle, last]))
    np.testing.assert_allclose(gaps(torch.from_numpy(row[None])).detach().numpy()[0], expected)
    rows = stirred(RowNetwork(2, (3,)))
    expected = row * values_by_hand(rows, row[:2])
    np.testing.assert_allclose(rows(torch.from_numpy(row[None])).detach().numpy()[0], expected)


def test_ranks_are_dense_at_the_top():
    assert spread_ranks(5, 16).tolist() == [0, 1, 2, 3, 4]
    ranks = spread_ranks(1000, 16)
    assert len(ranks) <= 16
    assert ranks[[0, 1, 2, -1]].tolist() == [0, 1, 2, 999]
    assert (np.diff(ranks, 2) >= 0).all()
    np.testing.assert_allclose(interpolation(ranks, 1000).numpy().sum(0), 1)


# The fit


def objective(calibrator, Z, y, sample_weight=None):
    """The loss that the fit minimises, computed anew."""
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    loss = log_loss(y, calibrator.predict_proba(Z), sample_weight=weight, labels=calibrator.classes_)
    squares = sum(parameter.square().sum().item() for parameter in calibrator.rank_network_.parameters())
    return loss + calibrator.alpha / 2 / weight.sum() * squares


@pytest.mark.parametrize("weighted", [False, True])
def test_the_objective_is_at_a_minimum(make, weighted):
    Z, y = mixed(500)
    weight = np.random.default_rng(0).uniform(0.2, 3.0, 500) if weighted else None
    calibrator = make(tol=0).fit(Z, y, sample_weight=weight)
    best = objective(calibrator, Z, y, weight)
    twin = pickle.loads(pickle.dumps(calibrator))
    parameters = list(twin.rank_network_.parameters())
    start = torch.nn.utils.parameters_to_vector(parameters).double()
    rng = np.random.default_rng(1)
    for size in (1e-3, 1e-2, 1e-1):
        for _ in range(20):
            step = torch.from_numpy(rng.normal(size=len(start)))
            torch.nn.utils.vector_to_parameters(start + size * step / step.norm(), parameters)
            assert objective(twin, Z, y, weight) > best - 1e-9


def test_it_mends_what_a_temperature_cannot(make):
    Z, y = mixed(5000)
    new, true = logits(2000, 5, seed=7), 0.7 * softmax(logits(2000, 5, seed=7)) + 0.3 / 5
    errors = [np.abs(each.fit(Z, y).predict_proba(new) - true).mean() for each in (make(), TemperatureScaling())]
    assert errors[0] < (0.9 if make is ParameterizedTemperatureScaling else 0.6) * errors[1]


def test_a_strong_penalty_leaves_temperature_scaling(make):
    Z, y = mixed(400)
    expected = TemperatureScaling().fit(Z, y).predict_proba(Z)
    np.testing.assert_allclose(make(alpha=1e9).fit(Z, y).predict_proba(Z), expected, atol=1e-5)


def test_classes_count_for_the_order_preserving_variant_alone():
    """The first two classes are over-confident, the others aren't."""
    Z = logits(5000, 4)
    y = labels_of(np.where(Z.argmax(1)[:, None] < 2, Z / 4, Z))
    losses = {
        variant: log_loss(y, IntraOrderPreservingCalibration(variant=variant).fit(Z, y).predict_proba(Z))
        for variant in VARIANTS
    }
    assert losses["order-preserving"] < losses["order-invariant"] - 0.02


# Promises


@pytest.mark.parametrize("scale", [0.01, 3.0, 1e4])
@pytest.mark.parametrize("n_classes", [2, 5, 40])
def test_the_order_of_each_row_stays(make, scale, n_classes):
    Z = logits(300, n_classes, scale=scale)
    y = labels_of(Z, temperature=scale / 2)
    log_proba = make().fit(Z, y).predict_log_proba(Z)
    np.testing.assert_array_equal(log_proba.argsort(1), Z.argsort(1))


def test_equal_logits_stay_equal(make):
    Z, y = draw()
    Z[:, 3] = Z[:, 1]
    proba = make().fit(Z, y).predict_proba(Z)
    np.testing.assert_allclose(proba[:, 3], proba[:, 1], rtol=1e-12)


def test_units_do_not_matter(make):
    Z, y = mixed(400)
    expected = make(tol=1e-9).fit(Z, y).predict_proba(Z)
    np.testing.assert_allclose(make(tol=1e-9).fit(1000 * Z, y).predict_proba(1000 * Z), expected, rtol=0, atol=1e-3)


def test_large_sets_are_treated_in_single_precision(make):
    Z, y = mixed(1000)
    expected = make().fit(Z, y).predict_proba(Z)
    found = make()
    found._most_wide = 100
    found.fit(Z, y)
    assert next(found.rank_network_.parameters()).dtype == torch.float64
    np.testing.assert_allclose(found.predict_proba(Z), expected, rtol=0, atol=1e-2)


def test_stopping_early_is_told(make):
    with pytest.warns(ConvergenceWarning, match="stopped after max_iter=1 iterations, before it converged") as caught:
        calibrator = make(max_iter=1).fit(*mixed(300))
    assert caught[0].filename == __file__
    assert calibrator.n_iter_ == 1


def test_the_random_state_stays_as_it_was(make):
    before = torch.get_rng_state()
    make().fit(*mixed(100))
    assert torch.equal(torch.get_rng_state(), before)


IOP, PTS = IntraOrderPreservingCalibration, ParameterizedTemperatureScaling


@pytest.mark.parametrize(
    ("calibrator", "error", "message"),
    [
        (
            IOP(variant="sorted"),
            ValueError,
            "'variant' parameter of Intra.* must be a str among",
        ),
        (IOP(alpha=-1), ValueError, "'alpha' parameter of Intra.* must be a float in the range"),
        (IOP(max_iter=0), ValueError, "'max_iter' parameter of Intra.* must be an int in the range"),
        (IOP(tol=-1), ValueError, "'tol' parameter of Intra.* must be a float in the range"),
        (IOP(hidden_layer_sizes=()), ValueError, "hidden_layer_sizes must hold at least one width; got none"),
        (IOP(hidden_layer_sizes=(0,)), ValueError, "each of hidden_layer_sizes must be a whole number of at least 1"),
        (PTS(hidden_layer_sizes=(2.5,)), TypeError, "each of hidden_layer_sizes must be a whole number"),
        (PTS(n_top=0), ValueError, "'n_top' parameter of Parameterized.* must be an int in the range"),
    ],
)
def test_bad_parameters(calibrator, error, message):
    with pytest.raises(error, match=message):
        calibrator.fit(*draw(50))
