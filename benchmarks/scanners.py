"""Two scanners in one calibration set: what one clamp for both costs each, and whether a fit that knows them warns.

Labels are drawn from the probabilities of a random network, as in truth.py, which sees the inputs of scanner B changed
by gains and offsets, and those of scanner A as they are ("one changed"), or those of both changed alike. KL divergences
are from the true probabilities of new inputs of each scanner: of one temperature for both, of one clamp for both, and
of one clamp each.

    python benchmarks/scanners.py
    python benchmarks/scanners.py --problems alike --draws 40
"""

import warnings
from itertools import product

import numpy as np

import truth
from _runner import RESULTS, benchmark, record, show
from skclamp import NeuralClampingCalibrator, TemperatureScaling
from skclamp.exceptions import CalibrationSetWarning

N_SAMPLES, STRENGTH = 1000, 0.3
PROBLEMS = {"one changed": (False, True), "alike": (True, True)}
SCANNERS = np.array(["A", "B"])
COLUMNS = ("problem", "draw", "kept", "warned")
COLUMNS += tuple(f"{scanner} {of}" for scanner in SCANNERS for of in ("temperature", "clamp", "own"))


def seen(x, changed):
    """Inputs as a scanner gives them."""
    return truth.affine(x, STRENGTH) if changed else x


def divergence(calibrator, changed):
    """From the true probabilities of a scanner's new inputs."""
    x, proba = truth.test_inputs()
    with np.errstate(divide="ignore", invalid="ignore"):
        least = np.nansum(proba * np.log(proba), axis=1).mean()
    return round(least - (proba * calibrator.predict_log_proba(seen(x, changed))).sum(1).mean(), 5)


def measure(name, draw):
    """One calibration set."""
    x, y = truth.Problem(N_SAMPLES).draw(draw)
    scanner, changes = np.arange(N_SAMPLES) % 2, PROBLEMS[name]
    for number, changed in enumerate(changes):
        x[scanner == number] = seen(x[scanner == number], changed)
    network = truth.network()
    temperature = TemperatureScaling(network).fit(x, y)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CalibrationSetWarning)
        clamp = NeuralClampingCalibrator(network, random_state=0).fit(x, y, by=SCANNERS[scanner])
    warned = any("fit one calibrator each" in str(each.message) for each in caught)
    found = {"kept": int(clamp.accepted_), "warned": int(warned)}
    for number, changed in enumerate(changes):
        mine = scanner == number
        own = NeuralClampingCalibrator(network, random_state=0).fit(x[mine], y[mine]) if not all(changes) else clamp
        for of, calibrator in {"temperature": temperature, "clamp": clamp, "own": own}.items():
            found[f"{SCANNERS[number]} {of}"] = divergence(calibrator, changed)
    return found


@benchmark
def main(problems: PROBLEMS = tuple(PROBLEMS), draws=20, seed0=0, out=RESULTS / "scanners.csv"):
    results = record(out, COLUMNS, product(problems, range(seed0, seed0 + draws)), measure)
    show(results, ["problem"], list(COLUMNS[2:]))
