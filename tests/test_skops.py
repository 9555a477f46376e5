"""skops holds every calibrator but those of torch networks, for which there is `save`."""

import json

import joblib
import numpy as np
import pytest
import torch
from _calibrators import CALIBRATORS
from _output_maps import OUTPUT_MAPS
from _small_networks import bare_logits, labels_of, logits, perceptron, vectors
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import skclamp
from skclamp import IsotonicCalibration, NeuralClampingCalibrator, TemperatureScaling
from skclamp.clamping._base import BaseClamping

Z = logits(200)
Y = labels_of(Z)
OF_NETWORKS = [name for name, case in CALIBRATORS.items() if isinstance(case.network, nn.Module)]
OURS_AND_THEIR_USERS = ("skclamp", "sklearn", "numpy", "scipy", "skorch.history", "torch.Size")


MAPS = [name for name, kind in OUTPUT_MAPS.items() if not isinstance(kind.make(), BaseClamping)]


@pytest.fixture
def skops():
    return pytest.importorskip("skops.io", reason="needs skops: pip install skops")


def round_trip(skops, calibrator, path):
    """Through a file; what is in it was looked at, and is ours or scikit-learn's."""
    skops.dump(calibrator, path)
    types = skops.get_untrusted_types(file=path)
    assert not [name for name in types if not name.startswith(OURS_AND_THEIR_USERS)]
    return skops.load(path, trusted=types)


@pytest.mark.parametrize("name", MAPS)
def test_output_maps(skops, name, tmp_path):
    fitted = OUTPUT_MAPS[name].fit(Z, Y)
    loaded = round_trip(skops, fitted, tmp_path / "calibrator.skops")
    np.testing.assert_array_equal(loaded.predict_log_proba(Z), fitted.predict_log_proba(Z))
    assert set(vars(loaded)) == set(vars(fitted))
    np.testing.assert_array_equal(loaded.fit(Z, Y).predict_proba(Z), fitted.predict_proba(Z))


@pytest.mark.parametrize("name", [name for name in CALIBRATORS if name not in OF_NETWORKS])
def test_calibrators_of_logits_and_of_classifiers(skops, name, tmp_path):
    case = CALIBRATORS[name]
    loaded = round_trip(skops, case.fitted, tmp_path / "calibrator.skops")
    np.testing.assert_array_equal(loaded.predict_log_proba(case.X), case.fitted.predict_log_proba(case.X))


@pytest.mark.parametrize("kind", [TemperatureScaling, IsotonicCalibration])
@pytest.mark.parametrize("classifier", [LogisticRegression(), RandomForestClassifier(5, random_state=0)])
def test_the_whole_pipeline(skops, kind, classifier, tmp_path):
    X = vectors(200)
    y = labels_of(3 * X[:, :3])
    pipeline = make_pipeline(StandardScaler(), kind(classifier, cv=2)).fit(X, y)
    loaded = round_trip(skops, pipeline, tmp_path / "pipeline.skops")
    np.testing.assert_array_equal(loaded.predict_proba(X), pipeline.predict_proba(X))


def test_a_perturbation_that_was_kept(skops, tmp_path):
    """With the module, the delta and the history; around a classifier that was fitted before, and one that wasn't."""
    X = vectors(400).astype(np.float64)
    y = labels_of(6 * X[:, :3] - 6, temperature=1.0)
    fitted = LogisticRegression().fit(X[:200] + 1, y[:200])
    settings = {"perturbation": "channel", "validation_fraction": None, "optimizer": "adam", "random_state": 0}
    for classifier in (fitted, LogisticRegression()):
        made = NeuralClampingCalibrator(classifier, cv=2, **settings).fit(X, y)
        assert made.accepted_
        loaded = round_trip(skops, made, tmp_path / "calibrator.skops")
        np.testing.assert_array_equal(loaded.predict_log_proba(X), made.predict_log_proba(X))
        np.testing.assert_array_equal(loaded.delta_, made.delta_)
        assert list(loaded.history_) == list(made.history_)
        x = torch.as_tensor(X)
        torch.testing.assert_close(loaded.module_.eval()(x), made.module_.eval()(x), rtol=0, atol=0)


def test_nothing_is_trusted_unasked(skops, tmp_path):
    skops.dump(IsotonicCalibration().fit(Z, Y), tmp_path / "calibrator.skops")
    with pytest.raises(skops.exceptions.UntrustedTypesFoundException, match="skclamp"):
        skops.load(tmp_path / "calibrator.skops", trusted=[])


@pytest.mark.parametrize("name", ["temperature of a network", "clamping"])
def test_networks_of_torch_are_for_save_and_joblib(name, tmp_path):
    """skops knows no tensors. A file that `save` wrote runs no code either, and leaves the network to torch."""
    pytest.importorskip("safetensors")
    case = CALIBRATORS[name]
    case.fitted.save(tmp_path / "calibrator.safetensors")
    expected = case.fitted.predict_proba(case.X)
    again = [
        skclamp.load(tmp_path / "calibrator.safetensors", case.fitted.estimator),
        joblib.load(joblib.dump(case.fitted, tmp_path / "calibrator.joblib")[0]),
    ]
    for loaded in again:
        np.testing.assert_array_equal(loaded.predict_proba(case.X), expected)


# The state behind it


@pytest.mark.parametrize("name", MAPS)
def test_the_state_of_an_output_map_holds_no_tensors(name):
    state = OUTPUT_MAPS[name].fit(Z, Y).__getstate__()
    packed = [value for value in state.values() if hasattr(value, "arrays")]
    assert not [value for value in state.values() if isinstance(value, nn.Module)]
    for value in packed:
        assert json.loads(value.text)
        assert all(isinstance(array, np.ndarray) for array in value.arrays.values())


def test_parameters_stay_as_they_are_in_the_state():
    """A network that is given as the estimator, and an object of a class that could be packed."""
    network = perceptron(0, 4)
    X = Z.astype(np.float32)
    calibrator = TemperatureScaling(network).fit(X, labels_of(bare_logits(network, X)))
    assert calibrator.__getstate__()["estimator"] is network
    clamped = NeuralClampingCalibrator(network, perturbation=nn.Identity(), random_state=0)
    assert isinstance(clamped.__getstate__()["perturbation"], nn.Identity)
