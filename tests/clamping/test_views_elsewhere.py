"""Views wherever a calibrator goes: modules, files, displays, comparisons, searches, other inputs and classifiers."""

import json
import pickle

import numpy as np
import pytest
import torch
from _export import HOW, check_the_same
from _two_views import FITTED, NETWORK, X_TEST, Y_TEST, N, X, Y, nll, two_views
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.utils.data import TensorDataset

import skclamp
from skclamp import NeuralClampingCalibrator, TemperatureScaling, compare_calibrators
from skclamp.display import PerturbationDisplay
from skclamp.perturbations import ImageShift


def test_transform_logits_takes_averages():
    with torch.no_grad():
        logits = FITTED.module_.eval().averaged_logits(torch.from_numpy(X[:50]))
    np.testing.assert_allclose(FITTED.transform_logits(logits), FITTED.predict_log_proba(X[:50]), atol=1e-6)


def test_an_output_map_takes_averages():
    calibrator = two_views(output=TemperatureScaling()).fit(X, Y)
    with torch.no_grad():
        deployed = calibrator.module_.eval()(torch.from_numpy(X_TEST)).softmax(1)
    np.testing.assert_allclose(deployed, calibrator.predict_proba(X_TEST), atol=1e-6)
    assert nll(calibrator) == pytest.approx(nll(FITTED), abs=0.02)


@HOW
def test_the_module_gives_the_same_elsewhere(how, tmp_path):
    images = (ImageShift(1, 0), ImageShift(0, -1, flip=True))
    module = skclamp.modules.ClampedModule(NETWORK, views=[nn.Identity(), *images], view_weights=[0.5, 0.3, 0.2])
    check_the_same(module.eval(), torch.from_numpy(X[:40]), how, tmp_path)


def test_the_module_knows_its_views():
    with pytest.raises(ValueError, match="fold needs a module without views.* got 2 views"):
        FITTED.module_.eval().fold()
    shares = FITTED.module_.view_weights
    np.testing.assert_allclose(shares, FITTED.view_weights_, rtol=1e-6)
    assert "view_weights=[0." in repr(FITTED.module_)
    with pytest.raises(ValueError, match="view_weights must be one for each"):
        skclamp.modules.ClampedModule(NETWORK, views=[nn.Identity()], view_weights=[0.5, 0.5])
    module = skclamp.modules.ClampedModule(NETWORK, views=[nn.Identity()])
    x = torch.from_numpy(X[:3])
    assert torch.equal(module(x), NETWORK(x))


def test_files_and_pickles_keep_views(tmp_path):
    FITTED.save(tmp_path / "views.safetensors")
    for again in (skclamp.load(tmp_path / "views.safetensors", NETWORK), pickle.loads(pickle.dumps(FITTED))):
        np.testing.assert_array_equal(again.predict_proba(X), FITTED.predict_proba(X))
        assert again.views_verdict_ == FITTED.views_verdict_
        assert repr(again.module_) == repr(FITTED.module_)


def test_displays_show_weights():
    display = PerturbationDisplay.from_estimator(FITTED)
    assert [ax.get_title() for ax in display.axes_] == ["no perturbation kept", "views: weight"]
    assert [label.get_text() for label in display.axes_[1].get_xticklabels()] == ["as it is", "flip"]


def test_comparisons_have_a_row_and_a_page(tmp_path):
    options = {"n_resamples": 20, "n_draws": 20}
    halves = X[:300], Y[:300], X_TEST[:300], Y_TEST[:300]
    assert compare_calibrators(NETWORK, *halves, **options).best == "NeuralClampingCalibrator, 2 views"
    clamped = {"two": clone(FITTED).set_params(estimator=None)}
    comparison = compare_calibrators(NETWORK, *halves, calibrators=clamped, **options)
    comparison.to_html(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    verdict = comparison.calibrators["two"].views_verdict_
    assert f'{{"about":"views","accepted":true,"reason":{json.dumps(verdict.reason)}}}' in page


@pytest.mark.filterwarnings("ignore:perturbation=.* is left out:UserWarning")
def test_a_choice_of_gamma_takes_views():
    options = {"perturbation": "channel", "gamma": "auto", "max_views": 2, "random_state": 0}
    weight = np.random.default_rng(0).integers(0, 3, N)
    search = NeuralClampingCalibrator(NETWORK, **options).fit(X, Y, sample_weight=weight)
    assert search.views_verdict_.accepted
    assert nll(search) == pytest.approx(nll(FITTED), abs=0.01)
    few = NeuralClampingCalibrator(NETWORK, **options).fit(X[:60], Y[:60])
    assert "views need 100 independent samples" in few.views_verdict_.reason


class Named(nn.Module):
    """A network of two inputs by name."""

    def forward(self, pixels, scale):
        """Logits."""
        return NETWORK(pixels) * scale[:, None]


def test_other_inputs_stay_as_they_are():
    inputs = {"pixels": X, "scale": np.ones(N, dtype=np.float32)}
    expected = two_views().fit(X, Y).predict_proba(X)
    by_name = two_views(estimator=Named(), input_key="pixels").fit(inputs, Y)
    dataset = two_views().fit(TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)))
    for calibrator, given in ((by_name, inputs), (dataset, X)):
        np.testing.assert_allclose(calibrator.predict_proba(given), expected, atol=1e-6)
    with torch.no_grad():
        deployed = by_name.module_.eval()(**{name: torch.from_numpy(value) for name, value in inputs.items()})
    np.testing.assert_allclose(deployed.softmax(1), expected, atol=1e-5)


class Negated(nn.Module):
    """Features with the other sign."""

    def forward(self, x):
        """Batch of the other sign."""
        return -x


def test_a_classifier_that_is_not_fitted_takes_views():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    y = (np.abs(X[:, 0]) + X[:, 1] + rng.logistic(scale=0.3, size=400) > 0.5).astype(int)
    calibrator = two_views(estimator=LogisticRegression(), max_views=[Negated()]).fit(X, y)
    assert calibrator.predict_proba(X).shape == (400, 2)
    assert calibrator.views_verdict_.n_samples == 200
