"""Logits of -inf, as of masked actions and questions of two to five options: a probability of exactly 0, or refused."""

import warnings

import numpy as np
import pytest
import torch
from _calibrators import LOGITS, every_map
from _export import exported, what_this_torch_exports
from torch import nn

import skclamp
from skclamp import (
    BetaCalibration,
    CalibrationMonitor,
    CalibratorSelector,
    EnsembleTemperatureScaling,
    MatrixScaling,
    PlattScaling,
    QuadraticScaling,
    StructuredMatrixScaling,
    StructuredVectorScaling,
    TemperatureScaling,
    VectorScaling,
    VennAbersCalibration,
    compare_calibrators,
)
from skclamp.losses import focal_loss
from skclamp.metrics import expected_calibration_error, negative_log_likelihood

REFUSED = "takes no logits of -inf"


def options(n_samples, n_classes=5, seed=0, scale=2.0):
    """Logits of questions of two to all options, and the answers, drawn from a temperature of 1.5."""
    rng = np.random.default_rng(seed)
    logits = scale * rng.normal(size=(n_samples, n_classes))
    logits[np.arange(n_classes) >= rng.integers(2, n_classes + 1, n_samples)[:, None]] = -np.inf
    return logits, (logits / 1.5 + rng.gumbel(size=logits.shape)).argmax(1)


X, Y = options(600)
NEW, Y_NEW = options(300, seed=1)


@every_map(lambda case: case.X is LOGITS)
def test_absent_classes_get_nothing_or_the_map_says_so(case):
    calibrator = case.make()
    try:
        fitted = calibrator.fit(X, Y)
    except ValueError as error:
        assert REFUSED in str(error)  # noqa: PT017
        assert "TemperatureScaling" in str(error)  # noqa: PT017
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = calibrator.fit(np.maximum(X, -20), Y)
        with pytest.raises(ValueError, match=f"{REFUSED}.*TemperatureScaling"):
            fitted.predict_proba(NEW)
        with pytest.raises(ValueError, match=f"{REFUSED}.*TemperatureScaling"):
            fitted.module_(torch.from_numpy(NEW))
        return
    proba, log_proba = fitted.predict_proba(NEW), fitted.predict_log_proba(NEW)
    np.testing.assert_array_equal(proba == 0, np.isneginf(NEW))
    np.testing.assert_array_equal(np.isneginf(log_proba), np.isneginf(NEW))
    np.testing.assert_allclose(proba.sum(1), 1)
    # As good as temperature scaling up to what so few samples teach of 30 coefficients.
    plain = TemperatureScaling().fit(X, Y).predict_proba(NEW)
    assert negative_log_likelihood(Y_NEW, proba) < negative_log_likelihood(Y_NEW, plain) + 0.05
    np.testing.assert_array_equal(fitted.transform_logits(NEW), log_proba)
    deployed = fitted.module_(torch.from_numpy(NEW)).softmax(1).detach().numpy()
    np.testing.assert_allclose(deployed, proba, atol=1e-6)
    np.testing.assert_array_equal(deployed == 0, np.isneginf(NEW))


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_padding_changes_nothing(gamma):
    """Questions of three options, as they are and padded to five."""
    rng = np.random.default_rng(0)
    three = 3 * rng.normal(size=(400, 3))
    y = (three / 2 + rng.gumbel(size=three.shape)).argmax(1)
    padded = np.hstack([three, np.full((400, 2), -np.inf)])
    plain = TemperatureScaling(gamma=gamma).fit(three, y)
    fitted = TemperatureScaling(gamma=gamma, classes=range(5)).fit(padded, y)
    assert fitted.temperature_ == pytest.approx(plain.temperature_, rel=1e-9)
    np.testing.assert_allclose(fitted.predict_proba(padded)[:, :3], plain.predict_proba(three), rtol=1e-8)
    np.testing.assert_array_equal(fitted.predict_proba(padded)[:, 3:], 0)


@pytest.mark.parametrize("make", [StructuredMatrixScaling, MatrixScaling, StructuredVectorScaling])
def test_affine_maps_let_the_absent_add_nothing(make):
    """What is absent in no row of a class leaves the map as it was: with -1e4 in their place they leak."""
    rng = np.random.default_rng(0)
    logits = 2 * rng.normal(size=(800, 4))
    y = (logits / 1.5 + rng.gumbel(size=logits.shape)).argmax(1)
    fitted = make().fit(logits, y)
    masked = np.where(np.arange(4) == (y[:, None] + 1) % 4, -np.inf, logits)
    for scores in (masked, masked + 5):
        proba = fitted.predict_proba(scores)
        np.testing.assert_array_equal(proba == 0, np.isneginf(masked))
        assert negative_log_likelihood(y, proba) < negative_log_likelihood(y, fitted.predict_proba(logits))


@pytest.mark.parametrize(
    "make", [TemperatureScaling, EnsembleTemperatureScaling, VectorScaling, StructuredVectorScaling]
)
def test_labels_without_weight_may_be_impossible(make):
    """As padding has them."""
    row = int(np.flatnonzero(np.isneginf(X[:, 4]))[0])
    y, weight, others = Y.copy(), np.ones(len(Y)), np.arange(len(Y)) != row
    y[row], weight[row] = 4, 0
    found, expected = make().fit(X, y, sample_weight=weight), make().fit(X[others], Y[others])
    np.testing.assert_allclose(found.predict_proba(NEW), expected.predict_proba(NEW), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_impossible_is_told(dtype):
    logits, y = X.astype(dtype), Y.copy()
    row = int(np.flatnonzero(np.isneginf(logits[:, 4]))[0])
    y[row] = 4
    with pytest.raises(ValueError, match=f"the label of sample {row} has a logit of -inf"):
        TemperatureScaling().fit(logits, y)
    empty = logits.copy()
    empty[3] = -np.inf
    with pytest.raises(ValueError, match="X must hold a finite logit in each row.*in row 3"):
        TemperatureScaling().fit(empty, Y)
    for bad in (np.nan, np.inf):
        other = logits.copy()
        other[5, 1] = bad
        with pytest.raises(ValueError, match=rf"X must be finite.*got {bad} in row 5, column 1"):
            TemperatureScaling().fit(other, Y)
    fitted = TemperatureScaling().fit(logits, Y)
    with pytest.raises(ValueError, match="finite logit in each row"):
        fitted.predict_proba(empty)


class Masked(nn.Module):
    """A network that is told which actions a sample has."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x, mask):
        """Logits."""
        return self.linear(x).masked_fill(~mask.bool(), -torch.inf)


@pytest.fixture(scope="module")
def masked():
    """A network, inputs that it is less sure of than it should be, and labels."""
    torch.manual_seed(0)
    network, generator = Masked(), torch.Generator().manual_seed(0)
    x, mask = torch.randn(400, 6, generator=generator), torch.rand(400, 4, generator=generator) < 0.6
    mask[:, 0] = True
    with torch.no_grad():
        y = torch.multinomial((1.5 * network(x, mask)).softmax(1), 1, generator=generator)[:, 0]
    # Some have but one.
    assert (mask.sum(1) == 1).any()
    return network, {"x": x, "mask": mask.float()}, y.numpy()


@pytest.mark.parametrize("make", [TemperatureScaling, StructuredMatrixScaling, EnsembleTemperatureScaling])
def test_modules_and_files_take_them(masked, make, tmp_path):
    network, inputs, y = masked
    fitted = make(network).fit(inputs, y)
    proba, module = fitted.predict_proba(inputs), fitted.module_.eval()
    np.testing.assert_allclose(module(**inputs).softmax(1).detach(), proba, atol=1e-6)
    with what_this_torch_exports():
        away = torch.export.export(module, (), inputs).module()
    np.testing.assert_allclose(away(**inputs).softmax(1).detach(), proba, atol=1e-6)
    fitted.save(tmp_path / "masked")
    np.testing.assert_array_equal(skclamp.load(tmp_path / "masked", network).predict_proba(inputs), proba)


def test_metrics_comparisons_and_monitors_take_them():
    fitted = TemperatureScaling().fit(X, Y)
    proba = fitted.predict_proba(NEW)
    assert 0 <= expected_calibration_error(Y_NEW, proba) < 0.2
    assert np.isfinite(focal_loss(torch.from_numpy(NEW), torch.from_numpy(Y_NEW), gamma=1.0).item())
    calibrators = [TemperatureScaling(), StructuredVectorScaling()]
    compared = compare_calibrators(None, X, Y, NEW, Y_NEW, calibrators=calibrators, n_resamples=10, n_draws=10)
    assert all(np.isfinite(row.nll) for row in compared.rows)
    monitor = CalibrationMonitor(fitted).partial_fit(NEW, Y_NEW)
    assert np.isfinite(monitor.temperature_)


@pytest.mark.parametrize("make", [PlattScaling, BetaCalibration, QuadraticScaling, VennAbersCalibration])
def test_what_is_exported_gives_absent_classes_nothing(make):
    """Where nothing can be refused any more."""
    finite, y = np.random.default_rng(0).normal(scale=2, size=(400, 5)), Y[:400]
    module = make(classes=range(5)).fit(finite, y).module_.eval()
    away = exported(module, torch.from_numpy(finite))
    assert not away(torch.from_numpy(NEW)).softmax(1)[np.isneginf(NEW)].any()


def test_selectors_take_them():
    """Of the default candidates those that do; candidates that are named and don't are refused."""
    weight = np.random.default_rng(0).uniform(size=600)
    selector = CalibratorSelector().fit(X, Y, sample_weight=weight)
    assert "beta" not in selector.cv_results_["param_candidate"].tolist()
    assert np.isfinite(selector.cv_results_["mean_test_score"]).all()
    with pytest.raises(ValueError, match=f"BetaCalibration {REFUSED}"):
        CalibratorSelector(candidates=[("beta", BetaCalibration())]).fit(X, Y)


def test_pools_give_absent_classes_nothing():
    rng = np.random.default_rng(1)
    labels = (X * [0.3, 1.0, 1.0, 1.0, 0.6] + [1.0, 0, 0, 0, 0] + rng.gumbel(size=X.shape)).argmax(1)
    candidates = [("temperature", TemperatureScaling()), ("vector", VectorScaling())]
    selector = CalibratorSelector(candidates=candidates).fit(X, labels)
    assert selector.weights_[1] > 0.1
    proba = selector.predict_proba(NEW)
    np.testing.assert_array_equal(proba == 0, np.isneginf(NEW))
    np.testing.assert_allclose(proba.sum(1), 1)
    deployed = selector.module_(torch.from_numpy(NEW)).softmax(1).detach()
    np.testing.assert_allclose(deployed, proba, atol=1e-6)
