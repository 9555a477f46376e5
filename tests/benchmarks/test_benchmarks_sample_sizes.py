"""The benchmark of sample sizes, and the decision chart: what their numbers are of, and a few fits."""

import numpy as np
import pandas as pd
import pytest
import torch
from _digits import calibration_and_test, convolutional_network, shifted

import decision_chart
import sample_sizes

pytestmark = pytest.mark.slow


def results(**nll):
    """Two draws of one record in which methods have an NLL each at two sizes, 1 being temperature scaling's."""
    fixed = {"uncalibrated": [(5000, 1.5)], "temperature, all": [(5000, 1.0)]}
    rows = [
        {"record": "cifar10_resnet20", "n": n, "seed": seed, "method": method, "nll": value + 0.1 * seed}
        for method, own in {**fixed, **nll}.items()
        for n, value in own
        for seed in (0, 1)
    ]
    return pd.DataFrame(rows)


def test_differences_are_to_temperature_scaling_on_the_same_draws():
    table = sample_sizes.table(results(vector=[(100, 1.25), (5000, 0.75)]))
    assert list(table.columns) == ["data: method", "100", "5,000"]
    assert table.iloc[0].tolist() == ["10 classes, ResNet-20: vector", "+0.250 ± 0.000", "\N{MINUS SIGN}0.250 ± 0.000"]
    assert table.iloc[1].tolist() == ["10 classes, ResNet-20: uncalibrated", "+0.500 ± 0.000", "+0.500 ± 0.000"]


def test_fits_are_appended_and_left_out_the_second_time(data_dir, tmp_path, capsys):
    out = tmp_path / "sizes.csv"
    arguments = ["--data", str(data_dir), "--records", "cifar100_wideresnet-16-4", "--methods", "temperature"]
    arguments += ["--sizes", "50", "100", "--draws", "2", "--out", str(out)]
    sample_sizes.main(arguments)
    found = pd.read_csv(out)
    assert len(found) == 2 * (2 + 2)
    whole = found[found.method == "temperature, all"].nll
    assert (found[found.method == "uncalibrated"].nll.to_numpy() > whole.to_numpy()).all()
    assert found.accuracy.nunique() == 2
    sample_sizes.main(arguments)
    assert len(pd.read_csv(out)) == len(found)
    assert "WideResNet" in capsys.readouterr().out


def test_clamping_takes_part_in_the_dark_alone():
    options = sample_sizes.parse([])
    for record in sample_sizes.RECORDS:
        sizes = {n for n, _, method in sample_sizes.runs_of(record, options) if method == "clamping"}
        assert sizes == ({100, 200, 500, 1000} if record == sample_sizes.DARK else set())


def test_what_clamping_keeps_is_judged_on_the_other_images():
    (X, y), (X_test, y_test) = calibration_and_test(0)
    X, labels = np.concatenate([X, X_test]), np.concatenate([y, y_test])
    X, rows = torch.as_tensor(shifted(X, "gain and offset")), np.arange(len(y))
    test = np.arange(len(y), len(labels))
    network = convolutional_network()
    with torch.no_grad():
        logits = network(X).numpy()
    split = (network, X, logits, labels, rows, test, 0)
    nll, accuracy, kept = sample_sizes.clamped("clamping", *split)
    plain, before, _ = sample_sizes.mapped("temperature", *split)
    assert kept == 1
    assert nll < plain and accuracy > before == 100 * (logits[test].argmax(1) == labels[test]).mean()


def test_the_chart_shows_what_was_measured(tmp_path):
    *steps, last = decision_chart.steps()
    shown = {step.take.replace("\n", ""): step.measured for step in [*steps, last]}
    maps = pd.read_csv(decision_chart.RESULTS / "choosing.csv", index_col="method")
    for method in ("IntraOrderPreservingCalibration", "CalibratorSelector"):
        assert maps.loc[method, "WideResNet, 500"] in shown[method]
        assert maps.loc[method, "WideResNet, 5,000"] in shown[method]
    shifts = pd.DataFrame(
        [
            {"family": family, "shift": shift, "nll": nll, "ts_nll": 1.0, "accuracy": 80 + gain, "ts_accuracy": 80.0}
            for family, shift, nll, gain in (
                ("auto", "a", 0.4, 2.0), ("auto", "b", 0.6, 4.0), ("auto", "none", 1.0, 0.0), ("grid", "a", 0.1, 9.0)
            )
        ]
    )  # fmt: skip
    assert decision_chart.shifted(shifts) == "2 shifts, 1,000 images:\nNLL × 0.50, accuracy\n+2.0 to +4.0 points"
    decision_chart.main(["--out", str(tmp_path / "chart.png")])
    assert (tmp_path / "chart.png").read_bytes().startswith(b"\x89PNG")
