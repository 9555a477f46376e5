"""Classes that the calibration set has no sample of: nothing is learned of them, and temperature scaling speaks."""

import warnings

import numpy as np
import pytest
import torch
from _export import HOW, check_the_same
from _output_maps import PUBLIC
from _small_networks import bare_logits, labels_of, perceptron, vectors
from sklearn.datasets import load_digits
from sklearn.naive_bayes import GaussianNB

from skclamp import (
    BetaCalibration,
    CalibratorSelector,
    DirichletCalibration,
    HistogramBinning,
    MatrixScaling,
    NeuralClampingCalibrator,
    PlattScaling,
    StructuredMatrixScaling,
    StructuredVectorScaling,
    TemperatureScaling,
    TorchTraining,
    VectorScaling,
)
from skclamp.exceptions import CalibrationSetWarning
from skclamp.metrics import negative_log_likelihood

BY_CLASS = {name: cls for name, cls in PUBLIC.items() if cls()._tags.learns_by_class}
PARAMETRIC = [
    BetaCalibration,
    DirichletCalibration,
    MatrixScaling,
    PlattScaling,
    StructuredMatrixScaling,
    StructuredVectorScaling,
    VectorScaling,
]
MISSING = "no sample in the calibration set"
pytestmark = pytest.mark.filterwarnings(
    f"ignore:.*(is likely worse than|{MISSING}|class frequencies are off|all labels are of one class):UserWarning"
)


def draw(n, n_classes=10, seed=0):
    """Logits that are too large by two, with a class's offset that maps have to learn, and labels."""
    rng = np.random.default_rng(seed)
    logits = 4 * rng.normal(size=(n, n_classes))
    return logits, labels_of(logits + np.arange(n_classes) % 3, seed=seed + 100)


def without(logits, y, missing):
    """Samples of all other classes."""
    rows = ~np.isin(y, missing)
    return logits[rows], y[rows]


NEW, Y_NEW = draw(4000, seed=1)


def test_who_learns_by_class():
    assert set(BY_CLASS) == {cls.__name__ for cls in PARAMETRIC} | {
        "BayesianBinningIntoQuantiles",
        "HistogramBinning",
        "IsotonicCalibration",
        "QuadraticScaling",
        "VennAbersCalibration",
    }


@pytest.mark.parametrize("missing", [[3], [0, 4, 9], list(range(2, 10)), list(range(1, 10))])
@pytest.mark.parametrize("name", BY_CLASS)
def test_missing_classes_have_the_probabilities_of_temperature_scaling(name, missing):
    X, y = without(*draw(1500), missing)
    calibrator = BY_CLASS[name]().fit(X, y)
    plain = TemperatureScaling().fit(X, y)
    proba, expected = calibrator.predict_proba(NEW), plain.predict_proba(NEW)
    np.testing.assert_allclose(proba[:, missing], expected[:, missing], rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(proba.sum(1), 1)
    np.testing.assert_array_equal(np.flatnonzero(~calibrator.seen_), missing)
    names = ", ".join(map(str, missing))
    assert f"{MISSING} ({names}): their probabilities are temperature scaling's" in calibrator.summary()


@pytest.mark.parametrize("name", BY_CLASS)
def test_the_others_are_mapped_as_if_there_were_no_missing_class(name):
    X, y = without(*draw(1500), [3, 9])
    kept = np.delete(np.arange(10), [3, 9])
    alone = BY_CLASS[name](classes=kept).fit(X[:, kept], y).predict_proba(NEW[:, kept])
    proba = BY_CLASS[name]().fit(X, y).predict_proba(NEW)[:, kept]
    np.testing.assert_allclose(proba / proba.sum(1, keepdims=True), alone, rtol=1e-9)


@pytest.mark.parametrize("name", BY_CLASS)
def test_a_class_whose_samples_all_weigh_nothing_is_missing(name):
    X, y = draw(1500)
    weight = np.where(np.isin(y, [3, 5]), 0.0, 1.0)
    weighted = BY_CLASS[name]().fit(X, y, sample_weight=weight)
    expected = BY_CLASS[name]().fit(*without(X, y, [3, 5]))
    np.testing.assert_array_equal(np.flatnonzero(~weighted.seen_), [3, 5])
    np.testing.assert_allclose(weighted.predict_proba(NEW), expected.predict_proba(NEW), rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_no_pool_is_worse_than_temperature_scaling_for_them(seed):
    """Maps that treat classes alike would rule out those without samples, which most new samples may be of."""
    rng = np.random.default_rng(seed)
    # Frequencies that the network doesn't know, for maps of each class to learn.
    logits = 2 * rng.normal(size=(4600, 10)) @ rng.normal(size=(10, 10)) / 3
    y = labels_of(logits + 1.5 * rng.normal(size=10), temperature=0.7, seed=seed)
    missing = np.argsort(-np.bincount(y, minlength=10))[:3]
    there = ~np.isin(y[:2000], missing)
    selector, plain = (
        make(classes=range(10)).fit(logits[:2000][there], y[:2000][there])
        for make in (CalibratorSelector, TemperatureScaling)
    )
    proba, expected = (each.predict_proba(logits[2000:]) for each in (selector, plain))
    np.testing.assert_allclose(proba[:, missing], expected[:, missing], rtol=1e-6, atol=1e-12)
    assert negative_log_likelihood(y[2000:], proba) < negative_log_likelihood(y[2000:], expected)
    told = negative_log_likelihood(y[:2000][there], selector.predict_proba(logits[:2000][there]))
    assert -selector.best_score_ == pytest.approx(told, rel=0.03)
    assert f"3 of 10 classes have {MISSING} (" in selector.summary()


@pytest.mark.parametrize("missing", [[3], [0, 4, 9]])
@pytest.mark.parametrize("make", [*PARAMETRIC, CalibratorSelector])
def test_no_map_is_worse_than_temperature_scaling_for_a_missing_class(make, missing):
    X, y = without(*draw(4000), missing)
    options = {"candidates": [("temperature", TemperatureScaling()), ("vector", VectorScaling())]}
    calibrator = make(**(options if make is CalibratorSelector else {})).fit(X, y)
    plain = TemperatureScaling().fit(X, y)
    nll, of_temperature = (negative_log_likelihood(Y_NEW, each.predict_proba(NEW)) for each in (calibrator, plain))
    assert nll <= 1.02 * of_temperature


@HOW
@pytest.mark.parametrize("make", [VectorScaling, PlattScaling, StructuredMatrixScaling])
def test_modules_leave_them_to_temperature_scaling(make, how, tmp_path):
    calibrator = make().fit(*without(*draw(1500), [0, 4]))
    module = calibrator.module_.eval()
    np.testing.assert_allclose(module(torch.from_numpy(NEW)).softmax(1).numpy(), calibrator.predict_proba(NEW))
    check_the_same(module, torch.from_numpy(NEW[:100]), how, tmp_path)


def test_samples_of_missing_classes_alone():
    """Logits of -inf leave a sample nothing but classes that nothing is known of."""
    calibrator = VectorScaling().fit(*without(*draw(1500), [0, 4]))
    row = np.full((1, 10), -np.inf)
    row[0, [0, 4]] = 0.0
    np.testing.assert_allclose(calibrator.predict_proba(row)[0, [0, 4]], 0.5)


def test_clamping_with_an_output_map():
    X, y = without(*draw(1500), [0, 4])
    calibrator = NeuralClampingCalibrator(torch.nn.Identity(), perturbation=None, output=VectorScaling()).fit(X, y)
    np.testing.assert_array_equal(calibrator.predict_proba(NEW), VectorScaling().fit(X, y).predict_proba(NEW))
    assert f"2 of 10 classes have {MISSING} (0, 4)" in calibrator.summary()


def test_cross_fitted_classifiers():
    """Samples of a class that all weigh nothing train the classifier as it likes, and calibrate nothing."""
    X, y = load_digits(return_X_y=True)
    X = X + np.random.default_rng(0).normal(size=X.shape)
    weight = np.where(y == 3, 0.0, 1.0)[:1000]

    class Unweighted(GaussianNB):
        def fit(self, X, y):
            return super().fit(X, y)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = [
            make(Unweighted(), cv=3).fit(X[:1000], y[:1000], sample_weight=weight)
            for make in (StructuredVectorScaling, TemperatureScaling)
        ]
    proba, plain = (calibrator.predict_proba(X[1000:]) for calibrator in fitted)
    np.testing.assert_allclose(proba[:, 3], plain[:, 3], rtol=1e-9)
    assert negative_log_likelihood(y[1000:], proba) <= 1.02 * negative_log_likelihood(y[1000:], plain)


def test_what_is_missing_beyond_chance_is_told():
    told = rf"^1 of 10 classes has {MISSING} \(by column: 3\), though the network expects some: nothing is learned of"
    with pytest.warns(CalibrationSetWarning, match=told):
        StructuredVectorScaling().fit(*without(*draw(1500), 3))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("make", [StructuredVectorScaling, HistogramBinning])
def test_what_is_missing_by_chance_is_not_told(make):
    """A hundred classes and few samples, as many data sets have them."""
    X, y = draw(300 if make is StructuredVectorScaling else 20000, 100)
    X[:, 7] -= 100
    calibrator = make().fit(*without(X, y, 7))
    assert MISSING in calibrator.summary()


class Shifted:
    """Tables as a network knows them, and with another zero; labels by chance."""

    def __init__(self, n_classes=4, seed=0):
        self.network = perceptron(seed, n_outputs=n_classes)
        self.before = vectors(4000, seed=seed)
        self.y = labels_of(bare_logits(self.network, self.before), temperature=0.7, seed=seed)
        self.now = 1.3 * self.before + 0.7
        self.classes = range(n_classes)

    def fitted(self, make, X, missing, **options):
        """The calibrator of a half without some classes, and its NLL on the other half, with all."""
        rows = np.flatnonzero(~np.isin(self.y[:2000], missing))
        calibrator = make(classes=self.classes, **{"estimator": self.network} | options).fit(X[rows], self.y[rows])
        losses = -calibrator.predict_log_proba(X[2000:])[np.arange(2000), self.y[2000:]]
        return calibrator, losses.mean()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"perturbation": "affine"},
        {"perturbation": "affine", "training": TorchTraining(), "max_epochs": 5},
        {"perturbation": "affine", "gamma": "auto"},
        {"output": None},
        {"output": VectorScaling()},
        {"perturbation": "affine", "training": TorchTraining(refit_temperature=False)},
        {"validation_fraction": 0.25},
        {"response": "probabilities"},
    ],
    ids=str,
)
def test_clamping_does_them_no_harm(options):
    """What would rule a class out lowers the NLL of samples that have none of it, those that are held out too."""
    problem, missing = Shifted(), [2]
    options = {"random_state": 0} | options
    if "response" in options:
        options["estimator"] = torch.nn.Sequential(problem.network, torch.nn.Softmax(1))
    _, plain = problem.fitted(TemperatureScaling, problem.before, missing)
    calibrator, nll = problem.fitted(NeuralClampingCalibrator, problem.before, missing, **options)
    assert not calibrator.accepted_
    assert nll <= 1.02 * plain
    _, plain = problem.fitted(TemperatureScaling, problem.now, missing)
    told = "1 of 4 classes .* learned and judged among the others alone"
    with pytest.warns(CalibrationSetWarning, match=told):
        calibrator, nll = problem.fitted(NeuralClampingCalibrator, problem.now, missing, **options)
    assert calibrator.accepted_
    assert "among the 3 classes with samples" in calibrator.summary()
    assert nll < 0.95 * plain


@pytest.mark.parametrize("scale", [1.0, 1e-3])
def test_samples_that_weigh_nothing_are_none(scale):
    """Whatever they are of, and whatever the others weigh."""
    problem = Shifted()
    weight = scale * (problem.y[:2000] != 2)
    calibrator = NeuralClampingCalibrator(problem.network, classes=range(4), random_state=0)
    calibrator.fit(problem.now[:2000], problem.y[:2000], sample_weight=weight)
    assert calibrator.accepted_
    _, plain = problem.fitted(TemperatureScaling, problem.now, [2])
    losses = -calibrator.predict_log_proba(problem.now[2000:])[np.arange(2000), problem.y[2000:]]
    assert losses.mean() < 0.97 * plain


def test_what_takes_samples_for_a_missing_class_is_no_gain():
    """The right shift among the others moves samples of theirs to where the network expects the missing class."""
    network = torch.nn.Linear(2, 3)
    with torch.no_grad():
        network.weight.copy_(torch.tensor([[1.5, 1.5], [-1.5, -1.5], [16.0, 0.0]]))
        network.bias.copy_(torch.tensor([0.0, 0.0, -22.0]))
    X = vectors(4000, n_features=2)
    y = labels_of(bare_logits(network, X), temperature=1.0)
    X[:, 1] -= 1.5
    rows = np.flatnonzero(y[:2000] != 2)
    options = {"classes": range(3), "output": None, "random_state": 0}
    calibrator = NeuralClampingCalibrator(network, **options).fit(X[rows], y[rows])
    assert not calibrator.accepted_
    assert "among all classes, those without samples too" in calibrator.verdict_.reason
    assert "out of fold" in calibrator.summary()


def test_unlabelled_samples_do_them_no_harm():
    """They have samples of all classes, as those of the reference do; the labelled ones, which judge, don't."""
    problem = Shifted()
    there = np.flatnonzero(problem.y[:2000] != 2)
    for X, is_kept in ((problem.before, False), (problem.now, True)):
        calibrator = NeuralClampingCalibrator(problem.network, classes=range(4), perturbation=None, random_state=0)
        beside = {"X_unlabelled": X[2000:3000], "X_reference": problem.before[:1000]}
        calibrator.fit(X[there], problem.y[there], **beside)
        plain = TemperatureScaling(problem.network, classes=range(4)).fit(X[there], problem.y[there])
        nll, of_temperature = (
            -each.predict_log_proba(X[3000:])[np.arange(1000), problem.y[3000:]].mean() for each in (calibrator, plain)
        )
        assert calibrator.unlabelled_verdict_.accepted == is_kept
        assert nll <= (0.95 if is_kept else 1.02) * of_temperature


@pytest.mark.parametrize("n_classes", [2, 4])
def test_samples_of_one_class_teach_no_perturbation(n_classes):
    problem = Shifted(n_classes)
    missing = np.arange(1, n_classes)
    options = {"max_views": [torch.nn.Hardtanh(-2.0, 2.0)], "random_state": 0}
    calibrator, nll = problem.fitted(NeuralClampingCalibrator, problem.now, missing, **options)
    _, plain = problem.fitted(TemperatureScaling, problem.now, missing)
    for verdict in (calibrator.verdict_, calibrator.views_verdict_):
        assert "all samples are of one class" in verdict.reason
    assert nll == pytest.approx(plain)


@pytest.mark.filterwarnings("error")
def test_a_class_that_chance_left_out_is_as_others():
    problem = Shifted()
    with torch.no_grad():
        problem.network[-1].bias[2] -= 7.0
    y = labels_of(bare_logits(problem.network, problem.before), temperature=0.7)[:300]
    assert 2 not in y
    calibrator = NeuralClampingCalibrator(problem.network, classes=range(4), random_state=0)
    calibrator.fit(problem.now[:300], y)
    assert calibrator.accepted_
    assert "classes with samples" not in calibrator.verdict_.reason


def test_many_that_chance_may_each_leave_out_are_missing_together():
    torch.manual_seed(0)
    network = torch.nn.Linear(12, 60)
    with torch.no_grad():
        network.weight.mul_(8)
        network.bias.zero_()
        network.bias[30:] = -2.0
        network.weight[30:, :4] += torch.tensor([3.0, 2.0, 1.0, 1.0])
    X = vectors(900, n_features=12)
    y = labels_of(bare_logits(network, X), temperature=1.0)
    there = y < 30
    told = (
        r"30 of 60 classes have no sample in the calibration set \(by column: 30, .*\), though the network expects some"
    )
    with pytest.warns(CalibrationSetWarning, match=told):
        StructuredVectorScaling(network, classes=range(60)).fit(X[there], y[there])
