"""Cross-validation of a penalty's strength for the shared solver: regressions by fold, a walk from strong to weak."""

import numpy as np
import torch

from .softmax_regression import minimise

# Enough to rank strengths by their out-of-fold losses.
_TOLERANCE = 1e-6
# Nats by which the first folds may be worse before the others are spared.
_CLEARLY_WORSE = 1e-3


class Folds:
    """Regressions without each fold in turn, and those of the fold alone; they go on where they stopped.

    `regression` is a subclass of SoftmaxRegression, `data` the tensors that it is called with, of all samples, and
    `numbers` the number of the fold of each. Folds that hold all the weight, or none, are left out. `start` is where
    the parameters start, and what the penalty draws them towards.
    """

    def __init__(self, regression, data, numbers, start):
        features, y, weight = (values.to(data[0].device) for values in data)
        self.centre = start
        self.parts = []
        for number in range(numbers.max() + 1):
            inside = torch.from_numpy(numbers == number).to(features.device)
            share = weight[inside].sum().item()
            if 0 < share < weight.sum().item():
                kept, held_out = (regression(features[m], y[m], weight[m]) for m in (~inside, inside))
                self.parts.append((share, kept, held_out))
        self.parameters = [start] * len(self.parts)

    def out_of_fold_losses(self, penalty):
        """Yield each fold's loss under the parameters that are learned without it, a share of the mean NLL."""
        total = sum(share for share, _, _ in self.parts)
        for i, (share, kept, held_out) in enumerate(self.parts):
            found = minimise(kept, self.parameters[i], penalty, centre=self.centre, tolerance=_TOLERANCE)
            self.parameters[i] = found.parameters
            yield share / total * held_out.loss_and_gradient(found.parameters)[0]

    def walk(self, strengths, penalty_of, *, default):
        """The last of some strengths, from strong to weak, before the out-of-fold loss stops falling.

        The default is for data of which nothing can be held out.
        """
        if len(self.parts) < 2:
            return default
        best, chosen = [np.inf] * len(self.parts), default
        for strength in strengths:
            losses = []
            for loss in self.out_of_fold_losses(penalty_of(strength)):
                losses.append(loss)
                if len(losses) > 1 and sum(losses) > sum(best[: len(losses)]) + _CLEARLY_WORSE:
                    return chosen
            if sum(losses) >= sum(best):
                return chosen
            best, chosen = losses, strength
        return chosen
