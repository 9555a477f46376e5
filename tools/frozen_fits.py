"""The fits that `freeze.py` compares: `FITS`, a table of names and functions without arguments.

Each returns a fitted calibrator and inputs for it to predict, or a dict of whatever is to be compared. Only public
names are used, so that old code and new code run it alike.
"""

import math
import re
import tempfile
from dataclasses import asdict
from functools import cache, partial

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from skorch import NeuralNetClassifier
from torch import nn
from torch.nn import functional as F

import skclamp
from skclamp import metrics
from skclamp.perturbations import AffinePerturbation, GridPerturbation, HorizontalFlip

MAPS = [name for name in skclamp.__all__ if re.search("(Scaling|Calibration|Binning|Quantiles|Isotonic)$", name)]
METRICS = [name for name in metrics.__all__ if re.search("_(error|score|likelihood)$", name)]
FAMILIES = ("full", "channel", "affine", "curve", "color", "filter", "grid")
DRAWN_SCORES = ("ece_low", "ece_high", "ece_floor", "ece_floor_quantile")


def softmax(logits):
    """Probabilities."""
    return F.softmax(torch.from_numpy(logits), 1).numpy()


def noise(X):
    """What turns logits into labels."""
    return np.random.default_rng(7).gumbel(size=X.shape)


# Problems: an estimator, X and y to fit, and the last 40 inputs, to predict.


def problem(estimator, X, y):
    """Split so."""
    return estimator, X[:-40], y[:-40], X[-40:]


def logits(n_samples=440, n_classes=3, change=lambda X, y: (X, y)):
    """What is made of logits that are too large, and off, by amounts which differ between classes."""
    rng = np.random.default_rng(0)
    X = rng.normal(scale=3.0, size=(n_samples, n_classes))
    gains, offsets = rng.uniform(0.3, 0.7, n_classes), rng.normal(scale=0.7, size=n_classes)
    return problem(None, *change(X, (X * gains + offsets + noise(X)).argmax(1)))


def trained(network, X, y, n_epochs):
    """The network after so many epochs of Adam."""
    X, y = torch.as_tensor(X), torch.as_tensor(y)
    optimizer, generator = torch.optim.Adam(network.parameters(), lr=3e-3), torch.Generator().manual_seed(0)
    for _ in range(n_epochs):
        for rows in torch.randperm(len(X), generator=generator).split(64):
            optimizer.zero_grad()
            F.cross_entropy(network(X[rows]), y[rows]).backward()
            optimizer.step()
    return network.eval()


@cache
def digits():
    """A small convolutional network, and 1,197 images of three channels and labels that it hasn't seen."""
    images, y = load_digits(return_X_y=True)
    gray = torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    x = torch.cat([gray, 1 - gray, F.avg_pool2d(gray, 3, 1, 1)], 1)
    torch.manual_seed(0)
    first = [nn.Conv2d(3, 12, 3, padding=1, bias=False), nn.BatchNorm2d(12), nn.ReLU()]
    second = [nn.Conv2d(12, 24, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(24), nn.ReLU()]
    network = nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(24 * 16, 10))
    order = np.random.default_rng(0).permutation(len(y))
    return trained(network, x[order[:600]], y[order[:600]], 15), x[order[600:]], y[order[600:]]


FAULTS = {
    "none": lambda x: x,
    "gain": lambda x: x * torch.tensor([0.5, 1.2, 0.7]).view(3, 1, 1) + torch.tensor([0.3, -0.25, 0.0]).view(3, 1, 1),
    "colours": lambda x: x[:, [2, 0, 1]],
    "blur": lambda x: F.avg_pool2d(x, 3, 1, 1),
}


def camera(fault, n_samples=640, wrap=lambda network: network):
    """Digits as a faulty camera has them."""
    network, x, y = digits()
    return problem(wrap(network), FAULTS[fault](x)[:n_samples].numpy(), y[:n_samples])


def table(load, make=None, is_fitted=True, scale=1.0, shift=0.0):
    """A classifier or a perceptron trained on a fifth of a real table, and the rest of it, scaled and shifted."""
    X, y = load(return_X_y=True)
    X = ((X - X.mean(0)) / X.std(0)).astype(np.float32)
    X_train, X, y_train, y = train_test_split(X, y, train_size=0.2, stratify=y, random_state=0)
    if make:
        return problem(FrozenEstimator(make().fit(X_train, y_train)) if is_fitted else make(), X, y)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(X.shape[1], 32), nn.ReLU(), nn.Linear(32, y.max() + 1))
    return problem(trained(network, X_train, y_train, 40), scale * X + shift, y)


def drawn(*shape, shift=0.0, view=None, change=lambda network, X, y: (network, X, y)):
    """What is made of a random network on such inputs, and of labels that its own logits, or a view's too, tell."""
    torch.manual_seed(0)
    layers = {1: [], 2: [nn.Conv1d(shape[0], 6, 3, padding=1)], 3: [nn.Conv2d(shape[0], 6, 3, padding=1)]}[len(shape)]
    n_inputs = 6 * math.prod(shape[1:]) if layers else shape[0]
    network = nn.Sequential(*layers, nn.Tanh(), nn.Flatten(), nn.Linear(n_inputs, 4)).eval()
    x = torch.randn(540, *shape)
    with torch.no_grad():
        network[-1].weight.mul_(4 / network(x).std())
        scores = network(x) if view is None else network(x) + network(view(x))
    y = torch.multinomial((scores / 1.5).softmax(1), 1)[:, 0].numpy()
    return problem(*change(network, (x * (1 - shift / 2) + shift).numpy(), y))


def without_classes(data, *missing):
    """The samples to fit to of other classes."""
    estimator, X, y, X_new = data()
    rows = ~np.isin(y, missing)
    return estimator, X[rows], y[rows], X_new


def drawn_labels(shift=0.0, unknown=0.0):
    """A random network on images, and four labels that its logits tell one by one; some aren't known."""

    def change(network, X, y):
        with torch.no_grad():
            scores = network(torch.from_numpy((X - shift) / (1 - shift / 2)))
        rng = np.random.default_rng(3)
        labels = (rng.random(scores.shape) < (scores / 1.5).sigmoid().numpy()).astype(float)
        labels[rng.random(labels.shape) < unknown] = np.nan
        return network, X, labels

    return drawn(3, 6, 6, shift=shift, change=change)


def drawn_places(shift=0.0):
    """A random network of images that yields logits at each pixel, and a class at each of these."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Tanh(), nn.Conv2d(8, 4, 1)).eval()
    x = torch.randn(300, 3, 6, 6)
    with torch.no_grad():
        network[-1].weight.mul_(4 / network(x).std())
        proba = (network(x) / 1.5).softmax(1).movedim(1, -1)
    y = torch.multinomial(proba.reshape(-1, 4), 1).view(300, 6, 6).numpy()
    return problem(network, (x * (1 - shift / 2) + shift).numpy(), y)


class Tokens(nn.Module):
    """Tokens that are embedded, averaged and normalised."""

    def __init__(self):
        super().__init__()
        self.embedding, self.norm, self.head = nn.Embedding(20, 12), nn.LayerNorm(12), nn.Linear(12, 4)

    def forward(self, x):
        """Logits."""
        return self.head(self.norm(self.embedding(x).mean(1)))


def tokens(size):
    """A random network of tokens, and labels of one like it whose layer normalises otherwise."""
    torch.manual_seed(0)
    network, x = Tokens().eval(), torch.randint(20, (640, 10))
    with torch.no_grad():
        network.head.weight.mul_(3)
        before = network.norm.weight.clone()
        network.norm.weight.mul_(1 + size * torch.randn(12))
        y = torch.multinomial(network(x).softmax(1), 1)[:, 0].numpy()
        network.norm.weight.copy_(before)
    return problem(network, x.numpy(), y)


def unlabelled(fault, has_reference=True):
    """Parameters of a fit beside other images of the same camera, and of the one before it."""
    _, x, _ = digits()
    told = {"X_unlabelled": FAULTS[fault](x)[700:1100].numpy()}
    return lambda y: {**told, "X_reference": x[700:1100].numpy()} if has_reference else told


def named_inputs():
    """Images that have a name."""
    network, X, y, X_new = drawn(3, 6, 6, shift=0.6)
    return network, {"input": X}, y, {"input": X_new}


# Rows


def weights(y):
    """Some of 0, most around 1."""
    weight = np.random.default_rng(5).gamma(1.0, size=len(y))
    return {"sample_weight": np.where(weight < 0.1, 0.0, weight)}


def fit(name, data, params=lambda y: {}, **options):
    """A row: a calibrator of ours on such data, with parameters of its fit that depend on y."""

    def run():
        estimator, X, y, X_new = data()
        return getattr(skclamp, name)(estimator, **options).fit(X, y, **params(y)), X_new

    return run


def saved(row):
    """Written to a file and read again."""
    calibrator, X_new = row()
    with tempfile.TemporaryDirectory() as folder:
        calibrator.save(f"{folder}/saved.safetensors")
        return skclamp.load(f"{folder}/saved.safetensors", estimator=calibrator.estimator), X_new


def as_torch(row):
    """What ``module_`` yields."""
    calibrator, X_new = row()
    with torch.no_grad():
        return {"logits": calibrator.module_.eval()(torch.as_tensor(X_new))}


def compared(is_drawn):
    """Three maps side by side: the scores that are drawn at random, or the others."""
    estimator, X, y, _ = camera("gain", 1040)
    maps = [skclamp.TemperatureScaling(), skclamp.StructuredMatrixScaling(), skclamp.IsotonicCalibration()]
    halves = X[:500], y[:500], X[500:], y[500:]
    comparison = skclamp.compare_calibrators(estimator, *halves, calibrators=maps, n_resamples=100, n_draws=50)
    rows = {row.name: asdict(row).items() for row in comparison.rows}
    return {of: {name: value for name, value in row if (name in DRAWN_SCORES) == is_drawn} for of, row in rows.items()}


def watched(data, **options):
    """A monitor of a stream in eight pieces, of which some labels are missing."""
    estimator, X, y, _ = data()
    y, monitor, steps = y.astype(float), skclamp.CalibrationMonitor(estimator, **options), []
    y[::17] = np.nan
    for rows in np.array_split(np.arange(len(X)), 8):
        monitor.partial_fit(X[rows], y[rows])
        steps.append([monitor.log_e_value_, monitor.p_value_, monitor.temperature_, monitor.gain_])
    return {"steps": steps, "monitor": monitor}


def rare(n_kept, fault="none"):
    """Class frequencies where so many of each of the upper five digits are left."""
    network, x, y = digits()
    rows = [600 + np.flatnonzero(y[600:] == digit)[: None if digit < 5 else n_kept] for digit in range(10)]
    corrector = skclamp.PriorShiftCorrection(network).fit(x[:600].numpy(), y[:600])
    return corrector.adapt(FAULTS[fault](x)[np.concatenate(rows)].numpy()), x[-40:].numpy()


def measured(data):
    """Every metric, without weights and with them."""
    _, X, y, _ = data()
    proba = softmax(X) if X.ndim > 1 else 1 / (1 + np.exp(-X))
    values = {name: [getattr(metrics, name)(y, proba, **own) for own in ({}, weights(y))] for name in METRICS}
    parts = [metrics.calibration_refinement(y, proba, score=score)._asdict() for score in ("log_loss", "brier")]
    return {**values, "entropy": metrics.predictive_entropy(proba), "refinement": parts}


def resampled():
    """Intervals, floors and a test, all drawn at random."""
    _, X, y, _ = few()
    before, after = softmax(X), softmax(X / 2)
    interval = partial(metrics.bootstrap_interval, y_true=y, y_proba=before, n_resamples=100, random_state=0)
    floor = partial(metrics.calibration_noise_floor, y_proba=before, n_draws=100, random_state=0)
    test = partial(metrics.paired_bootstrap_test, n_resamples=200, random_state=0)
    values = {name: interval(getattr(metrics, name)) for name in METRICS}
    floors = {f"floor of {name}": floor(getattr(metrics, name)) for name in METRICS[2:5]}
    return {**values, **floors, "test": test(metrics.brier_score, y, before, after)}


few, many = logits, partial(logits, 840, 20)
two = partial(logits, 640, 2, lambda X, y: (X[:, 1] - X[:, 0], y))
probabilities = partial(logits, change=lambda X, y: (softmax(X), y))
votes = partial(logits, 440, 20, lambda X, y: (np.random.default_rng(2).multinomial(25, softmax(X)) / 25, y))
absent = partial(logits, 340, 20, lambda X, y: (X, np.where(np.isin(y, (4, 11)), 0, y)))
separable = partial(logits, change=lambda X, y: (X, X.argmax(1)))
true = partial(logits, 840, 20, lambda X, y: (X, (X + noise(X)).argmax(1)))
late = partial(logits, 840, 20, lambda X, y: (X, (X / np.linspace(1, 2, len(X)).round()[:, None] + noise(X)).argmax(1)))
gain, few_gain, none = partial(camera, "gain"), partial(camera, "gain", 440), partial(camera, "none")
mirrored = partial(drawn, 2, 6, 6, view=HorizontalFlip())
logistic, forest = partial(LogisticRegression, max_iter=1000), partial(RandomForestClassifier, 20, random_state=0)
mlp = partial(MLPClassifier, (16,), max_iter=100, tol=1e-2, random_state=0)
clamp = partial(fit, "NeuralClampingCalibrator", random_state=0)
reference = {**skclamp.REFERENCE_SETTINGS, "max_epochs": 5, "batch_size": 100}
skorch_net = partial(
    camera, "gain", wrap=lambda net: NeuralNetClassifier(net, criterion=nn.CrossEntropyLoss).initialize()
)
affine_and_grid = nn.Sequential(AffinePerturbation((3, 8, 8)), GridPerturbation((3, 8, 8), size=3))

CASES = {
    "few": partial(fit, data=few),
    "many, weights": partial(fit, data=many, params=weights),
    "two": partial(fit, data=two),
    "two, weights": partial(fit, data=two, params=weights),
    "probabilities": partial(fit, data=probabilities, response="probabilities"),
    "votes": partial(fit, data=votes, response="probabilities"),
    "absent classes": partial(fit, data=absent),
    "network": partial(fit, data=gain),
    "forest": partial(fit, data=partial(table, load_wine, forest)),
    "unfitted": partial(fit, data=partial(table, load_breast_cancer, GaussianNB, False), cv=3),
}

FITS = {
    # Maps of the output
    **{f"{name}: {case}": make(name) for name in MAPS for case, make in CASES.items()},
    "TemperatureScaling: focal": fit("TemperatureScaling", few, gamma=1.0),
    "TemperatureScaling: separable": fit("TemperatureScaling", separable),
    "TemperatureScaling: skorch net": fit("TemperatureScaling", skorch_net),
    "VectorScaling: separable": fit("VectorScaling", separable),
    "MatrixScaling: penalties given": fit("MatrixScaling", few, off_diagonal_penalty=0.01, intercept_penalty=0.1),
    "HistogramBinning: quantiles": fit("HistogramBinning", many, strategy="quantile"),
    "IntraOrderPreservingCalibration: variant": fit("IntraOrderPreservingCalibration", few, variant="order-preserving"),
    # Clamping: digits
    "clamping: no shift": clamp(none),
    "clamping: gain": clamp(gain),
    "clamping: colours": clamp(partial(camera, "colours")),
    "clamping: blur": clamp(partial(camera, "blur")),
    "clamping: few samples": clamp(partial(camera, "gain", 130)),
    **{f"clamping: {family}": clamp(few_gain, perturbation=family) for family in FAMILIES},
    "clamping: no perturbation": clamp(gain, perturbation=None),
    "clamping: own perturbation": clamp(few_gain, perturbation=affine_and_grid),
    "clamping: groups": clamp(gain, lambda y: {"groups": np.arange(len(y)) // 5}, validation_fraction=GroupKFold(2)),
    "clamping: weights": clamp(gain, weights, perturbation="affine"),
    "clamping: five folds": clamp(few_gain, perturbation="affine", validation_fraction=0.2),
    "clamping: no guard": clamp(gain, perturbation="affine", validation_fraction=None),
    "clamping: gamma, penalty": clamp(few_gain, perturbation="affine", gamma="auto", penalty=0.01),
    "clamping: Adam": clamp(few_gain, perturbation="affine", training=skclamp.TorchTraining(), max_epochs=3),
    "clamping: reference": clamp(few_gain, **reference),
    "clamping: output": clamp(gain, perturbation="affine", output=skclamp.StructuredVectorScaling()),
    "clamping: T of training": clamp(
        gain, perturbation="channel", training=skclamp.TorchTraining(refit_temperature=False)
    ),
    # Clamping: views, sequences, tables, classifiers
    "clamping: views": clamp(mirrored, perturbation=None, max_views=3),
    "clamping: views, shift": clamp(partial(mirrored, shift=0.8), max_views=[HorizontalFlip()]),
    "clamping: sequences": clamp(partial(drawn, 3, 12, shift=0.8)),
    "clamping: sequences, views": clamp(partial(drawn, 3, 12), max_views=2),
    "clamping: few features": clamp(partial(drawn, 6, shift=0.9)),
    "clamping: many features": clamp(partial(drawn, 200, shift=1.0)),
    "clamping: very many features": clamp(partial(drawn, 600, shift=1.0), perturbation="channel"),
    "clamping: very many features, no shift": clamp(partial(drawn, 600)),
    "clamping: wine": clamp(partial(table, load_wine, shift=0.8)),
    "clamping: cancer": clamp(partial(table, load_breast_cancer, scale=0.6, shift=0.3)),
    "clamping: classifier": clamp(partial(table, load_wine, mlp)),
    "clamping: unfitted": clamp(partial(table, load_breast_cancer, logistic, False)),
    "clamping: named inputs": clamp(named_inputs),
    "clamping: guessing": clamp(partial(drawn, 3, 6, 6, change=lambda network, X, y: (network, X / 100, y[::-1]))),
    # Clamping: features, other samples, other outputs
    **{f"clamping: norm, {fault}": clamp(partial(camera, fault), perturbation="norm") for fault in ("none", "blur")},
    "clamping: norm, many samples": clamp(partial(camera, "colours", 1150), perturbation="norm"),
    "clamping: norm, no guard": clamp(gain, perturbation="norm", validation_fraction=None),
    "clamping: norm, gamma": clamp(gain, perturbation="norm", gamma="auto"),
    **{f"clamping: tokens, {size}": clamp(partial(tokens, size)) for size in (0.0, 0.6)},
    "clamping: views of images": clamp(gain, max_views=2),
    "clamping: views, no guard": clamp(mirrored, perturbation=None, max_views=2, validation_fraction=None),
    "clamping: views, groups": clamp(mirrored, lambda y: {"groups": np.arange(len(y)) // 2}, max_views=2),
    **{f"clamping: unlabelled, {fault}": clamp(partial(camera, fault), unlabelled(fault)) for fault in FAULTS},
    "clamping: unlabelled, norm": clamp(few_gain, unlabelled("gain", False), perturbation="norm"),
    "clamping: unlabelled alone": clamp(few_gain, unlabelled("gain"), perturbation=None, output=None),
    "clamping: groups, auto": clamp(gain, lambda y: {"groups": np.arange(len(y)) // 3}),
    "clamping: groups, few": clamp(gain, lambda y: {"groups": np.arange(len(y)) // 30}),
    "clamping: without a class": clamp(partial(without_classes, gain, 3)),
    "clamping: without five classes": clamp(partial(without_classes, none, 1, 3, 5, 7, 9)),
    "selector: without a class": fit("CalibratorSelector", partial(without_classes, many, 3), n_folds=3),
    **{
        f"clamping: {fault}, {n} samples": clamp(partial(camera, fault, n + 40))
        for fault in ("none", "gain")
        for n in (60, 300, 900)
    },
    "clamping: output, no guard": clamp(
        gain, perturbation="affine", output=skclamp.VectorScaling(), validation_fraction=None
    ),
    "clamping: output, no perturbation": clamp(gain, perturbation=None, output=skclamp.StructuredMatrixScaling()),
    "clamping: no guard, auto": clamp(gain, validation_fraction=None),
    "clamping: no output": clamp(gain, output=None),
    **{f"clamping: labels, {shift}": clamp(partial(drawn_labels, shift)) for shift in (0.0, 0.8)},
    "clamping: unknown labels": clamp(partial(drawn_labels, 0.8, 0.3)),
    **{
        f"{name}: labels": fit(name, partial(drawn_labels, 0.8, 0.1))
        for name in ("TemperatureScaling", "PlattScaling", "IsotonicCalibration", "CalibratorSelector")
    },
    **{f"clamping: places, {shift}": clamp(partial(drawn_places, shift)) for shift in (0.0, 0.8)},
    **{
        f"{name}: places": fit(name, partial(drawn_places, 0.8))
        for name in ("TemperatureScaling", "StructuredVectorScaling", "CalibratorSelector")
    },
    # Selection
    "selector: few": fit("CalibratorSelector", few),
    "selector: weights": fit("CalibratorSelector", few, weights, n_folds=3),
    "selector: many": fit("CalibratorSelector", many, n_folds=3),
    "selector: two": fit("CalibratorSelector", two, n_folds=3),
    "selector: network": fit("CalibratorSelector", few_gain, n_folds=2),
    "comparison": partial(compared, False),
    # After deployment
    "monitor: quiet": partial(watched, true),
    "monitor: alarm": partial(watched, many),
    "monitor: restarting": partial(watched, late, average_run_length=1000, tolerance=0.0),
    "monitor: calibrator": partial(watched, lambda: (fit("TemperatureScaling", none)()[0], *gain()[1:])),
    "frequencies: changed": partial(rare, 6),
    "frequencies: as they were": partial(rare, None),
    "frequencies: other inputs": partial(rare, None, "gain"),
    "frequencies: given": fit("PriorShiftCorrection", none, priors=np.arange(1, 11) / 55),
    # Files, modules, errors
    "saved: clamping": partial(saved, clamp(few_gain, perturbation="affine")),
    "saved: isotonic": partial(saved, fit("IsotonicCalibration", few)),
    "module: clamping": partial(as_torch, clamp(few_gain, perturbation="affine")),
    "module: Venn-Abers": partial(as_torch, fit("VennAbersCalibration", gain)),
    "error: NaN": fit("TemperatureScaling", lambda: (None, np.full((9, 3), np.nan), np.arange(9) % 3, None)),
    "error: labels": fit("VectorScaling", lambda: (None, np.ones((9, 3)), np.arange(9), None)),
    # Metrics
    "metrics: few": partial(measured, few),
    "metrics: many": partial(measured, many),
    "metrics: two": partial(measured, two),
    # What is drawn at random may change where the way of drawing does
    "resampled: comparison": partial(compared, True),
    "resampled: metrics": resampled,
}
