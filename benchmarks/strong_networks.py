"""Output maps on strong networks with few classes: those that keep the order, and those with a bias per class.

    python benchmarks/strong_networks.py --data DIR
    python benchmarks/strong_networks.py --summary

Networks: the mean log-probabilities of a ResNet-20 and a ResNet-32 on CIFAR-10 images and their mirror images (94 %
right); these plus those of a logistic regression on the features of an EfficientNet-Lite0, which 4,000 test images
trained (94.5 %); and a perceptron on gas sensors. Half of the samples that are left judges, the first n of a random
order of the others calibrate. Needs the group `bench`.
"""

from functools import lru_cache
from itertools import product

import numpy as np
import pandas as pd
import torch
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional

from _data import load_gas_sensors, load_images, split_halves, split_off
from _estimates import paired_estimate
from _imagenet import load_network
from _networks import compute_logits, load_resnet
from _runner import RESULTS, benchmark, record
from choosing import BASELINE, cell
from peers import OURS, Outcome, Split, run_ours
from skclamp import CalibratorSelector

MAPS = {
    **{
        name: OURS[name]
        for name in (
            *(BASELINE, "EnsembleTemperatureScaling", "ParameterizedTemperatureScaling"),
            *("VectorScaling", "StructuredVectorScaling", "StructuredMatrixScaling", "BetaCalibration"),
            *("IntraOrderPreservingCalibration", "IntraOrderPreservingCalibration(order-preserving)"),
        )
    },
    "CalibratorSelector": CalibratorSelector(),
}
# Test images that fit what the features of another network say.
N_KNOWN = 4000


def averaged(data):
    """Mean log-probabilities of the two ResNets on the CIFAR-10 test images and their mirror images; labels."""
    images, labels = load_images("cifar10_test", data)
    networks = [load_resnet(name, data) for name in ("cifar10_resnet20", "cifar10_resnet32")]
    logits = [compute_logits(network, X).numpy() for network in networks for X in (images, images.flip(3))]
    return np.mean([log_softmax(part.astype(np.float64), axis=1) for part in logits], axis=0), labels


def transferred(data):
    """The averaged log-probabilities plus those by an ImageNet network's features, of what these weren't fitted to."""
    logits, labels = averaged(data)
    known, new = split_off(labels, N_KNOWN, 0)
    normalize, network = load_network()
    features = []
    with torch.no_grad():
        for batch in load_images("cifar10_test", data)[0].split(100):
            large = functional.interpolate(batch, size=128, mode="bicubic", antialias=True).clamp(0, 1)
            features.append(network.extract_features(normalize(large)).mean((2, 3)))
    X = torch.cat(features).numpy()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=200)).fit(X[known], labels[known])
    return logits[new] + model.predict_log_proba(X[new]), labels[new]


def sensors(data):
    """Log-probabilities of a perceptron on gas sensors of all batches together, six classes; labels."""
    X, y, _ = load_gas_sensors(data)
    X, labels = X.astype(np.float64), np.searchsorted(np.unique(y), y)
    known, new = split_off(labels, 1500, 0)
    model = make_pipeline(StandardScaler(), MLPClassifier(128, max_iter=60, random_state=0)).fit(
        X[known], labels[known]
    )
    return np.log(np.maximum(model.predict_proba(X[new]), np.finfo(np.float64).tiny)), labels[new]


NETWORKS = {"CIFAR-10, ResNets": averaged, "CIFAR-10, and features": transferred, "gas sensors": sensors}
COLUMNS = ("network", "n", "seed", "method", *Outcome._fields)


def table(results):
    """One row per method, one column per network and size: NLL less temperature scaling's, which the first row has."""
    columns = {}
    for (network, n), part in results.groupby(["network", "n"], sort=False):
        nll = part.pivot(index="seed", columns="method", values="nll")
        found = {method: cell(paired_estimate(nll[method], nll[BASELINE])) for method in nll if method != BASELINE}
        columns[f"{network}, {n:,}"] = {f"{BASELINE}, NLL": f"{nll[BASELINE].mean():.3f}", **found}
    frame = pd.DataFrame(columns)
    frame = frame.reindex([name for name in (f"{BASELINE}, NLL", *MAPS) if name in frame.index])
    return frame.rename_axis("method").reset_index()


@benchmark
def main(
    data=None,
    networks: NETWORKS = tuple(NETWORKS),
    methods: MAPS = tuple(MAPS),
    sizes=(500, 1000, 2500, 5000),
    seeds=5,
    out=RESULTS / "strong_networks.csv",
    summary=False,
):
    load = lru_cache(maxsize=1)(lambda network: NETWORKS[network](data))

    def run(network, n, seed, method):
        logits, labels = load(network)
        half, test = split_halves(labels, seed)
        if n > len(half):
            return []
        rows = np.random.default_rng(seed).permutation(half)[:n]
        return run_ours(clone(MAPS[method]), Split(logits, labels, rows, test))._asdict()

    cells = () if summary else product(networks, sizes, range(seeds), methods)
    print(table(record(out, COLUMNS, cells, run)).to_markdown(index=False, disable_numparse=True))
