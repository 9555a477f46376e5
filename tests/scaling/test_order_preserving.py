"""Maps that stretch sorted logits: the networks by hand, the optimum of their fit, and that orders stay."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from _output_maps import draw
from _small_networks import labels_of, logits, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss

from skclamp import IntraOrderPreservingCalibration, ParameterizedTemperatureScaling, TemperatureScaling

VARIANTS = ["order-invariant", "order-preserving"]


@pytest.fixture(params=[*VARIANTS, "PTS"])
def make(request):
    if request.param == "PTS":
        return ParameterizedTemperatureScaling
    return partial(IntraOrderPreservingCalibration, variant=request.param)


def values_by_hand(network, features):
    a, b, c, d = (parameter.detach().numpy() for parameter in network.layers.parameters())
    features = (features - network.mean.numpy()) / network.scale.numpy()
    return np.log1p(np.exp(c @ np.tanh(a @ features + b) + d + np.log(np.e - 1)))


@pytest.mark.parametrize("n_classes", [2, 4, 40])
def test_the_maps_by_hand(n_classes):
    """Of 40 classes the network sees and sets 16 ranks; what lies between is linear in log(1 + rank)."""
    Z, y = draw(400, n_classes)
    classes = {"classes": range(n_classes)}
    gaps = IntraOrderPreservingCalibration(**classes).fit(Z, y)
    rows = ParameterizedTemperatureScaling(n_top=2, hidden_layer_sizes=(5,), **classes).fit(Z, y)
    for row in Z[:10]:
        order = np.argsort(-row)
        ordered = np.log(softmax(row[None] / gaps.temperature_)[0, order])
        seen, set_ = (
            np.unique(np.round(np.geomspace(1, n, min(n, 16))).astype(int)) - 1 for n in (n_classes, n_classes - 1)
        )
        values = values_by_hand(gaps.rank_network_, ordered[seen])
        factors = np.interp(np.log1p(np.arange(n_classes - 1)), np.log1p(set_), values)
        expected = softmax(np.append(0, np.cumsum(np.diff(ordered) * factors))[None])
        np.testing.assert_allclose(gaps.predict_proba(row[None])[:, order], expected, rtol=1e-9)
        expected = softmax(ordered[None] * values_by_hand(rows.rank_network_, ordered[:2]))
        np.testing.assert_allclose(rows.predict_proba(row[None])[:, order], expected, rtol=1e-9)


def objective(calibrator, Z, y, sample_weight=None):
    """The loss that the fit minimises, computed anew."""
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    loss = log_loss(y, calibrator.predict_proba(Z), sample_weight=weight, labels=calibrator.classes_)
    squares = sum(parameter.square().sum().item() for parameter in calibrator.rank_network_.parameters())
    return loss + calibrator.alpha / 2 / weight.sum() * squares


@pytest.mark.parametrize("weighted", [False, True])
def test_the_objective_is_at_a_minimum(make, weighted, monkeypatch):
    monkeypatch.setattr("skclamp.scaling._order_preserving._TOLERANCE", 0)
    Z, y = draw(500)
    weight = np.random.default_rng(0).uniform(0.2, 3.0, 500) if weighted else None
    calibrator = make().fit(Z, y, sample_weight=weight)
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


def test_a_strong_penalty_leaves_temperature_scaling(make):
    Z, y = draw(400)
    expected = TemperatureScaling().fit(Z, y).predict_proba(Z)
    np.testing.assert_allclose(make(alpha=1e9).fit(Z, y).predict_proba(Z), expected, atol=1e-5)


def test_classes_count_for_the_order_preserving_variant_alone():
    """The first two classes are over-confident, the others aren't."""
    Z = logits(5000, 4)
    y = labels_of(np.where(Z.argmax(1)[:, None] < 2, Z / 4, Z))
    invariant, preserving = (
        log_loss(y, IntraOrderPreservingCalibration(variant=variant).fit(Z, y).predict_proba(Z)) for variant in VARIANTS
    )
    assert preserving < invariant - 0.02


@pytest.mark.parametrize(("scale", "n_classes"), [(0.01, 2), (3.0, 40), (1e4, 5)])
def test_the_order_of_each_row_stays(make, scale, n_classes):
    """And what is equal stays equal."""
    Z = logits(300, n_classes, scale=scale)
    calibrator = make().fit(Z, labels_of(Z, temperature=scale / 2))
    np.testing.assert_array_equal(calibrator.predict_log_proba(Z).argsort(1), Z.argsort(1))
    Z[:, 1] = Z[:, 0]
    log_proba = calibrator.predict_log_proba(Z)
    np.testing.assert_allclose(log_proba[:, 1], log_proba[:, 0], rtol=1e-9)


def test_stopping_early_is_told_and_the_random_state_stays(make):
    before = torch.get_rng_state()
    with pytest.warns(ConvergenceWarning, match="the loss hadn't converged .*; raise max_iter, got 1") as caught:
        calibrator = make(max_iter=1).fit(*draw(300))
    assert caught[0].filename == __file__
    assert calibrator.n_iter_ == 1
    assert torch.equal(torch.get_rng_state(), before)
