"""PriorShiftCorrection: what is wrong with the labelled samples' probabilities is not taken for other frequencies."""

import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
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
NAMES = np.array(["ant", "bee", "cat"])


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


@pytest.mark.parametrize("kind", [dict, pd.Series])
def test_frequencies_by_the_names_of_classes(kind):
    by_name = kind({"cat": 0.6, "ant": 0.1, "bee": 0.3})
    named = PriorShiftCorrection(VectorScaling(), classes=NAMES, priors=by_name).fit(X, NAMES[Y])
    np.testing.assert_allclose(named.priors_, TURNED)
    with pytest.raises(ValueError, match=r"priors must have a frequency for each of the classes \[0, 1, 2\]; got"):
        PriorShiftCorrection(VectorScaling(), priors=by_name).fit(X, Y)


@pytest.mark.parametrize(
    "priors",
    [
        pd.Series({"cat": 0.6, "ant": 0.0, "bee": 0.4}),
        pd.Series([0.4, 0.6, 0.0], index=NAMES[[1, 2, 0]], dtype="Float64"),
        pd.array([0.0, 0.4, 0.6], dtype="Float64"),
        [0.0, 0.4, 0.6],
        [Decimal("0"), Decimal("0.4"), Decimal("0.6")],
    ],
    ids=["Series", "nullable Series in another order", "nullable array", "list", "Decimals"],
)
def test_given_frequencies_are_saved_however_they_are_given(priors, tmp_path):
    X, y = draw(300, [1 / 3] * 3, 1)
    saved = PriorShiftCorrection(priors=priors, classes=NAMES.tolist()).fit(X, NAMES[y])
    saved.save(tmp_path / "saved")
    loaded = skclamp.load(tmp_path / "saved")
    expected = saved.predict_log_proba(X)
    assert (expected[:, 0] == -np.inf).all()
    np.testing.assert_array_equal(loaded.predict_log_proba(X), expected)
    with pytest.raises(ValueError, match="priors must be None for adapt"):
        loaded.adapt(X)
    np.testing.assert_array_equal(loaded.fit(X, NAMES[y]).priors_, saved.priors_)


def test_parameters_set_after_the_fit_change_no_prediction():
    X, y = draw(300, [1 / 3] * 3, 1)
    fitted = PriorShiftCorrection(priors=[0.0, 0.4, 0.6]).fit(X, y)
    before = fitted.predict_log_proba(X)
    np.testing.assert_array_equal(fitted.set_params(priors=None).predict_log_proba(X), before)


def test_adapt_takes_no_labels():
    fitted = PriorShiftCorrection(VectorScaling()).fit(X, Y)
    with pytest.raises(TypeError, match="adapt takes no labels"):
        fitted.adapt(X, Y)
    with pytest.raises(TypeError, match="adapt takes no labels and no weights"):
        fitted.adapt(X, sample_weight=np.ones(len(X)))


def test_the_summary_is_of_what_was_fitted():
    fitted = PriorShiftCorrection(VectorScaling()).fit(X, Y)
    summary = fitted.summary()
    assert fitted.set_params(priors=TURNED).summary() == summary
    fitted.fit(X, Y)
    assert fitted.accepted_
    assert fitted.set_params(priors=None).summary().endswith("given as priors, which nothing has tested.")
