"""Output maps on strong networks with few classes: those that keep the order, and those with a bias per class.

    python benchmarks/strong_networks.py --data DIR
    python benchmarks/strong_networks.py --summary

Networks: the mean log-probabilities of a ResNet-20 and a ResNet-32 on CIFAR-10 images and their mirror images (94 %
right); these plus those of a logistic regression on the features of an EfficientNet-Lite0, which 4,000 test images
trained (94.5 %); and a perceptron on gas sensors. Half of the samples that are left judges, the first n of a random
order of the others calibrate. Every fit is appended to a CSV file as it is done; what the file has already is left
out. Needs the extra `bench`.
"""

import argparse
import warnings
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch.nn import functional
from tqdm import tqdm

from _data import load_images, split_halves
from _estimates import paired_estimate
from _imagenet import LITE0, load_imagenet_network
from _networks import compute_logits, load_resnet
from _result_file import ResultFile
from choosing import cell
from peers import OURS, Split, run_ours
from skclamp import CalibratorSelector, default_candidates

BASELINE = "TemperatureScaling"
# Of the selector's candidates those that take part whatever the samples.
CANDIDATES = [(name, calibrator) for name, calibrator in default_candidates() if name not in ("vector", "beta")]
MAPS = {
    **{
        name: OURS[name]
        for name in (
            *(BASELINE, "EnsembleTemperatureScaling", "ParameterizedTemperatureScaling"),
            *("VectorScaling", "StructuredVectorScaling", "StructuredMatrixScaling", "BetaCalibration"),
            *("IntraOrderPreservingCalibration", "IntraOrderPreservingCalibration(order-preserving)"),
        )
    },
    "CalibratorSelector(seven maps)": CalibratorSelector(candidates=CANDIDATES),
    "CalibratorSelector(without order-preserving)": CalibratorSelector(
        candidates=[(name, calibrator) for name, calibrator in CANDIDATES if name != "order-preserving"]
    ),
}
COLUMNS = ("network", "n", "seed", "method", "nll", "ece", "accuracy", "seconds")
OUT = Path("benchmarks/results/strong_networks.csv")
# Test images that fit what the features of another network say.
N_KNOWN = 4000


def main(arguments=None):
    options = parse(arguments)
    torch.set_num_threads(1)
    if not options.summary:
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compute(options)
    print(table(pd.read_csv(options.out)).to_markdown(index=False, disable_numparse=True))


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of networks, images and gas_sensor_drift.npz")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS), help="default: all")
    parser.add_argument("--methods", nargs="+", choices=MAPS, default=list(MAPS), help="default: all")
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 1000, 2500, 5000])
    parser.add_argument("--seeds", type=int, default=5, help="number of splits (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help="CSV file to append to (default: %(default)s)")
    parser.add_argument("--summary", action="store_true", help="only print the table of this file")
    return parser.parse_args(arguments)


def compute(options):
    """Compute and write the fits that the file doesn't have yet."""
    file = ResultFile(options.out, COLUMNS, n_key=4)
    for network in options.networks:
        runs = product(options.sizes, range(options.seeds), options.methods)
        runs = [run for run in runs if (network, *run) not in file]
        if not runs:
            continue
        logits, labels = NETWORKS[network](options.data)
        for n, seed, method in tqdm(runs, desc=network, disable=None):
            half, test = split_halves(labels, seed)
            if n > len(half):
                continue
            rows = np.random.default_rng(seed).permutation(half)[:n]
            found = run_ours(clone(MAPS[method]), Split(logits, labels, rows, test))
            file.append([dict(zip(COLUMNS, (network, n, seed, method, *found), strict=True))])


def averaged(data_dir):
    """Mean log-probabilities of the two ResNets on the CIFAR-10 test images and their mirror images; labels."""
    images, labels = load_images("cifar10_test", data_dir)
    networks = [load_resnet(name, data_dir) for name in ("cifar10_resnet20", "cifar10_resnet32")]
    logits = [compute_logits(network, X).numpy() for network in networks for X in (images, images.flip(3))]
    return np.mean([log_softmax(part.astype(np.float64), axis=1) for part in logits], axis=0), labels


def transferred(data_dir):
    """The averaged log-probabilities plus those by an ImageNet network's features, of what these weren't fitted to."""
    logits, labels = averaged(data_dir)
    rows = np.arange(len(labels))
    known, new = train_test_split(rows, train_size=N_KNOWN, stratify=labels, random_state=0)
    X = lite0_features(load_images("cifar10_test", data_dir)[0])
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=200)).fit(X[known], labels[known])
    return logits[new] + model.predict_log_proba(X[new]), labels[new]


def lite0_features(images):
    """The last feature map's means of images enlarged to 128 × 128."""
    normalize, network = load_imagenet_network(LITE0)[0]
    found = []
    with torch.no_grad():
        for batch in images.split(100):
            large = functional.interpolate(batch, size=128, mode="bicubic", antialias=True).clamp(0, 1)
            found.append(network.extract_features(normalize(large)).mean((2, 3)))
    return torch.cat(found).numpy()


def sensors(data_dir):
    """Log-probabilities of a perceptron on gas sensors of all batches together, six classes; labels."""
    with np.load(Path(data_dir) / "gas_sensor_drift.npz") as file:
        X, labels = file["X"].astype(np.float64), np.searchsorted(np.unique(file["y"]), file["y"])
    X, X_rest, y, y_rest = train_test_split(X, labels, train_size=1500, stratify=labels, random_state=0)
    model = make_pipeline(StandardScaler(), MLPClassifier(128, max_iter=60, random_state=0)).fit(X, y)
    return np.log(np.maximum(model.predict_proba(X_rest), np.finfo(np.float64).tiny)), y_rest


NETWORKS = {"CIFAR-10, ResNets": averaged, "CIFAR-10, and features": transferred, "gas sensors": sensors}


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


if __name__ == "__main__":
    main()
