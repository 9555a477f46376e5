"""``module_`` of every calibrator: an ordinary torch module that gives the probabilities of predict_proba."""

import numpy as np
import pytest
import torch
from _calibrators import CALIBRATORS, every_map
from _export import HOW, check_the_same, exported
from _output_maps import PUBLIC
from _small_networks import bare_logits, convolutional, images, labels_of, perceptron, vectors
from sklearn.ensemble import RandomForestClassifier
from torch import nn

import skclamp
from skclamp import (
    CalibratorSelector,
    EnsembleTemperatureScaling,
    IntraOrderPreservingCalibration,
    MatrixScaling,
    PlattScaling,
    TemperatureScaling,
    VectorScaling,
)

NETWORK = perceptron()
X = vectors(300)
Y = labels_of(bare_logits(NETWORK, X))


def proba_of(module, x):
    with torch.no_grad():
        return module.eval()(torch.as_tensor(x)).softmax(1).double().numpy()


@every_map()
def test_the_module_gives_the_probabilities_of_predict_proba(case):
    """To the rounding of float32, in which networks compute and modules of them give their logits."""
    module = case.fitted.module_
    assert module is case.fitted.module_ or isinstance(case.fitted, skclamp.PriorShiftCorrection)
    weight = next((p for p in module.logits.parameters()), torch.empty(0, dtype=torch.float64))
    x = torch.as_tensor(case.X).to(weight.dtype)
    np.testing.assert_allclose(proba_of(module, x), case.fitted.predict_proba(case.X), rtol=0, atol=1e-6)


@HOW
@pytest.mark.parametrize("make", [IntraOrderPreservingCalibration, CalibratorSelector])
def test_it_gives_the_same_logits_elsewhere(make, how, tmp_path):
    network, inputs = convolutional(), images(200)
    calibrator = make(network).fit(inputs, labels_of(bare_logits(network, inputs)))
    check_the_same(calibrator.module_.eval(), torch.from_numpy(inputs), how, tmp_path)


def is_smooth(case):
    """Whether it takes no search for a bin or a knot, which ONNX doesn't have."""
    fitted = case.fitted
    return not (hasattr(fitted, "maps_") or hasattr(fitted, "spline_") or hasattr(fitted.map_, "values"))


@pytest.mark.slow
@HOW
@every_map(is_smooth)
def test_every_smooth_map_gives_the_same_logits_elsewhere(case, how, tmp_path):
    module = case.fitted.module_.eval()
    weight = next((p for p in module.logits.parameters()), torch.empty(0, dtype=torch.float64))
    check_the_same(module, torch.as_tensor(case.X).to(weight.dtype), how, tmp_path)


WITH_KNOTS = "VennAbersCalibration", "IsotonicCalibration", "BayesianBinningIntoQuantiles", "SplineCalibration"


@pytest.mark.parametrize("name", WITH_KNOTS)
def test_maps_with_steps_and_knots_are_exported(name, tmp_path):
    module = CALIBRATORS[name].fitted.module_.eval()
    check_the_same(module, torch.as_tensor(CALIBRATORS[name].X), exported, tmp_path)


def test_it_shares_the_network_and_leaves_its_flags_until_asked():
    network = perceptron().train()
    calibrator = VectorScaling(network).fit(X, Y)
    assert hasattr(calibrator, "module_")
    assert network.training
    assert next(calibrator.module_.logits.parameters()) is next(network.parameters())
    calibrator.module_.eval().train()
    assert not network.training
    assert not calibrator.module_.output.training


@pytest.mark.parametrize("make", [MatrixScaling, PlattScaling, EnsembleTemperatureScaling])
def test_what_was_learned_is_in_the_state_dict_and_is_a_copy(make):
    calibrator = make(NETWORK).fit(X, Y)
    before = calibrator.predict_proba(X)
    learned = {name: value for name, value in calibrator.module_.state_dict().items() if name.startswith("output.")}
    assert learned
    for value in learned.values():
        value.zero_()
    assert not np.allclose(proba_of(calibrator.module_, X), before, atol=0.01)
    np.testing.assert_array_equal(calibrator.predict_proba(X), before)


def test_a_temperature_folds_into_the_network():
    calibrator = TemperatureScaling(NETWORK).fit(X, Y)
    folded = calibrator.module_.fold()
    assert next(folded.logits.parameters()) is not next(NETWORK.parameters())
    np.testing.assert_allclose(proba_of(folded, X), calibrator.predict_proba(X), atol=1e-6)


def test_a_forest_has_none_and_is_told_what_to_do():
    calibrator = TemperatureScaling(RandomForestClassifier(5, random_state=0).fit(X, Y)).fit(X, Y)
    assert not hasattr(calibrator, "module_")
    with pytest.raises(AttributeError, match=r"skclamp.modules.as_module makes no network of RandomForest"):
        calibrator.module_  # noqa: B018


def flags_and_state(network):
    return (
        [part.training for part in network.modules()],
        [p.requires_grad for p in network.parameters()],
        {name: value.clone() for name, value in network.state_dict().items()},
    )


@pytest.mark.parametrize(
    ("name", "around"),
    [(name, False) for name in sorted(PUBLIC)] + [("VectorScaling", True)],
)
@pytest.mark.filterwarnings("ignore::skclamp.exceptions.CalibrationWarning")
def test_a_network_in_train_mode_stays_as_it_is(name, around):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(X.shape[1], 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 4)).train()
    network[1].eval()
    network[3].bias.requires_grad_(False)
    calibrator = PUBLIC[name](network)
    if around:
        calibrator = skclamp.PriorShiftCorrection(calibrator)
    module = calibrator.fit(X, Y).module_
    network[1].train(not around)
    before = flags_and_state(network)
    with torch.no_grad():
        proba = module(torch.as_tensor(X)).softmax(1)
    after = flags_and_state(network)
    assert before[:2] == after[:2]
    assert all(torch.equal(value, after[2][key]) for key, value in before[2].items())
    np.testing.assert_allclose(proba, calibrator.predict_proba(X), rtol=0, atol=1e-6)
