"""The methods that Tang (2022) compares: each learns from calibration samples and yields test log-probabilities."""

from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import clone
from skorch.callbacks import Freezer
from torch.nn import functional
from torch.utils.data import Dataset

import skclamp
from _networks import without_normalization
from _scores import facts, predicted, scaled
from _thesis_tables import OUTPUT_ONLY, REFERENCE
from _timing import measure
from skclamp.metrics import expected_calibration_error

MAPS = {
    "vector": skclamp.VectorScaling(),
    "MS-ODIR": skclamp.MatrixScaling(),
    "Dir-ODIR": skclamp.DirichletCalibration(),
    "ETS": skclamp.EnsembleTemperatureScaling(),
    "IRM": skclamp.AccuracyPreservingIsotonic(),
    "spline": skclamp.SplineCalibration(),
    "PTS": skclamp.ParameterizedTemperatureScaling(),
    "SMS": skclamp.StructuredMatrixScaling(),
    "order-invariant": skclamp.IntraOrderPreservingCalibration(),
    "order-preserving": skclamp.IntraOrderPreservingCalibration(variant="order-preserving"),
}
# What is recorded of a fit.
FACTS = ("temperature", "accepted", "families", "forward", "backward", "seconds")
# Steps of 1 %.
ECE_GRID = np.geomspace(0.2, 5, 324)
# What the cutout is filled with: near the mean of natural images in [0, 1], which normalising makes 0.
GREY = 0.5


class Run(NamedTuple):
    """What tells one run from another; "" where a method has no such setting."""

    network: str
    method: str
    gamma: float | str
    n_calibration: int
    seed: int
    epochs: int | str


class Samples(NamedTuple):
    """Images in [0, 1], the network's logits of them, and their labels."""

    images: torch.Tensor
    logits: torch.Tensor
    labels: np.ndarray

    def part(self, n_samples, seed):
        """A part drawn at random, or all of them as they are."""
        if n_samples == len(self.labels):
            return self
        rows = np.random.default_rng(seed).permutation(len(self.labels))[:n_samples]
        return Samples(*(part[rows] for part in self))


class Problem(NamedTuple):
    """A network with its calibration and test samples."""

    network: torch.nn.Module
    calibration: Samples
    test: Samples


class AugmentedImages(Dataset):
    """Images that are augmented whenever one is read, and normalised."""

    def __init__(self, images, normalize):
        self.images, self.normalize = images, normalize

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.normalize(augmented(self.images[index])[None])[0]


def augmented(image, padding=1 / 8, cutout=1 / 4):
    """As in training: a crop of the image padded by a share of its side, mirrored or not, a square of grey cut out.

    The square's centre may lie anywhere, so that its part beyond the border is lost. Draws come from torch's global
    generator, as those of torchvision's transforms do: seed it before a fit.
    """
    height, width = image.shape[-2:]
    margin, side = round(padding * height), round(cutout * height)
    top, left = torch.randint(2 * margin + 1, (2,)).tolist()
    image = functional.pad(image, (margin,) * 4)[..., top : top + height, left : left + width]
    image = image.flip(-1) if torch.rand(()) < 0.5 else image.clone()
    top, left = (int(torch.randint(length, ())) - side // 2 for length in (height, width))
    image[..., max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = GREY
    return image


def calibrate(run, problem):
    """Log-probabilities of the test samples (n, K), and what the fit found and took: some of `FACTS`."""
    samples = problem.calibration.part(run.n_calibration, run.seed)
    return (output_only if run.method in OUTPUT_ONLY else clamping)(run, problem, samples)


def output_only(run, problem, samples):
    """What needs nothing but logits."""
    logits = problem.test.logits
    if run.method == "uncalibrated":
        return scaled(logits), {"temperature": 1.0}
    if run.method == "temperature, ECE":
        best, spent = measure(lambda: temperature_by_ece(samples.logits, samples.labels))
        return scaled(logits, best), {"temperature": best, "seconds": spent.wall}
    made = skclamp.TemperatureScaling(gamma=run.gamma) if run.method == "temperature" else clone(MAPS[run.method])
    made.set_params(classes=np.arange(logits.shape[1]))
    fitted, spent = measure(lambda: made.fit(samples.logits, samples.labels))
    found = {"temperature": fitted.temperature_} if run.method == "temperature" else {}
    return fitted.predict_log_proba(logits), {**found, "seconds": spent.wall}


def clamping(run, problem, samples):
    """Our defaults, or the reference's settings on inputs that are normalised as its authors' are, by the network."""
    network, images, test_images = problem.network, samples.images, problem.test.images
    if run.method in REFERENCE:
        normalize, network = without_normalization(network)
        given = images
        images, test_images = normalize(images), normalize(test_images)
        if run.method == "reference, augmented":
            images = AugmentedImages(given, normalize)
    classes = np.arange(problem.test.logits.shape[1])
    made = skclamp.NeuralClampingCalibrator(network, random_state=run.seed, classes=classes).set_params(**settings(run))
    torch.manual_seed(run.seed)
    fitted, spent = measure(lambda: made.fit(images, samples.labels))
    return predicted(fitted, test_images, problem.test.logits), {**facts(fitted), "seconds": spent.wall}


def settings(run):
    """Parameters of the calibrator of a run."""
    if run.method == "clamping":
        return {"gamma": run.gamma}
    frozen = [Freezer("temperature")] if run.method == "reference, input only" else None
    own = {"gamma": run.gamma, "max_epochs": run.epochs, "training__callbacks": frozen}
    return {**skclamp.REFERENCE_SETTINGS, **own}


def temperature_by_ece(logits, labels):
    """The temperature of `ECE_GRID` with the least ECE, the smallest of several."""
    errors = [expected_calibration_error(labels, np.exp(scaled(logits, value))) for value in ECE_GRID]
    return float(ECE_GRID[np.argmin(errors)])
