"""The interactive page in a browser: what was won, which answers are wrong, groups, grey bins and the CSV."""

import csv
import re

import numpy as np
import pytest
from _report_pages import FEW, NASTY, choose, labels_for, logits_of, nasty_comparison, numbers
from scipy.stats import binomtest

from skclamp import (
    HistogramBinning,
    MatrixScaling,
    NeuralClampingCalibrator,
    TemperatureScaling,
    VectorScaling,
    compare_calibrators,
)

pytestmark = pytest.mark.slow


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


def _compared(scale, calibrators=None, n=400):
    """Logits that are `scale` times what they should be."""
    z, y = logits_of(2 * n), labels_for(2 * n)
    parts = scale * z[:n], y[:n], scale * z[n:], y[n:]
    maps = calibrators or {"temperature": TemperatureScaling(), "vector": VectorScaling()}
    return compare_calibrators(None, *parts, calibrators=maps, **FEW)


def test_claims_nothing_that_chance_explains(open_page):
    comparison = _compared(1.0)
    assert comparison["uncalibrated"].tied
    page = open_page(comparison)
    assert page.locator("#lead").text_content().startswith("Nothing was won")
    assert page.locator("#lead strong").count() == 1
    scores = page.locator("#score-table")
    assert scores.locator("strong").count() == 0
    assert "lowest" in scores.text_content() and " tied" in scores.text_content()
    within = [row.ece <= row.ece_floor_quantile for row in comparison.rows]
    assert any(within)
    for row, fine in zip(comparison.rows, within, strict=True):
        choose(page, left=row.name)
        headline = page.locator("#left-figure .headline")
        assert (headline.evaluate("own => getComputedStyle(own).fontWeight") == "400") == fine
        assert page.locator("#left-figure figcaption strong").count() == (not fine)


def test_says_that_the_uncalibrated_network_is_the_best_or_the_same(open_page):
    rough = {"bins": HistogramBinning(n_bins=2)}
    page = open_page(_compared(1.0, rough))
    lead = page.locator("#lead").text_content()
    assert lead.startswith("Nothing was won: no calibrator’s NLL is below the uncalibrated network’s.")
    assert _tile(page, "Accuracy").locator(".to").count() == 0
    page = open_page(_compared(3.0, {"temperature": TemperatureScaling()}))
    lead = page.locator("#lead").text_content()
    assert re.match(r"temperature lowers the NLL by \d+\.\d\s% and leaves the accuracy as it is\.", lead)
    assert "best of" not in lead


def test_says_that_the_best_was_chosen_on_the_same_samples(open_page):
    lead = open_page(_compared(3.0)).locator("#lead").text_content()
    assert lead.endswith("It is the best of 2 on these same samples, so new ones may show a little less.")


def test_shows_the_wrong_answers_with_their_images(digits, open_page):
    comparison, proba, y = digits
    page = open_page(comparison)
    for name in (comparison.best, "uncalibrated"):
        page.select_option("#mistaken", label=name)
        own = proba[name]
        wrong = np.flatnonzero(own.argmax(1) != y)
        surest = wrong[np.argsort(-own.max(1)[wrong], kind="stable")][:12]
        cards = page.locator("#wrong li")
        assert cards.count() == len(surest)
        for k, row in enumerate(surest):
            values, _ = numbers(cards.nth(k))
            assert values == pytest.approx([own[row].max(), row], rel=1e-5)
            said = cards.nth(k).locator(".said").all_text_contents()
            assert said == [str(own[row].argmax()), str(y[row])]
            assert cards.nth(k).locator("img").evaluate("own => own.decode().then(() => own.naturalWidth)") == 8
        assert numbers(page.locator("#separation"))[0][0] == comparison[name].auroc
        rows = page.locator("#worst-table tbody tr")
        worst = comparison._content.answers[name].classes
        assert rows.locator("th").all_text_contents() == [each.name for each in worst]
        values, _ = numbers(rows.first)
        assert values[:2] == [worst[0].count, worst[0].hits / worst[0].count]
        assert values[-1] == worst[0].times


def test_shows_images_before_and_after_clamping(digits, open_page):
    comparison, proba, _ = digits
    page = open_page(comparison)
    figures = page.locator("#perturbations .images figure")
    assert figures.count() == 8
    sampled = comparison._content.answers["clamping"].sampled
    for k, answer in enumerate(sampled):
        images = figures.nth(k).locator("img")
        assert images.count() == 2
        before, after = (images.nth(side).get_attribute("src") for side in (0, 1))
        assert before != after and before.startswith("data:image/png;base64,")
        decoded = "own => own.decode().then(() => own.naturalWidth)"
        assert [images.nth(side).evaluate(decoded) for side in (0, 1)] == [8, 8]
        values, _ = numbers(figures.nth(k))
        assert values == pytest.approx(
            [proba[name][answer.row].max() for name in ("uncalibrated", "clamping")], rel=1e-5
        )


def test_wrong_answers_without_images_are_a_table(open_page):
    page = open_page(nasty_comparison())
    page.select_option("#mistaken", label=NASTY)
    assert page.locator("#wrong tbody tr").count() == 12
    assert page.locator("#wrong th[scope=row] data").count() == 12
    z = logits_of(200)
    right = compare_calibrators(None, z, labels_for(200), z, z.argmax(1), calibrators=[TemperatureScaling()], **FEW)
    page = open_page(right)
    assert "gives no wrong answer" in page.locator("#wrong-caption").text_content()
    assert page.locator("#worst-card").is_hidden()
    assert "nothing to separate" in page.locator("#separation").text_content()


def _many():
    """Calibrators of several kinds."""
    maps = {
        "t": TemperatureScaling(),
        "v": VectorScaling(),
        "m": MatrixScaling(),
        "bins": HistogramBinning(),
        'few, "bins"': HistogramBinning(n_bins=5),
        "clamping": NeuralClampingCalibrator(perturbation=None),
    }
    return _compared(2.0, maps)


def test_single_samples_can_be_left_out(digits, open_page):
    page = open_page(digits[0], samples=False)
    assert page.locator("img").count() == 0
    assert page.locator("#wrong-caption").is_hidden()
    assert page.locator("#worst-table tbody tr").count() > 0
    assert "neither the samples nor their predictions" in page.locator("#page-note").text_content()


def test_calibrators_come_in_groups(open_page):
    comparison = _many()
    page = open_page(comparison)
    expected = {
        "as it is": ["uncalibrated"],
        "temperatures": ["t"],
        "scales and shifts per class": ["v"],
        "matrices": ["m"],
        "bins, isotonic and splines": ["bins", 'few, "bins"'],
        "neural clamping": ["clamping"],
    }
    for menu in ("left", "right", "mistaken"):
        groups = page.locator(f"#{menu} optgroup").evaluate_all(
            "all => all.map(own => [own.label, [...own.children].map(each => each.text)])"
        )
        assert {label: sorted(names) for label, names in groups} == expected
    bodies = page.locator("#score-table tbody").evaluate_all(
        "all => all.map(own => [...own.querySelectorAll('th')].map(each => each.textContent))"
    )
    assert {group: sorted(names) for group, *names in bodies} == expected
    assert bodies[0][1] == comparison.best, "the group of the best comes first"
    page.get_by_label("in groups").uncheck()
    assert page.locator("#score-table tbody th").all_text_contents() == [row.name for row in comparison.rows]


def test_the_numbers_can_be_downloaded(open_page):
    comparison = _many()
    page = open_page(comparison)
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as CSV").click()
    assert download.value.suggested_filename == "calibration-report.csv"
    with open(download.value.path(), encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [own["name"] for own in found] == [row.name for row in comparison.rows]
    for own, row in zip(found, comparison.rows, strict=True):
        for name in ("accuracy", "nll", "nll_se", "ece", "auroc", "fit_time"):
            assert float(own[name]) == getattr(row, name)
        assert own["tied"] == str(row.tied).lower()


def test_bins_of_few_samples_are_grey(digits, open_page):
    comparison, _, _ = digits
    page = open_page(comparison)
    for side in ("left", "right"):
        rows = page.locator(f"#{side}-figure tbody tr").evaluate_all(
            "rows => rows.map(row => [Number(row.querySelectorAll('data')[2].value), row.className])"
        )
        grey = [count for count, name in rows if name == "few"]
        assert sorted(grey) == sorted(count for count, _ in rows if 0 < count < 10)
        assert page.locator(f"#{side}-figure .bar.few").count() == len(grey)
        assert page.locator(f"#{side}-figure .bar").count() == sum(count > 0 for count, _ in rows)
    assert page.locator("#left-figure .bar.few").count() > 0
    fills = page.evaluate(
        "['.bar.few', '.bar:not(.few)'].map(own => getComputedStyle(document.querySelector(own)).fill)"
    )
    assert len({*fills}) == 2
