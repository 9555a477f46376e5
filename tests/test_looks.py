"""What a fit notices of its own outcome: class frequencies, maps that overfit, doubled softmaxes, random networks."""

import warnings

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, perceptron, vectors
from scipy.special import softmax
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from torch import nn
from torch.nn import functional

from skclamp import (
    AccuracyPreservingIsotonic,
    BetaCalibration,
    CalibratorSelector,
    DirichletCalibration,
    EnsembleTemperatureScaling,
    HistogramBinning,
    IntraOrderPreservingCalibration,
    IsotonicCalibration,
    LocalTemperatureScaling,
    MatrixScaling,
    NeuralClampingCalibrator,
    ParameterizedTemperatureScaling,
    PlattScaling,
    PriorShiftCorrection,
    SplineCalibration,
    StructuredVectorScaling,
    TemperatureScaling,
    VectorScaling,
)
from skclamp.exceptions import CalibrationSetWarning
from skclamp.metrics import negative_log_likelihood

BLIND = [
    TemperatureScaling,
    EnsembleTemperatureScaling,
    LocalTemperatureScaling,
    ParameterizedTemperatureScaling,
    IntraOrderPreservingCalibration,
    AccuracyPreservingIsotonic,
    SplineCalibration,
    PriorShiftCorrection,
]


def told(calibrator, X, y, **params):
    """What the package warns of in a fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calibrator.fit(X, y, **params)
    return [str(each.message) for each in caught if issubclass(each.category, CalibrationSetWarning)]


def fraud(n_samples=4000, seed=0):
    """1 % of positives, and a classifier to which both classes count the same."""
    X, y = make_classification(2 * n_samples, 20, n_informative=6, weights=[0.99], flip_y=0, random_state=seed)
    classifier = LogisticRegression(class_weight="balanced", max_iter=1000).fit(X[:n_samples], y[:n_samples])
    return classifier, X[n_samples:], y[n_samples:]


def problem(n_samples, n_classes, margin=1.5, seed=0):
    """Logits that are calibrated but for chance."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n_samples)
    logits = rng.normal(size=(n_samples, n_classes))
    logits[np.arange(n_samples), y] += margin
    return margin * logits, y


@pytest.mark.parametrize("kind", BLIND)
def test_class_frequencies_that_a_map_cannot_move_are_told(kind):
    classifier, X, y = fraud()
    (message,) = told(kind(classifier), X, y)
    assert message.startswith("class frequencies are off: class 1 is 0.90% of the labels, and has a mean ")
    assert message.endswith(
        (
            "PlattScaling and BetaCalibration can. Where inputs have changed, take NeuralClampingCalibrator",
            "(StructuredVectorScaling(estimator))",
        )
    )


@pytest.mark.parametrize("kind", [PlattScaling, BetaCalibration])
def test_the_maps_that_the_warning_names_mend_them(kind):
    classifier, X, y = fraud()
    plain = TemperatureScaling(classifier)
    (message,) = told(plain, X, y)
    assert kind.__name__ in message
    mended = kind(classifier)
    assert told(mended, X, y) == []
    losses = [negative_log_likelihood(y, each.predict_proba(X)) for each in (mended, plain)]
    assert losses[0] < losses[1] / 3


def test_rare_classes_that_are_calibrated_are_no_news():
    for seed in range(20):
        rng = np.random.default_rng(seed)
        score = rng.normal(-5, 2, size=5000)
        y = (score + rng.logistic(size=5000) > 0).astype(int)
        assert told(TemperatureScaling(), 2 * score, y) == []


@pytest.mark.parametrize("kind", [DirichletCalibration, MatrixScaling, VectorScaling, IsotonicCalibration])
@pytest.mark.parametrize("n_classes", [2, 10])
def test_maps_on_twenty_samples_are_likely_worse_than_one_temperature(kind, n_classes):
    for seed in range(5):
        X, y = problem(20, n_classes, seed=seed)
        message = told(kind(classes=range(n_classes)), X, y)[-1]
        assert f"{kind.__name__} is likely worse than one temperature" in message
        assert "fewer than 20" not in message


def test_what_folds_find_is_told_with_its_numbers_and_kept_for_the_summary():
    X, y = problem(110, 10)
    calibrator = VectorScaling(classes=range(10))
    (message,) = told(calibrator, X, y)
    assert message.startswith("VectorScaling is likely worse than one temperature: out of fold its NLL is ")
    assert "fewer than 20 for each of the 20 parameters" in message
    loss = message.split("its NLL is ")[1].split(",")[0]
    assert f"{float(calibrator.summary().split(' out of fold')[0].split()[-1]):.3g}" == loss
    assert told(StructuredVectorScaling(classes=range(10)), X, y) == []


def test_nothing_is_said_of_candidates_that_are_judged_anyway():
    X, y = problem(150, 10)
    candidates = [("temperature", TemperatureScaling()), ("vector", VectorScaling())]
    assert told(CalibratorSelector(candidates=candidates, classes=range(10)), X, y) == []


class Worked(Exception):
    """Raised where the work begins."""


@pytest.mark.parametrize("kind", [VectorScaling, MatrixScaling, DirichletCalibration, IsotonicCalibration])
def test_a_long_fit_in_vain_is_told_before_it_starts(kind):
    class Stopped(kind):
        def _fit_logits(self, logits, y, sample_weight, **told):
            raise Worked

    X, y = problem(2500, 1000, margin=3.0)
    with pytest.raises(Worked), pytest.warns(CalibrationSetWarning, match="likely worse than one temperature: 2,500 s"):
        Stopped(classes=range(1000)).fit(X, y)


def sharp(n_classes=10, n_samples=500):
    """A network's logits that are nearly always right."""
    return problem(n_samples, n_classes, margin=4.0)


@pytest.mark.parametrize("n_classes", [2, 3, 10, 100])
def test_a_softmax_of_probabilities_is_told(n_classes):
    X, y = sharp(n_classes, 1000)
    proba = torch.from_numpy(X).softmax(1)
    (message,) = told(TemperatureScaling(response="probabilities"), proba.softmax(1), y)
    assert "a softmax may have been applied twice" in message
    assert told(TemperatureScaling(response="probabilities"), proba, y) == []
    # Where nobody says what it is, rows that sum to 1 tell more.
    assert told(TemperatureScaling(), proba, y)[0].startswith("X, or what the network makes of it, holds rows that sum")
    assert not [message for message in told(TemperatureScaling(response="logits"), proba, y) if "twice" in message]


class Dropping(nn.Module):
    """A perceptron with a dropout that never ends."""

    def __init__(self, network, share):
        super().__init__()
        self.network, self.share = network, share

    def forward(self, x):
        return self.network[2](functional.dropout(self.network[1](self.network[0](x)), self.share, training=True))


@pytest.mark.parametrize("kind", [TemperatureScaling, NeuralClampingCalibrator, IsotonicCalibration])
def test_a_network_that_is_random_in_eval_mode_is_told(kind):
    X = vectors(150)
    y = bare_logits(perceptron(), X).argmax(1)
    before = torch.get_rng_state()
    message = told(kind(Dropping(perceptron(), 0.1)), X, y)[-1]
    assert "the network is random in eval mode" in message
    assert "Likely causes" not in message
    torch.set_rng_state(before)


def test_a_network_that_only_guesses_is_not_searched():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.GELU(), nn.Flatten(), nn.Linear(32, 10)).eval()
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(400, 3, 8, 8)).astype(np.float32), rng.integers(10, size=400)
    calibrator = NeuralClampingCalibrator(network, random_state=0)
    (message,) = told(calibrator, X, y)
    assert "no better than guessing" in message
    assert calibrator.cost_ == {"forward": 1.0, "backward": 0.0}
    assert not calibrator.accepted_
    assert calibrator.verdict_.reason.startswith("Nothing was tried, so this is temperature scaling (the network is no")
    asked = NeuralClampingCalibrator(network, perturbation="channel", random_state=0)
    told(asked, X, y)
    assert asked.cost_["backward"] > 0


def test_summaries_begin_with_scores_that_the_metrics_confirm():
    X, y = problem(300, 4)
    for calibrator in (TemperatureScaling(), StructuredVectorScaling(), PlattScaling()):
        calibrator.fit(2 * X, y)
        proba, before = calibrator.predict_proba(2 * X), torch.from_numpy(2 * X).softmax(1).numpy()
        losses = [negative_log_likelihood(y, each) for each in (before, proba)]
        confidences = [each.max(1).mean() for each in (before, proba)]
        summary = calibrator.summary()
        assert summary.startswith(f"In sample accuracy {(before.argmax(1) == y).mean():.1%}")
        assert f"mean confidence {confidences[0]:.1%} -> {confidences[1]:.1%}, " in summary
        assert f"NLL {losses[0]:.4g} -> {losses[1]:.4g}. " in summary


def several(n_samples=400, n_labels=5, seed=0):
    """Logits of labels that come together, mostly 0, and the labels."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(n_samples, n_labels)) + rng.normal(size=(n_samples, 1)) - 1.5
    return logits, (logits + rng.logistic(size=logits.shape) > 0).astype(float)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


MISTAKES_OF_LABELS = {
    "reversed": (lambda z, y: (z[:, ::-1].copy(), y), {}, r"in another order: y\[:, \[4, 3, 2, 1, 0\]\]"),
    "two swapped": (lambda z, y: (z, y[:, [1, 0, 2, 3, 4]]), {}, r"in another order: y\[:, \[1, 0, 2, 3, 4\]\]"),
    "upside down": (lambda z, y: (z, 1 - y), {}, r"upside down.*\[0, 1, 2, 3, 4\]"),
    "one upside down": (lambda z, y: (z, np.abs(y - [0, 0, 1, 0, 0])), {}, r"upside down.*\[2\]"),
    "two sigmoids": (lambda z, y: (sigmoid(sigmoid(z)), y), {"response": "probabilities"}, "applied twice"),
    "another order of samples": (
        lambda z, y: (z, np.roll(y, 1, axis=0)),
        {},
        "on 400 samples labels have hardly higher",
    ),
    "flawless": (lambda z, y: (z, np.where(y >= 0, z > 0, np.nan)), {}, r"without an error: \[0, 1, 2, 3, 4\]"),
    "of no sample": (lambda z, y: (z, y + [0, 0, np.nan, 0, 0]), {}, "labels that are NaN in all samples: 2"),
    "unknown where not 1": (lambda z, y: (z, np.where(y == 1, 1, np.nan)), {}, "all labels that are known are 1"),
}


def test_labels_that_come_together_are_told_apart():
    """Such as findings of the same patients: each label fits the columns of all."""
    rng = np.random.default_rng(0)
    logits = 1.5 * rng.normal(size=(500, 5)) + 5 * rng.normal(size=(500, 1)) - 6
    y = logits + rng.logistic(size=logits.shape) > 0
    assert np.corrcoef(y.T)[0, 1:].min() > 0.5
    told_of = "in another order: {}".format(r"y\[:, \[4, 0, 1, 2, 3\]\]")
    with pytest.warns(CalibrationSetWarning, match=told_of):
        PlattScaling().fit(logits, y[:, [1, 2, 3, 4, 0]].astype(float))


@pytest.mark.parametrize("n_classes", [2, 5])
def test_labels_among_the_logits_are_told(n_classes):
    """As when they stay in a frame: of two classes one column of log-odds and the labels look like two logits."""
    logits, y = problem(200, n_classes)
    scores = logits[:, 1:] - logits[:, :1] if n_classes == 2 else logits
    messages = told(TemperatureScaling(), np.c_[scores, y], y)
    column = scores.shape[1]
    assert f"column {column} of what is taken for logits equals y: leave the labels out of X" in " ".join(messages)


@pytest.mark.parametrize("n_classes", [2, 10])
def test_percentages_are_told(n_classes):
    logits, y = problem(200, n_classes)
    (message,) = told(TemperatureScaling(), 100 * softmax(logits, axis=1), y)
    assert message.startswith("X, or what the network makes of it, holds rows that sum to 100, and is taken for logits")
    assert "if it is percentages, divide it by 100 and say response=" in message


@pytest.mark.filterwarnings("ignore:X holds .* on another scale than in fit:skclamp.exceptions.CalibrationSetWarning")
def test_new_percentages_are_told_as_such():
    logits, y = problem(200, 10)
    fitted = TemperatureScaling().fit(logits, y)
    with pytest.warns(CalibrationSetWarning, match="the rows given sum to 100, as percentages do, .* those of fit"):
        fitted.predict_proba(100 * softmax(logits, axis=1))


@pytest.mark.parametrize("n_classes", [3, 10, 50])
def test_rounded_probabilities_are_told_as_such(n_classes):
    logits, y = problem(400, n_classes)
    rounded = softmax(logits, axis=1).round(2)
    (message,) = told(TemperatureScaling(), rounded, y)
    assert "in rows that sum to 1 but for rounding" in message
    with pytest.raises(ValueError, match="of rounded ones give X / X.sum") as refused:
        TemperatureScaling(response="probabilities").fit(rounded, y)
    assert "of labels" not in str(refused.value)
    TemperatureScaling(response="probabilities").fit(rounded / rounded.sum(1, keepdims=True), y)


def test_the_probability_of_the_other_class_is_told():
    rng = np.random.default_rng(0)
    y = (rng.random(3000) < 0.02).astype(int)
    probability = np.clip(0.02 + 0.4 * y * rng.random(3000) + 0.01 * rng.random(3000), 0.001, 0.999)
    assert told(PlattScaling(response="probabilities"), probability, y) == []
    (message,) = told(PlattScaling(response="probabilities"), 1 - probability, y)
    assert "the probability of class 1 is higher where samples are of the other class" in message
    guesses = rng.permutation(probability)
    (message,) = told(PlattScaling(response="probabilities"), 1 - guesses, y)
    assert "no better than guessing" in message


def test_of_many_columns_those_that_are_exchanged_are_named():
    logits, y = problem(4000, 60, margin=3.0)
    logits[:, [3, 41]] = logits[:, [41, 3]]
    (message,) = told(TemperatureScaling(), logits, y)
    assert "columns [3, 41] look like those of [41, 3]" in message


def test_frequencies_of_classes_are_those_of_groups_and_of_distinct_samples():
    logits, y = problem(600, 10, margin=3.0)
    said = [0, 0, 0]
    for seed in range(20):
        q = np.repeat(np.random.default_rng(seed).choice(600, 60, replace=False), 10)
        noise = np.random.default_rng(seed).normal(scale=0.01, size=(600, 10))
        # Groups of near-copies, exact ones, and near-copies that are said to be independent.
        kinds = [(logits[q] + noise, q), (logits[q], None), (logits[q] + noise, np.arange(600))]
        for k, (X, groups) in enumerate(kinds):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                TemperatureScaling().fit(X, y[q], groups=groups)
            said[k] += any("frequencies are off" in str(each.message) for each in caught)
    assert said[0] == said[1] == 0 < said[2]


def test_errors_of_a_class_that_is_never_predicted_are_no_near_misses():
    X, y = make_classification(20_000, 20, n_informative=8, weights=[0.99], flip_y=0.002, random_state=0)
    classifier = RidgeClassifier().fit(X[:10_000], y[:10_000])
    assert (classifier.predict(X[10_000:]) == 0).mean() > 0.999
    assert told(PlattScaling(classifier), X[10_000:], y[10_000:]) == []


def test_of_two_classes_the_rarer_tells_whether_samples_are_few():
    rng = np.random.default_rng(2)
    margin = rng.normal(-5, 1.5, size=900)
    y = (margin + rng.logistic(size=900) > 0).astype(int)
    assert y.sum() < 30
    (message,) = told(HistogramBinning(), margin, y)
    assert "HistogramBinning is likely worse than one temperature: out of fold" in message
    # As many samples do where classes are even.
    margin = rng.normal(0, 1.5, size=900)
    assert told(HistogramBinning(), margin, (margin + rng.logistic(size=900) > 0).astype(int)) == []


def test_no_other_map_is_advised_where_the_temperature_is_extreme():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2000, 4))
    y = (logits + [0, 0, 2, 0] + rng.gumbel(size=logits.shape)).argmax(axis=1)
    assert "class frequencies are off" in told(TemperatureScaling(), logits, y)[0]
    (message,) = told(TemperatureScaling(), 300 * logits, y)
    assert "which is extreme" in message and "class frequencies" not in message


def test_a_label_that_one_sample_of_many_knows_is_known():
    logits, y = several(n_samples=20_000)
    y[:, 2] = np.nan
    y[7, 2] = 1
    assert not [message for message in told(PlattScaling(), logits, y) if "NaN in all samples" in message]


@pytest.mark.parametrize("kind", [TemperatureScaling, PlattScaling, BetaCalibration])
@pytest.mark.parametrize("mistake", MISTAKES_OF_LABELS)
def test_mistakes_of_labels_are_told(mistake, kind):
    change, options, rule = MISTAKES_OF_LABELS[mistake]
    for seed in range(3):
        z, y = several(seed=seed)
        unknown = np.random.default_rng(seed).random(y.shape) < 0.1 * seed
        X, labels = change(z, np.where(unknown, np.nan, y))
        with pytest.warns(CalibrationSetWarning, match=rule):
            kind(**options).fit(X, labels)


def test_labels_that_are_right_are_no_news():
    """Also few ones, rare ones, such as hang together, weak logits, and probabilities of frequent ones."""
    for seed in range(20):
        z, y = several(seed=seed, n_samples=(30, 100, 400, 1500)[seed % 4], n_labels=2 + seed)
        assert told(PlattScaling(), z, y) == []
        rng = np.random.default_rng(seed)
        together = np.repeat(z[:, :1], 4, axis=1) + 0.5 * rng.normal(size=(len(z), 4))
        assert told(PlattScaling(), 0.3 * together, (together + rng.logistic(size=(len(z), 1)) > 0).astype(float)) == []
        noise = rng.normal(size=z.shape)
        news = told(PlattScaling(), noise, (rng.random(z.shape) < 0.1 + 0.1 * (np.arange(2 + seed) % 5)) * 1.0)
        assert all("hardly higher probabilities" in message for message in news)
        frequent = rng.uniform(0.5, 0.73, size=(500, 3))
        drawn = (rng.random(frequent.shape) < frequent).astype(float)
        assert told(PlattScaling(response="probabilities"), frequent, drawn) == []
