"""The monitor of risk: e-values by their definition, changes that are known, and as its user meets it."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

import skclamp
from skclamp import RiskMonitor, SelectiveClassifier, TemperatureScaling
from skclamp.exceptions import CalibrationSetWarning

K = 3
COSTS = np.array([[0.0, 1.0, 4.0], [1.0, 0.0, 2.0], [4.0, 1.0, 0.0]])
FACTS = ("log_e_value_", "p_value_", "alarm_", "risk_", "n_samples_", "n_abstained_", "n_missing_", "since_")


def selective(names=(0, 1, 2), target_risk=0.1, network=None, **params):
    """Answers where a logit stands out, by the column's name."""
    rng = np.random.default_rng(0)
    X = rng.normal(scale=2.0 if len(names) < 10 else 6.0, size=(1500, len(names)))
    y = np.array(names)[(X + rng.gumbel(size=X.shape)).argmax(1)]
    calibrator = TemperatureScaling(network, classes=list(names)).fit(X[:500], y[:500])
    return SelectiveClassifier(calibrator, target_risk=target_risk, **params).fit(X[500:], y[500:])


SELECTIVE = selective()


def answered(wrong):
    """Inputs that are answered, class 0, and labels, of which those are wrong."""
    return np.tile([10.0, 0.0, 0.0], (len(wrong), 1)), np.asarray(wrong).astype(int)


def losses(seed, n, risk):
    return np.random.default_rng(seed).random(n) < risk


def watch(wrong, groups=None, **params):
    return RiskMonitor(SELECTIVE, **params).partial_fit(*answered(wrong), groups=groups)


def facts(monitor):
    return {name: getattr(monitor, name) for name in FACTS}


def same(one, other):
    """Whether two monitors say the same, up to the last bits."""
    return all(
        a == b if isinstance(a, (bool, int, type(None))) else np.isclose(a, b, rtol=1e-9, atol=1e-9, equal_nan=True)
        for a, b in zip(facts(one).values(), facts(other).values(), strict=True)
    )


def definition(losses, target):
    """Logarithms of the mixture over starts and of the sum over them, loss by loss."""
    odds, shares = np.array([1.25, 1.5, 2, 3, 5]), np.array([1, 1, 4, 1, 1]) / 8
    rest = lambda t: 1 / (1 + np.log(1 + (t - 1) / 100))  # noqa: E731
    mixed, summed, paths = np.zeros(5), np.zeros(5), []
    for t, loss in enumerate(losses, start=1):
        slope = (odds - 1) / (1 + (odds - 1) * target)
        e = 1 + slope * (loss - target)
        mixed, summed = e * (mixed + rest(t) - rest(t + 1)), e * (summed + 1)
        paths.append([shares @ mixed + rest(t + 1), shares @ summed])
    return np.log(paths)


@pytest.mark.parametrize(("target", "risk"), [(0.1, 0.05), (0.1, 0.3), (0.01, 0.01), (0.9, 0.99)])
def test_evidence_is_the_definition(target, risk):
    wrong = losses(0, 500, risk)
    monitor = watch(wrong, target_risk=target)
    np.testing.assert_allclose(monitor.trajectory_[1:, 1:], definition(wrong, target), atol=1e-9)
    assert monitor.risk_ == pytest.approx(wrong.mean())
    assert monitor.p_value_ == pytest.approx(np.exp(-max(0, monitor.trajectory_[:, 1].max())))


def test_costs_are_losses_from_the_least_to_the_largest():
    monitor = RiskMonitor(selective(target_risk=0.5, costs=COSTS))
    y = np.random.default_rng(0).choice(3, p=[0.5, 0.2, 0.3], size=300)
    monitor.partial_fit(answered(y)[0], y)
    costs = COSTS[y, 0]
    np.testing.assert_allclose(monitor.trajectory_[1:, 1:], definition(costs / 4, 0.5 / 4), atol=1e-9)
    assert monitor.risk_ == pytest.approx(costs.mean())
    assert f"The risk so far is {costs.mean():.3g}, the target 0.5." in monitor.summary()
    moved = RiskMonitor(selective(target_risk=0.0, costs=2 * COSTS - 1)).partial_fit(answered(y)[0], y)
    assert moved.log_e_value_ == pytest.approx(monitor.log_e_value_)
    assert moved.risk_ == pytest.approx(2 * costs.mean() - 1)


def test_single_labels_are_e_values_at_the_target():
    before = watch(losses(0, 200, 0.2))
    mixed, summed = np.exp(before.trajectory_[-1, 1:])
    right, wrong = (np.exp(copy.deepcopy(before).partial_fit(*answered([loss])).trajectory_[-1, 1:]) for loss in (0, 1))
    np.testing.assert_allclose(0.9 * right + 0.1 * wrong, [mixed, summed + 1], rtol=1e-9)


def test_false_alarms_are_as_rare_as_alpha_says():
    alarms = [watch(losses(seed, 1000, 0.1), alpha=0.1).alarm_ for seed in range(100)]
    assert np.mean(alarms) <= 0.1


@pytest.mark.parametrize(("before", "most"), [((0, 0.1), 200), ((1000, 0.1), 300), ((1000, 0.05), 300)])
def test_a_doubled_risk_is_noticed(before, most):
    delays = []
    for seed in range(15):
        path = watch(np.concatenate([losses(seed, *before), losses(seed + 100, 1000, 0.2)]), alpha=0.01).trajectory_
        delays.append(path[path[:, 1] >= np.log(100), 0].min() - before[0])
    assert np.median(delays) <= most


def test_since_is_when_the_risk_left_the_target():
    monitor = watch(np.concatenate([losses(0, 1000, 0.05), losses(1, 300, 0.4)]))
    assert monitor.alarm_ and abs(monitor.since_ - 1000) <= 30
    assert f"since about label {monitor.since_:,}" in monitor.summary()
    from_the_start = watch(losses(0, 300, 0.4))
    assert from_the_start.since_ == 0
    assert "never within the target, or left it before labels could tell" in from_the_start.summary()
    assert watch(losses(0, 300, 0.05)).since_ is None


@pytest.mark.parametrize("risk", [0.12, 0.15])
def test_a_risk_that_was_never_within_the_target_has_no_change(risk):
    """The likeliest start of so many is found in hindsight."""
    watched = [watch(losses(seed, 2000, risk)) for seed in range(150)]
    alarms = [monitor for monitor in watched if monitor.alarm_]
    assert len(alarms) > 50
    # 1 in 1,000 has more, if the odds hold.
    assert sum(monitor.since_ > 0 for monitor in alarms) <= 6


@pytest.mark.parametrize("size", [1, 7, 150])
def test_chunks_make_no_difference(size):
    wrong = losses(0, 300, 0.25)
    parts = RiskMonitor(SELECTIVE)
    for start in range(0, len(wrong), size):
        parts.partial_fit(*answered(wrong[start : start + size]))
    whole = watch(wrong)
    assert same(parts, whole)
    np.testing.assert_allclose(parts.trajectory_, whole.trajectory_, atol=1e-9)


def test_what_abstains_and_what_has_no_label_are_counted():
    X, y = answered(losses(0, 60, 0.2))
    X, y = np.concatenate([X, 0 * X]), np.concatenate([y, y]).astype(object)
    y[::3] = None
    assert not SELECTIVE.is_answered(X[60:]).any()
    order = np.random.default_rng(0).permutation(120)
    monitor = RiskMonitor(SELECTIVE).partial_fit(X[order], y[order])
    assert (monitor.n_samples_, monitor.n_abstained_, monitor.n_missing_) == (40, 60, 20)
    kept = [i for i in order if i < 60 and y[i] is not None]
    assert monitor.log_e_value_ == RiskMonitor(SELECTIVE).partial_fit(X[kept], y[kept].astype(int)).log_e_value_
    assert monitor.summary().startswith(
        "No alarm after 40 labels of answered samples (60 abstained, 20 without a label)"
    )


def test_nothing_answered_is_no_evidence():
    monitor = RiskMonitor(SELECTIVE).partial_fit(np.zeros((5, K)), [0, 1, None, 2, 2])
    assert (monitor.n_samples_, monitor.n_abstained_, monitor.n_missing_) == (0, 5, 0)
    assert (monitor.p_value_, monitor.log_e_value_, monitor.alarm_, monitor.since_) == (1.0, 0.0, False, None)
    assert np.isnan(monitor.risk_)
    assert monitor.summary() == "No label of an answered sample has come yet (5 abstained, 0 without a label)."
    assert monitor.partial_fit(*answered([1])).risk_ == 1.0


def test_a_group_counts_as_one_and_once():
    wrong = losses(0, 300, 0.3)
    groups = np.arange(300) // 3
    monitor = watch(wrong, groups=groups)
    assert monitor.n_samples_ == 100
    np.testing.assert_allclose(monitor.trajectory_[1:, 1:], definition(wrong.reshape(-1, 3).mean(1), 0.1), atol=1e-9)
    before = facts(monitor)
    with pytest.warns(CalibrationSetWarning, match="300 of 300 samples add nothing, since their groups came"):
        monitor.partial_fit(*answered(wrong), groups=groups)
    assert facts(monitor) == before


def test_the_watch_begins_after_held_out_samples():
    monitor = RiskMonitor(SELECTIVE).fit(*answered(losses(0, 500, 0.05)))
    assert not monitor.never_true_ and monitor.n_samples_ == 500
    wrong = np.append([1, 1], losses(1, 300, 0.4))
    monitor.partial_fit(np.zeros((4, K)), [None] * 4).partial_fit(*answered(wrong))
    assert facts(monitor) == {**facts(watch(wrong)), "n_abstained_": 4}
    assert "It was within the target on 500 labels before the watch." in monitor.summary()
    assert not hasattr(watch([0]), "never_true_")


def test_the_second_test_is_sooner_and_sometimes_wrong():
    monitor = watch(np.concatenate([losses(0, 1000, 0.05), losses(1, 60, 0.3)]), average_run_length=10_000)
    assert monitor.change_alarm_ and not monitor.alarm_
    assert "Change alarm, one in 10,000 labels by chance, after " in monitor.summary()
    assert not hasattr(watch([0]), "change_alarm_")


@pytest.mark.parametrize("way", ["pickle", "deepcopy", "file"])
def test_copies_watch_on(way, tmp_path):
    monitor = watch(losses(0, 300, 0.2))
    if way == "file":
        monitor.save(tmp_path / "monitor.safetensors")
        again = skclamp.load(tmp_path / "monitor.safetensors", SELECTIVE)
        other = skclamp.load(tmp_path / "monitor.safetensors", selective(target_risk=0.2))
        with pytest.raises(ValueError, match="must keep its threshold_, target_risk and costs, .* got one of"):
            other.partial_fit(*answered(losses(1, 300, 0.3)))
        SELECTIVE.save(tmp_path / "selective.safetensors")
        loaded = skclamp.load(tmp_path / "selective.safetensors", SELECTIVE.estimator)
        assert facts(skclamp.load(tmp_path / "monitor.safetensors", loaded)) == facts(monitor)
    else:
        again = pickle.loads(pickle.dumps(monitor)) if way == "pickle" else copy.deepcopy(monitor)
    assert facts(again) == facts(monitor)
    for each in (again, monitor):
        each.partial_fit(*answered(losses(1, 300, 0.3)))
    assert facts(again) == facts(monitor)
    assert again.summary() == monitor.summary()


def test_clones_have_seen_nothing_and_share_the_estimator():
    monitor = watch([0, 1], alpha=0.05, target_risk=0.2)
    twin = clone(monitor)
    assert twin.estimator is SELECTIVE
    assert (
        twin.get_params()
        == monitor.get_params()
        == {"estimator": SELECTIVE, "alpha": 0.05, "target_risk": 0.2, "average_run_length": None, "by": None}
    )
    assert "alpha=0.05" in repr(twin) and "SelectiveClassifier" in repr(twin)
    for use in (twin.summary, twin.plot, lambda: twin.save("nowhere")):
        with pytest.raises(NotFittedError, match="has seen no samples yet: .* Call 'partial_fit'"):
            use()


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"alpha": 0}, ValueError, "alpha"),
        ({"target_risk": 0}, ValueError, "target_risk must lie between the least and the largest loss, 0 and 1; got 0"),
        ({"target_risk": 1.0}, ValueError, "target_risk must lie between .*; got 1.0"),
        ({"target_risk": "low"}, ValueError, "target_risk"),
        ({"average_run_length": 0}, ValueError, "average_run_length"),
        ({"estimator": None}, TypeError, "estimator must be a fitted SelectiveClassifier, .*; got NoneType"),
        ({"estimator": LogisticRegression()}, TypeError, "must be a fitted SelectiveClassifier, .* got LogisticReg"),
        ({"estimator": clone(SELECTIVE)}, ValueError, "must be fitted: a monitor fits none; got SelectiveClassifier"),
    ],
)
def test_parameters_have_rules(params, error, message):
    with pytest.raises(error, match=message):
        RiskMonitor(**{"estimator": SELECTIVE, **params}).partial_fit(*answered([0, 1]))


def test_an_error_keeps_what_was_seen():
    monitor = watch(losses(0, 20, 0.2))
    before = facts(monitor)
    X, y = answered([0, 1, 0])
    for bad, labels, message in (
        (X, y[:-1], "y must have one value per sample"),
        (X, y + 5, r"y must hold labels among the classes \[0, 1, 2\]; got \[5, 6\]"),
        (X, None, "requires y to be passed, but the target y is None"),
        (X, np.eye(3)[y], "y should be a 1d array"),
        (X[:, :2], y, "X has 2 features"),
        (X * np.nan, y, "X must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            monitor.partial_fit(bad, labels)
        with pytest.raises((ValueError, TypeError)):
            monitor.fit(bad, labels)
        assert facts(monitor) == before
    with pytest.raises(ValueError, match=r"groups must have shape \(3,\)"):
        monitor.partial_fit(X, y, groups=[1, 2])
    with pytest.raises(TypeError, match=r"RiskMonitor\(classifier\)\.partial_fit\(X, y\)"):
        monitor.partial_fit(SELECTIVE, X)
    with pytest.raises(TypeError, match="got 'sample_weight'"):
        monitor.partial_fit(X, y, sample_weight=np.ones(3))
