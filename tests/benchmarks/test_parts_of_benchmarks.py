"""What the benchmarks are made of: networks, splits, shifts, estimates, files that go on, simulations, methods."""

import copy
import re

import numpy as np
import pandas as pd
import pytest
import torch
from _small_networks import bare_logits, convolutional, images, labels_of
from torch import nn

import clamping_speed
import families
import flawless
import guard
import looks
import ordinary
import sample_sizes
import votes
from _corruption_methods import with_statistics_of
from _data import load_images, load_record, split_halves
from _estimates import Estimate, paired_estimate, ratio_estimate, resampled_estimate
from _networks import CIFAR100_STATISTICS, IMAGENET_STATISTICS, RESNETS, CifarResNet, compute_logits, load_resnet
from _runner import ResultFile, command, record, run
from _scores import evaluate
from _shifts import CORRUPTIONS, SHIFTS, corrupt
from _tabular import drift
from _timing import Spent, least, measure_relative
from skclamp import REFERENCE_SETTINGS, NeuralClampingCalibrator, TemperatureScaling
from views import Remembering, Warp, candidates

pytestmark = pytest.mark.slow
N_IMAGES = 600


@pytest.fixture(scope="module")
def pictures():
    return torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


# Networks and data.


def test_resnet20_yields_the_reference_logits(data_dir, reference):
    x, y = load_images("cifar10_test", data_dir)
    assert x.dtype == torch.float32 and (x.min(), x.max()) == (0, 1) and y.dtype == np.int64
    logits = compute_logits(load_resnet("cifar10_resnet20", data_dir), x[:N_IMAGES])
    np.testing.assert_allclose(logits, reference["cifar10_resnet20/logits"][:N_IMAGES], atol=5e-5)


@pytest.mark.parametrize(
    ("name", "images_name", "expected"),
    [("cifar10_resnet32", "cifar10_test", 0.9263), ("cifar100_resnet20", "cifar100_test", 0.6431)],
)
def test_resnets_are_as_accurate_as_published(name, images_name, expected, data_dir):
    """Over the 10,000 test images: within three standard errors on a slice."""
    x, labels = load_images(images_name, data_dir)
    logits = compute_logits(load_resnet(name, data_dir), x[:N_IMAGES])
    found = (logits.argmax(1).numpy() == labels[:N_IMAGES]).mean()
    assert abs(found - expected) < 3 * np.sqrt(expected * (1 - expected) / N_IMAGES)


def test_public_checkpoints_load_without_their_prefix(monkeypatch):
    spec = RESNETS["cifar10_resnet20"]
    trained = CifarResNet(spec.depth, spec.n_classes, *spec.statistics)
    checkpoint = {"state_dict": {f"module.{key}": value for key, value in trained.state_dict().items()}}
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **kwargs: checkpoint)
    loaded = load_resnet("cifar10_resnet20")
    assert not loaded.training
    assert torch.equal(loaded.linear.weight, trained.linear.weight)


@pytest.mark.parametrize(
    ("load", "name", "message"),
    [
        (load_resnet, "cifar100_resnet20", "'cifar100_resnet20' aren't public: give data_dir"),
        (load_record, "mnist", "name must be one of .* got 'mnist'"),
        (load_record, "cifar100_lenet-5", "the probabilities of 'cifar100_lenet-5' aren't public: give data_dir"),
    ],
)
def test_what_is_not_public_is_told(load, name, message):
    with pytest.raises(ValueError, match=message):
        load(name)


def test_halves_are_stratified_and_smaller_sets_keep_the_test_half():
    labels = np.repeat(np.arange(10), 20)
    calibration, test = split_halves(labels, seed=3)
    part, same_test = split_halves(labels, seed=3, n_calibration=40)
    assert sorted([*calibration, *test]) == list(range(200))
    np.testing.assert_array_equal(test, same_test)
    assert set(part) < set(calibration)
    for rows, count in ((calibration, 10), (part, 4)):
        np.testing.assert_array_equal(np.bincount(labels[rows]), np.full(10, count))


# Shifts.


@pytest.mark.parametrize("name", SHIFTS)
def test_shifts_repeat_themselves_keep_the_input_and_stay_in_range(name, pictures):
    before = pictures.clone()
    first, second = SHIFTS[name](pictures), SHIFTS[name](pictures)
    assert torch.equal(first, second) and torch.equal(pictures, before)
    assert first.shape == pictures.shape and first.dtype == torch.float32 and first.data_ptr() != pictures.data_ptr()
    assert torch.equal(first, pictures) == (name == "none")
    assert name == "normalization" or (first.min() >= 0 and first.max() <= 1)
    if name != "sensor_noise":
        # All but noise belong to the camera: an image's shift doesn't depend on its place in the batch.
        torch.testing.assert_close(first[:1], SHIFTS[name](pictures[:1]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["fixed_pattern", "sensor_noise", "dead_columns"])
def test_random_shifts_depend_on_the_seed_alone(name, pictures):
    torch.manual_seed(0)
    first = SHIFTS[name](pictures, seed=1)
    torch.manual_seed(1)
    assert torch.equal(first, SHIFTS[name](pictures, seed=1))
    assert not torch.equal(first, SHIFTS[name](pictures, seed=2))


@pytest.mark.parametrize("expected", [IMAGENET_STATISTICS, CIFAR100_STATISTICS])
def test_normalization_feeds_the_wrongly_normalised_image(expected, pictures):
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in expected)
    entered = (SHIFTS["normalization"](pictures, expected=expected) - mean) / std
    torch.testing.assert_close(entered, (pictures - 0.5) / 0.5)


def test_corrupted_images_depend_on_nothing_else():
    package = pytest.importorskip("corrupt_tta", reason="needs the package of corruptions (extra bench)")
    assert tuple(package.corruption_dict) == CORRUPTIONS
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32)) / 255).float()
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    for name in CORRUPTIONS:
        corrupted = corrupt(x, [7, 8, 9], name, 4)
        assert (corrupted - x).abs().max() > 0.05
        torch.testing.assert_close(corrupt(x[1:], [8, 9], name, 4), corrupted[1:], rtol=0, atol=0)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def test_drift_moves_a_share_of_the_sensors():
    X = np.random.default_rng(0).normal(size=(50, 12)).astype(np.float32)
    before, shifted = X.copy(), drift(X, share=0.25, seed=1)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(shifted, drift(X, share=0.25, seed=1))
    assert (shifted != X).any(0).sum() == 3


# Estimates, times and files.


def test_corrected_standard_errors_by_hand():
    """Mean 3, s² = (4 + 1 + 0 + 9) / 3; halves: variance s² · (1/4 + 1); rho = 0.2: n_test / n_train = 1/4."""
    assert resampled_estimate([1.0, 2.0, 3.0, 6.0]) == pytest.approx((3, np.sqrt(14 / 3 * 1.25)))
    assert resampled_estimate([0.0, 2.0], test_fraction=0.2).standard_error == pytest.approx(np.sqrt(2 * (0.5 + 0.25)))
    assert paired_estimate([3.0, 5.0, 10.0], [2.0, 3.0, 4.0]) == resampled_estimate([1.0, 2.0, 6.0])
    assert f"{resampled_estimate([0.5]):+.1f}" == "+0.5"
    assert f"{Estimate(0.12345, 0.0067):+.3f}" == "+0.123 ± 0.007"


def test_ratio_error_is_that_of_a_linearised_ratio():
    rng = np.random.default_rng(0)
    baseline = rng.normal(10, 0.01, 50)
    values = 0.5 * baseline + rng.normal(0, 0.02, 50)
    linear = resampled_estimate(values / baseline, 0.75)
    assert ratio_estimate(values, baseline, 0.75) == pytest.approx(linear, rel=1e-2)


def test_scores_by_hand():
    """Two classes, four samples of confidence 0.75, three of them right."""
    log_proba = np.log([[0.75, 0.25], [0.75, 0.25], [0.25, 0.75], [0.25, 0.75]])
    scores = evaluate(np.array([0, 0, 1, 0]), log_proba)
    assert scores["nll"] == pytest.approx(-(3 * np.log(0.75) + np.log(0.25)) / 4)
    assert scores["brier"] == pytest.approx((3 * 0.0625 + 0.5625) / 4)
    assert scores["accuracy"] == 75
    assert scores["ece"] == pytest.approx(0)


def test_relative_time_is_over_a_plain_pass():
    network, x = convolutional(), torch.from_numpy(images(100))
    result, relative = measure_relative(lambda: [compute_logits(network, x, 100) for _ in range(5)], network, x)
    assert len(result) == 5 and relative.wall > 0
    assert Spent(6.0, 4.0).over(Spent(2.0, 4.0)) == (3.0, 1.0)
    assert least(Spent(6.0, 4.0), Spent(7.0, 3.0)) == (6.0, 3.0)


def test_a_file_goes_on_where_it_ended_and_refuses_other_columns(tmp_path):
    path, computed = tmp_path / "new" / "results.csv", []

    def measure(name, seed):
        computed.append((name, seed))
        return [{"score": seed + 0.5, "more": 1}]

    record(path, ("name", "seed", "score"), [("a", 0)], measure)
    frame = record(path, ("name", "seed", "score"), [("a", 0), ("a", 1)], measure)
    assert computed == [("a", 0), ("a", 1)]
    assert frame.to_dict("list") == {"name": ["a", "a"], "seed": [0, 1], "score": [0.5, 1.5]}
    assert list(record(path, (), (), None).seed) == [0, 1]
    with pytest.raises(ValueError, match=r"must have the columns \['a', 'c'\] to be continued, got"):
        ResultFile(path, ["a", "c"], 1)


NAMES = {"a": 1, "b": 2}


def for_options(data=None, networks: NAMES = ("a", "b"), sizes=(1, 2), only="", n_images: int = None, summary=False):
    return data, networks, sizes, only, n_images, summary


def test_options_come_from_the_signature(capsys):
    assert command(for_options, []) == (None, ("a", "b"), (1, 2), "", None, False)
    given = ["--networks", "b", "--sizes", "3", "--only", "x", "--n-images", "5", "--summary", "--threads", "1"]
    assert command(for_options, given) == (None, ["b"], [3], "x", 5, True)
    for wrong in (["--networks", "c"], ["--sizes", "many"]):
        with pytest.raises(SystemExit):
            command(for_options, wrong)
        assert wrong[1] in capsys.readouterr().err


# Simulations and methods.


def test_truth_draws_labels_of_the_temperature_it_says():
    truth = guard.Truth("mlp")
    X, y = truth.draw(20000, seed=0)
    assert TemperatureScaling(truth.network).fit(X, y).temperature_ == pytest.approx(guard.TRUE_TEMPERATURE, rel=0.03)
    assert np.bincount(y).min() > 0.04 * len(y)
    # No success in n: the upper end solves (1 - p) ** n = 0.025.
    assert guard.acceptance(pd.Series([0] * 20))[2] == pytest.approx(1 - 0.025 ** (1 / 20))


def test_without_guard_and_prior_a_free_perturbation_costs_something():
    measure, truth = guard.measure, guard.Truth("mlp")
    runs = [
        run(measure, truth=truth, setting="full by Adam, unguarded", n=100, copies=1, noise=0.0, seed=s)
        for s in range(3)
    ]
    assert all(row["accepted"] for row in runs)
    assert np.mean([row["excess"] for row in runs]) > 0.003


def test_plain_loop_is_the_reference(monkeypatch):
    """Starting at delta = 0, where both subgradients of the norm are zero, with all samples in one batch."""
    network, x = convolutional(), images(64)
    y = labels_of(bare_logits(network, x))
    settings = {**REFERENCE_SETTINGS, "init_scale": 0.0, "lr": 0.1, "max_epochs": 4}
    monkeypatch.setattr(clamping_speed, "REFERENCE_SETTINGS", settings)
    expected = NeuralClampingCalibrator(network, random_state=0, **settings).fit(x, y)
    tensors = torch.from_numpy(x), torch.from_numpy(y)
    delta, temperature = clamping_speed.plain_loop(network.requires_grad_(), *tensors, epochs=4)
    np.testing.assert_allclose(delta.numpy(), expected.delta_, atol=1e-6)
    assert temperature == pytest.approx(expected.temperature_, rel=1e-5)
    assert abs(temperature - 1) > 1e-2


def test_search_rows_compare_like_with_like():
    network, x = convolutional(), images(150) * 0.5
    y = labels_of(bare_logits(network, 2 * x))
    ours, *grids = clamping_speed.search_rows(network, torch.from_numpy(x), y, "darkness")
    assert (ours["factor"], ours["score_difference"], ours["same_choice"]) == (1, 0, 1)
    assert [row["what"] for row in grids] == list(clamping_speed.GUARDS)
    assert all(row["factor"] * ours["relative_cpu"] == pytest.approx(row["relative_cpu"]) for row in grids)
    assert grids[0]["score_difference"] < 0.1


def test_batch_norm_is_adapted_without_dropout():
    x = torch.rand(600, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Dropout(0.5), nn.BatchNorm2d(3)).eval()
    adapted = with_statistics_of(x[:500], network)
    torch.testing.assert_close(adapted[1].running_mean, x[:500].mean((0, 2, 3)))
    assert not adapted[1].training
    assert network[1].running_mean.eq(0).all()


def test_a_network_remembers_its_logits_together_with_its_copies():
    network, x = convolutional(), torch.from_numpy(images(6))
    passed = []
    network.register_forward_hook(lambda _, inputs, __: passed.append(len(inputs[0])))
    remembering = Remembering(network).eval()
    with torch.no_grad():
        expected = network(x)
        for rows in (slice(0, 4), slice(2, 6), slice(None)):
            torch.testing.assert_close(remembering(x[rows]), expected[rows])
        torch.testing.assert_close(copy.deepcopy(remembering)(x), expected)
    assert passed == [6, 4, 2]


def test_warps_turn_and_enlarge_about_the_middle():
    x = torch.from_numpy(images(3))
    torch.testing.assert_close(Warp()(x), x)
    torch.testing.assert_close(Warp(flip=True)(x), x.flip(-1))
    torch.testing.assert_close(Warp(degrees=90)(x), x.rot90(1, (-2, -1)), atol=1e-5, rtol=0)
    usual = NeuralClampingCalibrator(nn.Flatten(), max_views=2).get_params()["views"]
    assert usual == "auto" and len(candidates()) == 9 + 8
    # Twice as large, the inner four pixels of a row fill it.
    enlarged = Warp(zoom=2)(torch.arange(8.0).expand(1, 1, 8, 8))
    assert enlarged.min() > 1.5 and enlarged.max() < 5.5


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_prior_costs_little_and_the_bound_everything():
    for name in flawless.PROBLEMS:
        draws = flawless.run(name, 4)
        assert draws.flawless.any()
        means = draws[draws.flawless].mean(numeric_only=True)
        assert means["skclamp"] < means["T = 1"] + 0.005 < means["smoothed"] + 0.005 < means["at the bound"]


def test_masked_classes_are_no_votes():
    row = votes.measure_masked(0)
    assert row["uncalibrated"] < row["skclamp"] < row["uncalibrated"] + 0.005 < row["half a vote"]
    assert row["mass astray, skclamp"] < 0.005 < row["mass astray, half a vote"]


def test_ordinary_problems_of_small_tables_are_silent(tmp_path, capsys):
    assert len(set(ordinary.PROBLEMS)) == len(ordinary.PROBLEMS) == 200
    path = tmp_path / "ordinary.csv"
    command(ordinary.main, ["--quick", "--out", str(path)])
    rows = pd.read_csv(path)
    assert len(rows) > 20 and rows.warnings.isna().all()
    assert f"{len(rows)} of {len(rows)} problems without a warning" in capsys.readouterr().out
    row = ordinary.run(0, ordinary.Problem("digits", "logistic regression", 100, "VectorScaling"))
    assert re.search("CalibrationSetWarning: .*likely worse than one temperature", row["warnings"])


@pytest.mark.parametrize("name", [name for name, look in looks.LOOKS.items() if look.words and not look.slow])
def test_mistakes_are_told_by_the_words_that_mend_them(name):
    """Of a hundred draws 90 are asked for; of the first four, by the benchmark's seeds, three."""
    row = run(looks.run, name=name, look=looks.LOOKS[name], draws=4)
    assert row["draws"] == 4
    assert row["said"] >= 3


# Tables.


def results(**nll):
    """Rows of two splits in which each family has its own NLL, temperature scaling's being 1."""
    shared = {"network": "cifar10_resnet20", "shift": "darkness", "n_calibration": 1000, "n_test": 9000, "ts_nll": 1.0}
    shared |= {"accuracy": 90.0, "ts_accuracy": 80.0, "accepted": 1, "relative_time": 10.0}
    return pd.DataFrame(
        {**shared, "family": family, "seed": seed, "nll": value + 0.01 * seed}
        for family, value in nll.items()
        for seed in (0, 1)
    )


def test_auto_is_held_against_the_best_family_of_all_splits():
    assert "+0.100 ± 0.000, affine" in families.table(results(auto=0.6, affine=0.5, color=0.55))
    assert "less the best" not in families.table(results(full=1.0))


def test_differences_are_to_temperature_scaling_on_the_same_draws():
    own = {"uncalibrated": [(5000, 1.5)], "temperature, all": [(5000, 1.0)], "vector": [(100, 1.25), (5000, 0.75)]}
    rows = [
        {"record": "cifar10_resnet20", "n": n, "seed": seed, "method": method, "nll": value + 0.1 * seed}
        for method, cells in own.items()
        for n, value in cells
        for seed in (0, 1)
    ]
    vector, uncalibrated = sample_sizes.table(pd.DataFrame(rows)).to_dict("records")
    assert (vector["100"], vector["5,000"]) == ("+0.250 ± 0.000", "\N{MINUS SIGN}0.250 ± 0.000")
    assert uncalibrated["100"] == "+0.500 ± 0.000"
