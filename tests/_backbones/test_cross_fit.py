"""Unfitted classifiers in any calibrator: folds that miss a class, and data that can't be folded."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from _output_maps import OUTPUT_MAPS
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from sklearn.naive_bayes import GaussianNB
from torch.utils.data import TensorDataset

from skclamp import TemperatureScaling
from skclamp.base import BaseCalibrator, Map
from skclamp.selection import compare_calibrators

RNG = np.random.default_rng(0)
CENTRES = RNG.normal(scale=1.5, size=(4, 5))
# The fold that holds out the only sample of the last class has never seen it.
LABELS = np.r_[np.arange(400) % 3, 3]
X = CENTRES[LABELS] + RNG.normal(scale=1.5, size=(401, 5))

pytestmark = pytest.mark.filterwarnings("ignore:The least populated class in y has only 1 members:UserWarning")


class Same(Map):
    def transform(self, logits):
        return logits


class Seen(BaseCalibrator):
    """Keeps the logits that it is fitted to."""

    # Nothing stands for zeros, then.
    _tags = replace(BaseCalibrator._tags, takes_logarithms=False)

    def _fit_logits(self, logits, y, sample_weight):
        self.logits_ = logits
        return Same()


@pytest.mark.filterwarnings("ignore:the loss hadn't converged.*may be separable")
@pytest.mark.parametrize("name", ["TemperatureScaling", "MatrixScaling", "IsotonicCalibration", "CalibratorSelector"])
def test_a_class_that_a_fold_has_not_seen(name):
    calibrator = OUTPUT_MAPS[name].make().set_params(estimator=LogisticRegression()).fit(X, LABELS)
    log_proba = calibrator.predict_log_proba(X)
    assert np.isfinite(log_proba).all()
    np.testing.assert_allclose(logsumexp(log_proba, axis=1), 0, atol=1e-9)
    assert calibrator.score(X, LABELS) > 0.6
    temperature = getattr(calibrator, "temperature_", 1.0)
    assert 1e-4 < temperature < 1e4


@pytest.mark.parametrize("classifier", [LogisticRegression(), LinearDiscriminantAnalysis(), GaussianNB()])
@pytest.mark.parametrize("n_seen", [3, 2])
def test_the_classes_that_a_fold_has_seen_keep_their_scores(classifier, n_seen):
    """Two classes have a single score, and the column of the unseen one comes first."""
    y = np.array(list("pqra"))[np.r_[3, np.arange(400) % n_seen]]
    logits = Seen(classifier, cv=KFold(4)).fit(X, y).logits_
    first = torch.softmax(logits[:101], 1).numpy()
    expected = clone(classifier).fit(X[101:], y[101:]).predict_proba(X[:101])
    np.testing.assert_allclose(first[:, 1:], expected, rtol=0, atol=1e-12)
    # As little as a vote of zero, and told apart from it.
    np.testing.assert_allclose(first[:, 0], np.finfo(float).eps * np.exp(-3e-5), rtol=1e-6)


def test_a_fold_that_has_seen_one_class():
    y = np.r_[np.zeros(400, int), 1]
    logits = Seen(GaussianNB(), cv=KFold(4)).fit(X, y).logits_
    np.testing.assert_allclose(logits[301:], np.tile([0, np.log(np.finfo(float).eps) - 3e-5], (100, 1)), rtol=1e-12)


@pytest.mark.parametrize("y", [None, LABELS])
def test_datasets_have_no_rows_to_fold(y):
    data = TensorDataset(torch.as_tensor(X), torch.as_tensor(LABELS))
    with pytest.raises(TypeError, match="X must be an array where the classifier isn't fitted; got the Dataset Tensor"):
        TemperatureScaling(LogisticRegression()).fit(data, y)
    with pytest.raises(TypeError, match="X_cal must be an array where the classifier isn't fitted; got the Dataset T"):
        compare_calibrators(LogisticRegression(), data, y, X, LABELS)
