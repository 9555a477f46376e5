"""Print the measured tables of the pages from the files of results, to be pasted where they have changed.

python benchmarks/pages.py
python benchmarks/pages.py --format rst --only peer_rows
"""

import argparse
import re

from tabulate import tabulate

from _pages import SHIFT_TABLES, TABLES


def list_table(head, rows):
    """The rows of a ``list-table`` of reStructuredText."""
    cells = [(f"   {'  ' if column else '* '}- {cell}") for row in (head, *rows) for column, cell in enumerate(row)]
    return "\n".join(map(str.rstrip, cells))


def markdown(head, rows):
    return tabulate(rows, headers=head, tablefmt="github", disable_numparse=True)


def typeset(cell):
    """With the minus signs of numbers."""
    return re.sub(r"(?<!\w)-(?=\d)", "\N{MINUS SIGN}", cell)


FORMATS = {"md": markdown, "rst": list_table}


def main(arguments=None):
    tables = {**TABLES, **SHIFT_TABLES}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--format", choices=FORMATS, default="md", help="default: %(default)s")
    names = sorted({rows.__name__ for rows in tables.values()})
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="TABLE", help=", ".join(names))
    options = parser.parse_args(arguments)
    for head, rows in tables.items():
        if rows.__name__ in options.only:
            print(FORMATS[options.format](head, [list(map(typeset, row)) for row in rows()]), end="\n\n")


if __name__ == "__main__":
    main()
