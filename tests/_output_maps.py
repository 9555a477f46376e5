"""Every output map with what its promises need: a public calibrator of logits is tested as soon as it is public."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from _small_networks import logits
from _templates import template

import skclamp
from skclamp import (
    CalibratorSelector,
    HistogramBinning,
    IntraOrderPreservingCalibration,
    NeuralClampingCalibrator,
    StructuredVectorScaling,
    TemperatureScaling,
    TorchTraining,
    VectorScaling,
)
from skclamp.base import BaseCalibrator
from skclamp.metrics import neg_brier_score_scorer

BY_CLASS = "maps each class by itself"
MIXES = "has one gain or one offset per class"


# Degenerate sets that a map warns of.
AT_BOUND = frozenset({"two samples", "all right", "all wrong", "huge logits"})
FEW_SCORES = frozenset({"two samples", "constant logits", "duplicates"})


@dataclass
class OutputMap:
    """How a calibrator of logits is made, what it warns of, and where it can't promise what the others do.

    Attributes
    ----------
    make : callable
        Yields it unfitted.
    changes_predictions : str
        Why the predicted class may change; empty where it can't.
    warns : frozenset of str
        The degenerate sets to which the fit is weak, and says so. A temperature is: no finite one is optimal.
    n_classes : int
        Up to how many classes it is tried on.
    """

    make: Callable[..., BaseCalibrator]
    changes_predictions: str = ""
    warns: frozenset = AT_BOUND
    n_classes: int = 1000

    def fit(self, X, y, **options):
        """The map, fitted."""
        return self.make().fit(X, y, **options)

    @cached_property
    def drawn(self):
        """The map fitted to what `draw` gives as it is, once; not to be changed."""
        return self.fit(*draw())


def public_calibrators():
    """Every public calibrator by name."""
    public = {name: getattr(skclamp, name) for name in skclamp.__all__}
    return {name: cls for name, cls in public.items() if isinstance(cls, type) and issubclass(cls, BaseCalibrator)}


PUBLIC = public_calibrators()
FEW = [("temperature", TemperatureScaling()), ("structured", StructuredVectorScaling()), ("vector", VectorScaling())]
CHOICE = "may choose a map that does"
BINS = {"changes_predictions": BY_CLASS, "warns": frozenset()}
# A million coefficients, at one strength after the other, take minutes.
MATRIX = {"changes_predictions": MIXES, "n_classes": 100}

# By name of the class: what is to be known of it. Everything else is made as it comes and promises all.
KNOWN = {
    # Its slope leaves the say to the uncalibrated probability where samples are few.
    "AccuracyPreservingIsotonic": {"warns": frozenset()},
    "BayesianBinningIntoQuantiles": BINS,
    "BetaCalibration": {"changes_predictions": BY_CLASS},
    "CalibratorSelector": {
        "make": partial(CalibratorSelector, candidates=FEW, n_folds=3),
        "changes_predictions": CHOICE,
        "n_classes": 200,
    },
    # A prior holds what the samples don't.
    "CovariateScaling": {"changes_predictions": BY_CLASS, "warns": frozenset()},
    "DirichletCalibration": MATRIX,
    "HistogramBinning": BINS,
    "IsotonicCalibration": BINS,
    "MatrixScaling": MATRIX,
    "PlattScaling": {"changes_predictions": BY_CLASS},
    "QuadraticScaling": {"changes_predictions": BY_CLASS},
    "SplineCalibration": {"warns": FEW_SCORES},
    "StructuredMatrixScaling": {"changes_predictions": MIXES},
    "StructuredVectorScaling": {"changes_predictions": MIXES},
    "VectorScaling": {"changes_predictions": MIXES},
    "VennAbersCalibration": BINS,
}
# What people copy.
COPIED = {
    "a map to copy, simple": OutputMap(template("map_simple").LogitScaling, warns=frozenset()),
    "a map to copy, full": OutputMap(
        template("map_full").BiasCorrectedTemperatureScaling, MIXES, frozenset({"all wrong"}), 100
    ),
}
FURTHER = {
    **COPIED,
    "focal temperature": OutputMap(partial(TemperatureScaling, gamma=1.0)),
    "quantile binning": OutputMap(partial(HistogramBinning, strategy="quantile"), **BINS),
    "order-preserving": OutputMap(partial(IntraOrderPreservingCalibration, variant="order-preserving")),
    "selector by Brier score": OutputMap(
        partial(CalibratorSelector, candidates=FEW, n_folds=3, scoring=neg_brier_score_scorer),
        CHOICE,
        n_classes=200,
    ),
}

OUTPUT_MAPS = {
    name: OutputMap(**{"make": cls, **KNOWN.get(name, {})})
    for name, cls in PUBLIC.items()
    if cls is not NeuralClampingCalibrator
} | FURTHER


@dataclass(frozen=True)
class Clamping:
    """How a calibrator of a network's inputs is made, and what keeps it from promising what others do.

    Attributes
    ----------
    make : callable
        Yields it unfitted, for a network.
    draws : str
        What it draws by the position of the samples, so that their order counts; empty where it draws nothing.
    """

    make: Callable[..., BaseCalibrator]
    draws: str = ""


SGD = partial(torch.optim.SGD, momentum=0.9)
WHOLE = {"training": TorchTraining(optimizer=SGD), "lr": 0.02, "batch_size": 4096, "max_epochs": 20}
MOVED = partial(NeuralClampingCalibrator, perturbation="affine", validation_fraction=None, random_state=0, **WHOLE)
CLAMPING = {
    "NeuralClampingCalibrator": Clamping(MOVED),
    "clamping with an output map": Clamping(partial(MOVED, output=StructuredVectorScaling())),
    "guarded natural steps": Clamping(
        partial(NeuralClampingCalibrator, output=None, random_state=0), "halves and batches"
    ),
}


def draw(n_samples=240, n_classes=4, seed=0):
    """Logits, and labels from an affine map of them, of which a share is drawn blindly: each family has work to do."""
    rng = np.random.default_rng(seed)
    Z = logits(n_samples, n_classes, seed=seed)
    scores = Z @ (np.eye(n_classes) + rng.normal(scale=0.1, size=(n_classes, n_classes))) / 2
    y = (scores + np.linspace(-0.7, 0.7, n_classes) + rng.gumbel(size=Z.shape)).argmax(1)
    return Z, np.where(rng.random(n_samples) < 0.15, rng.integers(n_classes, size=n_samples), y)
