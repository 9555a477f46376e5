"""A search on a dask cluster, and predictions over a dask array, as a user's script; run by test_dask.

Prints what came out as JSON.
"""

import json

import dask.array as da
import joblib
import numpy as np
import torch
from _digits import calibration_and_test, convolutional_network
from dask.distributed import Client, LocalCluster
from sklearn.model_selection import GridSearchCV

from skclamp import NeuralClampingCalibrator


def main():
    torch.set_num_threads(1)
    (X, y), (X_test, _) = calibration_and_test(0, n_calibration=300)
    calibrator = NeuralClampingCalibrator(convolutional_network(), perturbation="affine", random_state=0)
    search = GridSearchCV(calibrator, {"validation_fraction": [0.5, None]}, cv=2)
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        with joblib.parallel_config("dask"):
            search.fit(X, y)
        tasks = {worker: len(keys) for worker, keys in client.has_what().items()}
        # Whole batches: a network may round a sample differently beside fewer others.
        images = da.from_array(X_test, chunks=(3 * 64, -1, -1, -1))
        proba = images.map_blocks(
            search.predict_proba, dtype=np.float64, drop_axis=(2, 3), chunks=(images.chunks[0], (10,))
        ).compute()
    there = search.cv_results_["mean_test_score"]
    here = search.fit(X, y).cv_results_["mean_test_score"]
    found = {
        "scores": there.tolist(),
        "differences": np.abs(here - there).tolist(),
        "proba": np.abs(proba - search.predict_proba(X_test)).max(),
        "n_workers": len(tasks),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
