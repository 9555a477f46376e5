"""What users try first: it is taken, or its message has the mend."""

import numpy as np
import pytest
import torch

import skclamp
from skclamp import SelectiveClassifier, TemperatureScaling, VectorScaling, compare_calibrators


def drawn(n_samples=300, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3.0, size=(n_samples, 3))
    return logits, (logits / 2 + rng.gumbel(size=logits.shape)).argmax(1)


def test_one_calibrator_is_compared_alone():
    found = compare_calibrators(None, *drawn(), *drawn(seed=1), calibrators=VectorScaling(), n_resamples=20, n_draws=20)
    assert {row.name for row in found.rows} == {"VectorScaling", "uncalibrated"}


@pytest.mark.parametrize("name", ["f.pkl", "f.pickle", "f.joblib"])
def test_files_are_no_pickles(tmp_path, name):
    with pytest.raises(ValueError, match=r"skclamp\.load reads.*joblib\.dump"):
        TemperatureScaling().fit(*drawn()).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_class_reads_its_files(tmp_path):
    network, (X, y) = torch.nn.Identity(), drawn(600)
    calibrator = TemperatureScaling(network).fit(X.astype(np.float32), y)
    calibrator.save(tmp_path / "t.safetensors")
    loaded = TemperatureScaling.load(tmp_path / "t.safetensors", network)
    assert loaded.temperature_ == calibrator.temperature_
    with pytest.raises(TypeError, match="must be a file of a VectorScaling; got that of a TemperatureScaling"):
        VectorScaling.load(tmp_path / "t.safetensors", network)
    X, y = drawn(600, seed=1)
    selective = SelectiveClassifier(calibrator, target_risk=0.3).fit(X.astype(np.float32), y)
    selective.save(tmp_path / "s.safetensors")
    assert SelectiveClassifier.load(tmp_path / "s.safetensors", calibrator).threshold_ == selective.threshold_


def test_minus_one_is_no_label():
    logits, y = drawn()
    y[:5] = -1
    with pytest.raises(ValueError, match="leave these samples out, or give neural clamping X_unlabelled"):
        TemperatureScaling(classes=[0, 1, 2]).fit(logits, y)


def test_classes_that_are_missing_are_asked_for():
    logits, _ = drawn()
    with pytest.raises(ValueError, match=r"such as classes=range\(3\)"):
        skclamp.TemperatureScaling().fit(logits, np.arange(300) % 2 + 5)
