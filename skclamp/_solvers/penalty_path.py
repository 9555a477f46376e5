"""Cross-validation of a penalty's strength: regressions without each fold, a walk from strong to weak."""

import numpy as np
import torch

from .softmax_regression import SoftmaxRegression, minimise

# Of a decrease in a step of L-BFGS: enough to rank strengths by their out-of-fold losses.
_TOLERANCE = 1e-6
_CLEARLY_WORSE = 1e-3
# Of samples times parameters: where a pass multiplies more, one fold judges, as the fits take seconds each.
_ALL_FOLDS_SIZE = 2**30


def last_that_gains(tried, least_gain=0.0):
    """The last of some strengths, from strong to weak, before the sum of their losses stops falling by a least gain.

    `tried` yields each with its losses, one for each fold. One that is clearly worse on the first folds isn't taken.
    """
    best = None
    chosen = None
    for strength, losses in tried:
        if best is not None:
            rise = np.cumsum(losses - best)
            if rise[-1] >= -least_gain or (rise[1:] > _CLEARLY_WORSE).any():
                break
        best = losses
        chosen = strength
    return chosen


def folds_with_weight(numbers, weight):
    """Which samples each fold holds (n_folds, n_samples), without folds that hold no weight, or all."""
    folds = torch.from_numpy(numbers == np.arange(numbers.max() + 1)[:, None]).to(weight.device)
    held = folds.to(weight) @ weight
    return folds[(held > 0) & (held < weight.sum())]


class Folds:
    """Regressions without each fold in turn; they go on where they stopped.

    Of large regressions the first fold judges alone.

    Parameters
    ----------
    data : tuple
        Features, labels and weights, as in `SoftmaxRegression`; so is `mixes`.
    folds : torch.Tensor of shape (n_folds, n_samples), bool
        Which samples each fold holds.
    """

    def __init__(self, data, folds, *, mixes):
        features, _, weight = data
        if features.numel() * (features.shape[1] if mixes else 2) > _ALL_FOLDS_SIZE:
            folds = folds[:1]
        self.kept, self.held_out = (
            [SoftmaxRegression(*(values[rows] for values in data), mixes=mixes) for rows in parts]
            for parts in (~folds, folds)
        )
        shares = folds.to(weight) @ weight / (weight * folds).sum()
        self.shares = shares.cpu().numpy()
        self.parameters = [None] * len(folds)

    def losses(self, penalty):
        """Each fold's share of the mean NLL out of fold, under a penalty."""
        starts = zip(self.kept, self.parameters, strict=True)
        fits = [minimise(kept, penalty, start=start, tolerance=_TOLERANCE) for kept, start in starts]
        self.parameters = [fit.parameters for fit in fits]
        held_out = zip(self.held_out, self.parameters, strict=True)
        return self.shares * np.array([regression(theta)[0].item() for regression, theta in held_out])
