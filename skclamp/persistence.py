"""Save and load what a calibrator learned: one small safetensors file, never the network.

The file's metadata are JSON: the calibrator's class and parameters, the versions that wrote it, a fingerprint of the
network, where each learned array belongs, and a checksum over all this and the arrays. Reading it runs no code that it
could choose.
"""

import json
import os
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4
from zipfile import is_zipfile

import numpy as np

from ._backbones.fingerprint import Digest
from ._backbones.opening import is_frozen
from ._utils.encoding import Reader, UnknownClassError, Writer, register
from ._utils.warnings import warn_caller
from ._version import __version__
from .exceptions import NotSavedWarning
from .modules._norm_layers import OtherLayersError
from .perturbations._families import PERTURBATIONS
from .perturbations._norm import NormPerturbation
from .perturbations._views import VIEWS

__all__ = ["load", "register"]

FORMAT = 10
_KEY = "skclamp"
# What says where and how a network runs, and nothing of what was learned.
_RUNNING = ("batch_size", "device", "verbose")

for _kind in (*PERTURBATIONS.values(), NormPerturbation, *VIEWS):
    register(_kind)


def write(calibrator, path, *, remember=False):
    """Write a fitted calibrator; see `BaseCalibrator.save`."""
    if os.fsdecode(path).endswith((".pkl", ".pickle", ".joblib")):
        raise ValueError(
            "path must not end as that of a pickle does: save writes a safetensors file, which skclamp.load reads; got "
            f"{os.fsdecode(path)!r}. joblib.dump(calibrator, path) writes a pickle, network included"
        )
    writer = Writer()
    content = writer.encode_object(calibrator, type(calibrator).__name__)
    seen = getattr(calibrator, "_rows_seen", None) if remember else None
    if seen is not None:
        # The upper halves, in no order of the samples; a loaded calibrator has these alone.
        halves = (seen >> np.uint32(16)).astype(np.uint16) if seen.itemsize > 2 else seen
        content["state"]["_rows_seen"] = writer.encode(np.sort(halves), f"{type(calibrator).__name__}._rows_seen")
    header = {
        "format": FORMAT,
        "version": __version__,
        "fingerprint": calibrator._backbone.fingerprint(),
        "calibrator": content,
    }
    header["checksum"] = checksum(header, writer.arrays)
    if writer.left_out:
        warn_caller(
            f"{', '.join(sorted(set(writer.left_out)))}: can't be saved; a loaded calibrator has the default, which "
            "matters only to another fit",
            NotSavedWarning,
        )
    _replace(path, _safetensors().numpy.save(writer.arrays, {_KEY: json.dumps(header, allow_nan=False)}))


def _replace(path, data):
    """Write a file such that a failure leaves an earlier one as it was."""
    path = Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(f"path must lie in an existing directory; got {str(path)!r}")
    part = path.with_name(f"{path.name}.{uuid4().hex}")
    try:
        with open(part, "xb") as file:
            file.write(data)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def load(path, estimator=None, *, strict=True, **params):
    """Read a calibrator that was saved, and put it around its network.

    Parameters
    ----------
    path : str or path-like
        A file that ``calibrator.save`` wrote.
    estimator : torch.nn.Module, skorch.NeuralNet or fitted scikit-learn classifier, default=None
        What the calibrator was fitted around: the same network, built and loaded as usual. For a classifier that
        `fit` itself fitted, this is the calibrator's ``estimator_``; for a SelectiveClassifier, its fitted calibrator;
        for a monitor, what it watches. None for a calibrator, or a monitor, of logits.
    strict : bool, default=True
        Whether to check that it is the same: of a network, that its layers are of the same classes, with the same
        weights and buffers bit by bit, and its outputs read in the same way. Of a classifier, that the arrays in it are
        the same. False lets through what is known to give the same logits, such as a copy in another precision. Where
        features are clamped, or the last layer has other weights, it must have these layers by name.
    **params
        ``batch_size``, ``device`` or ``verbose``, where they should be others than in `fit`.

    Returns
    -------
    BaseCalibrator, SelectiveClassifier, CalibrationMonitor or RiskMonitor
        Fitted: it predicts what the saved one did. It has no ``history_``, and a search no ``cv_results_``. A monitor
        watches on from where the saved one was.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError, TypeError
        If the file isn't a calibrator's, is damaged or of another format, or needs a class that isn't imported. If the
        network is another. If a parameter breaks a rule.
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
    others = sorted(set(params) - set(_RUNNING))
    if others:
        raise TypeError(f"a parameter that is set anew must be one of {', '.join(_RUNNING)}; got {others[0]!r}")
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(
            "path must be a str or path-like, and the path comes first: load(path, estimator); got "
            f"{type(path).__name__}"
        )
    header, arrays = _read(path)
    reader = Reader(arrays)
    with _damage_told(path):
        content = header["calibrator"]
        written = header["fingerprint"]
        calibrator = reader.decode_arguments(content)
        restore = calibrator._restore
        # How the estimator is opened goes by these.
        if "_outputs" in content["state"]:
            calibrator._outputs = reader.decode(content["state"]["_outputs"])
    if (written is None) != (estimator is None):
        of_logits = "None: this is a calibrator of logits"
        rule = of_logits if written is None else "what this was fitted around: load(path, estimator)"
        raise ValueError(f"estimator must be {rule}; got {None if estimator is None else type(estimator).__name__}")
    if not is_frozen(estimator):
        raise ValueError(
            "estimator must be fitted, as the calibrator's was: what fit itself fitted is its estimator_; got "
            f"{type(estimator).__name__}"
        )
    calibrator.set_params(estimator=estimator, **params)
    calibrator._validate_params()
    backbone = calibrator._open_backbone()
    if strict and written != backbone.fingerprint():
        raise ValueError(
            f"estimator must be the network that the calibrator was fitted around; got {type(estimator).__name__} with "
            "other weights, layers or outputs. strict=False lets through what is known to give the same logits"
        )
    with _damage_told(path):
        restore(reader.decode_state(content), backbone)
    return calibrator


def _read(path):
    """The header, and the arrays by name."""
    name_of_file = os.fsdecode(path)
    if os.path.isdir(name_of_file):
        raise ValueError(f"{path} must be a file that a calibrator's save wrote; got a folder")
    if is_zipfile(name_of_file):
        raise ValueError(f"{path} is no file of skclamp's, which a calibrator's save writes, but a zip, as torch's are")
    with _damage_told(path), _safetensors().safe_open(name_of_file, framework="np") as file:
        header = json.loads((file.metadata() or {}).get(_KEY, "null"))
        # What the file is mapped to can't be written to, and goes with it.
        arrays = {name: np.array(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise ValueError(f"{path} must be a file that a calibrator's save wrote; got one of something else")
    if header["format"] != FORMAT:
        raise ValueError(
            f"{path} must have format {FORMAT}; got {header['format']}, which skclamp {header.get('version')} wrote. "
            f"This is skclamp {__version__}"
        )
    with _damage_told(path):
        if header.pop("checksum", None) != checksum(header, arrays):
            raise ValueError("its checksum isn't that of its content")
    return header, arrays


@contextmanager
def _damage_told(path):
    """Say of any error that a file's content causes that the file is at fault."""
    try:
        yield
    except OtherLayersError:
        # Of the network, which is no part of the file.
        raise
    except UnknownClassError as error:
        raise ValueError(f"{path} {error}") from error
    except (
        AttributeError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
        _safetensors().SafetensorError,
    ) as error:
        raise ValueError(
            f"{path} must be a file that a calibrator's save wrote; got one that's damaged: {error}"
        ) from error


def checksum(header, arrays):
    """Return a hash of the header, and of the arrays by name, which tells whether a file is as it was written."""
    # As they lie in the file, on any machine.
    little = {name: array.astype(array.dtype.newbyteorder("<"), copy=False) for name, array in arrays.items()}
    return Digest().value((json.dumps(header), little)).hex()


def _safetensors():
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError("saving and loading need the package safetensors: pip install 'skclamp[save]'") from error
    return safetensors
