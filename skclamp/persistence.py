"""Save and load what a calibrator learned: one small safetensors file, never the network.

The file's metadata are JSON: the calibrator's class and parameters, the versions that wrote it, a fingerprint of the
network and where each learned array belongs. Reading it runs no code that it could choose. Imports `_backbone` and what
lies below it.
"""

import json
import os
import pickle
import tempfile
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import joblib
import numpy as np
import torch

from ._backbone import ArrayBackbone, ScoresBackbone
from ._encoding import Reader, Writer, register
from ._version import __version__
from ._warnings import warn_caller
from .perturbations import PERTURBATIONS

__all__ = ["load", "register", "save"]

FORMAT = 1
_KEY = "skclamp"
# What DataParallel, `LogitsModule` and torch.compile call the network within.
_WRAPPERS = {"module", "_orig_mod"}
_DAMAGED = "{} must be a file that a calibrator's save wrote; got one that's damaged: {}"

for _family in PERTURBATIONS.values():
    register(_family)


def save(calibrator, path):
    """Write a fitted calibrator; see `BaseCalibrator.save`."""
    writer = Writer()
    content = writer.encode_object(calibrator, type(calibrator).__name__)
    header = {
        "format": FORMAT,
        "version": __version__,
        "fingerprint": fingerprint(calibrator._backbone),
        "calibrator": content,
    }
    if writer.left_out:
        warn_caller(
            f"{', '.join(sorted(set(writer.left_out)))}: can't be saved; a loaded calibrator has the default, which "
            "matters only to another fit"
        )
    data = _safetensors().numpy.save(writer.arrays, {_KEY: json.dumps(header, allow_nan=False)})
    _replace(Path(path), data)


def _replace(path, data):
    """Write a file such that a failure leaves an earlier one as it was."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
        try:
            file.write(data)
            file.close()
            os.replace(file.name, path)
        except BaseException:
            file.close()
            os.unlink(file.name)
            raise


def load(path, estimator=None, *, strict=True, **params):
    """Read a calibrator that was saved, and put it around its network.

    Parameters
    ----------
    path : str or path-like
        A file that ``calibrator.save`` wrote.
    estimator : torch.nn.Module, skorch.NeuralNet or fitted scikit-learn classifier, default=None
        What the calibrator was fitted around: the same network, built and loaded as usual. For a classifier that
        `fit` itself fitted, this is the calibrator's ``estimator_``. None for a calibrator of logits.
    strict : bool, default=True
        Whether the weights must be those that the calibrator was fitted to, bit by bit. False lets through a copy in
        another precision, which then has to be known to give the same logits.
    **params
        Parameters of the calibrator to set anew, such as ``device``.

    Returns
    -------
    BaseCalibrator
        Fitted: it predicts what the saved one did. It has no ``history_``, and a search no ``cv_results_``.

    Raises
    ------
    ValueError
        If the file isn't a calibrator's, is damaged or of a newer format; if the network is another.
    TypeError, ValueError
        If a parameter breaks a rule.
    ImportError
        If safetensors isn't installed: ``pip install "skclamp[save]"``.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> import skclamp
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 3))
    >>> y = (logits / 2.0 + rng.gumbel(size=logits.shape)).argmax(axis=1)
    >>> calibrator = skclamp.TemperatureScaling().fit(logits, y)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "calibrator.safetensors")
    ...     calibrator.save(path)
    ...     loaded = skclamp.load(path)
    >>> loaded.temperature_ == calibrator.temperature_
    True
    """
    header, arrays = _read(path)
    reader = Reader(arrays)
    with _damage_told(path):
        content, written = header["calibrator"], header["fingerprint"]
        calibrator = reader.decode_arguments(content)
        learn = calibrator._restore
    calibrator.set_params(estimator=estimator, **params)
    calibrator._validate_params()
    backbone = calibrator._open_backbone()
    _check_fingerprint(written, backbone, estimator, strict)
    with _damage_told(path):
        learn(reader.decode_state(content), backbone)
    return calibrator


def _read(path):
    """The header, and the arrays by name."""
    safetensors = _safetensors()
    try:
        with safetensors.safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {}).get(_KEY, "null"))
            # What the file is mapped to can't be written to, and goes with it.
            arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} must be a file that a calibrator's save wrote; got one that's damaged: {error}"
        ) from error
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise ValueError(f"{path} must be a file that a calibrator's save wrote; got one of something else")
    if header["format"] > FORMAT:
        raise ValueError(
            f"{path} must have format {FORMAT} or an older one; got {header['format']}, which skclamp "
            f"{header.get('version')} wrote. This is skclamp {__version__}"
        )
    return header, arrays


@contextmanager
def _damage_told(path):
    """Say of any error that a file's content causes that the file is at fault."""
    try:
        yield
    except (AttributeError, IndexError, LookupError, RecursionError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} must be a file that a calibrator's save wrote; got one that's damaged: {error}"
        ) from error


def _check_fingerprint(written, backbone, estimator, strict):
    """Raise if a calibrator wasn't fitted around this estimator."""
    if (written is None) != (estimator is None):
        rule = "None: this is a calibrator of logits" if written is None else "the network it was fitted around"
        raise ValueError(f"estimator must be {rule}; got {_by_name(estimator)}")
    if strict and written != fingerprint(backbone):
        raise ValueError(
            f"estimator must be the network that the calibrator was fitted around; got {_by_name(estimator)} with "
            "other weights. strict=False lets through a copy in another precision"
        )


def _by_name(estimator):
    return None if estimator is None else type(estimator).__name__


def fingerprint(backbone):
    """What tells one network from another: a hash of its weights' names, types, shapes and bytes; None without one."""
    if isinstance(backbone, (ArrayBackbone, ScoresBackbone)):
        return None
    if not hasattr(backbone, "module"):
        # Pickling moves arrays and parts strings; as it may lie between saving and loading, it lies before both.
        return joblib.hash(pickle.loads(pickle.dumps(backbone.classifier)))
    digest = blake2b(digest_size=16)
    for name, tensor in sorted(_weights(backbone.module).items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _weights(module):
    """The plain tensors of a network's state, under the names that they have without a wrapper around the network."""
    state = module.state_dict()
    return {
        ".".join(part for part in name.split(".") if part not in _WRAPPERS): value
        for name, value in state.items()
        if isinstance(value, torch.Tensor) and not value.is_quantized
    }


def _safetensors():
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("saving and loading need the package safetensors: pip install 'skclamp[save]'") from error
    return safetensors
