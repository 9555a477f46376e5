"""A quick look, ``make smoke``: every public name once, on digits, wine and breast cancer, all as a user would have it.

A new public name fails until a row here uses it.
"""

import importlib
import math
import tempfile
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from _digits import calibration_and_test, convolutional_network, shifted
from sklearn.datasets import load_breast_cancer, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import skclamp
from skclamp import (
    NeuralClampingCalibrator,
    SelectiveClassifier,
    TemperatureScaling,
    compare_calibrators,
    reference_summary,
)
from skclamp.metrics import expected_calibration_error, negative_log_likelihood

ROOMS = "", "metrics", "display", "modules", "losses", "perturbations", "datasets"
CONSTANTS = {"REFERENCE_SETTINGS", "__version__"}


def public_names():
    modules = {room: importlib.import_module(f"skclamp.{room}".rstrip(".")) for room in ROOMS}
    return [f"{room}.{name}".lstrip(".") for room in ROOMS for name in sorted({*modules[room].__all__} - CONSTANTS)]


ROWS = {}


def row(*names):
    """Have a function try what has these names, given by itself."""

    def add(function):
        ROWS.update(dict.fromkeys(names, function))
        return function

    return add


@pytest.mark.parametrize("name", public_names())
def test_what_is_public_works(name):
    thing = skclamp
    for part in name.split("."):
        thing = getattr(thing, part)
    ROWS[name](thing)


# Real problems: an over-confident classifier, (X, y) to calibrate with, and (X, y) to test on.


@cache
def digits():
    """A convolutional network, and images of a camera whose gain and offset have changed."""
    samples = calibration_and_test(0)
    return convolutional_network(), *((shifted(X, "gain and offset"), y) for X, y in samples)


def naive_bayes(load):
    X, y = load(return_X_y=True)
    X_train, X, y_train, y = train_test_split(X, y, train_size=0.3, stratify=y, random_state=0)
    X_cal, X_test, y_cal, y_test = train_test_split(X, y, train_size=0.5, stratify=y, random_state=0)
    return make_pipeline(StandardScaler(), GaussianNB()).fit(X_train, y_train), (X_cal, y_cal), (X_test, y_test)


@cache
def wine():
    return naive_bayes(load_wine)


@cache
def cancer():
    return naive_bayes(load_breast_cancer)


@cache
def clamped():
    network, calibration, _ = digits()
    return NeuralClampingCalibrator(network, perturbation="affine", random_state=0).fit(*calibration)


@cache
def before_and_after():
    """Labels of the digits' test images, and their probabilities as they are and clamped."""
    network, _, (X, y) = digits()
    with torch.no_grad():
        return y, network(torch.from_numpy(X)).double().softmax(1).numpy(), clamped().predict_proba(X)


def nll_of(estimator, X, y):
    if isinstance(estimator, torch.nn.Module):
        with torch.no_grad():
            return torch.nn.functional.cross_entropy(estimator(torch.from_numpy(X)), torch.from_numpy(y)).item()
    return negative_log_likelihood(y, estimator.predict_proba(X))


# Calibrators


@row(
    "AccuracyPreservingIsotonic",
    "CovariateScaling",
    "DirichletCalibration",
    "EnsembleTemperatureScaling",
    "IntraOrderPreservingCalibration",
)
@row("CalibratorSelector", "MatrixScaling", "StructuredMatrixScaling", "StructuredVectorScaling", "TemperatureScaling")
@row("VectorScaling")
def calibrates_a_network(thing):
    calibrates(thing, digits())


@row("NeuralClampingCalibrator")
def finds_what_is_wrong_with_the_input(thing):
    calibrator = calibrates(thing, digits(), random_state=0)
    assert calibrator.accepted_ or calibrator.output_.weights
    assert nll_of(calibrator, *digits()[2]) < 0.6 * nll_of(
        TemperatureScaling(digits()[0]).fit(*digits()[1]), *digits()[2]
    )


@row("TorchTraining")
def trains_by_an_optimiser_of_torch(thing):
    training = thing(optimizer="sgd", shuffle=False)
    clamped = {"perturbation": "affine", "training": training, "lr": 0.01, "max_epochs": 3, "output": None}
    calibrator = calibrates(NeuralClampingCalibrator, digits(), validation_fraction=None, random_state=0, **clamped)
    assert len(calibrator.history_) == 3
    assert nll_of(calibrator, *digits()[2]) < nll_of(TemperatureScaling(digits()[0]).fit(*digits()[1]), *digits()[2])


@row("ReferenceSummary", "reference_summary")
def tell_of_another_camera(thing):
    (X_cal, y_cal), (X, _) = calibration_and_test(0)
    summary = reference_summary(X_cal[300:])
    assert thing in (type(summary), reference_summary)
    clamping = NeuralClampingCalibrator(convolutional_network(), perturbation=None, random_state=0)
    pale = (0.3 * images + np.float32(0.6) for images in (X_cal[:200], X))
    calibrator = clamping.fit(next(pale), y_cal[:200], X_unlabelled=next(pale), X_reference=summary)
    assert calibrator.accepted_


@row("BayesianBinningIntoQuantiles", "BetaCalibration", "HistogramBinning", "IsotonicCalibration", "PlattScaling")
@row("QuadraticScaling", "SplineCalibration", "VennAbersCalibration")
def calibrates_two_classes(thing):
    calibrates(thing, cancer())


@row("LocalTemperatureScaling", "ParameterizedTemperatureScaling")
def calibrates_a_small_table(thing):
    calibrates(thing, wine())


def calibrates(thing, problem, **options):
    """The NLL of samples that it hasn't seen is lower than without it, and all else is a classifier's."""
    estimator, (X_cal, y_cal), (X, y) = problem
    calibrator = thing(estimator, **options).fit(X_cal, y_cal)
    proba = calibrator.predict_proba(X)
    assert proba.shape == (len(X), len(np.unique(y)))
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-12)
    assert nll_of(calibrator, X, y) < nll_of(estimator, X, y)
    assert calibrator.score(X, y) > 0.9
    assert type(calibrator).__name__ in calibrator.summary()
    return calibrator


@row("PriorShiftCorrection")
def learns_new_class_frequencies(thing):
    """Of images as the network knows them, of which the upper five digits have become rare."""
    calibration, (X, y) = calibration_and_test(0)
    calibrator = thing(convolutional_network()).fit(*calibration)
    rows = np.concatenate([np.flatnonzero(y == digit)[: None if digit < 5 else 6] for digit in range(10)])
    before = nll_of(calibrator, X[rows], y[rows])
    assert calibrator.adapt(X[rows]).accepted_
    np.testing.assert_allclose(calibrator.priors_, np.bincount(y[rows]) / len(rows), atol=0.04)
    assert nll_of(calibrator, X[rows], y[rows]) < 0.8 * before


@row("SelectiveClassifier")
def keeps_its_promise(thing):
    """On images that neither network nor calibrator has seen."""
    (X_cal, y_cal), (X, y) = calibration_and_test(0)
    calibrator = TemperatureScaling(convolutional_network()).fit(X_cal[:100], y_cal[:100])
    selective = thing(calibrator, target_risk=0.1).fit(X_cal[100:], y_cal[100:])
    assert selective.guaranteed_
    answered = selective.is_answered(X)
    assert 0.5 < answered.mean() <= 1
    assert np.mean(selective.predict(X)[answered] != y[answered]) <= 0.1
    assert (selective.predict(X)[~answered] == -1).all()
    assert "Guaranteed" in selective.summary()


@row("CalibrationMonitor")
def raises_an_alarm(thing):
    y, before, after = before_and_after()
    assert not thing(response="probabilities").partial_fit(after, y).alarm_
    assert thing(response="probabilities").partial_fit(before, y).alarm_


@row("RiskMonitor")
def tells_that_answers_are_wrong(thing):
    classifier, calibration, (X, y) = cancer()
    selective = skclamp.SelectiveClassifier(classifier, target_risk=0.1).fit(*calibration)
    assert not thing(selective).partial_fit(X, y).alarm_
    assert thing(selective).partial_fit(X, 1 - y).alarm_


@cache
def comparison():
    classifier, calibration, test = cancer()
    return compare_calibrators(classifier, *calibration, *test, calibrators=[TemperatureScaling()], n_resamples=100)


@row("compare_calibrators", "CalibratorComparison")
def compares(thing):
    assert thing in (type(comparison()), compare_calibrators)
    assert comparison().best == "TemperatureScaling"
    assert "uncalibrated" in str(comparison())


@row("default_candidates")
def are_what_the_selector_tries(thing):
    assert "temperature" in dict(thing())


@row("load")
def opens_what_was_saved(thing):
    network, _, (X, _) = digits()
    with tempfile.TemporaryDirectory() as folder:
        clamped().save(f"{folder}/clamped.safetensors")
        loaded = thing(f"{folder}/clamped.safetensors", estimator=network)
    np.testing.assert_array_equal(loaded.predict_proba(X), clamped().predict_proba(X))


# Metrics


@row("metrics.adaptive_expected_calibration_error", "metrics.brier_score", "metrics.classwise_calibration_error")
@row("metrics.debiased_calibration_error", "metrics.expected_calibration_error", "metrics.ks_calibration_error")
@row("metrics.maximum_calibration_error", "metrics.negative_log_likelihood", "metrics.smooth_calibration_error")
def falls_when_calibrated(thing):
    y, before, after = before_and_after()
    assert 0 <= thing(y, after) < thing(y, before)


@row("metrics.integrated_calibration_index")
def falls_for_an_event(thing):
    y, before, after = before_and_after()
    assert thing(y, after, pos_label=3) < thing(y, before, pos_label=3)


@row("metrics.calibration_slope")
def is_nearer_to_one(thing):
    y, before, after = before_and_after()
    assert abs(thing(y, after, pos_label=3) - 1) < abs(thing(y, before, pos_label=3) - 1)


@row("metrics.calibration_intercept")
def is_that_of_half_the_events(thing):
    assert thing([1, 1, 0, 0], [0.5] * 4) == pytest.approx(0)


@row("metrics.net_benefit")
def pays_to_act(thing):
    y, _, after = before_and_after()
    assert 0 < thing(y, after, pos_label=3, threshold=0.2) < np.mean(np.equal(y, 3))


@row("metrics.expected_cost")
def pays_to_ask(thing):
    y, _, after = before_and_after()
    wrong = 1 - np.eye(10)
    assert thing(y, after, costs=np.c_[wrong, np.full(10, 0.1)]) < thing(y, after, costs=wrong)


@row("metrics.group_calibration_error", "metrics.multicalibration_error")
def falls_within_groups(thing):
    y, before, after = before_and_after()
    by = np.arange(len(y)) % 2
    assert thing(y, after, by=by) < thing(y, before, by=by)


@row("metrics.predictive_entropy")
def falls_when_a_network_sees_what_it_knows(thing):
    _, before, after = before_and_after()
    assert 0 < thing(after) < thing(before) < math.log(10)


@row("metrics.neg_brier_score_scorer", "metrics.neg_expected_calibration_error_scorer")
@row("metrics.neg_log_likelihood_scorer")
def scores_what_is_calibrated_higher(thing):
    classifier, calibration, test = cancer()
    assert thing(classifier, *test) < thing(TemperatureScaling(classifier).fit(*calibration), *test) < 0


@row("metrics.make_calibration_scorer")
def makes_a_scorer(thing):
    scores_what_is_calibrated_higher(thing(expected_calibration_error, n_bins=10))


@row("metrics.BootstrapInterval", "metrics.bootstrap_interval")
def is_an_interval(thing):
    y, before, _ = before_and_after()
    interval = skclamp.metrics.bootstrap_interval(
        expected_calibration_error, y, before, n_resamples=200, random_state=0
    )
    assert thing in (type(interval), skclamp.metrics.bootstrap_interval)
    assert 0 <= interval.low < interval.high < 0.3


@row("metrics.NoiseFloor", "metrics.calibration_noise_floor")
def is_a_floor(thing):
    y, before, _ = before_and_after()
    floor = skclamp.metrics.calibration_noise_floor(expected_calibration_error, before, random_state=0)
    assert thing in (type(floor), skclamp.metrics.calibration_noise_floor)
    assert 0 < floor.mean < floor.quantile < expected_calibration_error(y, before)


@row("metrics.PairedTest", "metrics.paired_bootstrap_test")
def is_a_test(thing):
    test = skclamp.metrics.paired_bootstrap_test(negative_log_likelihood, *before_and_after(), random_state=0)
    assert thing in (type(test), skclamp.metrics.paired_bootstrap_test)
    assert test.difference > 0
    assert test.pvalue < 0.05


@row("metrics.RiskCoverageCurve", "metrics.area_under_risk_coverage", "metrics.risk_coverage_curve")
def ranks_better_than_chance(thing):
    y, before, _ = before_and_after()
    curve = skclamp.metrics.risk_coverage_curve(y, before)
    assert thing in (type(curve), skclamp.metrics.risk_coverage_curve, skclamp.metrics.area_under_risk_coverage)
    assert curve.area == skclamp.metrics.area_under_risk_coverage(y, before)
    assert 0 < curve.area_at_best < curve.area < curve.area_by_chance < 0.5


@row("metrics.CalibrationRefinement", "metrics.calibration_refinement")
def splits_a_score(thing):
    y, *probabilities = before_and_after()
    before, after = (skclamp.metrics.calibration_refinement(y, proba) for proba in probabilities)
    assert thing in (type(before), skclamp.metrics.calibration_refinement)
    assert before.score == pytest.approx(before.calibration + before.refinement)
    assert after.calibration < before.calibration


# Displays


@row("display.ReliabilityDisplay")
def draws_reliability(thing):
    classifier, _, test = cancer()
    drawn(thing.from_estimator(classifier, *test))


@row("display.ReliabilityGridDisplay")
def draws_a_grid(thing):
    y, before, _ = before_and_after()
    assert len(drawn(thing.from_classes(y, before)).axes_) == 10


@row("display.RiskCoverageDisplay")
def draws_risk_and_coverage(thing):
    classifier, _, test = cancer()
    drawn(thing.from_estimator(classifier, *test, target_risk=0.05))


@row("display.NetBenefitDisplay")
def draws_net_benefit(thing):
    classifier, _, test = cancer()
    drawn(thing.from_estimator(classifier, *test))


@row("display.MonitorDisplay")
def draws_a_monitor(thing):
    y, before, _ = before_and_after()
    drawn(thing.from_estimator(skclamp.CalibrationMonitor(response="probabilities").partial_fit(before, y)))


@row("display.PerturbationDisplay")
def draws_a_perturbation(thing):
    drawn(thing.from_estimator(clamped()))


def drawn(display):
    display.figure_.canvas.draw()
    plt.close(display.figure_)
    return display


# Modules, losses, perturbations


@row("modules.ClampedModule")
def is_what_predicts(thing):
    module, (X, _) = clamped().module_, digits()[2]
    assert isinstance(module, thing)
    with torch.no_grad():
        proba = module(torch.from_numpy(X)).softmax(1)
    # The network computes in float32.
    np.testing.assert_allclose(proba, clamped().predict_proba(X), atol=1e-5)


@row("modules.LastLayer")
def is_what_a_fit_adds_to_the_last_layer(thing):
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(20, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    X = torch.randn(600, 20)
    y = torch.multinomial((5 * (network(X) + torch.nn.Linear(8, 3)(network[:2](X)))).softmax(1), 1)[:, 0]
    layer = NeuralClampingCalibrator(network, perturbation=None).fit(X, y).last_layer_
    assert isinstance(layer, thing)
    assert layer.weight.shape == (3, 8)


@row("modules.LogitsModule")
def yields_logits_of_a_network_that_yields_probabilities(thing):
    network, _, (X, _) = digits()
    X = torch.from_numpy(X)
    with torch.no_grad():
        of_probabilities = thing(torch.nn.Sequential(network, torch.nn.Softmax(1)), response="probabilities")(X)
        torch.testing.assert_close(of_probabilities.softmax(1), network(X).softmax(1), rtol=1e-4, atol=1e-6)


@row("modules.SelectiveModule")
def abstains_as_the_classifier_does(thing):
    (X_cal, y_cal), (X, _) = calibration_and_test(0)
    calibrator = TemperatureScaling(convolutional_network()).fit(X_cal[:100], y_cal[:100])
    selective = SelectiveClassifier(calibrator, target_risk=0.01, unproven="best").fit(X_cal[100:], y_cal[100:])
    assert isinstance(selective.module_, thing)
    with torch.no_grad():
        labels = selective.module_.eval()(torch.from_numpy(X))
    # The module computes in float32.
    assert (labels.numpy() == selective.predict(X)).mean() > 0.99
    assert 0 < (labels == -1).sum() < len(X)


@row("modules.as_module")
def is_a_classifier_as_a_module(thing):
    X, y = load_wine(return_X_y=True)
    classifier = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    with torch.no_grad():
        proba = thing(classifier)(torch.from_numpy(X)).softmax(1)
    np.testing.assert_allclose(proba, classifier.predict_proba(X), atol=1e-12)


@row("modules.frozen")
def keeps_a_network_as_it_is(thing):
    network = torch.nn.Linear(2, 2)
    with thing(network):
        assert not network.training
        assert not network.weight.requires_grad
    assert network.training
    assert network.weight.requires_grad


@row("modules.logits_from")
def makes_logits_of_what_a_network_says(thing):
    classifier, _, (X, _) = cancer()
    proba = classifier.predict_proba(X)
    logits = thing(torch.from_numpy(proba[:, 1]), "probabilities", n_samples=len(proba))
    np.testing.assert_allclose(logits.softmax(1), proba, atol=1e-12)


@row("losses.FocalLoss", "losses.focal_loss")
def weighs_hard_samples(thing):
    network, _, (X, y) = digits()
    with torch.no_grad():
        logits, target = network(torch.from_numpy(X)), torch.from_numpy(y)
    focal = thing(gamma=2.0)(logits, target) if isinstance(thing, type) else thing(logits, target, gamma=2.0)
    assert 0 < focal < torch.nn.functional.cross_entropy(logits, target)


@row("datasets.load_fogged_digits")
def has_a_network_that_fog_confuses(thing):
    accuracy = {}
    for fog in (0, 0.5):
        data = thing(fog=fog)
        assert data.X_cal.dtype == np.float32 and data.X_cal.shape == (len(data.y_cal), 1, 8, 8)
        calibrator = TemperatureScaling(data.network).fit(data.X_cal, data.y_cal)
        assert calibrator.temperature_ > 1.3 and not data.network.training
        accuracy[fog] = calibrator.score(data.X_test, data.y_test)
    assert accuracy[0] > 0.9 > 0.85 > accuracy[0.5]


@row("perturbations.AffinePerturbation", "perturbations.ChannelPerturbation", "perturbations.ColorPerturbation")
@row("perturbations.CurvePerturbation", "perturbations.FilterPerturbation", "perturbations.FullPerturbation")
@row("perturbations.GridPerturbation")
def starts_as_the_identity(thing):
    X = torch.from_numpy(digits()[2][0])
    with torch.no_grad():
        torch.testing.assert_close(thing(X.shape[1:])(X), X, rtol=0, atol=1e-6)


@row("perturbations.NormLayer", "perturbations.NormPerturbation")
def clamps_features(thing):
    network, (X, y), test = digits()
    calibrator = calibrates(NeuralClampingCalibrator, (network, (X, y), test), perturbation="norm", random_state=0)
    (norm,) = calibrator.perturbation_
    assert thing in (type(norm), type(norm.layers[0]))
    drawn(skclamp.display.PerturbationDisplay.from_estimator(calibrator))


@row("perturbations.HorizontalFlip")
def mirrors(thing):
    X = torch.from_numpy(digits()[2][0])
    assert torch.equal(thing()(X), X.flip(-1))


@row("perturbations.ImageShift", "perturbations.TimeShift")
def moves(thing):
    X = torch.from_numpy(digits()[2][0])
    X, shift = (X, thing(0, 1)) if thing.__name__ == "ImageShift" else (X.flatten(2), thing(1))
    assert torch.equal(shift(X)[..., 2:], X[..., 1:-1])
