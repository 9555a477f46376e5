"""How many numbers each output map has learned, and that the choice of the simplest map goes by it."""

import numpy as np
import pytest
from _output_maps import OUTPUT_MAPS, draw

from skclamp import (
    HistogramBinning,
    IsotonicCalibration,
)

# Of four classes. Networks: weights and offsets of each layer, and the temperature before it.
PARAMETRIC = {
    "BetaCalibration": 1 + 3 * 4,
    # Without covariates.
    "CovariateScaling": 1 + 4,
    "DirichletCalibration": 4 * 4 + 4,
    "EnsembleTemperatureScaling": 1 + 2,
    "IntraOrderPreservingCalibration": 1 + 10 * (4 + 1) + 3 * (10 + 1),
    # Where a temperature for each row isn't proven.
    "LocalTemperatureScaling": 1,
    "MatrixScaling": 4 * 4 + 4,
    "ParameterizedTemperatureScaling": 1 + 5 * (4 + 1) + 5 * (5 + 1) + (5 + 1),
    "PlattScaling": 1 + 2 * 4,
    "PriorShiftCorrection": 1,
    # Two slopes, an offset and the range of each class.
    "QuadraticScaling": 1 + 5 * 4,
    "SplineCalibration": 6,
    "StructuredMatrixScaling": 4 * 4 + 4,
    "StructuredVectorScaling": 2 * 4,
    "TemperatureScaling": 1,
    "VectorScaling": 2 * 4,
    "a map to copy, full": 1 + 4,
    "a map to copy, simple": 1,
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
# Of what they may choose.
SELECTORS = dict.fromkeys(
    ["CalibratorSelector", "selector by Brier score"], {"temperature": 1, "structured": 8, "vector": 8}
)


def four_scores(third=None):
    """Two classes' logits, and labels that are the more often 1 the higher the margin: 0, 1, 3 and 4 times of 4."""
    margin = np.repeat([-3.0, -1.0, 1.0, 3.0], 4)
    y = (np.tile(range(4), 4) < np.repeat([0, 1, 3, 4], 4)).astype(int)
    return np.column_stack([np.zeros(16), margin, *([] if third is None else [np.full(16, third)])]), y


@pytest.mark.parametrize("name", OUTPUT_MAPS)
def test_every_output_map_is_counted(name):
    expected = {**PARAMETRIC, **NONPARAMETRIC, **SELECTORS}[name]
    for data in [four_scores()] if name in NONPARAMETRIC else [draw(240), draw(480)]:
        calibrator = OUTPUT_MAPS[name].make()
        calibrator.fit(*data)
        if name in SELECTORS:
            used = [
                expected[each] for each, weight in zip(calibrator._names, calibrator.weights_, strict=True) if weight
            ]
            assert calibrator._n_parameters >= max(used)
        else:
            assert calibrator._n_parameters == expected


@pytest.mark.filterwarnings("ignore:1 of 3 classes ha(ve|s) no sample:UserWarning")
def test_neither_padding_nor_classes_without_a_sample_are_counted():
    """Of four, two and four distinct scores; and of a class with none."""
    Z = np.column_stack([np.repeat([-3.0, -1.0, 1.0, 3.0], 4), np.zeros(16), np.repeat([3.0, 1.0, -1.0, -3.0], 4)])
    y = np.array([2, 2, 2, 2, 2, 2, 1, 0, 2, 1, 0, 0, 0, 0, 0, 0])
    assert IsotonicCalibration().fit(Z, y)._n_parameters == 2 * (4 + 2 + 4)
    assert HistogramBinning().fit(*four_scores(-5.0))._n_parameters == 2 * 15
    assert IsotonicCalibration().fit(*four_scores(-5.0))._n_parameters == 2 * (4 + 4)
