"""The comparison of calibrators: every number it shows is the one computed directly."""

import pickle
import re
import sys
import tracemalloc
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
import pytest
import torch
from _digits import calibration_and_test, convolutional_network, shifted
from _small_networks import labels_of, logits
from scipy import stats
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from torch.utils.data import IterableDataset, TensorDataset

from skclamp import (
    HistogramBinning,
    NeuralClampingCalibrator,
    StructuredMatrixScaling,
    TemperatureScaling,
    VectorScaling,
    compare_calibrators,
)
from skclamp.base import BaseCalibrator, Map
from skclamp.metrics import (
    adaptive_expected_calibration_error,
    area_under_risk_coverage,
    bootstrap_interval,
    brier_score,
    calibration_noise_floor,
    classwise_calibration_error,
    expected_calibration_error,
    negative_log_likelihood,
)
from skclamp.selection._shared_logits import SharedLogits

MAPS = {"temperature": TemperatureScaling(), "matrix": StructuredMatrixScaling(), "bins": HistogramBinning()}
FEW = {"n_resamples": 50, "n_draws": 20}


@pytest.fixture(scope="module")
def data():
    """Digits seen by a camera whose gain is off: (X, y) to calibrate with and (X, y) to test on."""
    (X_cal, y_cal), (X_test, y_test) = calibration_and_test(0)
    return shifted(X_cal, "gain and offset"), y_cal, shifted(X_test, "gain and offset"), y_test


@pytest.fixture(scope="module")
def comparison(data):
    calibrators = {**MAPS, "clamping": NeuralClampingCalibrator(output=None, random_state=0)}
    return compare_calibrators(
        convolutional_network(), *data, calibrators=calibrators, n_bins=10, random_state=3, **FEW
    )


def _direct(name, data):
    """Probabilities of the test set, without the comparison."""
    X_cal, y_cal, X_test, _ = data
    network = convolutional_network()
    if name == "uncalibrated":
        with torch.no_grad():
            return torch.softmax(network(torch.as_tensor(X_test)).double(), 1).numpy()
    calibrator = NeuralClampingCalibrator(output=None, random_state=0) if name == "clamping" else clone(MAPS[name])
    return calibrator.set_params(estimator=network).fit(X_cal, y_cal).predict_proba(X_test)


@pytest.mark.parametrize("name", ["uncalibrated", "clamping", *MAPS])
def test_scores_are_those_of_the_metrics(comparison, data, name):
    proba, y = _direct(name, data), data[3]
    ece = partial(expected_calibration_error, n_bins=10)
    seed = np.random.RandomState(3).randint(2**31 - 1)
    interval, area = (
        bootstrap_interval(metric, y, proba, n_resamples=50, random_state=seed)
        for metric in (ece, area_under_risk_coverage)
    )
    floor = calibration_noise_floor(ece, proba, n_draws=20, random_state=seed)
    row = comparison[name]
    expected = {
        "accuracy": (proba.argmax(1) == y).mean(),
        "nll": negative_log_likelihood(y, proba),
        "brier": brier_score(y, proba),
        "ece": ece(y, proba),
        "ece_low": interval.low,
        "ece_high": interval.high,
        "ece_floor": floor.mean,
        "ece_floor_quantile": floor.quantile,
        "aece": adaptive_expected_calibration_error(y, proba, n_bins=10),
        "sce": classwise_calibration_error(y, proba, n_bins=10),
        "aurc": area_under_risk_coverage(y, proba),
        "aurc_low": area.low,
        "aurc_high": area.high,
    }
    assert {key: getattr(row, key) for key in expected} == pytest.approx(expected, rel=1e-6, abs=1e-9)
    assert row.predict_time > 0 and (row.fit_time > 0 or name == "uncalibrated")


@pytest.mark.filterwarnings("ignore:X_test holds samples of X_cal:skclamp.exceptions.CalibrationSetWarning")
def test_many_probabilities_are_never_in_memory_all_at_once(monkeypatch):
    monkeypatch.setattr(SharedLogits, "most_kept", 1 << 22)
    random = np.random.default_rng(0)
    logits = 3 * random.standard_normal((4300, 1000), dtype=np.float32)
    y = (logits / 2 + random.gumbel(size=logits.shape)).argmax(1)
    few = logits[:200], y[:200]
    maps = {"temperature": TemperatureScaling(), "fitted": TemperatureScaling(classes=np.arange(1000)).fit(*few)}
    tracemalloc.start()
    result = compare_calibrators(
        None, *few, logits, y, calibrators=maps, classes=np.arange(1000), n_resamples=2, n_draws=2
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < logits.size * 8 / 2
    proba = maps["fitted"].predict_proba(logits)
    floor = calibration_noise_floor(
        expected_calibration_error, proba, n_draws=2, random_state=np.random.RandomState(0).randint(2**31 - 1)
    )
    expected = {
        "accuracy": (proba.argmax(1) == y).mean(),
        "nll": negative_log_likelihood(y, proba),
        "brier": brier_score(y, proba),
        "ece": expected_calibration_error(y, proba),
        "ece_floor": floor.mean,
        "sce": classwise_calibration_error(y, proba),
    }
    for name in maps:
        assert {key: getattr(result[name], key) for key in expected} == pytest.approx(expected, rel=1e-9)


def test_differences_and_ties_are_those_of_a_paired_test(comparison, data):
    proba = {name: _direct(name, data) for name in ("uncalibrated", "clamping", *MAPS)}
    losses = {name: -np.log(own[np.arange(len(own)), data[3]]) for name, own in proba.items()}
    best = min(losses, key=lambda name: losses[name].mean())
    assert comparison.best == best == comparison.rows[0].name == "clamping"
    others = [name for name in losses if name != best]
    t = np.array([stats.ttest_rel(losses[name], losses[best]).statistic for name in others])
    others, t = [others[k] for k in np.argsort(-t)], np.sort(t)[::-1]
    ranges = [stats.studentized_range.sf(2**0.5 * own, len(losses) - k, len(data[3]) - 1) for k, own in enumerate(t)]
    p_values = np.maximum.accumulate(ranges)
    for name, p_value in zip(others, p_values, strict=True):
        difference = losses[name] - losses[best]
        row = comparison[name]
        assert row.nll_difference == pytest.approx(difference.mean(), rel=1e-5)
        assert row.nll_difference_se == pytest.approx(stats.sem(difference), rel=1e-5)
        assert row.p_value == pytest.approx(p_value, rel=1e-3, abs=1e-10)
        assert row.tied == (p_value > 0.05)
    assert comparison.tied == [row.name for row in comparison.rows if row.tied] == ["clamping"]
    assert [row.nll for row in comparison.rows] == sorted(row.nll for row in comparison.rows)


@pytest.mark.parametrize("name", ["clamping", *MAPS])
def test_keeps_calibrators_of_the_network(comparison, data, name):
    fitted = comparison.calibrators[name]
    assert fitted.estimator is convolutional_network()
    np.testing.assert_array_equal(fitted.classes_, np.arange(10))
    assert not hasattr(fitted, "n_features_in_")
    np.testing.assert_allclose(fitted.predict_proba(data[2]), _direct(name, data), atol=1e-6)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(data[2]), fitted.predict_proba(data[2]))
    assert (clone(fitted).get_params()["response"], clone(fitted).estimator) == ("auto", fitted.estimator)


def test_network_runs_once_a_data_set(data):
    X_cal, y_cal, X_test, y_test = data
    seen, network = [], convolutional_network()
    hook = network.register_forward_hook(lambda module, args, output: seen.append(len(output)))
    compare_calibrators(network, *data, calibrators=[TemperatureScaling(), VectorScaling()], **FEW)
    hook.remove()
    # And a few of them once more: a network may be random.
    assert sum(seen) == len(X_cal) + len(X_test) + 4


def test_prints_what_it_holds(comparison):
    lines = str(comparison).splitlines()
    cells = {line.split()[0]: re.findall(r"[-+]?\d+\.\d+", line) for line in lines[2 : 2 + len(comparison.rows)]}
    assert list(cells) == [row.name for row in comparison.rows]
    for row in comparison.rows:
        shown = [float(cell) for cell in cells[row.name]]
        percent = (row.ece, row.ece_low, row.ece_high, row.ece_floor, row.ece_floor_quantile, row.aece)
        assert shown[0] == pytest.approx(100 * row.accuracy, abs=0.005)
        assert shown[1:5] == pytest.approx(
            [row.nll, row.nll_difference, row.nll_difference_se, row.brier], abs=0.5001e-4
        )
        assert shown[5:11] == pytest.approx([100 * value for value in percent], abs=0.00501)
        assert shown[11] == pytest.approx(100 * row.sce, abs=0.000501)
        areas = [100 * value for value in (row.aurc, row.aurc_low, row.aurc_high)]
        assert shown[12:] == pytest.approx([*areas, row.fit_time, row.predict_time], abs=0.00501)
    assert lines[2].split()[5] == "best"
    assert repr(comparison) == str(comparison)
    assert "<table>" in comparison._repr_html_() and "temperature" in comparison._repr_html_()


def test_makes_a_frame(comparison):
    frame = comparison.to_frame()
    assert list(frame.index) == [row.name for row in comparison.rows]
    for row in comparison.rows:
        for column in frame.columns:
            assert frame.loc[row.name, column] == getattr(row, column)


def test_says_what_a_frame_needs(comparison, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="a DataFrame needs pandas: pip install pandas"):
        comparison.to_frame()


@pytest.mark.filterwarnings("ignore:the loss hadn't converged.*may be separable")
def test_defaults_suit_the_problem(data):
    X_cal, y_cal, X_test, y_test = data
    comparison = compare_calibrators(convolutional_network(), X_cal[:150], y_cal[:150], X_test, y_test, **FEW)
    names = {row.name for row in comparison.rows}
    assert {"uncalibrated", "TemperatureScaling", "NeuralClampingCalibrator", "HistogramBinning"} <= names
    assert names - {"uncalibrated"} == set(comparison.calibrators)
    few = compare_calibrators(None, _logits(60, 60), _labels(60, 60), _logits(80, 60), _labels(80, 60), **FEW)
    assert not {"MatrixScaling", "HistogramBinning", "NeuralClampingCalibrator"} & {row.name for row in few.rows}


def _logits(n, k=4):
    return logits(n, k, seed=n, scale=2.0)


def _labels(n, k=4):
    return labels_of(_logits(n, k), temperature=1.0, seed=n + 1)


@pytest.mark.parametrize("response", ["logits", "probabilities"])
def test_takes_logits_and_probabilities_with_names(response):
    names = np.array(["d", "b", "a", "c"])
    make = (lambda z: softmax(z, axis=1)) if response == "probabilities" else np.asarray
    comparison = compare_calibrators(
        None,
        make(_logits(200)),
        names[_labels(200)],
        make(_logits(300)),
        names[_labels(300)],
        calibrators=[TemperatureScaling()],
        response=response,
        classes=names,
        **FEW,
    )
    proba = TemperatureScaling().fit(_logits(200), _labels(200)).predict_proba(_logits(300))
    assert comparison["TemperatureScaling"].nll == pytest.approx(negative_log_likelihood(_labels(300), proba))
    own = -log_softmax(_logits(300), axis=1)[np.arange(300), _labels(300)].mean()
    assert comparison["uncalibrated"].nll == pytest.approx(own)
    fitted = comparison.calibrators["TemperatureScaling"]
    np.testing.assert_array_equal(fitted.classes_, names)
    np.testing.assert_allclose(fitted.predict_proba(make(_logits(300))), proba, atol=1e-9)


def test_takes_datasets_of_pairs(data):
    X_cal, y_cal, X_test, y_test = data
    pairs = [TensorDataset(torch.as_tensor(X), torch.as_tensor(y)) for X, y in ((X_cal, y_cal), (X_test, y_test))]
    options = {"calibrators": MAPS, **FEW}
    of_pairs = compare_calibrators(convolutional_network(), pairs[0], None, pairs[1], None, **options)
    of_arrays = compare_calibrators(convolutional_network(), *data, **options)
    for row in of_arrays.rows:
        assert of_pairs[row.name].nll == pytest.approx(row.nll, rel=1e-6)
    fitted = of_pairs.calibrators["matrix"]
    assert not hasattr(fitted, "n_features_in_")
    np.testing.assert_allclose(
        fitted.predict_proba(pairs[1]), of_arrays.calibrators["matrix"].predict_proba(X_test), atol=1e-6
    )


def test_uncalibrated_is_what_the_classifier_itself_says():
    """One-vs-rest probabilities aren't the softmax of the scores."""
    X, y = load_iris(return_X_y=True)
    model = OneVsRestClassifier(LogisticRegression()).fit(X[::3], y[::3])
    comparison = compare_calibrators(
        model, X[1::3], y[1::3], X[2::3], y[2::3], calibrators=[TemperatureScaling()], **FEW
    )
    own = negative_log_likelihood(y[2::3], model.predict_proba(X[2::3]))
    assert comparison["uncalibrated"].nll == pytest.approx(own)
    softmax = -log_softmax(model.decision_function(X[2::3]), axis=1)[np.arange(50), y[2::3]].mean()
    assert abs(softmax - own) > 0.01


def test_cross_fits_a_classifier_that_is_not_fitted():
    X, y = load_iris(return_X_y=True, as_frame=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    model = LogisticRegression(C=0.1)
    comparison = compare_calibrators(
        model, X[::2], names[::2], X[1::2], names[1::2], calibrators=[VectorScaling()], cv=3, **FEW
    )
    direct = VectorScaling(model, cv=3).fit(X[::2], names[::2])
    fitted = comparison.calibrators["VectorScaling"]
    np.testing.assert_allclose(fitted.predict_proba(X[1::2]), direct.predict_proba(X[1::2]), atol=1e-9)
    assert list(fitted.feature_names_in_) == list(X.columns) and not hasattr(model, "classes_")
    assert comparison["uncalibrated"].accuracy == (direct.estimator_.predict(X[1::2]) == names[1::2]).mean()


@dataclass(eq=False, repr=False, kw_only=True)
class _Noisy(BaseCalibrator):
    """The true temperature, 3, and noise of a seed's own."""

    seed: int = 0
    scale: float = 0.5

    _parameter_constraints: ClassVar[dict] = {**BaseCalibrator._parameter_constraints, "seed": [int], "scale": [float]}

    def _fit_logits(self, logits, y, sample_weight):
        return _NoisyMap(seed=self.seed, scale=self.scale)


class _NoisyMap(Map):
    def transform(self, logits):
        noise = np.random.default_rng(self.seed).normal(scale=self.scale, size=logits.shape)
        return logits / 3.0 + torch.from_numpy(noise).to(logits)


def _thrice_too_sure(seed):
    random = np.random.default_rng(seed)
    X = random.normal(scale=2, size=(300, 4))
    y = (X + random.gumbel(size=X.shape)).argmax(1)
    return 3 * X[:100], y[:100], 3 * X[100:], y[100:]


def test_of_equal_calibrators_none_is_worse():
    """Ten that are as good as each other; three standard errors above 5 % of the draws."""
    n_draws, called_worse = 20, 0
    for seed in range(n_draws):
        equal = {str(k): _Noisy(seed=100 * seed + k) for k in range(10)}
        found = compare_calibrators(None, *_thrice_too_sure(seed), calibrators=equal, n_resamples=2, n_draws=1)
        called_worse += any(not row.tied for row in found.rows if row.name != "uncalibrated")
    assert called_worse <= n_draws * (0.05 + 3 * np.sqrt(0.05 * 0.95 / n_draws))


def test_rounding_is_no_difference():
    maps = {str(seed): _Noisy(seed=seed, scale=1e-13) for seed in range(2)}
    found = compare_calibrators(None, *_thrice_too_sure(0), calibrators=maps, n_resamples=2, n_draws=1)
    assert found["0"].nll != found["1"].nll
    assert found["0"].p_value == found["1"].p_value == 1 > found["uncalibrated"].p_value


def test_is_reproducible():
    options = {"calibrators": [TemperatureScaling()], **FEW}
    first, second = (
        compare_calibrators(None, _logits(100), _labels(100), _logits(90), _labels(90), **options) for _ in range(2)
    )
    for row, again in zip(first.rows, second.rows, strict=True):
        assert (row.ece_low, row.ece_high, row.ece_floor) == (again.ece_low, again.ece_high, again.ece_floor)


def test_numbers_calibrators_of_one_class():
    options = {"calibrators": [HistogramBinning(), TemperatureScaling(), HistogramBinning(n_bins=5)], **FEW}
    found = compare_calibrators(None, _logits(100), _labels(100), _logits(90), _labels(90), **options)
    assert list(found.calibrators) == ["HistogramBinning-1", "TemperatureScaling", "HistogramBinning-2"]
    assert found.calibrators["HistogramBinning-2"].n_bins == 5
    pairs = [("five", HistogramBinning(n_bins=5))]
    of_pairs = compare_calibrators(None, _logits(100), _labels(100), _logits(90), _labels(90), calibrators=pairs, **FEW)
    assert of_pairs["five"].nll == found["HistogramBinning-2"].nll
    with pytest.raises(KeyError, match="HistogramBinning"):
        found["HistogramBinning"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"calibrators": []}, ValueError, "calibrators must hold at least one calibrator; got none"),
        ({"calibrators": TemperatureScaling()}, TypeError, r"must be a list of calibrators .*got TemperatureScaling"),
        (
            {"calibrators": [LogisticRegression()]},
            TypeError,
            r"must be calibrators of skclamp, such as .*; got LogisticR",
        ),
        ({"calibrators": "x"}, TypeError, r"must be calibrators of skclamp, .*; got 'x'$"),
        ({"calibrators": [TemperatureScaling]}, TypeError, r"must be calibrators of skclamp, .*; got <class"),
        ({"calibrators": {"uncalibrated": TemperatureScaling()}}, ValueError, "must not be named 'uncalibrated'"),
        ({"calibrators": [TemperatureScaling(LogisticRegression())]}, ValueError, "must have estimator=None"),
        (
            {"calibrators": [("a", TemperatureScaling(), 1)]},
            TypeError,
            r"must be calibrators of skclamp, .*; got \('a'",
        ),
        ({"calibrators": [("a", TemperatureScaling())] * 2}, ValueError, r"names of their own; got \['a', 'a'\]"),
        ({"calibrators": [HistogramBinning(n_bins=0)]}, ValueError, "'n_bins' parameter of HistogramBinning"),
        ({"n_bins": 0}, ValueError, "n_bins must be a whole number of at least 1; got 0"),
        ({"n_resamples": 1}, ValueError, "n_resamples must be a whole number of at least 2; got 1"),
        ({"n_draws": 0}, ValueError, "n_draws must be a whole number of at least 1; got 0"),
        ({"alpha": 1.0}, ValueError, r"alpha must be .*\(0\.?0?, 1\.?0?\); got 1\.0"),
        ({"y_cal": np.zeros(99, int)}, ValueError, "y_cal must have one value per sample.*100 and 99"),
        ({"y_test": None}, ValueError, "arrays bring no labels: pass y_test"),
        ({"y_test": np.full(90, 7)}, ValueError, r"y_test must hold labels among .*; got \[7\]"),
        ({"X_test": _logits(90, 3)}, ValueError, "X_test must give logits of 4 columns, as X_cal does; got 3"),
        ({"X_test": _logits(1), "y_test": [0]}, ValueError, "X_test must hold at least 2 samples; got 1"),
        ({"estimator": "net"}, TypeError, "estimator must be None, a torch.nn.Module"),
    ],
)
def test_refuses_bad_input(options, error, message):
    given = {
        "estimator": None,
        "X_cal": _logits(100),
        "y_cal": _labels(100),
        "X_test": _logits(90),
        "y_test": _labels(90),
        "calibrators": [TemperatureScaling()],
        **FEW,
    }
    with pytest.raises(error, match=message):
        compare_calibrators(**{**given, **options})


@pytest.mark.parametrize("given", [{"response": "probabilities"}, {"classes": list("abc")}, {"cv": 3}])
def test_calibrators_leave_what_all_share_to_the_comparison(data, given):
    (name,) = given
    with pytest.raises(ValueError, match=f"calibrators must have {name}=.*give {name} to the comparison.* for 'Temp"):
        compare_calibrators(convolutional_network(), *data, calibrators=[TemperatureScaling(**given)])


def _of(network, n_samples):
    """Inputs, and labels that a network of three is somewhat too sure of."""
    X = 3 * torch.randn(n_samples, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        proba = (network(X) / 1.5).softmax(1)
    return X.numpy(), torch.multinomial(proba, 1, generator=torch.Generator().manual_seed(0))[:, 0].numpy()


@pytest.mark.filterwarnings("ignore:X_test holds samples of X_cal:skclamp.exceptions.CalibrationSetWarning")
def test_a_stream_is_compared_without_clamping():
    network = torch.nn.Linear(3, 3)
    X, y = _of(network, 90)

    class Stream(IterableDataset):
        def __iter__(self):
            yield from zip(X, y.tolist(), strict=True)

    comparison = compare_calibrators(network, Stream(), None, X[1:], y[1:], n_resamples=10, n_draws=10)
    assert "NeuralClampingCalibrator" not in comparison.calibrators
    assert "TemperatureScaling" in comparison.calibrators


@pytest.mark.filterwarnings("ignore:X_test holds samples of X_cal:skclamp.exceptions.CalibrationSetWarning")
def test_numpys_numbers_are_numbers(tmp_path):
    z, y = _of(torch.nn.Identity(), 90)
    options = {"n_bins": np.int64(10), "n_resamples": np.int32(10), "n_draws": np.int64(10), "alpha": np.float32(0.05)}
    comparison = compare_calibrators(None, z, y, z[1:], y[1:], calibrators=[TemperatureScaling()], **options)
    comparison.to_html(tmp_path / "report.html")
