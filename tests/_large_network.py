"""A search around a network of 92 MB, as a user's script; run by test_pickling in a process of its own.

Prints what it measured as JSON. The network's class and the scorer are of the script, which other processes can't
import.
"""

import json
import resource
import sys

import torch
from sklearn.model_selection import GridSearchCV
from torch import nn

from skclamp import NeuralClampingCalibrator, TemperatureScaling
from skclamp.metrics import neg_log_likelihood_scorer

WIDTH = 4800


class Network(nn.Module):
    """Perceptron with one large matrix."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(20, WIDTH)
        self.second = nn.Linear(WIDTH, WIDTH)
        self.last = nn.Linear(WIDTH, 3)

    def forward(self, x):
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))))


def where_the_weights_are(calibrator, X, y):
    """1 where the large matrix is in a file that joblib maps, 0 elsewhere."""
    address = calibrator.estimator.second.weight.data_ptr()
    with open("/proc/self/maps") as maps:
        for line in maps:
            low, high = (int(edge, 16) for edge in line.split()[0].split("-"))
            if low <= address < high:
                return float("joblib" in line)
    return 0.0


def resident():
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as numbers:
        return int(numbers.read().split()[1]) * resource.getpagesize()


def main(n_jobs):
    """Search over twelve candidates."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = Network()
    with torch.no_grad():
        network.last.weight.mul_(100)
        X = torch.randn(48, 20)
        y = torch.multinomial((network(X) / 2).softmax(1), 1)[:, 0].numpy()
        X = X.numpy()
    # What the first fit leaves in caches is no search's.
    settings = {"perturbation": "affine", "max_epochs": 1, "validation_fraction": None, "random_state": 0}
    NeuralClampingCalibrator(network, **settings).fit(X, y)
    before = resident()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    if n_jobs > 1:
        calibrator, grid, scoring = TemperatureScaling(network), {"gamma": range(12)}, where_the_weights_are
    else:
        calibrator, scoring = NeuralClampingCalibrator(network, **settings), neg_log_likelihood_scorer
        grid = {"gamma": [0, 0.5, 1, 2], "penalty": [0, 0.01, 0.1]}
    search = GridSearchCV(calibrator, grid, cv=2, n_jobs=n_jobs, scoring=scoring).fit(X, y)
    found = {
        "scores": search.cv_results_["mean_test_score"].tolist(),
        "kept": resident() - before,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - max(peak, before),
        "shared": search.best_estimator_.estimator is network,
        "fits": TemperatureScaling(network).fit(X, y).temperature_ > 0,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
