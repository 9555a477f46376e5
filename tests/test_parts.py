"""Parts of a calibration set, such as scanners, that ``fit`` is told of by ``by=``."""

import numpy as np
import pytest
import sklearn
import torch
from _problems import halves
from _small_networks import bare_logits, labels_of, logits, perceptron, vectors
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import skclamp
from skclamp import (
    CalibrationMonitor,
    CalibratorSelector,
    NeuralClampingCalibrator,
    PlattScaling,
    SelectiveClassifier,
    TemperatureScaling,
    VectorScaling,
    compare_calibrators,
)
from skclamp.display import ReliabilityDisplay
from skclamp.exceptions import CalibrationSetWarning

Z = logits(800)
BY = np.array(["old", "new"])[np.arange(800) % 2]
# One scanner's probabilities are true, the other's are too sure; or both are alike.
APART = np.where(BY == "old", labels_of(Z, 1.0), labels_of(Z, 2.5))
ALIKE = labels_of(Z, 2.0)
NETWORK = perceptron()
X = vectors(800)


def warned(calibrator, *args, **told):
    with pytest.warns(
        CalibrationSetWarning, match="one calibrator for all parts is worse for .* fit one calibrator each"
    ):
        return calibrator.fit(*args, **told)


@pytest.mark.parametrize("calibrator", [TemperatureScaling(), VectorScaling(), CalibratorSelector(n_folds=2)])
def test_a_part_that_loses_is_warned_of_and_told(calibrator):
    found = warned(calibrator, Z, APART, by=list(BY))
    old = found.parts_["old"]
    assert old["loses"] and old["difference"] > 2.2 * old["standard_error"] > 0
    mine, y = Z[BY == "old"], APART[BY == "old"]
    fold = halves(mine, y)
    own = [TemperatureScaling().fit(mine[fold != half], y[fold != half]).predict_log_proba(mine) for half in range(2)]
    lost = (np.where(fold[:, None], own[1], own[0]) - found.predict_log_proba(mine))[np.arange(400), y]
    assert old["difference"] == pytest.approx(lost.mean(), abs=1e-6)
    assert old["standard_error"] == pytest.approx(lost.std(ddof=1) / 20, rel=1e-4)
    told = (
        f"NLL by part against a temperature of its own, in sample: 'new' {found.parts_['new']['difference']:+.2g} nats"
    )
    assert told in found.summary()
    assert told.replace("'", "&#x27;") in found._repr_html_()
    np.testing.assert_array_equal(found.predict_proba(Z), calibrator.fit(Z, APART).predict_proba(Z))
    assert not hasattr(calibrator, "parts_") and "NLL by part" not in calibrator.summary()


def test_parts_that_are_alike_are_told_without_a_warning():
    for seed in range(10):
        calibrator = TemperatureScaling().fit(Z, labels_of(Z, 2.0, seed), by=torch.arange(800) % 2)
        assert not any(part["loses"] for part in calibrator.parts_.values())
        assert list(calibrator.parts_) == [0, 1]


def test_what_counts_is_independent():
    """Copies, groups and samples without weight add nothing."""
    few = np.where(np.arange(800) < 19, "few", BY)
    found = TemperatureScaling().fit(Z, ALIKE, by=few)
    assert found.parts_["few"]["n_samples"] == 19 and not found.parts_["few"]["loses"]
    assert "'few' too few samples to tell" in found.summary()
    twice = warned(TemperatureScaling(), *(np.repeat(each, 2, 0) for each in (Z, APART)), by=np.repeat(BY, 2))
    once = warned(TemperatureScaling(), Z, APART, by=BY)
    assert twice.parts_["old"] == pytest.approx(once.parts_["old"], rel=1e-6)
    with pytest.warns(CalibrationSetWarning, match="most parts have fewer than 20 independent samples"):
        grouped = TemperatureScaling().fit(Z, APART, by=BY, groups=np.arange(800) // 80)
    assert grouped.parts_["old"]["n_samples"] == 10 and not grouped.parts_["old"]["loses"]
    assert np.isnan(grouped.parts_["old"]["standard_error"])
    weighted = TemperatureScaling().fit(Z, ALIKE, by=few, sample_weight=(few != "few").astype(float))
    assert set(weighted.parts_) == {"old", "new"}


def test_several_labels_and_places():
    y = (np.random.default_rng(0).random(Z.shape) < 1 / (1 + np.exp(-Z / np.where(BY == "old", 1, 5)[:, None]))).astype(
        float
    )
    y[0, 0] = np.nan
    assert warned(TemperatureScaling(), Z, y, by=BY).parts_["old"]["loses"]
    assert set(warned(PlattScaling(), Z, y, by=BY).parts_) == {"old", "new"}
    places = np.repeat(Z[:, :, None], 3, 2), np.repeat(APART[:, None], 3, 1)
    dense, flat = warned(TemperatureScaling(), *places, by=BY), warned(TemperatureScaling(), Z, APART, by=BY)
    assert dense.parts_["old"] == pytest.approx(flat.parts_["old"], rel=1e-4)


def test_independent_places_are_judged_as_samples_are():
    rng = np.random.default_rng(0)
    places, by = rng.normal(scale=3, size=(60, 3, 16, 16)), np.arange(60) % 2
    y = (places / np.where(by, 1.5, 1)[:, None, None, None] + rng.gumbel(size=places.shape)).argmax(1)
    dense = TemperatureScaling().fit(places, y, by=by).parts_
    flat = TemperatureScaling().fit(np.moveaxis(places, 1, 3).reshape(-1, 3), y.ravel(), by=by.repeat(256)).parts_
    for part in (0, 1):
        difference, error = dense[part]["difference"], dense[part]["standard_error"]
        assert difference == pytest.approx(flat[part]["difference"], abs=error) and difference > 2 * error


def test_a_clamp_tells_it_in_its_verdict(tmp_path):
    """Labels of both follow the network's logits; the inputs of one scanner are moved."""
    y, moved = labels_of(bare_logits(NETWORK, X), 1.0), X + 1.5 * (BY == "new")[:, None].astype(np.float32)
    clamp = NeuralClampingCalibrator(NETWORK, perturbation="channel", random_state=0)
    clamp = warned(clamp, moved, y, by=BY)
    assert clamp.accepted_ and clamp.parts_["old"]["loses"] and not clamp.parts_["new"]["loses"]
    told = "NLL by part against a temperature of its own, held out: 'new' -"
    assert clamp.verdict_.reason.startswith("Kept: channel") and told in clamp.verdict_.reason
    assert clamp.summary().count(told) == 1
    clamp.save(tmp_path / "clamp.safetensors")
    loaded = skclamp.load(tmp_path / "clamp.safetensors", NETWORK)
    assert loaded.parts_ == clamp.parts_ and loaded.summary() == clamp.summary()
    bare = NeuralClampingCalibrator(NETWORK, perturbation="channel", random_state=0).fit(moved, y)
    assert bare.temperature_ == clamp.temperature_ and "by part" not in bare.summary()
    half = NeuralClampingCalibrator(LogisticRegression(), perturbation=None, random_state=0).fit(X, y, by=BY)
    assert sum(part["n_samples"] for part in half.parts_.values()) == 400
    assert "NLL by part" in half.summary()


@pytest.mark.parametrize("routed", [False, True])
def test_parts_are_metadata(routed):
    with sklearn.config_context(enable_metadata_routing=routed):
        search = GridSearchCV(TemperatureScaling(), {"gamma": [0.0]}, cv=2).fit(Z, ALIKE, by=BY)
        assert search.best_estimator_.parts_ == TemperatureScaling().fit(Z, ALIKE, by=BY).parts_
        pipeline = make_pipeline(FunctionTransformer(), TemperatureScaling())
        pipeline.fit(Z, ALIKE, **{"by" if routed else "temperaturescaling__by": BY})
        assert pipeline[-1].parts_ == search.best_estimator_.parts_
        crossed = TemperatureScaling(LogisticRegression()).fit(Z, ALIKE, by=BY)
        assert set(crossed.parts_) == {"old", "new"}
        inner = SelectiveClassifier(TemperatureScaling(), target_risk=0.3).fit(Z, ALIKE, by=BY).estimator_
        assert set(inner.parts_) == {"old", "new"}
        with pytest.raises(TypeError, match="by"):
            SelectiveClassifier(TemperatureScaling().fit(Z, ALIKE), target_risk=0.3).fit(Z, ALIKE, by=BY)


@pytest.mark.parametrize("by", [BY[:5], BY[:, None], [None, *BY[1:]]])
def test_what_names_no_parts_is_refused(by):
    with pytest.raises(ValueError, match="^by must "):
        TemperatureScaling().fit(Z, ALIKE, by=by)


def test_numbers_among_names_stay_numbers():
    by = ["a", 1] * 400
    assert list(TemperatureScaling().fit(Z, ALIKE, by=by).parts_) == [1, "a"]
    found = compare_calibrators(
        None, Z, ALIKE, Z + 0.1, ALIKE, by=by, calibrators=[TemperatureScaling()], n_resamples=2, n_draws=1
    )
    assert {own.part for own in found.parts["TemperatureScaling"]} == {1, "a"}
    for names in (None, ["a", 1]):
        assert set(CalibrationMonitor(by=names).partial_fit(Z, ALIKE, by=by).parts_) == {1, "a"}
    proba = TemperatureScaling().fit(Z, ALIKE).predict_proba(Z)
    ReliabilityDisplay.from_predictions(ALIKE, proba, by=by, n_draws=2)
