"""Fits on a device and on the CPU, which test_pretend_device compares; run in a process that has the device."""

import copy
import importlib
import tempfile
import warnings
from contextlib import contextmanager, nullcontext
from functools import partial
from unittest import mock

import numpy as np
import torch
from _digits import convolutional_network, shifted, splits
from _pretend_device import transfers

import frozen_fits as problems
import skclamp
from frozen_fits import clamp, fit
from skclamp._backbones import network
from skclamp.clamping import _evidence_step, _natural_gradient, _screen
from skclamp.perturbations import HorizontalFlip

FEW_GAIN = partial(problems.camera, "gain", 440)
SHIFTED = partial(problems.mirrored, shift=0.8)
FAMILIES = (*problems.FAMILIES, "norm")


def predicted(make):
    """What a fit leaves, what it predicts, and what its module gives on the device, by the name of the device."""

    def run(device):
        calibrator, X = make(device=device)()
        found = {**learned(calibrator), "probabilities": calibrator.predict_proba(X)}
        if hasattr(calibrator, "module_"):
            module = calibrator.module_.to(device).eval()
            like = next(module.parameters(), torch.empty(0, device=device))
            x = {
                name: torch.as_tensor(part).to(like)
                for name, part in (X.items() if isinstance(X, dict) else [("x", X)])
            }
            with torch.no_grad():
                logits = module(**x) if isinstance(X, dict) else module(x["x"])
            assert logits.device.type == device
            found["logits"] = logits
        return found

    return predicted_on(run)


def predicted_on(run):
    """A row's results as numbers by name."""
    return lambda device: dict(freeze().flat(run(device)))


def learned(calibrator):
    """What a fit has learned, by its public names."""
    return freeze().learned(calibrator)


def freeze():
    """The tool, which asks for one thread where it is imported."""
    return importlib.import_module("freeze")


def clamped(data, params=lambda y: {}, **options):
    """A row of clamping, in float32 on any processor."""
    return predicted(partial(clamp, data, params, **options))


def unlabelled(device):
    """Images of a new camera teach, in part without labels."""
    _, (x, y) = splits()
    new = shifted(shifted(shifted(x, "gain and offset"), "gain and offset"), "gain and offset")
    calibrator = skclamp.NeuralClampingCalibrator(
        convolutional_network(), device=device, random_state=0, perturbation=None, output=None
    )
    calibrator.fit(new[300:420], y[300:420], X_unlabelled=new[420:900], X_reference=x[:300])
    return {**learned(calibrator), "probabilities": calibrator.predict_proba(new[900:])}


def compared(device):
    """Three maps beside each other."""
    estimator, X, y, _ = problems.camera("gain", 1040)
    maps = [skclamp.TemperatureScaling(), skclamp.StructuredMatrixScaling(), skclamp.IsotonicCalibration()]
    options = {"calibrators": maps, "n_resamples": 20, "n_draws": 10, "device": device}
    return {
        row.name: row
        for row in skclamp.compare_calibrators(estimator, X[:500], y[:500], X[500:], y[500:], **options).rows
    }


def watched(device):
    """A stream, watched by the probabilities of a calibrated network that is on the device."""
    estimator, X, y, _ = problems.gain()
    calibrator = skclamp.TemperatureScaling(estimator, device=device).fit(X[:300], y[:300])
    monitor, steps = skclamp.CalibrationMonitor(calibrator), []
    for rows in np.array_split(np.arange(len(X)), 4):
        monitor.partial_fit(X[rows], y[rows])
        steps.append([monitor.log_e_value_, monitor.p_value_, monitor.temperature_, monitor.gain_])
    return {"steps": steps, "monitor": monitor}


def abstaining(device):
    """A threshold below which a calibrated network abstains, and a watch over its risk."""
    estimator, X, y, X_new = problems.gain()
    calibrator = skclamp.TemperatureScaling(estimator, device=device).fit(X[:300], y[:300])
    selective = skclamp.SelectiveClassifier(calibrator, target_risk=0.2).fit(X[300:], y[300:])
    monitor = skclamp.RiskMonitor(selective).partial_fit(X[:200], y[:200])
    return {"threshold": selective.threshold_, "risk": monitor.risk_, "e": monitor.log_e_value_}


def frequencies(device):
    """Class frequencies that have changed."""
    return learned(problems.rare(6)[0]) if device == "cpu" else learned(_rare(device))


def _rare(device):
    digits, x, y = problems.digits()
    with mock.patch.object(problems, "digits", lambda: (copy.deepcopy(digits).to(device), x, y)):
        return problems.rare(6)[0]


def read_again(device):
    """A fit from a file, on the device."""
    calibrator, X = clamp(FEW_GAIN, perturbation="affine", device=device)()
    with tempfile.TemporaryDirectory() as folder:
        calibrator.save(f"{folder}/saved.safetensors")
        loaded = skclamp.load(f"{folder}/saved.safetensors", estimator=copy.deepcopy(calibrator.estimator).to(device))
    return {"probabilities": loaded.predict_proba(X), "moved": copy.deepcopy(calibrator).predict_proba(X)}


def given_logits(device):
    """Logits, labels and weights that are there already."""
    _, X, y, _ = problems.many()
    logits, labels = torch.as_tensor(X).to(device), torch.as_tensor(y).to(device)
    weight = torch.as_tensor(problems.weights(y)["sample_weight"]).to(device)
    names = ("TemperatureScaling", "VectorScaling", "HistogramBinning")
    fitted = [getattr(skclamp, name)().fit(logits, labels, weight) for name in names]
    clamping = skclamp.NeuralClampingCalibrator(torch.nn.Identity(), random_state=0, perturbation="affine", output=None)
    return {type(each).__name__: each.predict_proba(logits) for each in (*fitted, clamping.fit(logits, labels))}


MAPS = {name: predicted(partial(fit, name, problems.few)) for name in problems.MAPS}
CLAMPING = {
    "auto": clamped(problems.gain),
    "no shift": clamped(problems.none),
    "no perturbation": clamped(problems.gain, perturbation=None),
    **{family: clamped(FEW_GAIN, perturbation=family) for family in FAMILIES},
    "own perturbation": clamped(FEW_GAIN, perturbation=problems.affine_and_grid),
    "weights": clamped(FEW_GAIN, problems.weights, perturbation="affine"),
    "gamma, penalty": clamped(FEW_GAIN, perturbation="affine", gamma="auto", penalty=0.01),
    "no guard": clamped(FEW_GAIN, perturbation="affine", validation_fraction=None),
    "Adam": clamped(FEW_GAIN, perturbation="affine", training=skclamp.TorchTraining(), max_epochs=2),
    "reference": predicted(partial(clamp, FEW_GAIN, **{**problems.reference, "max_epochs": 2})),
    "output": clamped(FEW_GAIN, perturbation="affine", output=skclamp.StructuredVectorScaling()),
    "views": clamped(problems.mirrored, perturbation=None, max_views=3),
    "views, shift": clamped(SHIFTED, max_views=[HorizontalFlip()]),
    "sequences": clamped(partial(problems.drawn, 3, 12, shift=0.8)),
    "many features": clamped(partial(problems.drawn, 200, shift=1.0)),
    "classifier": clamped(partial(problems.table, problems.load_wine, problems.mlp)),
    "named inputs": clamped(problems.named_inputs),
}
OTHERS = {
    "network": predicted(partial(fit, "StructuredMatrixScaling", problems.gain)),
    "absent classes": predicted(partial(fit, "TemperatureScaling", problems.absent)),
    "probabilities": predicted(partial(fit, "DirichletCalibration", problems.probabilities, response="probabilities")),
    "selector": predicted(partial(fit, "CalibratorSelector", FEW_GAIN, n_folds=2)),
    **{
        run.__name__: predicted_on(run)
        for run in (unlabelled, compared, watched, abstaining, frequencies, read_again, given_logits)
    },
}
FITS = {
    f"{kind}: {name}": row
    for kind, rows in {"map": MAPS, "clamping": CLAMPING, "other": OTHERS}.items()
    for name, row in rows.items()
}


@contextmanager
def many_logits():
    """Rows stay on the network's device as if they were many."""
    with mock.patch.object(network, "_FEW", -1):
        yield


def outcomes(name, few=True):
    """What a row finds on the CPU and on the device, with the warnings' names."""
    torch.set_num_threads(1)
    found = []
    for device in ("cpu", "pretend"):
        torch.manual_seed(0)
        with nullcontext() if few else many_logits():
            found.append(FITS[name](device))
    return found


def counted(data=problems.gain, **options):
    """Transfers of a clamping fit on the device, and how often samples went through the network, forward or back."""
    passes, forward, back = [], network.NetworkBackbone.logits, _evidence_step.gradients_of

    def run(*args, **kwargs):
        passes.append("forward")
        return forward(*args, **kwargs)

    def run_back(*args, **kwargs):
        passes.extend(["forward", "back"])
        return back(*args, **kwargs)

    make = clamp(data, device="pretend", **options)
    patches = (
        mock.patch.object(network.NetworkBackbone, "logits", run),
        *(mock.patch.object(module, "gradients_of", run_back) for module in (_natural_gradient, _screen)),
    )
    with patches[0], patches[1], patches[2], transfers() as moved, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make()
    return moved, len(passes)
