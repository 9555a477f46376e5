"""skclamp as a candidate of CalArena, a public benchmark of post-hoc calibration (arXiv 2605.30188).

CalArena fits whatever its `custom_calibrators.py` names in `CUSTOM_CALIBRATORS`, by ``fit(probabilities, labels)`` and
``predict_proba(probabilities)``. Put this file in that one's place, and there
``python run_benchmark.py --benchmark tabrepo-multiclass --calibrator skclamp``.

Run by itself it fits each of them to probabilities of a naive Bayes classifier, and prints what that wins.
"""

from functools import partial

from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.naive_bayes import GaussianNB

from skclamp import CalibratorSelector, QuadraticScaling, StructuredMatrixScaling, TemperatureScaling

# Of two classes CalArena's best is quadratic, of several there is none for all.
_MAPS = {
    "skclamp": CalibratorSelector,
    "skclamp-TS": TemperatureScaling,
    "skclamp-SMS": StructuredMatrixScaling,
    "skclamp-Quadratic": QuadraticScaling,
}
CUSTOM_CALIBRATORS = {name: partial(kind, response="probabilities") for name, kind in _MAPS.items()}


def main():
    """Fit the candidates to one data set of the kind that CalArena has; return their NLL by name."""
    X, y = load_digits(return_X_y=True)
    proba = GaussianNB(var_smoothing=1e-3).fit(X[:600], y[:600]).predict_proba(X)
    losses = {"uncalibrated": log_loss(y[1200:], proba[1200:])}
    for name, make in CUSTOM_CALIBRATORS.items():
        if name != "skclamp-Quadratic":
            losses[name] = log_loss(y[1200:], make().fit(proba[600:1200], y[600:1200]).predict_proba(proba[1200:]))
    for name, loss in losses.items():
        print(f"{name}: {loss:.3f}")
    return losses


if __name__ == "__main__":
    main()
