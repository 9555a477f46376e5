"""A pretend accelerator: the device "pretend" computes on the CPU, refuses what a GPU refuses, and counts transfers.

Every storage on the device holds one of the CPU, and tensors of both have the same sizes and strides, so that views
and writes alias as they do on any device. `register` changes torch for the rest of the process (`current_accelerator`
is "pretend" from then on), so tests do it in a process of their own: `elsewhere` yields what a function returns there.
It uses torch's experimental backends in Python.
"""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch.utils import backend_registration

NAME = "pretend"
SETUP = "_setup_privateuseone_for_python_backend"
needs_pretend_device = pytest.mark.skipif(
    not (hasattr(backend_registration, SETUP) and hasattr(torch._C, "_acc")),
    reason=f"torch {torch.__version__} registers no device in Python (2.10 does)",
)
# Indices of a tensor on a device may be the CPU's.
INDEXING = ("aten::index", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index")
# What tells the host how many there are, or whether.
TELLING = ("aten::equal", "aten::nonzero", "aten::masked_select", "aten::_unique2")
PACKAGE = str(Path(__file__).resolve().parents[1] / "skclamp")


class Transfer(NamedTuple):
    """Numbers that cross to the "host" or the "device", and the lines of the package that ask, the inmost first."""

    to: str
    n_values: int
    places: tuple


_counters = []
_libraries = []


@contextmanager
def transfers():
    """A list of the transfers within."""
    counter = []
    _counters.append(counter)
    try:
        yield counter
    finally:
        _counters.remove(counter)


def _count(to, tensor):
    if _counters:
        frame, places = sys._getframe(2), []
        while frame:
            code = frame.f_code
            if code.co_filename.startswith(PACKAGE):
                places.append(f"{code.co_filename[len(PACKAGE) + 1 :]}:{frame.f_lineno} {code.co_name}")
            frame = frame.f_back
        for counter in _counters:
            counter.append(Transfer(to, tensor.numel(), tuple(places)))


def is_held(value):
    """Whether a value is a tensor on the device."""
    return isinstance(value, torch.Tensor) and value.device.type == NAME


def _raw(tensor):
    """The CPU's tensor behind one of the device."""
    geometry = tensor.storage_offset(), tensor.shape, tensor.stride()
    return torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage().raw, *geometry)


def _geometry(raw):
    return raw.shape, raw.stride(), raw.storage_offset()


_META = torch._C.DispatchKeySet(torch._C.DispatchKey.Meta)


def _held(raw, others=()):
    """A tensor of the device with this one behind it; what shares its storage with others does so on the device."""
    storage = raw.untyped_storage()
    base = next((held for held, of in others if of.untyped_storage()._cdata == storage._cdata), None)
    if base is None or base.dtype != raw.dtype:
        made = torch._C._acc.create_empty_tensor(tuple(raw.shape), raw.dtype)
        if base is not None:
            _reshape(made, raw, base.untyped_storage())
        else:
            made.untyped_storage().raw = storage
        base = made
    # The kernel for tensors without data sets sizes and strides, and asks for no storage that is large enough.
    same = _geometry(base) == _geometry(raw) and not others
    return base if same else torch.ops.aten.as_strided.default.redispatch(_META, base, *_geometry(raw))


def _reshape(tensor, raw, storage=None):
    """Give a tensor of the device the sizes and strides of the one behind it."""
    size, stride, offset = _geometry(raw)
    _set_(tensor, tensor.untyped_storage() if storage is None else storage, offset, size, stride)


# Operators know lists and tuples alone: torch's pytree knows all containers, and takes half of the time of a fit.
def _leaves(value):
    """What a nest of lists and tuples holds."""
    if not isinstance(value, list | tuple):
        return [value]
    return [leaf for each in value for leaf in _leaves(each)]


def _each(function, value):
    """The same nest of what a function makes of its leaves."""
    if not isinstance(value, list | tuple):
        return function(value)
    return type(value)([_each(function, each) for each in value])


def _check_devices(name, args, flat, device):
    held = [each for each in flat if is_held(each)]
    if held and name.split(".")[0] in TELLING:
        _count("host", held[0].new_empty(()))
    others = [each for each in flat if isinstance(each, torch.Tensor) and not is_held(each)]
    if name.split(".")[0] in INDEXING:
        indices = [each for each in args[1] if each is not None]
        if is_held(args[0]):
            for each in [each for each in indices if not is_held(each)]:
                _count("device", each)
            others = [each for each in others if not any(each is index for index in indices)]
        elif any(map(is_held, indices)):
            raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")
    strangers = [each for each in others if each.dim()]
    if held and strangers:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, pretend:0 and cpu! "
            f"({name} of {tuple(strangers[0].shape)})"
        )
    generator = next((each for each in flat if isinstance(each, torch.Generator)), None)
    if generator is not None and (held or (device is not None and torch.device(device).type == NAME)):
        raise RuntimeError(f"Expected a 'pretend' device type for generator but found 'cpu' ({name})")
    return held


def _fallback(func, *args, **kwargs):
    """Compute on the CPU what tensors of the device are asked for."""
    flat = _leaves((args, list(kwargs.values())))
    device = kwargs.get("device")
    held = _check_devices(func.name(), args, flat, device)
    pairs = [(each, _raw(each)) for each in held]
    raws = {id(each): raw for each, raw in pairs}
    args, given = _each(lambda each: raws.get(id(each), each), (args, list(kwargs.values())))
    kwargs = dict(zip(kwargs, given, strict=True))
    if device is not None:
        kwargs["device"] = "cpu"
    if kwargs.get("pin_memory"):
        kwargs["pin_memory"] = False
    with torch._C._AutoDispatchBelowAutograd():
        out = func(*args, **kwargs)
    for each, raw in pairs if func._schema.is_mutable else ():
        if _geometry(each) != _geometry(raw):
            _reshape(each, raw)
    own = {id(raw): each for each, raw in pairs}
    is_here = held if device is None else torch.device(device).type == NAME

    def wrapped(value):
        if not isinstance(value, torch.Tensor) or not is_here:
            return value
        return own[id(value)] if id(value) in own else _held(value, pairs)

    return _each(wrapped, out)


def _copy_from(source, target, non_blocking=False):
    if is_held(source) != is_held(target):
        _count("device" if is_held(target) else "host", source)
    raw_source, raw_target = (_raw(each) if is_held(each) else each for each in (source, target))
    raw_target.copy_(raw_source)
    return target


def _scalar(tensor):
    _count("host", tensor)
    return _raw(tensor).item()


def _as_strided_(tensor, size, stride, offset=None):
    offset = tensor.storage_offset() if offset is None else offset
    return _set_(tensor, tensor.untyped_storage(), offset, size, stride)


def _set_(tensor, storage, offset, size, stride=()):
    # The kernel for tensors without data asks for no storage that is large enough.
    return torch.ops.aten.set_.source_Storage_storage_offset.redispatch(_META, tensor, storage, offset, size, stride)


def _convolution(*args):
    return _fallback(torch.ops.aten.convolution.default, *args)


def _convolution_backward(gradient, x, weight, *args):
    *settings, mask = args
    found = _fallback(
        torch.ops.aten.convolution_backward.default, gradient, x, weight, None, *settings, [*mask[:2], False]
    )
    return *found[:2], gradient.sum([0, *range(2, gradient.dim())]) if mask[2] else None


def _clone(storage, clone=torch.UntypedStorage.clone):
    if storage.device.type != NAME:
        return clone(storage)
    made = torch._C._acc.create_empty_tensor((0,), torch.uint8).untyped_storage()
    made.raw = storage.raw.clone()
    return made


KERNELS = {
    "_copy_from": _copy_from,
    "_local_scalar_dense": _scalar,
    "as_strided_": _as_strided_,
    "set_.source_Storage_storage_offset": _set_,
    "convolution_overrideable": _convolution,
    "convolution_backward_overrideable": _convolution_backward,
}


def register():
    """Have torch know the device, from now on."""
    if not _libraries:
        getattr(backend_registration, SETUP)(NAME)
        everything, aten = torch.library.Library("_", "IMPL"), torch.library.Library("aten", "IMPL")
        everything.fallback(_fallback, "PrivateUse1")
        for name, kernel in KERNELS.items():
            aten.impl(name, kernel, "PrivateUse1")
        _libraries.extend([everything, aten])
        torch.UntypedStorage.clone = _clone


@contextmanager
def elsewhere():
    """Yield what calls a function in a process that has the device, and returns what it returns."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, initializer=register) as pool:
        yield lambda function, *args, **kwargs: pool.submit(function, *args, **kwargs).result()
