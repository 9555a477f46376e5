"""The tables of the README and of the documentation, as text: Markdown's, reStructuredText's, and CSV files."""

import csv
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
# Folders of what is made, or no page.
MADE = {"_build", "_templates", "auto_examples", "examples", "generated"}
PAGES = [
    ROOT / "README.md",
    ROOT / "benchmarks" / "results" / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.rst") if not MADE & set(page.relative_to(ROOT / "docs").parts)),
]


class Table(NamedTuple):
    """Where a table is, its head, and its rows, all cells as plain text."""

    page: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]


def tables_of(page):
    """The tables that are written out on a page, or are files that it shows."""
    lines = page.read_text(encoding="utf-8").splitlines()
    found = markdown_tables(lines) if page.suffix == ".md" else [*list_tables(lines), *csv_tables(page)]
    name = page.relative_to(ROOT).as_posix()
    return [Table(name, *split_head([tuple(map(plain, row)) for row in rows])) for rows in found]


def split_head(rows):
    return rows[0], rows[1:]


def markdown_tables(lines):
    """Rows of cells; the line below the head is left out."""
    tables, inside = [], False
    for line in lines:
        row = line.strip().startswith("|")
        if row and not inside:
            tables.append([])
        if row and not re.fullmatch(r"[\s|:-]+", line):
            tables[-1].append(line.strip().strip("|").split("|"))
        inside = row
    return tables


def list_tables(lines):
    """Rows of cells of each ``list-table``."""
    tables, indent = [], None
    for line in lines:
        if match := re.match(r"( *)\.\. list-table::", line):
            tables.append([])
            indent = len(match[1])
        elif indent is not None and line.strip():
            if len(line) - len(line.lstrip()) <= indent:
                indent = None
            else:
                add_line(tables[-1], line.strip())
    return tables


def csv_tables(page):
    """Rows of cells of each file that a ``csv-table`` shows."""
    files = re.findall(r"\.\. csv-table::.*\n +:file: (.*)", page.read_text(encoding="utf-8"))
    return [list(csv.reader((page.parent / file).read_text(encoding="utf-8").splitlines())) for file in files]


def add_line(rows, line):
    """A line of a list table: a row, a cell, an option, or more of a cell."""
    if match := re.match(r"(\* )?-( |$)(.*)", line):
        if match[1]:
            rows.append([])
        rows[-1].append(match[3])
    elif rows:
        rows[-1][-1] += f" {line}"


def plain(text):
    """Without markup, with one kind of minus and of space."""
    text = re.sub(r":[\w:]+:`~?(?:[\w.]*\.)?([^`]*)`", r"\1", text.replace("\\ ", ""))
    text = text.replace("\N{MINUS SIGN}", "-").replace("\N{NO-BREAK SPACE}", " ")
    return " ".join(re.sub(r"[*`]", "", text).split())
