"""IsotonicCalibration: one isotonic regression per class."""

from sklearn import config_context
from sklearn.isotonic import IsotonicRegression

from .._utils.docstrings import with_shared_docs
from ._class_maps import LinearMaps
from ._one_vs_rest import OneVsRestCalibrator


def isotonic_knots(proba, hit, weight):
    """Knots and values of scikit-learn's isotonic regression of hits on probabilities, linear in between."""
    # What a calibrator was given is checked already.
    with config_context(assume_finite=True, skip_parameter_validation=True):
        regression = IsotonicRegression(out_of_bounds="clip").fit(proba, hit, sample_weight=weight)
    return regression.X_thresholds_, regression.y_thresholds_


@with_shared_docs
class IsotonicCalibration(OneVsRestCalibrator):
    """Calibration by one isotonic regression per class, the rows renormalised.

    Each class's probability goes through the monotone function of least squared error to "this class or not", as
    scikit-learn's ``CalibratedClassifierCV(method="isotonic")`` does it; flexible, and prone to overfit small
    calibration sets. The predicted class can change. Where that function is 0 the probability is 2.2e-16, so that
    losses stay finite; a class without a sample keeps its probability.

    Parameters
    ----------
    {estimator}
    {shared_parameters}

    Attributes
    ----------
    maps_ : LinearMaps
        Knots and values of the functions, one row per class.
    seen_ : ndarray of shape (n_classes,), dtype bool
        Whether the calibration set holds a sample of each class.
    {shared_attributes}

    Warns
    -----
    CalibrationSetWarning
        If the calibration set misses a class.

    See Also
    --------
    skclamp.AccuracyPreservingIsotonic : One isotonic regression for all classes, which keeps the predicted class.

    References
    ----------
    B. Zadrozny and C. Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates",
    KDD 2002, sections 3 and 4.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import IsotonicCalibration
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 3))
    >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)  # labels drawn from softmax(logits / 2)
    >>> calibrator = IsotonicCalibration().fit(logits, y)
    >>> calibrator.predict_proba(logits[:2]).round(2)
    array([[0.22, 0.17, 0.62],
           [0.33, 0.13, 0.54]])
    """

    _maps = LinearMaps

    def _fit_class(self, proba, hit, weight):
        return isotonic_knots(proba, hit, weight)
