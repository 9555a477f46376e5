"""Comparison with a calibrator that takes covariates: X carries them, and the others do without."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import DataLoader, Dataset

from skclamp import (
    CalibratorSelector,
    CovariateScaling,
    NeuralClampingCalibrator,
    PlattScaling,
    TemperatureScaling,
    compare_calibrators,
)
from skclamp.exceptions import CalibrationSetWarning

SITES = np.array(["A", "B", "C"])
FEW = {"n_resamples": 20, "n_draws": 10}


class Taken(nn.Module):
    """A network whose logits are its input."""

    def forward(self, image):
        return image


class Items(Dataset):
    """Pairs of a dict and a label."""

    def __init__(self, entries, y):
        self.entries, self.y = entries, y

    def __len__(self):
        return len(self.y)

    def __getitem__(self, index):
        return {name: values[index] for name, values in self.entries.items()}, self.y[index]


def drawn(seed=0, n_samples=1200):
    """Logits of three classes, labels that the site shifts, and the site."""
    rng = np.random.default_rng(seed)
    site = rng.integers(0, 3, n_samples)
    Z = rng.normal(0, 2, (n_samples, 3)).astype(np.float32)
    y = (Z + 2 * np.eye(3)[site] + rng.gumbel(size=Z.shape)).argmax(1)
    return Z, y, SITES[site]


def as_x(kind, Z, y, site):
    if kind == "frame":
        return pd.DataFrame(Z, columns=["a", "b", "c"]).assign(site=site)
    entries = {"image": Z, "site": site}
    return Items(entries, y) if kind == "dataset" else entries


@pytest.mark.parametrize("kind", ["frame", "dict", "dataset"])
def test_covariates_go_to_who_takes_them(kind):
    cal, test = drawn(), drawn(1)
    X_cal, X_test = as_x(kind, *cal), as_x(kind, *test)
    network = None if kind == "frame" else Taken()
    calibrators = [CovariateScaling(covariates=["site"]), PlattScaling()]
    labels = (None, None) if kind == "dataset" else (cal[1], test[1])
    comparison = compare_calibrators(network, X_cal, labels[0], X_test, labels[1], calibrators=calibrators, **FEW)
    alone = CovariateScaling(network, covariates=["site"]).fit(X_cal, labels[0])
    plain = PlattScaling().fit(*cal[:2])
    found = comparison.calibrators
    assert comparison.best == "CovariateScaling"
    assert found["CovariateScaling"].kept_ == ["site"]
    np.testing.assert_allclose(found["CovariateScaling"].predict_proba(X_test), alone.predict_proba(X_test), atol=1e-6)
    np.testing.assert_allclose(
        found["PlattScaling"].transform_logits(test[0]), plain.transform_logits(test[0]), atol=1e-6
    )
    proba = alone.predict_proba(X_test)
    nll = -np.log(proba[np.arange(len(proba)), test[1]]).mean()
    assert comparison["CovariateScaling"].nll == pytest.approx(nll, abs=1e-6)


@pytest.mark.parametrize("kind", ["frame", "dict"])
def test_one_that_came_fitted_and_what_is_around_it(kind):
    cal, test, new = drawn(), drawn(1), drawn(2)
    X_cal, X_test, X_new = (as_x(kind, *each) for each in (cal, test, new))
    network = None if kind == "frame" else Taken()
    fitted = CovariateScaling(network, covariates=["site"]).fit(X_new, new[1])
    calibrators = {"fitted": fitted, "new": CovariateScaling(covariates=["site"])}
    if kind == "frame":
        calibrators["around"] = TemperatureScaling(fitted).fit(X_cal, cal[1])
    comparison = compare_calibrators(network, X_cal, cal[1], X_test, test[1], calibrators=calibrators, **FEW)
    for name, calibrator in comparison.calibrators.items():
        proba = calibrator.predict_proba(X_test)
        nll = -np.log(proba[np.arange(len(proba)), test[1]]).mean()
        assert comparison[name].nll == pytest.approx(nll, abs=1e-6)


@pytest.mark.filterwarnings("ignore:perturbation='norm' is left out")
def test_clamping_beside_it_perturbs_what_is_left():
    cal, test = drawn(n_samples=400), drawn(1, n_samples=400)
    calibrators = [CovariateScaling(covariates=["site"]), NeuralClampingCalibrator(perturbation="norm")]
    comparison = compare_calibrators(
        Taken(), as_x("dict", *cal), cal[1], as_x("dict", *test), test[1], calibrators=calibrators, **FEW
    )
    assert comparison.calibrators["NeuralClampingCalibrator"].predict_proba({"image": test[0]}).shape == (400, 3)


def test_a_classifier_that_is_not_fitted_learns_from_them():
    cal, test = drawn(), drawn(1)
    frames = [as_x("frame", *each).assign(site=np.searchsorted(SITES, each[2])) for each in (cal, test)]
    calibrators = [CovariateScaling(covariates=["site"], categorical=["site"]), TemperatureScaling()]
    comparison = compare_calibrators(
        LogisticRegression(), frames[0], cal[1], frames[1], test[1], calibrators=calibrators, **FEW
    )
    for calibrator in comparison.calibrators.values():
        assert calibrator.predict_proba(frames[1]).shape == (1200, 3)


def test_the_same_samples_are_told():
    cal = drawn()
    X = as_x("dict", *cal)
    calibrators = [CovariateScaling(covariates=["site"])]
    for X_test in (X, dict(X)):
        with pytest.warns(CalibrationSetWarning, match="X_test holds samples of X_cal, about 100%"):
            compare_calibrators(Taken(), X, cal[1], X_test, cal[1], calibrators=calibrators, **FEW)


@pytest.mark.parametrize(
    ("calibrators", "message"),
    [
        ([CovariateScaling()], r"must name the covariates among the columns of X, CovariateScaling\(covariates="),
        (
            {"one": CovariateScaling(covariates=["site"]), "other": CovariateScaling(covariates=["age"])},
            r"must have the same covariates, .* got \['site'\], and \['age'\] for 'other'",
        ),
        ([CovariateScaling(covariates=["age"])], "must be columns of the samples, 'image', 'site'; got 'age'"),
    ],
)
def test_what_cannot_be_compared(calibrators, message):
    Z, y, site = drawn()
    X = as_x("dict", Z, y, site)
    with pytest.raises(ValueError, match=message):
        compare_calibrators(Taken(), X, y, X, y, calibrators=calibrators)


def test_one_that_was_given_a_table_beside_x():
    cal, test = drawn(), drawn(1)
    fitted = CovariateScaling().fit(*cal[:2], covariates={"site": cal[2]})
    with pytest.raises(ValueError, match="covariates must have the columns of fit"):
        compare_calibrators(None, cal[0], cal[1], test[0], test[1], calibrators=[fitted], **FEW)


def test_a_loader_has_to_be_a_dict():
    Z, y, site = drawn()
    codes = torch.from_numpy(np.searchsorted(SITES, site))
    loader = DataLoader(Items({"image": Z, "site": codes}, y))
    with pytest.raises(TypeError, match="X must be a dict, a table or a Dataset where compare_calibrators takes"):
        compare_calibrators(Taken(), loader, None, loader, None, calibrators=[CovariateScaling(covariates=["site"])])


def test_frames_with_columns_in_another_order():
    cal, test = drawn(), drawn(1)
    X_cal, X_test = as_x("frame", *cal), as_x("frame", *test)
    with pytest.raises(ValueError, match="X_test must have its columns in the order of X_cal"):
        compare_calibrators(
            None,
            X_cal,
            cal[1],
            X_test[["b", "a", "c", "site"]],
            test[1],
            calibrators=[CovariateScaling(covariates=["site"])],
        )


def test_a_selector_takes_none():
    with pytest.raises(TypeError, match="takes covariates is for compare_calibrators; got CovariateScaling"):
        CalibratorSelector(candidates=[("by site", CovariateScaling(covariates=["site"]))]).fit(*drawn()[:2])
