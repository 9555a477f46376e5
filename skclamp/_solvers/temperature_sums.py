"""Rows of logits as the searches for a temperature see them: mean losses and their derivatives, a chunk at a time."""

from typing import NamedTuple

import numpy as np
import torch

from .._utils.arrays import at_labels
from .._utils.least_probability import LOG_MIN_PROBABILITY

# A chunk and its exponentials stay in the second-level cache of a processor's core; a GPU wants fewer, longer kernels.
_CHUNK_SIZE = 2**17
_GPU_CHUNK_SIZE = 2**20
# Logits up to this many are centred once and kept (32 MB in float64); larger sets are centred anew in each pass.
_KEPT_SIZE = 2**22
# Sets of up to this many logits, and rows, are treated in float64 whatever their dtype: it costs little, and rounding
# errors of so few don't average out.
_SMALL_SIZE = 2**16
_FEW_ROWS = 2**11
# The first guess comes from this many rows, where there are some times more.
_SAMPLE_ROWS = 512
_SAMPLE_RATIO = 10
# Below this many classes the sums run down the columns of a transposed chunk: long loops in place of many short ones.
_WIDE = 48


class Point(NamedTuple):
    """Mean loss at one beta, its derivatives with respect to beta, and how far labels lag behind the top logits."""

    beta: float
    lag: float
    loss: float
    slope: float
    curvature: float = 0.0
    third: float = 0.0


class LogitRows:
    """Rows of logits, centred chunk by chunk in a dtype wide enough, and the means over them that the searches ask for.

    Each row is centred on its largest logit first, exactly or as nearly as its dtype allows: a constant added to a row
    is gone before anything else is rounded.

    Smoothed, a label has the probability 1 - 1 / (n + 2) and the other classes share the rest, n being the number of
    equally weighted samples that would tell as much. To the NLL that adds beta times a constant, the `linear_term`;
    focal losses get the same.
    """

    def __init__(self, logits, y, weight, linear_term=0.0):
        self.logits = logits
        self.y = y.to(logits.device)
        self.weight = weight.to(logits.device, torch.float64)
        self.total_weight = self.weight.sum().item()
        small = len(y) <= _FEW_ROWS and logits.numel() <= _SMALL_SIZE
        self.dtype = torch.float64 if small or logits.dtype == torch.float64 else torch.float32
        self.size = rows_a_chunk(logits)
        self.dim = 0 if logits.shape[1] < _WIDE else 1
        self.kept = list(self._centred()) if logits.numel() <= _KEPT_SIZE else None
        self.n_passes = 0
        self.linear_term = linear_term
        self.design_effect = None

    @property
    def n_repetitions(self):
        """Number of rows, where weights are repetitions, whatever their unit.

        The least weight counts as one row, or a tenth of the mean, so that weights next to 0 are no unit. Of rows that
        depend on each other it is the number of independent ones that would tell as much of T.
        """
        weighted = self.weight[self.weight > 0]
        least = max(weighted.min().item(), 0.1 * self.total_weight / len(weighted))
        return self.total_weight / (least * (self.design_effect or 1.0))

    def inflation(self, unit):
        """Design effect of the scores of log T at T = 1, at least 1: how many rows of units count as one.

        It is the variance of their sum, over what it would be of independent rows; weights are repetitions of a unit.
        """
        logits = self.logits.double()
        scores = (logits.softmax(1) * logits).sum(1) - at_labels(logits, self.y)
        scores = self.weight.sqrt() * (scores - self.weight @ scores / self.total_weight)
        sums = np.bincount(unit, scores.cpu())
        return max(1.0, sums @ sums / (scores.square().sum().item() or 1.0))

    def sample(self):
        """Some rows, drawn the same way each time; None where that would save little or weigh nothing."""
        n_rows = min(_SAMPLE_ROWS, max(1, _KEPT_SIZE // self.logits.shape[1]))
        if len(self.y) < _SAMPLE_RATIO * n_rows:
            return None
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randint(len(self.y), (n_rows,), generator=generator).to(self.y.device)
        weight = self.weight[chosen]
        return LogitRows(self.logits[chosen], self.y[chosen], weight, self.linear_term) if weight.any() else None

    def representable(self, beta):
        """The nearest beta that multiplies logits without being rounded."""
        return torch.tensor(beta, dtype=self.dtype).item()

    def nll(self, beta):
        """Mean NLL and its first three derivatives: means of log-sum-exp's cumulants, the label's logit taken off."""
        beta = self.representable(beta)
        total = torch.zeros(5, 3, dtype=torch.float64, device=self.y.device)
        for centred, label, weight in self._chunks():
            terms = (beta * centred).exp_()
            sums = [terms.sum(self.dim)]
            for _ in range(3):
                sums.append(terms.mul_(centred).sum(self.dim))
            moments = torch.stack(sums).double()
            mean, square, cube = moments[1:] / moments[0]
            weighted = weight * mean
            table = torch.stack([label.double(), moments[0].log(), mean, square, cube])
            total += table @ torch.stack([weight, weighted, weighted * mean], 1)
        # Rows: label, log-sum-exp and the first three moments; columns: their means, and those times mean and mean^2.
        averages = (total / self.total_weight).tolist()
        (lag, *_), (log_sum, *_), (mean, mean2, mean3), (square, square_mean, _), (cube, *_) = averages
        lag -= self.linear_term
        third = cube - 3 * square_mean + 2 * mean3
        return Point(beta, lag, log_sum - beta * lag, mean - lag, square - mean2, third)

    def focal(self, beta, gamma):
        """Mean focal loss and its first derivative."""
        beta = self.representable(beta)
        sums = 0.0
        for centred, label, weight in self._chunks():
            label = label.double()
            terms = (beta * centred).exp_()
            total = terms.sum(self.dim).double()
            first = terms.mul_(centred).sum(self.dim).double()
            log_p = (beta * label - total.log()).clamp_(max=0.0)
            miss = -torch.expm1(log_p)
            factor = miss**gamma
            # log(p) / (1 - p) tends to -1 as p tends to 1.
            ratio = torch.where(miss > 0, log_p / miss, -1.0)
            slope = factor * (gamma * log_p.exp() * ratio - 1) * (label - first / total)
            sums = sums + torch.stack([label, -factor * log_p, slope]) @ weight
        lag, loss, slope = (sums / self.total_weight).tolist()
        return Point(beta, lag - self.linear_term, loss + beta * self.linear_term, slope + self.linear_term)

    def soft_errors(self, beta):
        """Return the share of errors, in which a label that leads has a part: its best rival's squared odds."""
        total = 0.0
        for centred, label, weight in self._chunks():
            # Of a label that leads, the greatest logit of the other classes is the second.
            rival = centred.topk(2, self.dim).values.select(self.dim, 1).where(label == 0, 0)
            total = total + weight @ (-2 * beta * (label - rival).double()).clamp_(max=0.0).exp_()
        return (total / self.total_weight).item()

    def smoothing(self, n_samples):
        """By how much a label leads the other classes' mean, times the probability that so many samples leave these.

        Classes that lie 72 times as far below the first as the second mostly does, such as masked ones, say nothing,
        whatever stands for them.
        """
        gaps = []
        for centred, _, weight in self._chunks():
            gap = -centred.topk(2, self.dim).values.select(self.dim, 1)
            tells = (weight > 0) & (gap > 0) & (gap < torch.finfo(self.dtype).max)
            gaps.append(gap.where(tells, torch.nan))
        far = 2 * LOG_MIN_PROBABILITY * torch.cat(gaps).nanmedian().nan_to_num(1.0)
        total = 0.0
        for centred, label, weight in self._chunks():
            there = centred > far
            n_others = there.sum(self.dim) - (label > far).int()
            mean = (centred.where(there, 0).sum(self.dim) - label.where(label > far, 0)) / n_others
            lead = label.clamp_min(far) - mean.where(n_others > 0, far)
            total = total + weight @ lead.double()
        return (total / self.total_weight).item() / (n_samples + 2)

    def _chunks(self):
        """Return chunks of all the rows, which are read once more."""
        self.n_passes += 1
        return self.kept or self._centred()

    def _centred(self):
        """Yield chunks centred, with their labels' entries and weights."""
        parts = self.logits.split(self.size), self.y.split(self.size), self.weight.split(self.size)
        for part, y, weight in zip(*parts, strict=True):
            part = part.to(self.dtype)
            part = part.T.contiguous() if self.dim == 0 else part
            # Twice the largest number is infinite.
            centred = (part - part.amax(self.dim, keepdim=True)).clamp_(min=torch.finfo(self.dtype).min)
            yield centred, centred.gather(self.dim, y.unsqueeze(self.dim)).squeeze(self.dim), weight


def rows_a_chunk(logits):
    """Return how many rows of some logits are treated at a time."""
    size = _CHUNK_SIZE if logits.device.type == "cpu" else _GPU_CHUNK_SIZE
    return max(1, size // logits.shape[1])
