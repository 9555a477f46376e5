"""Samples that depend on each other, near-copies and frames in their order, are told, and prove what few do."""

import runpy
import warnings
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from _small_networks import bare_logits, labels_of, perceptron
from scipy.signal import lfilter
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold

from skclamp import (
    CalibrationMonitor,
    CalibratorSelector,
    NeuralClampingCalibrator,
    RiskMonitor,
    SelectiveClassifier,
    StructuredVectorScaling,
    TemperatureScaling,
    VectorScaling,
    compare_calibrators,
)
from skclamp._judging.recordings import stretch_of
from skclamp.exceptions import CalibrationSetWarning
from skclamp.metrics import bootstrap_interval, brier_score, expected_calibration_error, paired_bootstrap_test

NEAR, RECORDING = "have others of their class at a fraction", "looks like a recording"


def drawn(seed, n_patients, n_rows=1, jitter=1e-3, scale=2.0):
    """Logits twice as sure as they should be, of patients with several rows each, and labels of these."""
    rng = np.random.default_rng(seed)
    logits, patients = rng.normal(scale=scale, size=(n_patients, 3)), np.repeat(np.arange(n_patients), n_rows)
    y = (logits / 2 + rng.gumbel(size=logits.shape)).argmax(1)
    return logits[patients] + jitter * rng.normal(size=(len(patients), 3)), y[patients], patients


def told(fit, *args, **kwargs):
    """What a fit made, and which of the two it tells."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = fit(*args, **kwargs)
    return fitted, [what for what in (NEAR, RECORDING) if any(what in str(each.message) for each in caught)]


NEW, *_ = drawn(99, 2000)


def divergence(calibrator):
    p = softmax(NEW / 2, axis=1)
    return (p * (np.log(p) - calibrator.predict_log_proba(NEW))).sum(1).mean()


# Near-copies


def test_a_selector_counts_near_copies_as_one():
    found = []
    for seed in range(5):
        X, y, patients = drawn(seed, 60, 15)
        selector, what = told(CalibratorSelector(verbose=0).fit, X, y)
        assert what == [NEAR]
        temperature = TemperatureScaling().fit(X, y)
        found.append([divergence(selector), divergence(temperature)])
        assert not told(CalibratorSelector(verbose=0).fit, X, y, groups=patients)[1]
    of_selector, of_temperature = np.mean(found, axis=0)
    assert of_selector < 2 * of_temperature


def test_nothing_is_guaranteed_on_near_copies_unasked():
    calibrator = TemperatureScaling().fit(*drawn(7, 500)[:2])
    X, y, patients = drawn(0, 300, 4)
    selective = SelectiveClassifier(calibrator, target_risk=0.3)
    assert told(selective.fit, X, y)[1] == [NEAR]
    assert not selective.guaranteed_
    assert "near-copies, and nobody has said" in selective.verdict_.reason
    threshold = selective.threshold_
    assert not told(selective.fit, X, y, groups=patients)[1]
    assert selective.guaranteed_
    assert selective.threshold_ == pytest.approx(threshold, abs=1e-2)


def test_monitors_count_near_copies_as_one():
    calibrator = TemperatureScaling().fit(*drawn(7, 500)[:2])
    selective = SelectiveClassifier(calibrator, target_risk=0.3).fit(*drawn(8, 600)[:2])
    for seed in range(5):
        X, y, patients = drawn(seed, 60, 15)
        for monitor, rows in ((CalibrationMonitor(), X / 2), (RiskMonitor(selective), X)):
            assert told(monitor.fit, rows, y)[1] == [NEAR]
            assert not monitor.never_true_
            expected = type(monitor)(monitor.estimator).fit(rows, y, groups=patients)
            assert told(monitor.fit, rows, y)[0].n_samples_ == expected.n_samples_


def test_monitors_know_near_copies_of_a_classifier_s_inputs():
    """Of two classes logits tell nothing: inputs do."""
    rng = np.random.default_rng(0)
    X, patients = rng.normal(size=(60, 5)), np.repeat(np.arange(60), 15)
    y = (X[:, 0] + rng.logistic(size=60) > 0).astype(int)
    classifier = LogisticRegression().fit(X, y)
    near = X[patients] + 1e-3 * rng.normal(size=(900, 5))
    assert told(CalibrationMonitor(classifier).partial_fit, near, y[patients])[1] == [NEAR]
    assert told(SelectiveClassifier(classifier, target_risk=0.45).fit, near, y[patients])[1] == [NEAR]


# Recordings


def steady(rng, n, n_columns, phi=0.95):
    """Columns of unit variance that move steadily."""
    noise = np.sqrt(1 - phi**2) * rng.normal(size=(n + 200, n_columns))
    return lfilter([1], [1, -phi], noise, axis=0)[200:]


def stream(seed, n=600):
    """Logits of frames, and labels whose chance moves as steadily."""
    rng = np.random.default_rng(seed)
    logits = 2 * steady(rng, n, 5)
    return logits, (logits / 1.5 + steady(rng, n, 5)).argmax(1)


CALIBRATORS = [CalibratorSelector(verbose=0), StructuredVectorScaling(), VectorScaling()]


@pytest.mark.parametrize("calibrator", CALIBRATORS, ids=lambda each: type(each).__name__)
def test_frames_in_their_order_are_told(calibrator):
    X, y = stream(0)
    with pytest.warns(CalibrationSetWarning, match=RECORDING):
        calibrator.fit(X, y)
    shuffled = np.random.default_rng(1).permutation(len(y))
    assert not told(calibrator.fit, X[shuffled], y[shuffled])[1]
    assert not told(TemperatureScaling().fit, X, y)[1]


@pytest.mark.parametrize("n", [300, 1000])
def test_most_recordings_are_known_and_others_hardly_ever(n):
    calibrator = StructuredVectorScaling()
    recordings, others = [], []
    for seed in range(20):
        X, y = stream(seed, n)
        recordings.append(told(calibrator.fit, X, y)[1] == [RECORDING])
        rows = np.random.default_rng(seed).permutation(n)
        for order in (
            rows,
            np.argsort(y, kind="stable"),
            np.lexsort([X.max(1), y[rows]]),
            np.argsort(softmax(X, 1).max(1)),
            np.lexsort([softmax(X[rows], 1).max(1), X[rows].argmax(1), y[rows]]),
        ):
            others.append(told(calibrator.fit, X[rows][order], y[rows][order])[1] == [RECORDING])
    assert np.mean(recordings) >= 0.9
    assert np.mean(others) <= 0.02


def test_samples_sorted_by_what_a_biased_network_says_are_no_recording():
    rng = np.random.default_rng(0)
    for _ in range(5):
        X = np.c_[np.zeros(400), rng.normal(scale=2.0, size=400)]
        y = (X[:, 1] - 2.0 + rng.logistic(size=400) > 0).astype(int)
        several = rng.normal(scale=2.0, size=(1000, 5))
        labels = (several / 2 + np.arange(5) / 2 + rng.gumbel(size=several.shape)).argmax(1)
        by_prediction = np.lexsort([several.max(1), several.argmax(1)])
        for logits, classes, order in ((X, y, X[:, 1].argsort()), (several, labels, by_prediction)):
            assert not told(StructuredVectorScaling().fit, logits[order], classes[order])[1]


@pytest.mark.parametrize("metric", [brier_score, expected_calibration_error])
def test_intervals_go_by_stretches_of_a_recording(metric):
    X, y = stream(0)
    proba, shuffled = softmax(X, 1), np.random.default_rng(1).permutation(len(y))
    with pytest.warns(CalibrationSetWarning, match="the order of the rows looks like a recording.*stretches of"):
        found = bootstrap_interval(metric, y, proba, n_resamples=200, random_state=0)
    single = bootstrap_interval(metric, y[shuffled], proba[shuffled], n_resamples=200, random_state=0)
    by_itself = bootstrap_interval(metric, y, proba, n_resamples=200, groups=np.arange(len(y)), random_state=0)
    assert found.value == pytest.approx(single.value)
    assert found.standard_error > 1.2 * max(single.standard_error, by_itself.standard_error)


@pytest.mark.parametrize("metric", [brier_score, expected_calibration_error])
@pytest.mark.parametrize("pad", [100, 900])
def test_rows_without_weight_are_of_no_recording(metric, pad):
    """Neither does one hide behind them, nor are its stretches longer, wherever they are."""
    X, y = stream(0, 300)
    rng, proba = np.random.default_rng(1), softmax(X, 1)
    run = partial(bootstrap_interval, metric, n_resamples=100, random_state=0)
    with pytest.warns(CalibrationSetWarning, match="the order of the rows looks like a recording"):
        found = run(y, proba)
    for at in (np.full(pad, 300), np.zeros(pad, int), rng.integers(0, 300, pad)):
        rows = np.insert(y, at, rng.integers(0, 5, pad)), np.insert(proba, at, rng.dirichlet(np.ones(5), pad), axis=0)
        with pytest.warns(CalibrationSetWarning, match="the order of the rows looks like a recording"):
            assert run(*rows, sample_weight=np.insert(np.ones(300), at, 0)) == pytest.approx(found)


@pytest.mark.parametrize("n", [50, 600])
def test_rows_sorted_by_class_and_probability_are_no_recording(n):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        p = rng.uniform(size=n)
        y = (rng.uniform(size=n) < p**2).astype(int)
        order = np.lexsort([p, y])
        found, other = (
            bootstrap_interval(brier_score, *rows, random_state=0) for rows in ((y, p), (y[order], p[order]))
        )
        assert found[2:] == pytest.approx(other[2:], rel=0.15)


def test_few_stretches_are_shorter_and_told():
    X, y = stream(5, 100)
    proba = softmax(X, 1)
    with pytest.warns(CalibrationSetWarning, match="recording.*stretches of 12 .* errors are still too small"):
        found = bootstrap_interval(brier_score, y, proba, random_state=0)
    assert found == bootstrap_interval(brier_score, y, proba, groups=np.arange(100) // 12, random_state=0)


def test_comparisons_go_by_stretches_of_a_recording():
    (X, y), (X_cal, y_cal, _) = stream(0), drawn(0, 300)
    X_cal = np.c_[X_cal, X_cal[:, :2] - 9]
    with pytest.warns(CalibrationSetWarning, match="the rows looks like a recording"):
        test = paired_bootstrap_test(brier_score, y, softmax(X, 1), softmax(X / 2, 1), n_resamples=200, random_state=0)
    alone = np.arange(len(y))
    narrow = paired_bootstrap_test(
        brier_score, y, softmax(X, 1), softmax(X / 2, 1), n_resamples=200, groups=alone, random_state=0
    )
    assert test.high - test.low > 1.5 * (narrow.high - narrow.low)
    options = {"calibrators": [TemperatureScaling()], "n_resamples": 20, "n_draws": 20, "verbose": 0}
    with pytest.warns(CalibrationSetWarning, match="the order of X_test looks like a recording.*Give groups_test"):
        found = compare_calibrators(None, X_cal, y_cal, X, y, classes=np.arange(5), **options)
    single = compare_calibrators(None, X_cal, y_cal, X, y, classes=np.arange(5), groups_test=alone, **options)
    of_best = [max(row.nll_difference_se for row in each.rows) for each in (found, single)]
    assert of_best[0] > 1.5 * of_best[1]


@pytest.mark.slow
def test_stretches_tell_how_much_a_mean_varies():
    """Of independent rows next to none are taken for a recording."""
    means, errors, false = [], [], 0
    for seed in range(150):
        X, y = stream(seed, 600)
        proba = softmax(X / 1.5, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = bootstrap_interval(brier_score, y, proba, n_resamples=100, random_state=0)
        means.append(found.value)
        errors.append(found.standard_error)
        rows = np.random.default_rng(seed).permutation(600)[:: 1 + seed % 20]
        false += RECORDING in told(bootstrap_interval, brier_score, y[rows], proba[rows], n_resamples=2)[1]
    ratio = np.sqrt(np.mean(np.square(errors))) / np.std(means)
    assert 0.75 < ratio < 1.25
    assert false <= 1


@pytest.mark.slow
@pytest.mark.parametrize("drive", ["0016E5", "Seq05VD", "0001TP"])
def test_a_car_s_drives_are_known_by_all(data_dir, drive):
    folder = data_dir / "camvid"
    if not folder.exists():
        pytest.skip(f"needs CamVid's drives in {folder}")
    network = runpy.run_path(str(folder / "espnet.py"))["load"](folder / "espnet.pt")
    some = np.s_[..., 5::20, 5::20]
    with torch.no_grad():
        images = (torch.tensor(plt.imread(path)).movedim(-1, 0) for path in sorted((folder / drive).glob("*.jpg")))
        X = torch.cat([network(image[None] / 255)[some] for image in images]).numpy()
    y = np.stack([255 * plt.imread(path) for path in sorted((folder / drive).glob("*.png"))]).round()[some].astype(int)
    proba, rows = softmax(X.astype(float), 1), np.random.default_rng(0).permutation(len(y))
    options = {"classes": np.arange(11), "ignore_index": 11}

    def interval(y, proba, groups=None):
        metric = partial(brier_score, ignore_index=11)
        return bootstrap_interval(metric, y, proba, n_resamples=200, groups=groups, random_state=0)

    def compared(X_test, y_test):
        given = {"calibrators": [TemperatureScaling()], "n_resamples": 20, "n_draws": 20, **options}
        return compare_calibrators(None, X[:8], y[:8], X_test, y_test, **given)

    for told_by in (StructuredVectorScaling(**options).fit, compared):
        assert told(told_by, X, y)[1] == [RECORDING]
        assert not told(told_by, X[rows], y[rows])[1]
    found, what = told(interval, y, proba)
    assert what == [RECORDING]
    single, what = told(interval, y[rows], proba[rows])
    assert not what
    assert found.standard_error > 1.2 * max(single.standard_error, interval(y, proba, np.arange(len(y))).standard_error)


def drive(seed, n=800):
    """Frames, and labels of them as another camera, which moves too, would see them."""
    rng, network = np.random.default_rng(seed), perceptron()
    X, moved = steady(rng, n, 6, 0.97), steady(rng, n, 6, 0.99)
    return network, X.astype(np.float32), labels_of(bare_logits(network, (X + 1.5 * moved).astype(np.float32)))


def test_clamping_keeps_nothing_that_whole_parts_of_a_recording_refuse():
    network, X, y = drive(3)
    clamping = NeuralClampingCalibrator(network, output=None, random_state=0, perturbation="affine")
    assert told(clamping.fit, X, y)[1] == [RECORDING]
    assert not clamping.accepted_
    by_scene = clamping.set_params(validation_fraction=GroupKFold(4))
    assert not told(by_scene.fit, X, y, groups=np.arange(800) // 200)[1]
    assert not told(clamping.set_params(validation_fraction=KFold(2)).fit, X, y)[1]


def test_clamping_tries_nothing_unasked_on_a_recording():
    """Halves of one recording prove nothing of another."""
    network, X, y = drive(3)
    clamping, what = told(NeuralClampingCalibrator(network, random_state=0).fit, X, y)
    assert what == [RECORDING]
    assert not clamping.accepted_
    assert clamping.verdict_.tried == {}
    assert "may do harm on another: give groups=" in clamping.summary()
    independent, what = told(NeuralClampingCalibrator(network, random_state=0).fit, X, y, groups=np.arange(len(y)))
    assert not what
    assert independent.verdict_.tried


class Mirrored(torch.nn.Module):
    """A view."""

    def forward(self, x):
        return -x


@pytest.mark.parametrize("perturbation", ["auto", None])
def test_on_a_recording_what_was_asked_for_is_judged_and_nothing_else(perturbation):
    network, X, y = drive(3)
    asked = {"max_views": [Mirrored()], "perturbation": perturbation, "random_state": 0}
    clamping, what = told(NeuralClampingCalibrator(network, **asked).fit, X, y, X_unlabelled=X)
    assert what == [RECORDING]
    assert "views need 100 independent samples" in clamping.views_verdict_.reason
    assert "the network has no batch norm" in clamping.unlabelled_verdict_.reason
    assert hasattr(clamping, "verdict_") == (perturbation == "auto")
    alone, _ = told(NeuralClampingCalibrator(network, perturbation=perturbation).fit, X, y)
    assert not any(hasattr(alone, name) for name in ("output_", "last_layer_"))
    named = NeuralClampingCalibrator(network, perturbation=perturbation, output=VectorScaling())
    assert hasattr(told(named.fit, X, y)[0], "output_")
    groups = np.arange(len(y))
    independent, _ = told(NeuralClampingCalibrator(network, perturbation=perturbation).fit, X, y, groups=groups)
    assert any(hasattr(independent, name) for name in ("output_", "last_layer_"))


def test_losses_at_places_tell_frames_whose_mean_losses_do_not():
    """As under noise of a sensor."""
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        logits, moved = (steady(rng, 80, 60, 0.8).reshape(80, 20, 3) for _ in range(2))
        logits, y = 2 * logits, (2 * logits + 2 * moved).argmax(-1)
        shuffled = rng.permutation(80)
        for rows in (np.arange(80), shuffled):
            found.append(stretch_of(softmax(logits[rows], -1).reshape(-1, 3), y[rows].ravel(), np.ones(1600, bool), 20))
    assert np.mean(np.array(found[::2]) > 0) >= 0.9
    assert np.mean(np.array(found[1::2]) > 0) <= 0.05
