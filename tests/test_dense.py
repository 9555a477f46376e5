"""Dense outputs: a class at each place of a sample, such as the pixels of an image or the tokens of a text."""

import copy
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.tree import DecisionTreeClassifier
from torch import nn
from torch.utils.data import TensorDataset

import skclamp
from skclamp import (
    BetaCalibration,
    CalibratorSelector,
    EnsembleTemperatureScaling,
    HistogramBinning,
    IsotonicCalibration,
    NeuralClampingCalibrator,
    PlattScaling,
    TemperatureScaling,
    VectorScaling,
    compare_calibrators,
)
from skclamp.display import ReliabilityDisplay
from skclamp.exceptions import CalibrationSetWarning
from skclamp.metrics import (
    expected_calibration_error,
    neg_expected_calibration_error_scorer,
    neg_log_likelihood_scorer,
    negative_log_likelihood,
)
from skclamp.modules import LogitsModule
from skclamp.perturbations import HorizontalFlip, ImageShift, TimeShift

MAPS = [TemperatureScaling, EnsembleTemperatureScaling, VectorScaling, PlattScaling, BetaCalibration]
MAPS += [IsotonicCalibration, HistogramBinning]


def fields(n_samples=60, places=(5, 7), n_classes=3, temperature=2.0, seed=0):
    """Logits of fields whose neighbours agree, and labels drawn from them over a temperature."""
    rng = np.random.default_rng(seed)
    shape = (n_samples, n_classes, *places)
    logits = 3 * (rng.normal(size=(*shape[:2], *[1] * len(places))) + rng.normal(size=shape))
    return logits, (logits / temperature + rng.gumbel(size=shape)).argmax(1)


def rows(logits):
    return np.moveaxis(logits, 1, -1).reshape(-1, logits.shape[1])


class Segmenting(nn.Module):
    """A small network of images, to classes at each pixel."""

    def __init__(self, n_classes=3, n_channels=2):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(n_channels, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, n_classes, 1)
        )
        self.layers[-1].weight.data.mul_(12)

    def forward(self, x):
        return self.layers(x)


def images(n_samples=120, size=8, seed=0, network=None, temperature=1.5, gain=1.0, offset=0.0):
    """Images, changed, and labels drawn from what a network makes of them as they were."""
    rng = np.random.default_rng(seed)
    X = torch.from_numpy(rng.normal(size=(n_samples, 2, size, size))).float()
    with torch.no_grad():
        logits = (network or Segmenting()).eval()(X).double().numpy()
    y = (logits / temperature + rng.gumbel(size=logits.shape)).argmax(1)
    return gain * X + offset, y


@pytest.mark.parametrize("kind", MAPS, ids=lambda kind: kind.__name__)
def test_maps_are_those_of_the_places(kind):
    logits, y = fields()
    found = kind().fit(logits, y).predict_proba(logits)
    assert found.shape == logits.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    # Places share a weight, which maps that hold few samples back go by.
    weight = np.full(y.size, 16 / 35)
    expected = kind().fit(rows(logits), y.ravel(), sample_weight=weight).predict_proba(rows(logits))
    np.testing.assert_allclose(rows(found), expected, atol=2e-5)


def test_temperature_of_places():
    logits, y = fields()
    found, expected = TemperatureScaling().fit(logits, y), TemperatureScaling().fit(rows(logits), y.ravel())
    assert found.temperature_ == pytest.approx(expected.temperature_, rel=1e-9)
    assert found.predict(logits).shape == y.shape
    assert found.score(logits, y) == pytest.approx(expected.score(rows(logits), y.ravel()))
    assert found.transform_logits(logits).shape == logits.shape
    assert "60 samples" in found.summary()


@pytest.mark.parametrize("places", [(6,), (3, 4, 2)])
def test_any_number_of_axes(places):
    logits, y = fields(places=places)
    found = VectorScaling().fit(logits, y)
    assert found.predict_proba(logits).shape == logits.shape
    moved = found.module_(torch.from_numpy(logits)).softmax(1).detach().numpy()
    np.testing.assert_allclose(moved, found.predict_proba(logits), atol=1e-5)


def test_what_is_ignored_has_no_say():
    logits, y = fields()
    holes = np.random.default_rng(1).uniform(size=y.shape) < 0.3
    by_index = TemperatureScaling(ignore_index=9).fit(logits, np.where(holes, 9, y))
    by_mask = TemperatureScaling().fit(logits, y, sample_weight=(~holes).astype(float))
    of_rows = TemperatureScaling().fit(rows(logits)[~holes.ravel()], y[~holes])
    assert by_index.temperature_ == pytest.approx(of_rows.temperature_, rel=1e-9)
    assert by_mask.temperature_ == by_index.temperature_
    nonsense = logits.copy()
    np.moveaxis(nonsense, 1, -1)[holes] = 50 * np.random.default_rng(2).normal(size=(holes.sum(), 3))
    assert TemperatureScaling(ignore_index=9).fit(nonsense, np.where(holes, 9, y)).temperature_ == by_index.temperature_
    scored = by_index.score(logits, np.where(holes, 9, y))
    assert scored == pytest.approx((by_index.predict(logits) == y)[~holes].mean())


def test_scores_refuse_labels_that_are_no_classes():
    logits, y = fields()
    names = np.array(["ant", "bee", "cow"])[y]
    holes = np.random.default_rng(0).random(y.shape) < 0.2
    for labels, other in ((y, 255), (y, -1), (y, 3), (names, "dog")):
        found = TemperatureScaling().fit(logits, labels)
        with pytest.raises(ValueError, match=rf"y must hold labels among the classes \[.*; got \[{other!r}\]"):
            found.score(logits, np.where(holes, other, labels))
        # What has no weight may be anything, as in fit.
        masked = found.score(logits, np.where(holes, other, labels), sample_weight=~holes)
        assert masked == pytest.approx((found.predict(logits) == labels)[~holes].mean())
    with pytest.raises(ValueError, match=r"got \[-1\].*of places say ignore_index=-1"):
        TemperatureScaling().fit(logits, y).score(logits, np.where(holes, -1, y))
    for labels, weight in ((np.full(y.shape, -100), ~holes), (np.where(holes, -100, y), holes)):
        with pytest.raises(ValueError, match="a place whose class is known, and that has weight; got none"):
            TemperatureScaling().fit(logits, y).score(logits, labels, sample_weight=weight)


def test_one_logit_at_each_place():
    logits, y = fields(n_classes=2)
    single = logits[:, 1:] - logits[:, :1]
    found, expected = TemperatureScaling().fit(single, y), TemperatureScaling().fit(logits, y)
    assert found.temperature_ == pytest.approx(expected.temperature_, rel=1e-9)
    proba = 1 / (1 + np.exp(-single))
    of_proba = TemperatureScaling(response="probabilities").fit(proba, y)
    assert of_proba.temperature_ == pytest.approx(expected.temperature_, rel=1e-6)
    np.testing.assert_allclose(of_proba.predict_proba(proba), expected.predict_proba(logits), atol=1e-5)


def test_probabilities_at_each_place():
    logits, y = fields()
    proba = torch.softmax(torch.from_numpy(logits), 1)
    found = TemperatureScaling(response="probabilities").fit(proba, y)
    assert found.temperature_ == pytest.approx(TemperatureScaling().fit(logits, y).temperature_, rel=1e-6)
    with pytest.raises(ValueError, match="each row must sum to 1"):
        TemperatureScaling(response="probabilities").fit(proba / 2, y)


class WithLogits(nn.Module):
    def __init__(self, network, name):
        super().__init__()
        self.network, self.name = network, name

    def forward(self, x):
        return {self.name: self.network(x), "aux": self.network(x)}


@pytest.mark.parametrize("name", ["out", "logits"])
def test_networks_as_others_have_them(name):
    network = Segmenting()
    X, y = images(network=network)
    found, expected = (TemperatureScaling(each).fit(X, y) for each in (WithLogits(network, name), network))
    assert found.temperature_ == expected.temperature_
    # A Dataset that brings masks is the same.
    pairs = TensorDataset(X, torch.from_numpy(y))
    assert TemperatureScaling(network).fit(pairs).temperature_ == expected.temperature_
    assert TemperatureScaling(network).fit(pairs).score(pairs) == expected.score(X, y)


class Tagger(nn.Module):
    """Tokens to the logits of their classes, which come last, as Hugging Face's models have them."""

    def __init__(self, n_classes):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Embedding(30, 8), nn.Linear(8, n_classes))
        self.layers[1].weight.data.mul_(8)
        self.config = SimpleNamespace(num_labels=n_classes)

    def forward(self, input_ids, attention_mask):
        return SimpleNamespace(logits=self.layers(input_ids * attention_mask))


def tagged(network, n_classes, n_tokens, n_samples=60):
    """Padded tokens, and their classes, drawn at T = 2; those of padding are -100."""
    rng = np.random.default_rng(0)
    mask = np.arange(n_tokens) < rng.integers(2, n_tokens + 1, n_samples)[:, None]
    texts = {"input_ids": rng.integers(1, 30, mask.shape), "attention_mask": mask.astype(int)}
    with torch.no_grad():
        logits = network(**{name: torch.from_numpy(ids) for name, ids in texts.items()}).logits.movedim(-1, 1).numpy()
    y = (logits / 2 + rng.gumbel(size=logits.shape)).argmax(1) if n_classes > 1 else rng.integers(2, size=mask.shape)
    return texts, np.where(mask, y, -100), logits


@pytest.mark.parametrize(("n_classes", "n_tokens"), [(4, 9), (9, 4), (6, 6), (1, 5)])
def test_classes_of_tokens_come_last_where_the_config_says_how_many(n_classes, n_tokens):
    network = Tagger(n_classes).train()
    X, y, logits = tagged(network, n_classes, n_tokens)
    found, expected = VectorScaling(network).fit(X, y), VectorScaling().fit(logits, y)
    assert network.training
    np.testing.assert_allclose(found.predict_proba(X), expected.predict_proba(logits), atol=1e-6)
    assert found.score(X, y) == expected.score(logits, y)
    texts = {name: torch.from_numpy(ids) for name, ids in X.items()}
    moved = found.module_.eval()(**texts).softmax(1).detach().numpy()
    np.testing.assert_allclose(moved, found.predict_proba(X), atol=1e-6)
    # Whoever has moved them isn't moved again, nor is a network without a config.
    assert LogitsModule(LogitsModule(network))(**texts).shape == moved.shape
    last_to_second = partial(torch.movedim, source=-1, destination=1)
    assert LogitsModule(network, nonlinearity=last_to_second)(**texts).shape == moved.shape
    del network.config
    if n_classes > 1:
        with pytest.raises(ValueError, match=r"give LogitsModule\(network, nonlinearity=functools\.partial\(torch"):
            VectorScaling(network).fit(X, y)
    mended = VectorScaling(LogitsModule(network, nonlinearity=last_to_second)).fit(X, y)
    np.testing.assert_array_equal(mended.predict_proba(X), found.predict_proba(X))


class ClassesSecond(nn.Embedding):
    """Logits (n, K, tokens), of a network whose config has as many labels as there are tokens."""

    config = SimpleNamespace(num_labels=5)

    def forward(self, ids):
        return super().forward(ids).movedim(-1, 1)


def test_classes_second_that_a_config_takes_for_tokens():
    torch.manual_seed(0)
    network = ClassesSecond(30, 5)
    ids = torch.randint(30, (200, 5))
    y = (network(ids) + torch.randn(200, 5, 5)).argmax(1)
    for head in (network, LogitsModule(network)):
        with pytest.raises(
            ValueError, match=r"nonlinearity=torch\.nn\.Identity\(\)\).*config\.num_labels, was put second"
        ):
            TemperatureScaling(head).fit(ids, y)
    TemperatureScaling(LogitsModule(network, nonlinearity=nn.Identity())).fit(ids, y)


def test_tokens_have_no_number_of_features():
    ids = np.random.default_rng(0).integers(30, size=(60, 7))
    network = nn.Sequential(nn.Embedding(30, 4))
    network.config = SimpleNamespace(num_labels=4)
    found = TemperatureScaling(network).fit(ids, ids % 4)
    for X in (ids, torch.from_numpy(ids)):
        np.testing.assert_allclose(found.predict_proba(X[:, :5]), found.predict_proba(X)[:, :, :5], atol=1e-6)
    assert not hasattr(found, "n_features_in_")


def test_a_token_classifier_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs transformers: pip install 'skclamp[test]'")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    torch.manual_seed(0)
    model = transformers.BertForTokenClassification(transformers.BertConfig(vocab_size=30, num_labels=4, **sizes))
    model.classifier.weight.data.mul_(60)
    X, y, logits = tagged(model.eval(), 4, 7, 120)
    # As a collator makes them.
    calibrator = TemperatureScaling(model).fit({**X, "labels": y})
    assert calibrator.temperature_ == pytest.approx(TemperatureScaling().fit(logits, y).temperature_, rel=1e-4)
    calibrator.save(tmp_path / "tags.safetensors")
    again = TemperatureScaling.load(tmp_path / "tags.safetensors", estimator=model)
    np.testing.assert_array_equal(again.predict_proba(X), calibrator.predict_proba(X))
    clamped = NeuralClampingCalibrator(model, random_state=0).fit(X, y)
    assert clamped.predict_proba(X).shape == (120, 4, 7)


def test_places_of_several_sizes_are_told_the_mend():
    pairs = [(torch.zeros(2, *size), torch.zeros(size, dtype=torch.int64)) for size in ((6, 5), (8, 4))]
    # One that pads batches, say.
    loader = torch.utils.data.DataLoader(pairs, collate_fn=partial(torch.utils.data.default_collate))
    with pytest.raises(ValueError, match="one size where .* got batches of others. Resize, crop or pad"):
        TemperatureScaling(Segmenting()).fit(loader)


def test_upsampled_where_asked():
    X, y = images(size=8)
    small = nn.Sequential(Segmenting(), nn.AvgPool2d(2)).eval()
    with pytest.raises(ValueError, match=r"LogitsModule\(network, size=\(8, 8\)\) upsamples"):
        TemperatureScaling(small).fit(X, y)
    found = TemperatureScaling(LogitsModule(small, size=(8, 8))).fit(X, y)
    with torch.no_grad():
        logits = nn.functional.interpolate(small(X), size=(8, 8), mode="bilinear")
    assert found.temperature_ == TemperatureScaling().fit(logits, y).temperature_


MISTAKES = {
    "K last": (lambda z, y: (np.moveaxis(z, 1, -1), y), r"along axis 1.*logits\.movedim\(-1, 1\)"),
    "other places": (lambda z, y: (z, y[:, :3]), r"a class at each place of the logits; got places \(3, 7\)"),
    "255": (lambda z, y: (z, np.where(y == 0, 255, y)), "ignore_index=255"),
    "nothing known": (lambda z, y: (z, np.full_like(y, -100)), "a place whose class is known"),
    "one label a sample": (lambda z, y: (z, y[:, 0, 0]), r"got shape \(60,\)"),
    "rows": (lambda z, y: (z[:, :, 0, 0], y), r"one class label a sample"),
    "fractions": (lambda z, y: (z, y + 0.5), "continuous"),
    "more samples": (lambda z, y: (z, y[:50]), "inconsistent numbers of samples"),
    "a label too many": (lambda z, y: (z, np.where(y % 2, y, 7 * y + np.arange(7) % 2)), "distinct labels in y"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes(mistake):
    change, rule = MISTAKES[mistake]
    with pytest.raises(ValueError, match=rule):
        TemperatureScaling().fit(*change(*fields()))


@pytest.mark.parametrize("places", [(6, 6), (6,)])
def test_classes_last_are_told_by_labels_where_all_axes_are_equal(places):
    logits, y = fields(40, places=places, n_classes=6)
    TemperatureScaling().fit(logits, y)
    with pytest.raises(ValueError, match=r"along axis 1.*logits\.movedim\(-1, 1\)"):
        TemperatureScaling().fit(np.moveaxis(logits, 1, -1), y)


def test_a_column_of_masks_is_their_array():
    logits, y = fields()
    column = np.empty(len(y), dtype=object)
    column[:] = list(y)
    found, expected = (TemperatureScaling().fit(logits, each) for each in (column, y))
    assert found.temperature_ == expected.temperature_
    assert found.score(logits, column) == expected.score(logits, y)


def test_weights_of_places():
    logits, y = fields()
    weight = np.random.default_rng(0).uniform(0, 2, y.shape)
    weight[:5] = 0
    # Places share a weight, of which each has its own.
    told = {"sample_weight": weight.ravel() * 16 / 35}
    for kind in (TemperatureScaling, VectorScaling, PlattScaling, IsotonicCalibration):
        found = kind().fit(logits, y, sample_weight=weight).predict_proba(logits)
        expected = kind().fit(rows(logits), y.ravel(), **told).predict_proba(rows(logits))
        np.testing.assert_allclose(rows(found), expected, atol=2e-5)
    CalibratorSelector().fit(logits, y, sample_weight=weight)
    logits, y = fields_of_labels()
    for shape in (y[:, 0].shape, y.shape):
        weight = np.random.default_rng(0).uniform(0, 2, shape)
        found = TemperatureScaling(outputs="sigmoid").fit(logits, y, sample_weight=weight)
        weight = np.broadcast_to(weight if weight.ndim == y.ndim else weight[:, None], y.shape)
        expected = TemperatureScaling(outputs="sigmoid").fit(
            rows(logits), rows(y), sample_weight=rows(weight) * 16 / 30
        )
        assert found.temperature_ == pytest.approx(expected.temperature_, rel=1e-6)


def test_weights_of_labels():
    logits, y = (rows(each)[:400] for each in fields_of_labels())
    weight = np.random.default_rng(0).uniform(0, 2, y.shape)
    found = TemperatureScaling().fit(logits, y, sample_weight=weight)
    known = ~np.isnan(y)
    pairs = np.stack([np.zeros(known.sum()), logits[known]], 1)
    expected = TemperatureScaling().fit(pairs, y[known].astype(int), sample_weight=weight[known])
    assert found.temperature_ == pytest.approx(expected.temperature_, rel=1e-6)
    with pytest.raises(
        ValueError, match=r"sample_weight must have shape \(400,\): accuracy counts .* labels are all right"
    ):
        found.score(logits, np.nan_to_num(y), sample_weight=weight)
    # As if some weren't known.
    mask = weight > 0.5
    masked = PlattScaling().fit(logits, y, sample_weight=mask).predict_proba(logits)
    np.testing.assert_array_equal(masked, PlattScaling().fit(logits, np.where(mask, y, np.nan)).predict_proba(logits))
    unfitted, held = DecisionTreeClassifier(max_depth=2), "known everywhere where .* got sample_weight of 0 for some"
    for told, rule in ((weight, "must be a mask: .*outputs of a fitted estimator"), (mask, held)):
        with pytest.raises(ValueError, match=rule):
            TemperatureScaling(unfitted, cv=3).fit(logits, np.nan_to_num(y), sample_weight=told)


def test_weights_of_places_that_are_refused():
    logits, y = fields()
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(60,\), that of y, \(60, 5, 7\), or"):
        TemperatureScaling().fit(logits, y, sample_weight=np.ones((60, 5)))
    for wrong in (-1.0, np.nan, np.inf):
        weight = np.ones(y.shape)
        weight[3, 2, 1] = wrong
        with pytest.raises(ValueError, match="sample_weight must be finite, non-negative and"):
            TemperatureScaling().fit(logits, y, sample_weight=weight)
    X, y = images()
    weight = np.random.default_rng(0).uniform(1, 2, y.shape)
    rule = "sample_weight of the shape of y must be a mask"
    with pytest.raises(ValueError, match=rule):
        NeuralClampingCalibrator(Segmenting()).fit(X, y, sample_weight=weight)
    with pytest.raises(ValueError, match=rule):
        compare_calibrators(Segmenting(), X, y, X, y, params={"sample_weight": weight})
    logits, y = fields()
    weight = np.random.default_rng(0).uniform(1, 2, y.shape)
    # A score takes any.
    found = TemperatureScaling().fit(logits, y)
    expected = np.average(logits.argmax(1) == y, weights=weight)
    assert found.score(logits, y, sample_weight=weight) == pytest.approx(expected)


def fields_of_labels(n_samples=80, places=(6, 5), n_labels=3, seed=0):
    """Logits of labels at places, and labels drawn from half of them, shifted; some aren't known."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.normal(size=(n_samples, n_labels, *places))
    y = (logits / 2 - 0.5 + rng.logistic(size=logits.shape) > 0).astype(float)
    return logits, np.where(rng.random(y.shape) < 0.1, np.nan, y)


@pytest.mark.parametrize(
    "kind",
    [TemperatureScaling, EnsembleTemperatureScaling, PlattScaling, BetaCalibration, IsotonicCalibration],
    ids=lambda kind: kind.__name__,
)
def test_maps_of_labels_at_places_are_those_of_rows(kind, tmp_path):
    logits, y = fields_of_labels()
    found = kind(outputs="sigmoid").fit(logits, y)
    expected = kind().fit(rows(logits), rows(y), sample_weight=np.full(y[:, 0].size, 16 / 30))
    proba = found.predict_proba(logits)
    assert proba.dtype == np.float32
    np.testing.assert_allclose(rows(proba), expected.predict_proba(rows(logits)), atol=2e-5)
    np.testing.assert_array_equal(found.predict(logits), proba >= 0.5)
    with torch.no_grad():
        np.testing.assert_allclose(found.module_.eval()(torch.from_numpy(logits)).sigmoid(), proba, atol=1e-6)
    known = ~np.isnan(y)
    assert found.score(logits, y) == pytest.approx(np.mean((proba >= 0.5)[known] == y[known]))
    found.save(tmp_path / "labels.safetensors")
    np.testing.assert_array_equal(skclamp.load(tmp_path / "labels.safetensors").predict_proba(logits), proba)


def test_what_stands_for_unknown_labels_at_places():
    logits, y = fields_of_labels()
    mask = np.random.default_rng(1).random((80, 6, 5)) < 0.7
    found = PlattScaling(outputs="sigmoid").fit(logits, y, sample_weight=mask)
    numbers = np.where(np.isnan(y) | ~mask[:, None], 255, y).astype(int)
    again = PlattScaling(outputs="sigmoid", ignore_index=255).fit(logits, numbers)
    np.testing.assert_allclose(found.coef_, again.coef_, rtol=1e-9)
    data = TensorDataset(torch.from_numpy(logits).float(), torch.from_numpy(numbers))
    brought = PlattScaling(nn.Identity(), outputs="sigmoid", ignore_index=255).fit(data)
    np.testing.assert_allclose(brought.coef_, again.coef_, rtol=1e-4)
    weighted = found.score(logits, y, sample_weight=mask)
    assert weighted == pytest.approx(found.score(logits, np.where(mask[:, None], y, np.nan)))


MISTAKES_OF_LABELS = {
    "outputs aren't given": ({"outputs": "auto"}, lambda y: np.nan_to_num(y).astype(int), "or outputs='sigmoid'"),
    "a label less": ({}, lambda y: y[:, :2], r"y must have shape \(n_samples, 3, 6, 5\)"),
    "one label": ({}, lambda y: y[:, 0], r"y must have shape \(n_samples, 3, 6, 5\)"),
    "other places": ({}, lambda y: y[..., :4], r"y must have shape \(n_samples, 3, 6, 5\)"),
    "numbers of classes": ({}, lambda y: y + 1, r"y must hold labels among the classes \[0, 1\]; got \[2"),
    "nothing known": ({}, lambda y: y * np.nan, "y must have a label that is known"),
}


@pytest.mark.parametrize("mistake", MISTAKES_OF_LABELS)
def test_mistakes_of_labels_at_places(mistake):
    parameters, change, rule = MISTAKES_OF_LABELS[mistake]
    logits, y = fields_of_labels()
    with pytest.raises(ValueError, match=rule):
        PlattScaling(**{"outputs": "sigmoid", **parameters}).fit(logits, change(y))


def test_clamping_of_labels_at_places(network, tmp_path):
    def labelled(seed):
        rng = np.random.default_rng(seed)
        X = torch.from_numpy(rng.normal(size=(150, 2, 8, 8))).float()
        with torch.no_grad():
            logits = network.eval()(X).double().numpy()
        y = (logits / 1.5 + rng.logistic(size=logits.shape) > 0).astype(float)
        return X, np.where(rng.random(y.shape) < 0.1, np.nan, y)

    (X, y), (X_new, y_new), options = labelled(0), labelled(1), {"outputs": "sigmoid"}
    baseline = TemperatureScaling(network, **options).fit(X, y)
    kept = NeuralClampingCalibrator(network, output=None, random_state=0, **options).fit(X, y)
    assert not kept.accepted_
    np.testing.assert_array_equal(kept.predict_proba(X), baseline.predict_proba(X))

    def loss(calibrator):
        found, known = calibrator.predict_proba(0.5 * X_new + 0.3), ~np.isnan(y_new)
        return -np.log(np.where(y_new == 1, found, 1 - found)[known]).mean()

    shifted = NeuralClampingCalibrator(network, random_state=0, **options).fit(0.5 * X + 0.3, y)
    assert shifted.accepted_
    assert loss(shifted) < min(
        loss(kind(network, **options).fit(0.5 * X + 0.3, y)) for kind in (TemperatureScaling, PlattScaling)
    )
    shifted.save(tmp_path / "labels.safetensors")
    loaded = skclamp.load(tmp_path / "labels.safetensors", network)
    np.testing.assert_array_equal(loaded.predict_proba(X_new), shifted.predict_proba(X_new))
    with torch.no_grad():
        exported = torch.export.export(copy.deepcopy(shifted.module_.eval()), (X[:4],)).module()
        np.testing.assert_allclose(exported(X[:4]).sigmoid(), shifted.predict_proba(X[:4]), atol=1e-5)


@pytest.mark.parametrize("n_labels", [2, 3])
def test_scores_of_labels_at_places(n_labels):
    logits, y = fields_of_labels(n_labels=n_labels)
    found = TemperatureScaling(outputs="sigmoid").fit(logits, y)
    proba, known = found.predict_proba(logits), ~np.isnan(y)
    expected = -np.log(np.where(y == 1, proba, 1 - proba)[known]).mean()
    assert neg_log_likelihood_scorer(found, logits, y) == pytest.approx(-expected, rel=1e-5)
    assert negative_log_likelihood(y, proba) == pytest.approx(expected, rel=1e-5)
    error = expected_calibration_error(y[known], proba[known])
    assert neg_expected_calibration_error_scorer(found, logits, y) == pytest.approx(-error, rel=1e-4)
    display = ReliabilityDisplay.from_estimator(found, logits, y, n_resamples=10)
    assert display.bins.expected_gap() == pytest.approx(error, rel=1e-4)
    display.figure_.clear()
    with pytest.raises(ValueError, match="several labels at each place"):
        compare_calibrators(None, logits, y, logits, y, outputs="sigmoid")


def test_rows_where_fields_were_fitted():
    logits, y = fields()
    found = TemperatureScaling().fit(logits, y)
    with pytest.raises(ValueError, match="at each place"):
        found.predict_proba(logits[:, :, 0, 0])
    with pytest.raises(ValueError, match="one row a sample"):
        TemperatureScaling().fit(logits[:, :, 0, 0], y[:, 0, 0]).predict_proba(logits)
    # What fits anew goes by what it is given.
    found.fit(logits[:, :, 0, 0], y[:, 0, 0])
    assert found.predict_proba(logits[:, :, 0, 0]).shape == (60, 3)


def test_prior_shift_and_abstention_refuse():
    logits, y = fields()
    fitted = TemperatureScaling().fit(logits, y)
    with pytest.raises(ValueError, match="at each place"):
        skclamp.SelectiveClassifier(fitted).fit(logits, y)
    with pytest.raises(ValueError, match="at each place"):
        skclamp.PriorShiftCorrection(fitted).fit(logits, y)


def test_selector_counts_images():
    logits, y = fields(n_samples=150)
    found = CalibratorSelector().fit(logits, y)
    assert found.predict_proba(logits).shape == logits.shape
    assert found.best_score_ == pytest.approx(-nll(found, logits, y), rel=0.1)


def nll(calibrator, X, y):
    return -np.take_along_axis(calibrator.predict_log_proba(X), y[:, None], 1).mean()


@pytest.fixture(scope="module")
def network():
    return Segmenting().eval()


@pytest.fixture(scope="module")
def clamped(network):
    X, y = images(240, network=network, gain=0.5, offset=0.3)
    return NeuralClampingCalibrator(network, random_state=0).fit(X, y), X, y


def test_clamping_undoes_a_shift(network, clamped):
    calibrator, X, y = clamped
    assert calibrator.accepted_
    new, truth = images(240, seed=1, network=network, gain=0.5, offset=0.3)
    best = min(nll(kind(network).fit(X, y), new, truth) for kind in (TemperatureScaling, VectorScaling))
    assert nll(calibrator, new, truth) < 0.95 * best


def test_clamping_leaves_what_needs_nothing(network):
    X, y = images(240, network=network)
    found = NeuralClampingCalibrator(network, random_state=0, output=None).fit(X, y)
    assert not found.accepted_
    np.testing.assert_array_equal(found.predict_proba(X), TemperatureScaling(network).fit(X, y).predict_proba(X))


def test_saved_and_exported(network, clamped, tmp_path):
    calibrator, X, _ = clamped
    calibrator.save(tmp_path / "clamped.safetensors")
    loaded = skclamp.load(tmp_path / "clamped.safetensors", network)
    np.testing.assert_array_equal(loaded.predict_proba(X), calibrator.predict_proba(X))
    module = calibrator.module_.eval()
    with torch.no_grad():
        np.testing.assert_allclose(module(X).softmax(1).numpy(), calibrator.predict_proba(X), atol=1e-5)
    exported = torch.export.export(copy.deepcopy(module), (X[:4],)).module()
    np.testing.assert_allclose(exported(X[:4]).detach(), module(X[:4]).detach(), atol=1e-5)


def test_unlabelled_images(network):
    X, y = images(240, network=network, gain=0.5, offset=0.3)
    unlabelled, _ = images(400, seed=3, network=network, gain=0.5, offset=0.3)
    reference, _ = images(400, seed=4, network=network)
    found = NeuralClampingCalibrator(network, random_state=0)
    found.fit(X, y, X_unlabelled=unlabelled, X_reference=reference)
    new, truth = images(240, seed=1, network=network, gain=0.5, offset=0.3)
    assert found.unlabelled_verdict_.accepted
    assert nll(found, new, truth) < nll(TemperatureScaling(network).fit(X, y), new, truth)


@pytest.mark.parametrize("stride", [1, 2])
def test_views_that_move_places_move_logits_back(stride, tmp_path):
    network = Segmenting()
    if stride == 2:
        network.layers.append(nn.AvgPool2d(2))
    module = LogitsModule(network.eval())
    flip = HorizontalFlip()

    def labelled(seed):
        """Labels are drawn from what the network makes of an image and its mirror image together."""
        rng = np.random.default_rng(seed)
        X = torch.from_numpy(rng.normal(size=(150, 2, 8 * stride, 8 * stride))).float()
        with torch.no_grad():
            logits = ((module(X) + module(X.flip(-1)).flip(-1)) / 3).double().numpy()
        return X, (logits + rng.gumbel(size=logits.shape)).argmax(1)

    X, y = labelled(0)
    found = NeuralClampingCalibrator(network, perturbation=None, output=None, max_views=2, random_state=0).fit(X, y)
    assert [type(view) for view in found.views_] == [nn.Identity, HorizontalFlip]
    np.testing.assert_allclose(found.view_weights_, 0.5, atol=0.05)
    assert found.temperature_ == pytest.approx(1.5, abs=0.1)
    X, y = labelled(1)
    assert nll(found, X, y) < nll(TemperatureScaling(network).fit(*labelled(0)), X, y) - 0.02
    with torch.no_grad():
        by_hand = found.view_weights_[0] * module(X) + found.view_weights_[1] * module(flip(X)).flip(-1)
    np.testing.assert_allclose(found.predict_proba(X), (by_hand / found.temperature_).softmax(1), atol=1e-5)
    np.testing.assert_allclose(found.module_.eval()(X).softmax(1).detach(), found.predict_proba(X), atol=1e-5)
    found.save(tmp_path / "views.safetensors")
    loaded = skclamp.load(tmp_path / "views.safetensors", network)
    np.testing.assert_array_equal(loaded.predict_proba(X), found.predict_proba(X))


@pytest.mark.parametrize("view", [ImageShift(2, -4), ImageShift(-2, 2, flip=True), TimeShift(2), HorizontalFlip()])
@pytest.mark.parametrize("stride", [1, 2])
def test_views_move_back_what_they_have_moved(view, stride):
    shape = (16,) if isinstance(view, TimeShift) else (12, 16)
    x = torch.randn(1, 2, *shape, generator=torch.Generator().manual_seed(0))
    pool = partial(nn.functional.avg_pool1d if len(shape) == 1 else nn.functional.avg_pool2d, kernel_size=stride)
    # All but what came from over the border.
    inside = (..., *[slice(4 // stride, -4 // stride)] * len(shape))
    torch.testing.assert_close(view.moved_back(pool(view(x)), x)[inside], pool(x)[inside])


def test_views_that_move_parts_of_places_are_refused():
    network = Segmenting()
    network.layers.append(nn.AvgPool2d(2))
    X, _ = images(network=network)
    y = np.random.default_rng(0).integers(3, size=(len(X), 4, 4))
    with pytest.raises(
        ValueError, match=r"max_views must have views that leave places where they are or move them as whole ones"
    ):
        NeuralClampingCalibrator(network, max_views=[ImageShift(1, 0)]).fit(X, y)


def test_gamma_is_refused(network):
    X, y = images(network=network)
    with pytest.raises(ValueError, match="gamma must be 0"):
        NeuralClampingCalibrator(network, gamma=1.0, perturbation="affine").fit(X, y)


def test_a_million_places_do():
    logits, y = fields(20, places=(256, 256), n_classes=2)
    assert "from 20 samples: temperature_ = " in TemperatureScaling().fit(logits, y).summary()


@pytest.mark.filterwarnings("ignore:1 of 3 classes ha(ve|s) no sample:UserWarning")
@pytest.mark.parametrize("missing", [0, 2])
@pytest.mark.parametrize("size", [None, (16, 16)])
def test_clamping_does_a_missing_class_no_harm(size, missing):
    """Places of a class that nobody has labelled would best be ruled out."""
    network = Segmenting() if size is None else LogitsModule(Segmenting(), size=size)
    before, truth = images(400, network=network, temperature=0.7)
    y = np.where(truth == missing, -100, truth)[:200]
    for X, is_kept in ((before, False), (0.5 * before + 0.5, True)):
        clamping = NeuralClampingCalibrator(network, classes=range(3), output=None, random_state=0).fit(X[:200], y)
        plain, found = (
            TemperatureScaling(network, classes=range(3)).fit(X[:200], y),
            nll(clamping, X[200:], truth[200:]),
        )
        # Upsampled places without the first class say so little of it that folds may prove nothing.
        if not is_kept or size is None or missing == 2:
            assert clamping.accepted_ == is_kept
        assert found <= (0.9 if clamping.accepted_ else 1.02) * nll(plain, X[200:], truth[200:])


def compared(logits, y, new, truth, **options):
    options = {"n_resamples": 50, "n_draws": 20, "verbose": 0} | options
    return compare_calibrators(None, logits, y, new, truth, **options)


def test_compared_by_images(tmp_path):
    (logits, y), (new, truth) = fields(), fields(seed=1)
    maps = [TemperatureScaling(), VectorScaling()]
    comparison = compared(logits, y, new, truth, calibrators=maps)
    fitted = TemperatureScaling().fit(logits, y)
    row = comparison["TemperatureScaling"]
    assert row.nll == pytest.approx(nll(fitted, new, truth), rel=1e-5)
    assert row.accuracy == pytest.approx(fitted.score(new, truth))
    of_rows = compared(rows(logits), y.ravel(), rows(new), truth.ravel(), calibrators=maps)
    for name in ("d2_log_loss", "ece", "aece", "sce", "brier", "d2_brier", "aurc", "auroc"):
        assert getattr(row, name) == pytest.approx(getattr(of_rows["TemperatureScaling"], name), rel=1e-4)
    # Copies of each pixel prove no more.
    twice = compared(*(np.repeat(each, 4, -1) for each in (logits, y, new, truth)), calibrators=maps)
    assert twice["TemperatureScaling"].nll_se == pytest.approx(row.nll_se, rel=1e-6)
    assert twice["VectorScaling"].nll_difference_se == pytest.approx(
        comparison["VectorScaling"].nll_difference_se, rel=0.05
    )
    assert "35 places of each test sample" in " ".join(comparison.to_string(wide=True).split())
    comparison.to_html(tmp_path / "page.html")
    calibrator = comparison.calibrators["TemperatureScaling"]
    np.testing.assert_allclose(calibrator.predict_proba(new), fitted.predict_proba(new), atol=1e-6)


def test_compared_without_what_is_ignored():
    (logits, y), (new, truth) = fields(), fields(seed=1)
    holes = np.random.default_rng(1).uniform(size=y.shape) < 0.3
    masked = compared(logits, y, new, np.where(holes, -100, truth), calibrators=[TemperatureScaling()])
    kept = TemperatureScaling().fit(logits, y).predict_log_proba(new)
    expected = -np.take_along_axis(kept, truth[:, None], 1)[:, 0][~holes].mean()
    assert masked["TemperatureScaling"].nll == pytest.approx(expected, rel=1e-5)
    of_rows = compared(
        *map(rows, (logits,)), y.ravel(), rows(new)[~holes.ravel()], truth[~holes], calibrators=[TemperatureScaling()]
    )
    assert masked["TemperatureScaling"].ece == pytest.approx(of_rows["TemperatureScaling"].ece, rel=1e-3)
    assert masked["TemperatureScaling"].ece_floor == pytest.approx(of_rows["TemperatureScaling"].ece_floor, rel=0.3)


def test_a_monitor_counts_images(tmp_path):
    (logits, y), (new, truth) = fields(150), fields(150, temperature=4.0, seed=1)
    calibrator = TemperatureScaling(ignore_index=255).fit(logits, y)
    true = np.where(np.random.default_rng(0).random(y.shape) < 0.1, 255, fields(150, seed=1)[1])
    monitor = skclamp.CalibrationMonitor(calibrator).fit(*fields(150, seed=2))
    assert not monitor.never_true_
    monitor.partial_fit(new[:100], true[:100])
    monitor.save(tmp_path / "monitor.safetensors")
    monitor = skclamp.load(tmp_path / "monitor.safetensors", calibrator)
    monitor.partial_fit(new[100:], np.where(np.arange(50)[:, None, None] < 3, 255, true[100:]))
    assert (monitor.alarm_, monitor.n_samples_, monitor.n_missing_) == (False, 147, 3)
    assert "No alarm after 147 samples" in monitor.summary()
    assert "nats a place" in monitor.summary()
    assert monitor.partial_fit(new, truth).alarm_

    # As rows, the places of an image are a group.
    by_rows = skclamp.CalibrationMonitor(response="probabilities")
    proba, images_of_rows = rows(calibrator.predict_proba(new)).astype(float), np.repeat(np.arange(150), y[0].size)
    by_rows.partial_fit(proba / proba.sum(1, keepdims=True), truth.ravel(), groups=images_of_rows)
    by_images = skclamp.CalibrationMonitor(calibrator).partial_fit(new, truth)
    assert by_images.log_e_value_ == pytest.approx(by_rows.log_e_value_, rel=1e-4)
    of_logits = skclamp.CalibrationMonitor().partial_fit(new / calibrator.temperature_, truth)
    assert of_logits.log_e_value_ == pytest.approx(by_rows.log_e_value_, rel=1e-4)


def test_a_monitor_of_images_takes_copies_and_groups():
    logits, y = fields(100, temperature=1.0)
    once = skclamp.CalibrationMonitor().partial_fit(logits, y)
    for groups in (None, np.tile(np.arange(100), 3)):
        monitor = skclamp.CalibrationMonitor()
        monitor.partial_fit(np.tile(logits, (3, 1, 1, 1)), np.tile(y, (3, 1, 1)), groups=groups)
        assert monitor.n_samples_ == 100
        assert monitor.log_e_value_ == pytest.approx(once.log_e_value_)
    with pytest.raises(ValueError, match="y must have shape"):
        skclamp.CalibrationMonitor().partial_fit(logits, y[:, :3])
    with pytest.raises(ValueError, match="several labels at each place"):
        of_labels = TemperatureScaling(outputs="sigmoid").fit(*fields_of_labels())
        skclamp.CalibrationMonitor(of_labels).partial_fit(*fields_of_labels())


def test_a_monitor_of_dependent_places_has_few_false_alarms():
    n_alarms = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        logits = np.repeat(3 * rng.normal(size=(200, 3, 1)), 20, 2)
        # All places of an image are of one class.
        y = np.repeat((logits[..., 0] + rng.gumbel(size=(200, 3))).argmax(1)[:, None], 20, 1)
        n_alarms += skclamp.CalibrationMonitor(alpha=0.1).partial_fit(logits, y).alarm_
    assert n_alarms <= 9


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda y: y[:, 0, 0], "y_test must have a class at each place"),
        (lambda y: np.where(np.arange(len(y))[:, None, None], -100, y), "at least 2 samples"),
    ],
)
def test_test_sets_that_cannot_be_compared(change, rule):
    (logits, y), (new, truth) = fields(), fields(seed=1)
    with pytest.raises(ValueError, match=rule):
        compared(logits, y, new, change(truth), calibrators=[TemperatureScaling()])


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda y: y[:, 0], "a class at each place"),
        (lambda y: y.swapaxes(1, 2), "a class at each place"),
        (lambda y: np.full_like(y, -100), "a place whose class is known"),
        (lambda y: None, "requires y to be passed"),
    ],
)
def test_scores_check_what_they_are_given(change, rule):
    logits, y = fields()
    with pytest.raises(ValueError, match=rule):
        TemperatureScaling().fit(logits, y).score(logits, change(y))


def test_what_stands_for_no_class_is_no_class_of_a_sample():
    logits, y = fields()
    with pytest.raises(ValueError, match="leave these samples out"):
        TemperatureScaling().fit(rows(logits), np.where(y == 2, -100, y).ravel())
    one_hot = np.moveaxis(np.eye(3, dtype=int)[y], -1, 1)
    with pytest.raises(ValueError, match=r"give y\.argmax\(1\)"):
        TemperatureScaling().fit(logits, one_hot)


SUSPECTED = {
    "two classes swapped": (lambda z, y: (z[:, [1, 0, 2]], y), r"another order.*pass classes=\[1, 0, 2\]"),
    "names sorted": (lambda z, y: (z, np.array(["road", "car", "sky"])[y]), "another order"),
    "masks of other images": (lambda z, y: (z, np.roll(y, 1, axis=0)), "on 80 samples no better than guessing"),
}


@pytest.mark.parametrize("kind", [TemperatureScaling, VectorScaling])
@pytest.mark.parametrize("mistake", SUSPECTED)
def test_what_does_not_fit_the_places_is_told(mistake, kind):
    change, rule = SUSPECTED[mistake]
    for seed in range(3):
        z, y = fields(80, (6, 6), temperature=1.0, seed=seed)
        z = z - z.mean((2, 3), keepdims=True)
        y = (z + np.random.default_rng(seed).gumbel(size=z.shape)).argmax(1)
        with pytest.warns(CalibrationSetWarning, match=rule):
            kind().fit(*change(z, y))
        kind().fit(z, y)  # and no warning


def test_labels_beyond_the_columns_are_named_as_void():
    logits, y = fields()
    void = np.where(y[:, :1] == 0, 3, y)
    with pytest.raises(ValueError, match="got 3, by which many masks say .* give ignore_index=3"):
        TemperatureScaling().fit(logits, void)
    found = TemperatureScaling(ignore_index=3).fit(logits, void)
    expected = TemperatureScaling(ignore_index=-1).fit(logits, np.where(void == 3, -1, y))
    assert found.temperature_ == expected.temperature_
