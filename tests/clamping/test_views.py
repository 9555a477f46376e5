"""Several views of an input: chosen, weighed, proved on held-out samples; and one pass where they prove nothing."""

import numpy as np
import pytest
import torch
from _two_views import (
    FITTED,
    IMAGE,
    NETWORK,
    X_TEST,
    Y_TEST,
    N,
    X,
    Y,
    draw,
    moved,
    network_on,
    nll,
    two_views,
)
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from torch import nn

from skclamp import NeuralClampingCalibrator, TemperatureScaling
from skclamp.metrics import negative_log_likelihood
from skclamp.perturbations import HorizontalFlip

# What is found.


def test_a_view_that_says_something_new_is_kept():
    assert [type(view) for view in FITTED.views_] == [nn.Identity, HorizontalFlip]
    assert FITTED.view_weights_.sum() == pytest.approx(1)
    np.testing.assert_allclose(FITTED.view_weights_, 0.5, atol=0.05)
    assert FITTED.views_verdict_.accepted
    assert FITTED.views_verdict_.reason.startswith("Kept: flip lowered the held-out NLL by")
    assert list(FITTED.views_verdict_.tried) == ["flip"]
    assert not hasattr(FITTED, "verdict_")
    assert not FITTED.accepted_
    assert nll(FITTED) < nll(TemperatureScaling(NETWORK).fit(X, Y)) - 0.2
    assert "2 views (as it is 0.5" in FITTED.summary()
    assert "No guard" not in FITTED.summary()


def test_no_view_is_kept_where_none_helps():
    X, y = draw(NETWORK, IMAGE, N, 0)
    calibrator = two_views(perturbation="auto").fit(X, y)
    same = NeuralClampingCalibrator(NETWORK, random_state=0).fit(X, y)
    assert not calibrator.views_verdict_.accepted
    assert "a prediction takes one pass" in calibrator.views_verdict_.reason
    assert set(calibrator.views_verdict_.not_tried) >= {"shift (1, 0)", "flipped shift (1, 0)"}
    np.testing.assert_array_equal(calibrator.predict_proba(X), same.predict_proba(X))
    np.testing.assert_array_equal(calibrator.view_weights_, [1.0])


@pytest.mark.parametrize("guard", [{}, {"validation_fraction": None}], ids=["guarded", "unguarded"])
def test_a_view_that_says_the_same_is_no_view(guard):
    """Of mirror-symmetric images, the flip: along their weights' difference the loss is flat."""
    mirrored = np.concatenate([X[..., :3], X[..., 2::-1]], axis=-1)
    calibrator = two_views(max_views=[HorizontalFlip()], **guard).fit(mirrored, Y)
    np.testing.assert_array_equal(calibrator.view_weights_, [1.0])
    assert [type(view) for view in calibrator.views_] == [nn.Identity]
    assert calibrator.temperature_ == TemperatureScaling(NETWORK).fit(mirrored, Y).temperature_


@pytest.mark.parametrize("n_features", [5, 40])
def test_tables_have_no_views_and_lose_no_power(n_features):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, n_features))
    y = (X[:, :3] + rng.gumbel(size=(600, 3))).argmax(1)
    classifier = LogisticRegression().fit(X[:300], y[:300])
    X, y = X[300:], y[300:]
    calibrator = two_views(estimator=classifier, perturbation="auto").fit(X, y)
    assert f"no views are known of inputs of shape ({n_features},)" in calibrator.views_verdict_.reason
    one = NeuralClampingCalibrator(classifier, random_state=0).fit(X, y)
    assert calibrator.verdict_ == one.verdict_
    np.testing.assert_array_equal(calibrator.predict_proba(X), one.predict_proba(X))


def test_below_100_samples_there_are_none():
    calibrator = two_views().fit(X[:99], Y[:99])
    assert "views need 100 independent samples with weight, got 99" in calibrator.views_verdict_.reason
    assert two_views().fit(X[:140], Y[:140]).views_verdict_.accepted
    weight = (np.arange(140) < 99).astype(float)
    assert not two_views().fit(X[:140], Y[:140], sample_weight=weight).views_verdict_.accepted
    assert not hasattr(two_views(validation_fraction=None).fit(X[:99], Y[:99]), "views_verdict_")


@pytest.mark.parametrize(
    ("options", "seen"),
    [({}, np.asarray), ({"perturbation": "affine"}, moved), ({"validation_fraction": None}, np.asarray)],
    ids=["as it is", "moved", "unguarded"],
)
def test_the_temperature_is_as_good_as_the_best(options, seen):
    calibrator = two_views(**options).fit(seen(X), Y)
    assert calibrator.accepted_ == (seen is moved)
    assert len(calibrator.views_) == 2
    module = calibrator.module_.eval()
    with torch.no_grad():
        logits = module.averaged_logits(torch.from_numpy(seen(X_TEST)))
    best = TemperatureScaling().fit(logits, Y_TEST)
    loss = negative_log_likelihood(Y_TEST, best.predict_proba(logits))
    # Twice this is chi-squared of one degree of freedom: above 10.8 once in a thousand.
    assert N * (nll(calibrator, seen(X_TEST)) - loss) < 10.8 / 2


class Quarter(nn.Module):
    """Images turned by so many right angles."""

    def __init__(self, turns):
        super().__init__()
        self.turns = turns

    def forward(self, x):
        """Turned batch."""
        return torch.rot90(x, self.turns, (-2, -1))


def test_views_of_the_users_own_are_copied():
    network = network_on(IMAGE)
    view = Quarter(2).train()
    X, y = draw(network, IMAGE, N, 0, view)
    calibrator = two_views(estimator=network, max_views=[nn.Identity(), view]).fit(X, y)
    assert [type(each) for each in calibrator.views_] == [nn.Identity, Quarter]
    assert calibrator.views_[1] is not view
    assert view.training
    assert clone(calibrator).max_views[1].turns == 2
    assert "views holds none" in two_views(max_views=[nn.Identity()]).fit(X, y).views_verdict_.reason


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"max_views": 0}, "max_views"),
        ({"max_views": "flips"}, "max_views"),
        ({"max_views": []}, "max_views must be a number, or a list of views, torch modules; got"),
        ({"max_views": [np.flip]}, "max_views must be a number, or a list of views, torch modules"),
        ({"max_views": [nn.AvgPool2d(2)]}, "max_views must have views that keep the shape of a batch"),
        ({"max_views": [nn.Linear(3, 6)]}, "max_views must have views that keep the shape .* doesn't take it"),
    ],
)
def test_what_breaks_a_rule_is_told(options, rule):
    with pytest.raises(ValueError, match=rule):
        two_views(**options).fit(X, Y)


# What they are worth and cost.


def test_weights_choose_views():
    # Of two kinds of samples, the half with weight has nothing to say of flips.
    plain = draw(NETWORK, IMAGE, N, 5)
    both = np.concatenate([X, plain[0]]), np.concatenate([Y, plain[1]])
    weight = np.repeat([1e-3, 1.0], N)
    assert two_views().fit(*both).views_verdict_.accepted
    assert two_views().fit(*both, sample_weight=weight[::-1]).views_verdict_.accepted
    assert not two_views().fit(*both, sample_weight=weight).views_verdict_.accepted
