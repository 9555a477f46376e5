import pickle

import numpy as np
import pytest
import torch
from _problems import flat, linear
from _small_networks import bare_logits, labels_of, nll, vectors
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, ShuffleSplit, StratifiedKFold, TimeSeriesSplit, cross_val_score
from torch import nn

from skclamp import NeuralClampingCalibrator, NeuralClampingCalibratorCV, TemperatureScaling
from skclamp.metrics import neg_log_likelihood_scorer
from skclamp.perturbations import AffinePerturbation

# Of the guard's tests, and the fewest samples that it takes.
LEVEL, MIN_SAMPLES = 0.02, 100
NETWORK = linear(6)
CLEAN = vectors(900)
LABELS = labels_of(bare_logits(NETWORK, CLEAN))
X = CLEAN * np.linspace(0.5, 1.5, 6, dtype=np.float32) + np.float32(0.7)
GRID = {"perturbations": ["channel", "affine"], "gammas": [0.0, 2.0]}


def search(estimator=NETWORK, **settings):
    return NeuralClampingCalibratorCV(estimator, **{**GRID, "random_state": 0, "precision": "float32", **settings})


def grid_search(cv, **single):
    """The same search by scikit-learn: candidates in the order of `search`."""
    calibrator = NeuralClampingCalibrator(
        NETWORK, validation_fraction=None, precision="float32", random_state=0, **single
    )
    grid = {"perturbation": GRID["perturbations"], "gamma": GRID["gammas"]}
    candidates = [{"perturbation": [p], "gamma": [g]} for p in grid["perturbation"] for g in grid["gamma"]]
    return GridSearchCV(calibrator, candidates, cv=cv, scoring=neg_log_likelihood_scorer, error_score="raise")


@pytest.fixture(scope="module")
def fitted():
    return search().fit(X, LABELS)


@pytest.fixture(scope="module")
def expected():
    return grid_search(3).fit(X, LABELS)


# What GridSearchCV does


def test_cv_results_are_laid_out_as_grid_searchs(fitted, expected):
    found = fitted.cv_results_
    times = {key for key in expected.cv_results_ if key.endswith("_time")}
    wanted = expected.cv_results_.keys() - times | {"param_penalty", "param_lr"}
    assert found.keys() == wanted
    for key in wanted & expected.cv_results_.keys():
        assert len(found[key]) == len(expected.cv_results_[key]) == 4, key
        assert type(found[key]) is type(expected.cv_results_[key]), key
    for row, other in zip(found["params"], expected.cv_results_["params"], strict=True):
        assert {name: row[name] for name in other} == other
        assert (row["penalty"], row["lr"]) == (0.0, "auto")
    for name in ("param_gamma", "param_perturbation"):
        assert found[name].tolist() == expected.cv_results_[name].tolist()
    assert found["rank_test_score"].dtype == expected.cv_results_["rank_test_score"].dtype


@pytest.mark.slow
def test_scores_and_choice_are_grid_searchs():
    """Where the best two differ by more than chance, as families do here; gammas don't, and then the scores agree."""
    clean = vectors(3000, seed=1)
    y = labels_of(bare_logits(NETWORK, clean))
    x = clean * np.linspace(0.5, 1.5, 6, dtype=np.float32) + np.float32(0.7)
    found, expected = search().fit(x, y), grid_search(3).fit(x, y)
    assert found.best_params_["perturbation"] == expected.best_params_["perturbation"] == "affine"
    scores, wanted = (
        {
            (row["perturbation"], row["gamma"]): score
            for row, score in zip(each.cv_results_["params"], each.cv_results_["mean_test_score"], strict=True)
        }
        for each in (found, expected)
    )
    assert wanted["affine", 0.0] > wanted["channel", 0.0] + 0.01
    # Of scores of 2,000 training samples, an optimum is known to half a parameter's nats by each.
    for name, n_parameters in (("channel", 6), ("affine", 12)):
        assert scores[name, 0.0] == pytest.approx(wanted[name, 0.0], abs=n_parameters / 2 / 2000)
    chosen = found.best_params_["perturbation"], found.best_params_["gamma"]
    assert wanted[chosen] >= expected.best_score_ - 1e-3
    assert found.best_score_ == pytest.approx(expected.best_score_, abs=1e-3)


def test_statistics_of_the_scores_and_the_best(fitted):
    results = fitted.cv_results_
    splits = np.array([results[f"split{k}_test_score"] for k in range(3)])
    np.testing.assert_allclose(results["mean_test_score"], splits.mean(0))
    np.testing.assert_allclose(results["std_test_score"], splits.std(0))
    assert sorted(results["rank_test_score"])[0] == 1
    order = np.argsort(-results["mean_test_score"])
    assert (np.diff(results["rank_test_score"][order]) >= 0).all()
    assert results["rank_test_score"][fitted.best_index_] == 1
    assert fitted.best_index_ == results["mean_test_score"].argmax()
    assert fitted.best_params_ is results["params"][fitted.best_index_]
    assert isinstance(fitted.best_score_, float)
    assert fitted.best_score_ == results["mean_test_score"].max()


def test_the_order_of_the_grid_is_that_of_the_product():
    found = search(gammas=[1.0, 0.0], penalties=[0.01, 0.0], lrs=[0.5, "auto"], perturbations=["affine"], max_epochs=1)
    params = found.fit(X[:200], LABELS[:200]).cv_results_["params"]
    expected = [(p, lr, g) for p in (0.01, 0.0) for lr in (0.5, "auto") for g in (1.0, 0.0)]
    assert [(row["penalty"], row["lr"], row["gamma"]) for row in params] == expected


# It costs less


def test_it_shares_passes():
    """Against fits of their own for all candidates in each fold, on two thirds of the samples, and the last fit."""
    gammas = [0.0, 0.5, 1.0, 2.0]
    shared = search(perturbations=["affine"], gammas=gammas).fit(X, LABELS).cost_
    alone = [grid_search(3, perturbation="affine", gamma=g).estimator.fit(X, LABELS).cost_ for g in gammas]
    for name, most in (("backward", 0.65), ("forward", 0.75)):
        costs = [cost[name] for cost in alone]
        assert shared[name] < most * (2 * sum(costs) + max(costs)), name


def test_several_gammas_share_a_pass_over_any_number_of_samples(monkeypatch):
    settings = {"perturbations": ["full"], "cv": 2}
    expected = search(**settings).fit(X, LABELS)
    monkeypatch.setattr("skclamp.clamping._evidence_step.MAX_ENTRIES", 2**11)
    found = search(**settings).fit(X, LABELS)
    assert found.cost_ == expected.cost_
    np.testing.assert_array_equal(found.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"])


# The guard


def test_the_best_is_kept_where_it_beats_temperature_scaling(fitted):
    assert fitted.accepted_
    assert fitted.verdict_.accepted
    assert fitted.verdict_.p_value < LEVEL
    assert isinstance(fitted.perturbation_, AffinePerturbation)
    alone = TemperatureScaling(NETWORK).fit(X, LABELS)
    assert nll(fitted.predict_log_proba(X), LABELS) < nll(alone.predict_log_proba(X), LABELS) - 0.05
    assert (fitted.predict(X) == LABELS).mean() > (alone.predict(X) == LABELS).mean()


@pytest.mark.filterwarnings("ignore:perturbation=.* is left out:skclamp.exceptions.CalibrationSetWarning")
@pytest.mark.parametrize("n_samples", [MIN_SAMPLES - 1, 900])
def test_else_it_is_temperature_scaling(n_samples):
    x, y = CLEAN[:n_samples], LABELS[:n_samples]
    found = search(cv=KFold(3)).fit(x, y)
    alone = TemperatureScaling(NETWORK).fit(x, y)
    assert not found.accepted_
    assert found.temperature_ == pytest.approx(alone.temperature_, rel=1e-12)
    np.testing.assert_array_equal(found.predict_proba(x), alone.predict_proba(x))
    assert not found.delta_.any()
    assert len(found.cv_results_["mean_test_score"]) == 4


# Grids


class Stretch(nn.Module):
    """A user's perturbation."""

    def __init__(self):
        super().__init__()
        self.log_gain = nn.Parameter(torch.zeros(6))

    def forward(self, x):
        return x * self.log_gain.exp()


def test_modules_in_the_grid():
    sequence = nn.Sequential(AffinePerturbation((6,)), nn.Identity())
    given = [sequence, Stretch(), "channel"]
    found = search(perturbations=given, gammas=[0.0]).fit(X, LABELS)
    assert found.cv_results_["param_perturbation"].tolist() == given
    assert found.best_params_["perturbation"] is sequence
    assert isinstance(found.perturbation_, nn.Sequential)
    np.testing.assert_array_equal(flat(sequence), [1.0] * 6 + [0.0] * 6)
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again.predict_proba(X), found.predict_proba(X))
    assert clone(found).fit(X, LABELS).temperature_ == found.temperature_


@pytest.mark.parametrize(
    ("name", "values", "settings", "best", "atol"),
    [
        ("penalty", [0.0, 100.0], {}, 0.0, 0.01),
        # The order of the samples is drawn anew in each fit.
        ("lr", [1e-4, 0.05], {"optimizer": "adam", "max_epochs": 3}, 0.05, 0.02),
    ],
)
def test_penalties_and_learning_rates_compete(name, values, settings, best, atol):
    grid = {"penalty": "penalties", "lr": "lrs"}[name]
    found = search(perturbations=["affine"], gammas=[0.0], **{grid: values}, **settings).fit(X, LABELS)
    alone = grid_search(3, **settings).set_params(param_grid={"perturbation": ["affine"], name: values}).fit(X, LABELS)
    assert found.best_params_[name] == alone.best_params_[name] == best
    np.testing.assert_allclose(
        found.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"], rtol=0, atol=atol
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gammas": []}, "gammas must hold at least one value; got an empty grid"),
        ({"perturbations": ()}, "perturbations must hold at least one value; got an empty grid"),
        ({"penalties": []}, "penalties must hold at least one value"),
        ({"lrs": []}, "lrs must hold at least one value"),
        ({"gammas": [0.0, -1.0]}, r"'gammas\[1\]' parameter of NeuralClampingCalibratorCV must be .* Got -1.0"),
        ({"gammas": [np.nan]}, r"'gammas\[0\]' parameter of NeuralClampingCalibratorCV must be"),
        ({"gammas": ["auto"]}, r"'gammas\[0\]' parameter of NeuralClampingCalibratorCV must be .* Got 'auto'"),
        ({"gammas": 1.0}, "'gammas' parameter of NeuralClampingCalibratorCV must be an array-like. Got 1.0"),
        ({"perturbations": "affine"}, "'perturbations' parameter of .* must be an array-like. Got 'affine'"),
        ({"perturbations": ["affine", "pixel"]}, r"'perturbations\[1\]' parameter of .* Got 'pixel'"),
        ({"penalties": [-0.1]}, r"'penalties\[0\]' parameter of .* Got -0.1"),
        ({"lrs": [0.0]}, r"'lrs\[0\]' parameter of .* Got 0.0"),
        ({"lrs": ["fast"]}, r"'lrs\[0\]' parameter of .* Got 'fast'"),
        ({"cv": "three"}, "'cv' parameter of NeuralClampingCalibratorCV must be"),
        ({"cv": 1}, "k-fold cross-validation requires at least one train/test split|cv"),
        ({"perturbations": ["affine", nn.Identity()]}, "perturbation must have parameters to learn; got Identity"),
        ({"perturbations": ["grid"]}, "perturbation='grid' needs a channel axis"),
        ({"cv": ShuffleSplit(3, random_state=0)}, "cv must hold out each sample exactly once; got sample .* times"),
        ({"cv": TimeSeriesSplit(3)}, "cv must hold out each sample exactly once; got sample 0 0 times"),
    ],
)
def test_bad_grids(settings, message):
    with pytest.raises(ValueError, match=message):
        search(**settings).fit(X[:150], LABELS[:150])


def test_none_in_the_grid_is_temperature_scaling():
    found = search(perturbations=[None, "affine"], gammas=[0.0]).fit(X, LABELS)
    alone = cross_val_score(
        TemperatureScaling(NETWORK), X, LABELS, cv=StratifiedKFold(3), scoring=neg_log_likelihood_scorer
    )
    splits = [found.cv_results_[f"split{k}_test_score"][0] for k in range(3)]
    np.testing.assert_allclose(splits, alone, atol=1e-5)
    assert found.best_params_["perturbation"] == "affine"
    clean = search(perturbations=[None, "affine"], gammas=[0.0]).fit(CLEAN, LABELS)
    assert not clean.accepted_


# Folds


@pytest.mark.parametrize(("cv", "n_folds"), [(2, 2), (iter(list(KFold(3).split(X))), 3), (None, 5)])
def test_folds(cv, n_folds):
    found = search(cv=cv, gammas=[0.0], perturbations=["channel"]).fit(X, LABELS)
    assert len([key for key in found.cv_results_ if key.startswith("split")]) == n_folds


# The scikit-learn way


def test_defaults_search_over_gamma():
    found = NeuralClampingCalibratorCV(NETWORK, random_state=0).fit(X, LABELS)
    assert [row["gamma"] for row in found.cv_results_["params"]] == [0.0, 0.5, 1.0, 2.0]
    assert found.accepted_


def test_held_out_scores_are_weighted():
    """With weight on a fold's half alone, its score is that half's, up to chance in the fits' last steps."""
    weight = np.where(np.arange(len(X)) % 2, 1.0, 0.0)
    folds = [(np.arange(450, 900), np.arange(450)), (np.arange(450), np.arange(450, 900))]
    halves = [(train[1::2] // 2, test[1::2] // 2) for train, test in folds]
    found = search(cv=folds, gammas=[0.0]).fit(X, LABELS, sample_weight=weight)
    expected = search(cv=halves, gammas=[0.0]).fit(X[1::2], LABELS[1::2])
    everything = search(cv=folds, gammas=[0.0]).fit(X, LABELS).cv_results_["split0_test_score"]
    for key in ("split0_test_score", "split1_test_score"):
        np.testing.assert_allclose(found.cv_results_[key], expected.cv_results_[key], atol=0.02)
    assert np.abs(everything - expected.cv_results_["split0_test_score"]).max() > 0.01


@pytest.mark.parametrize(("fold", "side", "what"), [(0, 0, "to train on"), (1, 1, "held out")])
def test_each_fold_needs_weight_on_either_side(fold, side, what):
    parts = np.array_split(np.arange(len(X)), 3)
    folds = [(np.concatenate([*parts[:k], *parts[k + 1 :]]), parts[k]) for k in range(3)]
    weight = np.ones(len(X))
    weight[folds[fold][side]] = 0
    with pytest.raises(ValueError, match=f"not be zero on all the samples {what}; got zeros in fold {fold}"):
        search(cv=folds).fit(X, LABELS, sample_weight=weight)


@pytest.mark.slow
@pytest.mark.parametrize("grid", [{"gammas": [0.0, 2.0]}, {"gammas": [0.0], "lrs": [1.0, 0.001]}], ids=["gamma", "lr"])
def test_scores_do_not_depend_on_the_order_of_the_grid(grid):
    """But for which samples steps are tried on."""
    x = vectors(3000, seed=1) * np.linspace(0.5, 1.5, 6, dtype=np.float32) + np.float32(0.7)
    y = labels_of(bare_logits(NETWORK, vectors(3000, seed=1)))
    there = search(perturbations=["affine"], **grid).fit(x, y).cv_results_["mean_test_score"]
    back = search(perturbations=["affine"], **{k: v[::-1] for k, v in grid.items()}).fit(x, y)
    np.testing.assert_allclose(back.cv_results_["mean_test_score"][::-1], there, atol=12 / 2 / 2000)
