"""The interactive page in a browser: by pointer and keyboard, at any width, in light and dark, whatever it holds."""

import re

import numpy as np
import pytest
from _digits import calibration_and_test, convolutional_network
from _report_pages import (
    FEW,
    NASTY,
    assert_contrast,
    choose,
    choose_threshold,
    labels_for,
    logits_of,
    nasty_comparison,
    numbers,
    of_every_family,
    rgb,
)

from skclamp import NeuralClampingCalibrator, TemperatureScaling, compare_calibrators

pytestmark = pytest.mark.slow


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
    page.get_by_role("radio", name="equal width").press("ArrowRight")
    assert page.get_by_role("radio", name="equal mass").is_checked()
    assert "AECE" in page.locator("#left-figure .headline").text_content()
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


def test_the_reader_switches_the_theme(digits, open_page):
    page = open_page(digits[0], dark=True)
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.get_by_role("button", name="Light").click()
    light = page.evaluate(ground)
    assert max(rgb(dark)) < 60 and min(rgb(light)) > 200
    page.get_by_role("button", name="Dark").click()
    assert page.evaluate(ground) == dark


@pytest.mark.parametrize("width", [360, 390, 768, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_is_readable_at_any_width_in_light_and_dark(digits, open_page, width, dark):
    page = open_page(digits[0], width=width, dark=dark, title="Digits-of-a-camera-whose-gain-is-off-and-on")
    page.locator("summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert assert_contrast(page) > 150


def test_draws_anew_where_the_width_changes(digits, open_page):
    page = open_page(digits[0])
    page.set_viewport_size({"width": 360, "height": 800})
    expect = pytest.importorskip("playwright.sync_api").expect
    expect(page.locator("#left-figure .plot svg")).to_have_attribute("viewBox", re.compile(r"^0 0 [23]\d\d "))
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_names_stay_names_in_the_browser(open_page):
    page = open_page(nasty_comparison(), title=NASTY)
    choose(page, left=NASTY, event=NASTY)
    assert page.title() == NASTY
    assert page.locator("img").count() == 0
    assert NASTY in page.locator("#left-figure .name").text_content()


def test_shows_every_perturbation(open_page):
    (X_cal, y_cal), (X_test, y_test) = calibration_and_test(0)
    calibrators = of_every_family()
    calibrators["refused"] = NeuralClampingCalibrator(perturbation="full", random_state=0)
    calibrators["plain"] = NeuralClampingCalibrator(perturbation=None)
    comparison = compare_calibrators(
        convolutional_network(), X_cal, y_cal, X_test, y_test, calibrators=calibrators, **FEW
    )
    page = open_page(comparison, width=360)
    cards = page.locator("#perturbations article")
    assert cards.count() == len(calibrators)
    said = {name: cards.nth(k).locator("> p:not(.note)").all_text_contents() for k, name in enumerate(calibrators)}
    fitted = comparison.calibrators
    assert said["refused"][1:] == [f"Perturbation. {fitted['refused'].verdict_.reason}"]
    assert [words.count("No guard judged this.") for words in (said["affine"][0], said["plain"][0])] == [1, 0]
    for name, words in said.items():
        assert words[0] in fitted[name].summary()
        assert f"T = {fitted[name].temperature_:.4g}" in words[0]
    full = cards.nth(list(calibrators).index("full"))
    assert full.locator("canvas[role=img]").count() == 3
    matrix, _ = numbers(cards.nth(list(calibrators).index("color")).locator("table"))
    learned = comparison.calibrators["color"].perturbation_.matrix.detach().numpy()
    assert matrix == pytest.approx(list(learned.ravel()), rel=1e-5)
    assert assert_contrast(page) > 100
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_says_that_no_perturbation_was_found(open_page):
    (X_cal, y_cal), (X_test, y_test) = calibration_and_test(0, n_calibration=90)
    calibrators = {"found none": NeuralClampingCalibrator(random_state=0)}
    parts = X_cal, y_cal, X_test, y_test
    comparison = compare_calibrators(convolutional_network(), *parts, calibrators=calibrators, **FEW)
    page = open_page(comparison)
    words = page.locator("#perturbations article > p").all_text_contents()
    assert words[1:] == [f"Perturbation. {comparison.calibrators['found none'].verdict_.reason}"]
    assert page.locator("#perturbations img").count() == 0


def test_works_with_two_samples_and_without_uncalibrated_classes_among_the_labels(open_page):
    logits = np.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    parts = logits_of(200), labels_for(200), logits, [0, 1]
    page = open_page(compare_calibrators(None, *parts, calibrators=[TemperatureScaling()], **FEW))
    choose(page, strategy="quantile", n_bins=5, event="2")
    choose_threshold(page, 0.9999)
    assert page.locator("#cut-table tbody tr").first.text_content().endswith("nothing accepted")
