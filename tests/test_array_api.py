"""Scikit-learn's array API dispatch: tensors in, tensors out, on their device."""

import numpy as np
import pytest
import scipy
import sklearn
import torch
from _calibrators import LOGITS, VECTORS, every_map
from _small_networks import bare_logits, labels_of, perceptron
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV
from sklearn.utils import get_tags
from sklearn.utils.fixes import parse_version

from skclamp import (
    TemperatureScaling,
)
from skclamp.metrics import expected_calibration_error, neg_log_likelihood_scorer

if parse_version(scipy.__version__) < parse_version("1.14"):
    pytest.skip("scikit-learn dispatches arrays from scipy 1.14 on", allow_module_level=True)

Y = labels_of(LOGITS)
Y_OF_VECTORS = labels_of(bare_logits(perceptron(), VECTORS.astype(np.float32)))
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


of_scikit_learn = pytest.mark.skipif(
    not get_tags(LogisticRegression()).array_api_support, reason="scikit-learn's own classifiers don't take tensors yet"
)


@pytest.fixture
def dispatch():
    with sklearn.config_context(array_api_dispatch=True):
        yield


@pytest.mark.parametrize("X", [LOGITS, torch.from_numpy(LOGITS)], ids=["array", "tensor"])
def test_without_dispatch_and_of_arrays_there_are_arrays(X):
    calibrator = TemperatureScaling().fit(X, Y)
    for method in ("predict_proba", "predict_log_proba", "predict", "transform_logits"):
        assert isinstance(getattr(calibrator, method)(X), np.ndarray)


@pytest.mark.parametrize("device", DEVICES)
@every_map(lambda case: not isinstance(case.make().estimator, FrozenEstimator))
def test_tensors_in_and_out(case, device, dispatch):
    with sklearn.config_context(array_api_dispatch=False):
        expected = case.fitted
        arrays = [getattr(expected, name)(case.X) for name in ("predict_proba", "predict_log_proba", "predict")]
    X = torch.from_numpy(case.X).to(device)
    fitted = case.make().fit(X, torch.from_numpy(case.y).to(device))
    proba, log_proba, labels = fitted.predict_proba(X), fitted.predict_log_proba(X), fitted.predict(X)
    for values, array in zip((proba, log_proba, labels), arrays, strict=True):
        assert isinstance(values, torch.Tensor)
        assert values.device == X.device
        assert values.cpu().numpy().dtype == array.dtype
    np.testing.assert_allclose(proba.cpu(), arrays[0], atol=1e-4)
    assert isinstance(fitted.score(X, torch.from_numpy(case.y).to(device)), float)
    assert isinstance(fitted.predict_proba(case.X), np.ndarray)
    transformed = fitted.transform_logits(log_proba)
    assert isinstance(transformed, torch.Tensor)
    assert transformed.device == X.device


@of_scikit_learn
@pytest.mark.parametrize("device", DEVICES)
def test_of_a_classifier_that_was_fitted_to_tensors(device, dispatch):
    X, y = (torch.from_numpy(values).to(device) for values in (VECTORS, Y_OF_VECTORS))
    classifier = LogisticRegression().fit(X, y)
    proba = TemperatureScaling(FrozenEstimator(classifier)).fit(X, y).predict_proba(X)
    assert isinstance(proba, torch.Tensor)
    assert proba.device == X.device


def test_scores_are_floats(dispatch):
    X, y = torch.from_numpy(VECTORS), torch.from_numpy(Y_OF_VECTORS)
    fitted = TemperatureScaling(perceptron()).fit(X, y)
    assert isinstance(expected_calibration_error(y, fitted.predict_proba(X)), float)
    expected = neg_log_likelihood_scorer(fitted, VECTORS, Y_OF_VECTORS)
    assert neg_log_likelihood_scorer(fitted, X, y) == pytest.approx(expected)


@of_scikit_learn
def test_scikit_learns_scores_and_searches(dispatch):
    X, y = torch.from_numpy(VECTORS), torch.from_numpy(Y_OF_VECTORS)
    fitted = TemperatureScaling(perceptron()).fit(X, y)
    expected = neg_log_likelihood_scorer(fitted, VECTORS, Y_OF_VECTORS)
    assert get_scorer("neg_log_loss")(fitted, X, y) == pytest.approx(expected)
    assert get_scorer("accuracy")(fitted, X, y) == pytest.approx(fitted.score(VECTORS, Y_OF_VECTORS))
    search = GridSearchCV(TemperatureScaling(perceptron()), {"gamma": [0.0, 1.0]}, scoring="neg_log_loss", cv=2)
    assert isinstance(search.fit(X, y).predict_proba(X), torch.Tensor)


def test_the_tag_promises_no_more():
    # By it scikit-learn checks that what was learned are tensors too; here these are arrays, whatever the samples are.
    assert not get_tags(TemperatureScaling()).array_api_support
    with sklearn.config_context(array_api_dispatch=True):
        assert isinstance(TemperatureScaling().fit(torch.from_numpy(LOGITS), Y).classes_, np.ndarray)
