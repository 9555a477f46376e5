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

import peer_metrics
import peers
import speed
from _networks import CifarResNet, Normalize, without_normalization
from _peers import PEERS, OneVsRest, log_odds, log_p
from _thesis_methods import ECE_GRID, GREY, Problem, Run, Samples, augmented, calibrate, temperature_by_ece
from _thesis_tables import CIFAR100, GAMMAS, METHODS, REFERENCE
from skclamp import REFERENCE_SETTINGS, NeuralClampingCalibrator, TemperatureScaling
from skclamp.metrics import brier_score, expected_calibration_error, predictive_entropy
from thesis import COLUMNS, FACTS, PARTS, evaluate, runs_of

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


def test_a_long_fit_is_not_repeated_and_what_is_missing_is_left_out(monkeypatch, capsys):
    fits = []

    def fitting(name):
        if name == "nowhere":
            raise ImportError("No module named 'nowhere'")
        return lambda split: (fits.append(name), peers.Outcome(1.0, 0.0, 1.0, {"long": 2.0, "short": 0.1}[name]))[1]

    monkeypatch.setattr(peers, "run_of", fitting)
    assert set(peers.run_in_turns(["long", "short"], None, repeats=3)) == {"long", "short"}
    assert fits == ["long", "short", "short", "short"]
    assert list(peers.installed(["long", "nowhere"])) == ["long"]
    assert "nowhere is left out: No module named 'nowhere'" in capsys.readouterr().out
    assert all(peer in {**PEERS, **peers.OURS} and method in peers.OURS for method, peer in peers.COMPARISONS)


def test_one_vs_rest_renormalises():
    class Half:
        def fit(self, p, y):
            self.share = y.mean()
            return self

        def predict(self, p):
            return np.full(len(p), self.share)

    y = np.repeat([0, 1, 2], [5, 3, 2])
    proba = OneVsRest(Half).fit(np.full((10, 3), 1 / 3), y).predict_proba(np.full((4, 3), 1 / 3))
    np.testing.assert_allclose(proba, np.tile([0.5, 0.3, 0.2], (4, 1)))
    np.testing.assert_allclose(log_odds(np.array([0.25, 0.5])), [-np.log(3), 0])
    np.testing.assert_allclose(log_p(np.array([0.25, 0.0])), np.log([0.25, 1e-300]))


@pytest.mark.parametrize(
    ("peer", "module"),
    [
        ("torchmetrics", "torchmetrics"),
        ("netcal", "netcal"),
        ("uncertainty-calibration", "calibration"),
        ("relplot", "relplot"),
    ],
)
def test_our_metrics_agree_with_a_peer_that_is_there(monkeypatch, peer, module):
    pytest.importorskip(module)
    monkeypatch.setattr(peer_metrics, "PEERS", {peer: peer_metrics.PEERS[peer]})
    for row in peer_metrics.rows(15_000, 5):
        assert row["difference"] < (1e-3 if "chance" in row["what"] or "as it comes" in row["what"] else 1e-6)


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
    loop = (epochs, "float32") if method in REFERENCE else ("", "")
    return Run(CIFAR100, method, gamma, n, seed, *loop)


@pytest.fixture(scope="module")
def problem():
    """A small over-confident network with the samples of Tang's (2022) protocol in little."""
    network = torch.nn.Sequential(Normalize((0.1, 0.2, 0.3), (0.5, 0.4, 0.6)), convolutional()).eval()

    def samples(n, seed):
        x = images(n, seed)
        scores = bare_logits(network, x)
        return Samples(torch.from_numpy(x), torch.from_numpy(scores).float(), labels_of(scores, seed=seed))

    return Problem(network, samples(160, 1), samples(300, 2))


def test_parts_share_their_runs_and_seeds_repeat_what_is_random():
    options = {"methods": METHODS, "gammas": [0.0, 1.0], "sizes": [50, 100, 200], "seeds": 2, "epochs": 3}
    runs = runs_of(PARTS, 100, **options, precision="bfloat16")
    assert len(set(runs)) == len(runs)
    assert Run(CIFAR100, "reference", 1.0, 100, 0, 3, "bfloat16") in runs
    assert {run.method for run in runs} == set(METHODS)
    seeds = {(run.method, run.n_calibration): [] for run in runs}
    for run in runs:
        if run.gamma in ("", GAMMAS.get(run.method)):
            seeds[run.method, run.n_calibration].append(run.seed)
    assert seeds["vector", 100] == [0]
    assert seeds["vector", 50] == seeds["clamping", 100] == seeds["reference", 100] == [0, 1]
    assert ("vector", 200) not in seeds


def test_augmented_images_are_crops_mirrored_or_not_with_a_grey_square():
    """Every pixel has another value, none of them 0 or grey."""
    plain = (torch.arange(3 * 16 * 16).reshape(3, 16, 16) + 1) / 1e6
    windows = torch.nn.functional.pad(plain, (2, 2, 2, 2)).unfold(1, 16, 1).unfold(2, 16, 1)
    seen = set()
    for _ in range(200):
        image = augmented(plain, cutout=0)
        seen |= {
            (top, left, mirrored)
            for mirrored, candidate in enumerate((image, image.flip(-1)))
            for top in range(5)
            for left in range(5)
            if torch.equal(windows[:, top, left], candidate)
        }
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(5))
    assert {mirrored for _, _, mirrored in seen} == {0, 1}
    areas = {int((augmented(plain, padding=0) == GREY).all(0).sum()) for _ in range(200)}
    assert max(areas) == 16 > min(areas)
    torch.manual_seed(3)
    first = augmented(plain)
    torch.manual_seed(3)
    assert torch.equal(augmented(plain), first)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_methods_yield_log_probabilities_that_repeat(method, problem):
    (log_proba, facts), (again, _) = (calibrate(a_run(method), problem) for _ in range(2))
    np.testing.assert_allclose(np.exp(log_proba).sum(1), 1, rtol=1e-9)
    np.testing.assert_array_equal(log_proba, again)
    assert log_proba.shape == (300, 4) and set(facts) <= set(FACTS)


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


def test_temperature_takes_the_focal_loss_or_the_least_ece(problem):
    found = [calibrate(a_run("temperature", gamma=gamma), problem)[1]["temperature"] for gamma in (0.0, 2.0)]
    samples = problem.calibration
    assert found[0] < found[1] == TemperatureScaling(gamma=2.0).fit(samples.logits, samples.labels).temperature_
    errors = [
        expected_calibration_error(samples.labels, torch.softmax(samples.logits.double() / value, 1))
        for value in ECE_GRID
    ]
    assert temperature_by_ece(samples.logits, samples.labels) == ECE_GRID[int(np.argmin(errors))]


def test_scores_are_those_of_the_metrics_and_intervals_hold_them(problem):
    log_proba, _ = calibrate(a_run("uncalibrated"), problem)
    baseline, _ = calibrate(a_run("temperature"), problem)
    y, proba, rows = problem.test.labels, np.exp(log_proba), np.arange(300)
    scores = evaluate(y, log_proba, baseline, n_resamples=200)
    assert set(scores) == set(COLUMNS) - {*Run._fields, *FACTS, "n_test"}
    assert scores["accuracy"] == pytest.approx(100 * (proba.argmax(1) == y).mean())
    assert scores["entropy"] == pytest.approx(predictive_entropy(proba))
    assert scores["brier"] == pytest.approx(brier_score(y, proba))
    assert scores["ece"] == pytest.approx(100 * expected_calibration_error(y, proba))
    assert scores["nll"] == pytest.approx(-log_proba[rows, y].mean())
    assert scores["nll_difference"] == pytest.approx((baseline - log_proba)[rows, y].mean())
    for name in ("entropy", "accuracy", "nll", "brier", "nll_difference"):
        assert scores[f"{name}_low"] < scores[name] < scores[f"{name}_high"]
    width = 2 * 1.96 * log_proba[rows, y].std() / np.sqrt(300)
    assert scores["nll_high"] - scores["nll_low"] == pytest.approx(width, rel=0.25)
    assert scores["ece"] > scores["ece_floor_95"] > scores["ece_floor"] > 0
