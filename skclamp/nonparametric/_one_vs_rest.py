"""OneVsRestCalibrator: one map of probabilities per class, fitted to "this class or not", and the rows renormalised."""

import numpy as np
import torch

from .._utils.least_probability import log_of
from .._utils.warnings import warn_caller
from ..base import BaseCalibrator
from ..exceptions import CalibrationSetWarning

# Beside so many samples one more, which smooths, can just be told from none.
_MAX_SAMPLES = 1e12


def softmax_of(logits):
    """Probabilities of logits (n, K) in float64 on the CPU; a class lies together, which is faster for short rows.

    They are the same, bit by bit, whatever other rows there are: what was fitted meets itself again.
    """
    columns = torch.empty(logits.T.shape, dtype=torch.float64).copy_(logits.T)
    columns.sub_(columns.amax(0)).exp_()
    # Added one after another: torch.sum's order depends on the number of rows.
    return columns.div_(sum(columns)).T


class OneVsRestCalibrator(BaseCalibrator):
    """What the calibrators by class share.

    Subclasses implement ``_fit_class(proba, hit, weight)``, which learns a class's map from its probabilities, whether
    it is the sample's class, and positive weights; ``_maps`` joins those of all. Or they implement ``_fit_maps``. A
    class without a sample in the calibration set keeps its probability, for nothing is known of it.
    """

    _n_per_class = 10
    # Steps are worse by a tenth of the NLL on 190 samples a class, still.
    _enough_per_number = 20
    _takes_logarithms = False
    _takes_absent = False
    _group = "bins, isotonic and splines"
    # One class against the rest has as many positive samples as it has.
    _compared_samples = 10

    def _fit_logits(self, logits, y, sample_weight):
        counted = sample_weight > 0
        if not counted.all():
            logits, y, sample_weight = logits[counted], y[counted], sample_weight[counted]
        y_encoded, weight = y.cpu().numpy(), sample_weight.cpu().numpy()
        if weight.sum() > _MAX_SAMPLES:
            weight = weight * (_MAX_SAMPLES / weight.sum())
        columns = softmax_of(logits).T.numpy()
        self.maps_ = self._fit_maps(columns, y_encoded, weight)
        self.seen_ = np.bincount(y_encoded, minlength=len(columns)) > 0
        _warn_of_unseen(self.seen_)

    def _fit_maps(self, columns, y_encoded, weight):
        """The maps of all classes: a function of probabilities (K, n); columns (K, n) are those of the fit."""
        return self._maps.of([self._fit_class(proba, y_encoded == k, weight) for k, proba in enumerate(columns)])

    def _transform_logits(self, logits):
        proba = softmax_of(logits)
        mapped = self.maps_(proba.T).T
        calibrated = torch.where(torch.from_numpy(self.seen_), mapped, proba)
        return log_of(calibrated).to(logits.device)

    @property
    def _n_parameters(self):
        return int(self.maps_.sizes()[self.seen_].sum())


def _warn_of_unseen(seen):
    if seen.all():
        return
    warn_caller(
        f"{np.count_nonzero(~seen)} of {len(seen)} classes have no sample in the calibration set: their "
        "probabilities are kept as they are",
        CalibrationSetWarning,
    )
