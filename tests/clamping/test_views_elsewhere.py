"""Views wherever a calibrator goes: modules, files, displays, comparisons, searches, other inputs and classifiers."""

import pickle

import numpy as np
import pytest
import torch
from _export import HOW, check_the_same
from _two_views import FITTED, NETWORK, X_TEST, X, Y, nll, two_views
from torch import nn

import skclamp
from skclamp import TemperatureScaling
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
