"""Cross-validation of a penalty's strength for the shared solver: regressions by fold, a walk from strong to weak."""

import numpy as np
import torch

from .joint_newton import JointRegressions, are_small
from .softmax_regression import RIDGE, minimise

# Enough to rank strengths by their out-of-fold losses.
_TOLERANCE = 1e-6
# Nats by which the first folds may be worse before the others are spared.
_CLEARLY_WORSE = 1e-3


def folds_of(regression, data, numbers, start):
    """`Folds` or, for few samples of few classes, `SmallFolds`; the parameters are theirs."""
    small = are_small(data[0], numbers.max() + 1)
    return (SmallFolds if small else Folds)(regression, data, numbers, start)


class Folds:
    """Regressions without each fold in turn, and those of the fold alone; they go on where they stopped.

    `regression` is a subclass of SoftmaxRegression, `data` the tensors that it is called with, of all samples, and
    `numbers` the number of the fold of each. Folds that hold all the weight, or none, are left out. `start` is where
    the parameters start, and what the penalty draws them towards.
    """

    def __init__(self, regression, data, numbers, start):
        features, y, weight = (values.to(data[0].device) for values in data)
        self.centre = start
        held = [torch.from_numpy(numbers == number).to(features.device) for number in range(numbers.max() + 1)]
        held = [inside for inside in held if 0 < weight[inside].sum().item() < weight.sum().item()]
        self.shares = [weight[inside].sum().item() for inside in held]
        self.parameters = [start] * len(held)
        self._divide(regression, features, y, weight, held)

    def _divide(self, regression, features, y, weight, held):
        self.parts = [[regression(features[m], y[m], weight[m]) for m in (~inside, inside)] for inside in held]

    def out_of_fold_losses(self, penalty):
        """Yield each fold's loss under the parameters that are learned without it, a share of the mean NLL."""
        total = sum(self.shares)
        for i, (share, (kept, held_out)) in enumerate(zip(self.shares, self.parts, strict=True)):
            found = minimise(kept, self.parameters[i], penalty, centre=self.centre, tolerance=_TOLERANCE)
            self.parameters[i] = found.parameters
            yield share / total * held_out.loss_and_gradient(found.parameters)[0]

    def walk(self, strengths, penalty_of, *, default):
        """The last of some strengths, from strong to weak, before the out-of-fold loss stops falling.

        The default is for data of which nothing can be held out.
        """
        if len(self.parameters) < 2:
            return default
        best, chosen = [np.inf] * len(self.parameters), default
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


class SmallFolds(Folds):
    """The same, of all folds at once."""

    def _divide(self, regression, features, y, weight, held):
        if held:
            inside = weight * torch.stack(held)
            kept = weight - inside
            self.held_out = inside / inside.sum()
            self.joint = JointRegressions(regression, features, y, kept / kept.sum(1, keepdim=True))

    def out_of_fold_losses(self, penalty):
        """Those of `Folds`."""
        ridge = np.broadcast_to(penalty, self.centre.shape) + RIDGE
        flat = [
            torch.from_numpy(np.reshape(values, (-1, values.size))).to(self.held_out) for values in (ridge, self.centre)
        ]
        theta = torch.from_numpy(np.stack(self.parameters).reshape(len(self.parameters), -1)).to(self.held_out)
        theta = self.joint.minimise(theta, *flat)
        self.parameters = list(theta.cpu().numpy().reshape(-1, *self.centre.shape))
        yield from self.joint.losses(theta, self.held_out).tolist()
