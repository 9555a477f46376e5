"""Measured numbers on the pages are those of the files of results: every table, and the sentences that are listed."""

import re
from functools import cache

import numpy as np
import pytest

pytest.importorskip("pandas", reason="the files of results are read with pandas")

import pandas as pd
from _page_tables import PAGES, ROOT, plain, tables_of

import _pages
import _thesis_tables
import decision_chart
from _page_front import FRONT_SENTENCES
from _page_samples import SAMPLE_SENTENCES
from _page_sentences import SENTENCES, SHIFT_SENTENCES
from _pages import RESULTS, SHIFT_TABLES, TABLES
from _suite import COLUMNS, METHODS
from pages import main as print_pages

ALL_SENTENCES = (*SENTENCES, *SAMPLE_SENTENCES, *FRONT_SENTENCES)
# What isn't compared, and why. Each is on some page.
NOT_COMPARED = {
    ("NCToolkit", "skclamp"): "names of parameters",
    ("scikit-learn", "skclamp"): "names of parameters",
    ("you have", "you write"): "code",
    ("you have", "you use"): "code",
    ("what is seen", "what it means"): "limits that the code has, tested where the warnings are",
    ("family", "parameters", "what it does", "what it undoes"): "counts of parameters",
    ("your case", "take", "what we measured"): "sentences",
    ("camera", "calibrator", "accuracy %", "NLL", "Brier", "ECE %", "floor: mean (95 %)"): "printed by make demo",
    ("you have, and write", "what to expect", "what it costs"): "sentences",
    (
        *("method", "ResNet-20, 500", "ResNet-20, 5,000", "ResNet-32, 500", "ResNet-32, 5,000"),
        *("WideResNet, 500", "WideResNet, 5,000", "LeNet, 500", "LeNet, 5,000"),
        *("fit ms, ResNet-20", "fit ms, WideResNet"),
    ): "choosing.csv itself",
}
# Of these no number with a point may be left that no sentence holds.
SENTENCES_ALONE = [
    ("your case", "take", "what we measured"),
    ("you have, and write", "what to expect", "what it costs"),
]


@cache
def all_tables():
    """Every table of the pages that has a digit below its head."""
    tables = [table for page in PAGES for table in tables_of(page)]
    return [table for table in tables if any(re.search(r"\d", cell) for row in table.rows for cell in row)]


@cache
def text_of(page):
    return plain(page.read_text(encoding="utf-8"))


def compare_table(table, rows):
    """A page's table has the rows that the files give, and no other."""
    expected = [tuple(map(plain, row)) for row in rows]
    assert table.rows == expected, "the files give other rows; see python benchmarks/pages.py"


def compare_sentence(pattern, values, texts):
    """Wherever the sentence is, it has these numbers, rounded as printed."""
    found = [match for text in texts for match in re.finditer(pattern, text)]
    assert found, "no page has this sentence any more: take the entry out, or have it say what the page says now"
    for match in found:
        printed = [as_printed(value, text) for value, text in zip(values, match.groups(), strict=True)]
        assert printed == list(match.groups())


def as_printed(value, text):
    """A number with the sign and the decimals of a text; a text as it is."""
    if isinstance(value, str):
        return value
    digits = len(text.partition(".")[2])
    return f"{value:{'+' if text.startswith('+') else ''}.{digits}f}"


@pytest.mark.parametrize("table", all_tables(), ids=lambda table: f"{table.page}: {table.head[0]}, {table.head[1]}")
def test_tables_are_those_of_the_files(table):
    assert table.head in TABLES or table.head in NOT_COMPARED, (
        "a table with numbers needs an entry: in TABLES of benchmarks/_pages.py, or, if nothing was measured, here"
    )
    if table.head in TABLES:
        compare_table(table, TABLES[table.head]())


def test_entries_are_of_tables_that_there_are():
    heads = {table.head for table in all_tables()}
    assert set(TABLES) | set(NOT_COMPARED) <= heads
    assert not set(TABLES) & set(NOT_COMPARED)


@pytest.mark.parametrize(("pattern", "values"), ALL_SENTENCES, ids=[pattern for pattern, _ in ALL_SENTENCES])
def test_sentences_are_those_of_the_files(pattern, values):
    compare_sentence(pattern, values(), map(text_of, PAGES))


@pytest.mark.parametrize("head", SENTENCES_ALONE)
def test_tables_of_sentences_hold_no_other_number(head):
    (table,) = [table for table in all_tables() if table.head == head]
    text = " ".join(cell for row in table.rows for cell in row)
    for pattern, _ in ALL_SENTENCES:
        text = re.sub(pattern, "", text)
    assert not re.findall(r"\d*\.\d+", text)


def test_the_decision_chart_is_drawn_from_the_files():
    image = pytest.importorskip("PIL.Image", reason="reads a PNG file")
    with image.open(ROOT / "docs" / "images" / "decision.png") as chart:
        assert chart.text["Description"] == decision_chart.words(), "see python benchmarks/decision_chart.py"


def test_the_thesis_page_is_made_from_its_file():
    page = (RESULTS / "thesis.md").read_text(encoding="utf-8")
    assert page == _thesis_tables.report(_thesis_tables.read_results(RESULTS / "thesis.csv"))


@pytest.mark.parametrize(
    ("suffix", "text"),
    [
        (".md", "Text.\n\n| a | b, % |\n| --- | --- |\n| **x** | `y` −1.5 |\n| z | 2 |\n\n| c |\n|---|\n| 1 |\n"),
        (
            ".rst",
            ".. list-table::\n   :widths: 1 1\n\n   * - a\n     - b, %\n   * - **x**\n     - ``y``\n       −1.5\n"
            "   * - z\n     - 2\n\nText - more\n\n.. list-table:: Title\n\n   * - c\n   * - 1\n",
        ),
    ],
)
def test_tables_are_read(suffix, text, tmp_path, monkeypatch):
    monkeypatch.setattr("_page_tables.ROOT", tmp_path)
    page = tmp_path / f"page{suffix}"
    page.write_text(text, encoding="utf-8")
    first, second = tables_of(page)
    assert first == (page.name, ("a", "b, %"), [("x", "y -1.5"), ("z", "2")])
    assert second == (page.name, ("c",), [("1",)])


def test_files_that_a_page_shows_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("_page_tables.ROOT", tmp_path)
    (tmp_path / "numbers.csv").write_text('a,"b, %"\nx,−1.5\n"y, z",\n', encoding="utf-8")
    page = tmp_path / "page.rst"
    page.write_text("Text.\n\n.. csv-table::\n   :file: numbers.csv\n   :header-rows: 1\n", encoding="utf-8")
    assert tables_of(page) == [(page.name, ("a", "b, %"), [("x", "-1.5"), ("y, z", "")])]


def test_a_number_that_differs_is_found():
    (table,) = [table for table in all_tables() if table.head == ("network", "two views", "four views")]
    rows = TABLES[table.head]()
    compare_table(table, rows)
    with pytest.raises(AssertionError, match="the files give other rows"):
        compare_table(table, [(rows[0][0], rows[0][1].replace(".8", ".7"), rows[0][2]), *rows[1:]])
    compare_sentence(r"kept (\d+) of (\d\.\d\d)", [3, 0.126], ["was kept 3 of 0.13"])
    with pytest.raises(AssertionError):
        compare_sentence(r"kept (\d+) of (\d\.\d\d)", [3, 0.126], ["was kept 3 of 0.13", "kept 3 of 0.12"])
    with pytest.raises(AssertionError, match="no page has this sentence"):
        compare_sentence("nowhere", [], ["somewhere"])


@pytest.fixture
def shift_results(tmp_path, monkeypatch):
    """A file of shift.py's with two shifts and none, in which clamping halves or leaves the NLL."""
    rng, rows = np.random.default_rng(0), []
    for shift, factor in (("none", 1.0), ("darkness", 0.5), ("bgr", 0.75)):
        for seed in range(3):
            nll, accuracy = 0.4 + 0.02 * rng.random(), 80 + rng.random()
            for method in METHODS:
                clamped = factor if method == "auto" else 1.0
                row = {"network": "cifar10_resnet20", "shift": shift, "n_calibration": 2500, "seed": seed}
                row |= {"n_test": 7500, "method": method, "nll": clamped * nll, "ece": 1.0}
                row |= {"accuracy": accuracy + 8 * (1 - clamped)}
                facts = dict.fromkeys(COLUMNS[-4:], 2.0) | {"accepted": int(factor < 1), "families": "affine"}
                rows.append(row | (facts if method == "auto" else {}))
    pd.DataFrame(rows, columns=COLUMNS).to_csv(tmp_path / "shift.csv", index=False)
    monkeypatch.setattr(_pages, "RESULTS", tmp_path)
    _pages.shift_runs.cache_clear()
    yield tmp_path / "shift.csv"
    _pages.shift_runs.cache_clear()


def test_shifts_are_taken_from_their_file(shift_results, capsys):
    for head, rows in SHIFT_TABLES.items():
        none, darkness, bgr = rows()
        assert len(none) == len(head)
        assert none[0] == "none"
        assert none[2:] == ("1.000", "1.000 ± .000", "+0.0 ± 0.0")
        assert darkness[2:] == ("1.000", "0.500 ± .000", "+4.0 ± 0.0")
        assert bgr[2:] == ("1.000", "0.750 ± .000", "+2.0 ± 0.0")
    found = [values() for _, values in SHIFT_SENTENCES]
    assert found == [pytest.approx([2, 4, 0.5, 0.75]), pytest.approx([25, 50, 2, 4])]
    print_pages(["--format", "rst", "--only", "shift_rows"])
    assert "   * - darkness × 0.35\n" in capsys.readouterr().out
