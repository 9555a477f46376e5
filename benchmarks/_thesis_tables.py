"""Tables of Tang's (2022) experiments from the file of results, and which rows belong to which experiment."""

import pandas as pd
from tabulate import tabulate

from _thesis_runs import ABLATION, ABLATION_GAMMA, GAMMAS, METHODS, SIZED, SWEPT, TABLE

SETTINGS = ["network", "method", "gamma", "n_calibration", "epochs", "precision"]
TITLES = {
    "table": "calibrators",
    "ablation": f"ablation, gamma = {ABLATION_GAMMA:g}",
    "gamma": "gamma of the focal loss",
    "size": "calibration samples",
}
# Columns of the results, how many digits they have, and what they are called.
WITH_INTERVAL = (
    ("accuracy", 2, "accuracy %"),
    ("nll", 4, "NLL"),
    ("nll_difference", 4, "NLL − temperature"),
    ("brier", 4, "Brier"),
    ("entropy", 3, "entropy"),
)
# Settings, left out where no row has any, or all are of one size.
VARIED = (("gamma", "gamma"), ("n_calibration", "n"), ("epochs", "epochs"))
WITH_FLOOR = (("ece", 2, "ECE %"), ("aece", 2, "AECE %"), ("sce", 3, "SCE %"))


def means(results):
    """Results averaged over seeds, one row for each setting, in the order of the methods.

    Returns
    -------
    pandas.DataFrame
        With `n_seeds`; numbers that a method doesn't have are NaN.
    """
    results = results.assign(method=pd.Categorical(results["method"], METHODS))
    groups = results.groupby(SETTINGS, dropna=False, observed=True, sort=True)
    means = groups.mean(numeric_only=True).drop(columns="seed")
    means["n_seeds"] = groups.size()
    return means.reset_index()


def select(results, part):
    """The rows of one network's results that belong to an experiment, named in a column `label`."""
    method, gamma = results["method"].astype(str), results["gamma"]
    usual = (gamma == method.map(GAMMAS)) | gamma.isna()
    whole = results["n_calibration"] == results["n_calibration"].max()
    if part == "table":
        return results[usual & whole & method.isin(TABLE)].assign(label=method)
    if part == "ablation":
        names = {value: key for key, value in ABLATION.items()}
        rows = results[whole & (gamma == ABLATION_GAMMA) & method.isin(names)]
        return rows.assign(label=rows["method"].astype(str).map(names)).sort_values("label", kind="stable")
    if part == "gamma":
        return results[whole & method.isin(SWEPT)].assign(label=method)
    return results[usual & method.isin(SIZED)].assign(label=method)


def table(rows):
    """A line for each row, in GitHub's format: proper scores with intervals, errors with intervals and floors."""
    lines = []
    for row in rows.to_dict("records"):
        line = {"method": row["label"]}
        line |= {title: _plain(row[name]) for name, title in VARIED if rows[name].nunique() > (name == "n_calibration")}
        line |= {title: _with_interval(row, score, digits) for score, digits, title in WITH_INTERVAL}
        line |= {title: _with_floor(row, score, digits) for score, digits, title in WITH_FLOOR}
        line |= {"T": "" if pd.isna(row["temperature"]) else f"{row['temperature']:.3f}", "seeds": row["n_seeds"]}
        line |= {"fit s": "" if pd.isna(row["seconds"]) else f"{row['seconds']:.1f}"}
        lines.append(line)
    return tabulate(lines, headers="keys", tablefmt="github", disable_numparse=True)


def report(results):
    """All tables, as Markdown."""
    parts = []
    for network, own in results.groupby("network", sort=False):
        for part, title in TITLES.items():
            rows = select(own, part)
            if _tells_something(rows, part):
                parts.append(f"## {network}: {title}\n\n{table(rows)}")
    return "\n\n".join([EXPLANATION, *parts]) + "\n"


EXPLANATION = (
    "Test scores with 95 % bootstrap intervals in brackets, means over the seeds. Intervals of calibration errors are "
    "of the true error: they may lie below the value, which noise enlarges. In parentheses the noise floor: the mean, "
    "and the 95 % quantile, of a perfectly calibrated classifier's error with these probabilities."
)


def _tells_something(rows, part):
    varied = {"table": "method", "ablation": "label", "gamma": "gamma", "size": "n_calibration"}[part]
    return rows[varied].nunique() > (part != "table")


def _plain(value):
    return "" if pd.isna(value) else f"{value:g}"


def _with_interval(row, score, digits):
    return f"{row[score]:.{digits}f} [{row[f'{score}_low']:.{digits}f}, {row[f'{score}_high']:.{digits}f}]"


def _with_floor(row, score, digits):
    floor = f"({row[f'{score}_floor']:.{digits}f}, {row[f'{score}_floor_95']:.{digits}f})"
    return f"{_with_interval(row, score, digits)} {floor}"
