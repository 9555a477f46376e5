"""The benchmarks of clamping: the shift suite, the guard's simulation and the speed of fits, on a few samples."""

import numpy as np
import pandas as pd
import pytest
import torch
from _result_rows import rows_of
from _small_networks import bare_logits, convolutional, images, labels_of

import _speed_fit
import clamping_speed
import guard
import shift
from _data import load_images
from _estimates import ratio_estimate, resampled_estimate
from _networks import compute_logits, load_resnet
from _relative_time import Spent, least, measure_relative
from _result_file import ResultFile
from _shift_figure import shifts_in_order
from _shift_tables import main_runs, pair, read_results, report
from _speed_fit import plain_loop
from _speed_search import agreement, search_rows
from _suite import METHODS
from _tabular import TABLES, drift, train_mlp
from skclamp import REFERENCE_SETTINGS, NeuralClampingCalibrator, TemperatureScaling

pytestmark = pytest.mark.slow


# Files of results.


def test_result_file_goes_on_where_it_ended(tmp_path):
    path = tmp_path / "new" / "results.csv"
    first = ResultFile(path, ["name", "seed", "score"], 2)
    assert ("a", 0) not in first
    first.append([{"name": "a", "seed": 0, "score": 0.5}])
    assert ("a", 0) in first
    second = ResultFile(path, ["name", "seed", "score"], 2)
    assert ("a", 0) in second
    assert ("a", 1) not in second
    second.append([{"name": "a", "seed": 1, "score": 0.25}])
    assert rows_of(path) == [
        {"name": "a", "seed": "0", "score": "0.5"},
        {"name": "a", "seed": "1", "score": "0.25"},
    ]


def test_result_file_refuses_other_columns(tmp_path):
    ResultFile(tmp_path / "results.csv", ["a", "b"], 1)
    with pytest.raises(ValueError, match=r"must have the columns \['a', 'c'\] to be continued, got \['a', 'b'\]"):
        ResultFile(tmp_path / "results.csv", ["a", "c"], 1)


# Statistics and times.


def test_ratio_error_is_that_of_a_linearised_ratio():
    rng = np.random.default_rng(0)
    baseline = rng.normal(10, 0.01, 50)
    values = 0.5 * baseline + rng.normal(0, 0.02, 50)
    linear = resampled_estimate(values / baseline, 0.75)
    assert ratio_estimate(values, baseline, 0.75) == pytest.approx(linear, rel=1e-2)


def test_relative_time_is_over_a_plain_pass():
    network, x = convolutional(), torch.from_numpy(images(400))
    result, relative = measure_relative(lambda: [compute_logits(network, x, 100) for _ in range(5)], network, x)
    assert len(result) == 5
    assert relative.wall > 0
    assert Spent(6.0, 4.0).over(Spent(2.0, 4.0)) == (3.0, 1.0)
    assert least(Spent(6.0, 4.0), Spent(7.0, 3.0)) == (6.0, 3.0)


# The shift suite.


def test_drift_moves_a_share_of_the_sensors():
    X = np.random.default_rng(0).normal(size=(50, 12)).astype(np.float32)
    before, shifted = X.copy(), drift(X, share=0.25, seed=1)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(shifted, drift(X, share=0.25, seed=1))
    moved = (shifted != X).any(0)
    assert moved.sum() == 3
    for sensor in np.flatnonzero(moved):
        assert abs(np.corrcoef(X[:, sensor], shifted[:, sensor])[0, 1]) == pytest.approx(1, abs=1e-5)


def test_mlps_learn_and_repeat_themselves():
    network, X, y = train_mlp("digits_coarse_mlp", seed=0)
    assert not network.training
    scores = compute_logits(network, torch.from_numpy(X)).numpy()
    assert (scores.argmax(1) == y).mean() > 0.85
    again, _, _ = train_mlp("digits_coarse_mlp", seed=0)
    np.testing.assert_array_equal(compute_logits(again, torch.from_numpy(X)).numpy(), scores)


@pytest.fixture
def one_table(monkeypatch):
    for name in [name for name in TABLES if name != "digits_coarse_mlp"]:
        monkeypatch.delitem(TABLES, name)


def test_shift_on_tables_resumes_and_reports(one_table, tmp_path, capsys, monkeypatch):
    path = tmp_path / "tabular.csv"
    shift.main(["--tabular", "--seeds", "1", "--out", str(path)])
    rows = rows_of(path)
    assert [(row["shift"], row["method"]) for row in rows] == [(s, m) for s in ("none", "drift") for m in METHODS]
    assert all(np.isfinite(float(row[score])) for row in rows for score in ("nll", "accuracy", "ece"))
    table = capsys.readouterr().out
    assert "digits_coarse_mlp, 800 calibration samples" in table

    monkeypatch.setattr(shift, "compare", lambda *_: pytest.fail("computed again"))
    shift.main(["--tabular", "--seeds", "1", "--out", str(path)])
    assert rows_of(path) == rows
    shift.main(["--summary", str(path)])
    assert capsys.readouterr().out == 2 * table


def test_shift_on_images_records_what_the_network_says(data_dir, tmp_path, capsys):
    path, figure = tmp_path / "shift.csv", tmp_path / "docs" / "shift.png"
    options = ["--data", str(data_dir), "--networks", "cifar10_resnet20", "--n-images", "700"]
    runs = ["--shifts", "none", "normalization", "--sizes", "500", "--seeds", "1", "--seed0", "3"]
    shift.main([*options, *runs, "--out", str(path), "--figure", str(figure)])
    rows = {(row["shift"], row["method"]): row for row in rows_of(path)}
    assert {row["n_test"] for row in rows.values()} == {"200"}

    x, y = load_images("cifar10_test", data_dir)
    _, test = shift.split_off(y[:700], 500, 3)
    plain = compute_logits(load_resnet("cifar10_resnet20", data_dir), x[:700][test])
    expected = torch.nn.functional.cross_entropy(plain.double(), torch.from_numpy(y[test])).item()
    assert float(rows["none", "uncalibrated"]["nll"]) == pytest.approx(expected, rel=1e-5)
    auto = rows["normalization", "auto"]
    assert float(auto["forward"]) > 2
    assert float(auto["nll"]) < float(rows["normalization", "temperature"]["nll"])
    assert float(auto["relative_time"]) > 1
    assert (auto["accepted"] == "1") == (auto["families"] != "")
    assert "no shift" in capsys.readouterr().out
    assert figure.read_bytes().startswith(b"\x89PNG")


def results(nll, *, network="cifar10_resnet20", sizes=(1000, 2500), seeds=3):
    """Results as read from files; `nll` maps a shift to the factor of "auto" on temperature scaling's NLL."""
    rows = [
        {
            **{"network": network, "shift": name, "n_calibration": size, "seed": seed, "n_test": 10000 - size},
            **{"method": method, "nll": (0.4 + 0.01 * seed) * (factor if method == "auto" else 1.0)},
            **{"accuracy": 90.0 + (method == "auto"), "ece": 1.0, "accepted": int(factor < 1), "families": "affine"},
            **{"temperature": 1.0, "forward": 5.0, "backward": 2.0, "relative_time": 6.0, "relative_cpu": 6.0},
        }
        for name, factor in nll.items()
        for size in sizes
        for seed in range(seeds)
        for method in METHODS
    ]
    return pd.DataFrame(rows)


@pytest.fixture
def result_files(tmp_path):
    """Two files with one run in common, shifts in no order."""
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    results({"contrast": 0.5, "darkness": 0.8}).to_csv(paths[0], index=False)
    results({"none": 1.0, "contrast": 0.5}).to_csv(paths[1], index=False)
    return paths


def test_files_are_read_as_one(result_files):
    runs = pair(read_results(result_files))
    assert len(runs) == 3 * 2 * 3
    assert list(runs["shift"].unique()) == ["none", "darkness", "contrast"]
    assert shifts_in_order(main_runs(runs)) == ["none", "contrast", "darkness"]
    np.testing.assert_allclose((runs["nll auto"] / runs["nll temperature"])[runs["shift"] == "contrast"], 0.5)


def test_report_shows_ratios_sizes_and_harm(result_files, capsys):
    report(read_results(result_files))
    text = capsys.readouterr().out
    lines = {line.split()[0]: line for line in reversed(text.splitlines()) if line.strip()}
    assert "0.500 ± 0.000" in lines["contrast"]
    assert "+1.00 ± 0.00" in lines["contrast"]
    assert lines["geometric"].split()[2:] == ["0.632", "0.632"]
    assert "0 of 6" in lines["all"]


# The simulation of the guard.


@pytest.fixture(scope="module")
def truth():
    return guard.Truth("mlp")


def test_truth_draws_labels_of_the_temperature_it_says(truth):
    X, y = truth.draw(20000, seed=0)
    found = TemperatureScaling(truth.network).fit(X, y).temperature_
    assert found == pytest.approx(guard.TRUE_TEMPERATURE, rel=0.03)
    assert np.bincount(y).min() > 0.04 * len(y)


def test_without_guard_and_prior_a_free_perturbation_costs_something(truth):
    runs = [guard.repeat(truth, "full by Adam, unguarded", 100, seed) for seed in range(3)]
    assert all(run["accepted"] for run in runs)
    assert np.mean([run["excess"] for run in runs]) > 0.003


def test_guard_simulation_tabulates_false_acceptances(tmp_path, capsys):
    path = tmp_path / "guard.csv"
    options = ["--networks", "mlp", "--settings", "affine", "--repetitions", "3", "--out", str(path)]
    guard.main([*options, "--sizes", "50", "100"])
    rows = rows_of(path)
    assert [(row["n"], row["repetition"]) for row in rows] == [(n, r) for n in ("50", "100") for r in "012"]
    assert all(row["accepted"] == "0" for row in rows[:3])
    assert "95 % interval" in capsys.readouterr().out


def test_guard_simulation_of_copies_and_of_frames(truth, tmp_path):
    """Copies prove nothing that one of each doesn't, and frames are told."""
    path = tmp_path / "guard.csv"
    options = ["--networks", "mlp", "--settings", "auto", "--repetitions", "3", "--sizes", "150", "--out", str(path)]
    guard.main([*options, "--copies", "1", "5"])
    guard.main([*options, "--copies", "5", "--noise", "0.05"])
    rows = rows_of(path)
    assert [(row["copies"], row["noise"], row["warned"]) for row in rows] == [
        *[("1", "0.0", "0")] * 3,
        *[("5", "0.0", "0")] * 3,
        *[("5", "0.05", "1")] * 3,
    ]
    assert [float(row["p_value"]) for row in rows[3:6]] == pytest.approx([float(row["p_value"]) for row in rows[:3]])


def test_acceptance_interval_is_exact():
    """No success in n: the upper end solves (1 - p) ** n = 0.025."""
    rate, low, high = guard.acceptance(pd.Series([0] * 20))
    assert (rate, low) == (0, 0)
    assert high == pytest.approx(1 - 0.025 ** (1 / 20))


# Speed.


def test_plain_loop_is_the_reference(monkeypatch):
    """Starting at delta = 0, where both subgradients of the norm are zero, with all samples in one batch."""
    network, x = convolutional(), images(64)
    y = labels_of(bare_logits(network, x))
    settings = {**REFERENCE_SETTINGS, "init_scale": 0.0, "lr": 0.1, "max_epochs": 4}
    monkeypatch.setattr(_speed_fit, "REFERENCE_SETTINGS", settings)
    expected = NeuralClampingCalibrator(network, random_state=0, **settings).fit(x, y)
    delta, temperature = plain_loop(network.requires_grad_(), torch.from_numpy(x), torch.from_numpy(y), epochs=4)
    np.testing.assert_allclose(delta.numpy(), expected.delta_, atol=1e-6)
    assert temperature == pytest.approx(expected.temperature_, rel=1e-5)
    assert abs(temperature - 1) > 1e-2


def test_search_rows_compare_like_with_like():
    network, x = convolutional(), images(150) * 0.5
    y = labels_of(bare_logits(network, 2 * x))
    ours, *grids = search_rows(network, torch.from_numpy(x), y, "darkness")
    assert (ours["factor"], ours["score_difference"], ours["same_choice"]) == (1, 0, 1)
    assert [row["what"] for row in grids] == ["GridSearchCV, no guard", "GridSearchCV, guard"]
    for row in grids:
        assert row["factor"] * ours["relative_cpu"] == pytest.approx(row["relative_cpu"])
    assert grids[0]["score_difference"] < 0.1


class Searched:
    """A search whose candidates have some mean scores, equal on all folds but for some noise."""

    def __init__(self, scores, noise=0.0):
        folds = np.array(list(scores.values()))[:, None] + noise * np.array([[-1, 0, 1], [1, 0, -1]])
        self.cv_results_ = {f"split{k}_test_score": folds[:, k] for k in range(3)}
        self.cv_results_["params"] = [{"perturbation": name, "gamma": gamma} for name, gamma in scores]


def test_agreement_by_hand():
    theirs = Searched({("affine", 0.0): -0.5, ("color", 1.0): -0.4}, noise=0.05)
    ours = Searched({("color", 1.0): -0.52, ("affine", 0.0): -0.51})
    found = agreement(theirs, ours)
    assert found["choice"] == "color, gamma=1.0"
    assert found["same_choice"] == 0
    assert found["score_difference"] == pytest.approx(0.12)
    # Gains on the folds of 0.2, 0.1 and 0: mean 0.1, standard error 0.1 / sqrt(3).
    assert found["lead"] == pytest.approx(np.sqrt(3))


def test_clamping_speed_measures_what_it_prints(data_dir, tmp_path, capsys):
    path = tmp_path / "speed.csv"
    options = ["--data", str(data_dir), "--size", "120", "--shifts", "none", "--parts", "fit", "--out", str(path)]
    clamping_speed.main(options)
    text, rows = capsys.readouterr().out, rows_of(path)
    assert rows[0]["what"] == "plain loop, 100 epochs"
    assert {row["what"] for row in rows[1:]} == {"affine", "auto"}
    for row in rows:
        assert row["what"] in text
        assert float(row["relative_time"]) > 1
        assert float(row["factor"]) * float(row["relative_cpu"]) == pytest.approx(float(rows[0]["relative_cpu"]))
