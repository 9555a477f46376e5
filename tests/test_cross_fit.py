"""Unfitted classifiers in any calibrator: folds that miss a class, and data that can't be folded."""

import numpy as np
import pytest
import torch
from _output_maps import OUTPUT_MAPS
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression
from torch.utils.data import TensorDataset

from skclamp import TemperatureScaling

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(scale=1.5, size=(4, 5))
# The fold that holds out the only sample of the last class has never seen it.
LABELS = np.r_[np.arange(400) % 3, 3]
X = CENTRES[LABELS] + RNG.normal(scale=1.5, size=(401, 5))

pytestmark = [
    pytest.mark.filterwarnings("ignore:The least populated class in y has only 1 members:UserWarning"),
    pytest.mark.filterwarnings("ignore:Number of classes in training fold:RuntimeWarning"),
]


@pytest.mark.filterwarnings("ignore:the loss hadn't converged.*may be separable")
@pytest.mark.parametrize("name", OUTPUT_MAPS)
def test_a_class_that_a_fold_has_not_seen(name):
    calibrator = OUTPUT_MAPS[name].make().set_params(estimator=LogisticRegression()).fit(X, LABELS)
    log_proba = calibrator.predict_log_proba(X)
    assert np.isfinite(log_proba).all()
    np.testing.assert_allclose(logsumexp(log_proba, axis=1), 0, atol=1e-9)
    assert calibrator.score(X, LABELS) > 0.6


def test_the_class_itself_hardly_moves_the_temperature():
    seen = LABELS < 3
    expected = TemperatureScaling(LogisticRegression()).fit(X[seen], LABELS[seen]).temperature_
    assert TemperatureScaling(LogisticRegression()).fit(X, LABELS).temperature_ == pytest.approx(expected, rel=0.5)


@pytest.mark.parametrize("y", [None, LABELS])
def test_datasets_have_no_rows_to_fold(y):
    data = TensorDataset(torch.as_tensor(X), torch.as_tensor(LABELS))
    with pytest.raises(TypeError, match="X must be an array where the classifier isn't fitted; got the Dataset Tensor"):
        TemperatureScaling(LogisticRegression()).fit(data, y)
