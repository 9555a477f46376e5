"""The positive class has a name: of probabilities in one dimension, and among columns."""

from functools import partial

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

from skclamp.metrics import (
    bootstrap_interval,
    brier_score,
    classwise_calibration_error,
    expected_calibration_error,
    make_calibration_scorer,
    negative_log_likelihood,
    paired_bootstrap_test,
)

METRICS = [negative_log_likelihood, brier_score, expected_calibration_error, classwise_calibration_error]
OPTIONS = {"n_resamples": 20, "random_state": 0}


@pytest.fixture
def loans():
    """Whether loans are bad, in words, and the probability that they are."""
    rng = np.random.default_rng(0)
    p = rng.uniform(size=200)
    is_bad = rng.uniform(size=200) < p**2
    return np.where(is_bad, "bad", "good"), is_bad.astype(int), p


@pytest.mark.parametrize("metric", METRICS)
def test_words_beside_one_column_name_the_positive_one(metric, loans):
    words, is_bad, p = loans
    expected = metric(is_bad, p)
    assert metric(words, p, pos_label="bad") == expected
    assert metric(words, p, labels=["good", "bad"]) == expected
    assert metric(words, p, labels=["bad", "good"], pos_label="bad") == expected
    assert metric(words, np.stack([1 - p, p], 1), labels=["good", "bad"], pos_label="bad") == expected
    for given in (words, words.astype(object)):
        with pytest.raises(ValueError, match="pos_label must name the class that y_proba, of one column"):
            metric(given, p)
    with pytest.raises(ValueError, match=r"pos_label must be among the labels \['bad', 'good'\]; got 'Bad'"):
        metric(words, p, pos_label="Bad")
    # A cohort without any, which may be a word misspelt, or of nothing else.
    for given, positive in (
        (["good"] * 200, "bad"),
        (["bad"] * 200, "Bad"),
        (np.zeros(200), "bad"),
        (["bad"] * 200, 1),
    ):
        with pytest.raises(
            ValueError, match="pos_label must be among the labels .* Give labels where no sample has it"
        ):
            metric(given, p, pos_label=positive)
    none = metric(np.zeros(200, int), p)
    assert metric(["good"] * 200, p, labels=["good", "bad"], pos_label="bad") == none
    assert metric([1] * 200, p, pos_label=2) == none
    assert metric(["bad"] * 200, p, pos_label="bad") == metric(np.ones(200, int), p)
    # Numbers stay what they were, the larger one's probability, unless it is said.
    assert metric(is_bad + 1, p) == metric(2 - is_bad, p, pos_label=1) == expected


def test_it_is_scikit_learns(loans):
    words, _, p = loans
    assert brier_score(words, p, pos_label="bad") == pytest.approx(brier_score_loss(words, p, pos_label="bad"))


@pytest.mark.parametrize("metric", METRICS)
def test_intervals_and_tests_take_it_by_name_or_from_the_metric(metric, loans):
    words, is_bad, p = loans
    expected = bootstrap_interval(metric, is_bad, p, **OPTIONS)
    assert bootstrap_interval(metric, words, p, pos_label="bad", **OPTIONS) == expected
    assert bootstrap_interval(partial(metric, pos_label="bad"), words, p, **OPTIONS) == expected
    test = paired_bootstrap_test(metric, is_bad, p, np.sqrt(p), **OPTIONS)
    assert paired_bootstrap_test(metric, words, p, np.sqrt(p), pos_label="bad", **OPTIONS) == test
    with pytest.raises(ValueError, match="pos_label must name the class"):
        bootstrap_interval(metric, words, p, **OPTIONS)
    other = bootstrap_interval(lambda y, q: float(((q - y) ** 2).mean()), words, p, pos_label="bad", **OPTIONS)
    assert other.value == pytest.approx(brier_score(is_bad, p))


@pytest.mark.parametrize("fixed", [False, True])
def test_scorers_look_at_its_column(fixed, loans):
    """Not at the second one's, which they take otherwise."""
    words, is_bad, p = loans
    X = np.log(p / (1 - p))[:, None]
    model = LogisticRegression().fit(X, words)
    ece = expected_calibration_error
    metric, options = (partial(ece, pos_label="bad"), {}) if fixed else (ece, {"pos_label": "bad"})
    scorer = make_calibration_scorer(metric, n_bins=7, **options)
    assert scorer(model, X, words) == -ece(is_bad, model.predict_proba(X)[:, 0], n_bins=7)


def test_not_of_several_labels_or_places():
    y, p = np.tile([[0, 1]], (9, 1)), np.full((9, 2), 0.3)
    with pytest.raises(ValueError, match="pos_label must be None for several labels or places a sample; got 1"):
        brier_score(y, p, pos_label=1)
