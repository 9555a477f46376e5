"""The rows of a file of results that a benchmark wrote."""

import csv


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
