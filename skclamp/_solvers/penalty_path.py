"""Cross-validation of a penalty's strength for the shared solver: regressions by fold, a walk from strong to weak.

A few hundred samples of few classes are summed over in less time than torch and scipy take to be called: of those,
Newton's method fits the regressions of all folds in one array.
"""

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from .._utils.warnings import note_unconverged
from .one_vs_rest import fit_one_vs_rest, scores_of, smoothed
from .softmax_regression import JITTERS, RIDGE, MatrixRegression, minimise

# Enough to rank strengths by their out-of-fold losses.
_TOLERANCE = 1e-6
# Nats by which the first folds may be worse before the others are spared.
_CLEARLY_WORSE = 1e-3
# Of samples times squares of classes times regressions: a step's largest array has about as many entries.
_MAX_SIZE = 2**17
# Of samples times parameters: where a pass multiplies more, one fold judges, as the fits take seconds each.
_ALL_FOLDS_SIZE = 2**30
_MAX_CLASSES = 6
# Of features: the others of a row are rounded off beside larger ones, which only whitened coordinates bear.
_LARGEST = 1e6
# In nats: a step that promises to save less is the last, and what it leaves is far less than that.
_LEAST_DECREMENT = 1e-9
_MAX_STEPS = 50
_ROUNDING = 1e-14


def folds_of(regression, data, numbers):
    """`Folds` or, for few samples of few classes, `SmallFolds`; the parameters are theirs."""
    return (SmallFolds if are_small(data[0], numbers.max() + 1) else Folds)(regression, data, numbers)


class Folds:
    """Regressions without each fold in turn, and those of the fold alone; they go on where they stopped.

    `regression` is a subclass of SoftmaxRegression, `data` the tensors that it is called with, of all samples, and
    `numbers` the number of the fold of each. Folds that hold all the weight, or none, are left out. Of large
    regressions the first fold judges alone.
    """

    def __init__(self, regression, data, numbers):
        features, y, weight = (values.to(data[0].device) for values in data)
        self.identity = regression.identity(features.shape[1])
        folds = _folds_with_weight(numbers, weight)
        self.parameters = [self.identity] * len(folds)
        if len(features) * self.identity.size > _ALL_FOLDS_SIZE:
            folds = folds[:1]
        self.shares = [weight[inside].sum().item() for inside in folds]
        self._divide(regression, features, y, weight, folds)

    def _divide(self, regression, features, y, weight, folds):
        self.parts = [[regression(features[m], y[m], weight[m]) for m in (~inside, inside)] for inside in folds]

    def out_of_fold_losses(self, penalty):
        """Yield each fold's loss under the parameters that are learned without it, a share of the mean NLL."""
        total = sum(self.shares)
        for i, (share, (kept, held_out)) in enumerate(zip(self.shares, self.parts, strict=True)):
            found = minimise(kept, penalty, start=self.parameters[i], tolerance=_TOLERANCE)
            self.parameters[i] = found.parameters
            yield share / total * held_out.loss_and_gradient(found.parameters)[0]

    def walk(self, strengths, penalty_of, *, default, least_gain=0.0):
        """The last of some strengths, from strong to weak, before the out-of-fold loss stops falling by a least gain.

        The default is for data of which nothing can be held out.
        """
        if len(self.parameters) < 2:
            return default
        best, chosen = [np.inf] * len(self.shares), default
        for strength in strengths:
            losses = []
            for loss in self.out_of_fold_losses(penalty_of(strength)):
                losses.append(loss)
                if len(losses) > 1 and sum(losses) > sum(best[: len(losses)]) + _CLEARLY_WORSE:
                    return chosen
            if sum(losses) >= sum(best) - least_gain:
                return chosen
            best, chosen = losses, strength
        return chosen


class SmallFolds(Folds):
    """The same, of all folds at once: a row of parameters for each, and another of its weights."""

    def _divide(self, regression, features, y, weight, folds):
        if not folds:
            return
        inside = weight * torch.stack(folds)
        kept = weight - inside
        self.held_out, self.kept = inside / inside.sum(), kept / kept.sum(1, keepdim=True)
        n_classes = features.shape[1]
        # Where the parameters are in a matrix of coefficients and offsets; others are 0.
        grid = np.arange(n_classes * (n_classes + 1)).reshape(n_classes, -1)
        places = grid if regression is MatrixRegression else np.stack([grid.diagonal(), grid[:, -1]])
        self.places = torch.from_numpy(places.ravel()).to(features.device)
        self.shape = len(folds), *grid.shape
        self.x = torch.cat([features.T, torch.ones_like(features[:, :1]).T])
        self.products = (self.x[:, None] * self.x).flatten(0, 1).T.contiguous()
        self.labels = torch.nn.functional.one_hot(y, n_classes).T.to(features)

    def out_of_fold_losses(self, penalty):
        """As those of `Folds`."""
        ridge = np.broadcast_to(penalty, self.identity.shape) + RIDGE
        rows = [np.reshape(values, (-1, ridge.size)) for values in (np.stack(self.parameters), ridge, self.identity)]
        theta = self._minimise(*(torch.from_numpy(values).to(self.kept) for values in rows))
        self.parameters = list(theta.cpu().numpy().reshape(-1, *self.identity.shape))
        yield from self._losses(theta, self.held_out).tolist()

    def _minimise(self, theta, ridge, identity):
        """Parameters of least mean NLL plus ``sum(ridge * (parameters - identity)^2)``, from some."""

        def penalised(theta):
            return self._losses(theta, self.kept) + ((theta - identity).square() * ridge).sum(1)

        loss = penalised(theta)
        for _ in range(_MAX_STEPS):
            step, decrement = self._newton_step(theta, ridge, identity)
            trial = penalised(theta - step)
            while (rises := (trial > loss + _ROUNDING) & (decrement > _LEAST_DECREMENT)).any():
                step[rises], decrement[rises] = step[rises] / 2, decrement[rises] / 2
                trial = penalised(theta - step)
            theta, loss = theta - step, trial
            if converged := (decrement <= _LEAST_DECREMENT).all().item():
                break
        note_unconverged(converged)
        return theta

    def _losses(self, theta, shares):
        logits = self._logits(theta)
        return ((logits.logsumexp(1) - (logits * self.labels).sum(1)) * shares).sum(1)

    def _logits(self, theta):
        full = theta.new_zeros(len(theta), self.shape[1] * self.shape[2])
        full[:, self.places] = theta
        return full.view(self.shape) @ self.x

    def _newton_step(self, theta, ridge, identity):
        """Of each row, and twice what it saves."""
        proba = self._logits(theta).softmax(1)
        weighted = proba * self.kept[:, None]
        gradient = ((weighted - self.labels * self.kept[:, None]) @ self.x.T).flatten(1)[:, self.places]
        gradient += 2 * ridge * (theta - identity)
        covariance = torch.diag_embed(weighted.mT).permute(0, 2, 3, 1) - weighted[:, :, None] * proba[:, None]
        n_rows, n_classes, n_features = self.shape
        hessian = (covariance.flatten(1, 2) @ self.products).view(n_rows, n_classes, n_classes, n_features, -1)
        hessian = hessian.transpose(2, 3).reshape(n_rows, n_classes * n_features, -1)[:, self.places][..., self.places]
        hessian.diagonal(dim1=1, dim2=2).add_(2 * ridge)
        step = _solved(hessian, gradient)
        return step, (gradient * step).sum(1)


class OneVsRestFolds(Folds):
    """The same of monotone one-vs-rest regressions, drawn to their start; they begin there each time."""

    def __init__(self, terms, y, weight, numbers):
        y, weight = y.to(terms[0].device), weight.to(terms[0])
        classes = torch.arange(terms[0].shape[1], device=y.device)
        self.data = *terms, smoothed(y == classes[:, None], weight).T, y, weight
        self.parameters = self.folds = _folds_with_weight(numbers, self.data[-1])
        self.shares = [self.data[-1][inside].sum().item() for inside in self.folds]

    def out_of_fold_losses(self, penalty):
        """As those of `Folds`, of the mean class against the rest: of two classes, the NLL."""
        for inside in self.folds:
            *terms, _, y, weight = (values[~inside] for values in self.data)
            parameters = fit_one_vs_rest(terms, y, weight, ridge=penalty, monotone=True).parameters
            *terms, target, _, weight = (values[inside] for values in self.data)
            losses = binary_cross_entropy_with_logits(scores_of(parameters, terms), target, reduction="none")
            yield (weight @ losses.mean(1)).item() / sum(self.shares)


def _folds_with_weight(numbers, weight):
    """Which samples each fold holds, without those that hold no weight, or all."""
    folds = [torch.from_numpy(numbers == number).to(weight.device) for number in range(numbers.max() + 1)]
    return [inside for inside in folds if 0 < weight[inside].sum().item() < weight.sum().item()]


def _solved(hessian, gradient):
    """Each row's inverse Hessian times its gradient."""
    scale = hessian.diagonal(dim1=1, dim2=2).rsqrt()
    scaled = hessian * scale[:, :, None] * scale[:, None]
    for jitter in (0.0, *JITTERS):
        scaled.diagonal(dim1=1, dim2=2).add_(jitter)
        factor, failed = torch.linalg.cholesky_ex(scaled)
        if not failed.any():
            break
    return scale * torch.cholesky_solve((scale * gradient)[:, :, None], factor)[:, :, 0]


def are_small(features, n_regressions):
    """Return whether regressions are small enough to be solved at once."""
    n_samples, n_classes = features.shape
    if n_classes > _MAX_CLASSES or n_samples * n_classes**2 * n_regressions > _MAX_SIZE:
        return False
    # Nor where some are -inf.
    return features.abs().max().item() <= _LARGEST
