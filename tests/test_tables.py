"""The measured tables of the pages are those of the files of results."""

import re
from pathlib import Path

import pytest

pytest.importorskip("pandas", reason="the files of results are read with pandas")

import decision_chart
import tables

ROOT = Path(__file__).resolve().parents[1]


def test_pages_hold_the_tables_of_the_files(capsys):
    assert tables.main(["--check"]) == 0, f"run make tables: {capsys.readouterr().out}"


def test_every_table_stands_on_a_page():
    marked = {match["name"] for page in tables.PAGES for match in tables.MARKED.finditer(page.read_text("utf-8"))}
    assert marked == set(tables.TABLES)


# What is read first; its tables of rivals, whose page says how many splits, and of peers, see below.
FRONT = [ROOT / "README.md", ROOT / "docs" / "index.rst", ROOT / "docs" / "benchmarks.rst"]
OTHERWISE = {"rivals", "peers"}
# They have rows that are of hundreds of draws.
NOT_CUT = {"monitor.csv", "abstention.csv"}


def front_tables():
    """Each table of a front page with each of its files."""
    names = {match["name"] for page in FRONT for match in tables.MARKED.finditer(page.read_text("utf-8"))}
    for name in sorted(names - OTHERWISE):
        yield from ((name, file) for file in tables.TABLES[name][0] if file not in NOT_CUT)


def of_four_splits(results):
    """What a file would have with fewer splits, or each of a folder."""
    if isinstance(results, dict):
        return {name: of_four_splits(frame) for name, frame in results.items()}
    split = "seed" if "seed" in results else "draw"
    return results[results[split].rank(method="dense") <= 4]


@pytest.mark.parametrize(("name", "file"), list(front_tables()))
def test_numbers_of_front_pages_are_of_five_splits_or_more(name, file, monkeypatch):
    read = tables.read
    monkeypatch.setattr(tables, "read", lambda each: of_four_splits(read(each)) if each == file else read(each))
    with pytest.raises(ValueError, match=f"^table {name}: .* must be of 5 splits or more, got [1-4]$"):
        tables.rows_of(name)


def test_peers_have_dashes_where_a_split_is_missing(monkeypatch):
    records = of_four_splits(tables.read("records"))
    monkeypatch.setattr(tables, "read", lambda _: records)
    assert {row[2] for row in tables.rows_of("peers")[1:]} == {"—"}


def test_every_comment_that_begins_a_table_has_an_end_of_its_own():
    for page in tables.PAGES:
        text = page.read_text("utf-8")
        n_begun = len(re.findall(r"^(?:\.\.|<!--) table by ", text, re.MULTILINE))
        assert n_begun == len(tables.MARKED.findall(text)), page


def test_every_number_of_a_file_in_prose_is_made_from_it():
    """And all that are made stand on a page."""
    texts = [page.read_text("utf-8") for page in tables.PAGES]
    names = {tables.name_of(match) for text in texts for match in tables.NUMBER.finditer(text)}
    assert names == set(dict(tables.numbers()))


def test_the_decision_chart_is_drawn_from_the_files():
    image = pytest.importorskip("PIL.Image", reason="reads a PNG file")
    with image.open(ROOT / "docs" / "images" / "decision.png") as chart:
        assert chart.text["Description"] == decision_chart.words(), "run python benchmarks/decision_chart.py"


PROSE = "A :abbr:`{} (thesis.csv: passes by\nthe authors' settings)`, as ``:abbr:`VALUE (FILE: WHAT)``` has it.\n"
MARKDOWN = "<!-- table by benchmarks/tables.py: delays -->\n\n{}\n<!-- end of table -->\n"
CSV_TABLE = ".. table by benchmarks/tables.py: delays\n\n.. csv-table::\n   :header-rows: 1\n\n{}\n.. end of table\n"


@pytest.mark.parametrize(
    ("suffix", "page", "renewed"),
    [
        (".md", MARKDOWN, "| darkness × .35 | 288 |"),
        (".rst", CSV_TABLE, "   darkness × .35,288"),
        (".rst", PROSE, PROSE.format("102")),
    ],
)
def test_what_differs_is_told_and_written_anew(suffix, page, renewed, tmp_path, monkeypatch, capsys):
    path = tmp_path / f"page{suffix}"
    path.write_text(page.format("   * - stale\n" if page is not PROSE else "7"), encoding="utf-8")
    for name, value in {"ROOT": tmp_path, "PAGES": [path], "FILES": {}}.items():
        monkeypatch.setattr(tables, name, value)
    assert tables.main(["--check"]) == 1
    assert f"page{suffix} differs" in capsys.readouterr().out
    assert tables.main([]) == 0
    text = path.read_text(encoding="utf-8")
    assert renewed in text and "stale" not in text and (page is not CSV_TABLE or ":header-rows: 1" in text)
    assert tables.main(["--check"]) == 0


def test_a_number_that_nothing_makes_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "PAGES", [tmp_path / "page.rst"])
    tables.PAGES[0].write_text("A :abbr:`7 (thesis.csv: NLL of nobody)`.\n", encoding="utf-8")
    with pytest.raises(KeyError, match="NLL of nobody"):
        tables.main(["--check"])
