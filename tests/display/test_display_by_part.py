"""Reliability by part of the samples: which lines are drawn, in which order, and what is refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate

from skclamp.display import ReliabilityDisplay, ReliabilityGridDisplay
from skclamp.metrics import calibration_noise_floor, expected_calibration_error

plt = pytest.importorskip("matplotlib.pyplot")

RNG = np.random.default_rng(0)
N = 3000
P = RNG.uniform(size=N)
SITES = RNG.choice(["north", "south", "east", "west", "few"], N, p=[0.25, 0.25, 0.25, 0.24, 0.01])
# One site's events come true at half of their probabilities.
Y = (RNG.uniform(size=N) < np.where(SITES == "south", P / 2, P)).astype(int)


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


def drawn(*args, **kwargs):
    return ReliabilityDisplay.from_predictions(*args, **{"n_draws": 20, **kwargs})


def test_the_worst_part_comes_first():
    display = drawn(Y, P, by=SITES)
    assert next(iter(display.parts)) == "south"
    # Few samples have a large error by chance.
    assert list(display.parts)[1:].index("few") > 0
    labels = display.ax_.get_legend_handles_labels()[1]
    assert [label.partition(", ECE")[0] for label in labels] == ["all samples", *display.parts]
    assert display.ax_.get_legend().get_title().get_text() == "parts, the worst first"


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_a_part_is_the_display_of_its_samples(strategy):
    display = drawn(Y, P, by=SITES, strategy=strategy, smooth=True)
    whole = drawn(Y, P, strategy=strategy, smooth=True)
    assert display.bins.expected_gap() == whole.bins.expected_gap()
    assert display.noise_floor == whole.noise_floor
    for name, part in display.parts.items():
        own = np.equal(SITES, name)
        alone = drawn(Y[own], P[own], strategy=strategy, smooth=True, labels=[0, 1])
        assert part.bins.expected_gap() == alone.bins.expected_gap()
        assert part.noise_floor == alone.noise_floor
        np.testing.assert_array_equal(part.intervals, alone.intervals)
        np.testing.assert_array_equal(part.curve.accuracy, alone.curve.accuracy)


def test_only_as_many_lines_as_differ():
    by = np.arange(N) % 8
    display = drawn(Y, P, by=by)
    assert len(display.parts) == 8
    assert len(display.ax_.get_legend_handles_labels()[1]) == 6
    assert display.ax_.get_legend().get_title().get_text() == "the 5 worst of 8 parts"
    grid = ReliabilityGridDisplay(list(display.parts.values())).plot()
    assert [ax.get_title(loc="left").partition("\n")[0] for ax in grid.axes_] == [str(name) for name in display.parts]
    assert set(display.parts) == set(range(8))


@pytest.mark.parametrize("kind", ["strings", "pos_label", "labels a part lacks", "frame", "tensor"])
def test_classes_are_those_of_all_samples(kind):
    proba = np.stack([1 - P, P], 1)
    y = Y.copy()
    if kind == "labels a part lacks":
        y[SITES == "few"] = 0
    names = np.array(["no", "yes"])
    given, options = {
        "strings": ((names[y], proba), {"labels": names}),
        "pos_label": ((names[y], P), {"pos_label": "yes"}),
        "labels a part lacks": ((y, P), {}),
        "frame": ((names[y], pd.DataFrame(proba, columns=names)), {}),
        "tensor": ((torch.from_numpy(y), torch.from_numpy(proba)), {}),
    }[kind]
    display = drawn(*given, by=pd.Series(SITES), **options)
    for name, part in display.parts.items():
        own = np.equal(SITES, name)
        assert part.bins.expected_gap() == pytest.approx(expected_calibration_error(y[own], P[own], labels=[0, 1]))


def test_weights_and_groups_go_with_their_parts():
    weight = RNG.integers(1, 4, N)
    groups = np.arange(N) // 2
    by = SITES[groups]
    display = drawn(Y, P, by=by, sample_weight=weight, groups=groups)
    own = by == "east"
    part = display.parts["east"]
    assert part.bins.expected_gap() == pytest.approx(
        expected_calibration_error(Y[own], P[own], sample_weight=weight[own])
    )
    floor = calibration_noise_floor(
        expected_calibration_error, P[own], n_draws=20, sample_weight=weight[own], groups=groups[own], random_state=0
    )
    assert part.noise_floor == pytest.approx(floor)
    assert part.intervals.shape == (2, 15)


def test_several_labels_and_places():
    labels = (RNG.uniform(size=(300, 2)) < P[:600].reshape(300, 2)).astype(float)
    # Of one site nothing is known.
    labels[SITES[:300] == "west"] = np.nan
    display = drawn(labels, P[:600].reshape(300, 2), by=SITES[:300])
    assert "west" not in display.parts
    own = SITES[:300] == "east"
    expected = expected_calibration_error(labels[own], P[:600].reshape(300, 2)[own], average="micro")
    assert display.parts["east"].bins.expected_gap() == pytest.approx(expected)
    places = drawn(Y.reshape(-1, 2, 2), P.reshape(-1, 2, 2), by=SITES[: N // 4])
    own = SITES[: N // 4] == "east"
    expected = expected_calibration_error(Y.reshape(-1, 4)[own].ravel(), P.reshape(-1, 4)[own].ravel())
    assert places.parts["east"].bins.expected_gap() == pytest.approx(expected)


def test_from_a_classifier_and_its_folds():
    X = np.log(P / (1 - P))[:, None]
    display = ReliabilityDisplay.from_estimator(LogisticRegression().fit(X, Y), X, Y, by=SITES, n_draws=20)
    assert next(iter(display.parts)) == "south"
    assert display.ax_.get_legend_handles_labels()[1][0].startswith("LogisticRegression, all samples")
    results = cross_validate(LogisticRegression(), X, Y, return_estimator=True, return_indices=True)
    folds = ReliabilityDisplay.from_cv_results(results, X, Y, by=SITES, n_draws=20)
    assert next(iter(folds.parts)) == "south"
    assert set(folds.parts) == set(SITES)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"by": SITES[1:]}, rf"by must have shape \({N},\), a name or number a sample; got shape \({N - 1},\)"),
        ({"by": np.where(SITES == "few", None, SITES)}, "by must name the part of every sample; got None"),
        ({"by": SITES, "groups": SITES}, "by must leave each part two groups at least, .* got one in 'east'"),
    ],
)
def test_bad_parts_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        drawn(Y, P, **options)


def test_several_calibrators_have_no_parts():
    with pytest.raises(ValueError, match="by must be None for several calibrators"):
        ReliabilityGridDisplay.from_predictions(Y, {"one": P}, by=SITES)


def test_every_histogram_is_seen_whole():
    confident = np.where(SITES == "east", 0.05 + P / 20, P)
    display = drawn(Y, confident, by=SITES)
    shares = [100 * part.bins.share.max() for part in display.parts.values()]
    assert display.histogram_ax_.get_ylim()[1] >= max(shares) > 2 * 100 * display.bins.share.max()
