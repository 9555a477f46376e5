"""Several labels a sample in the monitor: a sample is one bet, however its labels depend on each other."""

import copy

import numpy as np
import pytest
import torch
from scipy.special import expit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression
from sklearn.multioutput import MultiOutputClassifier
from torch.utils.data import DataLoader, TensorDataset

import skclamp
from skclamp import CalibrationMonitor, PlattScaling, TemperatureScaling
from skclamp.exceptions import CalibrationSetWarning

L = 6
FITTED = ("log_e_value_", "p_value_", "n_samples_", "temperature_", "gain_")


def stream(seed=0, n=300, temperature=1.0, offset=0.0, correlation=0.7):
    """Logits, and labels that a Gaussian copula draws from what a recalibration makes of them."""
    rng = np.random.default_rng(seed)
    z, shared = rng.normal(-1, 2, size=(n, L)), rng.normal(size=(n, 1))
    uniform = norm.cdf(np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * rng.normal(size=z.shape))
    return z, (uniform < expit(z / temperature + offset)).astype(float)


def watch(X, Y, estimator=None, groups=None, **params):
    return CalibrationMonitor(estimator, **params).partial_fit(X, Y, groups=groups)


def check_same(one, other):
    np.testing.assert_allclose(*([getattr(each, name) for name in FITTED] for each in (one, other)), rtol=1e-7)


@pytest.mark.parametrize("correlation", [0.7, 0.999])
@pytest.mark.parametrize("unknown", [0, 0.5])
def test_false_alarms_are_as_seldom_as_promised(correlation, unknown):
    """Of 200 streams at the edge of the null."""
    alarms, rng = 0, np.random.default_rng(0)
    for seed in range(200):
        Z, Y = stream(seed, correlation=correlation)
        Y[rng.uniform(size=Y.shape) < unknown] = np.nan
        alarms += watch(Z, Y, alpha=0.1, tolerance=0).alarm_
    assert alarms <= 20


def test_a_product_over_labels_would_raise_false_alarms():
    """As labels are taken for samples of their own."""
    alarms = 0
    for seed in range(50):
        Z, Y = stream(seed)
        rows = np.column_stack([np.zeros(Z.size), Z.ravel()])
        alarms += watch(rows, Y.ravel().astype(int), alpha=0.1, tolerance=0).alarm_
    assert alarms > 20


COUPLINGS = {
    "the same uniform": lambda u: (u, u),
    "opposite ones": lambda u: (u, 1 - u),
    "shifted ones": lambda u: (u, (u + 0.5) % 1),
}


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_a_sample_is_an_e_value_whatever_its_labels_have_to_do_with_each_other(coupling):
    """After one more sample the evidence is what it was and the stake on it at most, in expectation over labels."""
    before = watch(*(rows[:, :2] for rows in stream(offset=1.0)), tolerance=0.2, average_run_length=1000)
    mixed, summed = np.exp(before.trajectory_[-1, 1:])
    uniform = np.stack(COUPLINGS[coupling]((np.arange(1000) + 0.5) / 1000), 1)
    # The frequencies of a thousand uniforms are those of the labels but for rounding.
    for z in np.random.default_rng(1).normal(scale=2.5, size=(5, 2)):
        after = {}
        for temperature in np.linspace(1 / 1.2, 1.2, 5):
            labels, number = np.unique(uniform < expit(z / temperature), axis=0, return_counts=True)
            for label in labels:
                if (key := tuple(label)) not in after:
                    once_more = copy.deepcopy(before).partial_fit(z[None], label[None].astype(float))
                    after[key] = np.exp(once_more.trajectory_[-1, 1:])
            expected = number / 1000 @ np.array([after[tuple(label)] for label in labels])
            assert (expected <= np.array([mixed, 1 + summed]) * 1.003).all()


def test_labels_that_arent_known_have_no_say():
    Z, Y = stream(temperature=1.5)
    unknown = np.random.default_rng(1).uniform(size=Y.shape) < 0.4
    unknown[:20] = True
    known = np.where(unknown, np.nan, Y)
    monitor = watch(Z, known)
    check_same(monitor, watch(np.where(unknown, 30.0, Z), known))
    check_same(monitor, watch(Z[20:], known[20:]))
    none = unknown.all(1).sum()
    assert (monitor.n_missing_, monitor.n_samples_) == (none, len(Z) - none)
    assert f"({none} more had none)" in monitor.summary()
    nothing = watch(Z[:5], known[:5])
    assert (nothing.n_samples_, nothing.temperature_) == (0, 1.0)


@pytest.mark.parametrize("size", [1, 7, 150])
def test_chunks_make_no_difference(size):
    Z, Y = stream(temperature=1.5)
    Y[::3, 1:4] = np.nan
    parts = CalibrationMonitor(outputs="sigmoid")
    for start in range(0, len(Z), size):
        parts.partial_fit(Z[start : start + size], Y[start : start + size])
    check_same(parts, watch(Z, Y))


def test_groups_of_samples_count_as_one():
    Z, Y = stream(temperature=1.5)
    twice = np.repeat(np.arange(len(Z)), 2)
    grouped = watch(Z[twice], Y[twice], groups=twice)
    check_same(grouped, watch(Z, Y))
    with pytest.warns(CalibrationSetWarning, match=f"{len(twice)} of {len(twice)} samples add nothing"):
        assert grouped.partial_fit(Z[twice], Y[twice], groups=twice).n_samples_ == len(Z)
    check_same(watch(Z[twice], Y[twice]), watch(Z, Y))


def test_equal_probabilities_with_labels_of_their_own_are_samples_of_their_own():
    rng = np.random.default_rng(0)
    leaves = rng.normal(scale=2, size=(5, L))[rng.integers(5, size=500)]
    _, Y = stream(n=500, correlation=0.9)
    assert watch(leaves, Y, tolerance=1.0).n_samples_ == 500


class TestEstimators:
    Z, Y = stream(2, 600, temperature=2.0)
    X = Z.astype(np.float32)

    def test_inputs_of_any_kind_say_the_same(self, tmp_path):
        network = torch.nn.Linear(L, L)
        torch.nn.init.eye_(network.weight)
        calibrator = PlattScaling(network).fit(self.X[:300], self.Y[:300])
        X, Y = self.X[300:], self.Y[300:]
        expected = watch(X, Y, calibrator)
        data = TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))
        for given in (data, DataLoader(data, batch_size=32)):
            check_same(watch(given, None, calibrator), expected)
        check_same(watch(calibrator.predict_proba(X), Y, response="probabilities"), expected)
        with torch.no_grad():
            logits = calibrator.transform_logits(network(torch.from_numpy(X)))
        check_same(watch(logits, Y), expected)
        with pytest.raises(ValueError, match="y must be the labels that X brings"):
            watch(data, 1 - Y, calibrator)
        expected.save(tmp_path / "monitor")
        again = skclamp.load(tmp_path / "monitor", calibrator)
        check_same(again.partial_fit(X[:9], Y[:9]), expected.partial_fit(X[:9], Y[:9]))
        assert again.summary() == expected.summary()

    def test_classifiers_of_scikit_learn(self):
        classifier = MultiOutputClassifier(LogisticRegression()).fit(self.X, self.Y.astype(int))
        proba = np.column_stack([each[:, 1] for each in classifier.predict_proba(self.X)])
        monitor = watch(self.X, self.Y, classifier)
        assert monitor.log_e_value_ == pytest.approx(watch(proba, self.Y, response="probabilities").log_e_value_)

    @pytest.mark.filterwarnings("ignore:labels may be wrong")
    def test_mistakes_have_a_message(self):
        of_labels = PlattScaling().fit(self.Z, self.Y)
        y = np.arange(600) % L
        of_classes = TemperatureScaling().fit(self.Z, self.Z.argmax(1) * (y > 0))
        for estimator, Y, params, message in (
            (of_labels, self.Y, {"outputs": "softmax"}, "outputs must be 'sigmoid', as of the PlattScaling"),
            (of_classes, y, {"outputs": "sigmoid"}, "outputs must be 'softmax', as of the TemperatureScaling"),
            (of_classes, self.Y, {}, "y should be a 1d array"),
            (of_labels, y, {}, r"shape \(n_samples, 6\), each 0 or 1; got shape \(600,\)"),
            (of_labels, self.Y[:, :3], {}, r"shape \(n_samples, 6\)"),
            (of_labels, self.Y[:9], {}, "y must have one value per sample"),
            (of_labels, None, {}, "requires y to be passed"),
            (None, np.eye(L)[y], {}, "outputs='sigmoid'"),
        ):
            with pytest.raises(ValueError, match=message):
                watch(self.Z, Y, estimator, **params)
        watched = watch(self.Z, self.Y)
        with pytest.raises(ValueError, match=r"y must be of shape \(n_samples, 6\)"):
            watched.partial_fit(self.Z, y)
        assert watched.n_samples_ == 600
        calm = (self.Z + np.random.default_rng(0).gumbel(size=self.Z.shape)).argmax(1)
        assert "after 600 labels" in watched.fit(self.Z, calm).summary()
        with pytest.warns(CalibrationSetWarning, match='say response="probabilities"'):
            watch(expit(self.Z), self.Y)
