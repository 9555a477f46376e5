"""PerturbationDisplay: what neural clamping learned to do to the inputs, and how the training went."""

from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted
from skorch.history import History
from torch import nn

from .._utils.parameters import check_whole_number
from ..perturbations._norm import changes_inputs
from ._axes import new_axes
from ._perturbation_panels import DRAWN, Panel, history_panels, image_panels, panels_of, view_panels


@dataclass(repr=False, eq=False)
class PerturbationDisplay:
    """The fitted perturbation of a clamping calibrator as pictures, bars or curves, and its training.

    Use :meth:`from_estimator` to make one. Offsets and gains are bars, one per channel, against the dotted line where
    they would do nothing. A matrix, filters, a grid and a delta of images are pictures. Tone curves are curves. Gains
    and offsets of features are shown by depth: for each normalisation layer, from the input on, the median, the middle
    half and the range. Given images, it shows some before and after. Where no perturbation was kept, the display says
    so.

    Parameters
    ----------
    perturbation : torch.nn.Module
        The fitted input transform: one of :mod:`skclamp.perturbations`, a torch.nn.Sequential of them, or any module,
        whose parameters are then shown one by one.
    temperature : float, default=None
        T, for the title.
    history : skorch.history.History, default=None
        Of the training; None or an empty one shows none.
    channel_names : list of str, default=None
        Names of the channels of X (features, where it is 2-dimensional), shown as long as there is room. None numbers
        them.
    input_range : (float, float), default=(0.0, 1.0)
        Inputs over which tone curves are drawn.
    views : list of torch.nn.Module, default=None
        Views of the perturbed input, whose weights get a panel; None is one pass.
    view_weights : array-like of shape (n_views,), default=None
        Their weights.
    images : list of (ndarray, ndarray), default=None
        Images of one or three channels, channels first, before and after the perturbation.
    last_layer : LastLayer, default=None
        What is added to the weights of the network's last layer, for the title; None is nothing.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes
        One per panel.
    figure_ : matplotlib Figure
        Figure that holds them.

    See Also
    --------
    skclamp.NeuralClampingCalibrator : Learns perturbations.

    References
    ----------
    Y.-C. Tang, P.-Y. Chen and T.-Y. Ho, "Neural Clamping", TMLR 2024.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import torch
    >>> from skclamp.display import PerturbationDisplay
    >>> from skclamp.perturbations import AffinePerturbation
    >>> display = PerturbationDisplay(AffinePerturbation((3, 8, 8)), channel_names=["red", "green", "blue"]).plot()
    >>> [ax.get_title() for ax in display.axes_]
    ['affine: gain', 'affine: offset']
    >>> plt.close(display.figure_)
    """

    perturbation: nn.Module
    _: KW_ONLY
    temperature: float | None = None
    history: History | None = None
    channel_names: list | None = None
    input_range: tuple[float, float] = (0.0, 1.0)
    views: list | None = None
    view_weights: np.ndarray | None = None
    images: list | None = None
    last_layer: Any = None

    @classmethod
    def from_estimator(
        cls, estimator, X=None, *, channel_names=None, input_range=(0.0, 1.0), show_history=True, n_columns=3
    ):
        """Show what a fitted calibrator learned.

        Parameters
        ----------
        estimator : NeuralClampingCalibrator
            Fitted.
        X : array-like, tensor, dict, Dataset or DataLoader, default=None
            Images as the estimator takes them, of one or three channels. The first three are shown before and after the
            perturbation, if it is one of the inputs. None shows none.
        channel_names : list of str, default=None
            Names of the channels; None numbers them.
        input_range : (float, float), default=(0.0, 1.0)
            Inputs over which tone curves are drawn.
        show_history : bool, default=True
            Whether to show the final training, if there was one.
        n_columns : int, default=3
            Panels side by side.

        Returns
        -------
        PerturbationDisplay
            The display, drawn.

        Raises
        ------
        TypeError
            If the estimator doesn't learn perturbations.
        NotFittedError
            If it isn't fitted.
        ValueError
            If `X` doesn't hold images; as :meth:`plot`.
        ImportError
            If matplotlib isn't installed.

        Examples
        --------
        >>> import matplotlib.pyplot as plt
        >>> import torch
        >>> from skclamp import NeuralClampingCalibrator
        >>> from skclamp.display import PerturbationDisplay
        >>> _ = torch.manual_seed(0)
        >>> network = torch.nn.Linear(2, 3)
        >>> X = 5 * torch.randn(500, 2)
        >>> y = torch.multinomial(network(X).softmax(1), 1)[:, 0]
        >>> X[:, 1] += 2  # the second sensor has lost its zero
        >>> calibrator = NeuralClampingCalibrator(network, perturbation="channel", random_state=0).fit(X, y)
        >>> display = PerturbationDisplay.from_estimator(calibrator, channel_names=["first", "second"])
        >>> [ax.get_title() for ax in display.axes_]
        ['channel: offset']
        >>> plt.close(display.figure_)
        """
        if not hasattr(estimator, "perturbation"):
            raise TypeError(
                "estimator must be a NeuralClampingCalibrator, which learns a perturbation; got "
                f"{type(estimator).__name__}"
            )
        check_is_fitted(estimator)
        # What acts within the network has nothing to show of them.
        shows_images = X is not None and (changes_inputs(estimator.perturbation_) or not estimator.accepted_)
        images = list(estimator._before_and_after(X)) if shows_images else None
        if images and (images[0][0].ndim != 3 or len(images[0][0]) not in (1, 3)):
            raise ValueError(
                "X must hold images of one or three channels, (channels, height, width), or be left out; got "
                f"{images[0][0].shape} each"
            )
        return cls(
            estimator.perturbation_,
            # Another output map takes its place.
            temperature=None if hasattr(estimator, "output_") else estimator.temperature_,
            history=getattr(estimator, "history_", None) if show_history else None,
            channel_names=channel_names,
            input_range=input_range,
            views=estimator.views_,
            view_weights=estimator.view_weights_,
            images=images,
            last_layer=getattr(estimator, "last_layer_", None),
        ).plot(n_columns=n_columns)

    def plot(self, *, n_columns=3):
        """Draw a panel for each part.

        Parameters
        ----------
        n_columns : int, default=3
            Panels side by side.

        Returns
        -------
        PerturbationDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib isn't installed.
        ValueError
            If `channel_names` aren't as many as there are channels, `input_range` isn't ascending, or `n_columns` is
            less than 1.
        """
        check_whole_number(n_columns, "n_columns")
        learned = list(panels_of(self.perturbation, self.channel_names, self.input_range))
        drawn = [
            *image_panels(self.images),
            *(learned or [Panel("no perturbation kept", "nothing", {})]),
            *view_panels(self.views, self.view_weights),
            *history_panels(self.history),
        ]
        rows = [drawn[start : start + n_columns] for start in range(0, len(drawn), n_columns)]
        # Two images side by side are half as high.
        heights = [0.5 if all(panel.kind == "photo" for panel in row) else 1.0 for row in rows]
        self.axes_ = new_axes(len(drawn), n_columns, size=(2.6, 2.5), heights=heights)
        self.figure_ = self.axes_[0].figure
        for panel, ax in zip(drawn, self.axes_, strict=True):
            DRAWN[panel.kind](ax, **panel.content)
            ax.set_title(panel.title, fontsize="medium")
        if self.temperature is not None:
            beside = "" if self.last_layer is None else f", and another last layer, {self.last_layer.name!r}"
            self.figure_.suptitle(f"T = {self.temperature:.4g}{beside}", x=0.01, ha="left", fontsize="medium")
        return self
