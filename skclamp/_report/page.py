"""The page of a comparison: its numbers as data, put into the template of `assets/` with styles and script.

The page is one file that loads nothing; a policy in it forbids what isn't its own style or script.
"""

import base64
import hashlib
import html
import json
import re
import zlib
from dataclasses import asdict
from importlib import resources

import numpy as np

from ..clamping import NeuralClampingCalibrator
from ..display._perturbation_panels import panels_of, view_panels

MAX_BYTES = 4 * 10**6
# Of a test set: the worst ones are shown.
_MAX_PARTS = 50
# Together they are one module, in this order.
_SCRIPTS = (
    *("numbers", "charts", "panels", "state", "head", "reliability", "classes", "mistakes"),
    *("risk", "decision", "threshold", "scores", "download", "images", "perturbations", "page"),
)


def page_of(comparison, content, title, channel_names, samples):
    """The page of a comparison and its `page_content`, as text, with or without single samples.

    Where it would be too large it has no diagrams of classes, and where that isn't enough no images.
    """
    if not samples:
        answers = {name: {**answers, "wrong": [], "sampled": []} for name, answers in content["answers"].items()}
        content = {**content, "answers": answers, "thumbnails": None}
    told = {
        "title": title,
        "samples": samples,
        "perturbations": [
            _perturbation(name, calibrator, channel_names)
            for name, calibrator in comparison.calibrators.items()
            if isinstance(calibrator, NeuralClampingCalibrator)
        ],
    }
    # All labels together stay.
    n_events = int(content["areLabels"])
    without_classes = {
        **content,
        "event": n_events - 1,
        "classNames": content["classNames"][:n_events],
        "cells": {name: own[: 1 + n_events] for name, own in content["cells"].items()},
    }
    for smaller in (content, without_classes, {**without_classes, "thumbnails": None}):
        page = _fill(title, {**told, **_data(comparison, smaller)})
        if len(page.encode()) <= MAX_BYTES:
            break
    return page


def _fill(title, data):
    """The template with its parts; scripts and styles are allowed by their hashes alone."""
    style = _read("page.css")
    script = "\n".join(_read(f"{name}.js") for name in _SCRIPTS)
    hashes = [f"'sha256-{_base64(hashlib.sha256(text.encode()).digest())}'" for text in (style, script)]
    parts = {
        "title": html.escape(title),
        "policy": f"default-src 'none'; img-src data:; style-src {hashes[0]}; script-src {hashes[1]}",
        "style": style,
        "script": script,
        # No name of a class or calibrator can end the script that holds the data.
        "data": json.dumps(data, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read("page.html"))


def _read(name):
    return (resources.files("skclamp._report") / "assets" / name).read_text(encoding="utf-8")


def _base64(data):
    return base64.b64encode(data).decode()


def _data(comparison, content):
    cells = [part for row in comparison.rows for part in content["cells"][row.name]]
    columns = np.concatenate([part.columns for part in cells], axis=1)
    floors = np.concatenate([part.floors.ravel() for part in cells])
    rows = []
    for row in comparison.rows:
        calibrator = comparison.calibrators.get(row.name)
        scores = _without_nan(row)
        rows.append({**scores, "group": "as it is" if calibrator is None else calibrator._tags.group})
    parts = [[_without_nan(own) for own in comparison.parts.get(row.name, ())] for row in comparison.rows]
    return {
        **content,
        "alpha": comparison.alpha,
        "networkTimes": comparison.network_times,
        "rows": rows,
        # Of each row, the worst first; the file holds so many.
        "parts": [own[:_MAX_PARTS] for own in parts],
        "nParts": max(map(len, parts)),
        "sizes": [part.columns.shape[1] for part in cells],
        "effects": [part.effect for part in cells],
        # Columns over all cells one after another, then all floors, as float64.
        "cells": _base64(zlib.compress(np.append(columns, floors).astype("<f8").tobytes(), 9)),
        "answers": [content["answers"][row.name] for row in comparison.rows],
    }


def _without_nan(scores):
    """Scores by name; what isn't a number is None."""
    return {name: None if value != value else value for name, value in asdict(scores).items()}


def _perturbation(name, calibrator, channel_names):
    """Section on what a clamping calibrator learned, and why it kept or refused it."""
    panels = [
        *panels_of(calibrator.perturbation_, channel_names, (0.0, 1.0)),
        *view_panels(calibrator.views_, calibrator.view_weights_),
    ]
    return {
        "name": name,
        "learned": " ".join(calibrator._learned_in_words()),
        "verdicts": [
            {"about": about, "accepted": verdict.accepted, "reason": verdict.reason}
            for about, verdict in calibrator._verdicts().items()
        ],
        "panels": [
            {"title": panel.title, "kind": panel.kind, **{key: _thinned(value) for key, value in panel.content.items()}}
            for panel in panels
        ],
    }


def _thinned(value):
    """Of arrays and lists 128 numbers along each axis, to six digits, which no picture tells apart from all."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if not isinstance(value, (list, np.ndarray)):
        return value
    return [_thinned(inner) for inner in value[:: -(-len(value) // 128)]]
