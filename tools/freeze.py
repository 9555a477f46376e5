"""Freeze what fits compute before the code is changed, and compare afterwards.

``python tools/freeze.py --write FILE`` writes what is learned, decided, predicted and warned of in each row of
`frozen_fits.FITS`; ``--against FILE`` prints each row's largest difference (of what is above 1, as a part of it) and
exits with 1 where one is above 1e-6, where what isn't a float isn't equal, or where something is missing; ``--only
PART`` takes the rows whose names hold PART. Rows "resampled" may change where the way of drawing does. Of reasons the
first word and the numbers count, not the words between. It takes half a minute, on one thread.
"""

import argparse
import json
import math
import os
import re
import sys
import time
import warnings
from dataclasses import asdict, is_dataclass
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
# What is frozen is the code beside this file, wherever another copy is installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from torch import nn

import skclamp
from frozen_fits import FITS

TOLERANCE = 1e-6


def learned(calibrator):
    """What a fitted calibrator has learned, by its public names."""
    left_out = {"module_", "estimator_", "history_", "delta_"}
    names = [name for name in dir(calibrator) if re.fullmatch("[a-z]\\w*_", name) and name not in left_out]
    return {name: getattr(calibrator, name) for name in names if hasattr(calibrator, name)}


def flat(value, name=""):
    """(name, number, string, or list of them) of all that a value holds; of sentences the first word and numbers."""
    if isinstance(value, nn.Module):
        value = {"kind": [type(part).__name__ for part in value.modules()], **value.state_dict()}
    elif hasattr(value, "fit"):
        value = learned(value)
    elif is_dataclass(value):
        properties = [name for name, member in vars(type(value)).items() if isinstance(member, property)]
        value = {**asdict(value), **{name: getattr(value, name) for name in properties}}
    elif hasattr(value, "_asdict"):
        value = value._asdict()
    value = value.cpu() if isinstance(value, torch.Tensor) else value
    if isinstance(value, dict):
        for key, inner in value.items():
            if not str(key).endswith(("time", "params")):
                yield from flat(inner, f"{name}.{key}".strip("."))
    elif isinstance(value, (list, tuple)) and not all(isinstance(inner, (int, float, str)) for inner in value):
        for position, inner in enumerate(value):
            yield from flat(inner, f"{name}[{position}]")
    elif name.endswith(".reason") or ".not_tried" in name:
        yield name, re.findall(r"^\w+|\d+\.?\d*(?:e-?\d+)?", value.replace(",", ""))
    elif value is None or np.asarray(value).dtype.kind in "biufU":
        yield name, None if value is None else np.asarray(value).tolist()


def results(row):
    """What a row's function returns, flat, with the warnings on the way; or its error."""
    torch.manual_seed(0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            made = row()
            if isinstance(made, tuple):
                made = {**learned(made[0]), "probabilities": made[0].predict_proba(made[1])}
            made = dict(flat(made))
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
            made = {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
    return {**made, "warnings": sorted({warning.category.__name__ for warning in caught})}


def difference(old, new):
    """The largest difference of floats, of large ones a part; infinite where shapes, or what isn't a float, differ."""
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return max(map(difference, old, new), default=0.0)
    if isinstance(old, float) and isinstance(new, float) and math.isfinite(old) and math.isfinite(new):
        return abs(old - new) / max(1.0, abs(old))
    return 0.0 if type(old) is type(new) and str(old) == str(new) else math.inf


def agree(name, old, new):
    """Print a row's largest difference and what differs, and return whether nothing does."""
    differences = {key: difference(value, new.get(key, [])) for key, value in old.items()}
    wrong = {key: value for key, value in differences.items() if not value <= TOLERANCE}
    print(f"{name:42} {max(differences.values()):8.1e} {'DIFFERS' if wrong else 'equal'}")
    for key, value in wrong.items():
        print(f"    {key}: {value:.1e}; {str(old[key])[:60]} → {str(new.get(key, 'missing'))[:60]}")
    return not wrong


def main():
    """Write a file, or compare with one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--write", type=Path, metavar="FILE")
    target.add_argument("--against", type=Path, metavar="FILE")
    parser.add_argument("--only", default="", metavar="PART", help="rows whose names hold PART")
    options = parser.parse_args()
    torch.set_num_threads(1)
    frozen = json.loads(options.against.read_text()) if options.against else {}
    fresh, passed = {}, True
    for name in [name for name in {**FITS, **frozen} if options.only in name]:
        start = time.process_time()
        found = json.loads(json.dumps(results(FITS[name]))) if name in FITS else {}
        if name in frozen:
            passed &= agree(name, frozen[name], found)
        else:
            says = found.get("error", ", ".join(found["warnings"]))
            print(f"{name:42} {time.process_time() - start:5.2f} s {says}")
        fresh[name] = found
    if options.write:
        options.write.write_text(json.dumps(fresh, indent=0))
    print(f"{len(fresh)} fits of {Path(skclamp.__file__).parent}, {time.process_time():.0f} s")
    sys.exit(not passed)


if __name__ == "__main__":
    main()
