"""Peers are run as their packages have them; Tang's (2022) experiments do what they say, on a small network."""

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

pytest.importorskip("sklearn", minversion="1.8", reason="needs scikit-learn's own temperature scaling")

import speed
from _networks import CifarResNet, Normalize, without_normalization
from _peers import PEERS, log_odds, log_p
from _thesis_methods import Problem, Run, Samples, calibrate
from _thesis_tables import CIFAR100, GAMMAS, REFERENCE
from skclamp import REFERENCE_SETTINGS, NeuralClampingCalibrator
from skclamp.metrics import (
    debiased_calibration_error,
    expected_calibration_error,
    smooth_calibration_error,
)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "method", "scores"),
    [
        ("temperature", "temperature", log_p),
        ("sigmoid of log p", "sigmoid", log_p),
        ("sigmoid of log-odds", "sigmoid", log_odds),
        ("isotonic", "isotonic", np.asarray),
    ],
)
def test_scikit_learns_maps_are_those_of_calibrated_classifier_cv(name, method, scores):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=4.0, size=(600, 4)).astype(np.float32)
    y = (logits / 2 + rng.gumbel(size=logits.shape)).argmax(1)
    proba = softmax(logits.astype(float), axis=1)
    classifier = LogisticRegression()
    # Hands its inputs on as scores.
    classifier.classes_, classifier.coef_, classifier.intercept_ = np.unique(y), np.eye(proba.shape[1]), 0.0
    whole = CalibratedClassifierCV(FrozenEstimator(classifier), method=method, ensemble=False).fit(scores(proba), y)
    alone = PEERS[f"scikit-learn {name}"]().fit(proba, y).predict_proba(proba)
    np.testing.assert_allclose(alone, whole.predict_proba(scores(proba)), atol=1e-12)


def overconfident(n_samples=15_000, n_classes=5, seed=0):
    """Labels, and probabilities of 1.3 times the true logits, away from 0 and 1; 15 bins divide the samples."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n_samples, n_classes))
    y = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    return y, 0.9 * softmax(1.3 * logits, axis=1) + 0.1 / n_classes


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_calibration_errors_are_those_of_torchmetrics(norm):
    functional = pytest.importorskip("torchmetrics.functional.classification")
    y, proba = overconfident()
    tensors, kind = map(torch.from_numpy, (proba, y)), {"num_classes": 5, "n_bins": 15, "norm": norm}
    theirs = functional.multiclass_calibration_error(*tensors, **kind).item()
    assert expected_calibration_error(y, proba, norm=norm) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
@pytest.mark.parametrize(("mode", "their_mode"), [("top-label", "top-label"), ("classwise", "marginal")])
def test_debiased_errors_are_those_of_uncertainty_calibration(strategy, mode, their_mode):
    calibration, utils = pytest.importorskip("calibration"), pytest.importorskip("calibration.utils")
    y, proba = overconfident()
    scheme = {"uniform": utils.get_equal_prob_bins, "quantile": utils.get_equal_bins}[strategy]
    theirs = calibration.lower_bound_scaling_ce(proba, y, p=2, num_bins=15, binning_scheme=scheme, mode=their_mode)
    assert debiased_calibration_error(y, proba, strategy=strategy, mode=mode) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("bandwidth", [0.02, 0.05])
def test_the_smooth_error_is_relplots_on_a_fine_grid(bandwidth):
    """At a narrow bandwidth: it cuts the kernel off half a unit away."""
    relplot, (y, proba) = pytest.importorskip("relplot"), overconfident()
    confidence, hits = relplot.multiclass_logits_to_confidences(proba, y, probs=True)
    kernel, t = relplot.kernels.ReflectedGaussianKernel(bandwidth), np.linspace(0, 1, 20_001)
    residual, mass = (
        kernel.apply(confidence, values, t, eval_points=2 * len(t)) for values in (confidence - hits, np.ones(len(y)))
    )
    theirs = np.abs(residual).sum() / mass.sum()
    assert smooth_calibration_error(y, proba, bandwidth=bandwidth) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.filterwarnings("ignore:independent is deprecated:DeprecationWarning")
def test_every_method_finds_the_temperature_that_labels_were_drawn_with(monkeypatch):
    monkeypatch.setattr(speed, "best_time", lambda function, **_: 1.0)
    methods = {name: fit for name, fit in speed.CONTESTS[speed.FIT].items() if speed.works(speed.FIT, name, fit)}
    rows = list(speed.contest(speed.FIT, methods, (2000, 4)))
    assert rows[0]["method"] == "skclamp" and rows[0]["error"] < 1e-7
    assert all(row["error"] < 2e-3 for row in rows)
    y, logits = speed.inputs(speed.FIT, 20000, 10)
    assert speed.fit_ours(y, logits) == pytest.approx(speed.TRUE_TEMPERATURE, rel=0.03)


# Tang's (2022) experiments.


def a_run(method, *, gamma=None, n=160, seed=0, epochs=2):
    gamma = GAMMAS.get(method, "") if gamma is None else gamma
    return Run(CIFAR100, method, gamma, n, seed, epochs if method in REFERENCE else "")


@pytest.fixture(scope="module")
def problem():
    """A small over-confident network with the samples of Tang's (2022) protocol in little."""
    network = torch.nn.Sequential(Normalize((0.1, 0.2, 0.3), (0.5, 0.4, 0.6)), convolutional()).eval()

    def samples(n, seed):
        x = images(n, seed)
        scores = bare_logits(network, x)
        return Samples(torch.from_numpy(x), torch.from_numpy(scores).float(), labels_of(scores, seed=seed))

    return Problem(network, samples(160, 1), samples(300, 2))


def test_the_reference_is_the_calibrator_itself_on_normalised_inputs(problem):
    samples, (normalize, inner) = problem.calibration, problem.network
    expected = NeuralClampingCalibrator(inner, random_state=1, **{**REFERENCE_SETTINGS, "max_epochs": 2})
    expected.fit(normalize(samples.images), samples.labels)
    log_proba, facts = calibrate(a_run("reference", seed=1), problem)
    np.testing.assert_array_equal(log_proba, expected.predict_log_proba(normalize(problem.test.images)))
    assert (facts["accepted"], facts["families"], facts["backward"]) == (1, "full", 2)
    assert facts["temperature"] == expected.temperature_ != 1
    for method in ("reference, input only", "reference, augmented"):
        assert np.abs(calibrate(a_run(method, seed=1), problem)[0] - log_proba).max() > 1e-4
    assert calibrate(a_run("reference, input only"), problem)[1]["temperature"] == 1
    network = CifarResNet(8, 4, (0.1, 0.2, 0.3), (0.5, 0.4, 0.6)).eval()
    normalize, bare = without_normalization(network)
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(bare(normalize(x)), network(x))
