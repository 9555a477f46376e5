"""calibration_refinement: what remains is what scikit-learn's isotonic regression leaves."""

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss

from skclamp.metrics import brier_score, calibration_refinement

RANDOM = np.random.default_rng(0)
# With ties.
P = RANDOM.multinomial(10, RANDOM.dirichlet([0.8, 0.7, 0.5], size=300)) / 10
Y = (RANDOM.random((300, 1)) > (P**2 / (P**2).sum(1, keepdims=True)).cumsum(1)).sum(1).clip(max=2)
WEIGHT = RANDOM.uniform(0.2, 3, 300)


def increasing(p, hits, weight):
    return IsotonicRegression(y_min=0, y_max=1).fit(p, hits, weight).predict(p)


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_of_two_classes(weight):
    p, y = P[:, 1], Y == 1
    fitted = increasing(p, y, weight)
    found = calibration_refinement(y, p, score="log_loss", recalibration="isotonic", sample_weight=weight)
    assert found.refinement == pytest.approx(log_loss(y, fitted, sample_weight=weight))
    assert found.calibration == pytest.approx(found.score - found.refinement)
    found = calibration_refinement(y, p, score="brier", sample_weight=weight)
    assert found.refinement == pytest.approx(np.average((y - fitted) ** 2, weights=weight))


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["unweighted", "weighted"])
def test_of_three_classes(weight):
    found = calibration_refinement(Y, P, score="brier", sample_weight=weight)
    hits = np.eye(3)[Y]
    fitted = np.column_stack([increasing(P[:, k], hits[:, k], weight) for k in range(3)])
    assert found.refinement == pytest.approx(np.average(((hits - fitted) ** 2).sum(1), weights=weight))
    assert found.score == pytest.approx(brier_score(Y, P, sample_weight=weight))


def test_nothing_remains_where_the_order_tells_all():
    found = calibration_refinement([0, 0, 1], [0.1, 0.3, 0.6], recalibration="isotonic")
    assert found.refinement == 0 and not np.signbit(found.refinement)
