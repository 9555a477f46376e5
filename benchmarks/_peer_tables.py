"""Tables of the comparison with peers, from the records of the methods: one CSV file each, one row a split."""

from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from _estimates import paired_estimate

KEY = ("record", "n", "seed")
COLUMNS = (*KEY, "nll", "ece", "accuracy", "seconds")
FORMATS = ("", "", "", "", "", ".4f", ".4f", "+.5f", ".5f", ".2f", ".2f", ".1f", ".1f", ".2f")


def file_name(method):
    """Of a method's records."""
    return f"{method.replace(' ', '_').replace('(', '_').rstrip(')')}.csv"


def read_records(folder):
    """The records of all methods in a folder, by file name.

    Returns
    -------
    dict of str to pandas.DataFrame
    """
    return {path.name: pd.read_csv(path) for path in sorted(Path(folder).glob("*.csv"))}


def compare(records, comparison):
    """One row for each record and size: both methods' scores, the paired difference, and the times.

    Returns
    -------
    pandas.DataFrame
        Empty where a method has no records.
    """
    names = [file_name(name) for name in comparison]
    if not all(name in records for name in names):
        return pd.DataFrame()
    both = records[names[0]].merge(records[names[1]], on=list(KEY), suffixes=("", "_peer"))
    return pd.DataFrame(
        [
            {"record": record, "n": n, **dict(zip(("method", "peer"), comparison, strict=True)), **summarise(part)}
            for (record, n), part in both.groupby(["record", "n"], sort=False)
        ]
    )


def summarise(part):
    """Of the splits of one record and size."""
    difference = paired_estimate(part.nll, part.nll_peer)
    return {
        "splits": len(part),
        "nll": part.nll.mean(),
        "peer_nll": part.nll_peer.mean(),
        "difference": difference.mean,
        "standard_error": difference.standard_error,
        "ece": part.ece.mean(),
        "peer_ece": part.ece_peer.mean(),
        "fit_ms": 1e3 * part.seconds.median(),
        "peer_ms": 1e3 * part.seconds_peer.median(),
        "ratio": np.median(part.seconds / part.seconds_peer),
    }


def report(records, comparisons):
    """A line for each comparison, record and size."""
    rows = pd.concat([compare(records, comparison) for comparison in comparisons], ignore_index=True)
    return tabulate(rows, headers="keys", showindex=False, floatfmt=FORMATS)
