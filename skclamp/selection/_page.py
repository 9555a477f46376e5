"""The page of a comparison: its numbers as data, put into the template of `_page_assets/` with styles and script.

The page is one file that loads nothing; a policy in it forbids what isn't its own style or script.
"""

import base64
import hashlib
import html
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib import resources
from itertools import chain

import numpy as np

from ..clamping._base import BaseClamping
from ..display._perturbation import blocks_of
from ..display._perturbation_panels import panels_of, view_panels
from ._groups import group_of

MAX_BYTES = 4 * 10**6
# Together they are one module, in this order.
_SCRIPTS = (
    *("numbers", "charts", "panels", "state", "head", "reliability", "classes", "mistakes"),
    *("threshold", "scores", "download", "images", "perturbations", "page"),
)
# What a picture on the page can show.
_MAX_PIXELS, _MAX_BARS = 256, 512
# Of a float32.
_ROUNDING = 1e-7
# What the page tells of a guard's verdict.
_VERDICT = ("accepted", "difference", "standard_error", "p_value")


def page_of(comparison, binned, evidence, *, title, channel_names, most_bytes=MAX_BYTES):
    """The page of a comparison, its `BinnedTest` and its `Evidence`, as text.

    Where it would be too large it has fewer classes, and where that isn't enough no images.
    """
    perturbations = [
        _perturbation(name, calibrator, channel_names)
        for name, calibrator in comparison.calibrators.items()
        if isinstance(calibrator, BaseClamping)
    ]
    while True:
        page = _fill(title, _data(comparison, binned, evidence, title, perturbations))
        if len(page.encode()) <= most_bytes or not (binned.class_names or evidence.thumbnails):
            return page
        if binned.class_names:
            binned = _with_fewer_classes(binned)
        else:
            evidence = replace(evidence, thumbnails=None)


def _with_fewer_classes(binned):
    """The more frequent half of the classes."""
    some = next(iter(binned.predictions.values())).classes
    by_frequency = np.argsort([-cells.hits.sum() for cells in some], kind="stable")
    kept = np.sort(by_frequency[: len(some) // 2])
    predictions = {
        name: replace(own, classes=tuple(own.classes[k] for k in kept)) for name, own in binned.predictions.items()
    }
    return replace(binned, class_names=[binned.class_names[k] for k in kept], predictions=predictions)


def _fill(title, data):
    """The template with its parts; scripts and styles are allowed by their hashes alone."""
    style, script = _read("page.css"), "\n".join(_read(f"{name}.js") for name in _SCRIPTS)
    parts = {
        "title": html.escape(title),
        "policy": f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}",
        "style": style,
        "script": script,
        # No name of a class or calibrator can end the script that holds the data.
        "data": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read("page.html"))


def _read(name):
    return (resources.files("skclamp.selection") / "_page_assets" / name).read_text(encoding="utf-8")


def _hash(text):
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _data(comparison, binned, evidence, title, perturbations):
    cells = [part for row in comparison.rows for part in _cells_of(binned.predictions[row.name])]
    return {
        "title": title,
        "alpha": comparison.alpha,
        "networkTimes": list(comparison.network_times),
        "nSamples": binned.n_samples,
        "nClasses": binned.n_classes,
        "classNames": binned.class_names,
        "event": binned.event,
        "nBins": binned.n_bins,
        "counts": list(binned.menu.counts),
        "thresholds": list(binned.menu.thresholds),
        "rows": [_row(row, comparison.calibrators) for row in comparison.rows],
        "sizes": [len(part.count) for part in cells],
        "cells": _packed(cells),
        "perturbations": perturbations,
        "nCalibration": evidence.n_calibration,
        "samples": evidence.has_samples,
        "answers": [asdict(evidence.answers[row.name]) for row in comparison.rows],
        "thumbnails": None if evidence.thumbnails is None else _pictures(evidence.thumbnails),
        "versions": evidence.versions,
        "date": evidence.date,
    }


def _row(row, calibrators):
    """Scores by name, and the calibrator's group; what isn't a number is None."""
    scores = {name: None if value != value else value for name, value in asdict(row).items()}
    return {**scores, "group": group_of(calibrators.get(row.name))}


def _pictures(thumbnails):
    after = {name: _encoded(own) for name, own in thumbnails.after.items()}
    return {"before": _encoded(thumbnails.before), "after": after, "limits": thumbnails.limits}


def _encoded(pictures):
    return {row: _base64(own) for row, own in pictures.items()}


def _cells_of(predictions):
    return chain([predictions.top_label], predictions.classes)


def _packed(cells):
    """Columns over all cells one after another, compressed, in base64.

    A sum of confidences is told by what it lacks to the count times the upper end: nothing in a cell of one value.
    """
    count, place, hits, upper, total = (
        np.concatenate([getattr(part, name) for part in cells])
        for name in ("count", "place", "hits", "upper", "confidence")
    )
    upper = upper.astype("<f4")
    lack = count * upper.astype(np.float64) - total
    lack[lack < _ROUNDING * total] = 0
    millionths = np.rint(1e6 * np.concatenate([part.floors.ravel() for part in cells]))
    columns = [upper, lack.astype("<f4"), *(own.astype("<u4") for own in (place, count, hits, millionths))]
    return _base64(zlib.compress(b"".join(column.tobytes() for column in columns), 9))


def _base64(data):
    return base64.b64encode(data).decode()


def _perturbation(name, calibrator, channel_names):
    """What a clamping calibrator learned, and why it kept or refused it."""
    verdicts = {name: getattr(calibrator, name, None) for name in ("verdict_", "views_verdict_")}
    told = {name: own and {each: getattr(own, each) for each in _VERDICT} for name, own in verdicts.items()}
    panels = [
        _panel(panel)
        for block_name, block in blocks_of(calibrator.perturbation_)
        for panel in panels_of(block_name, block, channel_names, (0.0, 1.0))
    ]
    panels += map(_panel, view_panels(calibrator.views_, calibrator.view_weights_))
    return {
        "name": name,
        "accepted": calibrator.accepted_,
        # Another output map takes its place.
        "temperature": None if hasattr(calibrator, "output_") else calibrator.temperature_,
        "verdict": told["verdict_"],
        "viewsVerdict": told["views_verdict_"],
        "nViews": len(calibrator.views_),
        "panels": panels,
    }


def _panel(panel):
    content = panel.content
    return {"title": panel.title, "kind": panel.kind, **_CONTENTS[panel.kind](**content)}


def _bars(values, names, nothing):
    thinned = _thinned(np.asarray(values), _MAX_BARS)
    names = names if len(thinned) == len(values) else None
    return {"values": _rounded(thinned), "names": _texts(names), "nothing": nothing or 0.0, "n": len(values)}


def _image(image, names, limits):
    thinned = _thinned(_thinned(np.asarray(image), _MAX_PIXELS).T, _MAX_PIXELS).T
    low, high = (given if given is not None else own for given, own in zip(limits, _range(image), strict=True))
    share = (thinned - low) / (high - low if high > low else 1.0)
    pixels = np.rint(255 * share.clip(0, 1)).astype(np.uint8)
    numbers = _rounded(thinned.ravel()) if thinned.size <= 16 else None
    return {
        "shape": list(thinned.shape),
        "pixels": _base64(pixels.tobytes()),
        "limits": [float(low), float(high)],
        "range": _range(image),
        "names": _texts(names),
        "numbers": numbers,
    }


def _curves(x, curves, names):
    return {"x": _rounded(x), "curves": [_rounded(curve) for curve in curves], "names": _texts(names)}


_CONTENTS: dict[str, Callable[..., dict]] = {"bars": _bars, "image": _image, "curves": _curves}


def _range(values):
    return [float(np.min(values)), float(np.max(values))]


def _texts(names):
    return None if names is None else [str(name) for name in names]


def _rounded(values):
    """Numbers of six digits, which no picture tells apart from all."""
    return [float(f"{value:.6g}") for value in values]


def _thinned(values, most):
    """Means of neighbours along the first axis, so that at most so many are left."""
    step = -(-len(values) // most)
    if step == 1:
        return values
    starts = np.arange(0, len(values), step)
    sizes = np.diff(starts, append=len(values))
    return np.add.reduceat(values, starts, axis=0) / sizes.reshape(-1, *(1,) * (values.ndim - 1))
