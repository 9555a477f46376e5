"""Several labels a sample that don't exclude each other: every calibrator that takes them, and those that refuse."""

import warnings
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from _export import HOW, check_the_same
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.special import expit, logit, xlogy
from scipy.stats import norm
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import (
    check_classifiers_multilabel_output_format_predict,
    check_classifiers_multilabel_output_format_predict_proba,
    check_classifiers_multilabel_representation_invariance,
)
from sklearn.utils.fixes import parse_version
from torch import nn
from torch.utils.data import TensorDataset

from skclamp import (
    BayesianBinningIntoQuantiles,
    BetaCalibration,
    CalibratorSelector,
    DirichletCalibration,
    EnsembleTemperatureScaling,
    HistogramBinning,
    IntraOrderPreservingCalibration,
    IsotonicCalibration,
    MatrixScaling,
    NeuralClampingCalibrator,
    PlattScaling,
    PriorShiftCorrection,
    QuadraticScaling,
    SelectiveClassifier,
    StructuredMatrixScaling,
    StructuredVectorScaling,
    TemperatureScaling,
    VectorScaling,
    VennAbersCalibration,
    load,
)
from skclamp.display import ReliabilityDisplay
from skclamp.exceptions import CalibrationSetWarning, TrainingDataWarning
from skclamp.metrics import (
    adaptive_expected_calibration_error,
    bootstrap_interval,
    brier_score,
    calibration_noise_floor,
    classwise_calibration_error,
    debiased_calibration_error,
    expected_calibration_error,
    ks_calibration_error,
    maximum_calibration_error,
    neg_brier_score_scorer,
    neg_log_likelihood_scorer,
    negative_log_likelihood,
    smooth_calibration_error,
)
from skclamp.modules import logits_from

N_SAMPLES, N_LABELS = 600, 4
TAKERS = [
    TemperatureScaling(),
    EnsembleTemperatureScaling(),
    PlattScaling(),
    PlattScaling(pooling="complete"),
    PlattScaling(pooling="none"),
    BetaCalibration(),
    QuadraticScaling(),
    HistogramBinning(),
    IsotonicCalibration(),
    VennAbersCalibration(),
    BayesianBinningIntoQuantiles(),
    CalibratorSelector(),
]
REFUSING = [
    VectorScaling(),
    StructuredVectorScaling(),
    StructuredMatrixScaling(),
    MatrixScaling(),
    DirichletCalibration(),
    IntraOrderPreservingCalibration(),
]


def problem(n_samples=N_SAMPLES, seed=0):
    """Logits that are twice too large and too high, of labels that aren't rare."""
    rng = np.random.default_rng(seed)
    z = rng.normal(scale=2.0, size=(n_samples, N_LABELS))
    return 2 * z + 0.5, (rng.uniform(size=z.shape) < expit(z)).astype(int)


def loss(proba, Y):
    """Mean cross-entropy over labels."""
    return np.mean([log_loss(y, p, labels=[0, 1]) for y, p in zip(Y.T, proba.T, strict=True)])


@pytest.mark.parametrize("calibrator", TAKERS, ids=repr)
class TestTakers:
    def test_lowers_the_brier_score_of_new_samples(self, calibrator):
        (Z, Y), (new, labels) = problem(), problem(seed=1)
        proba = clone(calibrator).fit(Z, Y).predict_proba(new)
        assert proba.shape == labels.shape
        assert np.square(proba - labels).mean() < np.square(expit(new) - labels).mean()

    def test_predicts_what_is_more_probable_than_not(self, calibrator):
        Z, Y = problem()
        calibrator = clone(calibrator).fit(Z, Y)
        predicted = calibrator.predict(Z)
        np.testing.assert_array_equal(predicted, calibrator.predict_proba(Z) >= 0.5)
        np.testing.assert_allclose(np.exp(calibrator.predict_log_proba(Z)), calibrator.predict_proba(Z), atol=1e-12)
        assert calibrator.score(Z, Y) == (predicted == Y).all(1).mean()
        assert calibrator.classes_.tolist() == list(range(N_LABELS))

    def test_module_and_file_say_the_same(self, calibrator, tmp_path):
        Z, Y = problem()
        calibrator = clone(calibrator).fit(Z, Y)
        proba = calibrator.predict_proba(Z)
        with torch.no_grad():
            yielded = calibrator.module_.eval()(torch.from_numpy(Z))
        np.testing.assert_allclose(yielded.sigmoid().numpy(), proba, atol=1e-7)
        np.testing.assert_allclose(expit(calibrator.transform_logits(Z)), proba, atol=1e-12)
        calibrator.save(tmp_path / "calibrator")
        loaded = load(tmp_path / "calibrator")
        np.testing.assert_array_equal(loaded.predict_proba(Z), proba)
        np.testing.assert_array_equal(loaded.predict(Z), calibrator.predict(Z))

    def test_weights_count_as_repetitions(self, calibrator):
        Z, Y = problem()
        weight = np.tile([1, 2, 0], len(Z) // 3)
        weighted = clone(calibrator).fit(Z, Y, sample_weight=weight)
        repeated = clone(calibrator).fit(np.repeat(Z, weight, axis=0), np.repeat(Y, weight, axis=0))
        exact = isinstance(calibrator, (TemperatureScaling, PlattScaling, IsotonicCalibration, HistogramBinning))
        tolerance = 1e-6 if exact else 0.05
        np.testing.assert_allclose(weighted.predict_proba(Z), repeated.predict_proba(Z), atol=tolerance)

    def test_labels_that_arent_known_teach_nothing(self, calibrator):
        """Whatever the logits of these are, of samples whose other labels count."""
        Z, Y = problem()
        unknown = np.random.default_rng(1).uniform(size=Y.shape) < 0.3
        unknown[:50] = True
        known, moved = np.where(unknown, np.nan, Y), np.where(unknown, Z + 3.0, Z)
        one, two = clone(calibrator).fit(Z, known), clone(calibrator).fit(moved, known)
        np.testing.assert_allclose(one.predict_proba(Z), two.predict_proba(Z), atol=1e-6)
        if isinstance(calibrator, CalibratorSelector):
            assert one.best_score_ == pytest.approx(two.best_score_, abs=1e-6)
            for name in ("mean_test_score", "mean_test_gain"):
                np.testing.assert_allclose(one.cv_results_[name], two.cv_results_[name], atol=1e-6)
        assert np.abs(one.predict_proba(Z) - clone(calibrator).fit(Z, Y).predict_proba(Z)).max() > 1e-4

    def test_says_so_by_name(self, calibrator):
        """outputs="sigmoid" is what "auto" finds, and the summary counts samples."""
        Z, Y = problem()
        known = np.where(np.random.default_rng(1).uniform(size=Y.shape) < 0.3, np.nan, Y)
        known[:, 0] = Y[:, 0]
        asked = clone(calibrator).set_params(outputs="sigmoid").fit(Z, known)
        expected = clone(calibrator).fit(Z, known)
        np.testing.assert_array_equal(asked.predict_proba(Z), expected.predict_proba(Z))
        assert "from 600 samples" in asked.summary() or "by 600 samples" in asked.summary()
        assert "of the labels)" not in asked.summary()


@pytest.mark.parametrize("calibrator", [PlattScaling(), HistogramBinning()], ids=repr)
def test_labels_in_any_form_are_the_same(calibrator):
    Z, Y = problem()
    expected = clone(calibrator).fit(Z, Y).predict_proba(Z)
    for form in (Y.astype(bool), Y.tolist(), csr_array(Y), torch.from_numpy(Y), Y.astype(np.float32)):
        np.testing.assert_array_equal(clone(calibrator).fit(Z, form).predict_proba(Z), expected)
    frame = pd.DataFrame(Y, columns=list("abcd"))
    assert clone(calibrator).fit(Z, frame).classes_.tolist() == list("abcd")


@pytest.mark.parametrize("calibrator", REFUSING, ids=repr)
def test_maps_of_classes_refuse_by_name(calibrator):
    with pytest.raises(ValueError, match=f"several labels .*, which {type(calibrator).__name__} doesn't take"):
        calibrator.fit(*problem())


def test_a_correction_of_class_frequencies_refuses():
    Z, Y = problem()
    with pytest.raises(ValueError, match="exclude each other, which PriorShiftCorrection doesn't take"):
        PriorShiftCorrection(PlattScaling().fit(Z, Y)).fit(Z, Y)


@pytest.mark.parametrize(
    ("Y", "settings", "message"),
    [
        (np.eye(4)[np.arange(600) % 4], {}, r"exactly one 1 in each row: .* y.argmax\(1\); .* outputs='sigmoid'"),
        (np.arange(600) % 4, {"outputs": "sigmoid"}, r"y must be of shape \(n_samples, n_labels\)"),
        (np.full((600, 4), 2), {}, "Several labels, 0, 1 or NaN, are for calibrators|Several labels, each 0, 1 or NaN"),
        (np.full((600, 4), np.nan), {}, "a label that is known"),
        (np.ones((600, 3)), {}, "one column per label: got 4 columns for y of shape"),
        (problem()[1][:599], {}, "inconsistent numbers of samples"),
        (problem()[1], {"classes": ["a", "b"]}, "classes"),
        (problem()[1], {"outputs": "softmax"}, "y should be a 1d array"),
    ],
)
def test_mistakes_have_a_message(Y, settings, message):
    with pytest.raises(ValueError, match=message):
        PlattScaling(**settings).fit(problem()[0], Y)


def test_probabilities_for_logits_are_told():
    Z, Y = problem()
    with pytest.warns(CalibrationSetWarning, match="lies between 0 and 1 everywhere, and is taken for logits"):
        PlattScaling().fit(expit(Z), Y)


@pytest.mark.parametrize("kind", [SelectiveClassifier, PriorShiftCorrection])
def test_what_is_for_classes_refuses_a_calibrator_of_labels(kind):
    Z, Y = problem()
    with pytest.raises(ValueError, match="exclude each other; got a PlattScaling of 4 labels"):
        kind(PlattScaling().fit(Z, Y)).fit(Z, Y[:, 0])


def test_a_display_shows_the_events_of_all_labels():
    Z, Y = problem()
    display = ReliabilityDisplay.from_predictions(Y, expit(Z), ax=plt.figure().gca())
    assert display.bins.count.sum() == Y.size
    calibrator = PlattScaling().fit(Z, Y)
    found = ReliabilityDisplay.from_estimator(calibrator, Z, Y)
    expected = ReliabilityDisplay.from_predictions(Y, calibrator.predict_proba(Z))
    assert found.bins.error() == expected.bins.error()
    plt.close("all")


def _labels_of_common_causes(n_samples, seed, size=1.0):
    """Logits of ten labels that correlate, and these, drawn from their sigmoids."""
    rng = np.random.default_rng(seed)
    Z, causes = rng.normal(-1, 2, (n_samples, 10)), rng.normal(size=(n_samples, 1))
    chance = norm.cdf(np.sqrt(0.7) * causes + np.sqrt(0.3) * rng.normal(size=Z.shape))
    return size * Z, (chance < expit(Z)).astype(int)


@pytest.mark.parametrize("flawless", [False, True])
def test_copies_of_a_label_say_no_more_of_one_temperature(flawless):
    Z, Y = _labels_of_common_causes(30, 0)
    Y = (Z > 0).astype(int) if flawless else Y
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        few, many = (TemperatureScaling().fit(np.tile(Z[:, :3], k), np.tile(Y[:, :3], k)) for k in (2, 8))
    assert many.temperature_ == pytest.approx(few.temperature_, rel=1e-6)
    assert ("so few samples of several labels" in few.summary()) or flawless


@pytest.mark.parametrize("size", [1.0, 1.6])
def test_one_temperature_of_few_samples_stays_near_1_and_of_many_is_the_optimum(size):
    new = _labels_of_common_causes(2000, 99, size)[0]
    truth = expit(new / size)

    def divergence(T):
        return np.mean(xlogy(truth, truth / expit(new / T)) + xlogy(1 - truth, (1 - truth) / expit(-new / T)))

    def optimum(Z, Y):
        loss = minimize(lambda place: np.logaddexp(0, (1 - 2 * Y) * Z * np.exp(-place)).mean(), 0.0, tol=1e-12)
        return np.exp(loss.x.item())

    found = []
    for seed in range(40):
        Z, Y = _labels_of_common_causes(20, seed, size)
        found.append([divergence(optimum(Z, Y)), divergence(TemperatureScaling().fit(Z, Y).temperature_)])
    exact, held = np.mean(found, 0)
    # What it costs elsewhere is less than what draws differ by.
    assert held < (0.75 if size == 1 else 1.2) * exact
    Z, Y = _labels_of_common_causes(2000, 0, size)
    assert TemperatureScaling().fit(Z, Y).temperature_ == pytest.approx(optimum(Z, Y), rel=1e-4)


def test_rare_labels_are_pooled_and_a_map_of_each_says_what_it_lacks():
    Z, Y = problem()
    Z[:, 0], Y[:, 0] = Z[:, 0] - 8.0, 0
    calibrator = PlattScaling().fit(Z, Y)
    assert abs(calibrator.coef_[0] - calibrator.coef_[1:].mean()) < 0.3
    told = "1 of 4 labels are 0 in all samples.* use PlattScaling.pooling='partial'."
    with pytest.warns(CalibrationSetWarning, match=told):
        PlattScaling(pooling="none").fit(Z, Y)
    with pytest.warns(CalibrationSetWarning, match=told):
        alone = BetaCalibration().fit(Z, Y)
    np.testing.assert_allclose(
        alone.predict_proba(Z)[:, 0], expit(Z[:, 0] / TemperatureScaling().fit(Z, Y).temperature_)
    )


class TestALabelOfOneValueBeyondChance:
    """The network gives it 17 %, or 83 %, and of a hundred samples none has it, or all have."""

    @staticmethod
    def draw(seed, value=0):
        """Labels from the logits' own probabilities, but for the first."""
        rng = np.random.default_rng(seed)
        Z = rng.normal(-3.0, 2.0, (100, 5))
        Y = (rng.uniform(size=Z.shape) < expit(Z)).astype(float)
        Z[:, 0], Y[:, 0] = (1 - 2 * value) * rng.normal(-2.2, 1.5, 100), value
        return Z, Y

    @pytest.mark.parametrize("value", [0, 1])
    @pytest.mark.parametrize(
        "calibrator",
        [TemperatureScaling(), EnsembleTemperatureScaling(), PlattScaling(), PlattScaling(pooling="complete")],
        ids=repr,
    )
    def test_teaches_nothing_of_what_all_share(self, calibrator, value):
        Z, Y = self.draw(0, value)
        # Neither what has no weight nor what isn't known makes it vary.
        Y[:2, 0], weight = (1 - value, np.nan), np.ones(100)
        weight[0] = 0
        found = clone(calibrator).fit(Z, Y, sample_weight=weight).predict_proba(Z)
        others = clone(calibrator).fit(Z[:, 1:], Y[:, 1:], sample_weight=weight).predict_proba(Z[:, 1:])
        np.testing.assert_allclose(found[:, 1:], others, rtol=0.01)


def posterior_mode(z, y, centre, precision):
    """Pair of one label and its posterior's variances, by scipy."""

    def loss(pair):
        score = pair[0] * z + pair[1]
        return np.logaddexp(0, score).sum() - y @ score + ((pair - centre) ** 2 @ precision) / 2

    pair = minimize(loss, centre, method="BFGS", options={"gtol": 1e-8}).x
    curve, features = expit(pair[0] * z + pair[1]), np.stack([z, np.ones_like(z)])
    hessian = (features * (curve * (1 - curve))) @ features.T + np.diag(precision)
    return pair, np.linalg.inv(hessian).diagonal()


def test_partial_pooling_is_empirical_bayes():
    """A shared pair held at (1, 0), and eight rounds of the precisions around it."""
    Z, Y = problem(150)
    Y[:, 0] = np.random.default_rng(2).uniform(size=150) < 0.05
    one, held, precision = np.array([1.0, 0.0]), np.array([4.0, 0.25]), np.array([4.0, 1.0])
    shared, _ = posterior_mode(Z.ravel(), Y.ravel(), one, held)
    for _ in range(8):
        fits = [posterior_mode(z, y, shared, precision) for z, y in zip(Z.T, Y.T, strict=True)]
        pairs, variances = map(np.array, zip(*fits, strict=True))
        before, shared = shared, (precision * pairs.sum(0) + held * one) / (precision * len(pairs) + held)
        precision = 1 / np.maximum(((pairs - shared) ** 2 + variances).mean(0), 1e-4)
    calibrator = PlattScaling().fit(Z, Y)
    np.testing.assert_allclose(calibrator.coef_, pairs[:, 0], atol=2e-3)
    np.testing.assert_allclose(calibrator.intercept_, pairs[:, 1], atol=2e-3)
    np.testing.assert_allclose(calibrator.shared_, before, atol=2e-3)


@pytest.mark.parametrize("seed", range(3))
def test_independent_labels_are_each_a_proof_to_the_selector_and_copies_are_one(seed):
    rng = np.random.default_rng(seed)
    Z = 2 * rng.normal(size=(100, 6)) - 1
    Y = (rng.random(Z.shape) < expit(Z + 0.8)).astype(int)
    # Of copies each label by itself: what pooled labels share is drawn to the logits less, the more labels there are.
    of_each = CalibratorSelector(
        candidates=[("temperature", TemperatureScaling()), ("Platt", PlattScaling(pooling="none"))]
    )
    asked = (CalibratorSelector(), range(6)), (of_each, [0] * 2), (clone(of_each), [0] * 6)
    fitted = [selector.fit(Z[:, of], Y[:, of]) for selector, of in asked]
    several, two, six = (selector.weights_ for selector in fitted)
    assert several[1] > 0.7
    assert two[1] < several[1] / 2
    np.testing.assert_allclose(two, six, atol=1e-9)
    n_several, *n_copies = (selector.cv_results_["n_effective"][1] for selector in fitted)
    assert n_several > 200
    assert n_copies == pytest.approx([100, 100])


def test_a_selector_and_clamping_take_maps_of_each_label():
    Z, Y = problem()
    candidates = [("temperature", TemperatureScaling()), ("beta", BetaCalibration()), ("Platt", PlattScaling())]
    chosen = CalibratorSelector(candidates=candidates).fit(Z, Y, groups=np.arange(len(Z)) // 3)
    assert loss(chosen.predict_proba(Z), Y) < loss(expit(Z), Y)
    X, labels = tables(seed=1)
    options = {"output": BetaCalibration(), "random_state": 0, "perturbation": "affine"}
    calibrator = NeuralClampingCalibrator(NETWORK, validation_fraction=None, **options).fit(X, labels)
    assert calibrator.predict_proba(X).shape == labels.shape
    with pytest.raises(ValueError, match="scoring must be None where y has several labels"):
        CalibratorSelector(scoring="neg_log_loss").fit(Z, Y)


def test_classes_that_exclude_each_other_are_no_labels():
    X, Y = tables()
    several = RandomForestClassifier(10, random_state=0).fit(X, 2 * Y)
    with pytest.raises(ValueError, match="labels of 0 and 1 each"):
        PlattScaling(several).fit(X, Y)
    three = LogisticRegression().fit(X, Y.sum(1) % 3)
    with pytest.raises(ValueError, match="rows that each sum to 1, as those of classes do"):
        PlattScaling(three, response="probabilities").fit(X, Y)
    with pytest.raises(ValueError, match="known everywhere where the classifier isn't fitted"):
        PlattScaling(MultiOutputClassifier(LogisticRegression()), cv=3).fit(X, np.where(Y > 0, np.nan, 0.0))


def test_labels_of_a_frame_and_of_a_dataset_have_to_fit():
    Z, Y = problem()
    frame = pd.DataFrame(Y, columns=list("abcd"))
    calibrator = PlattScaling().fit(Z, frame)
    with pytest.raises(ValueError, match=r"columns in the order of fit, \['a', 'b', 'c', 'd'\]"):
        calibrator.score(Z, frame[list("dcba")])
    with pytest.raises(
        ValueError, match=r"columns in the order of fit, \['a', 'b', 'c', 'd'\]; got \['b', 'q', 'c', 'd'\]"
    ):
        calibrator.score(Z, frame.rename(columns={"a": "q"})[list("bqcd")])
    with pytest.raises(ValueError, match="the columns of y"):
        PlattScaling().fit(Z, pd.DataFrame(Y, columns=list("aabc")))
    X, labels = tables()
    with pytest.raises(ValueError, match="must be the labels that X brings"):
        PlattScaling(NETWORK).fit(TensorDataset(torch.from_numpy(X), torch.from_numpy(1 - labels)), labels)
    masked = np.ma.masked_array(Y, mask=np.arange(Y.size).reshape(Y.shape) % 5 == 0)
    expected = PlattScaling().fit(Z, np.where(masked.mask, np.nan, Y)).coef_
    np.testing.assert_array_equal(PlattScaling().fit(Z, masked).coef_, expected)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, x):
        return self.layers(x)


def tables(n_samples=400, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, 6)).astype(np.float32)
    Y = (X[:, :3] + rng.logistic(scale=0.5, size=(n_samples, 3)) > 0.3).astype(int)
    return X, Y


def fitted_network():
    X, Y = tables()
    net, y = Two(), torch.from_numpy(Y).float()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.binary_cross_entropy_with_logits(net(torch.from_numpy(X)), y).backward()
        optimizer.step()
    return net.eval()


NETWORK = fitted_network()


@pytest.mark.parametrize(
    "classifier",
    [
        MLPClassifier(16, max_iter=100, random_state=0),
        OneVsRestClassifier(LogisticRegression()),
        MultiOutputClassifier(LogisticRegression()),
        ClassifierChain(LogisticRegression()),
        RandomForestClassifier(30, random_state=0),
        make_pipeline(StandardScaler(), MultiOutputClassifier(LogisticRegression())),
    ],
    ids=lambda classifier: type(classifier).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_classifiers_fitted_and_not(classifier):
    (X, Y), (new, labels) = tables(), tables(seed=1)
    raw = clone(classifier).fit(X, Y).predict_proba(new)
    raw = np.column_stack([each[:, 1] for each in raw]) if isinstance(raw, list) else raw
    fitted = PlattScaling(clone(classifier).fit(X, Y)).fit(new[:200], labels[:200])
    crossed = PlattScaling(classifier, cv=3).fit(X, Y)
    for calibrator in (fitted, crossed):
        proba = calibrator.predict_proba(new[200:])
        assert proba.shape == (200, 3)
        assert loss(proba, labels[200:]) < loss(np.clip(raw, 1e-15, 1 - 1e-15), labels)[None] + 0.02
    with pytest.raises(ValueError, match="of 3 labels that don't. Give y a column for each label"):
        TemperatureScaling(fitted.estimator).fit(new, labels[:, 0])


def test_votes_of_labels_are_no_certainties():
    """Zeros of a forest count as half of the least vote, in the fit as in predictions."""
    (X, Y), (new, labels) = tables(), tables(seed=1)
    forest = RandomForestClassifier(25, random_state=0).fit(X, Y)
    calibrator = PlattScaling(forest).fit(new, labels)
    least = calibrator.least_probability_
    assert least == pytest.approx(0.02)
    p = np.column_stack([each[:, 1] for each in forest.predict_proba(new)])
    raised = np.log(np.maximum(p, least)) - np.log(np.maximum(1 - p, least))
    expected = PlattScaling().fit(raised, labels)
    np.testing.assert_allclose(calibrator.coef_, expected.coef_, rtol=1e-6)
    np.testing.assert_allclose(calibrator.predict_proba(new), expected.predict_proba(raised), atol=1e-9)


def test_inside_what_scikit_learn_offers():
    X, Y = tables()
    classifier = PlattScaling(MultiOutputClassifier(LogisticRegression()), cv=3)
    assert cross_val_predict(classifier, X, Y, cv=3, method="predict_proba").shape == Y.shape
    search = GridSearchCV(classifier, {"pooling": ["partial", "complete"]}, scoring="roc_auc_ovr", cv=3)
    assert search.fit(X, Y).cv_results_["mean_test_score"].min() > 0.8


def test_probabilities_of_a_column_become_log_odds():
    proba = torch.tensor([[0.25, 0.9], [0.5, 0.0]], dtype=torch.float64)
    found = logits_from(proba, "probabilities", n_samples=2, outputs="sigmoid").numpy()
    np.testing.assert_allclose(found[:, 0], logit([0.25, 0.5]))
    np.testing.assert_allclose(expit(found), proba.numpy(), atol=3e-16)


class TestClamping:
    """Tables whose columns were given another scale after training."""

    def data(self, seed, shift):
        X, Y = tables(800, seed)
        return (X * np.float32(0.3) + 1 if shift else X).astype(np.float32), Y

    def test_undoes_a_shift_and_beats_any_map_of_the_outputs(self):
        (X, Y), (new, labels) = self.data(1, True), self.data(2, True)
        calibrator = NeuralClampingCalibrator(NETWORK, random_state=0).fit(X, Y)
        assert calibrator.accepted_
        found = calibrator.predict_proba(new)
        assert loss(found, labels) < 0.95 * loss(CalibratorSelector(NETWORK).fit(X, Y).predict_proba(new), labels)
        with torch.no_grad():
            yielded = calibrator.module_.eval()(torch.from_numpy(new)).sigmoid()
        np.testing.assert_allclose(yielded.numpy(), found, atol=1e-5)

    @pytest.mark.parametrize("settings", [{}, {"output": None}, {"perturbation": "affine"}])
    def test_without_a_shift_it_is_the_map_of_the_outputs(self, settings):
        X, _ = self.data(1, False)
        with torch.no_grad():
            proba = (NETWORK(torch.from_numpy(X)) / 1.5).sigmoid().numpy()
        Y = (np.random.default_rng(0).uniform(size=proba.shape) < proba).astype(int)
        calibrator = NeuralClampingCalibrator(NETWORK, random_state=0, **settings).fit(X, Y)
        assert not calibrator.accepted_
        if settings.get("output", 1) is None:
            expected = TemperatureScaling(NETWORK).fit(X, Y)
            np.testing.assert_allclose(calibrator.predict_proba(X), expected.predict_proba(X), atol=1e-9)

    def test_saves_and_loads(self, tmp_path):
        X, Y = self.data(1, True)
        calibrator = NeuralClampingCalibrator(NETWORK, random_state=0).fit(X, Y)
        calibrator.save(tmp_path / "clamped")
        loaded = load(tmp_path / "clamped", NETWORK)
        np.testing.assert_array_equal(loaded.predict_proba(X), calibrator.predict_proba(X))


class TestElectrocardiograms:
    """Six rare labels of 827 records."""

    # Of the labels one by one.
    @pytest.mark.filterwarnings("ignore::skclamp.exceptions.CalibrationWarning")
    def test_pooled_is_better_than_none_and_than_each_label_alone(self, data_dir):
        record = np.load(data_dir / "multilabel_ecg.npz")
        proba, Y = record["probabilities"][0].astype(float), record["labels"].astype(int)
        losses = []
        for seed in range(10):
            order = np.random.default_rng(seed).permutation(len(Y))
            half, test = order[:100], order[100:]
            fits = [PlattScaling(response="probabilities", pooling=pooling) for pooling in ("partial", "none")]
            found = [fit.fit(proba[half], Y[half]).predict_proba(proba[test]) for fit in fits]
            losses.append([loss(np.clip(p, 1e-15, 1 - 1e-15), Y[test]) for p in (proba[test], *found)])
        none, partial, alone = np.mean(losses, 0)
        assert partial < 0.0206
        assert partial < none < alone


ERRORS = [
    expected_calibration_error,
    adaptive_expected_calibration_error,
    maximum_calibration_error,
    ks_calibration_error,
    debiased_calibration_error,
    smooth_calibration_error,
    negative_log_likelihood,
    brier_score,
]


@pytest.mark.parametrize("metric", ERRORS, ids=lambda metric: metric.__name__)
class TestMetrics:
    def test_averages_are_those_of_the_labels_events(self, metric):
        Z, Y = problem()
        proba, weight = expit(Z), np.random.default_rng(0).uniform(size=len(Z))
        each = [metric(y, p, sample_weight=weight) for y, p in zip(Y.T, proba.T, strict=True)]
        np.testing.assert_allclose(metric(Y, proba, average=None, sample_weight=weight), each)
        assert metric(Y, proba, sample_weight=weight) == pytest.approx(np.mean(each))
        together = metric(Y.ravel(), proba.ravel(), sample_weight=np.repeat(weight, N_LABELS))
        assert metric(Y, proba, average="micro", sample_weight=weight) == pytest.approx(together)

    def test_weights_of_labels(self, metric):
        Z, Y = problem()
        proba, weight = expit(Z), np.random.default_rng(0).uniform(size=Z.shape)
        each = [metric(y, p, sample_weight=w) for y, p, w in zip(Y.T, proba.T, weight.T, strict=True)]
        assert metric(Y, proba, sample_weight=weight) == pytest.approx(np.mean(each))
        together = metric(Y.ravel(), proba.ravel(), sample_weight=weight.ravel())
        assert metric(Y, proba, average="micro", sample_weight=weight) == pytest.approx(together)
        with pytest.raises(ValueError, match=r"sample_weight must have shape .* or that of y_true"):
            metric(Y, proba, sample_weight=weight[:, :2])

    def test_a_label_without_weight_has_no_value_and_adds_none(self, metric):
        Z, Y = problem()
        proba, known, weight = expit(Z), Y.astype(float), (np.arange(len(Y)) < 100).astype(float)
        known[:100, 1] = np.nan
        expected = metric(known[:100, [0, *range(2, N_LABELS)]], proba[:100, [0, *range(2, N_LABELS)]], average="micro")
        assert metric(known, proba, average="micro", sample_weight=weight) == pytest.approx(expected)
        for average in ("macro", None):
            with pytest.raises(ValueError, match=r"leave each label a sample .* got none for label 1"):
                metric(known, proba, average=average, sample_weight=weight)

    def test_labels_that_arent_known_are_left_out(self, metric):
        Z, Y = problem()
        proba, known = expit(Z), Y.astype(float)
        known[:100, 1] = np.nan
        found = metric(known, proba, average=None)[1]
        assert found == pytest.approx(metric(Y[100:, 1], proba[100:, 1]), rel=0.02)

    def test_samples_are_resampled_whole(self, metric):
        """Of labels that are all the same, the standard error is that of one of them."""
        Z, Y = problem()
        proba, labels = np.repeat(expit(Z[:, :1]), 4, axis=1), np.repeat(Y[:, :1], 4, axis=1)
        micro = partial(metric, average="micro")
        found = bootstrap_interval(micro, labels, proba, n_resamples=200, random_state=0).standard_error
        alone = bootstrap_interval(metric, Y[:, 0], proba[:, 0], n_resamples=200, random_state=0).standard_error
        assert found == pytest.approx(alone, rel=0.25)

    def test_refuses_what_has_no_such_value(self, metric):
        Z, Y = problem()
        with pytest.raises(ValueError, match="average must be 'macro', 'micro' or None; got 'samples'"):
            metric(Y, expit(Z), average="samples")
        with pytest.raises(ValueError, match="a column per label"):
            metric(Y, expit(Z)[:, :3])
        with pytest.raises(ValueError, match="average='micro' fixed"):
            bootstrap_interval(metric, Y, expit(Z))


class TestNoiseFloor:
    """Of labels that are drawn independently of each other."""

    def test_is_what_calibrated_labels_show(self):
        proba, rng = expit(problem()[0]), np.random.default_rng(0)
        drawn = [(rng.uniform(size=proba.shape) < proba).astype(int) for _ in range(200)]
        for average in ("macro", "micro", None):
            error = partial(expected_calibration_error, average=average)
            floor = calibration_noise_floor(error, proba, outputs="sigmoid", random_state=0)
            values = [error(Y, proba) for Y in drawn]
            assert np.shape(floor.mean) == np.shape(floor.quantile) == np.shape(values[0])
            np.testing.assert_allclose(floor.mean, np.mean(values, 0), rtol=0.1)
            np.testing.assert_allclose(floor.quantile, np.quantile(values, 0.95, 0), rtol=0.2)

    def test_refuses_what_are_no_labels(self):
        proba = expit(problem()[0])
        run = partial(calibration_noise_floor, outputs="sigmoid")
        with pytest.raises(ValueError, match="two labels or more, where outputs='sigmoid'; got shape"):
            run(brier_score, proba[:, 0])
        with pytest.raises(ValueError, match="between 0 and 1"):
            run(brier_score, 2 * proba)
        with pytest.raises(ValueError, match=r"several labels a sample .* got .*classwise_calibration_error"):
            run(partial(classwise_calibration_error, n_bins=5), proba)
        with pytest.raises(ValueError, match="outputs must be one of"):
            run(brier_score, proba, outputs="labels")
        with pytest.raises(ValueError, match="NaN alone in 1"):
            run(brier_score, np.where(np.arange(4) == 1, np.nan, proba))


def test_scorers_take_several_labels():
    X, Y = tables()
    classifier = MultiOutputClassifier(LogisticRegression()).fit(X, Y)
    proba = np.column_stack([each[:, 1] for each in classifier.predict_proba(X)])
    calibrator = PlattScaling(classifier).fit(X, Y)
    assert neg_log_likelihood_scorer(calibrator, X, Y) == pytest.approx(-loss(calibrator.predict_proba(X), Y))
    assert neg_brier_score_scorer(classifier, X, Y) == pytest.approx(-brier_score(Y, proba))
    # As in a fold that a rare label is missing from.
    rare = Y.copy()
    rare[:, 0] = 0
    forest = RandomForestClassifier(10, random_state=0).fit(X, rare)
    known = np.column_stack([np.zeros(len(X)), *(each[:, 1] for each in forest.predict_proba(X)[1:])])
    assert neg_brier_score_scorer(forest, X, Y) == pytest.approx(-brier_score(Y, known))
    assert neg_log_likelihood_scorer(forest, X, rare) == pytest.approx(-negative_log_likelihood(rare, known))


@pytest.mark.parametrize(
    "check",
    [
        check_classifiers_multilabel_output_format_predict,
        check_classifiers_multilabel_output_format_predict_proba,
        check_classifiers_multilabel_representation_invariance,
    ],
    ids=lambda check: check.__name__,
)
@pytest.mark.parametrize("kind", [TemperatureScaling, PlattScaling, IsotonicCalibration, CalibratorSelector])
@pytest.mark.filterwarnings("ignore::skclamp.exceptions.CalibrationWarning")
def test_scikit_learns_own_checks_of_several_labels(check, kind):
    calibrator = kind(RandomForestClassifier(10, random_state=0))
    assert get_tags(calibrator).classifier_tags.multi_label
    check(kind.__name__, calibrator)


OF_NETWORK = pytest.mark.parametrize(
    "calibrator", [PlattScaling(NETWORK), BetaCalibration(NETWORK), CalibratorSelector(NETWORK)], ids=str
)


@HOW
@OF_NETWORK
def test_modules_leave_python(calibrator, how, tmp_path):
    if how.__name__ == "onnx" and parse_version(torch.__version__) < parse_version("2.7"):
        pytest.skip("the oldest torch exports to ONNX for one size of a batch")
    X, Y = tables(seed=1)
    check_the_same(calibrator.fit(X, Y).module_.eval(), torch.from_numpy(X[:8]), how, tmp_path)


@pytest.mark.parametrize("scale", [0.3, 1.0, 5.0])
def test_labels_that_a_threshold_separates_have_no_gain_of_their_own(scale):
    """Flawless samples say that a gain is large, not how large; nor do they lend theirs to others."""
    rng = np.random.default_rng(0)
    z = 2.5 * rng.normal(size=(1000, 6)) - 1.5
    flawless, y = (z > 0).astype(float), (z + rng.logistic(size=z.shape) > 0).astype(float)
    for pooling in ("partial", "complete"):
        with pytest.warns(TrainingDataWarning, match="labels without an error"):
            assert PlattScaling(pooling=pooling).fit(scale * z, flawless).coef_.max() < 30
    alone = PlattScaling().fit(scale * z, y)
    with pytest.warns(TrainingDataWarning, match=r"labels without an error: \[0\]"):
        beside = PlattScaling().fit(scale * z, np.c_[flawless[:, :1], y[:, 1:]])
    np.testing.assert_allclose(beside.coef_[1:], alone.coef_[1:], rtol=0.2)
    assert beside.coef_[0] < 10 * alone.coef_[0]


@pytest.mark.parametrize("absent", [-1, -100])
def test_numbers_for_labels_that_are_not_known_are_refused(absent):
    Z, Y = problem()
    with pytest.raises(ValueError, match="each 0, 1 or NaN, which -1 isn't taken for"):
        PlattScaling().fit(Z, np.where(Y == 1, Y, absent))
