"""How a benchmark is run: options from the signature of its ``main``, results cell by cell in a CSV file that grows."""

import argparse
import csv
import inspect
import io
import sys
import warnings
from collections.abc import Collection
from pathlib import Path

import pandas as pd
import torch
from tabulate import tabulate
from threadpoolctl import threadpool_limits
from tqdm import tqdm

RESULTS = Path(__file__).parent / "results"
HELP = {
    "data": "folder of networks, images, records of logits and gas_sensor_drift.npz; images are downloaded without it",
    "out": "CSV file, or folder of files, that results are appended to; what it has is left out",
    "quick": "only what needs no files",
    "summary": "compute nothing, show what the file has",
}


def benchmark(main):
    """Decorate the last function of a script, which is run if the script is: ``python benchmarks/NAME.py OPTIONS``."""
    if main.__module__ == "__main__":
        command(main)
    return main


def command(main, arguments=None):
    """Run a benchmark by the command line.

    Each parameter of `main` is an option. A default that is a tuple or a range takes several values; an annotation that
    is a collection lists the choices, one that is a type gives the type where the default doesn't.
    """
    module = sys.modules[main.__module__]
    parser = argparse.ArgumentParser(description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, parameter in inspect.signature(main).parameters.items():
        add_option(parser, name, parameter.default, parameter.annotation)
    parser.add_argument("--threads", type=int, default=1, help="of torch and numpy (default: 1)")
    return run(main, **vars(parser.parse_args(arguments)))


def add_option(parser, name, default, annotation):
    """An option for a parameter."""
    empty = inspect.Parameter.empty
    settings = {"help": HELP.get(name, name.replace("_", " ")), "default": default}
    if annotation is not empty and not isinstance(annotation, type):
        settings |= {"choices": list(annotation), "metavar": "VALUE"}
        settings["help"] += f"; of {', '.join(map(str, annotation))}"
    several = isinstance(default, Collection) and not isinstance(default, str)
    examples = settings.get("choices") or (list(default) if several else [default])
    if default is empty:
        del settings["default"]
        settings |= {"required": True, "type": annotation}
    elif default is False:
        settings["action"] = "store_true"
    elif isinstance(default, Path) or default is None:
        settings["type"] = annotation if isinstance(annotation, type) and annotation is not empty else Path
    else:
        settings["type"] = type(examples[0]) if examples else str
    if several:
        settings["nargs"] = "+"
    told = "" if default is None or default is False or default is empty else f" (default: {default})"
    settings["help"] = f"{settings['help']}{told}".replace("%", "%%")
    parser.add_argument(f"--{name.replace('_', '-')}", **settings)


def run(main, threads=1, **options):
    """Call a benchmark with few threads, and without the warnings of what it does on purpose."""
    torch.set_num_threads(threads)
    with threadpool_limits(threads), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return main(**options)


class ResultFile:
    """Results on disk, some rows to a run; a run is known by the first `n_key` of the columns.

    An interrupted run goes on where it ended, and several processes can share the work.
    """

    def __init__(self, path, columns, n_key):
        self.path, self.columns, self.n_key = Path(path), list(columns), n_key
        self.done = set()
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8") as file:
                header, *rows = csv.reader(file)
            if header != self.columns:
                raise ValueError(f"{self.path} must have the columns {self.columns} to be continued, got {header}")
            self.done = {tuple(row[:n_key]) for row in rows}
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text(",".join(f'"{name}"' if "," in name else name for name in columns) + "\n", "utf-8")

    def __contains__(self, key):
        return tuple(map(str, key)) in self.done

    def append(self, rows):
        """Add the rows of a run, all or none: one write, which processes with the same file don't tear apart."""
        text = io.StringIO()
        csv.DictWriter(text, self.columns, extrasaction="ignore", lineterminator="\n").writerows(rows)
        with self.path.open("a", newline="", encoding="utf-8") as file:
            file.write(text.getvalue())
        self.done.update(tuple(str(row[name]) for name in self.columns[: self.n_key]) for row in rows)


def record(path, columns, cells, measure):
    """The frame of a file, once it has what `measure` gives for every cell: one row, or a list of rows.

    A cell is a tuple of the first columns' values; rows have the others, and may have more.
    """
    cells = list(cells)
    if cells:
        file = ResultFile(path, columns, len(cells[0]))
        for cell in tqdm([cell for cell in cells if cell not in file], disable=None):
            rows = measure(*cell)
            key = dict(zip(columns, cell, strict=False))
            file.append([{**key, **row} for row in ([rows] if isinstance(rows, dict) else rows)])
    return pd.read_csv(path)


def show(results, by, values, across=None):
    """Print means over the runs that agree in `by`, and how many these are; with `across`, a table for each value."""
    if across is None:
        groups = results.groupby(by, sort=False, observed=True)
        means = groups[values].mean()
        means.insert(0, "runs", groups.size())
        if "over" in values:
            means["worst over"] = groups.over.max()
        print(tabulate(means.reset_index(), headers="keys", showindex=False, floatfmt=".4g"))
    for value in values if across else ():
        means = results.pivot_table(value, by, across, sort=False, observed=True)
        print(f"\n{value}, means\n{tabulate(means, headers='keys', floatfmt='.4g')}")
