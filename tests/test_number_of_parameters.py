"""How many numbers each output map has learned, and that the choice of the simplest map goes by it."""

import numpy as np
import pytest
from _output_maps import OUTPUT_MAPS, draw

from skclamp import (
    AccuracyPreservingIsotonic,
    CalibratorSelector,
    HistogramBinning,
    IsotonicCalibration,
    NeuralClampingCalibrator,
    TemperatureScaling,
    VectorScaling,
)
from skclamp.exceptions import CalibrationSetWarning

# Of four classes. Networks: weights and offsets of each layer, and the temperature before it.
PARAMETRIC = {
    "BetaCalibration": 1 + 3 * 4,
    "DirichletCalibration": 4 * 4 + 4,
    "EnsembleTemperatureScaling": 1 + 2,
    "IntraOrderPreservingCalibration": 1 + 10 * (4 + 1) + 3 * (10 + 1),
    "MatrixScaling": 4 * 4 + 4,
    "ParameterizedTemperatureScaling": 1 + 5 * (4 + 1) + 5 * (5 + 1) + (5 + 1),
    "PlattScaling": 1 + 2 * 4,
    "PriorShiftCorrection": 1,
    "SplineCalibration": 6,
    "StructuredMatrixScaling": 4 * 4 + 4,
    "StructuredVectorScaling": 2 * 4,
    "TemperatureScaling": 1,
    "VectorScaling": 2 * 4,
    "clamping without perturbation": 1,
    "focal temperature": 1,
    "order-preserving": 1 + 10 * (4 + 4 + 1) + 3 * (10 + 1),
}
# Of two classes, each with the four scores of `four_scores`.
NONPARAMETRIC = {
    "AccuracyPreservingIsotonic": 4 + 4 + 1,
    "BayesianBinningIntoQuantiles": 2 * (3 + 4),
    "HistogramBinning": 2 * 15,
    "IsotonicCalibration": 2 * (4 + 4),
    "VennAbersCalibration": 2 * (4 + 5 + 5),
    "quantile binning": 2 * (3 + 4),
}
SELECTORS = {"CalibratorSelector", "selector by one standard error"}
CHOICES = {"temperature": 1, "structured": 8, "vector": 8}


def four_scores():
    """Two classes' logits, and labels that are the more often 1 the higher the margin: 0, 1, 3 and 4 times of 4."""
    margin = np.repeat([-3.0, -1.0, 1.0, 3.0], 4)
    y = (np.tile(range(4), 4) < np.repeat([0, 1, 3, 4], 4)).astype(int)
    return np.column_stack([np.zeros(16), margin]), y


def made(name):
    return OUTPUT_MAPS[name].make()


def test_every_output_map_is_counted():
    assert {*PARAMETRIC, *NONPARAMETRIC, *SELECTORS} == set(OUTPUT_MAPS)


@pytest.mark.parametrize("n_samples", [240, 480])
@pytest.mark.parametrize("name", PARAMETRIC)
def test_parametric_maps(name, n_samples):
    assert made(name).fit(*draw(n_samples))._n_parameters == PARAMETRIC[name]


@pytest.mark.parametrize("name", NONPARAMETRIC)
def test_nonparametric_maps(name):
    assert made(name).fit(*four_scores())._n_parameters == NONPARAMETRIC[name]


@pytest.mark.parametrize("name", sorted(SELECTORS))
def test_a_selector_has_those_of_its_choice(name):
    selector = made(name).set_params(stack=False).fit(*draw())
    assert selector._n_parameters == CHOICES[selector.best_params_["candidate"]]


def test_rows_are_counted_without_their_padding():
    """The second class has two distinct scores, the others have four."""
    Z = np.column_stack([np.repeat([-3.0, -1.0, 1.0, 3.0], 4), np.zeros(16), np.repeat([3.0, 1.0, -1.0, -3.0], 4)])
    y = np.array([2, 2, 2, 2, 2, 2, 1, 0, 2, 1, 0, 0, 0, 0, 0, 0])
    fitted = IsotonicCalibration().fit(Z, y)
    finite = fitted.maps_.knots.isfinite().sum(1)
    assert finite.tolist() == [4, 2, 4]
    assert fitted._n_parameters == 2 * (4 + 2 + 4)


@pytest.mark.filterwarnings("ignore:1 of 3 classes have no sample:UserWarning")
def test_classes_without_a_sample_have_none():
    Z, y = four_scores()
    Z = np.column_stack([Z, np.full(16, -5.0)])
    assert HistogramBinning().fit(Z, y)._n_parameters == 2 * 15
    assert IsotonicCalibration().fit(Z, y)._n_parameters == 2 * (4 + 4)


@pytest.mark.parametrize("classes", [[1.0, 2.0, 3.0, 4.0], ["a", "b", "c", "d"]])
def test_names_of_classes_are_none(classes):
    Z, y = draw()
    assert TemperatureScaling(classes=classes).fit(Z, np.array(classes)[y])._n_parameters == 1


def test_an_output_map_takes_the_place_of_the_temperature():
    clamping = NeuralClampingCalibrator(perturbation=None, output=VectorScaling()).fit(*draw())
    assert clamping._n_parameters == 8


# The choice of the simplest


@pytest.mark.parametrize("simple", [TemperatureScaling(), VectorScaling()], ids=["temperature", "vector"])
@pytest.mark.parametrize("name", NONPARAMETRIC)
def test_one_standard_error_takes_no_nonparametric_map_for_the_simpler_one(name, simple):
    candidates = [("nonparametric", made(name)), ("simple", simple)]
    selector = CalibratorSelector(
        candidates=candidates, one_standard_error=True, stack=False, scoring=lambda calibrator, X, y: 0.0
    ).fit(*draw())
    assert selector.best_params_ == {"candidate": "simple"}
    nonparametric, parametric = selector.cv_results_["n_parameters"]
    assert nonparametric > parametric


@pytest.mark.filterwarnings(
    "ignore:temperature_ (is at the bound|can't be learned):sklearn.exceptions.ConvergenceWarning"
)
@pytest.mark.filterwarnings("ignore:all labels are of one class:UserWarning")
def test_a_temperature_is_taken_unseen():
    candidates = [("isotonic", AccuracyPreservingIsotonic()), ("temperature", TemperatureScaling())]
    with pytest.warns(CalibrationSetWarning, match="no two distinct samples .* 'temperature', which has the fewest"):
        CalibratorSelector(candidates=candidates).fit(np.tile([0.0, 1.0, 2.0], (20, 1)), np.zeros(20, int))
