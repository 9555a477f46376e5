"""What every output map promises: who comes in which order, and in which form, doesn't matter; poor data do no harm."""

import copy
import re
import warnings

import numpy as np
import pytest
import torch
from _output_maps import CLAMPING, OUTPUT_MAPS, PUBLIC, draw
from _small_networks import bare_logits, labels_of, logits, perceptron, vectors
from scipy.special import logsumexp

from skclamp import CalibratorSelector, TemperatureScaling

# Sums in another order differ by rounding, and searches are to end where nothing else is left.
ATOL = 1e-9


@pytest.fixture(params=OUTPUT_MAPS)
def output_map(request):
    return OUTPUT_MAPS[request.param]


def test_every_public_calibrator_is_here():
    assert set(PUBLIC) <= {*OUTPUT_MAPS, *CLAMPING}
    assert len(PUBLIC) >= 20


def close(found, expected, atol=ATOL):
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


# Samples, classes and constants


def test_any_order_of_the_samples_will_do(output_map):
    Z, y = draw()
    order = np.random.default_rng(1).permutation(len(y))
    close(output_map.fit(Z[order], y[order]).predict_proba(Z), output_map.drawn.predict_proba(Z))


def test_permuted_classes_permute_the_result(output_map):
    (Z, y), columns = draw(), [2, 0, 3, 1]
    permuted = output_map.fit(Z[:, columns], np.argsort(columns)[y]).predict_proba(Z[:, columns])
    close(permuted, output_map.drawn.predict_proba(Z)[:, columns])


def told(fitted, Z):
    """Probabilities; of a selector the scores: weights are no further samples to the standard errors it chooses by."""
    return fitted.cv_results_["mean_test_score"] if isinstance(fitted, CalibratorSelector) else fitted.predict_proba(Z)


def test_integer_weights_are_repetitions(output_map):
    Z, y = draw()
    rng = np.random.default_rng(1)
    weight = np.where(Z.argmax(1) == y, rng.integers(0, 2, len(y)), rng.integers(1, 5, len(y)))
    weighted = told(output_map.fit(Z, y, sample_weight=weight), Z)
    close(weighted, told(output_map.fit(np.repeat(Z, weight, axis=0), np.repeat(y, weight)), Z))
    assert np.abs(weighted - told(output_map.drawn, Z)).max() > 0.01


def test_a_constant_added_to_a_row_changes_nothing(output_map):
    Z, y = draw()
    # Multiples of a power of 2 are added exactly.
    Z = np.round(Z * 2**20) / 2**20
    shift = np.random.default_rng(1).integers(-50, 50, size=(len(y), 1))
    close(output_map.fit(Z + shift, y).predict_proba(Z - shift), output_map.fit(Z, y).predict_proba(Z))


def test_rounding_errors_stay_rounding_errors(output_map):
    Z, y = draw()
    off = Z * (1 + 1e-15 * np.random.default_rng(1).uniform(-1, 1, Z.shape))
    expected = output_map.drawn.predict_proba(Z)
    close(output_map.drawn.predict_proba(off), expected)
    close(output_map.fit(off, y).predict_proba(Z), expected)


# Forms of the same data


def test_one_column_is_the_log_odds_of_the_second_class(output_map):
    Z, y = draw(n_classes=2)
    odds = Z[:, 1] - Z[:, 0]
    both = np.stack([np.zeros_like(odds), odds], 1)
    expected = output_map.fit(both, y).predict_proba(both)
    np.testing.assert_array_equal(output_map.fit(odds, y).predict_proba(odds[:, None]), expected)
    close(output_map.fit(Z, y).predict_proba(Z), expected)


def test_narrow_logits_are_as_good_as_wide_ones(output_map):
    Z, y = draw()
    narrow = Z.astype(np.float16)
    wide = narrow.astype(np.float64)
    proba = output_map.fit(narrow, y).predict_proba(narrow)
    assert proba.dtype == np.float64
    close(proba, output_map.fit(wide, y).predict_proba(wide), atol=1e-6)


# Predictions


def test_predictions_stay_what_they_were_where_that_is_promised(output_map):
    """Labels shun the first two classes: what may change a prediction does."""
    Z = logits(400, 4, seed=2)
    y = labels_of(Z - [3, 3, 0, 0])
    changed = output_map.fit(Z, y).predict(Z) != Z.argmax(1)
    assert changed.any() == bool(output_map.changes_predictions)


# Parameters

BAD_PARAMETERS = {
    "TemperatureScaling": {"gamma": [-0.5, np.inf, "one"], "bounds": [3.0], "response": ["scores"], "batch_size": [0]},
    "VectorScaling": {"prior_strength": [-1.0]},
    "StructuredVectorScaling": {"diagonal_penalty": [-1.0], "intercept_penalty": [-1.0]},
    "StructuredMatrixScaling": {"off_diagonal_penalty": [-1.0]},
    "MatrixScaling": {"off_diagonal_penalty": [-1.0]},
    "DirichletCalibration": {"intercept_penalty": [-1.0], "n_folds": [1]},
    "IntraOrderPreservingCalibration": {"variant": ["sorted"], "alpha": [-1], "max_iter": [0]},
    "ParameterizedTemperatureScaling": {"n_top": [0]},
    "HistogramBinning": {"n_bins": [0, 2.5], "strategy": ["kmeans"], "prior_strength": [-1]},
    "BayesianBinningIntoQuantiles": {"prior_strength": [0]},
    "AccuracyPreservingIsotonic": {"slope": [0]},
    "VennAbersCalibration": {"precision": [-1]},
    "SplineCalibration": {"n_knots": [2]},
}


@pytest.mark.parametrize(
    ("map_name", "name", "value"),
    [(map_name, name, value) for map_name, bad in BAD_PARAMETERS.items() for name in bad for value in bad[name]],
)
def test_bad_parameters(map_name, name, value):
    message = f"The '{name}' parameter of {map_name} must be .* Got {value!r} instead"
    with pytest.raises(ValueError, match=message):
        OUTPUT_MAPS[map_name].make().set_params(**{name: value}).fit(*draw(50))


# Many classes, and poor data


@pytest.mark.filterwarnings("ignore:.* classes ha(ve|s) no sample in the calibration set:UserWarning")
@pytest.mark.filterwarnings("ignore:the loss hadn't converged:sklearn.exceptions.ConvergenceWarning")
def test_a_thousand_classes_most_of_which_are_missing(output_map):
    n_classes = output_map.n_classes
    Z, y = draw(40, n_classes)
    calibrator = output_map.make().set_params(classes=range(n_classes)).fit(Z, y)
    log_proba = calibrator.predict_log_proba(logits(20, n_classes, seed=3))
    assert log_proba.shape == (20, n_classes)
    assert np.isfinite(log_proba).all()
    close(logsumexp(log_proba, axis=1), 0)


def one_sample_of_a_class(Z, y):
    rare = np.flatnonzero(y == 2)
    kept = np.r_[np.flatnonzero(y != 2), rare[:1]]
    return Z[kept], y[kept]


DEGENERATE = {
    "one sample of a class": one_sample_of_a_class,
    "two samples": lambda Z, y: (Z[:2], np.array([0, 1])),
    "all right": lambda Z, y: (Z, Z.argmax(1)),
    "all wrong": lambda Z, y: (Z, Z.argmin(1)),
    "constant logits": lambda Z, y: (np.zeros_like(Z), y),
    "duplicates": lambda Z, y: (np.repeat(Z[:2], 30, axis=0), np.repeat([3, 0, 1, 2], 15)),
    "one class": lambda Z, y: (Z, np.ones_like(y)),
    "missing class": lambda Z, y: (Z[y != 2], y[y != 2]),
    "huge logits": lambda Z, y: (1e5 * Z, y),
    "tiny logits": lambda Z, y: (Z / 1e3, y),
}


# What is said of the data alike to all maps, see tests/_backbones/test_plausibility.py.
SEEN = (
    r"(the columns may be in another order: [^;]+|"
    r"all labels are of one class, [^;]+|"
    r"the accuracy before calibration is \S+, on \d+ samples no better than guessing among [^;]+|"
    r"(temperature_|the best temperature of the logits) is \S+, which is extreme; the accuracy is \S+%|"
    r"(1 sample is|\d+ samples are) fewer than 20 for [^;]+?|"
    r"\w+ is likely worse than one temperature: (out of fold [^;]+; \d+ samples are few|\d+ samples are)[^;]+?|"
    r"class frequencies are off: [^;]+?)"
)
ALIKE = re.compile(rf"{SEEN}(; {SEEN})*(\. Likely causes.*)?")


@pytest.mark.filterwarnings("ignore:X holds .* on another scale than in fit:skclamp.exceptions.CalibrationSetWarning")
@pytest.mark.parametrize("what", DEGENERATE)
def test_degenerate_sets(output_map, what):
    Z, y = draw(60)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calibrator = output_map.make().set_params(classes=range(4)).fit(*DEGENERATE[what](Z, y))
    own = [each for each in caught if not ALIKE.fullmatch(str(each.message))]
    assert bool(own) == (what in output_map.warns), [str(each.message) for each in caught]
    assert {each.filename for each in caught} <= {__file__}
    for scale in (0, 1, 1e4, np.finfo(np.float32).max / 20):
        log_proba = calibrator.predict_log_proba(scale * Z)
        assert np.isfinite(log_proba).all()
        close(logsumexp(log_proba, axis=1), 0)


# Through a network


NETWORK, INPUTS = perceptron(), vectors(600)
# The network sees inputs that have lost gain and offset.
Y_ENCODED = labels_of(bare_logits(NETWORK, 1.6 * INPUTS + 0.7), temperature=1.5)


def with_permuted_last_layer(network, columns):
    twin = copy.deepcopy(network)
    with torch.no_grad():
        for value in twin[-1].parameters():
            value.copy_(value[columns])
    return twin


@pytest.mark.parametrize("clamping", CLAMPING.values(), ids=CLAMPING)
def test_a_permuted_last_layer_permutes_the_result(clamping):
    columns = [2, 0, 3, 1]
    plain = clamping.make(NETWORK).fit(INPUTS, Y_ENCODED)
    assert plain.accepted_
    twin = clamping.make(with_permuted_last_layer(NETWORK, columns)).fit(INPUTS, np.argsort(columns)[Y_ENCODED])
    close(twin.predict_proba(INPUTS), plain.predict_proba(INPUTS)[:, columns], atol=1e-5)


WITHOUT_DRAWS = {name: clamping for name, clamping in CLAMPING.items() if not clamping.draws}


@pytest.mark.parametrize("clamping", WITHOUT_DRAWS.values(), ids=WITHOUT_DRAWS)
def test_neither_order_nor_repetition_of_inputs_matters(clamping):
    rng = np.random.default_rng(1)
    weight, order = rng.integers(0, 4, len(Y_ENCODED)), rng.permutation(len(Y_ENCODED))
    weighted = clamping.make(NETWORK).fit(INPUTS, Y_ENCODED, sample_weight=weight).predict_proba(INPUTS)
    repeated = np.repeat(INPUTS, weight, axis=0), np.repeat(Y_ENCODED, weight)
    close(clamping.make(NETWORK).fit(*repeated).predict_proba(INPUTS), weighted, atol=1e-5)
    shuffled = clamping.make(NETWORK).fit(INPUTS[order], Y_ENCODED[order], sample_weight=weight[order])
    close(shuffled.predict_proba(INPUTS), weighted, atol=1e-5)
    for other in (clamping.make(NETWORK), TemperatureScaling(NETWORK)):
        assert np.abs(other.fit(INPUTS, Y_ENCODED).predict_proba(INPUTS) - weighted).max() > 0.01
