"""Accuracy, mean confidence and negative log-likelihood (NLL) of a fit's samples, before and after."""

from typing import NamedTuple

import torch

from .._utils.arrays import at_labels
from .._utils.encoding import register

# A look at so many logits, or at so many rows, costs a fit next to nothing, and so does one at a part of the samples;
# more than so many logits would need memory.
_FEW_LOGITS = 1 << 17
_FEW_ROWS = 256
_PART = 16
_MOST_LOGITS = 1 << 20
FEW_PLACES = 1 << 10
_NAMES = ("accuracy", "mean confidence", "NLL")
_FORMS = (".1%", ".1%", ".4g")


def most_rows(n_rows, n_columns):
    """Return at how many rows a fit looks: at a part, or at so many as cost next to nothing."""
    part = min(n_rows // _PART, _MOST_LOGITS // n_columns)
    return max(_FEW_LOGITS // n_columns, _FEW_ROWS, part)


@register
class Scores(NamedTuple):
    """Accuracy, mean confidence and NLL of a fit's samples.

    Attributes
    ----------
    before, after : tuple of three floats
        Of the estimator's logits, and of what the fit makes of them.
    share : float
        What part of them was looked at.
    out_of_fold : float or None
        NLL of samples that were held out, where some were. Which map or perturbation that is of several, and penalties
        of matrix maps, these samples may have chosen.
    """

    before: tuple[float, float, float]
    after: tuple[float, float, float]
    share: float
    out_of_fold: float | None

    def sentence(self, held_out):
        """In words, beside what was held out."""
        parts = []
        for name, form, *values in zip(_NAMES, _FORMS, self.before, self.after, strict=True):
            # What is the same is said once.
            shown = dict.fromkeys(format(value, form) for value in values)
            parts.append(f"{name} {' -> '.join(shown)}")
        sentence = f"in sample {', '.join(parts)}"
        if self.out_of_fold is not None:
            sentence = f"NLL {self.out_of_fold:.4g} {held_out}; {sentence}"
        on = f" (on a random {self.share:.0%} of the samples)" if self.share < 1 else ""
        return f"{sentence[0].upper()}{sentence[1:]}{on}."


def scored(logits, y_encoded, weight):
    """Accuracy, mean confidence and NLL by weight of rows of logits."""
    log_proba = logits.log_softmax(1)
    confidence, best = log_proba.max(1)
    own = at_labels(log_proba, y_encoded)
    terms = torch.stack([(best == y_encoded).to(own), confidence.exp(), -own])
    return tuple((terms @ weight / weight.sum()).tolist())
