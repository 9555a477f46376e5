"""CovariateScaling: gains and offsets that depend on covariates, and the door through which these come."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.optimize import minimize
from sklearn import config_context
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from torch import nn
from torch.utils.data import Dataset, Subset

import skclamp
from skclamp import (
    CalibrationMonitor,
    CovariateScaling,
    PlattScaling,
    PriorShiftCorrection,
    RiskMonitor,
    SelectiveClassifier,
    TemperatureScaling,
)
from skclamp.exceptions import CalibrationSetWarning
from skclamp.metrics import negative_log_likelihood

SITES = np.array(["A", "B", "C"])


def two_classes(n_samples=1200, shift=1.0, seed=0):
    """Logits, labels whose log-odds are higher by site, and a table of the site and of an age that doesn't count."""
    rng = np.random.default_rng(seed)
    site = rng.integers(0, 3, n_samples)
    z = rng.normal(0, 2, n_samples)
    y = (z + shift * (site - 1) + rng.logistic(size=n_samples) > 0).astype(int)
    return z, y, pd.DataFrame({"site": SITES[site], "age": rng.normal(50, 10, n_samples)})


def several_classes(n_samples=1200, seed=0):
    rng = np.random.default_rng(seed)
    site = rng.integers(0, 3, n_samples)
    Z = rng.normal(0, 2, (n_samples, 4))
    y = (Z + 2 * np.eye(4)[site] + rng.gumbel(size=Z.shape)).argmax(1)
    return Z, y, {"site": SITES[site]}


class Taken(nn.Module):
    """A network whose logits are its input."""

    def forward(self, image):
        return image


def test_the_shared_map_is_the_penalised_optimum():
    z, y, _ = two_classes()

    def loss(w):
        s = w[0] * z + w[1]
        return (np.logaddexp(0, s) - y * s).sum() + 2 * (w[0] - 1) ** 2 + w[1] ** 2 / 8

    best = minimize(loss, [1.0, 0.0], tol=1e-10).x
    calibrator = CovariateScaling().fit(z, y)
    np.testing.assert_allclose(calibrator.predict_proba(z)[:, 1], 1 / (1 + np.exp(-best[0] * z - best[1])), atol=1e-4)
    assert calibrator.kept_ == []


@pytest.mark.parametrize("kind", ["two classes", "four classes", "many categories"])
def test_terms_are_the_greatest_posterior(kind):
    """The gradient of the penalised loss vanishes; of many categories conjugate gradients find it."""
    many = kind == "four classes"
    z, y, table = several_classes() if many else two_classes(3000)
    logits = z if many else np.column_stack([np.zeros(len(z)), z])
    site = np.array(table["site"])
    if kind == "many categories":
        site = np.random.default_rng(1).choice([f"{name}{k:03}" for name in SITES for k in range(100)], len(y))
    calibrator = CovariateScaling(guard=False).fit(z, y, covariates={"site": site})
    found = torch.cat([calibrator.map_.gains[:, None], calibrator.map_.offsets], 1)
    codes = np.unique(site, return_inverse=True)[1]
    rows = torch.from_numpy(np.column_stack([logits, codes]))
    label = torch.from_numpy(y)

    def loss(terms):
        calibrator.map_._buffers.update(gains=terms[:, 0], offsets=terms[:, 1:])
        nll = nn.functional.cross_entropy(calibrator.map_(rows), label, reduction="sum")
        of_gains, of_offsets = calibrator.precisions_["site"]
        penalty = of_gains * terms[1:, 0].square().sum() + of_offsets * terms[1:, 1:].square().sum()
        held = 4 * (terms[0, 0] - 1).square() + (0 if many else 0.25 * terms[0, 1:].square().sum())
        return nll + (penalty + held) / 2

    terms = found.clone().requires_grad_()
    slopes = torch.autograd.grad(loss(terms), terms)[0]
    # The precision of the offsets that all classes share isn't told.
    slopes = torch.cat([slopes[0, :1], slopes[1:].flatten()]) if many else slopes
    assert slopes.abs().max() < 0.5


def test_groups_that_differ_are_kept_and_told():
    z, y, table = two_classes()
    calibrator = CovariateScaling().fit(z, y, covariates=table)
    assert calibrator.kept_ == ["site"]
    assert set(calibrator.gains_) == {"site", "age", "site + age"}
    maps = calibrator.group_maps_
    assert maps["category"].tolist() == ["A", "B", "C"]
    np.testing.assert_allclose(maps["offset"], [-1, 0, 1], atol=0.25)
    assert "site is kept: 0.0" in calibrator.summary()
    new, labels, beside = two_classes(seed=1)
    shared = negative_log_likelihood(labels, CovariateScaling().fit(z, y).predict_proba(new))
    assert negative_log_likelihood(labels, calibrator.predict_proba(new, covariates=beside)) < shared - 0.02


@pytest.mark.parametrize("seed", range(3))
def test_random_groups_cost_next_to_nothing(seed):
    z, y, table = two_classes(shift=0.0, seed=seed)
    new, labels, beside = two_classes(shift=0.0, seed=100 + seed)
    losses = [
        negative_log_likelihood(
            labels, CovariateScaling(**how).fit(z, y, covariates=table).predict_proba(new, covariates=beside)
        )
        for how in ({}, {"pooling": "complete"})
    ]
    assert losses[0] - losses[1] < 0.002


def test_few_units_keep_nothing():
    z, y, table = two_classes(shift=3.0)
    unit = np.arange(len(y)) % 49
    assert CovariateScaling().fit(z, y, covariates=table, groups=unit).kept_ == []
    assert CovariateScaling().fit(z[:49], y[:49], covariates=table[:49]).kept_ == []
    assert CovariateScaling().fit(z, y, covariates=table, groups=np.arange(len(y)) % 300).kept_ == ["site"]


@pytest.mark.parametrize("make", [two_classes, several_classes])
def test_where_nothing_is_kept_the_map_is_the_one_that_all_share(make):
    z, y, table = make(300)
    shuffled = {"site": np.random.default_rng(1).permutation(table["site"])}
    nothing, complete = (
        CovariateScaling(pooling=pooling).fit(z, y, covariates=shuffled) for pooling in ("partial", "complete")
    )
    assert nothing.kept_ == []
    np.testing.assert_array_equal(
        nothing.predict_proba(z, covariates=shuffled), complete.predict_proba(z, covariates=shuffled)
    )


@pytest.mark.parametrize("make", [two_classes, several_classes])
def test_new_categories_have_the_map_that_is_fitted_without_any(make):
    z, y, table = make()
    calibrator = CovariateScaling(guard=False).fit(z, y, covariates={"site": table["site"]})
    new = {"site": ["Z"] * 5}
    expected = CovariateScaling().fit(z, y).predict_proba(z[:5])
    np.testing.assert_allclose(calibrator.predict_proba(z[:5], covariates=new), expected, atol=1e-6)
    age = np.random.default_rng(0).normal(50, 10, len(y))
    both = CovariateScaling(guard=False).fit(z, y, covariates={"site": table["site"], "age": age})
    numbers = CovariateScaling(guard=False).fit(z, y, covariates={"age": age})
    np.testing.assert_allclose(
        both.predict_proba(z[:5], covariates=new | {"age": age[:5]}),
        numbers.predict_proba(z[:5], covariates={"age": age[:5]}),
        atol=1e-6,
    )


def test_weights_are_repetitions_and_zero_is_absence():
    z, y, table = two_classes(400)
    # Of the old, in whom ages vary less, more are meant.
    times = np.where(table["age"] > 50, 6, np.random.default_rng(0).integers(0, 3, len(y)))
    weighted = CovariateScaling(guard=False).fit(z, y, times, covariates=table)
    again = np.repeat(np.arange(len(y)), times)
    repeated = CovariateScaling(guard=False).fit(z[again], y[again], covariates=table.iloc[again])
    expected = repeated.predict_proba(z, covariates=table)
    np.testing.assert_allclose(weighted.predict_proba(z, covariates=table), expected, atol=1e-6)


def test_columns_of_x_and_a_table_beside_are_alike():
    z, y, table = two_classes()
    frame = table.assign(z=z)
    expected = CovariateScaling().fit(z, y, covariates=table).predict_proba(z, covariates=table)
    for X, covariates in [
        (frame, ["site", "age"]),
        (frame, [0, 1]),
        (pl.from_pandas(frame), ["site", "age"]),
        (frame.assign(site=frame["site"].astype("category")), ["site", "age"]),
        (pl.from_pandas(frame).with_columns(pl.col("site").cast(pl.Categorical)), ["site", "age"]),
        (frame, lambda X: ["site", "age"]),
        (frame.to_numpy(), [0, 1]),
        (frame.to_numpy().tolist(), [0, 1]),
    ]:
        found = CovariateScaling(covariates=covariates).fit(X, y).predict_proba(X)
        np.testing.assert_allclose(found, expected, atol=1e-9)
    by_kind = CovariateScaling(covariates=make_column_selector(dtype_exclude="number")).fit(
        frame.drop(columns="age"), y
    )
    assert by_kind.kept_ == ["site"]


def test_cross_validation_and_pipelines_need_no_routing():
    z, y, table = two_classes()
    frame = table[["site"]].assign(z=z)
    proba = cross_val_predict(CovariateScaling(covariates=["site"]), frame, y, cv=3, method="predict_proba")
    assert ". Logits are the columns z. " in CovariateScaling(covariates=["site"]).fit(frame, y).summary()
    shared = cross_val_predict(CovariateScaling(), z[:, None], y, cv=3, method="predict_proba")
    assert negative_log_likelihood(y, proba) < negative_log_likelihood(y, shared) - 0.02


def test_covariates_are_routed():
    z, y, table = two_classes()
    with config_context(enable_metadata_routing=True):
        calibrator = CovariateScaling().set_fit_request(covariates=True).set_score_request(covariates=True)
        calibrator.set_predict_proba_request(covariates=True)
        found = cross_validate(calibrator, z, y, cv=3, params={"covariates": table}, scoring=None)
    assert np.isfinite(found["test_score"]).all()


@pytest.mark.parametrize("dataset", [False, True])
def test_a_network_does_without_the_entries(dataset):
    z, y, table = several_classes()
    images = z.astype(np.float32)

    class Items(Dataset):
        def __len__(self):
            return len(y)

        def __getitem__(self, index):
            return {"image": images[index], "site": table["site"][index]}, y[index]

    X = {"image": images, "site": table["site"]}
    calibrator = CovariateScaling(Taken(), covariates=["site"])
    calibrator.fit(Items()) if dataset else calibrator.fit(X, y)
    assert calibrator.kept_ == ["site"]
    np.testing.assert_allclose(
        calibrator.predict_proba(Items() if dataset else X),
        CovariateScaling().fit(images, y, covariates=table).predict_proba(images, covariates=table),
        atol=1e-6,
    )


def test_named_columns_stay_inputs_of_a_classifier_as_it_was_trained():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(1500, 3)), columns=list("abc"))
    y = (frame["a"] + 2 * (frame["c"] > 0) + rng.logistic(size=1500) > 0).to_numpy().astype(int)
    frame["high"] = frame["c"] > 0
    own = make_pipeline(StandardScaler(), LogisticRegression()).fit(frame[["a", "b"]][:500], y[:500])
    everything = LogisticRegression().fit(frame[:500], y[:500])
    for classifier in (own, everything):
        calibrator = CovariateScaling(classifier, covariates=["high"]).fit(frame[500:], y[500:])
        assert calibrator.predict_proba(frame[500:]).shape == (1000, 2)
    assert CovariateScaling(own, covariates=["high"]).fit(frame[500:], y[500:]).kept_ == ["high"]


@pytest.mark.parametrize("step", [OneHotEncoder(), "drop"])
def test_named_columns_are_inputs_of_a_classifier_that_is_not_fitted(step):
    z, y, table = two_classes()
    frame = table.assign(z=z)
    with pytest.raises(ValueError, match="in column 'site': have a ColumnTransformer encode or drop it"):
        CovariateScaling(LogisticRegression(), covariates=["site"]).fit(frame, y)
    columns = ColumnTransformer([("site", step, ["site"])], remainder="passthrough")
    classifier = make_pipeline(columns, LogisticRegression())
    calibrator = CovariateScaling(classifier, covariates=["site"]).fit(frame, y)
    assert calibrator.kept_ == (["site"] if step == "drop" else [])
    assert calibrator.predict_proba(frame).shape == (1200, 2)


def test_around_another_calibrator():
    z, y, table = several_classes()
    inner = TemperatureScaling().fit(*several_classes(seed=2)[:2])
    calibrator = CovariateScaling(inner).fit(z, y, covariates=table)
    assert calibrator.kept_ == ["site"]
    expected = CovariateScaling().fit(inner.predict_log_proba(z), y, covariates=table)
    np.testing.assert_allclose(
        calibrator.predict_proba(z, covariates=table),
        expected.predict_proba(inner.predict_log_proba(z), covariates=table),
        atol=1e-6,
    )


def test_samples_that_fitted_the_calibrator_inside_are_told():
    z, y, table = several_classes()
    inner = TemperatureScaling().fit(z, y)
    with pytest.warns(CalibrationSetWarning, match="holds samples that TemperatureScaling was fitted to, about 100%"):
        CovariateScaling(inner).fit(z, y, covariates=table)


def test_answers_and_class_frequencies_stand_on_it():
    z, y, table = two_classes(3000)
    frame = table[["site"]].assign(z=z)
    inner = CovariateScaling(covariates=["site"]).fit(frame[:1500], y[:1500])
    calibrator = PriorShiftCorrection(inner, priors=[0.5, 0.5]).fit(frame[1500:], y[1500:])
    assert calibrator.predict_proba(frame).shape == (3000, 2)
    selective = SelectiveClassifier(inner, target_risk=0.2).fit(frame[1500:], y[1500:])
    assert len(selective.predict(frame)) == 3000
    # Of a dict, codes in place of names.
    X = {"image": np.column_stack([0 * z, z]).astype(np.float32), "site": np.searchsorted(SITES, table["site"])}
    inner = CovariateScaling(Taken(), covariates=["site"], categorical=["site"])
    first, rest = ({name: values[part] for name, values in X.items()} for part in (slice(1500), slice(1500, None)))
    selective = SelectiveClassifier(inner.fit(first, y[:1500]), target_risk=0.2).fit(rest, y[1500:])
    assert len(selective.predict(rest)) == 1500


def parts_of(X, n_first):
    """The first samples of a frame or a dict, and the others."""
    if not isinstance(X, dict):
        return X[:n_first], X[n_first:]
    return tuple({name: values[rows] for name, values in X.items()} for rows in (slice(n_first), slice(n_first, None)))


def kinds_of_x(z, table):
    """Two classes' logits and a site, as a network's dict of strings, and as frames."""
    logits = np.column_stack([0 * z, z]).astype(np.float32)
    return {
        "dict": (Taken(), {"image": logits, "site": table["site"].to_numpy(dtype=object)}),
        "frame": (None, table[["site"]].assign(z=z)),
        "polars": (None, pl.from_pandas(table[["site"]].assign(z=z))),
        "array": (None, np.column_stack([z, np.searchsorted(SITES, table["site"])])),
    }


@pytest.mark.parametrize("kind", ["dict", "frame", "polars", "array"])
def test_samples_of_its_own_fit_prove_nothing(kind):
    z, y, table = two_classes(3000)
    estimator, X = kinds_of_x(z, table)[kind]
    covariates = [1] if kind == "array" else ["site"]
    first, rest = parts_of(X, 1500)
    inner = CovariateScaling(estimator, covariates=covariates).fit(first, y[:1500])
    with pytest.warns(CalibrationSetWarning, match="holds samples that CovariateScaling was fitted to, about 100%"):
        again = SelectiveClassifier(inner, target_risk=0.2).fit(first, y[:1500])
    assert not again.guaranteed_
    selective = SelectiveClassifier(inner, target_risk=0.2).fit(rest, y[1500:])
    assert selective.guaranteed_
    assert len(selective.predict(rest)) == 1500


@pytest.mark.parametrize("kind", ["dict", "frame", "array"])
def test_samples_of_the_calibrator_inside_prove_nothing(kind):
    """The one inside has seen them without the covariates."""
    z, y, table = two_classes(4500)
    estimator, X = kinds_of_x(z, table)[kind]
    bare = {"image": X["image"]} if kind == "dict" else X[["z"]] if kind == "frame" else X[:, :1]
    (first, rest), (bare_first, _) = parts_of(X, 1500), parts_of(bare, 1500)
    inside = PlattScaling(estimator).fit(bare_first, y[:1500])
    covariates = [1] if kind == "array" else ["site"]
    with pytest.warns(CalibrationSetWarning, match="holds samples that PlattScaling was fitted to, about 100%"):
        CovariateScaling(inside, covariates=covariates).fit(first, y[:1500])
    second, third = parts_of(rest, 1500)
    around = CovariateScaling(inside, covariates=covariates).fit(second, y[1500:3000])
    with pytest.warns(CalibrationSetWarning, match="holds samples that PlattScaling was fitted to, about 100%"):
        assert not SelectiveClassifier(around, target_risk=0.2).fit(first, y[:1500]).guaranteed_
    assert SelectiveClassifier(around, target_risk=0.2).fit(third, y[3000:]).guaranteed_


@pytest.mark.parametrize("kind", ["dict", "frame", "polars", "array"])
def test_monitors_watch_it(kind):
    z, y, table = two_classes(6000)
    estimator, X = kinds_of_x(z, table)[kind]
    covariates = [1] if kind == "array" else ["site"]
    first, rest = parts_of(X, 3000)
    new, answered = parts_of(rest, 1500)
    calibrator = CovariateScaling(estimator, covariates=covariates).fit(first, y[:3000])
    assert not CalibrationMonitor(calibrator).partial_fit(new, y[3000:4500]).alarm_
    assert CalibrationMonitor(calibrator).partial_fit(new, 1 - y[3000:4500]).alarm_
    selective = SelectiveClassifier(calibrator, target_risk=0.2).fit(new, y[3000:4500])
    assert not RiskMonitor(selective).partial_fit(answered, y[4500:]).alarm_
    assert RiskMonitor(selective).partial_fit(answered, 1 - y[4500:]).alarm_


def test_tables_without_names_are_in_the_order_of_fit():
    z, y, table = two_classes()
    code = np.searchsorted(SITES, table["site"])
    X = np.column_stack([table["age"], code, z])
    calibrator = CovariateScaling(covariates=[1, 0], categorical=[1], guard=False).fit(X, y)
    beside = np.column_stack([code, table["age"]])
    logits = np.column_stack([0 * z, z])
    expected = calibrator.predict_log_proba(X)
    np.testing.assert_allclose(calibrator.transform_logits(logits, covariates=beside), expected, atol=1e-9)
    np.testing.assert_array_equal(calibrator.encode(beside), beside)
    named = CovariateScaling(guard=False).fit(z, y, covariates=table)
    np.testing.assert_array_equal(
        named.predict_proba(z, covariates=table.to_numpy()), named.predict_proba(z, covariates=table)
    )
    for found in (beside[:, :1], np.column_stack([beside, z])):
        with pytest.raises(ValueError, match=f"a table without names has 2 columns, .* got {found.shape[1]}"):
            calibrator.encode(found)


@pytest.mark.parametrize(
    ("fitted", "given", "told"),
    [
        ([0, 1, 2], ["0", "1", "2"], "number, such as [012]; got str, such as '"),
        (["0", "1", "2"], [0.0, 1.0, 2.0], "str, such as '[012]'; got number, such as"),
        ([False, True], ["a", "b"], "bool, such as (True|False); got str, such as '"),
    ],
)
def test_categories_of_another_type_are_refused(fitted, given, told):
    z, y, table = two_classes()
    code = np.searchsorted(SITES, table["site"]) % len(fitted)
    calibrator = CovariateScaling(guard=False, categorical=["site"])
    calibrator.fit(z, y, covariates={"site": np.array(fitted)[code]})
    with pytest.raises(TypeError, match=f"covariate 'site' must hold categories of a type of fit, {told}"):
        calibrator.predict_proba(z, covariates={"site": np.array(given)[code]})
    # One that was seen shows that they are of one kind, and what is missing is of none.
    calibrator.predict_proba(z[:2], covariates={"site": [fitted[0], None]})
    calibrator.predict_proba(z[:2], covariates={"site": [None, None]})


def test_several_labels_are_one_more_block():
    rng = np.random.default_rng(0)
    site = rng.integers(0, 3, 800)
    Z = rng.normal(-1, 2, (800, 3))
    Y = (Z + (site - 1)[:, None] + [0.0, 1.0, 2.0] + rng.logistic(size=Z.shape) > 0).astype(int)
    calibrator = CovariateScaling().fit(Z, Y, covariates={"site": SITES[site]})
    assert calibrator.kept_ == ["label", "site"]
    assert set(calibrator.precisions_) == {"label", "site"}
    assert set(calibrator.gains_) == {"label", "site", "label + site"}
    named = CovariateScaling(outputs="sigmoid", classes=["low", "middle", "high"])
    named.fit(Z, Y, covariates={"site": np.full(800, "A")})
    assert "; most in label low," in named.summary() or "; most in label high," in named.summary()
    with pytest.raises(ValueError, match="covariates must not be named 'label' where y has several labels"):
        CovariateScaling().fit(Z, Y, covariates={"label": site})
    assert calibrator.predict_proba(Z, covariates={"site": SITES[site]}).shape == (800, 3)
    assert calibrator.group_maps_.query("column == 'label'")["offset"].is_monotonic_increasing
    log_odds = calibrator.transform_logits(Z[:3], covariates={"site": SITES[site[:3]]})
    np.testing.assert_allclose(
        1 / (1 + np.exp(-log_odds)), calibrator.predict_proba(Z[:3], covariates={"site": SITES[site[:3]]}), atol=1e-9
    )


def test_missing_values_are_a_category_and_an_indicator():
    z, y, table = two_classes()
    rng = np.random.default_rng(1)
    gone = rng.random(len(y)) < 0.3
    y = np.where(gone, z + 2 + rng.logistic(size=len(y)) > 0, y).astype(int)
    for column, value in [("site", None), ("age", np.nan)]:
        changed = table.assign(**{column: table[column].where(~gone, value)})[[column]]
        calibrator = CovariateScaling(guard=False).fit(z, y, covariates=changed)
        proba = calibrator.predict_proba(np.zeros(2), covariates=changed.loc[[gone.argmax(), (~gone).argmax()]])
        assert proba[0, 1] > 0.8 > proba[1, 1]


def test_bools_of_numpy_are_bools():
    z, y, table = two_classes()
    is_b = (table["site"] == "B").to_numpy()
    objects = np.empty(len(z), dtype=object)
    objects[:] = list(is_b)
    calibrator = CovariateScaling(guard=False).fit(z, y, covariates={"is_b": objects})
    assert calibrator.group_maps_["category"].tolist() == [False, True]
    expected = (
        CovariateScaling(guard=False).fit(z, y, covariates={"is_b": is_b}).predict_proba(z, covariates={"is_b": is_b})
    )
    np.testing.assert_array_equal(calibrator.predict_proba(z, covariates={"is_b": is_b}), expected)


def test_a_dataset_without_samples_is_refused():
    with pytest.raises(ValueError, match="X must have samples; got a Dataset of none"):
        CovariateScaling(Taken(), covariates=["site"]).fit(Subset([], []))


def test_constant_columns_drop_and_bools_are_categories():
    z, y, table = two_classes()
    beside = {"one": np.ones(len(z)), "same": np.full(len(z), "x"), "is_b": (table["site"] == "B").to_numpy()}
    calibrator = CovariateScaling(guard=False).fit(z, y, covariates=beside)
    assert calibrator.kept_ == ["is_b"]
    assert calibrator.group_maps_["category"].tolist() == [False, True]
    chosen = CovariateScaling(guard=False, categorical=["code"]).fit(
        z, y, covariates={"code": np.searchsorted(SITES, table["site"])}
    )
    assert chosen.group_maps_["category"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        (lambda z, y, t: {"covariates": t[:-1]}, ValueError, "one entry for each of 1200 samples; got 1199 in 'site'"),
        (
            lambda z, y, t: {"covariates": t.assign(when=pd.Timestamp("2020-01-01"))},
            TypeError,
            "'when' must hold categories or numbers; got datetimes",
        ),
        (lambda z, y, t: {"covariates": t.assign(answer=y)}, ValueError, "'answer', which tells it"),
        (lambda z, y, t: {"covariates": t.assign(age=np.inf)}, ValueError, "'age' must be finite"),
        (
            lambda z, y, t: {"covariates": pd.concat([t, t["site"]], axis=1)},
            ValueError,
            "columns of different names; got 'site' twice",
        ),
    ],
)
def test_tables_that_are_refused(change, kind, message):
    z, y, table = two_classes()
    with pytest.raises(kind, match=message):
        CovariateScaling().fit(z, y, **change(z, y, table))


def test_left_out_or_given_twice():
    z, y, table = two_classes()
    frame = table.assign(z=z)
    with pytest.raises(ValueError, match="covariates must be given once"):
        CovariateScaling(covariates=["site"]).fit(frame, y, covariates=table)
    with pytest.raises(ValueError, match="must be columns of the samples, 'site', 'age', 'z'; got 'nowhere'"):
        CovariateScaling(covariates=["nowhere"]).fit(frame, y)
    calibrator = CovariateScaling().fit(z, y, covariates=table)
    for predict in (calibrator.predict_proba, calibrator.predict, calibrator.transform_logits):
        with pytest.raises(ValueError, match="covariates must have the columns of fit, \\['site', 'age'\\]: without"):
            predict(z)
    with pytest.raises(ValueError, match="covariates must be None, as in fit"):
        CovariateScaling().fit(z, y).predict_proba(z, covariates=table)


def test_dense_outputs_are_refused_by_name():
    with pytest.raises(ValueError, match="which CovariateScaling doesn't take"):
        CovariateScaling().fit(np.zeros((4, 2, 3, 3)), np.zeros((4, 3, 3), dtype=int))


def test_what_is_saved_predicts_the_same(tmp_path):
    z, y, table = two_classes()
    calibrator = CovariateScaling(guard=False).fit(z, y, covariates=table)
    calibrator.save(tmp_path / "a.safetensors")
    again = skclamp.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(
        again.predict_proba(z, covariates=table), calibrator.predict_proba(z, covariates=table)
    )
    assert again.group_maps_.equals(calibrator.group_maps_)


@pytest.mark.parametrize("labels", [False, True])
def test_module_of_two_inputs(labels):
    z, y, table = several_classes()
    table = pd.DataFrame(table).assign(age=np.where(np.arange(len(y)) % 7 == 0, np.nan, np.arange(len(y))))
    if labels:
        y = (z + np.random.default_rng(0).logistic(size=z.shape) > 0).astype(int)
    calibrator = CovariateScaling(Taken(), guard=False).fit(z.astype(np.float32), y, covariates=table)
    logits = calibrator.module_(torch.from_numpy(z), torch.from_numpy(calibrator.encode(table)))
    proba = logits.sigmoid() if labels else logits.softmax(1)
    np.testing.assert_allclose(proba, calibrator.predict_proba(z.astype(np.float32), covariates=table), atol=1e-5)


def test_module_without_covariates_takes_one_input():
    z, y, table = two_classes(shift=0.0)
    calibrator = CovariateScaling().fit(z, y, covariates=table)
    assert calibrator.kept_ == []
    proba = calibrator.module_(torch.from_numpy(z)[:, None]).softmax(1)
    np.testing.assert_allclose(proba, calibrator.predict_proba(z, covariates=table), atol=1e-6)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_onnx_takes_codes_and_numbers(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    z, y, table = several_classes()
    table = pd.DataFrame(table).assign(age=np.arange(len(y)) % 50)
    images = z.astype(np.float32)
    calibrator = CovariateScaling(Taken(), guard=False).fit(images, y, covariates=table)
    beside = calibrator.encode(table.assign(site=table["site"].where(table["site"] != "B", "new")))
    inputs = torch.from_numpy(images[:6]), torch.from_numpy(beside[:6])
    batch = torch.export.Dim("batch", min=2)
    torch.onnx.export(
        calibrator.module_.eval(), inputs, tmp_path / "a.onnx", dynamo=True, dynamic_shapes=({0: batch}, {0: batch})
    )
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    feed = dict(zip([entry.name for entry in session.get_inputs()], (images[:9], beside[:9]), strict=True))
    expected = calibrator.module_(torch.from_numpy(images[:9]), torch.from_numpy(beside[:9]))
    np.testing.assert_allclose(session.run(None, feed)[0], expected, atol=1e-5)


def test_logits_of_another_scale_are_as_good():
    z, y, table = two_classes()
    small, large = (
        CovariateScaling().fit(s * z, y, covariates=table).predict_proba(s * z, covariates=table) for s in (1e-3, 1e3)
    )
    np.testing.assert_allclose(small, large, atol=1e-3)
    assert negative_log_likelihood(y, small) < negative_log_likelihood(y, PlattScaling().fit(z, y).predict_proba(z))


@pytest.mark.parametrize(("n_classes", "n_samples"), [(3, 600), (10, 1000)])
def test_noise_is_seldom_kept_of_several_classes(n_classes, n_samples):
    kept = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        Z = rng.normal(0, 2, (n_samples, n_classes))
        y = (0.7 * Z + rng.gumbel(size=Z.shape)).argmax(1)
        for noise in (rng.choice(SITES, n_samples), rng.normal(size=n_samples)):
            kept += len(CovariateScaling().fit(Z, y, covariates={"noise": noise}).kept_)
    assert kept <= 1


def test_flawless_logits_keep_their_scale():
    z = np.random.default_rng(0).normal(0, 0.5, 30)
    proba = CovariateScaling().fit(z, (z > 0).astype(int)).predict_proba([1.0])
    assert proba[0, 0] > 1e-3


def test_logits_of_classes_that_are_large_are_as_good():
    Z, y, table = several_classes()
    small, large = (CovariateScaling().fit(s * Z, y, covariates=table) for s in (1.0, 1e5))
    np.testing.assert_allclose(
        large.predict_proba(1e5 * Z, covariates=table), small.predict_proba(Z, covariates=table), atol=0.01
    )


def test_too_few_groups_are_told():
    z, y, table = two_classes(shift=3.0)
    calibrator = CovariateScaling().fit(z, y, covariates=table, groups=np.arange(len(y)) % 49)
    assert "No covariate is kept, since 49 independent samples or groups are fewer than 50" in calibrator.summary()


@pytest.mark.parametrize("kind", [tuple, list, dict])
def test_several_things_in_a_category_are_refused(kind):
    z, y, table = two_classes(200)
    made = {"tuple": lambda site: (site, 1), "list": lambda site: [site, 1], "dict": lambda site: {"site": site}}
    values = np.empty(200, dtype=object)
    values[:] = [made[kind.__name__](site) for site in table["site"]]
    with pytest.raises(TypeError, match=f"covariate 'site' must hold .*, one a sample; got a {kind.__name__}"):
        CovariateScaling().fit(z, y, covariates={"site": values})


def test_categories_of_which_none_is_known_are_told():
    z, y, table = two_classes()
    calibrator = CovariateScaling(guard=False).fit(z, y, covariates={"site": table["site"]})
    with pytest.warns(CalibrationSetWarning, match="'site' has no category that fit has seen.* such as 'a' for 'A'"):
        calibrator.predict_proba(z[:30], covariates={"site": ["a"] * 30})
