"""The families of perturbations: small modules that start as the identity."""

from typing import ClassVar

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

__all__ = [
    "AffinePerturbation",
    "ChannelPerturbation",
    "ColorPerturbation",
    "CurvePerturbation",
    "FilterPerturbation",
    "FullPerturbation",
    "GridPerturbation",
]


def _per_channel(shape, fill):
    """A parameter that broadcasts over everything but channels, for inputs (n, C), (n, C, L), (n, C, H, W), ..."""
    return nn.Parameter(torch.full((shape[0],) + (1,) * (len(shape) - 1), float(fill)))


# Of more entries than this a repr shows the outermost ones alone.
MOST_SHOWN = 12


def shown(tensor):
    """A tensor's numbers, to 4 significant digits, on one line."""
    if tensor.is_meta:
        return "..."
    values = tensor.detach().squeeze().cpu().double().numpy()
    if values.ndim > 2:
        values = values.reshape(len(values), -1)
    text = np.array2string(
        values, separator=", ", threshold=MOST_SHOWN, edgeitems=2, formatter={"float_kind": "{:.4g}".format}
    )
    return " ".join(text.split())


class Perturbation(nn.Module):
    """Family of perturbations, with all that is known of it; a user's own module, which isn't one, has these defaults.

    Attributes
    ----------
    name : str
        What the parameter `perturbation` calls it.
    axes : tuple of int
        How many axes an input may have; any number where it is empty.
    tried_on_tables, tried_on_signals : bool
        Whether "auto" tries it on inputs of features, and on those of channels and positions.
    special_cases : tuple of str
        Families that can do no more than this one, and so are never worth a step after it.
    adds : bool
        Whether it does no more than add its only parameter.
    affine : bool
        Whether it is affine in the inputs, such that a linear layer can absorb it.
    pointwise : bool
        Whether it does the same at every place, and so commutes with looking at a window: what a convolution asks.
    any_size : bool
        Whether it may take inputs of other sizes than it was made for.
    starts : dict of str to float
        What parameters of one number a channel start at.
    pictures : dict of str to tuple
        How parameters are shown: a kind of picture, and the value, if any, that does nothing.
    tone_curve : bool
        Whether its curve is shown in their place.
    of_features : bool
        Whether it acts within the network, and leaves the inputs as they are.
    """

    name = ""
    axes: ClassVar[tuple[int, ...]] = ()
    tried_on_tables = False
    tried_on_signals = False
    special_cases: ClassVar[tuple[str, ...]] = ()
    adds = False
    affine = False
    pointwise = False
    any_size = True
    starts: ClassVar[dict[str, float]] = {}
    pictures: ClassVar[dict] = {}
    tone_curve = False
    of_features = False

    def __init__(self, shape):
        super().__init__()
        self.shape = tuple(shape)
        if self.axes and len(shape) not in self.axes:
            wanted = " or ".join(f"{n + 1}-dimensional" for n in self.axes)
            raise ValueError(
                f"perturbation={self.name!r} needs a channel axis and {wanted} X, (n_samples, n_channels, ...); got "
                f"inputs of shape {self.shape}. Use 'channel' or 'affine', or 'full'"
            )
        for name, start in self.starts.items():
            setattr(self, name, _per_channel(shape, start))

    def extra_repr(self):
        return ", ".join(f"{name}={shown(parameter)}" for name, parameter in self.named_parameters())


_BARS: dict = {"gain": ("bars", 1.0), "offset": ("bars", 0.0)}


class FullPerturbation(Perturbation):
    """One offset for every entry of the input: ``x + delta``.

    Parameters
    ----------
    shape : tuple of int
        Shape of one input.

    Attributes
    ----------
    delta : torch.nn.Parameter of shape ``shape``
        Starts at zero.

    References
    ----------
    Tang, Chen and Ho, "Neural Clamping", TMLR 2024, equation 5.

    Examples
    --------
    >>> import torch
    >>> from skclamp.perturbations import FullPerturbation
    >>> FullPerturbation((3, 2, 2))(torch.ones(1, 3, 2, 2)).sum().item()
    12.0
    """

    name = "full"
    adds = affine = True
    any_size = False
    pictures = {"delta": ("entries", 0.0)}

    def __init__(self, shape):
        super().__init__(shape)
        self.delta = nn.Parameter(torch.zeros(tuple(shape)))

    def forward(self, x):
        """Perturbed batch, of the same shape."""
        return x + self.delta


class ChannelPerturbation(Perturbation):
    """One offset per channel (a feature, where X is 2-dimensional): ``x + offset``.

    Parameters
    ----------
    shape : tuple of int
        Shape of one input, channels first.

    Attributes
    ----------
    offset : torch.nn.Parameter of shape (n_channels, 1, ...)
        Starts at zero.

    Examples
    --------
    >>> import torch
    >>> from skclamp.perturbations import ChannelPerturbation
    >>> ChannelPerturbation((3, 2, 2)).offset.shape
    torch.Size([3, 1, 1])
    """

    name = "channel"
    tried_on_tables = True
    adds = affine = pointwise = True
    starts = {"offset": 0.0}
    pictures = _BARS

    def forward(self, x):
        """Perturbed batch, of the same shape."""
        return x + self.offset


class AffinePerturbation(Perturbation):
    """Gain and offset per channel (a feature, where X is 2-dimensional): ``gain * x + offset``.

    Parameters
    ----------
    shape : tuple of int
        Shape of one input, channels first.

    Attributes
    ----------
    gain, offset : torch.nn.Parameter of shape (n_channels, 1, ...)
        Start at one and zero.

    Examples
    --------
    >>> import torch
    >>> from skclamp.perturbations import AffinePerturbation
    >>> AffinePerturbation((5,))(torch.ones(2, 5)).shape
    torch.Size([2, 5])
    """

    name = "affine"
    tried_on_tables = tried_on_signals = True
    special_cases = ("channel",)
    affine = pointwise = True
    starts = {"gain": 1.0, "offset": 0.0}
    pictures = _BARS

    def forward(self, x):
        """Perturbed batch, of the same shape."""
        return x * self.gain + self.offset


class CurvePerturbation(Perturbation):
    """One tone curve per channel: ``bend * x**2 + gain * x + offset``.

    What a wrong transfer function (gamma) or an exposure error does, it undoes to second order.

    Parameters
    ----------
    shape : tuple of int
        Shape of one input, channels first.

    Attributes
    ----------
    bend, gain, offset : torch.nn.Parameter of shape (n_channels, 1, ...)
        Start at zero, one and zero.

    Examples
    --------
    >>> import torch
    >>> from skclamp.perturbations import CurvePerturbation
    >>> CurvePerturbation((3, 8, 8)).bend.shape
    torch.Size([3, 1, 1])
    """

    name = "curve"
    tried_on_signals = True
    special_cases = ("channel", "affine")
    pointwise = True
    tone_curve = True
    starts = {"bend": 0.0, "gain": 1.0, "offset": 0.0}

    def forward(self, x):
        """Perturbed batch, of the same shape."""
        return x * (self.gain + self.bend * x) + self.offset


class ColorPerturbation(Perturbation):
    """A matrix across channels, and an offset: ``x'_c = sum_d matrix_cd x_d + offset_c``.

    Parameters
    ----------
    shape : tuple of int
        Shape of one input, channels first, with one to three axes behind.

    Attributes
    ----------
    matrix : torch.nn.Parameter of shape (n_channels, n_channels)
        Starts as the identity.
    offset : torch.nn.Parameter of shape (n_channels, 1, ...)
        Starts at zero.

    Raises
    ------
    ValueError
        If the inputs have no axis beside that of channels.

    Examples
    --------
    >>> import torch
    >>> from skclamp.perturbations import ColorPerturbation
    >>> ColorPerturbation((3, 8, 8)).matrix.shape
    torch.Size([3, 3])
    """

    name = "color"
    axes = (2, 3, 4)
    tried_on_signals = True
    special_cases = ("channel", "affine")
    affine = pointwise = True
    pictures = {"matrix": ("matrix", None)} | _BARS

    def __init__(self, shape):
        super().__init__(shape)
        self.matrix = nn.Parameter(torch.eye(shape[0]))
        self.offset = _per_channel(shape, 0)

    def forward(self, x):
        """Perturbed batch, of the same shape."""
        return torch.einsum("ij,nj...->ni...", self.matrix, x.to(self.matrix.dtype)) + self.offset


class FilterPerturbation(Perturbation):
    """A small filter for each channel, and an offset; the borders repeat the outermost entries.

    Parameters
    ----------
    shape : tuple of int
        Shape of one input, channels first: (n_channels, length) or (n_channels, height, width).
    size : int, default=3
        Odd width of the filter, in entries.

    Attributes
    ----------
    weight : torch.nn.Parameter of shape (n_channels, 1, size[, size])
        Starts as a unit impulse.
    offset : torch.nn.Parameter of shape (n_channels, 1[, 1])
        Starts at zero.

    Raises
    ------
    ValueError
        If the inputs are neither sequences nor images with channels, or `size` isn't odd or exceeds them.

    Examples
    --------
    >>> import torch
    >>> from skclamp.perturbations import FilterPerturbation
    >>> FilterPerturbation((3, 8, 8)).weight.shape
    torch.Size([3, 1, 3, 3])
    """

    name = "filter"
    axes = (2, 3)
    tried_on_signals = True
    special_cases = ("channel", "affine")
    affine = True
    pictures = {"weight": ("filters", None)} | _BARS

    def __init__(self, shape, size=3):
        super().__init__(shape)
        if size % 2 == 0 or size < 1 or size > min(shape[1:]):
            raise ValueError(f"size must be odd and at most the input's {min(shape[1:])} entries; got {size}")
        self.size = size
        n_axes = len(shape) - 1
        self.weight = nn.Parameter(nn.init.dirac_(torch.empty(shape[0], 1, *[size] * n_axes), groups=shape[0]))
        self.offset = _per_channel(shape, 0)
        self.padding = (size // 2,) * (2 * n_axes)

    def forward(self, x):
        """Perturbed batch, of the same shape."""
        convolve = F.conv1d if x.ndim == 3 else F.conv2d
        padded = F.pad(x.to(self.weight.dtype), self.padding, mode="replicate")
        return convolve(padded, self.weight, groups=len(self.weight)) + self.offset


class GridPerturbation(Perturbation):
    """A coarse map of gains and offsets, enlarged to the input linearly: ``gain_map * x + offset_map``.

    Dirt, shade and glare on a lens are the same for all channels, and so is the map.

    Parameters
    ----------
    shape : tuple of int
        Shape of one input, channels first: (n_channels, length) or (n_channels, height, width).
    size : int, default=6
        Entries of the map along each axis.

    Attributes
    ----------
    gain, offset : torch.nn.Parameter of shape (1, 1, size[, size])
        Start at one and zero.

    Raises
    ------
    ValueError
        If the inputs are neither sequences nor images with channels, or are smaller than the grid.

    Examples
    --------
    >>> import torch
    >>> from skclamp.perturbations import GridPerturbation
    >>> GridPerturbation((3, 32, 32), size=4).gain.shape
    torch.Size([1, 1, 4, 4])
    """

    name = "grid"
    axes = (2, 3)
    tried_on_signals = True
    affine = True
    pictures = {"gain": ("map", 1.0), "offset": ("map", 0.0)}

    def __init__(self, shape, size=6):
        super().__init__(shape)
        if not 1 <= size <= min(shape[1:]):
            raise ValueError(
                f"size must be at least 1 and no larger than the input's {min(shape[1:])} entries; got {size}"
            )
        self.size = size
        cells = (1, 1) + (size,) * (len(shape) - 1)
        self.gain = nn.Parameter(torch.ones(cells))
        self.offset = nn.Parameter(torch.zeros(cells))

    def forward(self, x):
        """Perturbed batch, of the same shape."""
        # Enlarging the gain's deviation keeps the identity exact: weights of an interpolation sum to 1 only nearly.
        return x + x * self._enlarge(self.gain - 1, x) + self._enlarge(self.offset, x)

    def _enlarge(self, cells, x):
        return F.interpolate(cells, x.shape[2:], mode="linear" if x.ndim == 3 else "bilinear")


def learnable(perturbation):
    """The parameters that may move: a user's module may hold others fixed."""
    return [parameter for parameter in perturbation.parameters() if parameter.requires_grad]


def n_learnable(perturbation):
    """Number of these, entry by entry."""
    return sum(parameter.numel() for parameter in learnable(perturbation))


def additive_part(perturbation, shape):
    """The tensor of one input's shape that a perturbation adds, or None where it does more than add."""
    parameters = list(perturbation.parameters())
    if not parameters:
        return torch.zeros(shape)
    return parameters[0].expand(shape) if family_of(perturbation).adds else None


def family_of(perturbation):
    """The class that knows what is to be known of a perturbation."""
    return type(perturbation) if isinstance(perturbation, Perturbation) else Perturbation


def flattened(perturbation):
    """The modules that a perturbation is made of, one after another, without those that do nothing."""
    if isinstance(perturbation, nn.Sequential):
        return [part for child in perturbation for part in flattened(child)]
    return [] if type(perturbation) is nn.Identity else [perturbation]


def is_ours(perturbation):
    """Return True for a family of the package itself, and not for a class derived from one."""
    return type(perturbation).__module__.startswith(__package__)


# Every family of transforms of the inputs by its name, in the order in which "auto" tries them.
PERTURBATIONS = {
    family.name: family
    for family in (
        FullPerturbation,
        ChannelPerturbation,
        AffinePerturbation,
        CurvePerturbation,
        ColorPerturbation,
        FilterPerturbation,
        GridPerturbation,
    )
}
