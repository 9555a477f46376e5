"""Accuracy, mean confidence and negative log-likelihood (NLL) of a fit's samples, before and after."""

import math
from typing import NamedTuple

import torch

from .._backbones.samples import LabelledLogits
from .._utils.arrays import counted_rows
from .._utils.encoding import register

# A look at so many logits, or at so many rows, costs a fit next to nothing, and so does one at a part of the samples;
# more than so many logits would need memory.
_FEW_LOGITS, _FEW_ROWS, _PART, _MOST_LOGITS, _FEW_PLACES = 1 << 14, 256, 16, 1 << 20, 1 << 10
_NAMES, _FORMS = ("accuracy", "mean confidence", "NLL"), (".1%", ".1%", ".4g")


class Mapped(NamedTuple):
    """The end of a fit: logits before and after the perturbation, labels and weights.

    Attributes
    ----------
    raw : torch.Tensor of shape (n_samples, n_classes) or (n_samples, n_classes, n_places)
        The estimator's logits of samples.
    samples : LabelledLogits
        These samples, with what the map takes: the same logits, unless inputs are perturbed.
    out_of_fold : float, default=None
        NLL of held-out samples under what was fitted to the others; None where none were held out. Which map or
        perturbation that is of several, and penalties of matrix maps, these samples may have chosen.
    """

    raw: torch.Tensor
    samples: LabelledLogits
    out_of_fold: float | None = None

    def some(self, outputs):
        """Rows of raw logits and of samples with weight, or of some, drawn the same way each time; and of how many."""
        samples = self.samples.thinned(_FEW_PLACES)
        raw = self.samples._replace(logits=self.raw).thinned(_FEW_PLACES).logits
        weight = samples.weight
        n_logits = math.prod(raw.shape[1:])
        part = min(int(weight.count_nonzero()) // _PART, _MOST_LOGITS // n_logits)
        rows = counted_rows(weight, max(_FEW_LOGITS // n_logits, _FEW_ROWS, part))
        return outputs.rows(raw[rows.to(raw.device)]), samples.take(rows).rows(), len(rows)


@register
class Scores(NamedTuple):
    """Accuracy, mean confidence and NLL of a fit's samples.

    Attributes
    ----------
    before, after : tuple of three floats
        Of the estimator's logits, and of what the fit makes of them.
    n_samples : int
        How many were looked at.
    out_of_fold : float or None
        The NLL of samples that were held out, where some were; as in `Mapped`.
    """

    before: tuple[float, float, float]
    after: tuple[float, float, float]
    n_samples: int
    out_of_fold: float | None

    def sentence(self, n_samples, held_out, n_places=1):
        """In words, beside how many samples, and places of each, there are in all, and what was held out."""
        parts = []
        for name, form, *values in zip(_NAMES, _FORMS, self.before, self.after, strict=True):
            # What is the same is said once.
            shown = dict.fromkeys(format(value, form) for value in values)
            parts.append(f"{name} {' -> '.join(shown)}")
        sentence = f"in sample {', '.join(parts)}"
        if self.out_of_fold is not None:
            sentence = f"NLL {self.out_of_fold:.4g} {held_out}; {sentence}"
        some = [f"on {self.n_samples:,} of them"] * (self.n_samples < n_samples)
        some += [f"at {_FEW_PLACES:,} places of each"] * (n_places > _FEW_PLACES)
        on = f" ({', '.join(some)})" if some else ""
        return f"{sentence[0].upper()}{sentence[1:]}{on}."


def scored(logits, y_encoded, weight):
    """Sums of hits, confidences and NLLs by weight, the weights' own and their number; and the map's probabilities.

    `logits` (2, n, K) are what the estimator and the map say of the same samples; each has a row of sums.
    """
    weight = weight.to(logits)
    best = logits.argmax(2)
    proba = logits - logits.gather(2, best[..., None])
    label = proba.gather(2, y_encoded.expand(2, -1)[..., None])[..., 0]
    total = proba.exp_().sum(2)
    terms = torch.stack([(best == y_encoded).to(weight), 1 / total, total.log() - label, torch.ones_like(total)])
    sums = torch.cat([terms @ weight, weight.new_full((1, 2), len(weight))]).T.cpu()
    return sums, proba[1].div_(total[1, :, None])
