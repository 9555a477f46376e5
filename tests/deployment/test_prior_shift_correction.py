"""PriorShiftCorrection: class frequencies that change are found, and nothing else is taken for such a change."""

import copy
import pickle
import re
import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
from _export import HOW, check_the_same
from _small_networks import nll
from sklearn.exceptions import NotFittedError
from torch.utils.data import TensorDataset

import skclamp
from label_shift import DESIGNS, SHIFTS, WORSE, corners, measure
from skclamp import (
    NeuralClampingCalibrator,
    PriorShiftCorrection,
    TemperatureScaling,
    VectorScaling,
)
from skclamp.exceptions import InputShiftWarning

EVEN, UNEVEN = [0.25] * 4, [0.7, 0.1, 0.1, 0.1]


def network():
    """Twice as confident as it should be."""
    linear = torch.nn.Linear(4, 4)
    with torch.no_grad():
        linear.weight.copy_(4 * torch.eye(4))
        linear.bias.zero_()
    return linear


def draw(n_samples, frequencies, seed=0):
    """Points around one centre per class."""
    rng = np.random.default_rng(seed)
    y = rng.choice(4, size=n_samples, p=frequencies)
    return (2 * np.eye(4)[y] + rng.normal(size=(n_samples, 4))).astype(np.float32), y


NETWORK = network()
X, Y = draw(1000, EVEN)
DEPLOYED, TRUTH = draw(600, UNEVEN, seed=1)


@pytest.fixture
def fitted():
    return PriorShiftCorrection(NETWORK).fit(X, Y)


@pytest.fixture(scope="module")
def adapted():
    return PriorShiftCorrection(NETWORK).fit(X, Y).adapt(DEPLOYED)


# What is found


def test_before_it_adapts_it_is_temperature_scaling(fitted):
    scaled = TemperatureScaling(NETWORK).fit(X, Y)
    np.testing.assert_array_equal(fitted.predict_log_proba(DEPLOYED), scaled.predict_log_proba(DEPLOYED))
    np.testing.assert_allclose(fitted.priors_, scaled.predict_proba(X).mean(0), rtol=1e-9)
    np.testing.assert_allclose(fitted.priors_, np.bincount(Y) / len(Y), atol=0.02)
    assert not fitted.accepted_
    assert not hasattr(fitted, "verdict_")


def test_changed_frequencies_are_found_and_lower_the_nll(fitted, adapted):
    np.testing.assert_allclose(adapted.priors_, UNEVEN, atol=0.05)
    assert adapted.accepted_ and adapted.verdict_.accepted and not adapted.verdict_.inputs_changed
    assert adapted.verdict_.reason.startswith("Kept: the class frequencies have changed (p = ")
    assert adapted.summary().endswith(adapted.verdict_.reason)
    assert fitted.summary().endswith("Class frequencies are those of the labelled samples.")
    fresh, y = draw(2000, UNEVEN, seed=2)
    assert nll(adapted.predict_log_proba(fresh), y) < 0.75 * nll(fitted.predict_log_proba(fresh), y)
    ratio = adapted.priors_ / adapted.labelled_priors_
    corrected = fitted.predict_proba(fresh) * ratio
    np.testing.assert_allclose(adapted.predict_proba(fresh), corrected / corrected.sum(1, keepdims=True), rtol=1e-9)


@pytest.mark.parametrize(("n_classes", "n_labelled"), [(5, 100), (10, 200)])
def test_many_unlabelled_samples_prove_nothing_that_few_labelled_ones_do_not(n_classes, n_labelled):
    design = corners(n_classes, 1.0)
    correction, kept = PriorShiftCorrection(classes=range(n_classes)), 0
    for seed in range(50):
        rng = np.random.default_rng(seed)
        correction.fit(*design.draw(n_labelled, design.priors, rng))
        kept += correction.adapt(design.draw(5000, design.priors, rng)[0]).accepted_
    assert kept <= 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:the (inputs have changed|probabilities are off)")
def test_hardly_any_correction_is_kept_in_vain_or_makes_it_worse():
    draws = [
        (shift, *measure(DESIGNS[design], size, shift, seed))
        for design, size, shift, seed in product(DESIGNS, ("100x5000", "500x2000"), SHIFTS, range(20))
    ]
    nulls = [kept for shift, kept, *_ in draws if shift == "none"]
    assert sum(nulls) <= 0.02 * len(nulls)
    gains = np.array([gain for shift, kept, _, gain, _ in draws if kept and shift != "none"])
    assert len(gains) > 0.5 * (len(draws) - len(nulls))
    assert (gains < -WORSE).mean() <= 0.03


def test_adapting_twice_is_adapting_once(fitted, adapted):
    again = fitted.adapt(draw(600, [0.1, 0.1, 0.1, 0.7], seed=3)[0]).adapt(DEPLOYED).adapt(DEPLOYED)
    np.testing.assert_array_equal(again.priors_, adapted.priors_)
    assert again.verdict_ == adapted.verdict_


# What is known


def forms(frequencies):
    """What users give frequencies as, by the classes' names or in their order."""
    by_name = {str(k): value for k, value in enumerate(frequencies)}
    return [frequencies, np.array(frequencies), torch.tensor(frequencies), by_name, pd.Series(by_name)[::-1]]


@pytest.mark.parametrize("form", range(5))
def test_known_frequencies_come_in_any_form(form):
    known = PriorShiftCorrection(NETWORK, priors=forms(UNEVEN)[form], classes=list("0123")).fit(X, Y.astype(str))
    plain = PriorShiftCorrection(NETWORK, priors=UNEVEN).fit(X, Y)
    np.testing.assert_allclose(known.priors_, UNEVEN)
    np.testing.assert_allclose(known.predict_proba(DEPLOYED), plain.predict_proba(DEPLOYED), rtol=1e-6)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(known)).predict_proba(X), known.predict_proba(X))
    with pytest.raises(ValueError, match="priors must have a frequency for each of the classes"):
        known.set_params(priors=dict(zip("wxyz", UNEVEN, strict=True))).fit(X, Y.astype(str))


# What is refused


def test_without_a_change_nothing_changes(fitted, adapted):
    before = fitted.predict_log_proba(DEPLOYED)
    assert not fitted.adapt(draw(600, EVEN, seed=4)[0]).accepted_
    assert "chance alone may do as much" in fitted.verdict_.reason
    np.testing.assert_array_equal(fitted.predict_log_proba(DEPLOYED), before)
    again = copy.deepcopy(adapted).adapt(draw(600, EVEN, seed=4)[0])
    np.testing.assert_array_equal(again.predict_log_proba(DEPLOYED), before)


def test_no_change_is_hardly_ever_taken_for_one(fitted):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        kept = [fitted.adapt(draw(300, EVEN, seed=seed)[0]).accepted_ for seed in range(10, 60)]
    assert sum(kept) <= 2
    assert len(caught) <= 1


@pytest.mark.parametrize("frequencies", [EVEN, UNEVEN], ids=["frequencies as before", "other frequencies"])
@pytest.mark.parametrize("change", [lambda X: 0.5 * X, lambda X: X - [2, 0, 0, 0]], ids=["darker", "like a lost class"])
def test_inputs_that_changed_are_refused_with_a_warning(fitted, change, frequencies):
    before = fitted.predict_log_proba(DEPLOYED)
    changed = change(draw(600, frequencies, seed=5)[0]).astype(np.float32)
    with pytest.warns(InputShiftWarning, match="the inputs have changed too: label some and refit") as caught:
        fitted.adapt(changed)
    assert caught[0].filename == __file__
    assert fitted.verdict_.inputs_changed and not fitted.accepted_
    assert "no mixture of the classes looks like these" in str(fitted.verdict_)
    np.testing.assert_array_equal(fitted.predict_log_proba(DEPLOYED), before)


@pytest.mark.parametrize(
    ("n_labelled", "n_unlabelled", "what"),
    [
        (1000, 1, r"1 unlabelled samples \(needs 100\)"),
        (1000, 99, r"99 unlabelled samples \(needs 100"),
        (90, 600, r"90 labelled samples \(needs 100"),
    ],
)
def test_too_few_samples_are_refused_with_the_reason(n_labelled, n_unlabelled, what):
    fitted = PriorShiftCorrection(NETWORK).fit(X[:n_labelled], Y[:n_labelled])
    fitted.adapt(DEPLOYED[:n_unlabelled])
    assert not fitted.accepted_
    assert re.search(what, fitted.verdict_.reason)


# Known frequencies


def test_known_frequencies_need_no_samples():
    known = PriorShiftCorrection(NETWORK, priors=UNEVEN).fit(X, Y)
    np.testing.assert_allclose(known.priors_, UNEVEN)
    assert known.accepted_
    assert nll(known.predict_log_proba(DEPLOYED), TRUTH) < 0.75 * nll(
        TemperatureScaling(NETWORK).fit(X, Y).predict_log_proba(DEPLOYED), TRUTH
    )
    assert known.summary().endswith("given as priors, which nothing has tested.")
    with pytest.raises(ValueError, match=r"priors must be None for adapt, which estimates them; got \[0.7"):
        known.adapt(DEPLOYED)


def test_impossible_classes_get_nothing():
    calibrator = PriorShiftCorrection(NETWORK, priors=[0.5, 0.5, 0, 0]).fit(X, Y)
    proba = calibrator.predict_proba(X)
    assert (proba[:, 2:] == 0).all()
    np.testing.assert_allclose(proba.sum(1), 1)
    np.testing.assert_allclose(calibrator.module_(torch.from_numpy(X)).softmax(1).detach(), proba, atol=1e-6)


@pytest.mark.filterwarnings("ignore:1 of 4 classes ha(ve|s) no sample:UserWarning")
@pytest.mark.parametrize("priors", [None, UNEVEN])
def test_classes_without_a_labelled_sample_stay_finite(priors):
    some = Y != 2
    fitted = PriorShiftCorrection(NETWORK, priors=priors).fit(X[some], Y[some])
    assert 0 < fitted.labelled_priors_[2] < 0.1
    if priors is None:
        fitted.adapt(DEPLOYED[TRUTH != 2])
        assert fitted.accepted_
    assert np.isfinite(fitted.predict_log_proba(X)).all()


@pytest.mark.parametrize(
    "priors",
    [
        [0.5, 0.5],
        [0.7, 0.1, 0.1, 0.2],
        [EVEN],
        [np.nan, 0.5, 0.5, 0],
        [1.2, -0.2, 0, 0],
        [0] * 4,
        [np.inf, 0, 0, 0],
        [1],
    ],
)
def test_bad_frequencies(priors):
    # No number to divide by mends them.
    mend = "(: give priors / 1.1)?$" if priors == [0.7, 0.1, 0.1, 0.2] else "$"
    rule = r"priors must be frequencies of at least 0, one (per class|for each of 4 classes), that sum to 1; got "
    message = rf"{rule}\[[^:]*\]{mend}"
    with pytest.raises(ValueError, match=message):
        PriorShiftCorrection(NETWORK, priors=priors).fit(X, Y)
    with pytest.raises(ValueError, match=r"that sum to 1; got \[40, 30, 20, 10\]: give priors / 100"):
        PriorShiftCorrection(NETWORK, priors=[40, 30, 20, 10]).fit(X, Y)


# Forms of data


def test_weights_are_repetitions_that_tell_no_more():
    weight = np.random.default_rng(0).integers(0, 3, len(Y))
    weighted = PriorShiftCorrection(NETWORK).fit(X, Y, sample_weight=weight)
    repeated = PriorShiftCorrection(NETWORK).fit(np.repeat(X, weight, axis=0), np.repeat(Y, weight))
    np.testing.assert_allclose(weighted.labelled_priors_, repeated.labelled_priors_)
    assert weighted.adapt(DEPLOYED).accepted_
    assert weighted.verdict_.p_value > repeated.adapt(DEPLOYED).verdict_.p_value
    part = PriorShiftCorrection(NETWORK).fit(X[weight > 0], Y[weight > 0]).adapt(DEPLOYED)
    chosen = PriorShiftCorrection(NETWORK).fit(X, Y, sample_weight=7.0 * (weight > 0)).adapt(DEPLOYED)
    np.testing.assert_allclose(chosen.priors_, part.priors_, atol=1e-9)
    assert chosen.verdict_.p_value == pytest.approx(part.verdict_.p_value)


def test_bad_data_keep_what_was_found(adapted):
    calibrator = copy.deepcopy(adapted)
    for bad, message in (
        (DEPLOYED[:, :3], "3 features"),
        (DEPLOYED * np.nan, "contains NaN"),
        (DEPLOYED[:0], "empty|0"),
    ):
        with pytest.raises(ValueError, match=message):
            calibrator.adapt(bad)
    assert calibrator.verdict_ == adapted.verdict_
    with pytest.raises(NotFittedError):
        PriorShiftCorrection(NETWORK).adapt(DEPLOYED)


# Around another calibrator


AROUND = {
    "vector": lambda: VectorScaling(NETWORK),
    "clamping": lambda: NeuralClampingCalibrator(NETWORK, perturbation="affine", random_state=0),
}


@pytest.mark.parametrize("kind", AROUND)
def test_around_a_fitted_calibrator(kind, tmp_path):
    offset = np.float32(1 if kind == "clamping" else 0) * np.float32([1, 0, 0, 0])
    inner = AROUND[kind]().fit(X + offset, Y)
    corrected = PriorShiftCorrection(inner).fit(X + offset, Y)
    new = DEPLOYED + offset
    np.testing.assert_allclose(corrected.predict_proba(new), inner.predict_proba(new), rtol=1e-12)
    assert corrected.adapt(new).accepted_
    data = TensorDataset(torch.from_numpy(new))
    np.testing.assert_allclose(corrected.predict_proba(data), corrected.predict_proba(new), rtol=1e-5)
    with torch.no_grad():
        proba = corrected.module_(torch.from_numpy(new)).softmax(1).numpy()
    np.testing.assert_allclose(proba, corrected.predict_proba(new), atol=1e-5)
    inner.save(tmp_path / "inner")
    corrected.save(tmp_path / "corrected")
    loaded = skclamp.load(tmp_path / "corrected", skclamp.load(tmp_path / "inner", NETWORK))
    np.testing.assert_array_equal(loaded.predict_proba(new), corrected.predict_proba(new))
    with pytest.raises(ValueError, match="estimator must be the network that the calibrator was fitted around"):
        skclamp.load(tmp_path / "corrected", AROUND[kind]().fit(X[:500] + offset, Y[:500]))


# Saving and exporting


@pytest.mark.parametrize("way", ["save", "pickle"])
def test_copies_know_as_much_and_adapt_alike(adapted, way, tmp_path):
    if way == "save":
        adapted.save(tmp_path / "saved")
        again = skclamp.load(tmp_path / "saved", NETWORK)
    else:
        again = pickle.loads(pickle.dumps(adapted))
    np.testing.assert_array_equal(again.predict_proba(DEPLOYED), adapted.predict_proba(DEPLOYED))
    assert again.verdict_ == adapted.verdict_
    assert again.summary() == adapted.summary()
    other = draw(600, [0.1, 0.1, 0.1, 0.7], seed=3)[0]
    np.testing.assert_array_equal(again.adapt(other).priors_, copy.deepcopy(adapted).adapt(other).priors_)


@HOW
def test_the_module_exports(adapted, how, tmp_path):
    x = torch.from_numpy(DEPLOYED[:20])
    with torch.no_grad():
        proba = adapted.module_(x).softmax(1)
    np.testing.assert_allclose(proba, adapted.predict_proba(DEPLOYED[:20]), atol=1e-6)
    check_the_same(adapted.module_, x, how, tmp_path)
