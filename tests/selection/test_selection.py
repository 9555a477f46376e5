"""CalibratorSelector: what it chooses, when it stacks, what it costs, and what it refuses."""

import numpy as np
import pytest
import torch
from _small_networks import convolutional, images, labels_of, logits, nll
from _votes import votes_of_trees
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import make_scorer

from skclamp import (
    CalibratorSelector,
    IntraOrderPreservingCalibration,
    MatrixScaling,
    NeuralClampingCalibrator,
    NeuralClampingCalibratorCV,
    StructuredMatrixScaling,
    StructuredVectorScaling,
    TemperatureScaling,
    VectorScaling,
)
from skclamp._judging.splits import draw_folds
from skclamp._solvers.weights import solve_weights
from skclamp.base import BaseCalibrator
from skclamp.exceptions import CalibrationSetWarning
from skclamp.metrics import make_calibration_scorer, neg_brier_score_scorer, neg_log_likelihood_scorer
from skclamp.selection._trial import _STRENGTH

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


def log_softmax(scores):
    return torch.log_softmax(torch.as_tensor(scores).double(), -1)


# What is chosen


@pytest.mark.parametrize("family", ["temperature", "vector", "matrix"])
def test_the_family_that_drew_the_labels_is_found(family):
    Z = logits(4000, seed=3)
    y = drawn_labels(truth_of(family, Z))
    selector = CalibratorSelector(candidates=FAMILIES, stack=False, one_standard_error=True).fit(Z, y)
    assert selector.best_params_ == {"candidate": family}
    assert type(selector.best_estimator_) is type(dict(FAMILIES)[family])
    alone = clone(dict(FAMILIES)[family]).fit(Z, y)
    np.testing.assert_array_equal(selector.predict_proba(Z), alone.predict_proba(Z))
    assert not hasattr(selector, "weights_")


def test_scores_are_those_of_maps_fitted_without_the_fold():
    Z, candidates = logits(300), [("temperature", TemperatureScaling()), ("vector", StructuredVectorScaling())]
    y = labels_of(Z)
    selector = CalibratorSelector(candidates=candidates, n_folds=3, stack=False).fit(Z, y)
    results = selector.cv_results_
    numbers = draw_folds(log_softmax(Z), torch.from_numpy(y), torch.ones(300, dtype=torch.float64), 3)
    for k in range(3):
        held = numbers == k
        for row, (_, calibrator) in enumerate(candidates):
            again = clone(calibrator).set_params(classes=range(4)).fit(Z[~held], y[~held])
            expected = neg_log_likelihood_scorer(again, Z[held], y[held])
            assert results[f"split{k}_test_score"][row] == pytest.approx(expected, rel=1e-9)
    shares = np.bincount(numbers) / 300
    table = np.array([results[f"split{k}_test_score"] for k in range(3)])
    np.testing.assert_allclose(results["mean_test_score"], shares @ table)
    np.testing.assert_allclose(results["std_test_score"], np.sqrt(shares @ (table - shares @ table) ** 2))
    assert results["param_candidate"].tolist() == ["temperature", "vector"]
    assert results["n_parameters"].tolist() == [1, 8]
    means = results["mean_test_score"]
    assert results["rank_test_score"].tolist() == [1 + (means > mean).sum() for mean in means]
    assert selector.best_score_ == means[selector.best_index_]


def test_one_standard_error_prefers_fewer_parameters():
    """Where a temperature drew the labels, mixing the classes looks better by chance now and then."""
    candidates = [("matrix", StructuredMatrixScaling()), ("vector", StructuredVectorScaling())]
    chosen = {False: 0, True: 0}
    for seed in range(12):
        Z = logits(400, seed=seed)
        y = drawn_labels(Z / 2, seed)
        for rule in chosen:
            selector = CalibratorSelector(candidates=candidates, stack=False, one_standard_error=rule).fit(Z, y)
            chosen[rule] += selector.best_params_ == {"candidate": "vector"}
            assert selector.best_score_ == selector.cv_results_["mean_test_score"][selector.best_index_]
    assert chosen[False] < chosen[True]
    assert chosen[True] >= 10


@pytest.mark.parametrize(
    ("scoring", "one_standard_error"), [(None, True), (neg_brier_score_scorer, False)], ids=["NLL", "Brier"]
)
def test_the_winner_beats_temperature_scaling_by_its_standard_error(scoring, one_standard_error):
    """In half of the draws temperature scaling is right, and others look better by chance now and then."""
    candidates = [("vector", StructuredVectorScaling()), ("temperature", TemperatureScaling())]
    outcomes = set()
    for seed in range(32):
        Z = logits(150, seed=seed)
        y = drawn_labels(Z / 2 if seed % 2 else truth_of("vector", Z), seed)
        options = {"scoring": scoring, "one_standard_error": one_standard_error, "stack": False}
        selector = CalibratorSelector(candidates=candidates, **options).fit(Z, y)
        results = selector.cv_results_
        gain, error = results["mean_test_gain"][0], results["test_gain_standard_error"][0]
        assert gain == pytest.approx(-np.diff(results["mean_test_score"])[0], abs=1e-12)
        if scoring is not None:
            gains = -np.diff([results[f"split{k}_test_score"] for k in range(5)])[:, 0]
            assert error == pytest.approx(gains.std(ddof=1) / np.sqrt(5), rel=0.05)
        assert selector.best_params_ == {"candidate": "vector" if gain > error else "temperature"}
        outcomes.add((bool(gain > 0), selector.best_params_["candidate"]))
    assert outcomes == {(True, "vector"), (True, "temperature"), (False, "temperature")}


@pytest.mark.parametrize("seed", range(3))
def test_class_frequencies_of_few_samples_win_nothing_out_of_fold(seed):
    """They differ from the truth by chance. Folds that all had the same would take a bias per class for a gain."""
    Z = logits(300, 30, seed=seed)
    candidates = [("temperature", TemperatureScaling()), ("vector", StructuredVectorScaling())]
    selector = CalibratorSelector(candidates=candidates, stack=False, classes=range(30))
    assert selector.fit(Z, drawn_labels(Z / 2, seed)).cv_results_["mean_test_gain"][1] < 0


def test_without_temperature_scaling_among_them_the_best_is_taken():
    Z = logits(150)
    candidates = [("vector", VectorScaling()), ("structured", StructuredVectorScaling())]
    selector = CalibratorSelector(candidates=candidates, stack=False).fit(Z, drawn_labels(Z / 2))
    assert selector.best_index_ == selector.cv_results_["mean_test_score"].argmax()
    assert "mean_test_gain" not in selector.cv_results_


def test_a_stack_that_is_nearly_the_best_is_taken():
    """The best of many is in part so by chance; the stack is not taken where another score was asked for."""
    candidates = [("vector", VectorScaling()), ("structured", StructuredVectorScaling())]
    for seed in range(15, 35):
        Z = logits(150, seed=seed)
        y = drawn_labels(Z / 2, seed)
        chosen = CalibratorSelector(candidates=candidates).fit(Z, y)
        if chosen.cv_results_["rank_test_score"].tolist() == [3, 1, 2, 4]:
            break
    assert chosen.best_params_ == {"candidate": "stack"}
    assert chosen.cv_results_["rank_test_score"][chosen.best_index_] == 2
    same = CalibratorSelector(candidates=candidates, scoring=neg_log_likelihood_scorer).fit(Z, y)
    assert same.best_params_ == {"candidate": "structured"}


def test_votes_are_raised_before_the_contest():
    votes, y = votes_of_trees(1500)
    candidates = [("temperature", TemperatureScaling())]
    selector = CalibratorSelector(candidates=candidates, response="probabilities").fit(votes[:500], y[:500])
    assert selector.least_probability_ == pytest.approx(0.02)
    assert len(selector.cv_results_["params"]) == 1, "one alone isn't stacked"
    alone = TemperatureScaling(response="probabilities").fit(votes[:500], y[:500])
    np.testing.assert_allclose(selector.predict_proba(votes[500:]), alone.predict_proba(votes[500:]), atol=1e-6)


def test_scoring_decides():
    Z = logits(1000)
    y = drawn_labels(truth_of("vector", Z))
    worst_nll = make_calibration_scorer(nll_of, greater_is_better=True)
    assert CalibratorSelector(candidates=TWO).fit(Z, y).best_params_ != {"candidate": "temperature"}
    assert CalibratorSelector(candidates=TWO, stack=False, scoring=worst_nll).fit(Z, y).best_index_ == 0
    by_name, by_scorer = (
        CalibratorSelector(candidates=TWO, scoring=scoring).fit(Z, y) for scoring in ("neg_log_loss", None)
    )
    for name in ("mean_test_score", "split2_test_score"):
        np.testing.assert_allclose(by_name.cv_results_[name], by_scorer.cv_results_[name], rtol=1e-6)


def nll_of(y_true, y_proba, *, labels, sample_weight=None):
    return -np.average(np.log(y_proba[np.arange(len(y_true)), y_true]), weights=sample_weight)


# The stack


class Part(BaseCalibrator):
    """Knows nothing of some classes: gives their log-probabilities 0, before they are normalised."""

    def __init__(self, estimator=None, *, known=(1, 1, 1, 1), response="auto", classes=None):
        super().__init__(estimator, response=response, classes=classes)
        self.known = known

    def _fit_logits(self, logits, y, sample_weight):
        self.known_ = np.array(self.known, dtype=float)

    def _transform_logits(self, logits):
        return logits * torch.from_numpy(self.known_)


def test_the_stack_is_kept_where_two_maps_know_different_things():
    Z = logits(4000)
    y = drawn_labels(Z / 2)
    candidates = [
        ("first", Part(known=(1, 1, 0, 0))),
        ("no more", Part(known=(1, 0, 0, 0))),
        ("last", Part(known=(0, 0, 1, 1))),
    ]
    selector = CalibratorSelector(candidates=candidates).fit(Z, y)
    assert selector.best_params_ == {"candidate": "stack"}
    np.testing.assert_allclose(selector.weights_, [0.5, 0, 0.5], atol=0.05)
    parts = [clone(calibrator).fit(Z, y).predict_log_proba(Z) for _, calibrator in candidates]
    expected = torch.softmax(torch.as_tensor(np.tensordot(selector.weights_, parts, 1)), 1)
    np.testing.assert_allclose(selector.predict_proba(Z), expected, atol=1e-12)
    assert nll(selector.predict_log_proba(Z), y) < min(nll(part, y) for part in parts) - 0.1
    used = selector.weights_ > 0
    assert selector.cv_results_["n_parameters"].tolist()[:4] == [4, 4, 4, 4 * used.sum() + used.sum()]
    assert selector._n_parameters == 5 * used.sum()
    twin = clone(selector.best_estimator_).fit(Z, y)
    np.testing.assert_array_equal(twin.predict_proba(Z), selector.predict_proba(Z))


def test_candidates_that_say_the_same_weigh_the_same_in_a_stack():
    Z = logits(4000)
    y = drawn_labels(Z / 2)
    first, last = Part(known=(1, 1, 0, 0)), Part(known=(0, 0, 1, 1))
    candidates = [("first", first), ("last", last), ("first again", clone(first)), ("last again", clone(last))]
    selector = CalibratorSelector(candidates=candidates).fit(Z, y)
    assert selector.best_params_ == {"candidate": "stack"}
    # The ridge is 10 / 4000 a sample, and gradients are rounded by about 1e-16.
    np.testing.assert_allclose(selector.weights_[:2], selector.weights_[2:], rtol=1e-10)
    alone = CalibratorSelector(candidates=candidates[:2]).fit(Z, y)
    np.testing.assert_allclose(selector.predict_proba(Z), alone.predict_proba(Z), atol=1e-3)


def test_a_stack_is_recalibrated_where_its_maps_cannot_bend():
    """A third of the labels are drawn blindly: no power of the probabilities gives theirs, their order still does."""
    Z = logits(6000)
    y, blind = drawn_labels(Z), np.random.default_rng(2).random(6000) < 1 / 3
    y[blind] = np.random.default_rng(3).integers(4, size=blind.sum())
    (fit, fit_y), (new, new_y) = (Z[:3000], y[:3000]), (Z[3000:], y[3000:])
    selector = CalibratorSelector(candidates=TWO).fit(fit, fit_y)
    assert selector.best_params_ == {"candidate": "recalibrated stack"}
    parts = [clone(calibrator).fit(fit, fit_y).predict_log_proba(new) for _, calibrator in TWO]
    plain = np.tensordot(selector.weights_, parts, 1)
    assert nll(selector.predict_log_proba(new), new_y) < nll(plain, new_y) - 0.01
    np.testing.assert_array_equal(selector.predict(new), plain.argmax(1))
    # Temperature, vector, their two weights, and an order-preserving map.
    assert (selector.weights_ > 0).all()
    assert selector.cv_results_["n_parameters"].tolist() == [1, 8, 11, 95]
    assert selector._n_parameters == 95
    twin = clone(selector.best_estimator_).fit(fit, fit_y)
    np.testing.assert_array_equal(twin.predict_proba(new), selector.predict_proba(new))


def test_the_stack_is_judged_with_weights_and_recalibration_from_the_other_folds():
    Z = logits(200)
    y = drawn_labels(Z / 2)
    selector = CalibratorSelector(candidates=FAMILIES, n_folds=4).fit(Z, y)
    numbers = draw_folds(log_softmax(Z), torch.from_numpy(y), torch.ones(200, dtype=torch.float64), 4)
    unseen = np.empty((3, 200, 4))
    for k in range(4):
        held = numbers == k
        for row, (_, calibrator) in enumerate(FAMILIES):
            unseen[row][held] = clone(calibrator).fit(Z[~held], y[~held]).predict_log_proba(Z[held])
    for k in range(4):
        held = torch.from_numpy(numbers == k)
        parts, labels = torch.from_numpy(unseen), torch.from_numpy(y)
        weights = solve_weights(parts[:, ~held], labels[~held], strength=_STRENGTH).weights
        pooled = np.tensordot(weights, unseen, 1)
        last = IntraOrderPreservingCalibration(classes=range(4)).fit(pooled[~held], y[~held])
        expected = [-nll(pooled[held], y[held]), -nll(last.predict_log_proba(pooled[held]), y[held])]
        assert selector.cv_results_[f"split{k}_test_score"][3:] == pytest.approx(expected, abs=1e-4)


def test_a_stack_of_nothing_says_the_same_of_all_classes():
    """Two samples again and again, with labels that contradict whatever one learns of the others."""
    Z, y = np.repeat(logits(40)[:2], 20, axis=0), labels_of(logits(40))
    candidates = [("temperature", TemperatureScaling()), ("structured", StructuredVectorScaling())]
    selector = CalibratorSelector(candidates=candidates, n_folds=3)
    with pytest.warns(ConvergenceWarning, match="temperature_ is at the bound") as caught:
        selector.fit(Z, y)
    assert {each.filename for each in caught} == {__file__}
    assert selector.weights_.tolist() == [0, 0]
    np.testing.assert_allclose(selector.predict_proba(Z), 0.25)


# The network


class Counting(torch.nn.Module):
    """Counts the samples that go through a network."""

    def __init__(self, network):
        super().__init__()
        self.network = network
        self.n_seen = 0

    def forward(self, x):
        self.n_seen += len(x)
        return self.network(x)


def test_the_logits_are_computed_once():
    X = images(120)
    network = Counting(convolutional()).eval()
    y = labels_of(network.network(torch.from_numpy(X)).detach().numpy())
    selector = CalibratorSelector(network, candidates=FAMILIES, scoring=neg_log_likelihood_scorer).fit(X, y)
    # And a few of them once more: a network may be random.
    assert network.n_seen == 120 + 4
    selector.predict_proba(X)
    assert network.n_seen == 240 + 4


# Candidates


@pytest.mark.parametrize(
    ("candidates", "error", "message"),
    [
        ([], ValueError, r"candidates must hold at least one \(name, calibrator\) pair; got \[\]"),
        ([*TWO, TWO[0]], ValueError, r"candidates must have distinct names, .* got \['temperature', 'vector', 'temp"),
        (
            [("stack", TemperatureScaling())],
            ValueError,
            r"candidates must have distinct names, and none 'stack' or 're",
        ),
        ([TemperatureScaling()], TypeError, r"candidates must hold \(name, calibrator\) pairs; got TemperatureScaling"),
        ([(1, TemperatureScaling())], TypeError, r"candidates must hold \(name, calibrator\) pairs; got \(1, "),
        (
            [("a", LogisticRegression())],
            TypeError,
            "candidates must be calibrators of skclamp, .* got LogisticRegression",
        ),
        (
            [("a", TemperatureScaling(LogisticRegression()))],
            ValueError,
            "candidates must have estimator=None, .*LogisticRegression.* for 'a'",
        ),
        # Only its temperature would be applied.
        ([*TWO, ("n", NeuralClampingCalibrator())], TypeError, "candidates must be maps of the output, .* for 'n'"),
        ([("n", NeuralClampingCalibratorCV())], TypeError, "candidates must be maps of the output, .* for 'n'"),
        ("temperature", ValueError, "The 'candidates' parameter of CalibratorSelector must be an array-like"),
    ],
)
def test_bad_candidates(candidates, error, message):
    network = Counting(convolutional()).eval()
    with pytest.raises(error, match=message):
        CalibratorSelector(network, candidates=candidates).fit(images(8), np.arange(8) % 4)
    assert network.n_seen == 0, "refused before the network spends time"


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"scoring": "lowest"}, "The 'scoring' parameter of CalibratorSelector must be"),
        ({"scoring": 1}, "The 'scoring' parameter of CalibratorSelector must be"),
        ({"n_folds": 1}, "The 'n_folds' parameter of CalibratorSelector must be an int in the range"),
        ({"stack": "yes"}, "The 'stack' parameter of CalibratorSelector must be"),
        ({"one_standard_error": 2}, "The 'one_standard_error' parameter of CalibratorSelector must be"),
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


@pytest.mark.filterwarnings(
    "ignore:temperature_ (is at the bound|can't be learned):sklearn.exceptions.ConvergenceWarning"
)
@pytest.mark.filterwarnings("ignore:all labels are of one class:skclamp.exceptions.CalibrationSetWarning")
def test_too_few_samples_for_folds():
    candidates = [("vector", VectorScaling()), ("structured", StructuredVectorScaling())]
    Z = np.repeat(logits(1), 20, axis=0)
    with pytest.warns(CalibrationSetWarning, match="no two distinct samples .* 'vector', which has the fewest"):
        selector = CalibratorSelector(candidates=candidates).fit(Z, np.zeros(20, int))
    assert selector.best_params_ == {"candidate": "vector"}
    assert not hasattr(selector, "cv_results_")
    assert np.isfinite(selector.predict_proba(Z)).all()


@pytest.mark.filterwarnings(
    "ignore:temperature_ (is at the bound|can't be learned):sklearn.exceptions.ConvergenceWarning"
)
def test_three_samples_are_enough_for_folds():
    Z = logits(3)
    selector = CalibratorSelector(candidates=[("a", StructuredVectorScaling()), ("b", StructuredMatrixScaling())])
    selector.fit(Z, [0, 0, 1])
    assert [name for name in selector.cv_results_ if name.startswith("split")] == [
        f"split{k}_test_score" for k in range(3)
    ]
