"""What takes the temperature's place behind a perturbation: the pool of "auto", and maps by name."""

import pickle
import warnings
from functools import partial

import numpy as np
import pytest
import torch
from _digits import calibration_and_test, convolutional_network, shifted
from _small_networks import bare_logits, labels_of, perceptron, vectors
from sklearn.base import clone
from sklearn.metrics import log_loss
from sklearn.model_selection import GroupKFold, KFold
from sklearn.neural_network import MLPClassifier
from torch import nn

from skclamp import (
    REFERENCE_SETTINGS,
    CalibratorSelector,
    IsotonicCalibration,
    NeuralClampingCalibrator,
    StructuredVectorScaling,
    TemperatureScaling,
    TorchTraining,
    VectorScaling,
    load,
)
from skclamp.datasets import load_fogged_digits
from skclamp.exceptions import CalibrationSetWarning

NETWORK = perceptron()
X = vectors(700)
Y = labels_of(bare_logits(NETWORK, X), temperature=1.5)
# Classes that have become more frequent: a bias of each class mends that, a temperature doesn't.
BIASED = labels_of(bare_logits(NETWORK, X) + np.array([2.0, 0.0, -1.5, 0.0]), temperature=1.5)
FOG = load_fogged_digits()


class Halved(nn.Module):
    """Logits that no linear layer gives, of which other weights would compete with maps."""

    def forward(self, logits):
        return logits / 2


FOGGED = nn.Sequential(FOG.network, Halved()).eval()


def clamping(estimator=NETWORK, random_state=0, **settings):
    return NeuralClampingCalibrator(estimator, random_state=random_state, **settings)


def nll(calibrator, data):
    return log_loss(data.y_test, calibrator.predict_proba(data.X_test))


def quietly(fit):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CalibrationSetWarning)
        return fit()


def test_in_fog_it_is_as_good_as_maps_of_the_logits_or_nearly():
    """Whichever way digits are parted the pool helps; how much hangs on the draw, and on the processor."""
    losses = []
    for seed in range(2):
        options = {"estimator": FOG.network, "random_state": seed}
        found = NeuralClampingCalibrator(**options).fit(FOG.X_cal, FOG.y_cal)
        alone = quietly(partial(NeuralClampingCalibrator(**options, output=None).fit, FOG.X_cal, FOG.y_cal))
        assert alone.accepted_
        assert not hasattr(alone, "output_")
        losses.append((nll(found, FOG), nll(alone, FOG)))
        assert losses[-1][0] < losses[-1][1] - 0.02
    assert np.mean(losses, 0)[0] < 0.19


def test_a_family_by_name_stays_with_the_pool_behind_it():
    found = clamping(FOGGED, perturbation="affine").fit(FOG.X_cal, FOG.y_cal)
    assert found.accepted_
    alone = quietly(lambda: clamping(FOGGED, perturbation="affine", output=None).fit(FOG.X_cal, FOG.y_cal))
    assert found.temperature_ == alone.temperature_
    assert nll(found, FOG) < nll(alone, FOG)
    assert "pass through a pool of maps, " in found.summary()


def test_what_no_map_undoes_is_clamped():
    """A blur of what a convolutional network sees."""
    network, ((x, y), (x_test, y_test)) = convolutional_network(), calibration_and_test(0)
    each = clamping(network), CalibratorSelector(network, verbose=0), clamping(network, perturbation=None)
    found, maps, layer = (calibrator.fit(shifted(x, "blur"), y) for calibrator in each)
    assert found.accepted_
    losses = [log_loss(y_test, each.predict_proba(shifted(x_test, "blur"))) for each in (found, maps, layer)]
    assert losses[0] < losses[1] - 0.03
    assert losses[0] < losses[2] - 0.01


@pytest.mark.parametrize("perturbation", [None, "auto", "affine"])
def test_where_nothing_earns_its_price_it_is_temperature_scaling_to_the_bit(perturbation):
    found = clamping(perturbation=perturbation).fit(X, Y)
    assert not hasattr(found, "output_")
    np.testing.assert_array_equal(found.predict_proba(X), TemperatureScaling(NETWORK).fit(X, Y).predict_proba(X))


@pytest.mark.parametrize(
    "fold",
    [{}, {"validation_fraction": 0.2}, {"validation_fraction": KFold(4)}, {"groups": np.arange(700) // 7}],
    ids=str,
)
def test_classes_that_have_become_more_frequent_are_mended(fold):
    groups = {name: fold[name] for name in fold.keys() & {"groups"}}
    settings = {"validation_fraction": GroupKFold(5)} if groups else fold
    found = clamping(**settings).fit(X, BIASED, **groups)
    assert sum(found.output_.weights) > 0.5
    plain = TemperatureScaling(NETWORK, verbose=0)
    quietly(lambda: plain.fit(X, BIASED))
    assert log_loss(BIASED, found.predict_proba(X)) < log_loss(BIASED, plain.predict_proba(X)) - 0.1
    assert found.temperature_ == pytest.approx(plain.temperature_, rel=0.02)


def test_copies_earn_nothing_of_what_they_are_copies_of():
    """Ten of each of what a temperature suits."""
    for seed in range(4):
        x = vectors(150, seed=seed)
        y = labels_of(bare_logits(NETWORK, x), temperature=1.5, seed=seed)
        rows = np.repeat(np.arange(150), 10)
        distinct, copied = (
            hasattr(clamping(perturbation=None).fit(x[r], y[r]), "output_") for r in (slice(None), rows)
        )
        assert copied <= distinct


def test_it_takes_its_pool_everywhere(tmp_path):
    network, (x, y), new = FOGGED, (FOG.X_cal, FOG.y_cal), FOG.X_test
    found = clamping(network, perturbation="affine").fit(x, y)
    expected = found.predict_proba(new)
    assert found.accepted_
    assert found.output_.weights
    with torch.no_grad():
        deployed = found.module_.eval()(torch.from_numpy(new)).softmax(1).numpy()
    np.testing.assert_allclose(deployed, expected, atol=1e-6)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(found)).predict_proba(new), expected)
    found.save(tmp_path / "found.safetensors")
    np.testing.assert_array_equal(load(tmp_path / "found.safetensors", network).predict_proba(new), expected)
    np.testing.assert_array_equal(clone(found).fit(x, y).predict_proba(new), expected)


@pytest.mark.filterwarnings("ignore:class frequencies are off")
@pytest.mark.parametrize(
    "settings",
    [
        {"validation_fraction": None},
        {"perturbation": "affine", "training": TorchTraining(refit_temperature=False)},
        {"output": None},
        {**REFERENCE_SETTINGS, "max_epochs": 1},
    ],
    ids=["no guard", "T as trained", "none", "the reference"],
)
def test_without_held_out_logits_of_an_exact_temperature_there_is_none(settings):
    assert not hasattr(clamping(**settings).fit(X, BIASED), "output_")


@pytest.mark.parametrize("output", ["auto", StructuredVectorScaling()], ids=["auto", "by name"])
def test_where_one_part_is_held_out_nothing_is_left_to_judge_by(output):
    """Folds within that part would put neighbours in time on both sides."""
    settings = {"validation_fraction": [(np.arange(350), np.arange(350, 700))]}
    x, y = X.copy(), BIASED.copy()
    x[501], y[501] = x[500], y[500]
    found = quietly(lambda: clamping(output=output, **settings).fit(x + np.float32(0.8), y))
    assert found.accepted_
    assert not hasattr(found, "output_")
    if output != "auto":
        with pytest.warns(
            CalibrationSetWarning, match=r"is left out, .*: the folds hold out one part, which leaves none"
        ):
            clamping(output=output, **settings).fit(x + np.float32(0.8), y)


@pytest.mark.parametrize("n_samples", [60, 400])
def test_a_map_by_name_stays_where_it_helps(n_samples):
    output = StructuredVectorScaling()
    found = quietly(lambda: clamping(perturbation=None, output=output).fit(X[:n_samples], BIASED[:n_samples]))
    assert isinstance(found.output_, StructuredVectorScaling)
    assert found.output_ is not output


def test_a_map_by_name_that_overfits_is_left_out_in_words():
    with pytest.warns(
        CalibrationSetWarning, match=r"output=VectorScaling\(\.\.\.\) is left out, .* its NLL is .*, temp"
    ):
        found = clamping(output=VectorScaling()).fit(X[:120], Y[:120])
    assert not hasattr(found, "output_")
    expected = TemperatureScaling(NETWORK).fit(X[:120], Y[:120]).predict_proba(X)
    np.testing.assert_array_equal(found.predict_proba(X), expected)


def test_copies_are_judged_as_what_they_are_copies_of():
    """Below a hundred samples too, where copies on both sides would speak for whatever is steep."""
    for seed in range(6):
        x = vectors(40, seed=seed)
        y = labels_of(bare_logits(NETWORK, x), temperature=1.5, seed=seed)
        kept = []
        for n_copies in (1, 20):
            found, tiled = clamping(output=IsotonicCalibration()), (np.tile(x, (n_copies, 1)), np.tile(y, n_copies))
            kept.append(hasattr(quietly(partial(found.fit, *tiled)), "output_"))
        assert kept[0] == kept[1]


@pytest.mark.parametrize("output", ["pools", VectorScaling, 3])
def test_other_outputs_are_refused(output):
    with pytest.raises(ValueError, match="'output' parameter of NeuralClampingCalibrator must be"):
        clamping(output=output).fit(X, Y)


@pytest.mark.parametrize(("n_classes", "pools"), [(10, True), (205, False)])
def test_where_maps_would_take_long_they_are_not_pooled(n_classes, pools):
    """Of classes whose offsets any map of theirs would learn."""
    Z = np.random.default_rng(0).normal(size=(1000, n_classes))
    y = labels_of(Z + 3 * np.sin(np.arange(n_classes)), temperature=1.0)
    fitted = clamping(nn.Identity(), perturbation=None, classes=np.arange(n_classes)).fit(Z, y)
    assert hasattr(fitted, "output_") == pools


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("random_state", [0, 2])
def test_of_several_valleys_the_last_fit_takes_none_that_folds_did_not_judge(random_state):
    """Squares, which inputs on one side of 0 alone tell as little of as a network that takes them for both."""

    def draw(seed):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(800, 6)).astype(np.float32)
        return x, (x[:, :3] ** 2 + rng.logistic(scale=0.3, size=(800, 3)) > 1).astype(int)

    network = MLPClassifier(32, alpha=1.0, max_iter=500, random_state=0).fit(*draw(0))
    (x, y), (new, truth) = draw(1), draw(2)

    def loss(calibrator):
        proba = calibrator.fit(0.3 * x + 1, y).predict_proba(0.3 * new + 1)
        return np.mean([log_loss(of_label, p) for of_label, p in zip(truth.T, proba.T, strict=True)])

    clamped, temperature = loss(clamping(network, random_state=random_state)), loss(TemperatureScaling(network))
    assert clamped < temperature + 0.01
