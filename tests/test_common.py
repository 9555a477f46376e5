"""What calibrators promise of predictions, fits, labels and bad input: each map by itself, and the base for all."""

import numpy as np
import pytest
import torch
from _calibrators import CALIBRATORS, N_SAMPLES, every_map, network_of, of_base
from _campaign import check_fitted
from _small_networks import put_into_odd_state, snapshot
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits
from torch import nn

import skclamp
from skclamp import TemperatureScaling
from skclamp.metrics import neg_log_likelihood_scorer
from skclamp.modules import frozen

# Predictions


@every_map()
def test_predictions_agree_with_each_other(case):
    proba = check_fitted(case.fitted, case.X, N_SAMPLES)
    assert proba.shape[1] == 4
    # Of these data nothing is lost.
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(np.exp(case.fitted.predict_log_proba(case.X)), proba, rtol=0, atol=1e-14)
    assert case.fitted.score(case.X, case.y) == pytest.approx((case.fitted.predict(case.X) == case.y).mean())


@every_map()
def test_each_row_is_predicted_by_itself(case):
    fitted = case.fitted
    proba = fitted.predict_proba(case.X)
    np.testing.assert_allclose(fitted.predict_proba(case.X[::-1])[::-1], proba, rtol=0, atol=1e-5)
    np.testing.assert_allclose(fitted.predict_proba(case.X[7:8]), proba[7:8], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["TemperatureScaling", "clamping of vectors"])
def test_other_numbers_of_columns_are_refused(name):
    case = CALIBRATORS[name]
    for X in (np.tile(case.X, 2), case.X[:, 1:]):
        with pytest.raises(ValueError, match=f"is expecting {case.X.shape[1]} features"):
            case.fitted.predict_proba(X)


def test_one_sample_of_logits_is_no_column():
    case = CALIBRATORS["TemperatureScaling"]
    with pytest.raises(ValueError, match="is expecting 4 features"):
        case.fitted.predict_proba(case.X[0])


@of_base(lambda case: not hasattr(case.make(), "max_views"))
def test_logits_computed_before_are_transformed_as_those_of_the_inputs(case):
    fitted = case.fitted
    logits = fitted._backbone.logits(fitted._backbone.open(case.X))[0]
    for given in (logits, logits.numpy(), logits + 3.0):
        log_proba = fitted.transform_logits(given)
        np.testing.assert_allclose(log_proba, fitted.predict_log_proba(case.X), rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.exp(log_proba).sum(1), 1, rtol=1e-12)
    with pytest.raises(ValueError, match="X has 3 columns of logits, but .* is expecting 4"):
        fitted.transform_logits(logits[:, :3])
    with pytest.raises(NotFittedError):
        case.make().transform_logits(logits)


@pytest.mark.parametrize("name", ["clamping", "clamping without guard", "clamping, chosen", "clamping of vectors"])
def test_logits_of_perturbed_inputs_are_transformed_as_those_of_the_inputs(name):
    case = CALIBRATORS[name]
    module = case.fitted.module_
    with torch.no_grad(), frozen(module.logits):
        logits = module.logits(case.fitted.perturbation_(torch.as_tensor(case.X, dtype=torch.float32)))
    log_proba = case.fitted.predict_log_proba(case.X)
    np.testing.assert_allclose(case.fitted.transform_logits(logits), log_proba, rtol=0, atol=1e-5)


@every_map(lambda case: case.aims_at_nll)
def test_calibration_is_no_worse_than_temperature_scaling_on_the_calibration_set(case):
    """The guard or the last exact temperature sees to it; a focal loss aims elsewhere."""
    fitted = case.fitted
    alone = TemperatureScaling(fitted.estimator, response=fitted.response).fit(case.X, case.y)
    scores = [neg_log_likelihood_scorer(each, case.X, case.y) for each in (fitted, alone)]
    assert scores[0] >= scores[1] - 1e-3


# Saving


@every_map()
def test_what_was_saved_and_loaded_predicts_the_same_and_knows_as_much(case, tmp_path):
    fitted = case.fitted
    fitted.save(tmp_path / "saved")
    loaded = skclamp.load(tmp_path / "saved", getattr(fitted, "estimator_", fitted.estimator))
    np.testing.assert_array_equal(loaded.predict_log_proba(case.X), fitted.predict_log_proba(case.X))
    forgotten = set(vars(fitted)) - set(vars(loaded))
    # What was fitted has made its module where another test asked for it; the loaded one makes its own when asked.
    assert forgotten <= {"estimator_", "history_", "cv_results_", "module_"}
    assert loaded._n_parameters == fitted._n_parameters
    twins = clone(loaded).get_params(), clone(fitted).get_params()
    assert str({k: v for k, v in twins[0].items() if "estimator" not in k}) == str(
        {k: v for k, v in twins[1].items() if "estimator" not in k}
    )


# Fitting


@every_map()
def test_fit_returns_self_learns_what_ends_in_an_underscore_and_repeats_itself(case):
    calibrator = case.make()
    before = {name: id(value) for name, value in vars(calibrator).items()}
    assert not [name for name in before if name.endswith("_")]
    # On several threads the sums of a matrix product have no fixed order.
    with threadpool_limits(1):
        assert calibrator.fit(case.X, case.y) is calibrator
        assert {name: id(vars(calibrator)[name]) for name in before} == before
        learned = {name for name in vars(calibrator) if name.endswith("_")}
        assert learned > {"classes_"}
        assert ("n_features_in_" in learned) == (case.X.ndim == 2)
        proba = calibrator.predict_proba(case.X)
        np.testing.assert_array_equal(calibrator.fit(case.X, case.y).predict_proba(case.X), proba)


@of_base()
def test_read_only_and_strided_arrays_will_do(case):
    X, y = np.asfortranarray(np.repeat(case.X, 2, axis=0))[::2], case.y.copy()
    X.flags.writeable = y.flags.writeable = False
    found = case.make().fit(X, y).predict_proba(X)
    np.testing.assert_allclose(found, case.fitted.predict_proba(case.X), rtol=0, atol=1e-6)


@of_base(lambda case: isinstance(case.network, nn.Module))
@pytest.mark.parametrize("odd", [False, True], ids=["eval", "odd state"])
def test_the_network_and_the_random_states_stay_as_they_were(case, odd):
    calibrator = case.make()
    network = network_of(calibrator)
    if odd:
        put_into_odd_state(network)
    before = snapshot(network)
    calibrator.fit(case.X, case.y).predict_proba(case.X)
    assert snapshot(network) == before
    with pytest.raises(ValueError, match="Input X contains NaN"):
        calibrator.fit(np.full_like(case.X, np.nan), case.y)
    assert snapshot(network) == before


class Interrupting(nn.Module):
    """Hands inputs on until it was called so often."""

    def __init__(self, n_calls):
        super().__init__()
        self.n_calls = n_calls

    def forward(self, x):
        self.n_calls -= 1
        if self.n_calls < 0:
            raise KeyboardInterrupt
        return x


@of_base(lambda case: isinstance(case.make().estimator, nn.Module))
@pytest.mark.parametrize("n_calls", [1, 4, 12])
def test_interrupts_leave_the_network_as_it_was(case, n_calls):
    calibrator = case.make()
    network = nn.Sequential(Interrupting(n_calls), *put_into_odd_state(calibrator.estimator))
    before = snapshot(network)
    calibrator.set_params(estimator=network, batch_size=64)
    try:
        calibrator.fit(case.X, case.y)
    except KeyboardInterrupt:
        assert not hasattr(calibrator, "classes_")
    assert snapshot(network) == before


@of_base()
def test_sample_weights_act(case):
    """What is fitted to the weighted samples says more of them."""
    fitted = case.fitted
    weight = np.where(fitted.predict(case.X) == case.y, 1.0, 4.0)
    weighted = case.make().fit(case.X, case.y, sample_weight=weight)
    losses = [
        log_loss(case.y, each.predict_proba(case.X), sample_weight=weight, labels=each.classes_)
        for each in (weighted, fitted)
    ]
    assert losses[0] < losses[1] - 0.01


# Labels


@of_base(lambda case: case.learns_its_classes or not case.knows_its_classes)
@pytest.mark.parametrize(
    "names",
    [
        np.array(["ant", "bee", "cat", "dog"]),
        np.array(["ant", "bee", "cat", "dog"], dtype=object),
        np.array([0.0, 1.0, 2.0, 3.0]),
        np.array([-5, 0, 7, 300], dtype=np.int16),
    ],
    ids=["strings", "objects", "floats", "gaps"],
)
def test_labels_of_any_kind(case, names):
    calibrator = case.make().fit(case.X, names[case.y])
    assert calibrator.classes_.tolist() == names.tolist()
    np.testing.assert_array_equal(calibrator.predict_proba(case.X), case.fitted.predict_proba(case.X))
    assert set(calibrator.predict(case.X)) <= set(names)


@of_base(lambda case: not case.knows_its_classes)
def test_classes_name_the_columns(case):
    fitted = case.fitted
    calibrator = case.make()
    names = np.array(["delta", "alpha", "charlie", "bravo"])
    calibrator.set_params(classes=names).fit(case.X, names[case.y])
    assert calibrator.classes_.tolist() == names.tolist()
    np.testing.assert_array_equal(calibrator.predict_proba(case.X), fitted.predict_proba(case.X))
    assert calibrator.score(case.X, names[case.y]) == fitted.score(case.X, case.y)


# Bad input


def with_entry(X, value):
    bad = X.copy()
    bad[(5, *[0] * (X.ndim - 1))] = value
    return bad


# What fit takes in place of sound samples and no weights, and the words of the error.
BAD_DATA = {
    "NaN": (lambda X, y: (with_entry(X, np.nan), y), "contains NaN"),
    "infinity": (lambda X, y: (with_entry(X, np.inf), y), "contains (NaN or )?infinity"),
    "lengths": (lambda X, y: (X, y[:-1]), "inconsistent numbers of samples"),
    "no samples": (lambda X, y: (X[:0], y[:0]), "must not be empty|0 sample"),
    "continuous labels": (lambda X, y: (X, y + 0.5), "Unknown label type: continuous"),
    "no labels": (lambda X, y: (X, None), "requires y to be passed, but the target y is None"),
    "NaN among objects": (lambda X, y: (X, with_entry(y.astype(object), np.nan)), "y must not hold NaN"),
    "NaN in labels": (lambda X, y: (X, with_entry(y.astype(float), np.nan)), "y must not hold NaN"),
    "several labels": (lambda X, y: (X, np.eye(4)[y]), "y has exactly one 1 in each row"),
    "labels of several types": (lambda X, y: (X, np.array(["a", 1] * 100, dtype=object)), "y must hold labels"),
    "a missing label": (lambda X, y: (X, np.array(["a", None] * 100, dtype=object)), "or a label is missing; got None"),
    "a negative weight": (lambda X, y: (X, y, -np.eye(len(y))[3]), "sample_weight must be finite, non-negative"),
    "a weight of NaN": (lambda X, y: (X, y, y * np.nan), "sample_weight must be finite, non-negative"),
    "lengths of weights": (lambda X, y: (X, y, np.ones(199)), "sample_weight must have one value per .* 200 and 199"),
}


@of_base()
@pytest.mark.parametrize("what", BAD_DATA)
def test_bad_data(case, what):
    spoil, message = BAD_DATA[what]
    calibrator = case.make()
    with pytest.raises(ValueError, match=message):
        calibrator.fit(*spoil(case.X, case.y))
    assert not [name for name in vars(calibrator) if name.endswith("_")]


@of_base(lambda case: not case.learns_its_classes)
def test_labels_outside_the_classes(case):
    calibrator = case.make()
    y = np.where(case.y == 3, 9, case.y)
    with pytest.raises(ValueError, match=r"y must hold labels among the classes \[0, 1, 2, 3\]; got \[9\]"):
        if not case.knows_its_classes:
            calibrator.set_params(classes=[0, 1, 2, 3])
        calibrator.fit(case.X, y)


@of_base(lambda case: not case.knows_its_classes)
def test_columns_that_cannot_be_named(case):
    calibrator = case.make()
    names = np.array(["a", "b", "c"])[case.y % 3]
    with pytest.raises(ValueError, match=r"classes must be given when .* y has 3 distinct labels: \['a', 'b', 'c'\]"):
        calibrator.fit(case.X, names)


@of_base()
def test_bad_inputs_at_predict(case):
    fitted = case.fitted
    with pytest.raises(ValueError, match="contains (NaN|infinity)"):
        fitted.predict_proba(with_entry(case.X, np.inf))
    with pytest.raises(ValueError, match="must not be empty|0 sample"):
        fitted.predict_proba(case.X[:0])


@of_base(lambda case: isinstance(case.network, (nn.Module, type(None))))
@pytest.mark.parametrize("device", ["cuda:99", "nonsense"])
def test_devices_that_are_not_there(case, device):
    calibrator = case.make().set_params(device=device)
    with pytest.raises(ValueError, match=f"device must name a device that is there, .* got '{device}'"):
        calibrator.fit(case.X, case.y)


@of_base()
def test_a_failed_fit_keeps_the_earlier_one(case):
    calibrator = case.make().fit(case.X, case.y)
    before, proba = dict(vars(calibrator)), calibrator.predict_proba(case.X)
    with pytest.raises(ValueError, match="contains NaN"):
        calibrator.fit(with_entry(case.X, np.nan), case.y)
    assert all(vars(calibrator)[name] is value for name, value in before.items())
    np.testing.assert_array_equal(calibrator.predict_proba(case.X), proba)


# Small and extreme data


@of_base(lambda case: not case.make().cv)  # which needs samples of each class in each fold
@pytest.mark.filterwarnings(
    "ignore:temperature_ (is at the bound|can't be learned):sklearn.exceptions.ConvergenceWarning"
)
@pytest.mark.filterwarnings("ignore:.* classes ha(ve|s) no sample in the calibration set:UserWarning")
@pytest.mark.filterwarnings("ignore:perturbation='affine' is left out:UserWarning")
@pytest.mark.filterwarnings("ignore:the calibration set has . distinct top probabilities:UserWarning")
@pytest.mark.filterwarnings("ignore:the calibration set has no two distinct samples:UserWarning")
@pytest.mark.filterwarnings("ignore:all labels are of one class:UserWarning")
@pytest.mark.parametrize("n_samples", [1, 2, 10])
@pytest.mark.parametrize("labels", ["one class", "own"])
def test_few_samples(case, n_samples, labels):
    calibrator = case.make()
    y = np.zeros(n_samples, int) if labels == "one class" else case.y[:n_samples]
    proba = calibrator.fit(case.X[:n_samples], y).predict_proba(case.X)
    assert calibrator.classes_.tolist() == [0, 1, 2, 3]
    assert proba.shape == (N_SAMPLES, 4)
    assert np.isfinite(proba).all()
