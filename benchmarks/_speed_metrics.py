"""Speed of the metrics, ours and the peers', as multiples of one max pass over the probabilities."""

import warnings

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from _timing import TRUE_TEMPERATURE, best_time, simulated_logits
from skclamp import metrics

BASELINE = "torch.max"
N_BINS = 15


def torchmetrics_ece(y, proba):
    """ECE of torchmetrics, with its own checks of the input."""
    from torchmetrics.functional.classification import multiclass_calibration_error

    error = multiclass_calibration_error(
        torch.from_numpy(proba), torch.from_numpy(y), num_classes=proba.shape[1], n_bins=N_BINS
    )
    return error.item()


def netcal_ece(y, proba):
    """ECE of netcal."""
    from netcal.metrics import ECE

    return ECE(N_BINS).measure(proba, y)


def netcal_aece(y, proba):
    """Equal-mass ECE of netcal, whose bins part ties and lie one sample elsewhere."""
    from netcal.metrics import ECE

    return ECE(N_BINS, equal_intervals=False).measure(proba, y)


def relplot_smooth(y, proba):
    """Smooth ECE of relplot, with its own choice of the most probable class."""
    import relplot

    return relplot.smECE(*relplot.multiclass_logits_to_confidences(proba, y, probs=True))


def ece_interval(y, proba):
    """Upper end of a bootstrap interval of 1,000 replicates."""
    return metrics.bootstrap_interval(metrics.expected_calibration_error, y, proba, random_state=0).high


def plain_sce(y, proba):
    """Classwise ECE as one writes it in torch: a bin index for every entry, and one scatter for each sum."""
    proba, one_hot = torch.from_numpy(proba), torch.from_numpy(np.eye(proba.shape[1], dtype=np.float32)[y])
    place = (proba * N_BINS).ceil_().clamp_(1, N_BINS).long().sub_(1)
    gap = torch.zeros(N_BINS, proba.shape[1]).scatter_add_(0, place, proba - one_hot)
    return (gap.abs().sum() / proba.numel()).item()


# (what, ours, peers): every function takes labels and float32 probabilities, numpy arrays both.
CONTESTS = (
    ("ECE", metrics.expected_calibration_error, {"torchmetrics": torchmetrics_ece, "netcal": netcal_ece}),
    ("AECE", metrics.adaptive_expected_calibration_error, {"netcal": netcal_aece}),
    ("classwise ECE", metrics.classwise_calibration_error, {"plain torch": plain_sce}),
    ("smooth ECE", metrics.smooth_calibration_error, {"relplot": relplot_smooth}),
    ("KS", metrics.ks_calibration_error, {}),
    ("debiased ECE", metrics.debiased_calibration_error, {}),
    ("sweep", metrics.sweep_calibration_error, {}),
    ("ECE, 1,000 replicates", ece_interval, {}),
    ("MCE", metrics.maximum_calibration_error, {}),
    ("Brier", metrics.brier_score, {}),
    ("entropy", lambda y, proba: metrics.predictive_entropy(proba), {}),
)


def rows(sizes, threads):
    """Measure each metric at each size.

    Parameters
    ----------
    sizes : list of (int, int)
        Numbers of samples and classes.
    threads : int
        For torch and numpy.

    Returns
    -------
    list of dict
        Keys what, size, method, ms, baseline, ratio, and error: the absolute difference to ours in float64.
    """
    torch.set_num_threads(threads)
    contests = [
        (what, ours, {"skclamp": ours, **{name: peer for name, peer in peers.items() if _works(what, name, peer)}})
        for what, ours, peers in CONTESTS
    ]
    # numpy's products have threads of their own.
    with threadpool_limits(threads):
        return [row for size in sizes for row in _rows_at(size, contests)]


def _works(what, name, method):
    """Try a method on a few samples; say why one is left out."""
    y, proba = _data(200, 3)
    try:
        _quietly(method, y, proba)
    except (ImportError, ValueError) as error:
        print(f"{name}, {what}: left out ({error})")
        return False
    return True


def _rows_at(size, contests):
    y, proba = _data(*size)
    tensor = torch.from_numpy(proba)
    for what, ours, methods in contests:
        exact = ours(y, proba.astype(np.float64))
        for name, method in methods.items():
            found = []
            spent, one_pass = _alternate(
                lambda method=method, found=found: found.append(_quietly(method, y, proba)), lambda: tensor.max(1)
            )
            yield {
                "what": what,
                "size": "{} x {}".format(*size),
                "method": name,
                "ms": 1e3 * spent,
                "baseline": BASELINE,
                "ratio": spent / one_pass,
                "error": abs(float(found[-1]) - exact),
            }


def _alternate(first, second, rounds=4):
    """Least wall times of two functions that take turns, so that a busy spell of the machine hits both."""
    times = [(best_time(first, budget=0.5), best_time(second, budget=0.5)) for _ in range(rounds)]
    return np.min(times, axis=0).tolist()


def _data(n_samples, n_classes):
    logits, y = simulated_logits(n_samples, n_classes)
    return y.numpy(), (logits / TRUE_TEMPERATURE).softmax(1).numpy()


def _quietly(method, y, proba):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return method(y, proba)
