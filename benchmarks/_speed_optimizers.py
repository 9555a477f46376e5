"""What each optimiser reaches for its passes: one family of few parameters, without the guard."""

from functools import partial

import torch
from tqdm import tqdm

from _relative_time import measure_relative
from _speed_fit import precisions
from skclamp import NeuralClampingCalibrator, TemperatureScaling
from skclamp.metrics import negative_log_likelihood

OPTIMIZERS = {
    "natural": {"optimizer": "natural"},
    "Adam, lr 0.01, 10 epochs": {"optimizer": "adam", "lr": 0.01},
    "Adam, lr 0.03, 10 epochs": {"optimizer": "adam", "lr": 0.03},
    "Adam, lr 0.03, 30 epochs": {"optimizer": "adam", "lr": 0.03, "max_epochs": 30},
    "SGD, lr 0.01, 30 epochs": {"optimizer": partial(torch.optim.SGD, momentum=0.9), "lr": 0.01, "max_epochs": 30},
    "L-BFGS, 10 epochs of 5": {
        "optimizer": partial(torch.optim.LBFGS, max_iter=5, line_search_fn="strong_wolfe"),
        "lr": 1.0,
        "batch_size": 10_000,
    },
}


def optimizer_rows(network, calibration, test, shift):
    """Yield a row for each optimiser and precision: passes, relative time, and test NLL over temperature scaling's.

    Parameters
    ----------
    network : torch.nn.Module
        In eval mode.
    calibration, test : tuple of (torch.Tensor, array)
        Shifted images and their classes.
    shift : str
        Its name.
    """
    images, labels = calibration
    plain = TemperatureScaling(network).fit(images, labels)
    plain_nll = negative_log_likelihood(test[1], plain.predict_proba(test[0]))
    runs = [(name, precision) for name in OPTIMIZERS for precision in precisions()]
    for name, precision in tqdm(runs, disable=None):
        calibrator = NeuralClampingCalibrator(
            network,
            perturbation="affine",
            validation_fraction=None,
            precision=precision,
            random_state=0,
            **OPTIMIZERS[name],
        )
        _, relative = measure_relative(lambda c=calibrator: c.fit(images, labels), network, images)
        nll = negative_log_likelihood(test[1], calibrator.set_params(batch_size=64).predict_proba(test[0]))
        yield {
            "part": "optimizers",
            "shift": shift,
            "what": name,
            "precision": precision,
            "relative_time": relative.wall,
            "relative_cpu": relative.cpu,
            **calibrator.cost_,
            "nll_ratio": nll / plain_nll,
        }
