"""The examples run, and show what they say they show."""

import re
import runpy
from pathlib import Path

import matplotlib.image
import pytest

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Scores of the demo's table by camera and calibrator, and the picture that it wrote."""
    path = tmp_path_factory.mktemp("digits") / "reliability.png"
    with pytest.MonkeyPatch.context() as patch:
        lines = []
        demo = runpy.run_path(str(EXAMPLES / "digits.py"))
        patch.setitem(demo["main"].__globals__, "print", lambda text: lines.extend(text.splitlines()))
        demo["main"](["--output", str(path)])
    rows = [re.split(r"  +", line.strip()) for line in lines if re.match("(clear|fogged)  ", line)]
    scores = {(camera, name): [float(value) for value in values[:4]] for camera, name, *values in rows}
    return scores, path


def test_digits_scores_each_calibrator_on_each_camera(digits):
    scores, _ = digits
    calibrators = ("uncalibrated", "temperature scaling", "neural clamping")
    assert list(scores) == [(camera, name) for camera in ("clear", "fogged") for name in calibrators]


@pytest.mark.parametrize("camera", ["clear", "fogged"])
def test_digits_network_is_overconfident_and_temperature_scaling_repairs_it(digits, camera):
    accuracy, nll, brier, ece = zip(
        *(digits[0][camera, name] for name in ("uncalibrated", "temperature scaling")), strict=True
    )
    assert accuracy[0] == accuracy[1]
    assert nll[1] < nll[0] - 0.03
    assert brier[1] < brier[0]
    assert ece[1] < ece[0]


def test_digits_neural_clamping_wins_back_what_the_fog_cost(digits):
    scores, _ = digits
    accuracy, nll, *_ = scores["fogged", "neural clamping"]
    accuracy_before, nll_before, *_ = scores["fogged", "temperature scaling"]
    accuracy_clear, *_ = scores["clear", "uncalibrated"]
    assert accuracy - accuracy_before > 0.8 * (accuracy_clear - accuracy_before)
    assert nll < 0.7 * nll_before


def test_digits_neural_clamping_does_no_harm_on_the_clear_camera(digits):
    scores, _ = digits
    nll, nll_before = scores["clear", "neural clamping"][1], scores["clear", "temperature scaling"][1]
    assert nll <= nll_before + 0.001


def test_digits_draws_its_picture(digits):
    picture = matplotlib.image.imread(digits[1])
    assert picture.shape[0] > 500
    assert picture[..., :3].std() > 0.1
