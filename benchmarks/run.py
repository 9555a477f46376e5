"""Run a benchmark by its name: ``python benchmarks/run.py shift`` does as ``python benchmarks/shift.py``.

Without a name it lists them all. With ``evidence`` for a name it goes on with all files of results, in the order of
evidence.csv, and says of each what it lacks and how many hours that takes, by the runs that it timed (hours.csv):

    python benchmarks/run.py evidence --data DIR
    python benchmarks/run.py evidence --data DIR --missing
"""

import argparse
import ast
import contextlib
import csv
import importlib
import inspect
import io
import shlex
import sys
import time
from pathlib import Path
from unittest.mock import patch

import _runner
from _runner import RESULTS, ResultFile, command

FOLDER = Path(__file__).parent


def benchmarks():
    """The first line of each benchmark's docstring, by its name."""
    names = (path.stem for path in sorted(FOLDER.glob("[a-z]*.py")) if path.stem not in ("run", "tables"))
    texts = {name: (FOLDER / f"{name}.py").read_text(encoding="utf-8") for name in names}
    return {name: ast.get_docstring(ast.parse(text)).splitlines()[0] for name, text in texts.items()}


class CountedError(Exception):
    """All runs were asked for, and none was computed."""


def lacking(module, arguments):
    """For each run that a command asks for whether its file lacks it."""
    lacks = []

    class Asked(ResultFile):
        def __init__(self, path, columns, n_key):
            self.done = set()
            if Path(path).exists():
                super().__init__(path, columns, n_key)

        def __contains__(self, key):
            lacks.append(not super().__contains__(key))
            return True

    with (
        patch.object(_runner, "ResultFile", Asked),
        patch.object(module, "ResultFile", Asked, create=True),
        # What a benchmark reads once it has its runs.
        patch("pandas.read_csv", side_effect=CountedError),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.suppress(CountedError),
    ):
        command(module.main, arguments)
    return lacks


def evidence(arguments=None, results=RESULTS, table=FOLDER / "evidence.csv"):
    """Say what each file of results lacks, and compute it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of networks and images")
    parser.add_argument("--missing", action="store_true", help="compute nothing")
    options = parser.parse_args(arguments)
    with open(table, newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        name, *asked = shlex.split(row["command"])
        module, path = importlib.import_module(name), results / row["file"]
        asked += ["--out", str(path)]
        if options.data and "data" in inspect.signature(module.main).parameters:
            asked += ["--data", options.data]
        lacks = lacking(module, asked)
        print(f"{row['command']}: {path.name} lacks {sum(lacks)} of {len(lacks)} runs, {hours(row, lacks, results)}")
        if any(lacks) and not options.missing:
            start = time.perf_counter()
            try:
                command(module.main, asked)
            finally:
                n_runs = sum(lacks) - sum(lacking(module, asked))
                spent = {"command": row["command"], "runs": n_runs, "hours": (time.perf_counter() - start) / 3600}
                ResultFile(results / "hours.csv", spent, len(spent)).append([spent])


def hours(row, lacks, results):
    """How long the runs that a file lacks take, by those of the same command."""
    timed = []
    if (path := results / "hours.csv").exists():
        with open(path, newline="", encoding="utf-8") as lines:
            timed = [each for each in csv.DictReader(lines) if each["command"] == row["command"]]
    n_runs, spent = (sum(float(each[what]) for each in timed) for what in ("runs", "hours"))
    return f"{sum(lacks) * spent / n_runs:.2g} hours" if n_runs else "hours not measured yet"


if __name__ == "__main__":
    if sys.argv[1:2] == ["evidence"]:
        evidence(sys.argv[2:])
    elif sys.argv[1:2] and sys.argv[1] in benchmarks():
        command(importlib.import_module(sys.argv[1]).main, sys.argv[2:])
    else:
        print("\n".join(f"{name:22} {title}" for name, title in benchmarks().items()))
