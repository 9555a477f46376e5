"""PriorShiftCorrection: what is wrong with the labelled samples' probabilities is not taken for other frequencies."""

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

import skclamp
from skclamp import PriorShiftCorrection, TemperatureScaling, VectorScaling
from skclamp.exceptions import CalibrationSetWarning
from skclamp.metrics import negative_log_likelihood

UNEVEN, TURNED = [0.6, 0.3, 0.1], [0.1, 0.3, 0.6]


def draw(n_samples, frequencies, seed):
    """Logits of a network that was trained on balanced classes, 1.8 times as large as they should be."""
    rng = np.random.default_rng(seed)
    y = rng.choice(3, size=n_samples, p=frequencies)
    return 1.8 * (1.8 * np.eye(3)[y] + rng.normal(size=(n_samples, 3))), y


X, Y = draw(300, UNEVEN, 0)


def test_probabilities_that_are_off_class_by_class_are_refused(tmp_path):
    for seed in range(5):
        fitted = PriorShiftCorrection().fit(*draw(300, UNEVEN, seed))
        with pytest.warns(
            CalibrationSetWarning, match=r"off class by class \(p = .*PriorShiftCorrection\(StructuredVectorSc"
        ):
            fitted.adapt(draw(500, UNEVEN, 100 + seed)[0])
        assert not fitted.accepted_
        assert "off class by class" in fitted.verdict_.reason
    fitted.save(tmp_path / "saved")
    with pytest.warns(CalibrationSetWarning, match="off class by class"):
        skclamp.load(tmp_path / "saved").adapt(draw(500, TURNED, 1)[0])


def test_a_calibrator_of_each_class_mends_it():
    fitted = PriorShiftCorrection(VectorScaling()).fit(X, Y)
    assert not fitted.adapt(draw(500, UNEVEN, 1)[0]).accepted_
    new, y = draw(500, TURNED, 2)
    before = negative_log_likelihood(y, fitted.predict_proba(new))
    assert fitted.adapt(new).accepted_
    assert negative_log_likelihood(y, fitted.predict_proba(new)) < 0.8 * before


def test_where_samples_are_too_few_to_see_it_nothing_is_taken_for_a_change():
    """The old frequencies are what the probabilities imply, whatever the labels' own are."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat([0, 1, 2], [60, 48, 42]))
    logits = 3 * np.eye(3)[y] + rng.normal(scale=1.5, size=(150, 3))
    fitted = PriorShiftCorrection().fit(logits, y)
    mean = fitted.predict_proba(logits).mean(0)
    np.testing.assert_allclose(fitted.labelled_priors_, mean, rtol=1e-9)
    assert abs(mean - np.bincount(y) / len(y)).max() > 1e-3
    repeated = np.tile(logits, (20, 1))
    assert not fitted.adapt(repeated).accepted_
    assert "chance alone may do as much" in fitted.verdict_.reason


def test_given_frequencies_warn_of_it_at_fit():
    with pytest.warns(CalibrationSetWarning, match="off class by class"):
        PriorShiftCorrection(priors=TURNED).fit(X, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PriorShiftCorrection(VectorScaling(), priors=TURNED).fit(X, Y)
        PriorShiftCorrection().fit(X, Y)


def test_labels_of_one_class_are_refused():
    with pytest.warns(CalibrationSetWarning):
        fitted = PriorShiftCorrection().fit(X, np.zeros(len(X), dtype=int))
    assert not fitted.adapt(draw(500, TURNED, 1)[0]).accepted_
    assert "the labelled samples are all of one class" in fitted.verdict_.reason


@pytest.mark.filterwarnings("ignore:X holds .* on another scale than in fit:skclamp.exceptions.CalibrationSetWarning")
def test_a_temperature_at_its_bound_is_refused():
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=300)
    with pytest.warns(CalibrationSetWarning, match="temperature_ is at the bound"):
        fitted = PriorShiftCorrection().fit(-np.eye(3)[y] + 0.1 * rng.normal(size=(300, 3)), y)
    fitted.adapt(X)
    assert not fitted.accepted_
    assert "the temperature is at its bound" in fitted.verdict_.reason


def test_a_calibrator_around_a_classifier_that_is_not_fitted():
    with pytest.raises(ValueError, match="pass the classifier itself, or fit it first; got TemperatureScaling"):
        PriorShiftCorrection(TemperatureScaling(KNeighborsClassifier())).fit(X, Y)
    PriorShiftCorrection(TemperatureScaling(LogisticRegression().fit(*draw(300, UNEVEN, 1)))).fit(X, Y)


def test_adapt_takes_no_labels():
    fitted = PriorShiftCorrection(VectorScaling()).fit(X, Y)
    with pytest.raises(TypeError, match="adapt takes no labels"):
        fitted.adapt(X, Y)
    with pytest.raises(TypeError, match="adapt takes no labels and no weights"):
        fitted.adapt(X, sample_weight=np.ones(len(X)))
