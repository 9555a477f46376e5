"""Time of clamping fits, and of a plain loop with the published settings, as multiples of one plain forward pass."""

import copy

import torch
from tqdm import tqdm

from _relative_time import measure_relative
from skclamp import REFERENCE_SETTINGS, NeuralClampingCalibrator
from skclamp.clamping._acceleration import has_bfloat16

FAMILIES = ("affine", "auto")


def precisions():
    """What is worth measuring here: "auto" is float32 on processors without bfloat16."""
    return ("auto", "float32") if has_bfloat16(torch.device("cpu")) else ("float32",)


def fit_rows(network, shifted, labels, *, epochs):
    """Rows of the published settings in a plain loop, and of each family and precision.

    Parameters
    ----------
    network : torch.nn.Module
        In eval mode.
    shifted : dict of str to torch.Tensor
        Calibration images by the name of their shift.
    labels : array of shape (n,)
        Their classes.
    epochs : int
        Epochs of the plain loop that are measured; all are extrapolated.

    Yields
    ------
    dict
        "factor" is the plain loop's time over the row's, in processor time.
    """
    reference = reference_row(network, next(iter(shifted.values())), labels, epochs)
    yield reference
    settings = [(shift, family, precision) for shift in shifted for family in FAMILIES for precision in precisions()]
    for shift, family, precision in tqdm(settings, disable=None):
        row = fit_row(network, shifted[shift], labels, family, precision)
        factor = reference["relative_cpu"] / row["relative_cpu"]
        yield {"part": "fit", "shift": shift, "what": family, "precision": precision, **row, "factor": factor}


def fit_row(network, images, labels, family, precision):
    """Time and passes of one fit, the guard included."""
    calibrator = NeuralClampingCalibrator(network, perturbation=family, precision=precision, random_state=0)
    _, relative = measure_relative(lambda: calibrator.fit(images, labels), network, images)
    kept = int(calibrator.accepted_)
    return {"relative_time": relative.wall, "relative_cpu": relative.cpu, **calibrator.cost_, "kept": kept}


def reference_row(network, images, labels, epochs):
    """Time of the plain loop, extrapolated from a few epochs to all."""
    total = REFERENCE_SETTINGS["max_epochs"]
    trained = copy.deepcopy(network).requires_grad_()
    y_encoded = torch.as_tensor(labels)
    _, relative = measure_relative(lambda: plain_loop(trained, images, y_encoded, epochs), network, images)
    return {
        "part": "fit",
        "shift": "any",
        "what": f"plain loop, {total} epochs",
        "precision": "float32",
        "relative_time": relative.wall * total / epochs,
        "relative_cpu": relative.cpu * total / epochs,
        "forward": total,
        "backward": total,
        "kept": 1,
        "factor": 1.0,
    }


def plain_loop(network, images, y_encoded, epochs):
    """The published training as one would write it: a full delta and T by SGD, gradients of all weights computed too.

    Returns
    -------
    delta : torch.Tensor of one image's shape
    temperature : float
    """
    settings = REFERENCE_SETTINGS
    delta = torch.normal(0.0, settings["init_scale"], images.shape[1:]).requires_grad_()
    temperature = torch.tensor(settings["init_temperature"], requires_grad=True)
    optimizer = settings["optimizer"]([delta, temperature], lr=settings["lr"])
    for _ in range(epochs):
        for rows in torch.randperm(len(images)).split(settings["batch_size"]):
            network.zero_grad()
            optimizer.zero_grad()
            log_proba = (network(images[rows] + delta) / temperature).log_softmax(1)
            own = log_proba.gather(1, y_encoded[rows, None])
            focal = -((1 - own.exp()) ** settings["gamma"] * own).mean()
            (focal + settings["penalty"] * delta.norm()).backward()
            optimizer.step()
    return delta.detach(), temperature.item()
