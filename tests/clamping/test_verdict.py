"""What the guard says of its decision."""

import re
from dataclasses import FrozenInstanceError

import pytest
from _small_networks import bare_logits, labels_of, perceptron, vectors
from sklearn.model_selection import KFold
from torch import nn

from skclamp import NeuralClampingCalibrator, TorchTraining
from skclamp.perturbations import AffinePerturbation

NETWORK = perceptron()
X = vectors(400, 6)
Y = labels_of(bare_logits(NETWORK, X))


def fitted(x=X, y=Y, network=NETWORK, **settings):
    return NeuralClampingCalibrator(network, output=None, random_state=0, **settings).fit(x, y)


def halves(seed):
    """Two folds that are the same with every version of torch."""
    return KFold(2, shuffle=True, random_state=seed)


def test_a_gain_is_told_with_its_family_and_the_samples_that_judged():
    verdict = fitted(X + 2, perturbation="channel").verdict_
    assert verdict.accepted
    assert verdict.reason.startswith(f"Kept: channel lowered the held-out NLL by {-verdict.difference:.3g} nats")
    assert verdict.tried == {"channel": pytest.approx(verdict.difference)}
    assert verdict.not_tried == {}
    assert verdict.n_samples == 400
    assert 0 < verdict.detectable_gain < -verdict.difference
    with pytest.raises(FrozenInstanceError):
        verdict.accepted = False


def test_no_gain_in_one_fold_is_told_whatever_the_mean():
    """A mean difference below 0 with a p value of 1 doesn't stand unexplained."""
    verdict = fitted(X[:300], Y[:300], perturbation="channel", validation_fraction=halves(12)).verdict_
    assert verdict.difference < 0
    assert verdict.p_value == 1
    assert not verdict.accepted
    assert "channel lowered the held-out NLL" in verdict.reason
    assert "which proves nothing: it fell in 1 of 2 folds, needs 2" in verdict.reason
    assert re.search(r"Student's p = \S+, adjusted for the tests made, needs below 0.02\)", verdict.reason)
    assert "a temperature chosen for the held-out samples may do as well" in verdict.reason


def test_a_loss_is_told_as_such():
    verdict = fitted(perturbation="full", training=TorchTraining(), lr=0.1).verdict_
    assert verdict.difference > 0
    assert verdict.reason.startswith("Refused, so this is temperature scaling: full raised the held-out NLL by")


def test_families_that_were_not_tried_are_told_with_the_reason():
    x = vectors(300, 600)
    network = perceptron(0, 600)
    verdict = fitted(x, labels_of(bare_logits(network, x)), network, penalty=0.01).verdict_
    assert verdict.tried == {}
    assert verdict.not_tried.keys() == {"channel", "affine", "norm"}
    assert verdict.not_tried["affine"] == "1,200 parameters, at most 512 with a penalty"
    assert verdict.reason.startswith("Nothing was tried, so this is temperature scaling (")
    assert all(f"{name}: {why}" in verdict.reason for name, why in verdict.not_tried.items())
    assert verdict.detectable_gain is None
    weak = fitted(validation_fraction=halves(0)).verdict_.not_tried
    assert weak.pop("norm") == "the network has no normalisation layer at all"
    assert weak.keys() == {"channel", "affine"}
    assert all(why.startswith("gradients with respect to 18 numbers may be chance") for why in weak.values())


def test_what_the_gradients_do_not_ask_for_is_told_with_what_would_have_been_seen():
    calibrator = fitted(validation_fraction=halves(0))
    verdict = calibrator.verdict_
    found = re.fullmatch(
        r"Nothing was tried, so this is temperature scaling \(gradients with respect to 18 numbers may be chance "
        r"\(p = ([\d.]+), needs at most 0.05\)\)\.",
        verdict.reason,
    )
    assert found
    assert float(found[1]) > 0.05
    assert str(verdict) == verdict.reason
    assert 0 < verdict.detectable_gain < 0.1
    seen = f"Half of such sets of samples would have shown a gain of {verdict.detectable_gain:.2g} nats per sample."
    assert verdict.reason in calibrator.summary()
    assert seen in calibrator.summary()
    # A pass for the logits, and one for the gradients.
    assert calibrator.cost_ == {"forward": 2, "backward": 1}


@pytest.mark.filterwarnings("ignore:perturbation=.* is left out:UserWarning")
@pytest.mark.parametrize("perturbation", ["auto", "channel", AffinePerturbation((6,))])
def test_few_samples_are_told(perturbation):
    verdict = fitted(X[:7], Y[:7], perturbation=perturbation).verdict_
    few = "the guard needs 8 independent samples with weight, got 7"
    assert verdict.reason == f"Nothing was tried, so this is temperature scaling ({few})."
    assert verdict.not_tried == {"affine" if isinstance(perturbation, nn.Module) else perturbation: few}
    assert (verdict.n_samples, verdict.detectable_gain) == (0, None)
