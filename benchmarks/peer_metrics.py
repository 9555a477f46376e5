"""Our calibration errors against the peers' on the same data: how far apart they are where both are right.

    python benchmarks/peer_metrics.py

Peers are those of the extra ``bench``: torchmetrics, netcal, uncertainty-calibration and relplot; one that isn't
installed is left out with a line. Each comparison says what makes it fair:

- relplot's smooth error is taken at the bandwidth that it found and at narrow ones (it cuts the kernel off half a unit
  away), with its own kernel evaluated on a fine grid in the place of 200 points; the row "as it comes" shows what that
  grid and its bisection to 1/1024 make of it. Confidences keep away from 0 and 1, where its reflection counts a point
  once instead of twice.
- uncertainty-calibration's bins of equal mass are ours where no bin has a sample more than another, and its classwise
  error where no class is clipped at 0: ours clips the mean over the classes.
- Its l1 correction is a mean over random draws, ours a closed form: they differ by chance.
"""

import numpy as np
import torch
from tabulate import tabulate

from _runner import benchmark
from skclamp import metrics


def torchmetrics_errors(y, proba):
    from torchmetrics.functional.classification import multiclass_calibration_error

    ours = metrics.expected_calibration_error
    for kind in ("l1", "l2", "max"):
        theirs = multiclass_calibration_error(
            torch.from_numpy(proba), torch.from_numpy(y), num_classes=proba.shape[1], n_bins=15, norm=kind
        )
        yield f"ECE, {kind}", ours(y, proba, norm=kind), theirs.item()


def netcal_errors(y, proba):
    from netcal.metrics import ECE, MCE

    yield "ECE, l1", metrics.expected_calibration_error(y, proba), ECE(15).measure(proba, y)
    yield "MCE", metrics.maximum_calibration_error(y, proba), MCE(15).measure(proba, y)


def uncertainty_calibration_errors(y, proba):
    import calibration
    from calibration.utils import get_equal_bins, get_equal_prob_bins

    schemes = {"uniform": get_equal_prob_bins, "quantile": get_equal_bins}
    for strategy, scheme in schemes.items():
        for mode, theirs in (("top-label", "top-label"), ("classwise", "marginal")):
            yield (
                f"debiased l2, {strategy}, {mode}",
                metrics.debiased_calibration_error(y, proba, strategy=strategy, mode=mode),
                calibration.lower_bound_scaling_ce(proba, y, p=2, num_bins=15, binning_scheme=scheme, mode=theirs),
            )
    yield (
        "debiased l1, by chance",
        metrics.debiased_calibration_error(y, proba, norm="l1"),
        calibration.lower_bound_scaling_ce(proba, y, p=1, binning_scheme=get_equal_bins, mode="top-label"),
    )


def relplot_errors(y, proba):
    import relplot

    confidence, hits = relplot.multiclass_logits_to_confidences(proba, y, probs=True)
    theirs, bandwidth = relplot.smECE(confidence, hits, return_width=True)
    yield "smooth, as it comes", metrics.smooth_calibration_error(y, proba), theirs
    for width in (bandwidth, 0.02, 0.05):
        ours = metrics.smooth_calibration_error(y, proba, bandwidth=width)
        yield f"smooth, bandwidth {width:.3g}", ours, _fine_smooth(relplot, confidence, hits, width)


def _fine_smooth(relplot, confidence, hits, bandwidth, n_points=20_001):
    """The integral of relplot's smoothed residual."""
    kernel, t = relplot.kernels.ReflectedGaussianKernel(bandwidth), np.linspace(0, 1, n_points)
    residual, mass = (
        kernel.apply(confidence, values, t, eval_points=2 * n_points)
        for values in (confidence - hits, np.ones(len(hits)))
    )
    return np.abs(residual).sum() / mass.sum()


PEERS = {
    "torchmetrics": torchmetrics_errors,
    "netcal": netcal_errors,
    "uncertainty-calibration": uncertainty_calibration_errors,
    "relplot": relplot_errors,
}


def rows(n_samples, n_classes, seed=0):
    """One dict for each peer's error: both values and their difference."""
    y, proba = overconfident(n_samples, n_classes, seed)
    for peer, errors in PEERS.items():
        try:
            found = list(errors(y, proba))
        except ImportError as error:
            print(f"{peer}: left out ({error})")
            continue
        for what, ours, theirs in found:
            yield {"peer": peer, "what": what, "ours": ours, "theirs": theirs, "difference": abs(ours - theirs)}


def overconfident(n_samples, n_classes, seed):
    """Probabilities of 1.3 times the true logits, mixed with the uniform distribution to stay away from 0 and 1."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(n_samples, n_classes))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    y = (random.uniform(size=(n_samples, 1)) > true.cumsum(1)[:, :-1]).sum(1)
    sharp = true**1.3 / (true**1.3).sum(1, keepdims=True)
    return y, 0.9 * sharp + 0.1 / n_classes


@benchmark
def main(n_samples=15_000, n_classes=5):
    """Of samples that the number of bins, 15, divides."""
    print(tabulate(list(rows(n_samples, n_classes)), headers="keys", floatfmt=("", "", ".8f", ".8f", ".1e")))
