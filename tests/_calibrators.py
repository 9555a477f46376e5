"""Every calibrator with data for it: output maps of logits, and the rows of `CALIBRATORS`.

What the map learns is promised of each of them; what the base does for all of them, of six that stand for the others.
"""

from functools import cached_property

import numpy as np
import pytest
from _output_maps import OUTPUT_MAPS
from _small_networks import bare_logits, convolutional, images, labels_of, logits, perceptron, softmax, vectors
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from skorch import NeuralNetClassifier
from torch import nn

from skclamp import (
    CalibratorSelector,
    DirichletCalibration,
    HistogramBinning,
    NeuralClampingCalibrator,
    PriorShiftCorrection,
    SplineCalibration,
    TemperatureScaling,
    TorchTraining,
    VectorScaling,
)

N_SAMPLES = 200
PLAIN = {
    "perturbation": "full",
    "training": TorchTraining(optimizer="sgd"),
    "max_epochs": 2,
    "validation_fraction": None,
    "random_state": 0,
}


def network_of(calibrator):
    """The estimator's module, if it has or is one; otherwise the estimator."""
    return getattr(calibrator.estimator, "module_", calibrator.estimator)


class Case:
    """An unfitted calibrator of four classes, inputs for it, and labels that the inputs say something of."""

    def __init__(self, make, X):
        self.make = make
        self.X = X

    @cached_property
    def y(self):
        """Drawn from a network's or the logits' probabilities, smoothed."""
        if self.X.ndim == 4:
            return labels_of(bare_logits(convolutional(), self.X))
        if self.X.shape[1] == 4:
            return labels_of(np.log(self.X) if self.X.min() > 0 else self.X)
        return labels_of(bare_logits(perceptron(), self.X.astype(np.float32)))

    @cached_property
    def fitted(self):
        """The calibrator, fitted once; not to be changed."""
        return self.make().fit(self.X, self.y)

    @property
    def knows_its_classes(self):
        """Whether the estimator names the columns."""
        return isinstance(self.make().estimator, (LogisticRegression, FrozenEstimator))

    @property
    def network(self):
        """What a new calibrator has for a network, see `network_of`."""
        return network_of(self.make())

    @property
    def aims_at_nll(self):
        """Whether what is learned has the least NLL on the samples themselves."""
        made = self.make()
        other = getattr(made, "gamma", 0) or getattr(made, "priors", None)
        return not (other or self.learns_its_classes or isinstance(made, SplineCalibration))

    @property
    def learns_its_classes(self):
        """Whether the estimator is fitted to the same labels."""
        return isinstance(self.make().estimator, LogisticRegression)


IMAGES, VECTORS, LOGITS = images(N_SAMPLES), vectors(N_SAMPLES).astype(np.float64), logits(N_SAMPLES)
PROBABILITIES = softmax(LOGITS)


def initialised_skorch_net():
    return NeuralNetClassifier(convolutional(), criterion=nn.CrossEntropyLoss).initialize()


def fitted_classifier():
    y = labels_of(bare_logits(perceptron(), vectors(N_SAMPLES)), seed=1)
    return FrozenEstimator(LogisticRegression().fit(VECTORS, y))


CALIBRATORS = {
    # A file holds no scorer.
    **{name: Case(made.make, LOGITS) for name, made in OUTPUT_MAPS.items() if name != "selector by Brier score"},
    "temperature of probabilities": Case(lambda: TemperatureScaling(response="probabilities"), PROBABILITIES),
    "temperature of a network": Case(lambda: TemperatureScaling(convolutional()), IMAGES),
    "focal temperature of a network": Case(lambda: TemperatureScaling(perceptron(), gamma=1.0), VECTORS),
    "temperature of a skorch net": Case(lambda: TemperatureScaling(initialised_skorch_net()), IMAGES),
    "temperature of a fitted classifier": Case(lambda: TemperatureScaling(fitted_classifier()), VECTORS),
    "temperature of an unfitted classifier": Case(lambda: TemperatureScaling(LogisticRegression(), cv=2), VECTORS),
    "clamping": Case(lambda: NeuralClampingCalibrator(convolutional(), random_state=0), IMAGES),
    "clamping without guard": Case(lambda: NeuralClampingCalibrator(convolutional(), **PLAIN), IMAGES),
    "clamping of vectors": Case(lambda: NeuralClampingCalibrator(perceptron(), random_state=0), VECTORS),
    "clamping of a skorch net": Case(lambda: NeuralClampingCalibrator(initialised_skorch_net(), **PLAIN), IMAGES),
    "clamping, chosen": Case(
        lambda: NeuralClampingCalibrator(convolutional(), perturbation="affine", gamma="auto", random_state=0),
        IMAGES,
    ),
    "clamping of a fitted classifier": Case(
        lambda: NeuralClampingCalibrator(fitted_classifier(), random_state=0), VECTORS
    ),
    "clamping of an unfitted classifier": Case(
        lambda: NeuralClampingCalibrator(LogisticRegression(), random_state=0), VECTORS
    ),
    "clamping of an unfitted classifier, chosen": Case(
        lambda: NeuralClampingCalibrator(LogisticRegression(), perturbation="channel", gamma="auto", random_state=0),
        VECTORS,
    ),
    "Dirichlet of probabilities": Case(lambda: DirichletCalibration(response="probabilities"), PROBABILITIES),
    "quantile binning of a network": Case(lambda: HistogramBinning(convolutional(), strategy="quantile"), IMAGES),
    "known class frequencies of a network": Case(
        lambda: PriorShiftCorrection(perceptron(), priors=[0.1, 0.2, 0.3, 0.4]), VECTORS
    ),
    "class frequencies of a calibrator": Case(lambda: PriorShiftCorrection(VectorScaling()), LOGITS),
    "selector of all": Case(CalibratorSelector, LOGITS),
    "selector of a network": Case(lambda: CalibratorSelector(convolutional(), n_folds=3), IMAGES),
}


REPRESENTATIVES = [
    "TemperatureScaling",
    "temperature of a network",
    "temperature of an unfitted classifier",
    "clamping of vectors",
    "clamping, chosen",
    "quantile binning of a network",
]


def _each(names, holds):
    kept = {name: CALIBRATORS[name] for name in names if holds(CALIBRATORS[name])}
    return pytest.mark.parametrize("case", kept.values(), ids=kept)


def every_map(holds=lambda case: True):
    """Parametrises a test by every calibrator of which something holds: of the others it would say nothing."""
    return _each(CALIBRATORS, holds)


def of_base(holds=lambda case: True):
    """The same by those of the representatives."""
    return _each(REPRESENTATIVES, holds)
