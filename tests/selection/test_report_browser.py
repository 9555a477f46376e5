"""The interactive page in a browser: the numbers of Python for whatever the reader chooses, by pointer and keyboard."""

import re
from functools import partial

import numpy as np
import pytest
from _report_pages import (
    FEW,
    NASTY,
    SEED,
    assert_contrast,
    choose,
    choose_threshold,
    labels_for,
    logits_of,
    nasty_comparison,
    numbers,
    small_comparison,
)
from scipy.special import softmax
from scipy.stats import binomtest

from skclamp import (
    PlattScaling,
    TemperatureScaling,
    compare_calibrators,
)
from skclamp.metrics import (
    calibration_intercept,
    calibration_noise_floor,
    calibration_slope,
    classwise_calibration_error,
    expected_calibration_error,
    net_benefit,
    risk_coverage_curve,
)

pytestmark = pytest.mark.slow


def _expected(proba, y_encoded, event, n_bins):
    """Error, noise floor, bins and true hits of each, by the metrics; `event` is a class, or None for the top label."""
    seed = np.random.RandomState(SEED).randint(2**31 - 1)
    binned = expected_calibration_error
    if event is None:
        error, table = binned(y_encoded, proba, n_bins=n_bins, return_bins=True)
        metric, hits, confidence = partial(binned, n_bins=n_bins), proba.argmax(1) == y_encoded, proba.max(1)
    else:
        hits, confidence = y_encoded == event, proba[:, event]
        table = binned(hits.astype(int), confidence, n_bins=n_bins, labels=[0, 1], return_bins=True)[1]

        def metric(labels, own):
            options = {"n_bins": n_bins, "average": None, "labels": np.arange(proba.shape[1])}
            return classwise_calibration_error(labels, own, **options)[event]

        error = metric(y_encoded, proba)
    floor = calibration_noise_floor(metric, proba, n_draws=20, random_state=seed)
    places = np.searchsorted(table.edges[1:-1], confidence)
    return error, floor, table, np.bincount(places, hits, n_bins), (hits.mean(), confidence.mean(dtype=float))


def _assert_shows(page, side, proba, y_encoded, event, n_bins):
    error, floor, table, hits, means = _expected(proba, y_encoded, event, n_bins)
    values, texts = numbers(page.locator(f"#{side}-figure figcaption"))
    expected = [error, *floor, *means, table.error("max")]
    assert values == pytest.approx(expected, rel=2e-5, abs=1e-6)
    assert texts[0] == f"{100 * values[0]:.2f}" and abs(float(texts[0]) - 100 * error) < 0.00501
    rows = page.locator(f"#{side}-figure tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.querySelectorAll('data')].map(own => Number(own.value)))"
    )
    assert len(rows) == n_bins
    for k, values in enumerate(rows):
        expected = [table.lower[k], table.upper[k], table.count[k], hits[k]]
        if table.count[k]:
            interval = binomtest(int(hits[k]), int(table.count[k])).proportion_ci(method="wilson")
            expected += [table.confidence[k], table.accuracy[k], interval.low, interval.high, table.gap[k]]
        assert values == pytest.approx(expected, rel=2e-5, abs=1e-6)


@pytest.mark.parametrize("event", [None, 3])
def test_diagrams_show_the_numbers_of_the_metrics(digits, open_page, event):
    comparison, proba, y = digits
    page = open_page(comparison)
    choose(page, event="most probable class" if event is None else str(event))
    # It opens with the comparison's own bins, the uncalibrated network and the best.
    for n_bins, left, right in (
        (12, "uncalibrated", comparison.best),
        (1, "bins", "clamping"),
        (40, "temperature", "bins"),
    ):
        if n_bins != 12:
            choose(page, left=left, right=right, n_bins=n_bins)
        for side, name in (("left", left), ("right", right)):
            _assert_shows(page, side, proba[name], y, event, n_bins)
            mean = "mean confidence" if event is None else "mean probability"
            assert mean in page.locator(f"#{side}-figure figcaption").text_content()
            assert page.locator("#legend-gap").text_content() == f"gap to the {mean}"
        if n_bins == 12:
            # The mean over all classes is the classwise error.
            shown = [comparison[name].sce for name in (left, right)]
            assert numbers(page.locator("#classes-note"))[0] == pytest.approx(shown, rel=2e-5)


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.9, 0.999])
def test_thresholds_show_what_would_have_happened(digits, open_page, threshold):
    comparison, proba, y = digits
    page = open_page(comparison)
    choose_threshold(page, threshold)
    assert page.locator("#cut-value").text_content() == f"{threshold:g}"
    for row in comparison.rows:
        answered = proba[row.name].max(1) > threshold
        own, confidence = proba[row.name].argmax(1)[answered], proba[row.name].max(1)[answered]
        shown = page.locator("#cut-table tbody tr").filter(has=page.get_by_role("rowheader", name=row.name))
        values, texts = numbers(shown)
        n, hits = len(own), (own == y[answered]).sum()
        expected = [n, n / len(y)]
        if n:
            interval = binomtest(int(hits), n).proportion_ci(method="wilson")
            errors = n - hits, (1 - confidence).sum()
            expected += [hits / n, interval.low, interval.high, *errors]
            assert abs(float(texts[-1]) - errors[1]) < 0.0501
            kept = interval.low <= confidence.mean() <= interval.high
            assert ("as promised" in shown.text_content()) == kept
        assert values == pytest.approx(expected, rel=2e-5, abs=1e-6)


def rare(n, seed):
    """Logits of two classes, twice as sure as they should be, and labels, of which few are events."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-3, 1.5, n)
    return np.column_stack([np.zeros(n), 2 * log_odds]), (rng.random(n) < 1 / (1 + np.exp(-log_odds))).astype(int)


@pytest.mark.parametrize(("n_test", "sharpened"), [(60, 1.0), (2000, 0.52)])
def test_a_gain_that_is_not_told_from_chance_is_said_with_its_size(open_page, n_test, sharpened):
    (X, y), (X_test, y_test) = rare(4000, 0), rare(n_test, 1)
    X, X_test = sharpened * X, sharpened * X_test
    comparison = compare_calibrators(None, X, y, X_test, y_test, calibrators=[PlattScaling()], **FEW)
    best, uncalibrated = comparison[comparison.best], comparison["uncalibrated"]
    assert uncalibrated.tied and best.nll < uncalibrated.nll
    less = np.floor(1000 * (1 - best.nll / uncalibrated.nll)) / 10
    lead = open_page(comparison).locator("#lead").text_content().replace("\u00a0", " ")
    assert lead.startswith(f"{best.name} lowers the NLL by {f'{less:.1f}' if less else 'less than 0.1'} % and ")
    assert "This may be chance: the uncalibrated classifier is tied with it." in lead


@pytest.mark.parametrize("threshold", [0.0, 0.005, 0.1, 0.5])
def test_of_two_classes_one_acts_on_the_probability_of_the_second(open_page, threshold):
    (X, y), (X_test, y_test) = rare(1000, 0), rare(2000, 1)
    comparison = compare_calibrators(None, X, y, X_test, y_test, calibrators=[PlattScaling()], **FEW)
    page = open_page(comparison)
    share = float(page.locator("#cut-value").text_content())
    assert 0.8 * y_test.mean() < share <= y_test.mean()
    choose_threshold(page, threshold)
    assert "P(1)" in page.locator("#cut-caption").text_content()
    assert page.get_by_text("by chance", exact=True).is_hidden()
    for row in comparison.rows:
        proba = (
            softmax(X_test, 1) if row.name == "uncalibrated" else comparison.calibrators[row.name].predict_proba(X_test)
        )
        p = proba[:, 1]
        acted = p > threshold
        hits = y_test[acted].sum()
        interval = binomtest(int(hits), int(acted.sum())).proportion_ci(method="wilson")
        expected = [acted.sum(), acted.mean(), hits / acted.sum(), interval.low, interval.high, hits, p[acted].sum()]
        expected += [hits / y_test.sum(), net_benefit(y_test, p, threshold=threshold)]
        shown = page.locator("#cut-table tbody tr").filter(has=page.get_by_role("rowheader", name=row.name))
        assert numbers(shown)[0] == pytest.approx(expected, rel=2e-5, abs=1e-6)
        assert row.slope == pytest.approx(calibration_slope(y_test, p), rel=1e-4)
        assert row.intercept == pytest.approx(calibration_intercept(y_test, p), rel=1e-3, abs=1e-4)
    # Acting always is far below 0, where it is cut off and not left out.
    lines = page.locator("#right-risk svg g .expected").evaluate_all("own => own.map(one => one.getBBox().height)")
    heights = page.locator("#right-risk svg clipPath rect").evaluate_all("own => own.map(one => one.getBBox().height)")
    assert lines[0] > heights[0]
    always = net_benefit(y_test, np.ones(len(y_test)), threshold=threshold)
    assert numbers(page.locator("#right-risk figcaption"))[0][-1] == pytest.approx(always)
    heads = page.locator("#score-table thead").text_content()
    assert "slope" in heads
    assert "intercept" in heads


def test_risk_over_coverage_is_the_metrics(digits, open_page):
    comparison, proba, y = digits
    page = open_page(comparison)
    choose_threshold(page, 0.5)
    for left, right in (("uncalibrated", "clamping"), ("bins", "temperature")):
        choose(page, left=left, right=right)
        for side, name in (("left", left), ("right", right)):
            row, curve = comparison[name], risk_coverage_curve(y, proba[name])
            values, _ = numbers(page.locator(f"#{side}-risk figcaption"))
            expected = [row.aurc, row.aurc_low, row.aurc_high, curve.area_at_best, curve.area_by_chance]
            assert values == pytest.approx(expected, rel=1e-9)
            coverage = (proba[name].max(1) > 0.5).mean()
            spoken = page.locator(f"#{side}-risk svg").get_attribute("aria-label")
            assert f"a coverage of {100 * coverage:.2f} %" in spoken


def test_scores_can_be_sorted(digits, open_page):
    comparison, _, _ = digits
    page = open_page(comparison)
    table = page.locator("#score-table")

    def order():
        return table.locator("tbody th[scope=row]").all_text_contents()

    assert order() == [row.name for row in comparison.rows]
    for heading, key, first in (("Brier", "brier", "ascending"), ("accuracy %", "accuracy", "descending")):
        button = table.get_by_role("button", name=heading, exact=True)
        for direction in (first, {"ascending": "descending", "descending": "ascending"}[first]):
            button.press("Enter")
            values = [getattr(comparison[name], key) for name in order()]
            assert values == sorted(values, reverse=direction == "descending")
            assert table.locator(f"th[aria-sort={direction}]").text_content().startswith(heading)
            assert page.evaluate("document.activeElement.textContent").startswith(heading)
    row = comparison["temperature"]
    values, _ = numbers(table.locator("tbody tr").filter(has_text="temperature"))
    expected = [row.nll, row.nll_difference, row.nll_difference_se, row.accuracy, row.d2_log_loss, row.brier]
    expected += [
        row.d2_brier,
        row.ece,
        row.ece_low,
        row.ece_high,
        row.ece_floor,
        row.ece_floor_quantile,
        row.aece,
        row.sce,
        row.auroc,
    ]
    expected += [row.aurc, row.aurc_low, row.aurc_high, row.fit_time, row.predict_time]
    assert values == expected


def _tile(page, title):
    return page.locator("#won > div").filter(has_text=title)


def test_opens_with_what_was_won(digits, open_page):
    comparison, proba, y = digits
    page = open_page(comparison)
    before, after = comparison["uncalibrated"], comparison[comparison.best]
    assert comparison.best == "clamping" and after.accuracy > before.accuracy + 0.03
    ends = []
    for row in (before, after):
        interval = binomtest(round(row.accuracy * len(y)), len(y)).proportion_ci(method="wilson")
        ends += [100 * interval.low, 100 * interval.high]
    values, texts = numbers(_tile(page, "Accuracy"))
    assert values == pytest.approx([before.accuracy, after.accuracy, *ends])
    assert texts[:2] == [f"{100 * before.accuracy:.1f}", f"{100 * after.accuracy:.1f}"]
    ends = [row.nll + sign * 1.96 * row.nll_se for row in (before, after) for sign in (-1, 1)]
    assert numbers(_tile(page, "NLL"))[0] == pytest.approx([before.nll, after.nll, *ends], rel=1e-4)
    assert numbers(_tile(page, "ECE"))[0] == pytest.approx([before.ece, after.ece])
    lead = page.locator("#lead").text_content()
    less = np.floor(1000 * (before.nll - after.nll) / before.nll) / 10
    assert lead.startswith(f"clamping lowers the NLL by {less:.1f}\u00a0% and raises the accuracy by ")
    assert f"{100 * (after.accuracy - before.accuracy):.1f} points" in lead
    bold = page.locator("#lead strong").all_text_contents()
    assert bold[1].startswith("raises the accuracy") and len(bold) == 3
    gap = proba["uncalibrated"].max(1).mean() - before.accuracy
    assert bold[2] == f"{'over' if gap > 0 else 'under'}-confident by {100 * abs(gap):.1f} points"
    facts = page.locator("#facts").text_content()
    assert "600" in facts and "597" in facts
    assert re.match(
        r"Compared on \d{4}-\d\d-\d\d .* skclamp \S+, torch \S+, scikit-learn", page.locator("#made").text_content()
    )
    # On the first screen.
    assert page.locator("#made").bounding_box()["y"] < 900


def test_one_answer_to_all_is_called_so(open_page):
    rng = np.random.default_rng(0)
    p = rng.uniform(0, 0.1, size=3000)
    y = (rng.random(3000) < p).astype(int)
    parts = np.log(8 * p / (1 - p))[:, None], y
    comparison = compare_calibrators(
        None, *(part[:1000] for part in parts), *(part[1000:] for part in parts), calibrators=[PlattScaling()], **FEW
    )
    lead = open_page(comparison).locator("#lead").text_content()
    assert "At a threshold of 0.5 it answers 0 always: choose another below. Uncalibrated, it gives class" in lead
    assert f"and {100 * y[1000:].mean():.1f} % of the samples are of it: " in lead.replace("\u00a0", " ")


def test_says_of_how_many_groups_test_samples_are(open_page):
    assert "groups" not in open_page(small_comparison()).locator("#facts").text_content()
    facts = open_page(small_comparison(groups_test=np.arange(300) // 2)).locator("#facts").text_content()
    assert "test samples300groups of these150" in facts


def test_shows_the_wrong_answers_with_their_images(digits, open_page):
    comparison = digits[0]
    page = open_page(comparison)
    for name in (comparison.best, "uncalibrated"):
        page.select_option("#mistaken", label=name)
        told = comparison._content["answers"][name]
        cards = page.locator("#wrong li")
        assert cards.count() == len(told["wrong"])
        for k, answer in enumerate(told["wrong"]):
            assert numbers(cards.nth(k))[0] == pytest.approx([answer["confidence"], answer["row"]], rel=1e-5)
            assert cards.nth(k).locator(".said").all_text_contents() == [answer["prediction"], answer["label"]]
            assert cards.nth(k).locator("img").evaluate("own => own.decode().then(() => own.naturalWidth)") == 8
        assert numbers(page.locator("#separation"))[0][0] == comparison[name].auroc
        rows = page.locator("#worst-table tbody tr")
        worst = told["classes"]
        assert rows.locator("th").all_text_contents() == [each["name"] for each in worst]
        values, _ = numbers(rows.first)
        assert values[:2] == [worst[0]["count"], worst[0]["hits"] / worst[0]["count"]]
        assert values[-1] == worst[0]["times"]


@pytest.mark.filterwarnings("ignore::skclamp.exceptions.CalibrationSetWarning")
def test_shows_parts_the_worst_first(open_page):
    by = np.where(np.arange(300) % 3, NASTY, "other")
    comparison = small_comparison(by=by)
    page = open_page(comparison)
    for name in comparison:
        page.select_option("#mistaken", label=name)
        rows = page.locator("#parts-table tbody tr")
        parts = comparison.parts[name]
        assert rows.locator("th").all_text_contents() == [own.part for own in parts]
        for k, own in enumerate(parts):
            scores = own.n_samples, own.nll, own.gain, own.gain_se, own.ece, own.ece_floor, own.ece_floor_quantile
            assert numbers(rows.nth(k))[0] == pytest.approx(scores)
    assert "Parts of the test set" in page.locator("#parts-caption").text_content()
    # Of parts that are one group each nothing is known, and of none there is no table.
    page = open_page(small_comparison(by=by, groups_test=by))
    assert page.locator("#parts-table tbody tr").first.locator("td").last.text_content() == "– (–)"
    assert open_page(small_comparison()).locator("#parts-card").is_hidden()


def test_shows_images_before_and_after_clamping(digits, open_page):
    comparison, proba, _ = digits
    page = open_page(comparison)
    figures = page.locator("#perturbations .images figure")
    assert figures.count() == 8
    sampled = comparison._content["answers"]["clamping"]["sampled"]
    for k, answer in enumerate(sampled):
        images = figures.nth(k).locator("img")
        assert images.count() == 2
        before, after = (images.nth(side).get_attribute("src") for side in (0, 1))
        assert before != after and before.startswith("data:image/png;base64,")
        decoded = "own => own.decode().then(() => own.naturalWidth)"
        assert [images.nth(side).evaluate(decoded) for side in (0, 1)] == [8, 8]
        values, _ = numbers(figures.nth(k))
        assert values == pytest.approx(
            [proba[name][answer["row"]].max() for name in ("uncalibrated", "clamping")], rel=1e-5
        )


@pytest.mark.filterwarnings("ignore:X_test holds samples of X_cal:skclamp.exceptions.CalibrationSetWarning")
def test_wrong_answers_without_images_are_a_table_and_names_stay_names(open_page):
    page = open_page(nasty_comparison(), title=NASTY)
    choose(page, left=NASTY, event=NASTY, mistaken=NASTY)
    assert page.title() == NASTY
    assert page.locator("img").count() == 0
    assert NASTY in page.locator("#left-figure .name").text_content()
    assert page.locator("#wrong tbody tr").count() == 12
    assert page.locator("#wrong th[scope=row] data").count() == 12
    z = logits_of(200)
    right = compare_calibrators(None, z, labels_for(200), z, z.argmax(1), calibrators=[TemperatureScaling()], **FEW)
    page = open_page(right)
    assert "gives no wrong answer" in page.locator("#wrong-caption").text_content()
    assert page.locator("#worst-card").is_hidden()
    assert "nothing to separate" in page.locator("#separation").text_content()


def test_bins_are_read_by_pointer_and_by_keyboard(digits, open_page):
    page = open_page(digits[0])
    handle = page.get_by_role("slider", name="Bin of the left diagram")
    other = page.get_by_role("slider", name="Bin of the right diagram")
    box = handle.bounding_box()
    handle.hover(position={"x": 0.98 * box["width"], "y": 0.3 * box["height"]})
    readout = page.locator("#left-figure .readout")
    assert readout.text_content().startswith("(0.9167, 1.0000]")
    rows = page.locator("#left-figure tbody tr")
    values, texts = numbers(rows.nth(11))
    assert numbers(readout)[0] == [values[3], values[5], values[6], values[7], values[4]]
    page.mouse.move(1, 1)
    assert readout.text_content().startswith("Point at a bar")
    handle.focus()
    handle.press("End")
    handle.press("ArrowLeft")
    assert handle.get_attribute("aria-valuenow") == other.get_attribute("aria-valuenow") == "11"
    assert handle.get_attribute("aria-valuetext") == readout.text_content()
    assert readout.text_content().startswith("(0.8333, 0.9167]")
    handle.press("Home")
    assert "holds no samples" in readout.text_content()
    handle.press("Escape")
    assert handle.get_attribute("aria-valuetext") == "no bin chosen"


def test_every_control_has_a_name_and_works_from_the_keyboard(digits, open_page):
    page = open_page(digits[0])
    bins = page.get_by_role("slider", name=re.compile("^Bins"))
    bins.press("ArrowRight")
    assert bins.get_attribute("aria-valuetext") == "13 bins"
    assert page.locator("#left-figure tbody tr").count() == 13
    page.get_by_role("button", name=re.compile("^7")).press("Enter")
    assert page.get_by_label("Event").evaluate("own => own.selectedOptions[0].text") == "7"
    assert page.evaluate("document.activeElement.dataset.class") == "7"
    cut = page.get_by_role("slider", name=re.compile("^Accept above"))
    cut.press("ArrowRight")
    assert cut.get_attribute("aria-valuetext") == "a confidence of 0.905"
    expect = pytest.importorskip("playwright.sync_api").expect
    expect(page.get_by_role("status")).to_have_text(re.compile("^Above 0.905: uncalibrated: accepts "))
    for label in ("Left", "Right"):
        page.get_by_label(label, exact=True).select_option(label="bins")
    pictures = page.locator("svg[role=img], canvas[role=img]")
    assert pictures.count() >= 4
    assert all(pictures.nth(k).get_attribute("aria-label") for k in range(pictures.count()))
    unnamed = "[...document.querySelectorAll('svg:not([role=img]):not([aria-hidden=true])')].length"
    assert page.evaluate(unnamed) == 0
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(own => own.id)")
    assert len(ids) == len({*ids})


@pytest.mark.parametrize("width", [360, 390, 768, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_is_readable_at_any_width_in_light_and_dark(digits, open_page, width, dark):
    page = open_page(digits[0], width=width, dark=dark, title="Digits-of-a-camera-whose-gain-is-off-and-on")
    page.locator("summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert assert_contrast(page) > 150
    # Drawn anew where the width changes.
    page.set_viewport_size({"width": 360, "height": 800})
    expect = pytest.importorskip("playwright.sync_api").expect
    expect(page.locator("#left-figure .plot svg")).to_have_attribute("viewBox", re.compile(r"^0 0 [23]\d\d "))
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
