"""CalibratorSelector: what it pools, what it costs, and what it refuses."""

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of, logits, nll
from _votes import votes_of_trees
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer

from selecting import NULLS, null_logits
from skclamp import (
    BetaCalibration,
    CalibratorSelector,
    MatrixScaling,
    NeuralClampingCalibrator,
    PriorShiftCorrection,
    StructuredMatrixScaling,
    StructuredVectorScaling,
    TemperatureScaling,
    VectorScaling,
)
from skclamp.exceptions import CalibrationSetWarning
from skclamp.metrics import neg_log_likelihood_scorer

TWO = [("temperature", TemperatureScaling()), ("vector", VectorScaling())]
FAMILIES = [*TWO, ("matrix", MatrixScaling(off_diagonal_penalty=0.1, intercept_penalty=0.01))]


def drawn_labels(scores, seed=1):
    """Labels drawn from softmax(scores)."""
    return labels_of(scores, temperature=1.0, seed=seed)


def truth_of(family, Z):
    """Scores that only maps as rich as a family can give."""
    if family == "temperature":
        return Z / 2
    if family == "vector":
        return Z * np.array([0.3, 0.5, 0.7, 0.5]) + np.array([0.0, 1.0, -1.0, 0.5])
    mixed = np.eye(4) / 2
    mixed[0, 1] = mixed[2, 3] = 0.4
    return Z @ mixed.T


# What the pool is made of


@pytest.mark.parametrize("family", ["temperature", "vector", "matrix"])
def test_the_family_that_drew_the_labels_has_the_weight(family):
    Z = logits(4000, seed=3)
    y = drawn_labels(truth_of(family, Z))
    selector = CalibratorSelector(candidates=FAMILIES).fit(Z, y)
    weights = dict(zip(dict(FAMILIES), selector.weights_, strict=True))
    # A richer map may know as much.
    assert sum(list(weights.values())[list(weights).index(family) :]) > 0.9
    alone = clone(dict(FAMILIES)[family]).fit(Z, y)
    new = logits(20_000, seed=4)
    y_new = drawn_labels(truth_of(family, new))
    assert nll(selector.predict_log_proba(new), y_new) < nll(alone.predict_log_proba(new), y_new) + 0.001


@pytest.mark.parametrize("given", [None, TWO])
def test_where_nothing_earns_its_price_it_is_temperature_scaling_to_the_bit(given):
    Z = logits(300, seed=4)
    y = drawn_labels(Z / 2)
    selector = CalibratorSelector(candidates=given).fit(Z, y)
    assert selector.weights_.tolist() == [1.0] + [0.0] * (len(selector.weights_) - 1)
    np.testing.assert_array_equal(selector.predict_proba(Z), TemperatureScaling().fit(Z, y).predict_proba(Z))
    assert "pooled 'temperature' 1.00, by 300 samples;" in selector.summary()


def test_few_draws_of_temperatures_labels_move_any_weight():
    n_moved = sum(
        CalibratorSelector(candidates=FAMILIES).fit(Z, drawn_labels(Z / 2, seed)).weights_[1:].any()
        for seed in range(20)
        for Z in [logits(200, seed=seed)]
    )
    assert n_moved <= 4


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:all labels are of one class:skclamp.exceptions.CalibrationSetWarning")
@pytest.mark.filterwarnings("ignore:temperature_ can't be learned:sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", NULLS)
def test_all_candidates_leave_most_drawn_nulls_to_temperature_scaling(name):
    classes, harms, n_moved = np.arange(NULLS[name][0]), [], 0
    for seed in range(50, 75):
        Z, y, fit, test = null_logits(name, seed, 200)
        selector, plain = (
            kind(classes=classes).fit(Z[fit], y[fit]) for kind in (CalibratorSelector, TemperatureScaling)
        )
        harms.append(np.subtract(*(nll(each.predict_log_proba(Z[test]), y[test]) for each in (selector, plain))))
        n_moved += selector.weights_[1:].any()
    assert n_moved <= 5
    assert np.mean(harms) <= 0.001


@pytest.mark.slow
def test_the_pool_costs_little_beside_temperature_scaling_where_errors_are_few():
    """Of 200 samples some ten are errors: the mean over 40 draws is within 0.001."""
    rng = np.random.default_rng(0)
    Z = rng.normal(size=(50, 200, 10))
    lead = 1 + rng.gamma(4, 3, size=Z.shape[:2])
    Z[rng.integers(10, size=lead.shape)[..., None] == np.arange(10)] += lead.ravel()
    y = (Z + rng.gumbel(size=Z.shape)).argmax(2)
    Z, new, y_new, found = 1.5 * Z, 1.5 * Z[40:].reshape(-1, 10), y[40:].ravel(), []
    for draw, labels in zip(Z[:40], y, strict=False):
        fits = [
            kind(classes=range(10)).fit(draw, labels).predict_log_proba(new)
            for kind in (CalibratorSelector, TemperatureScaling)
        ]
        found.append(np.subtract(*(nll(fit, y_new) for fit in fits)))
    assert np.mean(found) <= 0.001


def test_scores_are_those_of_maps_fitted_without_the_fold():
    Z, candidates = logits(300), [("temperature", TemperatureScaling()), ("vector", StructuredVectorScaling())]
    y = labels_of(Z)
    # Of as many groups as folds each is one.
    groups = np.repeat([0, 1, 2], [80, 100, 120])
    results = CalibratorSelector(candidates=candidates, n_folds=3).fit(Z, y, groups=groups).cv_results_
    table, scores = np.array([results[f"split{k}_test_score"] for k in range(3)]), np.empty((3, 2))
    for group in range(3):
        held = groups == group
        for column, (_, calibrator) in enumerate(candidates):
            again = clone(calibrator).set_params(classes=range(4)).fit(Z[~held], y[~held])
            scores[group, column] = neg_log_likelihood_scorer(again, Z[held], y[held])
    fold_of = np.abs(table[:, None] - scores).max(2).argmin(1)
    np.testing.assert_allclose(table, scores[fold_of], rtol=1e-9)
    assert sorted(fold_of) == [0, 1, 2]
    shares = np.array([80, 100, 120])[fold_of] / 300
    np.testing.assert_allclose(results["mean_test_score"], shares @ table)
    np.testing.assert_allclose(results["std_test_score"], np.sqrt(shares @ (table - shares @ table) ** 2))
    np.testing.assert_allclose(results["mean_test_gain"], shares @ (table - table[:, :1]))
    assert results["param_candidate"].tolist() == ["temperature", "vector"]
    assert results["n_parameters"].tolist() == [1, 8]
    means = results["mean_test_score"]
    assert results["rank_test_score"].tolist() == [1 + (means > mean).sum() for mean in means]


def test_a_base_is_added_where_no_candidate_is_temperature_scaling():
    Z = logits(150)
    candidates = [("vector", VectorScaling()), ("focal", TemperatureScaling(gamma=1.0))]
    y = drawn_labels(Z / 2)
    selector = CalibratorSelector(candidates=candidates).fit(Z, y)
    assert selector.weights_.tolist() == [0.0, 0.0, 1.0]
    assert selector.cv_results_["param_candidate"].tolist() == ["vector", "focal", "temperature scaling"]
    assert "pooled 'temperature scaling' 1.00" in selector.summary()
    fixed = [("one", TemperatureScaling(bounds=(1, 1))), *candidates]
    single = CalibratorSelector(candidates=fixed, scoring="neg_log_loss").fit(Z, y)
    assert single.weights_.tolist() == [0.0, 0.0, 0.0, 1.0]
    assert "took 'temperature scaling'" in single.summary()
    np.testing.assert_array_equal(selector.predict_proba(Z), TemperatureScaling().fit(Z, y).predict_proba(Z))


def test_a_pool_is_the_weighted_sum_of_log_probabilities():
    Z = logits(4000)
    y = drawn_labels((Z * np.array([0.3, 0.5, 0.7, 0.5]) + np.sign(Z) * np.abs(Z) ** 0.7) / 2)
    candidates = [*TWO[:1], ("beta", BetaCalibration()), ("structured", StructuredMatrixScaling())]
    selector = CalibratorSelector(candidates=candidates).fit(Z, y)
    pool = selector.best_estimator_
    np.testing.assert_allclose(selector.weights_.sum(), 1)
    assert selector.weights_.min() > 0.01
    parts = [clone(calibrator).fit(Z, y).predict_log_proba(Z) for _, calibrator in candidates]
    expected = torch.log_softmax(torch.as_tensor(np.tensordot(selector.weights_, parts, 1)), 1)
    np.testing.assert_allclose(selector.predict_log_proba(Z), expected, atol=1e-9)
    twin = clone(pool).fit(Z, y)
    np.testing.assert_array_equal(twin.predict_proba(Z), selector.predict_proba(Z))
    deployed = selector.module_(torch.from_numpy(Z)).softmax(1).detach()
    np.testing.assert_allclose(deployed, selector.predict_proba(Z), atol=1e-12)
    assert any(name.startswith("output.") for name in selector.module_.state_dict())


def test_votes_are_raised_before_they_are_pooled():
    votes, y = votes_of_trees(1500)
    candidates = [("temperature", TemperatureScaling())]
    selector = CalibratorSelector(candidates=candidates, response="probabilities").fit(votes[:500], y[:500])
    assert selector.least_probability_ == pytest.approx(0.02)
    proba = selector.predict_proba(votes[500:])
    inverse = 1 / selector.best_estimator_.temperature_
    raised = np.where(votes[500:] == 0, 0.02, votes[500:]) ** inverse
    np.testing.assert_allclose(proba, raised / raised.sum(1, keepdims=True), rtol=1e-6)


def test_another_scoring_takes_the_single_best():
    Z = logits(1000)
    y = drawn_labels(truth_of("vector", Z))
    worst = CalibratorSelector(candidates=TWO, scoring=lambda fit, Z, y: nll(fit.predict_log_proba(Z), y)).fit(Z, y)
    assert worst.weights_.tolist() == [1, 0]
    by_name, by_scorer = (
        CalibratorSelector(candidates=TWO, scoring=scoring).fit(Z, y)
        for scoring in ("neg_log_loss", neg_log_likelihood_scorer)
    )
    assert by_name.weights_.tolist() == [0, 1]
    np.testing.assert_array_equal(by_name.predict_proba(Z), VectorScaling().fit(Z, y).predict_proba(Z))
    for name in ("mean_test_score", "split2_test_score"):
        np.testing.assert_allclose(by_name.cv_results_[name], by_scorer.cv_results_[name], rtol=1e-6)
    assert by_name.best_score_ == pytest.approx(by_name.cv_results_["mean_test_score"][1], rel=1e-12)


@pytest.mark.parametrize(("gain", "taken"), [(0.9, False), (1.1, True), (-1.1, False)])
def test_another_scoring_asks_for_a_standard_error_of_its_folds(gain, taken):
    """Scores of folds of one size whose gains' mean is `gain` of their standard errors."""
    gains = gain * np.std([1, 2, 3, 4, 5], ddof=1) / 5**0.5 + np.arange(-2, 3)
    scores = iter(np.c_[gains, np.zeros(5)].ravel())
    candidates = [("vector", StructuredVectorScaling()), ("temperature", TemperatureScaling())]
    Z = logits(150)
    selector = CalibratorSelector(candidates=candidates, scoring=lambda *fold: next(scores))
    assert bool(selector.fit(Z, labels_of(Z)).weights_[0]) == taken


# The network


def counted(network, seen):
    """The network, which tells `seen` how many samples go through it."""
    network.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    return network


def test_the_logits_are_computed_once():
    X, network, seen = images(120), convolutional(), []
    y = labels_of(bare_logits(network, X))
    selector = CalibratorSelector(counted(network, seen), candidates=FAMILIES, scoring=neg_log_likelihood_scorer)
    selector.fit(X, y)
    # And a few of them once more: a network may be random.
    assert sum(seen) == 120 + 4
    selector.predict_proba(X)
    assert sum(seen) == 240 + 4


# Candidates


@pytest.mark.parametrize(
    ("candidates", "error", "message"),
    [
        ([], ValueError, "candidates must hold at least one; got none"),
        ([*TWO, TWO[0]], ValueError, r"candidates must have names of their own; got \['temperature', 'vector', 'temp"),
        (
            [("a", LogisticRegression())],
            TypeError,
            "candidates must be calibrators of skclamp, .* got LogisticRegression",
        ),
        (
            [("a", TemperatureScaling(LogisticRegression()))],
            ValueError,
            "must have estimator=None, .*Logistic.* for 'a'",
        ),
        # Only its temperature would be applied.
        ([*TWO, ("n", NeuralClampingCalibrator())], TypeError, "candidates must be maps of the output, .* for 'n'"),
        ("temperature", ValueError, "The 'candidates' parameter of CalibratorSelector must be an array-like"),
    ],
)
def test_bad_candidates(candidates, error, message):
    seen = []
    with pytest.raises(error, match=message):
        CalibratorSelector(counted(convolutional(), seen), candidates=candidates).fit(images(8), np.arange(8) % 4)
    assert not seen, "refused before the network spends time"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"scoring": "lowest"}, "The 'scoring' parameter of CalibratorSelector must be"),
        ({"scoring": 1}, "The 'scoring' parameter of CalibratorSelector must be"),
        ({"n_folds": 1}, "The 'n_folds' parameter of CalibratorSelector must be an int in the range"),
        ({"scoring": lambda calibrator, X, y: np.nan}, "scoring must give a finite number; got nan"),
        ({"scoring": lambda calibrator, X, y: [1.0]}, r"scoring must give a finite number; got \[1.0\]"),
    ],
)
def test_bad_parameters(params, message):
    Z = logits(50)
    with pytest.raises(ValueError, match=message):
        CalibratorSelector(candidates=TWO, **params).fit(Z, labels_of(Z))


@pytest.mark.parametrize(
    "scoring",
    [lambda calibrator, X, y: calibrator.score(X, y), make_scorer(lambda y, predicted: 0.0)],
    ids=["function", "scorer"],
)
def test_a_scorer_without_weights_is_told_before_anything_is_fitted(scoring):
    Z = logits(50)
    candidates = [("a", TemperatureScaling()), ("b", VectorScaling())]
    with pytest.raises(TypeError, match="scoring must take sample_weight, since weights are given"):
        CalibratorSelector(candidates=candidates, scoring=scoring).fit(Z, labels_of(Z), sample_weight=np.ones(50))
    CalibratorSelector(candidates=candidates, scoring=scoring).fit(Z, labels_of(Z))


AT_BOUND = "ignore:temperature_ (is at the bound|can't be learned):sklearn.exceptions.ConvergenceWarning"


@pytest.mark.filterwarnings(AT_BOUND, "ignore:all labels are of one class:skclamp.exceptions.CalibrationSetWarning")
def test_too_few_samples_for_folds():
    candidates = [("vector", VectorScaling()), ("structured", StructuredVectorScaling())]
    Z = np.repeat(logits(1), 20, axis=0)
    with pytest.warns(CalibrationSetWarning, match="no two distinct samples .* temperature scaling is taken unseen"):
        selector = CalibratorSelector(candidates=candidates).fit(Z, np.zeros(20, int))
    assert selector.weights_.tolist() == [0, 0, 1]
    assert not hasattr(selector, "cv_results_")
    assert np.isfinite(selector.predict_proba(Z)).all()


@pytest.mark.parametrize("candidate", [PriorShiftCorrection(), CalibratorSelector()])
def test_candidates_may_learn_more_than_a_map(candidate):
    Z = logits(400)
    selector = CalibratorSelector(candidates=[("own", candidate)]).fit(Z, labels_of(Z))
    np.testing.assert_allclose(selector.predict_proba(Z).sum(1), 1)
