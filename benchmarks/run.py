"""Run a benchmark by its name: ``python benchmarks/run.py shift`` does as ``python benchmarks/shift.py``.

Without a name it lists them all. With ``evidence`` for a name it goes on with all files of results, in the order of
evidence.csv, and says of each what it lacks and how many hours of a processor that takes, by the runs that it timed
(hours.csv):

    python benchmarks/run.py evidence --data DIR
    python benchmarks/run.py evidence --data DIR --missing
    python benchmarks/run.py evidence --data DIR --runs 1
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


@contextlib.contextmanager
def at_most(n_runs, module):
    """Within, only so many of the runs that a file lacks are computed; yields for each run whether it was lacking."""
    lacks = []

    class Asked(ResultFile):
        def __init__(self, path, columns, n_key):
            self.done = set()
            if n_runs or Path(path).exists():
                super().__init__(path, columns, n_key)

        def __contains__(self, key):
            lacks.append(not super().__contains__(key))
            return not lacks[-1] or sum(lacks) > n_runs

    with patch.object(_runner, "ResultFile", Asked), patch.object(module, "ResultFile", Asked, create=True):
        yield lacks


def lacking(module, arguments):
    """For each run that a command asks for whether its file lacks it."""
    # What a benchmark reads once it has its runs.
    stopped = patch("pandas.read_csv", side_effect=CountedError), contextlib.redirect_stdout(io.StringIO())
    with at_most(0, module) as lacks, stopped[0], stopped[1], contextlib.suppress(CountedError):
        command(module.main, arguments)
    return lacks


def evidence(arguments=None, results=RESULTS, table=FOLDER / "evidence.csv"):
    """Say what each file of results lacks, and compute it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of networks and images")
    parser.add_argument("--runs", type=int, default=sys.maxsize, help="compute at most so many of each file")
    parser.add_argument("--missing", action="store_const", const=0, dest="runs", help="compute nothing")
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
        if any(lacks) and options.runs:
            start = time.process_time()
            try:
                with at_most(options.runs, module):
                    command(module.main, asked)
            finally:
                spent = round((time.process_time() - start) / 3600, 5)
                n_runs = sum(lacks) - sum(lacking(module, asked))
                timed = {"command": row["command"], "runs": n_runs, "hours": spent}
                ResultFile(results / "hours.csv", timed, len(timed)).append([timed])


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
