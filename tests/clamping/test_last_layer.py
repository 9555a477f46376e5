"""Other weights of a network's last linear layer: found by what it gives, judged out of fold, deployed as weights."""

import copy
import logging
import pickle
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from _export import exported
from _small_networks import bare_logits, labels_of, perceptron, snapshot, vectors
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold
from torch import nn

from skclamp import CalibratorSelector, NeuralClampingCalibrator, TemperatureScaling, load
from skclamp.datasets import load_fogged_digits
from skclamp.exceptions import CalibrationSetWarning
from skclamp.modules import LogitsModule
from skclamp.modules._last_layer import find_last_layer

NETWORK = perceptron()
X = vectors(900)


def moved(network, size=1.0):
    """A copy of which the last layer has other weights, each in its own direction."""
    other = copy.deepcopy(network)
    generator = torch.Generator().manual_seed(3)
    last = [part for part in other.modules() if type(part) is nn.Linear][-1]
    with torch.no_grad():
        last.weight.add_(size * last.weight.std() * torch.randn(last.weight.shape, generator=generator))
    return other


Y = labels_of(bare_logits(moved(NETWORK), X), temperature=0.5)
HALF = slice(None, 450), slice(450, None)


def clamping(network=NETWORK, **options):
    return NeuralClampingCalibrator(network, **{"perturbation": None, "random_state": 0, **options})


def test_weights_that_have_moved_are_found_as_no_map_finds_them():
    fit, test = HALF
    before = snapshot(NETWORK)
    found = clamping().fit(X[fit], Y[fit])
    assert found.last_layer_.name == [name for name, part in NETWORK.named_modules() if type(part) is nn.Linear][-1]
    assert not hasattr(found, "output_")
    assert not found.accepted_
    maps = CalibratorSelector(NETWORK, verbose=0).fit(X[fit], Y[fit])
    temperature = TemperatureScaling(NETWORK).fit(X[fit], Y[fit])
    losses = [log_loss(Y[test], each.predict_proba(X[test])) for each in (found, maps, temperature)]
    assert losses[0] < 0.9 * losses[1]
    assert losses[0] < 0.8 * losses[2]
    assert snapshot(NETWORK) == before
    assert found.last_layer_.difference < -10 * found.last_layer_.standard_error
    assert re.search(r"other weights of '2', .* lowered the held-out NLL by 0\.\d+ nats", found.summary())
    assert found.cost_ == {"forward": 2.0, "backward": 0.0}


@pytest.mark.parametrize("perturbation", [None, "auto"])
def test_where_nothing_has_moved_it_is_temperature_scaling_to_the_bit(perturbation):
    for seed in range(5):
        y = labels_of(bare_logits(NETWORK, X), seed=seed)
        found = clamping(perturbation=perturbation).fit(X, y)
        assert not hasattr(found, "last_layer_")
        np.testing.assert_array_equal(found.predict_proba(X), TemperatureScaling(NETWORK).fit(X, y).predict_proba(X))


def test_it_takes_the_place_of_a_perturbation_that_does_worse():
    """One that was learned in front of the layer as it was."""
    dim, (fit, test) = 0.5 * X - 0.4, HALF
    found, layer = (clamping(perturbation=name).fit(dim[fit], Y[fit]) for name in ("auto", None))
    assert not found.accepted_
    assert found.verdict_.tried
    assert "other weights of the network's last layer do better without it" in found.verdict_.reason
    np.testing.assert_array_equal(found.predict_proba(dim), layer.predict_proba(dim))
    assert found.cost_["forward"] > layer.cost_["forward"]
    asked = [clamping(perturbation="affine", output=output).fit(dim[fit], Y[fit]) for output in ("auto", None)]
    assert [each.accepted_ for each in asked] == [True, True]
    losses = [log_loss(Y[test], each.predict_proba(dim[test])) for each in (found, *asked)]
    assert losses == sorted(losses)


def test_it_learns_behind_a_perturbation_at_the_size_that_all_samples_make_of_its_features():
    """Folds of few samples may scale the logits by another number than the last fit does."""
    data = load_fogged_digits()
    found, layer = (clamping(data.network, perturbation=name).fit(data.X_cal, data.y_cal) for name in ("affine", None))
    alone = clamping(data.network, perturbation="affine", output=TemperatureScaling()).fit(data.X_cal, data.y_cal)
    assert found.accepted_
    assert hasattr(found, "last_layer_")
    losses = [log_loss(data.y_test, each.predict_proba(data.X_test)) for each in (found, layer, alone)]
    assert losses == sorted(losses)
    assert losses[0] < 0.7 * losses[2]
    proba = found.module_.eval()(torch.from_numpy(data.X_test)).softmax(1).detach()
    np.testing.assert_allclose(proba, found.predict_proba(data.X_test), atol=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"output": None}, {"output": "pool"}, {"output": TemperatureScaling()}, {"validation_fraction": None}],
)
def test_what_was_asked_for_stays(options):
    assert not hasattr(clamping(**options).fit(X, Y), "last_layer_")


def test_fewer_than_a_hundred_samples_leave_it():
    assert not hasattr(clamping().fit(X[:99], Y[:99]), "last_layer_")
    unobserved = np.isin(Y, [0, 1])
    with pytest.warns(CalibrationSetWarning):
        found = clamping(classes=np.arange(Y.max() + 1)).fit(X[unobserved], Y[unobserved])
    assert not hasattr(found, "last_layer_")


def test_another_fit_forgets_it():
    found = clamping().fit(X, Y)
    assert hasattr(found, "last_layer_")
    assert not hasattr(found.fit(X, labels_of(bare_logits(NETWORK, X))), "last_layer_")


def test_the_module_its_exports_and_files_have_it(tmp_path):
    found = clamping().fit(X, Y)
    expected, x = found.predict_proba(X), torch.from_numpy(X)
    module = found.module_.eval()
    for each in (module, module.fold(), exported(module, x)):
        np.testing.assert_allclose(each(x).softmax(1).detach(), expected, atol=1e-6)
    found.save(tmp_path / "found.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "found.safetensors", NETWORK).predict_proba(X), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).predict_proba(X), expected)
    logits = module.averaged_logits(x).detach()
    np.testing.assert_allclose(found.transform_logits(logits), found.predict_log_proba(X), atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rounds_the_weights_once(dtype):
    fit, test = HALF
    single = clamping().fit(X[fit], Y[fit])
    x = torch.from_numpy(X).to(dtype)
    half = clamping(copy.deepcopy(NETWORK).to(dtype)).fit(x[fit], Y[fit])
    losses = [log_loss(Y[test], each.predict_proba(given[test])) for each, given in ((single, X), (half, x))]
    assert losses[1] == pytest.approx(losses[0], rel=0.01)


class Unlike(nn.Module):
    """A network that refuses to be copied."""

    def __init__(self):
        super().__init__()
        self.network = NETWORK

    def forward(self, x):
        return self.network(x)

    def __deepcopy__(self, memo):
        raise TypeError("not to be copied")


def test_a_network_that_refuses_to_be_copied_keeps_its_layer_and_the_log_says_why(caplog):
    with caplog.at_level(logging.INFO, logger="skclamp"):
        found = clamping(Unlike()).fit(X, Y)
    assert not hasattr(found, "last_layer_")
    assert "the last layer stays as it is" in caplog.text
    assert "not to be copied" in caplog.text


def test_a_network_without_the_layer_is_refused(tmp_path):
    found = clamping().fit(X, Y)
    found.save(tmp_path / "found.safetensors")
    other = nn.Sequential(nn.Linear(X.shape[1], int(Y.max()) + 1))
    with pytest.raises(ValueError, match=r"must have a linear layer '2' with a bias and a weight of shape \(\d+, 16\)"):
        load(tmp_path / "found.safetensors", other, strict=False)


def test_weights_count_as_repetitions_and_groups_stay_together():
    weight = np.random.default_rng(0).integers(0, 3, 450).astype(float)
    rows = np.repeat(np.arange(450), weight.astype(int))
    weighted, repeated = clamping().fit(X[:450], Y[:450], weight), clamping().fit(X[rows], Y[rows])
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-5)
    groups = np.arange(900) // 30
    by_group = clamping(validation_fraction=GroupKFold(4)).fit(X, Y, groups=groups)
    assert hasattr(by_group, "last_layer_")
    assert by_group.score(X, Y) > TemperatureScaling(NETWORK).fit(X, Y).score(X, Y)


class Branching(nn.Module):
    """Of inputs that are far off, another layer gives the logits, in the head's place or over what it gives."""

    def __init__(self, skips):
        super().__init__()
        self.network, self.easy, self.skips = NETWORK, nn.Linear(6, NETWORK[-1].out_features), skips

    def forward(self, x):
        far = x[:, 0] > 0
        if not self.skips:
            return torch.where(far[:, None], self.easy(x), self.network(x))
        logits = self.easy(x)
        logits[~far] = self.network(x[~far])
        return logits


@pytest.mark.parametrize("skips", [False, True])
def test_a_layer_that_some_rows_go_past_stays(skips):
    near_first = np.argsort(X[:, 0] > 0, kind="stable")
    found = clamping(Branching(skips).eval()).fit(X[near_first], Y[near_first])
    assert not hasattr(found, "last_layer_")


class Twice(nn.Module):
    """A layer that is run twice."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x):
        return self.layer(self.layer(x).relu())


class Scaled(nn.Module):
    """Logits that are the layer's twice."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(6, 5)

    def forward(self, x):
        return 2 * self.layer(x)


class Named(nn.Module):
    """As Hugging Face's models are: an auxiliary layer of the same shape beside the one that counts."""

    def __init__(self):
        super().__init__()
        self.auxiliary, self.head = nn.Linear(6, 5), nn.Linear(6, 5)

    def forward(self, input):
        self.auxiliary(input)
        return SimpleNamespace(logits=self.head(input))


@pytest.mark.parametrize(
    ("network", "name"),
    [
        (NETWORK, "2"),
        (Named(), "head"),
        (Twice(), None),
        (Scaled(), None),
        (nn.Sequential(nn.Linear(6, 5), nn.LogSoftmax(1)), None),
        (nn.Sequential(nn.Linear(6, 5, bias=False)), None),
        (nn.Sequential(nn.Linear(6, 1)), None),
        (nn.utils.parametrizations.weight_norm(nn.Linear(6, 5)), None),
        (nn.Sequential(nn.Unflatten(1, (2, 3)), nn.Conv1d(2, 5, 3), nn.Flatten()), None),
    ],
)
def test_the_layer_is_known_by_what_it_gives(network, name):
    x = torch.from_numpy(X[:8])
    found = find_last_layer(LogitsModule(copy.deepcopy(network)).eval(), x, {})
    assert found == name
