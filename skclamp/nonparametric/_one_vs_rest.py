"""OneVsRestCalibrator: one map of probabilities a class, fitted to "this class or not", and the rows renormalised.

Imports the base and the floors below it.
"""

import warnings

import numpy as np
import torch

from ..base import BaseCalibrator

# Stands for probability 0, as in scikit-learn's log_loss: an infinite loss would make all calibrators equal.
EPS = float(np.finfo(np.float64).eps)
_ROWS_AT_ONCE = 4096


def probability_columns(logits):
    """Probabilities of logits (n, K) as a C-contiguous float64 array (K, n): one row a class."""
    parts = [torch.softmax(part.double(), 1).T for part in logits.split(_ROWS_AT_ONCE)]
    return np.ascontiguousarray(torch.cat(parts, 1).cpu().numpy())


def weights_of(sample_weight, n_samples):
    """Weights as an array: ones where none are given."""
    return np.ones(n_samples) if sample_weight is None else sample_weight.cpu().numpy()


class OneVsRestCalibrator(BaseCalibrator):
    """What the calibrators by class share: subclasses implement ``_fit_class`` and ``_join``.

    A class without a sample in the calibration set keeps its probability, for nothing is known of it.
    """

    def _fit_logits(self, logits, y, sample_weight):
        codes = y.cpu().numpy()
        weight = weights_of(sample_weight, len(codes))
        columns = probability_columns(logits[weight > 0])
        codes, weight = codes[weight > 0], weight[weight > 0]
        self.maps_ = self._join([self._fit_class(score, codes == k, weight) for k, score in enumerate(columns)])
        self.seen_ = np.bincount(codes, minlength=len(columns)) > 0
        _warn_of_unseen(self.seen_)

    def _transform_logits(self, logits):
        score = torch.softmax(logits.cpu(), 1)
        mapped = self.maps_(score.T.contiguous()).T
        calibrated = torch.where(torch.from_numpy(self.seen_), mapped, score)
        return calibrated.clamp_min(EPS).log().to(logits.device)

    def _fit_class(self, score, hit, weight):
        """Hook: the map of a class from its probabilities, whether it is the sample's class, and positive weights."""
        raise TypeError(f"{type(self).__name__} must implement _fit_class")

    def _join(self, maps):
        """Hook: one callable on probabilities (K, n) from the maps of the K classes."""
        raise TypeError(f"{type(self).__name__} must implement _join")


def _warn_of_unseen(seen):
    if seen.all():
        return
    warnings.warn(
        f"{np.count_nonzero(~seen)} of {len(seen)} classes have no sample in the calibration set: their scores are "
        "kept as they are",
        UserWarning,
        stacklevel=5,
    )
