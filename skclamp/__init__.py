"""Post-hoc calibration of torch classifiers, the scikit-learn way."""
