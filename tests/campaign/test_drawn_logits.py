"""Calibrators of what is drawn for logits: sound ones are calibrated, whatever else is so or is refused."""

from functools import partial

import numpy as np
from _campaign import cases, check_fitted, check_probabilities, keeping
from _drawn import (
    Labels,
    Table,
    Weights,
    any_labels,
    any_table,
    any_weights,
    generator,
    seeds,
    sound_labels,
    sound_logits,
    sound_weights,
)
from _output_maps import OUTPUT_MAPS
from hypothesis import example
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from scipy.special import log_softmax, softmax

from skclamp import (
    CalibratorSelector,
    DirichletCalibration,
    HistogramBinning,
    NeuralClampingCalibrator,
    TemperatureScaling,
    VectorScaling,
    VennAbersCalibration,
)
from skclamp.metrics import neg_brier_score_scorer

# The selector has drawn cases of its own.
MAPS = {name: output_map.make for name, output_map in OUTPUT_MAPS.items() if "elector" not in name} | {
    "Dirichlet, penalised": partial(DirichletCalibration, off_diagonal_penalty=0.1, intercept_penalty=0.1),
    "bins without prior": partial(HistogramBinning, strategy="quantile", n_bins=4, prior_strength=0),
    "rounded Venn-Abers": partial(VennAbersCalibration, precision=1),
    "clamping": partial(NeuralClampingCalibrator, random_state=0),
}
names = st.sampled_from(sorted(MAPS))


def width(table):
    return 2 if len(table.shape) == 1 or table.shape[1] == 1 else table.shape[1]


@cases(20, name=names, table=sound_logits(), labels=sound_labels(), weights=sound_weights(), scale=st.integers(-3, 3))
def test_sound_logits_are_calibrated(name, table, labels, weights, scale):
    n, k = table.shape[0], width(table)
    X, y, weight = table.given(), labels.given(n, k), weights.given(n)
    calibrator = MAPS[name](classes=labels.classes(n, k))
    new = generator(labels.seed).normal(size=(5, k)) * 10.0 ** min(300, table.scale + scale)
    with keeping(X, y, weight, new, sound=True):
        calibrator.fit(X, y, sample_weight=weight)
        proba = check_fitted(calibrator, X, n)
        assert calibrator.classes_.tolist() == labels.names(k).tolist()
        again = MAPS[name](classes=labels.names(k))
        plain = np.array(labels.names(k)[labels.encoded(n, k)])
        again.fit(np.ascontiguousarray(table.values()), plain, sample_weight=weights.values(n))
        np.testing.assert_allclose(again.predict_proba(table.values()), proba, rtol=0, atol=1e-9)
    with keeping(new):
        check_fitted(calibrator, new, 5)


# Odds so far apart that a matrix has no inverse.
@example(
    name="BetaCalibration",
    table=Table((5, 2), 0, 17367, ((36, 3.4e38),), "float64", "C"),
    labels=Labels("indices", "array", 99, 266, False),
    weights=Weights("none", 0),
    new=Table((0, 1), 0, 0, (), "float64", "C"),
)
@cases(80, name=names, table=any_table(), labels=any_labels(), weights=any_weights(), new=any_table())
def test_anything_is_calibrated_or_refused(name, table, labels, weights, new):
    shape = table.shape or (3,)
    n, k = shape[0], 2 if len(shape) == 1 else max(2, shape[-1])
    X, y, weight, Z = table.given(), labels.given(n, k), weights.given(n), new.given()
    calibrator = MAPS[name](classes=labels.classes(n, k))
    with keeping(X, y, weight) as outcome:
        calibrator.fit(X, y, sample_weight=weight)
        check_fitted(calibrator, X, n)
    if outcome.refusal:
        return
    with keeping(Z):
        check_probabilities(calibrator.predict_proba(Z))


@cases(15, table=sound_logits(), labels=sound_labels(), weights=sound_weights(), gamma=st.sampled_from([0, 0.0, 1.0]))
def test_temperature_scaling_is_what_few_lines_of_scipy_find(table, labels, weights, gamma):
    n, k = table.shape[0], width(table)
    y, weight = labels.encoded(n, k), weights.values(n)
    X = table.values().astype(np.float64)
    logits = X if X.ndim == 2 and X.shape[1] > 1 else np.stack([0 * X.ravel(), X.ravel()], 1)
    with keeping(X, sound=True):
        calibrator = TemperatureScaling(classes=range(k), gamma=gamma).fit(X, y, sample_weight=weight)
        found = calibrator.predict_log_proba(X)

    def loss(log_temperature):
        log_proba = log_softmax(logits / np.exp(log_temperature), axis=1)[np.arange(n), y]
        return np.average((1 - np.exp(log_proba)).clip(0) ** gamma * -log_proba, weights=weight)

    np.testing.assert_allclose(found, log_softmax(logits / calibrator.temperature_, axis=1), rtol=1e-9, atol=1e-12)
    bounds = np.log(calibrator.bounds)
    starts = np.linspace(*bounds, 12)
    tried = [minimize_scalar(loss, bounds=pair, method="bounded") for pair in zip(starts[:-1], starts[1:], strict=True)]
    best, objective = min(each.fun for each in tried), loss
    optimum = min(tried, key=lambda each: each.fun).x
    if loss(bounds[0]) <= best and loss(bounds[0]) < loss(bounds[1]):
        strength = 1.0
    else:
        strength = 0.0 if loss(bounds[1]) <= best else strength_of_prior(logits, y, weight, np.exp(optimum))
    if strength:
        penalty = penalty_of_prior(logits, y, weight, strength, smoothed=gamma == 0)

        def objective(log_temperature):
            return loss(log_temperature) + penalty(log_temperature)

        with_prior = (minimize_scalar(objective, bounds=(low, low + 1), method="bounded") for low in range(-10, 10))
        best = min(each.fun for each in with_prior)
    assert objective(np.log(calibrator.temperature_)) <= best + 1e-6 * (1 + best)


def repetitions(weight):
    weight = weight[weight > 0]
    return weight.sum() / max(weight.min(), weight.mean() / 10)


def strength_of_prior(logits, y, weight, temperature):
    """By a standard error of log T and a number of errors that samples need; for the optimal temperature."""
    n_samples = repetitions(weight)
    proba = softmax(logits / temperature, axis=1)
    scaled = logits / temperature
    variance = (proba * (scaled - (proba * scaled).sum(1, keepdims=True)) ** 2).sum(1)
    own, others = scaled[np.arange(len(y)), y], scaled.copy()
    others[np.arange(len(y)), y] = -np.inf
    errors = n_samples * np.average(np.exp(np.minimum(0, 2 * (others.max(1) - own))), weights=weight)
    information = n_samples * np.average(variance, weights=weight)
    return max(0, 1 - information / 100) * np.clip((10 - errors) / 9, 0, 1)


def penalty_of_prior(logits, y, weight, strength, smoothed=True):
    """What a logistic prior on log T of scale 0.2 and an eighth of Platt's smoothing add to the mean loss."""
    n_samples = repetitions(weight)
    own = logits[np.arange(len(y)), y]
    lead = np.average(own - (logits.sum(1) - own) / (logits.shape[1] - 1), weights=weight) / (n_samples + 2)

    def penalty(log_temperature):
        half = log_temperature / 0.4
        prior = 2 * np.logaddexp(half, -half) / n_samples
        return strength * (smoothed * lead / 8 * np.exp(-log_temperature) + prior)

    return penalty


# Where steps once went back and forth.
@example(n_samples=5000, n_classes=10, temperature=200.0, scale=1.0, dtype="float32", seed=0)
@cases(
    15,
    n_samples=st.integers(50, 6000),
    n_classes=st.sampled_from([2, 3, 10, 50]),
    temperature=st.integers(-170, 290).map(lambda hundredths: 10 ** (hundredths / 100)),
    scale=st.integers(-40, 90).map(lambda hundredths: 10 ** (hundredths / 100)),
    dtype=st.sampled_from(["float64", "float32"]),
    seed=seeds(),
)
def test_temperatures_of_any_size_are_the_optimum(n_samples, n_classes, temperature, scale, dtype, seed):
    rng = generator(seed)
    Z = rng.normal(size=(n_samples, n_classes)) * scale
    y = (Z + rng.gumbel(size=Z.shape)).argmax(1)
    Z = (Z * temperature).astype(dtype)
    with keeping(Z, y, sound=True):
        calibrator = TemperatureScaling(classes=range(n_classes)).fit(Z, y)
    exact = Z.astype(np.float64)
    behind = exact - exact[np.arange(n_samples), y, None]
    low, high = -np.log(calibrator.bounds)[::-1]

    def slope(place):
        return (softmax(exact * np.exp(place), axis=1) * behind).sum(1).mean()

    if slope(low) < 0 < slope(high):
        place = brentq(slope, low, high, xtol=1e-9)
        weight = np.ones(n_samples)
        strength = strength_of_prior(exact, y, weight, np.exp(-place))
        if strength:
            penalty = penalty_of_prior(exact, y, weight, strength)

            def objective(log_temperature):
                losses = -log_softmax(exact / np.exp(log_temperature), axis=1)[np.arange(n_samples), y]
                return losses.mean() + penalty(log_temperature)

            options = {"method": "bounded", "options": {"xatol": 1e-9}}
            starts = np.arange(-10, 10)
            found = [minimize_scalar(objective, bounds=(start, start + 1), **options) for start in starts]
            place = -min(found, key=lambda each: each.fun).x
        expected = np.exp(-place)
        np.testing.assert_allclose(calibrator.temperature_, expected, rtol=1e-5 if dtype == "float64" else 2e-4)


CANDIDATES = [("temperature", TemperatureScaling()), ("vector", VectorScaling()), ("bins", HistogramBinning())]
SCORINGS = [None, neg_brier_score_scorer]


@cases(
    5,
    table=sound_logits(fewest=2),
    labels=sound_labels(),
    weights=sound_weights(),
    n_folds=st.integers(2, 4),
    n_candidates=st.integers(1, 3),
    scoring=st.sampled_from(SCORINGS),
)
def test_selectors_choose_among_sound_logits(table, labels, weights, n_folds, n_candidates, scoring):
    n, k = table.shape[0], width(table)
    X, y, weight = table.given(), labels.given(n, k), weights.given(n)
    selector = CalibratorSelector(
        candidates=CANDIDATES[:n_candidates],
        n_folds=n_folds,
        scoring=scoring,
        classes=labels.classes(n, k),
    )
    with keeping(X, y, weight, sound=True):
        selector.fit(X, y, sample_weight=weight)
        check_fitted(selector, X, n)


@cases(5, name=st.sampled_from(["all", "three"]), table=any_table(), labels=any_labels(), weights=any_weights())
def test_selectors_of_anything_choose_or_refuse(name, table, labels, weights):
    shape = table.shape or (3,)
    n, k = shape[0], 2 if len(shape) == 1 else max(2, shape[-1])
    X, y, weight = table.given(), labels.given(n, k), weights.given(n)
    candidates = CANDIDATES if name == "three" else None
    with keeping(X, y, weight):
        selector = CalibratorSelector(candidates=candidates, n_folds=2, classes=labels.classes(n, k))
        check_fitted(selector.fit(X, y, sample_weight=weight), X, n)
