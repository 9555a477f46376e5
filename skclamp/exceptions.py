"""The package's warnings and errors."""

from sklearn.exceptions import ConvergenceWarning

__all__ = [
    "CalibrationSetWarning",
    "CalibrationWarning",
    "ForwardError",
    "InputShiftWarning",
    "InterruptedFitWarning",
    "MemoryUseWarning",
    "NotConvergedWarning",
    "NotSavedWarning",
    "RankLostError",
    "TrainingDataWarning",
    "UnusedParameterWarning",
    "UnusedWeightWarning",
]


class CalibrationWarning(UserWarning):
    """Base of all warnings of the package.

    Examples
    --------
    >>> import warnings
    >>> import numpy as np
    >>> from skclamp import IsotonicCalibration
    >>> from skclamp.exceptions import CalibrationSetWarning
    >>> logits = np.random.default_rng(0).normal(size=(50, 3))
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", CalibrationSetWarning)
    ...     calibrator = IsotonicCalibration().fit(logits, np.arange(50) % 2)
    """


class NotConvergedWarning(CalibrationWarning, ConvergenceWarning):
    """An optimiser stopped early, or at a bound; scikit-learn's ConvergenceWarning too."""


class InterruptedFitWarning(NotConvergedWarning):
    """Training was interrupted, from the keyboard for instance; the best state so far is kept."""


class CalibrationSetWarning(CalibrationWarning):
    """The calibration set holds too little for what is asked of it, or isn't what it is taken for.

    Too few samples, classes or distinct scores. Labels in another order than the columns. Probabilities or features
    taken for logits. Inputs on another scale. Outputs that are no better than guesses. `fit` gives one warning of all
    that it sees: with a cause that the data show, or else with the likely causes, the likeliest first. The guide says
    what is looked for: see "What is noticed" of "Data as it comes".
    """


class TrainingDataWarning(CalibrationSetWarning):
    """The calibration set may be what trained the network.

    Given by `fit` where a fitted estimator is right on each of at least 500 samples. Their error rate is then below 0.6
    % with 95 % confidence, and how sure to be of errors can't be learned from them. An easy problem looks the same:
    only whoever split the data knows. So do a few errors that are near misses, at a temperature far on the sure side,
    as those of trees are in training. Other training data with a few errors can't be told by themselves, and pass.
    `compare_calibrators`, which has a test set, tells them by the two accuracies.
    """


class InputShiftWarning(CalibrationWarning):
    """Deployment's inputs have changed: class frequencies alone don't explain what the network makes of them."""


class UnusedWeightWarning(CalibrationWarning):
    """A classifier's ``fit`` takes no sample_weight, which then weighs the calibration alone."""


class UnusedParameterWarning(CalibrationWarning):
    """A parameter has no effect beside the others and the data."""


class MemoryUseWarning(CalibrationWarning):
    """Predictions at all places of samples, such as pixels, take more than 4 GB in one array."""


class NotSavedWarning(CalibrationWarning):
    """A parameter can't be saved with the calibrator."""


class ForwardError(ValueError, RuntimeError):
    """The network failed on a batch of inputs, which may have another shape than it takes.

    The message has the shape of the batch; ``__cause__`` is what the network raised. Errors of other classes than
    Python's own pass as they are, and so does a lack of memory.
    """


class RankLostError(RuntimeError):
    """A process that shares a fit has died or can't be reached; see `skclamp.distributed.sharded`."""
