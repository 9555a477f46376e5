"""SelectiveModule: a calibrated network that answers above a threshold, and abstains elsewhere."""

import copy

import numpy as np
import torch
from torch import nn

from ._clamped import ClampedModule


class SelectiveModule(nn.Module):
    """Column index of the predicted class, or -1 where it abstains.

    Parameters
    ----------
    calibrated : torch.nn.Module
        Takes a batch of inputs to calibrated logits.
    threshold : float
        Of the largest probability or, with costs, of minus the least expected cost: what is above it is answered.
    costs : ndarray of shape (n_classes, n_classes), default=None
        Cost of each prediction, ``costs[true, predicted]``.

    Examples
    --------
    >>> import torch
    >>> from skclamp.modules import SelectiveModule
    >>> SelectiveModule(torch.nn.Identity(), 0.9)(torch.tensor([[0.0, 5.0], [0.0, 0.1]]))
    tensor([ 1, -1])
    """

    costs: torch.Tensor | None

    def __init__(self, calibrated, threshold, costs=None):
        super().__init__()
        if isinstance(calibrated, ClampedModule):
            # Rounded, all samples that tie could come to the threshold's other side.
            calibrated = copy.copy(calibrated)
            calibrated.rounds = False
        self.calibrated = calibrated
        # A number, which no change of the module's precision rounds.
        self.threshold = float(threshold)
        self.register_buffer("costs", None if costs is None else torch.from_numpy(np.array(costs, dtype=float)))

    def forward(self, *inputs, **named):
        """Columns of the answers, -1 where there is none."""
        proba = self.calibrated(*inputs, **named).double().softmax(1)
        scores, columns = proba.max(1) if self.costs is None else (-(proba @ self.costs.double())).max(1)
        return torch.where(scores > self.threshold, columns, -1)
