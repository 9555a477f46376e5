"""Conformal prediction on top: MAPIE takes a fitted calibrator as its estimator."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from _digits import calibration_and_test, convolutional_network, shifted, splits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from skclamp import IsotonicCalibration, NeuralClampingCalibrator, TemperatureScaling

pytest.importorskip("mapie", reason="needs mapie: pip install mapie")
pytestmark = pytest.mark.slow
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "conformal_mapie.py"


@pytest.fixture(scope="module")
def parts():
    """Digits as rows of numbers: to calibrate, to conformalise, and to judge."""
    calibration, (x, y) = calibration_and_test(0, n_calibration=400)
    X_conformal, X_test, y_conformal, y_test = train_test_split(x, y, train_size=400, random_state=0)
    return calibration, (X_conformal, y_conformal), (X_test, y_test)


def coverage_and_size(estimator, conformal_set, test_set, score, level=0.9):
    from mapie.classification import SplitConformalClassifier

    conformal = SplitConformalClassifier(estimator, confidence_level=level, conformity_score=score, prefit=True)
    conformal.conformalize(*conformal_set)
    X, y = test_set
    predicted, sets = conformal.predict_set(X)
    np.testing.assert_array_equal(predicted, estimator.predict(X))
    y_encoded = np.searchsorted(estimator.classes_, y)
    return sets[np.arange(len(y)), y_encoded, 0].mean(), sets.sum(1).mean()


@pytest.mark.parametrize("score", ["lac", "aps"])
@pytest.mark.parametrize("names", [None, np.array(list("abcdefghij"))], ids=["numbers", "letters"])
@pytest.mark.parametrize("kind", [TemperatureScaling, IsotonicCalibration])
def test_sets_around_calibrators_of_a_classifier_hold_what_they_promise(parts, kind, names, score):
    def rows(part):
        return part[0].reshape(len(part[0]), -1), part[1] if names is None else names[part[1]]

    calibration, conformal_set, test_set = map(rows, parts)
    calibrator = kind(LogisticRegression(max_iter=500).fit(*rows(splits()[0]))).fit(*calibration)
    coverage, size = coverage_and_size(calibrator, conformal_set, test_set, score)
    # 397 images to judge by and 400 for the threshold leave a standard error of 2 %.
    assert 0.83 < coverage <= 1
    assert size < 2.5


def test_sets_around_a_clamped_network_are_smaller_where_clamping_helps(parts):
    """Images as they are: what MAPIE hands on needn't be rows of numbers."""
    seen = [(shifted(x, "gain and offset"), y) for x, y in parts]
    network = convolutional_network()
    found = {
        kind: coverage_and_size(calibrator.fit(*seen[0]), *seen[1:], "lac", level=0.97)
        for kind, calibrator in {
            "temperature": TemperatureScaling(network),
            "clamped": NeuralClampingCalibrator(network, random_state=0),
        }.items()
    }
    assert all(0.94 < coverage <= 1 for coverage, _ in found.values())
    assert found["clamped"][1] < found["temperature"][1] - 0.05


def test_the_example_runs_and_shows_what_it_says(monkeypatch):
    lines = []
    example = runpy.run_path(str(EXAMPLE))
    monkeypatch.setitem(example["main"].__globals__, "print", lambda text: lines.extend(text.splitlines()))
    example["main"]()
    rows = [re.split("  +", line.strip()) for line in lines[2:]]
    found = {name: (float(coverage), float(size)) for name, coverage, size in rows}
    assert all(coverage > 90 for coverage, _ in found.values())
    assert found["uncalibrated"][1] == 10
    assert max(found[name][1] for name in ("temperature scaling", "structured vector scaling")) < 2
