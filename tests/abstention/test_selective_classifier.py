"""SelectiveClassifier: what it answers, of whatever kind of data, and what it says where it can't promise anything."""

import copy
import pickle

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, labels_of, perceptron, vectors
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset

import skclamp
from skclamp import (
    NeuralClampingCalibrator,
    RiskMonitor,
    SelectiveClassifier,
    TemperatureScaling,
    VectorScaling,
)
from skclamp.exceptions import CalibrationSetWarning, TrainingDataWarning

N = 600
NETWORK = perceptron(0, 8)
X = vectors(3 * N, 8)
Y = labels_of(bare_logits(NETWORK, X), temperature=0.4)
FIT, CAL, TEST = slice(0, N), slice(N, 2 * N), slice(2 * N, None)
CALIBRATOR = TemperatureScaling(NETWORK).fit(X[FIT], Y[FIT])
COSTS = np.array([[0, 1, 1, 1], [1, 0, 1, 1], [1, 1, 0, 1], [3, 3, 3, 0]])


def selective(estimator=CALIBRATOR, x=X[CAL], y=Y[CAL], *, fit=None, **params):
    options = {"target_risk": 0.1, **params}
    return SelectiveClassifier(estimator, **options).fit(x, y, **(fit or {}))


FITTED = selective()


def test_it_answers_above_the_threshold_and_keeps_its_promise():
    assert FITTED.guaranteed_
    assert 0 < FITTED.coverage_ < 1
    answered = FITTED.is_answered(X[TEST])
    proba = FITTED.predict_proba(X[TEST])
    np.testing.assert_array_equal(proba, CALIBRATOR.predict_proba(X[TEST]))
    np.testing.assert_array_equal(answered, proba.max(1) > FITTED.threshold_)
    predicted = FITTED.predict(X[TEST])
    np.testing.assert_array_equal(predicted, np.where(answered, CALIBRATOR.predict(X[TEST]), -1))
    # Within chance of the promise on so many.
    assert np.mean(predicted[answered] != Y[TEST][answered]) <= 0.1 + 2 * np.sqrt(0.09 / answered.sum())
    assert FITTED.score(X[TEST], Y[TEST]) == np.mean(predicted == Y[TEST])
    verdict = FITTED.verdict_
    assert (verdict.guaranteed, verdict.n_samples, verdict.test) == (True, N, "exact binomial")
    assert verdict.n_answered == round(FITTED.coverage_ * N) == FITTED.is_answered(X[CAL]).sum()
    assert verdict.risk == pytest.approx(
        np.mean(FITTED.predict(X[CAL])[FITTED.is_answered(X[CAL])] != Y[CAL][FITTED.is_answered(X[CAL])])
    )
    assert verdict.p_value <= verdict.level <= 0.05 + 1e-12
    assert str(verdict) == verdict.reason == FITTED.summary()
    assert verdict.reason.startswith("Guaranteed: the risk of what is answered is at most 0.1")


KINDS = {
    "tensor": lambda: (torch.from_numpy(X[CAL]), torch.from_numpy(Y[CAL])),
    "Dataset": lambda: (TensorDataset(torch.from_numpy(X[CAL]), torch.from_numpy(Y[CAL])), None),
    "DataLoader": lambda: (DataLoader(TensorDataset(torch.from_numpy(X[CAL]), torch.from_numpy(Y[CAL])), 50), None),
    "list": lambda: (X[CAL].tolist(), Y[CAL].tolist()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_data(kind):
    x, y = KINDS[kind]()
    found = selective(x=x, y=y)
    assert found.threshold_ == pytest.approx(FITTED.threshold_, rel=1e-5)
    np.testing.assert_array_equal(found.is_answered(x), found.is_answered(X[CAL]))


ESTIMATORS = {
    "calibrator": CALIBRATOR,
    "clamping": NeuralClampingCalibrator(NETWORK, perturbation=None, random_state=0).fit(X[FIT], Y[FIT]),
    "logits": TemperatureScaling().fit(bare_logits(NETWORK, X[FIT]), Y[FIT]),
    "classifier": LogisticRegression().fit(X[FIT], Y[FIT]),
    "pipeline": make_pipeline(StandardScaler(), LogisticRegression()).fit(X[FIT], Y[FIT]),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_module_says_the_same(name):
    seen = (lambda x: bare_logits(NETWORK, x)) if name == "logits" else np.asarray
    found = selective(ESTIMATORS[name], seen(X[CAL]), unproven="best")
    dtype = torch.float64 if name in ("classifier", "pipeline") else torch.float32
    inputs = torch.as_tensor(seen(X[TEST]), dtype=dtype)
    with torch.no_grad():
        labels = found.module_.eval()(inputs).numpy()
    # In single precision one at the threshold may come out on the other side.
    assert (labels != found.predict(seen(X[TEST]))).mean() < 0.01
    assert {-1} < set(labels) <= {-1, 0, 1, 2, 3}
    exported = torch.export.export(found.module_, (inputs[:7],)).module()
    np.testing.assert_array_equal(exported(inputs[:7]), labels[:7])


LABELS = {
    "numbers from 0": (np.arange(4), -1, "i"),
    "-1 is a class": (np.array([-1, 0, 1, 2]), -2, "i"),
    "unsigned": (np.arange(4).astype(np.uint8), -1, "i"),
    "floats": (np.arange(4.0), -1, "f"),
    "strings": (np.array(["a", "b", "c", "d"]), "abstain", "U"),
    "objects": (np.array(["a", "b", "c", "d"], dtype=object), "abstain", "O"),
    "large numbers": (np.arange(4) + 2**62, -1, "i"),
    "large numbers without a sign": (np.arange(4).astype(np.uint64) + 2**62, -1, "O"),
}


@pytest.mark.parametrize("name", LABELS)
def test_what_stands_for_no_answer(name):
    names, label, kind = LABELS[name]
    calibrator = TemperatureScaling(NETWORK, classes=names).fit(X[FIT], names[Y[FIT]])
    found = selective(calibrator, y=names[Y[CAL]])
    assert found.abstain_label_ == label
    predicted, answered = found.predict(X[TEST]), found.is_answered(X[TEST])
    assert predicted.dtype.kind == kind
    np.testing.assert_array_equal(predicted[answered], calibrator.predict(X[TEST])[answered])
    assert set(predicted[~answered].tolist()) == {label}


def test_a_label_of_ones_own_and_booleans():
    assert (selective(abstain_label=99).predict(X[TEST]) == 99).any()
    positive = Y > 1
    found = selective(
        LogisticRegression().fit(X[FIT], positive[FIT]), y=positive[CAL], abstain_label="?", target_risk=0.3
    )
    assert set(found.predict(X[TEST]).tolist()) == {True, False, "?"}
    with pytest.raises(ValueError, match="abstain_label must be none of the classes .*; got 3"):
        selective(abstain_label=3)


# What isn't fitted


def test_an_estimator_that_is_not_fitted_is_cross_fitted():
    classifier, folds = LogisticRegression(), KFold(3)
    found = selective(classifier, cv=folds)
    assert not hasattr(classifier, "classes_")
    proba = cross_val_predict(classifier, X[CAL], Y[CAL], cv=folds, method="predict_proba")
    assert found.verdict_.n_answered == (proba.max(1) > found.threshold_).sum()
    np.testing.assert_array_equal(found.predict_proba(X[TEST]), classifier.fit(X[CAL], Y[CAL]).predict_proba(X[TEST]))
    # The proof is of the clones, which is no promise.
    assert not found.guaranteed_
    assert found.verdict_.reason.startswith("Not guaranteed, for this is proven of clones")
    unfitted = selective(TemperatureScaling(NETWORK))
    assert unfitted.estimator_.temperature_ == TemperatureScaling(NETWORK).fit(X[CAL], Y[CAL]).temperature_
    assert unfitted.coverage_ == pytest.approx(FITTED.coverage_, abs=0.05)
    assert clone(unfitted).estimator is not unfitted.estimator
    assert clone(FITTED).estimator is FITTED.estimator


def test_folds_keep_groups_together():
    class Remembers(LogisticRegression):
        """Says the label that it has seen of the first feature, a group's number; guesses others."""

        def fit(self, x, y, sample_weight=None):
            super().fit(x, y)
            self.seen_ = dict(zip(x[:, 0].tolist(), y.tolist(), strict=True))
            return self

        def predict_proba(self, x):
            known = np.array([self.seen_.get(number, 0) for number in x[:, 0].tolist()])
            return 0.7 * np.eye(len(self.classes_))[known] + 0.3 / len(self.classes_)

    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(200), 3))
    x, y = groups[:, None].astype(float), rng.integers(4, size=200)[groups]
    assert selective(Remembers(), x, y).coverage_ > 0.5
    with pytest.warns(CalibrationSetWarning, match="Not guaranteed"):
        assert selective(Remembers(), x, y, fit={"groups": groups}).coverage_ == 0


def test_samples_that_fitted_the_calibrator_are_told():
    with pytest.warns(
        CalibrationSetWarning, match="X holds samples that TemperatureScaling was fitted to, about 100% of X"
    ):
        found = selective(x=X[FIT], y=Y[FIT])
    assert not found.guaranteed_
    assert found.verdict_.reason.startswith("Not guaranteed, for about 100% of the samples had fitted the calibrator")
    # In any order and any dtype, among others.
    order = np.random.default_rng(0).permutation(2 * N)
    with pytest.warns(CalibrationSetWarning, match="X holds samples that"):
        selective(x=X[order].astype(np.float64), y=Y[order])
    loaded = pickle.loads(pickle.dumps(CALIBRATOR))
    with pytest.warns(CalibrationSetWarning, match="X holds samples that"):
        selective(loaded, X[FIT], Y[FIT])


# Weights, groups, costs


def test_weights_and_groups_are_bets():
    weight = np.random.default_rng(0).uniform(0.5, 1, N)
    weighted = selective(target_risk=0.15, fit={"sample_weight": weight})
    assert weighted.verdict_.test == "betting"
    chosen = weighted.is_answered(X[CAL])
    assert weighted.coverage_ == pytest.approx(weight[chosen].sum() / weight.sum())
    equal = selective(fit={"sample_weight": np.full(N, 3.0)})
    assert equal.verdict_ == FITTED.verdict_
    some = (np.arange(N) < 400).astype(float)
    assert selective(fit={"sample_weight": some}).verdict_ == selective(x=X[CAL][:400], y=Y[CAL][:400]).verdict_
    twice = np.concatenate([X[CAL], X[CAL]]), np.concatenate([Y[CAL], Y[CAL]])
    as_one = selective(CALIBRATOR, *twice, fit={"groups": np.tile(np.arange(N), 2)})
    assert (as_one.threshold_, as_one.verdict_.test) == (FITTED.threshold_, "exact binomial")
    pairs = selective(target_risk=0.15, fit={"groups": np.arange(N) // 2})
    assert pairs.verdict_.test == "betting"
    assert 0 < pairs.coverage_ < selective(target_risk=0.15).coverage_


def test_a_group_counts_as_the_mean_of_its_answers():
    """However large it is: many small ones that are wrong are no small risk, a few large ones no large one."""
    rows = np.flatnonzero(CALIBRATOR.predict_proba(X[CAL]).max(1) > 0.5)
    x, best = X[CAL][rows], CALIBRATOR.predict(X[CAL][rows])
    groups = np.concatenate([np.arange(80), np.arange(80, len(rows)) % 100 + 80])
    small, large = best.copy(), best.copy()
    small[:80] = (best[:80] + 1) % 4
    large[np.isin(groups, [80, 81])] = (best[np.isin(groups, [80, 81])] + 1) % 4
    with pytest.warns(CalibrationSetWarning, match=r"beyond chance \(betting test"):
        found = selective(x=x, y=small, target_risk=0.3, fit={"groups": groups})
    assert not found.guaranteed_ and np.mean(small != best) < 0.3
    found = selective(x=x, y=large, target_risk=0.1, fit={"groups": groups})
    assert found.guaranteed_
    assert found.summary().startswith("Guaranteed: the mean risk of groups with an answer, each counting once, is at")


def test_the_risk_of_samples_is_told_where_groups_hide_it():
    rng, wrong = np.random.default_rng(0), np.arange(200) < 4
    groups = np.repeat(np.arange(200), np.where(wrong, 50, 2))
    logits = rng.normal(size=(len(groups), 3))
    logits[:, 0] += np.where(wrong, 5.0, 8.0)[groups]
    drawn = 4 * rng.normal(size=(300, 3))
    calibrator = TemperatureScaling().fit(drawn, (drawn + rng.gumbel(size=drawn.shape)).argmax(1))
    y = np.where(wrong[groups], 1, calibrator.predict(logits))
    found = selective(calibrator, logits, y, fit={"groups": groups})
    assert found.guaranteed_
    answered = found.is_answered(logits)
    of_samples, numbers = np.mean(y[answered] == 1), np.bincount(groups[answered], minlength=200)
    of_groups = (np.bincount(groups[answered], y[answered] == 1, 200) / np.maximum(numbers, 1))[numbers > 0].mean()
    assert found.verdict_.risk == pytest.approx(of_groups)
    assert of_groups < 0.1 < of_samples
    assert f"Sample by sample the risk of what is answered is {of_samples:.3g}, above the target" in found.summary()


def test_costs_choose_the_class_and_are_the_risk():
    found = selective(costs=COSTS, target_risk=0.3)
    assert found.guaranteed_
    assert found.verdict_.test == "betting"
    expected = CALIBRATOR.predict_proba(X[TEST]) @ COSTS
    answered = found.is_answered(X[TEST])
    np.testing.assert_array_equal(answered, -expected.min(1) > found.threshold_)
    np.testing.assert_array_equal(found.predict(X[TEST])[answered], expected.argmin(1)[answered])
    assert (expected.argmin(1) != CALIBRATOR.predict(X[TEST])).any()
    assert COSTS[Y[TEST], expected.argmin(1)][answered].mean() <= 0.3
    labels = found.module_.eval()(torch.from_numpy(X[TEST])).numpy()
    assert (labels != found.predict(X[TEST])).mean() < 0.01
    # A wrong class at 1 is the share of errors, in any unit.
    plain = selective(costs=1 - np.eye(4))
    assert plain.verdict_.n_answered == FITTED.verdict_.n_answered
    assert plain.verdict_.test == "exact binomial"
    tenfold = selective(costs=10 * (1 - np.eye(4)), target_risk=1.0)
    np.testing.assert_array_equal(tenfold.is_answered(X[TEST]), plain.is_answered(X[TEST]))
    assert tenfold.verdict_.risk == pytest.approx(10 * plain.verdict_.risk)


# Where nothing can be promised


def test_all_right_and_all_wrong_and_a_single_sample():
    best = CALIBRATOR.predict(X[CAL])
    with pytest.warns(TrainingDataWarning, match="makes no error on the 600 samples .* prove the risk on others"):
        right = selective(y=best)
    assert right.coverage_ == 1
    assert right.threshold_ == 0
    assert right.is_answered(X[TEST]).all()
    with pytest.warns(CalibrationSetWarning, match="no number of such samples would do"):
        wrong = selective(y=(best + 1) % 4)
    with pytest.warns(CalibrationSetWarning, match=r"about \d+ such samples would do"):
        single = selective(x=X[CAL][:1], y=best[:1])
    for found in (wrong, single):
        assert not found.guaranteed_
        assert found.threshold_ == np.inf
        assert found.coverage_ == 0
        assert np.isnan(found.verdict_.risk)
        assert (found.predict(X[TEST]) == -1).all()


def test_unproven_it_may_take_the_best():
    few = {"x": X[CAL][:25], "y": Y[CAL][:25]}
    with pytest.warns(CalibrationSetWarning, match="Not guaranteed.* so that everything abstains"):
        assert selective(**few).coverage_ == 0
    with pytest.warns(CalibrationSetWarning, match=r"so that answered, unproven, are \d+ of 25"):
        found = selective(**few, unproven="best")
    assert not found.guaranteed_
    assert found.coverage_ > 0
    assert found.verdict_.risk <= 0.1
    assert found.verdict_.n_needed > 25


def test_many_classes_some_of_them_missing_and_ties():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(400, 1000)).astype(np.float32)
    logits[np.arange(400), rng.integers(30, size=400)] += 30
    y = logits.argmax(1)
    calibrator = VectorScaling(classes=np.arange(1000))
    with pytest.warns(UserWarning):
        calibrator.fit(logits[:200], y[:200])
    found = selective(calibrator, logits[200:], y[200:], target_risk=0.1)
    assert found.guaranteed_
    assert found.coverage_ == 1
    # Of two values of confidence all samples of one are answered, or none; that they are those of the fit doesn't show.
    two = np.where(np.arange(N)[:, None] % 3 > 0, np.log([[0.9, 0.1]]), np.log([[0.6, 0.4]]))
    wrong = (np.arange(N) % 3 == 0) & (np.arange(N) % 2 == 0)
    tied = selective(TemperatureScaling().fit(two[:200], (np.arange(200) % 7 == 0).astype(int)), two, wrong.astype(int))
    assert tied.coverage_ == pytest.approx(2 / 3)


# As scikit-learn's estimators do


@pytest.mark.parametrize("way", ["deepcopy", "pickle", "file"])
@pytest.mark.parametrize("costs", [None, COSTS], ids=["errors", "costs"])
def test_copies_and_files_say_the_same(way, costs, tmp_path):
    found = selective(costs=costs, target_risk=0.3)
    if way == "file":
        found.save(tmp_path / "selective.safetensors")
        with pytest.raises(TypeError, match="got a network alone, Sequential: give a fitted calibrator, such as"):
            skclamp.load(tmp_path / "selective.safetensors", NETWORK)
        again = skclamp.load(tmp_path / "selective.safetensors", CALIBRATOR)
    else:
        again = copy.deepcopy(found) if way == "deepcopy" else pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.predict(X[TEST]), found.predict(X[TEST]))
    assert again.verdict_ == found.verdict_
    assert again.threshold_ == found.threshold_
    with torch.no_grad():
        assert torch.equal(again.module_(torch.from_numpy(X[TEST])), found.module_(torch.from_numpy(X[TEST])))


WRONG = {
    "network": ({"estimator": NETWORK}, TypeError, "estimator must be a classifier; got a network alone, Sequential"),
    "none": ({"estimator": None}, TypeError, "estimator must be a classifier; got None"),
    "risk": ({"target_risk": 1.5}, ValueError, "target_risk must lie between .* loss, 0 and 1; got 1.5"),
    "percent": ({"target_risk": 5}, ValueError, "0 and 1; got 5.0: 5 % is 0.05"),
    "risk in costs": ({"costs": COSTS, "target_risk": 3}, ValueError, "the least and the largest loss, 0 and 3; got 3"),
    "confidence": ({"confidence": 1.0}, ValueError, "'confidence' parameter"),
    "costs": ({"costs": COSTS[:3]}, ValueError, r"costs must be finite, .* shape \(4, 4\); got shape \(3, 4\)"),
    "gains": ({"costs": np.eye(4)}, ValueError, "costs must be what it costs, .* Of gains give gains.max"),
    "NaN": ({"costs": np.full((4, 4), np.nan)}, ValueError, "costs must be finite, .*; got NaN or infinity"),
    "unproven": ({"unproven": "all"}, ValueError, "'unproven' parameter"),
    "groups": ({"fit": {"groups": np.arange(3)}}, ValueError, "groups must have shape"),
    "missing groups": ({"fit": {"groups": [None] * N}}, ValueError, "groups must name the group of every sample"),
    "length": ({"y": Y[CAL][:-1]}, ValueError, "y must have one value"),
    "abstention for nothing": ({"abstention_cost": 0.0}, ValueError, "abstention_cost must be above 0"),
    "weights": ({"fit": {"sample_weight": -np.ones(N)}}, ValueError, "sample_weight must be finite, non-negative"),
    "labels": ({"y": np.full(N, 7)}, ValueError, "7"),
    "other metadata": ({"fit": {"check_input": True}}, TypeError, "fit takes no check_input: what an estimator"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_and_nothing_is_lost(name):
    params, error, message = WRONG[name]
    params = {**params}
    fit, y, found = params.pop("fit", {}), params.pop("y", Y[CAL]), copy.deepcopy(FITTED)
    found.set_params(**params)
    with pytest.raises(error, match=message):
        found.fit(X[CAL], y, **fit)
    assert found.threshold_ == FITTED.threshold_
    assert found.verdict_ == FITTED.verdict_


@pytest.mark.parametrize("label", [-1, 7])
def test_answers_to_samples_of_no_class_are_wrong(label):
    y = Y[CAL].copy()
    y[::8] = label
    found = selective(y=y, others="wrong", target_risk=0.3)
    # As a class that the estimator never says.
    wider = [np.pad(bare_logits(NETWORK, X[rows]), ((0, 0), (0, 1)), constant_values=-np.inf) for rows in (FIT, CAL)]
    taken = TemperatureScaling(classes=range(5)).fit(wider[0], Y[FIT])
    known = selective(taken, wider[1], np.where(y == label, 4, y), target_risk=0.3)
    assert (found.threshold_, found.coverage_) == pytest.approx((known.threshold_, known.coverage_))
    assert found.verdict_.risk == pytest.approx(known.verdict_.risk)
    assert found.verdict_.risk > selective(target_risk=0.3).verdict_.risk
    monitor = RiskMonitor(found).partial_fit(X[CAL], y)
    assert monitor.risk_ == pytest.approx(found.verdict_.risk)


@pytest.mark.parametrize(
    ("params", "y", "message"),
    [
        ({}, 7, r"y must hold labels among the classes \[0, 1, 2, 3\]; got \[7\]"),
        ({"others": "wrong", "costs": COSTS}, 7, "costs must be None with others='wrong'"),
        ({"others": "wrong", "estimator": LogisticRegression()}, 7, "others must be 'raise' where .* isn't fitted"),
        ({"others": "wrong"}, None, r"y must hold some labels among the classes .*; got \[9\]"),
        ({"others": "right"}, 7, "others"),
    ],
)
def test_samples_of_no_class_are_refused(params, y, message):
    labels = np.full(N, 9) if y is None else np.where(np.arange(N) % 8, Y[CAL], y)
    with pytest.raises(ValueError, match=message):
        selective(y=labels, **params)
