"""Speed of temperature scaling and of the metrics against their peers, each as a multiple of one plain torch pass.

    python benchmarks/speed.py
    python benchmarks/speed.py --sizes 5000x10 10000x100 --threads 2 --out speed.csv

Peers that aren't installed (extra ``bench``) are left out with a line. Errors are those of the float32 input's result
against ours in float64: of temperatures relative, of metrics absolute.
"""

import argparse
import csv

from tabulate import tabulate

import _speed_metrics
import _speed_temperature

SIZES = ["5000x10", "10000x100", "50000x1000"]
COLUMNS = ["what", "size", "method", "ms", "baseline", "ratio", "error"]
FORMATS = ("", "", "", ".3g", "", ".2f", ".0e")


def main(arguments=None):
    options = parse(arguments)
    rows = _speed_temperature.rows(options.sizes, options.threads) + _speed_metrics.rows(options.sizes, options.threads)
    print(f"threads: {options.threads}; baseline: one pass of the function named over the same float32 array")
    print(tabulate([[row.get(name) for name in COLUMNS] for row in rows], headers=COLUMNS, floatfmt=FORMATS))
    if options.out:
        write(options.out, rows)


def parse(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (default: 1)")
    parser.add_argument(
        "--sizes", type=size, nargs="+", default=[size(text) for text in SIZES], help="as 5000x10: samples x classes"
    )
    parser.add_argument("--out", metavar="CSV", help="file to write the results to")
    return parser.parse_args(arguments)


def size(text):
    """Samples and classes of a text such as 5000x10."""
    n_samples, n_classes = map(int, text.split("x"))
    return n_samples, n_classes


def write(path, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
