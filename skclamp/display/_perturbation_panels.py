"""The panels of a perturbation: which picture shows which parameter."""

import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ..perturbations._families import family_of
from ..perturbations._views import titles_of
from ..perturbations._words import title_of
from ._axes import BARS, LINE, without_frame

_NOTHING = {"color": "black", "linestyle": ":", "linewidth": 1.2}
_LINES = ("-", "--", "-.", ":")
# Names that a panel has room for.
_MAX_NAMES = 14
# Bars that have room for their values.
_MAX_TOLD = 6


@dataclass(frozen=True)
class Panel:
    """Content of a picture, apart from its drawing: `kind` is one of `DRAWN`, whose function takes the `content`."""

    title: str
    kind: str
    content: dict[str, Any]


def panels_of(perturbation, channel_names, input_range):
    """Yield panels of a perturbation, or of a chain's links: a tone curve over `input_range`, or each parameter's."""
    chain = isinstance(perturbation, nn.Sequential)
    blocks = perturbation.named_children() if chain else [(title_of(perturbation), perturbation)]
    for name, block in blocks:
        family = family_of(block)
        if family.of_features:
            yield from _depth_panels(name, block)
        elif family.tone_curve:
            yield _curve_panel(name, block, channel_names, input_range)
        else:
            for key, parameter in block.named_parameters():
                kind, nothing = family.pictures.get(key, ("any", None))
                yield from _parameter_panels(f"{name}: {key}", _numbers(parameter), kind, nothing, channel_names)


def _depth_panels(name, norm):
    """Where a network was disturbed: for each layer the range, the middle half and the median of gains, and offsets."""
    for k, (key, (_, nothing)) in enumerate(family_of(norm).pictures.items(), 1):
        found = {of_layer[0].name: _numbers(of_layer[k]) for of_layer in norm.by_layer() if of_layer[k] is not None}
        if found:
            quantiles = np.array([np.quantile(values, (0, 0.25, 0.5, 0.75, 1)) for values in found.values()])
            yield Panel(
                f"{name}: {key} by layer",
                "depth",
                {"quantiles": quantiles, "names": list(found), "nothing": nothing},
            )


def _numbers(parameter):
    return parameter.detach().cpu().double().numpy()


def _parameter_panels(title, values, kind, nothing, names):
    """Bars, a picture, or one picture per channel, by the kind of parameter and its axes."""
    if kind == "matrix" and values.size == 1:
        # Of one channel it is a factor.
        kind, nothing = "bars", 1.0
    elif kind == "matrix":
        return [Panel(title, "image", {"image": values, "names": _channel_names(names, len(values))})]
    # Of images a map is one, along a sequence it has bars.
    if kind == "filters":
        values = values[:, 0]
    elif kind == "map":
        values = values[0, 0]
    if kind != "bars" and values.ndim in (2, 3):
        return _image_panels(title, values, names)
    by_channel = kind in ("bars", "entries") and names is not None
    names = _channel_names(names, values.size) if by_channel else None
    return [Panel(title, "bars", {"values": values.ravel(), "names": names, "nothing": nothing or 0.0})]


def _image_panels(title, values, names):
    """One picture, or one per channel; of more than six channels, their mean and their spread."""
    if values.ndim == 2 or len(values) == 1:
        images = {title: values.reshape(values.shape[-2:])}
    elif len(values) > 6:
        images = {f"{title}\nmean of channels": values.mean(0), f"{title}\ntheir spread": values.std(0)}
    else:
        names = _channel_names(names, len(values))
        images = {f"{title}\nchannel {name}": image for name, image in zip(names, values, strict=True)}
    return [Panel(own, "image", {"image": image, "names": None}) for own, image in images.items()]


def _curve_panel(name, block, names, input_range):
    """Curves of inputs that are the same at every place, channel by channel."""
    low, high = input_range
    if not low < high:
        raise ValueError(f"input_range must be ascending; got {input_range}")
    x = torch.linspace(low, high, 101, dtype=torch.float64)
    n_channels = block.shape[0]
    inputs = x.view(-1, *[1] * len(block.shape)).repeat_interleave(n_channels, 1)
    with torch.no_grad():
        curves = copy.deepcopy(block).cpu().double()(inputs).flatten(1).T.numpy()
    return Panel(
        f"{name}: tone curve",
        "curves",
        {"x": x.numpy(), "curves": curves, "names": _channel_names(names, n_channels)},
    )


def history_panels(history):
    """Yield loss, and T of an optimiser of torch, of each epoch; none of a single one."""
    recorded = history[-1] if history else ()
    # Of a natural step T is that of the few samples that it was tried on.
    of_torch = [("temperature", ("temperature",))] if "step" not in recorded else []
    for title, known in [("training", ("train_loss", "valid_loss")), *of_torch]:
        keys = [key for key in known if key in recorded]
        if keys and len(history) > 1:
            yield Panel(title, "history", {"history": history, "keys": keys})


def view_panels(views, weights):
    """Yield bars of the weights of several views; none for the inputs as they are."""
    names = titles_of(views or [nn.Identity()])
    if names != titles_of([nn.Identity()]):
        yield Panel("views: weight", "bars", {"values": np.asarray(weights), "names": names, "nothing": 0.0})


def image_panels(pairs):
    """Each image before and after, side by side; black and white are 0 and 1, or the extremes beyond."""
    if not pairs:
        return []
    limits = black_and_white([before for before, _ in pairs])
    return [Panel("before, and after", "photo", {"images": pair, "limits": limits}) for pair in pairs]


def black_and_white(images):
    """Values of black and of white: 0 and 1 if all lies between, else the extremes."""
    low = float(min(image.min() for image in images))
    high = float(max(image.max() for image in images))
    return (0.0, 1.0) if low >= 0 and high <= 1 else (low, high)


def stretched(values, low, high):
    """Values as shares of a range, cut off at its ends."""
    return ((values - low) / ((high - low) or 1)).clip(0, 1)


def _draw_photo(ax, images, limits):
    before, after = (stretched(image, *limits).transpose(1, 2, 0) for image in images)
    gap = np.ones_like(before[:, :1])
    ax.imshow(np.hstack([before, gap, after]).squeeze(), cmap="gray", clim=(0, 1))
    ax.set_axis_off()


def _channel_names(names, n_channels):
    names = range(n_channels) if names is None else names
    if len(names) != n_channels:
        raise ValueError(f"channel_names must be {n_channels}, one per channel; got {len(names)}")
    return [str(name) for name in names]


def _draw_bars(ax, values, names, nothing):
    """Bars from the value that does nothing, which is 0 where it isn't known."""
    bars = ax.bar(range(len(values)), values - nothing, bottom=nothing, **BARS)
    if len(values) <= _MAX_TOLD:
        ax.bar_label(bars, [f"{value:.3g}" for value in values], fontsize="small")
        ax.margins(y=0.15)
    ax.axhline(nothing, **_NOTHING)
    _name_places(ax, len(values), names, "channel")
    without_frame(ax)


def _name_places(ax, n_places, names, otherwise):
    """Names or numbers of few places below them, upright so that they don't overlap; else what they are."""
    if n_places <= _MAX_NAMES:
        ax.set_xticks(range(n_places), names or range(n_places), rotation="vertical")
    if names is None or n_places > _MAX_NAMES:
        ax.set_xlabel(otherwise)


def _draw_depth(ax, quantiles, names, nothing):
    """The range of each layer's values, the middle half of them, and the median."""
    boxes = [dict(zip(("whislo", "q1", "med", "q3", "whishi"), of_layer, strict=True)) for of_layer in quantiles]
    ax.bxp(boxes, positions=range(len(names)), showfliers=False, manage_ticks=False)
    ax.axhline(nothing, **_NOTHING)
    _name_places(ax, len(names), names, "layer, from the input on")
    without_frame(ax)


def _draw_image(ax, image, names):
    # Ever brighter from low to high, in greyscale as well.
    shown = ax.imshow(image, cmap="cividis", aspect="auto")
    ax.figure.colorbar(shown, ax=ax, shrink=0.85)
    if names is None:
        ax.set(xticks=[], yticks=[])
    else:
        _name_places(ax, len(names), names, "")
        ax.set_yticks(range(len(names)), names)
        ax.set(xlabel="from", ylabel="to")


def _draw_curves(ax, x, curves, names):
    for curve, name, line in zip(curves, names, itertools.cycle(_LINES), strict=False):
        ax.plot(x, curve, linestyle=line, label=name)
    if len(curves) <= len(_LINES):
        ax.legend(fontsize="small", handlelength=3)
    ax.plot(x, x, **_NOTHING)
    ax.set(xlabel="input", ylabel="what the network sees")
    without_frame(ax)


def _draw_history(ax, history, keys):
    epochs = history[:, "epoch"]
    for key, line in zip(keys, _LINES, strict=False):
        ax.plot(epochs, history[:, key], color=LINE["color"], linestyle=line, marker="o", markersize=3, label=key)
    ax.legend(fontsize="small")
    ax.set(xlabel="epoch")
    without_frame(ax)


DRAWN: dict[str, Callable] = {
    "bars": _draw_bars,
    "depth": _draw_depth,
    "image": _draw_image,
    "curves": _draw_curves,
    "history": _draw_history,
    "nothing": lambda ax: ax.set_axis_off(),
    "photo": _draw_photo,
}
