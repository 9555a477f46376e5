"""skorch nets as scikit-learn's users have them: not fitted yet, and at the end of a Pipeline."""

import pickle
import re

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import KFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer, StandardScaler
from skorch import NeuralNetBinaryClassifier, NeuralNetClassifier
from torch import nn

import skclamp
from skclamp import (
    CalibratorSelector,
    NeuralClampingCalibrator,
    TemperatureScaling,
)

X, Y = load_breast_cancer(return_X_y=True)
X = X.astype(np.float32)
X_TRAIN, X_VAL, Y_TRAIN, Y_VAL = train_test_split(X, Y, test_size=300, random_state=0)
CLAMPED = {"perturbation": "affine", "validation_fraction": None, "random_state": 0}


def net(n_features=30, n_classes=2, kind=NeuralNetClassifier, **options):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(n_features, 16), nn.ReLU(), nn.Linear(16, n_classes))
    options = {"criterion": nn.CrossEntropyLoss, "lr": 0.1, "max_epochs": 15, "train_split": None, **options}
    return kind(module, verbose=0, **options)


@pytest.fixture(scope="module")
def pipeline():
    return make_pipeline(StandardScaler(), net()).fit(X_TRAIN, Y_TRAIN)


# Nets that aren't initialised


@pytest.mark.parametrize(("make", "scaled"), [(TemperatureScaling, True), (CalibratorSelector, False)])
def test_an_unfitted_net_is_cloned_and_cross_fitted_as_classifiers_are(make, scaled):
    given = make_pipeline(StandardScaler(), net()) if scaled else net()
    x = X if scaled else StandardScaler().fit_transform(X)
    calibrator = make(given, cv=KFold(3)).fit(x, Y)
    assert not getattr(given if not scaled else given[-1], "initialized_", False)
    whole = calibrator.estimator_
    assert type(whole) is type(given)
    logits = np.empty((len(X), 2))
    for train, held_out in KFold(3).split(x):
        fold = clone(given).fit(x[train], Y[train])
        logits[held_out] = np.log(fold.predict_proba(x[held_out]))
    expected = make().fit(logits, Y)
    # A softmax's shift of logits, and its rounding in float32.
    np.testing.assert_allclose(
        calibrator.predict_proba(x), expected.predict_proba(np.log(whole.predict_proba(x))), atol=1e-3
    )
    assert calibrator.score(x, Y) > 0.95


@pytest.mark.parametrize(("gamma", "scaled"), [(0.0, True), ("auto", False)])
def test_clamping_fits_a_net_to_one_half(gamma, scaled):
    given = make_pipeline(StandardScaler(), net()) if scaled else net()
    x = X if scaled else StandardScaler().fit_transform(X).astype(np.float32)
    calibrator = NeuralClampingCalibrator(given, gamma=gamma, random_state=0).fit(x, Y)
    assert calibrator.score(x, Y) > 0.95
    assert re.search(r"passes over 28[3-6] samples", calibrator.summary())
    assert not getattr(given if not scaled else given[-1], "initialized_", False)
    deployed = calibrator.module_.eval()(torch.from_numpy(x)).softmax(1).detach()
    np.testing.assert_allclose(deployed, calibrator.predict_proba(x), atol=1e-5)


# Pipelines that end in a fitted net


def test_clamping_perturbs_the_table_itself(pipeline):
    moved = X_VAL + np.float32(2) * X.std(0) * (np.arange(30) == 3)
    before = {name: value.clone() for name, value in pipeline[-1].module_.state_dict().items()}
    calibrator = NeuralClampingCalibrator(pipeline, perturbation="channel", validation_fraction=None, random_state=0)
    calibrator.fit(moved, Y_VAL)
    assert calibrator.delta_.shape == (30,)
    assert calibrator.delta_.any()
    perturbed = pipeline[:-1].transform(moved + calibrator.delta_).astype(np.float32)
    with torch.no_grad():
        logits = pipeline[-1].module_(torch.from_numpy(perturbed)) / calibrator.temperature_
    np.testing.assert_allclose(calibrator.predict_proba(moved), logits.softmax(1), atol=1e-4)
    for name, value in pipeline[-1].module_.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("make", [TemperatureScaling, lambda estimator: NeuralClampingCalibrator(estimator, **CLAMPED)])
def test_it_is_deployed_saved_and_copied(pipeline, make, tmp_path):
    calibrator = make(pipeline).fit(X_VAL, Y_VAL)
    expected = calibrator.predict_proba(X_VAL)
    module = calibrator.module_.eval()
    with torch.no_grad():
        proba = module(torch.from_numpy(X_VAL.astype(np.float64))).softmax(1)
    np.testing.assert_allclose(proba, expected, atol=1e-5)
    assert any(part is pipeline[-1].module_ for part in module.modules())
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(calibrator)).predict_proba(X_VAL), expected)
    calibrator.save(tmp_path / "saved")
    np.testing.assert_array_equal(skclamp.load(tmp_path / "saved", pipeline).predict_proba(X_VAL), expected)
    other = make_pipeline(StandardScaler().fit(X_VAL), pipeline[-1])
    with pytest.raises(ValueError, match="must be the network that the calibrator was fitted around"):
        skclamp.load(tmp_path / "saved", other)
    program = torch.export.export(module, (torch.from_numpy(X_VAL[:3].astype(np.float64)),)).module()
    with torch.no_grad():
        assert program(torch.from_numpy(X_VAL[:3].astype(np.float64))).shape == (3, 2)


def test_a_step_that_has_no_gradient_is_named():
    fitted = make_pipeline(QuantileTransformer(n_quantiles=20), net(max_epochs=1)).fit(X_TRAIN, Y_TRAIN)
    with pytest.raises(TypeError, match="The transformers known are StandardScaler, .*; got QuantileTransformer"):
        NeuralClampingCalibrator(fitted).fit(X_VAL, Y_VAL)
    with pytest.raises(TypeError, match="got QuantileTransformer"):
        NeuralClampingCalibrator(clone(fitted)).fit(X_VAL, Y_VAL)
    calibrator = TemperatureScaling(fitted).fit(X_VAL, Y_VAL)
    assert calibrator.score(X_VAL, Y_VAL) == fitted.score(X_VAL, Y_VAL)
    with pytest.raises(AttributeError, match="has no module_: .* no network of Pipeline. .* calibrate logits"):
        calibrator.module_  # noqa: B018


@pytest.mark.parametrize("criterion", [nn.BCEWithLogitsLoss, nn.NLLLoss])
def test_the_criterion_says_what_the_net_yields(criterion):
    binary = criterion is nn.BCEWithLogitsLoss
    kind = NeuralNetBinaryClassifier if binary else NeuralNetClassifier
    given = net(n_classes=1 if binary else 2, kind=kind, criterion=criterion, max_epochs=5)
    if not binary:
        given.module.append(nn.Softmax(1))
    y = Y_TRAIN.astype(np.float32) if binary else Y_TRAIN
    fitted = make_pipeline(StandardScaler(), given).fit(X_TRAIN, y)
    scores = fitted.predict_proba(X_VAL)
    expected = TemperatureScaling(response="probabilities").fit(scores, Y_VAL)
    for calibrator in (TemperatureScaling(fitted), NeuralClampingCalibrator(fitted, perturbation=None, output=None)):
        found = calibrator.fit(X_VAL, Y_VAL).predict_proba(X_VAL)
        np.testing.assert_allclose(found, expected.predict_proba(scores), atol=1e-3)
    said = TemperatureScaling(fitted, response="probabilities").fit(X_VAL, Y_VAL)
    np.testing.assert_allclose(said.predict_proba(X_VAL), expected.predict_proba(scores), atol=1e-6)
