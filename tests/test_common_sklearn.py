"""What every calibrator promises to users of scikit-learn."""

import copy
import pickle

import joblib
import numpy as np
import pytest
from _calibrators import CALIBRATORS, of_base
from _output_maps import PUBLIC
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import check_array
from sklearn.utils.estimator_checks import parametrize_with_checks

from skclamp import CalibrationMonitor, RiskMonitor, SelectiveClassifier
from skclamp.metrics import neg_brier_score_scorer, neg_expected_calibration_error_scorer, neg_log_likelihood_scorer

OF_EACH_KIND = ["TemperatureScaling", "HistogramBinning", "NeuralClampingCalibrator"]


@of_base()
def test_clone_shares_what_is_frozen(case):
    fitted = case.fitted
    twin = clone(fitted)
    assert not hasattr(twin, "classes_")
    frozen = not case.learns_its_classes
    assert (twin.estimator is fitted.estimator) == frozen
    theirs, ours = twin.get_params(), fitted.get_params()
    assert {k: v for k, v in theirs.items() if k != "estimator"} == {k: v for k, v in ours.items() if k != "estimator"}
    np.testing.assert_array_equal(twin.fit(case.X, case.y).predict_proba(case.X), fitted.predict_proba(case.X))


@of_base()
def test_parameters_of_a_frozen_estimator_are_out_of_reach(case):
    calibrator = case.make()
    if case.learns_its_classes:
        calibrator.set_params(estimator__C=0.1)
        assert calibrator.estimator.C == 0.1
        return
    assert not [name for name in calibrator.get_params() if "__" in name]
    with pytest.raises(ValueError, match="estimator is frozen: its parameters can't be set; got 'estimator__lr'"):
        calibrator.set_params(estimator__lr=0.1)


@of_base()
@pytest.mark.parametrize("way", ["pickle", "joblib", "deepcopy"])
def test_copies_predict_the_same(case, way, tmp_path):
    fitted = case.fitted
    if way == "pickle":
        again = pickle.loads(pickle.dumps(fitted))
    elif way == "joblib":
        again = joblib.load(joblib.dump(fitted, tmp_path / "calibrator.joblib")[0])
    else:
        again = copy.deepcopy(fitted)
    np.testing.assert_array_equal(again.predict_proba(case.X), fitted.predict_proba(case.X))
    assert again.classes_.tolist() == fitted.classes_.tolist()


@of_base()
def test_repr_is_short(case):
    fitted = case.fitted
    for shown in (repr(case.make()), repr(fitted), str(fitted)):
        assert shown.startswith(type(fitted).__name__)
        assert len(shown) < 250
        assert "\n" not in shown or len(shown.splitlines()) < 5
        assert "in_features" not in shown
    assert type(fitted).__name__ in fitted._repr_html_()


@of_base()
def test_last_step_of_a_pipeline(case):
    fitted = case.fitted
    pipeline = make_pipeline(FunctionTransformer(lambda X: X / 2), case.make())
    pipeline.fit(2 * case.X, case.y)
    np.testing.assert_array_equal(pipeline.predict_proba(2 * case.X), fitted.predict_proba(case.X))
    assert pipeline.classes_.tolist() == [0, 1, 2, 3]


@of_base()
def test_scorers(case):
    scoring = {
        "scikit-learn's": "neg_log_loss",
        "NLL": neg_log_likelihood_scorer,
        "Brier": neg_brier_score_scorer,
        "ECE": neg_expected_calibration_error_scorer,
    }
    scores = cross_validate(case.make(), case.X, case.y, scoring=scoring, cv=2)
    for name in scoring:
        assert np.isfinite(scores[f"test_{name}"]).all()
        assert (scores[f"test_{name}"] < 0).all()


GRIDS = {
    "TemperatureScaling": {"gamma": [0.0, 3.0]},
    "temperature of a network": {"gamma": [0.0, 3.0]},
    "clamping without guard": {"gamma": [0, 2.0], "lr": [1e-3, 1e-1]},
    "clamping of a skorch net": {"gamma": [0, 2.0], "lr": [1e-3, 1e-1]},
}


@pytest.mark.parametrize("name", GRIDS)
def test_grid_search(name):
    case = CALIBRATORS[name]
    calibrator = case.make()
    search = GridSearchCV(calibrator, GRIDS[name], scoring=neg_log_likelihood_scorer, cv=2).fit(case.X, case.y)
    scores = search.cv_results_["mean_test_score"]
    assert len(set(scores.tolist())) == len(scores), "candidates that are the same"
    assert search.best_estimator_.estimator is calibrator.estimator
    np.testing.assert_allclose(search.predict_proba(case.X).sum(1), 1)


def quiet(test):
    """Ignores what small and odd data are warned of."""
    for message in (
        "temperature_ (is at the bound|can't be learned):sklearn.exceptions.ConvergenceWarning",
        ".* classes ha(ve|s) no sample in the calibration set:UserWarning",
        "the calibration set has . distinct top probabilities:UserWarning",
        "the calibration set has no two distinct samples:UserWarning",
        "all labels are of one class:UserWarning",
        "perturbation=.* is left out:UserWarning",
        "lbfgs failed to converge:sklearn.exceptions.ConvergenceWarning",
    ):
        test = pytest.mark.filterwarnings(f"ignore:{message}")(test)
    return test


def checks_of(names):
    return parametrize_with_checks([PUBLIC[name](LogisticRegression()) for name in names])


@quiet
@checks_of(OF_EACH_KIND)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


class Uniform(ClassifierMixin, BaseEstimator):
    """Takes any table, as the checks' are no logits, and any labels below 25."""

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        n_classes = len(self.classes_)
        return np.full((len(check_array(X)), n_classes), 1 / n_classes)


# The checks' labels don't follow from uniform probabilities, and come sorted.
@pytest.mark.filterwarnings("ignore:(the probabilities aren't true|samples are repeated):UserWarning")
@parametrize_with_checks([CalibrationMonitor(Uniform().fit(None, range(25)))])
def test_scikit_learns_own_checks_of_the_monitor(estimator, check):
    check(estimator)


# Labels that abstain are none of the classes, which the checks look for: at this risk all are answered.
@quiet
@pytest.mark.filterwarnings("ignore:Not guaranteed:UserWarning")
@parametrize_with_checks([SelectiveClassifier(LogisticRegression(), target_risk=0.9, unproven="best")])
def test_scikit_learns_own_checks_of_the_selective_classifier(estimator, check):
    check(estimator)


# It answers the first class to everything, of any number of features.
ANSWERING = SelectiveClassifier(Uniform().fit(None, range(25)), target_risk=0.99).fit(np.zeros((9, 1)), [0] * 9)
del ANSWERING.n_features_in_


@parametrize_with_checks([RiskMonitor(ANSWERING)])
def test_scikit_learns_own_checks_of_the_monitor_of_risk(estimator, check):
    check(estimator)


@pytest.mark.slow
@quiet
@checks_of([name for name in PUBLIC if name not in OF_EACH_KIND])
def test_scikit_learns_own_checks_of_the_others(estimator, check):
    check(estimator)
