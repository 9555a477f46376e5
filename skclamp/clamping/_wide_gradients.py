"""Per-sample gradients of a perturbation of many parameters, kept as they are: a row for each sample.

Where parameters are many, the samples' n x p gradients are smaller than the p x p matrix of their second moments.
"""

from dataclasses import dataclass

import torch

from ..perturbations._families import n_learnable
from ._gradient_moments import GradientMoments, losses_and_factor, pass_back, per_sample_gradients

# Gradients that are kept, 512 MB in float32; and rows and columns of the matrix that a step decomposes, in float64.
MAX_ENTRIES = 2**27
MAX_ORDER = 5000


def most_samples(n_parameters):
    """Number of samples whose gradients a step takes, with so many parameters."""
    most = MAX_ENTRIES // max(1, n_parameters)
    return most if n_parameters <= MAX_ORDER else min(most, MAX_ORDER)


@dataclass
class WideGradients:
    """Gradients of one focal loss, of the samples of all processes.

    Attributes
    ----------
    rows : torch.Tensor of shape (n_samples, n_parameters), float32
        Gradient of each sample's margin; those of all losses are multiples.
    factor : torch.Tensor of shape (n_samples,), float64
        What a row is to be multiplied by for the gradient of the loss.
    temperature : torch.Tensor of shape (n_samples,), float64
        Gradient of each sample's loss with respect to log T.
    weight : torch.Tensor of shape (n_samples,), float64
        Sample weights.
    loss : float
        Weighted mean loss.
    """

    rows: torch.Tensor
    factor: torch.Tensor
    temperature: torch.Tensor
    weight: torch.Tensor
    loss: float

    @property
    def n_effective(self):
        """Number of equally weighted samples that would tell as much."""
        return (self.weight.sum() ** 2 / self.weight.square().sum()).item()


def wide_gradients(problem, perturbation, temperature, gammas, extensions=()):
    """What `gradient_moments` tells of a perturbation alone, and of each of some extensions, with WideGradients.

    A perturbation that isn't empty has no extensions.
    """
    shard, done, logits = problem.shard, problem.shard.start, torch.zeros_like(problem.logits)
    kinds = [(perturbation, False), *((each, True) for each in extensions)]
    sizes = [n_learnable(kind) for kind, _ in kinds]
    rows = [torch.zeros(shard.total, size, device=logits.device) for size in sizes]
    margins, slopes = torch.zeros(2, shard.total, dtype=torch.float64, device=logits.device)
    for x, others, y_encoded, weight in problem.labelled_batches():
        batch = slice(done, done + len(x))
        done += len(x)
        if not weight.any():
            continue
        part = pass_back(problem, perturbation, temperature, x, others, y_encoded)
        logits[batch.start - shard.start : batch.stop - shard.start] = part.logits
        margins[batch], slopes[batch] = part.margin, part.temperature_gradient
        for (kind, follows), found in zip(kinds, rows, strict=True):
            found[batch] = per_sample_gradients(kind, part.perturbed if follows else x, part.cotangent)
    rows = [shard.ranks.sum(found) for found in rows]
    margins, slopes = shard.ranks.sum(torch.stack([margins, slopes]))
    weight = problem.weight_of_all.to(logits.device)
    return GradientMoments(logits, [_of_loss(gamma, rows, margins, slopes, weight) for gamma in gammas])


def _of_loss(gamma, rows, margins, slopes, weight):
    """Of one focal loss, from the gradients of the margin."""
    losses, factor = losses_and_factor(margins, gamma)
    loss = (losses @ weight / weight.sum()).item()
    return [WideGradients(found, factor, factor * slopes, weight, loss) for found in rows]
