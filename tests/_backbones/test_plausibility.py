"""Silent nonsense: one warning that says what was seen and why it may be; none where all is fine."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import skclamp
from skclamp import (
    REFERENCE_SETTINGS,
    BetaCalibration,
    IsotonicCalibration,
    MatrixScaling,
    NeuralClampingCalibrator,
    PlattScaling,
    TemperatureScaling,
    VectorScaling,
)
from skclamp.exceptions import CalibrationSetWarning, TrainingDataWarning
from skclamp.modules import LogitsModule

KINDS = [TemperatureScaling, IsotonicCalibration, VectorScaling, NeuralClampingCalibrator]
OF_LARGE_T = ["X is on another scale", "another order", "too few samples", "is probabilities", "the samples trained"]
OF_SMALL_T = ["is probabilities", "the samples trained", "too few samples", "X is on another scale", "another order"]


def given(calibrator, X, y, **options):
    """What the package warns of in a fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        calibrator.fit(X, y, **options)
    return [(type(each.message), str(each.message)) for each in caught if each.category is not DeprecationWarning]


def around_logits(kind, **options):
    """A calibrator of logits, which clamping has as the outputs of a network."""
    return kind(nn.Identity() if kind is NeuralClampingCalibrator else None, **options)


def problem(n_samples=2000, n_classes=10, *, margin=3.0, scale=1.0, seed=0):
    """Logits that are calibrated but for their scale, of an accuracy that the margin sets."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n_samples)
    logits = rng.normal(size=(n_samples, n_classes))
    logits[np.arange(n_samples), y] += margin
    return margin * logits * scale, y


def test_nothing_is_said_of_ordinary_problems():
    """Up to the accuracy of MNIST, with biases, rare classes, sorted labels and weights among them."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2000, 1000)).astype(np.float32)
    for k in range(60):
        n_classes = (2, 10, 100, 1000)[k % 4]
        margin, y = rng.uniform(1.0, 3.5), rng.integers(n_classes, size=2000)
        logits = np.roll(noise, k, axis=0)[:, :n_classes].copy()
        logits[np.arange(2000), y] += margin
        logits *= np.float32(margin * rng.uniform(0.3, 4))
        logits += rng.normal(size=n_classes).astype("f4") * (k % 3) / 4
        rows = np.argsort(y) if k % 5 == 0 else np.arange(len(y))
        weight = rng.exponential(size=len(y)) if k % 7 == 0 else None
        assert given(TemperatureScaling(), logits[rows], y[rows], sample_weight=weight) == []


@pytest.mark.parametrize("kind", [*KINDS, PlattScaling, BetaCalibration, MatrixScaling])
def test_nothing_is_said_of_what_is_fine_by_any_calibrator(kind):
    assert given(around_logits(kind), *problem()) == []
    if kind is not NeuralClampingCalibrator:
        assert given(kind(), *problem(3000, margin=1.5)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_columns_in_another_order(kind):
    logits, y = problem()
    ((category, message),) = given(around_logits(kind), np.roll(logits, 1, axis=1), y)
    assert category is CalibrationSetWarning
    assert message.startswith("the columns may be in another order: the accuracy is 0.")
    assert f"pass classes={[9, *range(9)]}, a name for each column" in message
    assert given(around_logits(kind, classes=[9, *range(9)]), np.roll(logits, 1, axis=1), y) == []


def test_labels_that_count_from_one():
    logits, y = problem()
    some = y < 9
    ((_, message),) = given(TemperatureScaling(), logits[some], y[some] + 1)
    assert message.startswith("labels seem to count from 1: the accuracy is 0.")
    assert "if they do: give y - 1; labels 1 ... 9 are taken for column indices" in message
    names = np.array(list("abcdefghij"))
    ((_, message),) = given(TemperatureScaling(classes=names), logits[some], names[y[some] + 1])
    assert message.startswith("the columns may be in another order")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"perturbation": "affine"},
        {"perturbation": "affine", "validation_fraction": None},
        {"max_views": [nn.Identity(), nn.Tanh()]},
        {"X_unlabelled": True},
        {"perturbation": "affine", "gamma": "auto"},
    ],
    ids=str,
)
def test_labels_that_a_permutation_explains_teach_no_perturbation(options):
    options = dict(options)
    logits, y = problem(1000, margin=2.0)
    network = nn.Linear(10, 10, bias=False)
    nn.init.eye_(network.weight)
    X = logits.astype(np.float32)
    beside = {"X_unlabelled": X} if options.pop("X_unlabelled", None) else {}
    calibrator = NeuralClampingCalibrator(network, random_state=0, **options)
    messages = [message for _, message in given(calibrator, X, (y + 1) % 10, **beside)]
    assert any("the columns may be in another order" in message for message in messages)
    assert not calibrator.accepted_ and len(calibrator.views_) == 1
    assert (calibrator.predict(X) == logits.argmax(1)).all()
    assert "the labels fit the columns in another order" in calibrator.summary()


def test_names_are_taken_as_sorted():
    logits, y = problem(n_classes=3)
    names = np.array(["plane", "cat", "dog"])
    ((_, message),) = given(TemperatureScaling(), logits, names[y])
    assert "with classes ['cat', 'dog', 'plane']" in message
    assert given(TemperatureScaling(classes=names), logits, names[y]) == []


def test_labels_that_have_nothing_to_do_with_the_logits_have_no_other_order():
    rng = np.random.default_rng(0)
    for n_classes in (2, 5, 50):
        for _ in range(20):
            found = given(TemperatureScaling(), rng.normal(size=(500, n_classes)), rng.integers(n_classes, size=500))
            assert not [message for _, message in found if "another order:" in message]


class Model(nn.Module):
    """Hands its inputs on as logits, with Hugging Face's names of its columns."""

    def __init__(self, names):
        super().__init__()
        self.config = SimpleNamespace(id2label=dict(enumerate(names)))

    def forward(self, x):
        return SimpleNamespace(logits=x)


@pytest.mark.parametrize("wrap", [lambda model: model, LogitsModule, nn.DataParallel])
def test_a_hugging_face_model_names_its_columns(wrap):
    logits, y = problem(n_classes=3)
    names = np.array(["plane", "cat", "dog"])
    calibrator = TemperatureScaling(wrap(Model(names)))
    assert given(calibrator, logits, names[y]) == []
    assert calibrator.classes_.tolist() == names.tolist()
    assert calibrator.fit(logits[y < 2], names[y[y < 2]]).classes_.tolist() == names.tolist()
    assert calibrator.fit(logits, y).classes_.tolist() == [0, 1, 2]
    others = np.array(["c", "a", "b"])
    assert calibrator.set_params(classes=others).fit(logits, others[y]).classes_.tolist() == others.tolist()


def test_classes_that_the_samples_miss_are_no_nonsense():
    logits, y = problem(3000, 1000)
    few = y < 100
    assert given(TemperatureScaling(), logits[few], y[few]) == []
    poor, labels = problem(300, 1000, margin=0.3, seed=1)
    assert not [each for _, each in given(TemperatureScaling(), poor, labels) if "columns" in each.split(". ")[0]]


class Returning(nn.Module):
    """Two linear layers, and what is made of their outputs."""

    def __init__(self, wrap):
        super().__init__()
        torch.manual_seed(0)
        self.features, self.head, self.wrap = nn.Linear(4, 8), nn.Linear(8, 3), wrap

    def forward(self, x):
        features = self.features(x)
        return self.wrap(features, self.head(features))


def pair(features, logits):
    return features, logits


def entries(features, logits):
    return {"features": features, "scores": logits}


def inputs():
    X = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    logits = Returning(pair)(X)[1]
    return X, torch.multinomial(logits.softmax(1), 1, generator=torch.Generator().manual_seed(1))[:, 0].numpy()


@pytest.mark.parametrize(("wrap", "key"), [(pair, 1), (entries, "scores")])
@pytest.mark.parametrize("kind", [TemperatureScaling, NeuralClampingCalibrator])
def test_what_is_taken_of_several_things_is_said_and_can_be_chosen(kind, wrap, key, tmp_path):
    X, y = inputs()
    network = Returning(wrap)
    ((_, message),) = [each for each in given(kind(network), X, y) if "several things" in each[1]]
    assert ("item 0 of a tuple of 2 items" if wrap is pair else "entry 'features' of a mapping") in message
    chosen = kind(LogitsModule(network, output_key=key))
    assert given(chosen, X, y) == []
    assert chosen.temperature_ == kind(Returning(lambda _, logits: logits)).fit(X, y).temperature_
    chosen.save(tmp_path / "saved")
    loaded = skclamp.load(tmp_path / "saved", LogitsModule(network, output_key=key))
    np.testing.assert_array_equal(loaded.predict_proba(X), chosen.predict_proba(X))
    with pytest.raises(ValueError, match="estimator must be the network that the calibrator was fitted around"):
        skclamp.load(tmp_path / "saved", LogitsModule(network))


@pytest.mark.parametrize("n_classes", [2, 10])
@pytest.mark.parametrize("kind", KINDS)
def test_networks_without_their_weights(kind, n_classes):
    logits, y = problem(1000, n_classes)
    torch.manual_seed(0)
    untrained = nn.Sequential(nn.Linear(n_classes, 32), nn.ReLU(), nn.Linear(32, n_classes))
    y = np.random.default_rng(1).permutation(y)
    ((category, message),) = given(kind(untrained), np.float32(logits), y)
    assert category is CalibrationSetWarning
    assert f"samples no better than guessing among {n_classes} classes: are the trained weights loaded" in message
    assert "Likely causes" not in message


def test_rare_classes_and_few_samples_are_not_guessed_at():
    rng = np.random.default_rng(0)
    y = (rng.random(2000) < 0.05).astype(int)
    score = rng.normal(size=2000) + 1.5 * y - 4
    assert (score < 0).mean() > 0.99
    assert given(TemperatureScaling(), np.stack([-score, score], 1) / 2, y) == []
    few = given(TemperatureScaling(), rng.normal(size=(40, 2)), rng.integers(2, size=40))
    assert not [message for _, message in few if "guessing" in message]


def in_order(message, causes):
    places = [message.index(cause, message.index("Likely causes")) for cause in causes]
    return places == sorted(places)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_pixels_of_bytes_where_fractions_were_meant(kind):
    logits, y = problem(margin=2.0)
    low, span = logits.min(), np.ptp(logits)
    X = np.float32(np.round((logits - low) / span * 255))
    X[0, :2] = 0, 255
    network = nn.Linear(10, 10, bias=False)
    nn.init.eye_(network.weight).data.mul_(span)
    assert given(TemperatureScaling(network), X / 255, y) == []
    ((category, message),) = given(kind(network), X, y)
    assert category is CalibrationSetWarning
    assert "is extreme; the accuracy is" in message
    assert "and X ranges from 0 to 255" in message
    # Where a few steps from T = 1 would tell nothing.
    kept = NeuralClampingCalibrator(network, **{**REFERENCE_SETTINGS, "max_epochs": 1})
    ((_, message),) = given(kept, X, y)
    assert "the best temperature of the logits is" in message
    assert in_order(message, OF_LARGE_T)


@pytest.mark.parametrize("scale", [1 / 200, 200])
def test_extreme_temperatures(scale):
    ((category, message),) = given(TemperatureScaling(), *problem(scale=scale))
    assert category is CalibrationSetWarning
    assert message.startswith("temperature_ is ")
    assert in_order(message, OF_LARGE_T if scale > 1 else OF_SMALL_T)


@pytest.mark.parametrize("n_classes", [2, 10])
def test_outputs_of_sigmoids(n_classes):
    logits, y = problem(n_classes=n_classes)
    scores = logits[:, 1] - logits[:, 0] if n_classes == 2 else logits - 4
    ((category, message),) = given(TemperatureScaling(), 1 / (1 + np.exp(-scores)), y)
    assert category is CalibrationSetWarning
    assert message.startswith("what is taken for logits lies between 0 and 1")


def test_probabilities_and_training_data_are_told_once_with_the_rest():
    logits, y = problem()
    proba = torch.softmax(torch.from_numpy(logits), 1)
    ((_, message),) = given(TemperatureScaling(), proba, y)
    assert message.startswith("X, or what the network makes of it, holds rows that sum to 1")
    ((category, message),) = given(TemperatureScaling(nn.Identity()), logits, logits.argmax(1))
    assert category is TrainingDataWarning
    assert "temperature_ can't be learned from flawless samples" in message


def test_probabilities_after_a_fit_to_logits(tmp_path):
    logits, y = problem()
    proba = torch.softmax(torch.from_numpy(logits), 1)
    calibrator = TemperatureScaling().fit(logits, y)
    calibrator.save(tmp_path / "saved")
    around = TemperatureScaling(nn.Identity()).fit(logits, y)
    loaded = skclamp.load(tmp_path / "saved")
    for use in (calibrator.predict_proba, loaded.predict, loaded.transform_logits, around.transform_logits):
        with pytest.warns(CalibrationSetWarning, match="the rows given sum to 1, as probabilities do") as caught:
            use(proba)
        assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibrator.predict_proba(logits)
        around.predict_proba(logits)
        TemperatureScaling(response="logits").fit(proba, y).predict_proba(proba)
        TemperatureScaling(response="probabilities").fit(proba, y).predict_proba(proba)


def test_fewer_than_twenty_samples_for_each_parameter():
    ((_, message),) = given(VectorScaling(), *problem(300))
    assert message.startswith("VectorScaling is likely worse than one temperature: out of fold its NLL is ")
    assert "and fewer than 20 for each of the 20 parameters that it fits" in message
    logits, y = problem(19, 2, margin=1.0)
    assert "19 samples are fewer than 20 for the parameter" in given(TemperatureScaling(), logits, y)[0][1]
    assert "1 sample is fewer than 20" in given(TemperatureScaling(), logits[:1], y[:1])[0][1]
    assert given(TemperatureScaling(), *problem(300)) == []


def test_the_warning_stands_at_the_users_line_and_spares_what_fails():
    logits, y = problem()
    with pytest.warns(CalibrationSetWarning) as caught:
        TemperatureScaling().fit(np.roll(logits, 1, axis=1), y)
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="y must hold labels among the classes"):
            TemperatureScaling(classes=range(10)).fit(np.roll(logits, 1, axis=1), y + 5)
