"""Digits from a camera that has fogged up, and a small network that was trained on clear ones."""

from importlib.resources import files
from numbers import Real

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.utils import Bunch
from torch import nn

DESCR = """\
Fogged digits
-------------

scikit-learn's digits, as a camera sees them whose lens has fogged up: black is dark grey, and white is light grey. A
convolutional network was trained on 300 clear ones until it was sure of all of them. It has not seen the others.

:images: float32 of shape (n, 1, 8, 8); without fog between 0 and 1
:labels: int64, 0 to 9
:to calibrate with: 600 images, ``X_cal`` and ``y_cal``
:to judge by: 897 images, ``X_test`` and ``y_test``
:network: two convolutions and a linear layer, 1,898 parameters; it yields logits of shape (n, 10)

The digits are a copy of the test set of the UCI ML hand-written digits datasets,
https://archive.ics.uci.edu/ml/datasets/Optical+Recognition+of+Handwritten+Digits (E. Alpaydin and C. Kaynak, 1998).
"""

# Of the file's "part", which says for each digit what it is for.
TRAIN, CALIBRATE, TEST = range(3)


def load_fogged_digits(*, fog=0.5):
    """Load digits from a camera that has fogged up, and a network that was trained on clear ones.

    The network is right on most clear digits, and too sure of itself. With fog it errs three times as often, which
    temperature scaling can't mend, and neural clamping can. Nothing is downloaded: the digits are scikit-learn's, and
    the weights, a few kB, come with the package.

    Parameters
    ----------
    fog : float in [0, 1), default=0.5
        Share of the contrast that the fog takes: a pixel of value v becomes ``fog / 2 + (1 - fog) * v``. At 0 the
        camera is the clear one that the network was trained for.

    Returns
    -------
    data : :class:`~sklearn.utils.Bunch`
        A dict whose keys are attributes, too.

        network : torch.nn.Module
            The classifier, in eval mode. It yields logits of shape (n, 10), and is a new one at each call.
        X_cal : ndarray of shape (600, 1, 8, 8), float32
            Images to calibrate with, which the network wasn't trained with.
        y_cal : ndarray of shape (600,), int64
            Their labels, 0 to 9.
        X_test : ndarray of shape (897, 1, 8, 8), float32
            Images to judge by.
        y_test : ndarray of shape (897,), int64
            Their labels.
        DESCR : str
            What the data are, and where they come from.

    Raises
    ------
    ValueError
        If `fog` is below 0, or 1 and above.

    References
    ----------
    E. Alpaydin and C. Kaynak, *Optical Recognition of Handwritten Digits*, UCI Machine Learning Repository, 1998.

    Examples
    --------
    >>> from skclamp import NeuralClampingCalibrator
    >>> from skclamp.datasets import load_fogged_digits
    >>> data = load_fogged_digits()
    >>> calibrator = NeuralClampingCalibrator(data.network, random_state=0).fit(data.X_cal, data.y_cal)
    >>> calibrator.score(data.X_test, data.y_test) > 0.9
    True
    """
    if not isinstance(fog, Real) or not 0 <= float(fog) < 1:
        raise ValueError(f"fog must be a number in [0, 1); got {fog!r}")
    images, labels = load_digits(return_X_y=True)
    images = (fog / 2 + (1 - fog) * images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    # On "meta" nothing is initialised, so that no random numbers are drawn.
    with torch.device("meta"):
        network = untrained_network()
    with files(__package__).joinpath("fogged_digits.npz").open("rb") as file, np.load(file) as held:
        network.load_state_dict({name: torch.from_numpy(held[name]) for name in network.state_dict()}, assign=True)
        part = held["part"]
    return Bunch(
        network=network.eval(),
        X_cal=images[part == CALIBRATE],
        y_cal=labels[part == CALIBRATE],
        X_test=images[part == TEST],
        y_test=labels[part == TEST],
        DESCR=DESCR,
    )


def untrained_network():
    """The network before ``tools/fogged_digits.py`` has trained it."""
    return nn.Sequential(
        nn.Conv2d(1, 8, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, kernel_size=3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 10),
    )
