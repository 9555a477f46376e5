"""Views of an input: parameter-free modules whose outputs a network takes for another look at the same thing."""

import torch
from torch import nn

__all__ = ["HorizontalFlip", "ImageShift", "TimeShift"]


def _moved(x, axis, steps):
    """Entries moved along an axis, those at the border repeated."""
    length = x.shape[axis]
    places = (torch.arange(length, device=x.device) - steps).clamp(0, length - 1)
    return x.index_select(axis, places)


class _Moving(nn.Module):
    """A view that moves places, such as pixels; logits at each of them are moved back."""

    def __init__(self, flip=False, **steps):
        super().__init__()
        for name, value in steps.items():
            if int(value) != value:
                raise ValueError(f"{name} must be a whole number; got {value!r}")
            setattr(self, name, int(value))
        self.flip = bool(flip)
        self._steps = tuple(map(int, steps.values()))

    def forward(self, x):
        """Moved batch, of the same shape."""
        for axis, steps in enumerate(self._steps, -len(self._steps)):
            x = _moved(x, axis, steps) if steps else x
        return x.flip(-1) if self.flip else x

    def _moves_back(self, places, of_logits):
        """Return whether logits at places (of_logits) of inputs of some places can be moved back."""
        return len(places) == len(of_logits) and all(
            steps * size % length == 0 for steps, size, length in zip(self._steps, of_logits, places, strict=True)
        )

    def moved_back(self, logits, x):
        """Return logits of a view of x, of shape (n_samples, n_classes, ...), at the places of x.

        Parameters
        ----------
        logits : torch.Tensor of shape (n_samples, n_classes, ...)
            As many along each axis as the inputs have, or in proportion. Those that the view moved over the border are
            taken from it.
        x : torch.Tensor of shape (n_samples, n_channels, ...)
            The inputs before the view.

        Returns
        -------
        torch.Tensor of shape (n_samples, n_classes, ...)
            The same logits, moved.
        """
        logits = logits.flip(-1) if self.flip else logits
        for axis, steps in enumerate(self._steps, 2):
            if steps:
                logits = _moved(logits, axis, -steps * logits.shape[axis] // x.shape[axis])
        return logits


class HorizontalFlip(_Moving):
    """Images mirrored left to right.

    See Also
    --------
    ImageShift : A shift, which may come with a flip.

    References
    ----------
    A. Hekler, T. J. Brinker and F. Buettner, "Test Time Augmentation Meets Post-hoc Calibration: Uncertainty
    Quantification under Real-World Conditions", AAAI 2023.

    Examples
    --------
    >>> import torch
    >>> from skclamp.perturbations import HorizontalFlip
    >>> HorizontalFlip()(torch.tensor([[[[1.0, 2.0, 3.0]]]]))
    tensor([[[[3., 2., 1.]]]])
    """

    title = "flip"

    def __init__(self):
        super().__init__(True, rows=0, columns=0)


class ImageShift(_Moving):
    """Images moved by some pixels, with the border repeated, and mirrored if asked for.

    Parameters
    ----------
    rows, columns : int
        How far down and to the right, in pixels; below 0 up and to the left.
    flip : bool, default=False
        Whether they are mirrored left to right, too.

    Raises
    ------
    ValueError
        If a number of pixels isn't whole.

    Examples
    --------
    >>> import torch
    >>> from skclamp.perturbations import ImageShift
    >>> ImageShift(0, 1)(torch.tensor([[[[1.0, 2.0, 3.0]]]]))
    tensor([[[[1., 1., 2.]]]])
    """

    def __init__(self, rows, columns, flip=False):
        super().__init__(flip, rows=rows, columns=columns)

    @property
    def title(self):
        """Name in summaries."""
        return f"{'flipped ' * self.flip}shift ({self.rows}, {self.columns})"

    def extra_repr(self):
        return f"rows={self.rows}, columns={self.columns}, flip={self.flip}"


class TimeShift(_Moving):
    """Sequences moved by some steps along their last axis, with the end repeated.

    Parameters
    ----------
    steps : int
        How far to later times; below 0 to earlier ones.

    Raises
    ------
    ValueError
        If it isn't a whole number.

    Examples
    --------
    >>> import torch
    >>> from skclamp.perturbations import TimeShift
    >>> TimeShift(-1)(torch.tensor([[[1.0, 2.0, 3.0]]]))
    tensor([[[2., 3., 3.]]])
    """

    def __init__(self, steps):
        super().__init__(steps=steps)

    @property
    def title(self):
        """Name in summaries."""
        return f"time shift {self.steps:+d}"

    def extra_repr(self):
        return f"steps={self.steps}"


VIEWS = (HorizontalFlip, ImageShift, TimeShift)

# A shift is this part of an input's length: a pixel of 32, seven of 224.
_SHARE = 32


def views_of(shape):
    """Candidate views of inputs of one shape, channels first; none where nothing is known of them."""
    if len(shape) == 3:
        step = max(1, round(min(shape[1:]) / _SHARE))
        moves = [(step, 0), (-step, 0), (0, step), (0, -step)]
        return [HorizontalFlip(), *(ImageShift(*move, flip) for flip in (False, True) for move in moves)]
    if len(shape) == 2:
        step = max(1, round(shape[1] / _SHARE))
        return [TimeShift(steps) for steps in (-2 * step, -step, step, 2 * step)]
    return []


def titles_of(views):
    """Names of some views in summaries, numbered where several would be called the same."""
    titles = [
        "as it is" if type(view) is nn.Identity else getattr(view, "title", type(view).__name__) for view in views
    ]
    return [
        title if titles.count(title) == 1 else f"{title} {titles[: place + 1].count(title)}"
        for place, title in enumerate(titles)
    ]
