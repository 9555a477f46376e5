"""Inputs by name: dicts of arrays, Datasets of dicts, Hugging Face's data sets and models."""

import functools
import warnings

import numpy as np
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of
from sklearn.model_selection import KFold
from skorch.helper import SliceDataset, SliceDict
from torch import nn
from torch.utils.data import DataLoader, Dataset

from skclamp import NeuralClampingCalibrator, TemperatureScaling, TorchTraining

N_SAMPLES, N_CLASSES = 240, 4


class Rolled(nn.Module):
    """Each sample's logits, rolled by a number that comes with it: told apart from the network only by what follows."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, roll, pixels, spare=None):
        logits = self.network(pixels)
        columns = (torch.arange(logits.shape[1], device=logits.device) - roll[:, None]) % logits.shape[1]
        return {"logits": logits.gather(1, columns)}


PLAIN = convolutional()
# Paler than the network expects, so that there is something to learn.
IMAGES = images(N_SAMPLES) / 2 + 1
ROLL = np.random.default_rng(1).integers(N_CLASSES, size=N_SAMPLES)
Y = labels_of(bare_logits(PLAIN, images(N_SAMPLES)), 1.0)
NAMED = {"pixels": IMAGES, "roll": ROLL}
ROLLED_Y = (Y + ROLL) % N_CLASSES


class Items(Dataset):
    """A Dataset of whatever a function of the index gives."""

    def __init__(self, item):
        self.item = item

    def __len__(self):
        return N_SAMPLES

    def __getitem__(self, index):
        return self.item(index)


def row(i):
    return {name: values[i] for name, values in NAMED.items()}


def hugging_face(**columns):
    datasets = pytest.importorskip("datasets", reason="needs Hugging Face's datasets: pip install 'skclamp[test]'")
    return datasets.Dataset.from_dict({**NAMED, **columns})


# What holds the same samples, and whether labels are in it.
KINDS = {
    "dict": (lambda: NAMED, False),
    "dict of tensors": (lambda: {name: torch.from_numpy(values) for name, values in NAMED.items()}, False),
    "dict of lists": (lambda: {name: values.tolist() for name, values in NAMED.items()}, False),
    "dict with labels": (lambda: {**NAMED, "labels": ROLLED_Y}, True),
    "SliceDict": (lambda: SliceDict(**NAMED), False),
    "dicts": (lambda: Items(row), False),
    "dicts with labels": (lambda: Items(lambda i: {**row(i), "label": ROLLED_Y[i]}), True),
    "pairs": (lambda: Items(lambda i: (row(i), ROLLED_Y[i])), True),
    "lists in pairs": (lambda: Items(lambda i: ({k: v.tolist() for k, v in row(i).items()}, int(ROLLED_Y[i]))), True),
    "loader": (lambda: DataLoader(Items(lambda i: (row(i), ROLLED_Y[i])), batch_size=7), True),
    "slice": (lambda: SliceDataset(Items(lambda i: (row(i), ROLLED_Y[i]))), False),
    "Hugging Face's": (lambda: hugging_face(label=ROLLED_Y), True),
    "Hugging Face's, formatted": (lambda: hugging_face(labels=ROLLED_Y).with_format("numpy"), True),
}

EXACT = {"random_state": 0}
# Folds that are drawn hang on the labels of samples, which companions change.
CALIBRATORS = {
    "temperature": TemperatureScaling,
    "natural": lambda network, **key: NeuralClampingCalibrator(
        network, perturbation="affine", output=None, validation_fraction=KFold(2), **EXACT, **key
    ),
    "Adam": lambda network, **key: NeuralClampingCalibrator(
        network, perturbation="affine", training=TorchTraining(), validation_fraction=None, **EXACT, **key
    ),
    "search": lambda network, **key: NeuralClampingCalibrator(
        network, perturbation="channel", gamma="auto", validation_fraction=KFold(2), **EXACT, **key
    ),
}


def make(name, network=None):
    key = {} if name == "temperature" else {"input_key": "pixels"}
    return CALIBRATORS[name](Rolled(PLAIN) if network is None else network, **key)


@functools.cache
def expected(name):
    """Probabilities of the network that knows of no companions, rolled."""
    calibrator = CALIBRATORS[name](PLAIN).fit(IMAGES, Y)
    assert getattr(calibrator, "accepted_", True)
    columns = (np.arange(N_CLASSES) - ROLL[:, None]) % N_CLASSES
    return np.take_along_axis(calibrator.predict_proba(IMAGES), columns, 1)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("temperature", kind) for kind in KINDS] + [("natural", "dict with labels"), ("natural", "pairs")],
)
def test_companions_follow_their_samples(name, kind):
    X, labelled = KINDS[kind][0](), KINDS[kind][1]
    calibrator = make(name).fit(X, None if labelled else ROLLED_Y)
    np.testing.assert_allclose(calibrator.predict_proba(X), expected(name), rtol=0, atol=1e-5)
    assert not hasattr(calibrator, "n_features_in_")


# The deployed module


@pytest.fixture(scope="module")
def fitted():
    return make("natural").fit(NAMED, ROLLED_Y)


def test_the_module_takes_what_the_network_takes(fitted):
    tensors = {name: torch.from_numpy(values) for name, values in NAMED.items()}
    pixels, roll = tensors["pixels"], tensors["roll"]
    module = fitted.module_.eval()
    with torch.no_grad():
        by_name, first = module(**tensors), module(pixels, roll=roll)
    assert torch.equal(by_name, first)
    np.testing.assert_allclose(by_name.softmax(1), fitted.predict_proba(NAMED), rtol=0, atol=1e-6)
    with pytest.raises(TypeError, match="perturbed must come first, or by its name, input_key='pixels'"):
        module(roll=roll)
    with pytest.raises(ValueError, match="fold needs a network whose only input has no name; .* takes pixels"):
        module.fold()


def test_the_module_exports(fitted):
    tensors = {name: torch.from_numpy(values[:5]) for name, values in NAMED.items()}
    exported = torch.export.export(fitted.module_.eval(), (), tensors).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(**tensors), fitted.module_(**tensors), rtol=0, atol=1e-5)


# What is wrong


@pytest.mark.parametrize("key", [None, "pixel"])
def test_the_perturbed_entry_must_be_named(fitted, key):
    message = f"input_key must name the entry of X that is perturbed, one of 'pixels', 'roll'; got {key!r}"
    for X in (NAMED, Items(row)):
        with pytest.raises(ValueError, match=message):
            CALIBRATORS["natural"](Rolled(PLAIN), input_key=key).fit(X, ROLLED_Y)
    with pytest.raises(ValueError, match="input_key must name .*one of 'roll'; got 'pixels'"):
        fitted.predict({"roll": ROLL})


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        ({}, ValueError, "X must be a dict of arrays .*; got lengths {}"),
        ({"labels": Y}, ValueError, "X must be a dict of arrays .*; got lengths {'labels': 240}"),
        ({**NAMED, "roll": ROLL[:0]}, ValueError, "one entry per sample each; got lengths .*'pixels': 240, 'roll': 0"),
        ({**NAMED, "roll": ROLL[:7]}, ValueError, "X must be a dict of arrays .* got lengths .*240, .roll.: 7"),
        ({**NAMED, "labels": Y[:7]}, ValueError, "X must be a dict of arrays .* got lengths .*'labels': 7"),
        ({**NAMED, "roll": 3}, ValueError, "entry 'roll' of X must have samples along its first axis; .* number 3"),
        (
            {**NAMED, "spare": ["a"] * N_SAMPLES},
            TypeError,
            "entry 'spare' of X must be numeric and real; got dtype <U1",
        ),
        (
            {"ids": [[1, 2], [3]]},
            ValueError,
            r"entry 'ids' of X must hold .* equal rows; got rows of shapes \(1,\), \(2,\)\. Pad them",
        ),
        ({**NAMED, "pixels": np.where(IMAGES < 2, IMAGES, np.nan)}, ValueError, "X must be finite"),
    ],
)
def test_bad_dicts(X, error, message):
    with pytest.raises(error, match=message):
        make("temperature").fit(X, ROLLED_Y)


# Hugging Face's models as they are


def build(name):
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install 'skclamp[test]'")
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    sizes["num_labels"] = N_CLASSES
    torch.manual_seed(0)
    with warnings.catch_warnings():
        # Of the package's own doing.
        warnings.simplefilter("ignore")
        if name == "ViT":
            config = transformers.ViTConfig(image_size=8, patch_size=4, **sizes)
            model = transformers.AutoModelForImageClassification.from_config(config)
            X = {"pixel_values": torch.from_numpy(IMAGES)}
        else:
            config = transformers.BertConfig(vocab_size=50, **sizes)
            model = transformers.AutoModelForSequenceClassification.from_config(config)
            tokens = torch.randint(50, (N_SAMPLES, 6))
            mask = (torch.arange(6) < torch.randint(2, 7, (N_SAMPLES, 1))).long()
            X = transformers.BatchEncoding({"input_ids": tokens, "attention_mask": mask})
    nn.init.normal_(model.classifier.weight)
    model.eval()
    with torch.no_grad():
        logits = model(**X).logits
    return model, X, logits


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ViT", "BERT"])
def test_models_with_what_their_processors_give(name):
    model, X, logits = build(name)
    y = labels_of(logits)
    calibrator = TemperatureScaling(model).fit(X, y)
    bare = TemperatureScaling().fit(logits, y)
    np.testing.assert_allclose(calibrator.predict_proba(X), bare.predict_proba(logits), rtol=0, atol=1e-5)


class WithMeta(torch.Tensor):
    """As MONAI's images are."""


@pytest.mark.parametrize("kind", [TemperatureScaling, NeuralClampingCalibrator])
def test_the_only_input_may_have_any_name(kind):
    X = torch.from_numpy(IMAGES)
    plain = kind(PLAIN, random_state=0) if kind is NeuralClampingCalibrator else kind(PLAIN)
    expected = plain.fit(X, Y).predict_proba(X[:9])
    items = Items(lambda i: {"image": X[i].as_subclass(WithMeta), "label": Y[i]})
    keys = [None] if kind is TemperatureScaling else [None, "image"]
    for key in keys:
        calibrator = plain.__sklearn_clone__() if key is None else plain.__sklearn_clone__().set_params(input_key=key)
        calibrator.fit(items)
        np.testing.assert_allclose(calibrator.predict_proba({"image": X[:9]}), expected, atol=1e-6)
        assert calibrator.score(items) == plain.score(X, Y)
        module = calibrator.module_.eval()
        np.testing.assert_allclose(module(X[:9]).softmax(1).detach().numpy(), expected, atol=1e-5)
    for beside in ({"affine": 1}, "scan.nii"):
        with pytest.raises(TypeError, match="entry 'meta' of X must be a tensor .* [Ll]eave it out"):
            plain.fit(Items(lambda i, beside=beside: {"image": X[i], "label": Y[i], "meta": beside}))
    # Bytes still want their scale, and what takes several inputs by name their names.
    with pytest.raises(TypeError, match="State the scale of integer images"):
        plain.fit(Items(lambda i: {"image": X[i].byte(), "label": Y[i]}))
    with pytest.raises(TypeError, match="by name, 'roll', 'pixels', 'spare'"):
        TemperatureScaling(Rolled(PLAIN)).fit({"image": IMAGES}, Y)


def test_masks_with_a_channel():
    network = nn.Conv2d(3, 2, 1)
    drawn = torch.Generator().manual_seed(0)
    X, noise = (torch.randn(120, n, 4, 4, generator=drawn) for n in (3, 1))
    y = (network(X).detach()[:, 1:] > network(X).detach()[:, :1] + noise).float()
    items = Items(lambda i: {"image": X[i % 120], "label": y[i % 120]})
    found = TemperatureScaling(network).fit(items)
    twice = torch.cat([X, X]), torch.cat([y, y])[:, 0]
    assert found.temperature_ == pytest.approx(TemperatureScaling(network).fit(*twice).temperature_, rel=1e-6)
    assert found.score(items) == found.score(*twice)
