"""pandas and polars frames as X, and calibrators behind transformers that yield them (`set_output`)."""

import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from _small_networks import bare_logits, labels_of, perceptron
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from skclamp import NeuralClampingCalibrator, TemperatureScaling

NAMES = ["a", "b", "c", "d"]
X = np.random.default_rng(0).normal(size=(300, 4))
# Something that both the inputs as logits and the network's logits tell.
Y = labels_of(X + bare_logits(perceptron(0, 4), X.astype(np.float32)) / 2, temperature=1.0)
MAKES = {
    "temperature of logits": TemperatureScaling,
    "temperature of a network": lambda: TemperatureScaling(perceptron(0, 4)),
    "temperature of an unfitted classifier": lambda: TemperatureScaling(LogisticRegression(), cv=2),
    "clamped network": lambda: NeuralClampingCalibrator(perceptron(0, 4), random_state=0),
    "clamped network, chosen": lambda: NeuralClampingCalibrator(
        perceptron(0, 4), perturbation="affine", gamma="auto", random_state=0
    ),
}


def seen(library):
    if not hasattr(StandardScaler().fit(frame(library)), "feature_names_in_"):
        pytest.skip(f"this scikit-learn sees no columns in frames of this {library}")
    return library


@pytest.fixture(params=["pandas", "polars"])
def library(request):
    return seen(request.param)


@pytest.fixture(params=[*MAKES, "polars"])
def framed(request):
    """An unfitted calibrator, and a library of frames."""
    if request.param == "polars":
        return TemperatureScaling(), seen("polars")
    return MAKES[request.param](), seen("pandas")


def frame(library, values=X, names=NAMES):
    """Columns by name."""
    module = pytest.importorskip(library, reason=f"needs {library}")
    return module.DataFrame({name: values[:, k] for k, name in enumerate(names)})


def test_a_frame_is_its_values_with_names(framed):
    calibrator, library = framed
    expected = calibrator.fit(X, Y).predict_proba(X)
    assert not hasattr(calibrator, "feature_names_in_")
    data = frame(library)
    np.testing.assert_allclose(calibrator.fit(data, Y).predict_proba(data), expected, rtol=0, atol=1e-9)
    assert calibrator.feature_names_in_.tolist() == NAMES
    assert calibrator.n_features_in_ == 4
    assert calibrator.score(data, Y) == (calibrator.predict(data) == Y).mean()


def test_other_columns_than_at_fit_are_an_error(framed):
    calibrator, library = framed
    calibrator.fit(frame(library), Y)
    for names, said in (
        (list("abcz"), "Feature names unseen at fit time:\n- z\nFeature names seen at fit time, yet now missing"),
        (list("bacd"), "Feature names must be in the same order as they were in fit"),
        (list("abcde"), "Feature names unseen at fit time:\n- e"),
        (list("abc"), "Feature names seen at fit time, yet now missing:\n- d"),
    ):
        other = frame(library, np.column_stack([X, X[:, 0]]), names)
        for predict in (calibrator.predict, calibrator.predict_log_proba, lambda X: calibrator.score(X, Y)):
            with pytest.raises(ValueError, match=said):
                predict(other)


def test_columns_that_hold_no_numbers(library):
    data = {"a": ["x"] * 300, "b": ["y"] * 300}
    text = pytest.importorskip(library).DataFrame(data)
    for made in (
        TemperatureScaling(),
        TemperatureScaling(perceptron(0, 2)),
        NeuralClampingCalibrator(perceptron(0, 2)),
    ):
        with pytest.raises(TypeError, match="must be numeric and real; got dtype"):
            made.fit(text, Y)


OBJECTS = {
    "nullable": lambda values: pd.DataFrame(values, columns=NAMES).astype("Float64"),
    "nullable and bool": lambda values: OBJECTS["nullable"](values).assign(a=values[:, 0] > 0),
    "objects": lambda values: values.astype(object),
    "decimals": lambda values: np.array([[Decimal(value) for value in row] for row in values.tolist()]),
}


@pytest.mark.parametrize("missing", [pd.NA, None, np.nan], ids=str)
@pytest.mark.parametrize("name", ["temperature of logits", "temperature of a network", "clamped network"])
def test_what_is_missing_among_objects_is_told_where(name, missing):
    objects, nullable, text = X.astype(object), frame("pandas").astype("Float64"), X.astype(object)
    objects[7, 2], nullable.iloc[7, 2], text[7, 2] = missing, missing, "1.5"
    for data in (objects, nullable):
        with pytest.raises(ValueError, match=r"^X must be finite: .* got nan in row 7, column 2$"):
            MAKES[name]().fit(data, Y)
    for data, column in ((text, "2"), (frame("pandas", text), "'c'")):
        told = f"^X must be numeric and real; got .*, such as '1.5' in column {column}: leave the column out, or give"
        with pytest.raises(TypeError, match=told):
            MAKES[name]().fit(data, Y)


@pytest.mark.parametrize(
    "row",
    [[np.datetime64("2020-01-01"), np.datetime64("NaT", "D"), 1.0], [1j, complex("nan"), 1.0]],
    ids=["dates", "complex"],
)
def test_objects_that_no_float_holds_are_refused(row):
    with pytest.raises(TypeError, match="X must be numeric and real; got dtype object"):
        TemperatureScaling().fit(np.array([row] * 300, dtype=object), Y)


# set_output


def test_a_classifier_fitted_to_a_frame_keeps_its_names(library):
    data = frame(library)
    fitted = LogisticRegression().fit(data, Y)
    for made in (TemperatureScaling(fitted), NeuralClampingCalibrator(fitted, random_state=0)):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            made.fit(data, Y).predict_proba(data)
        assert made.feature_names_in_.tolist() == NAMES
        with pytest.raises(ValueError, match="Feature names must be in the same order"):
            made.fit(frame(library, X, NAMES[::-1]), Y)
