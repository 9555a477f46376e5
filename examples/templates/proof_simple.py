"""Whether one calibrator beats another: paired differences of NLL over several splits, in thirty lines.

python examples/templates/proof_simple.py
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from skclamp import StructuredVectorScaling, TemperatureScaling
from skclamp.metrics import negative_log_likelihood


def differences(before, after, n_splits=5):
    """NLL of a calibrator less that of another, on each of several splits: one split proves nothing."""
    X, y = load_digits(return_X_y=True)
    found = []
    for seed in range(n_splits):
        X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=300, random_state=seed)
        X_cal, X_test, y_cal, y_test = train_test_split(X_rest, y_rest, train_size=500, random_state=seed)
        classifier = LogisticRegression(max_iter=2000).fit(X_train, y_train)
        fitted = [make(classifier).fit(X_cal, y_cal) for make in (before, after)]
        losses = [negative_log_likelihood(y_test, each.predict_proba(X_test)) for each in fitted]
        found.append(losses[1] - losses[0])
    return np.array(found)


def standard_error(found, tested=0.67):
    """Of their mean; splits share samples, so that it is larger than of independent ones (Nadeau and Bengio, 2003)."""
    return float(np.sqrt((1 / len(found) + tested / (1 - tested)) * found.var(ddof=1)))


def main():
    """Print the mean difference and its standard error."""
    found = differences(TemperatureScaling, StructuredVectorScaling)
    print(f"NLL {found.mean():+.4f} ± {standard_error(found):.4f} nats over {len(found)} splits")


if __name__ == "__main__":
    main()
