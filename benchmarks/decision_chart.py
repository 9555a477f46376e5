"""The decision chart of the user guide: which calibrator to take, with what was measured of it.

    python benchmarks/decision_chart.py --out docs/images/decision.png

All numbers come from files in benchmarks/results, which `steps` names. The chart is as wide as a telephone, and its
colours suit a light page and a dark one.
"""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from _runner import RESULTS, benchmark
from _scores import beside_temperature
from views import beside_one_view

WIDTH, HEIGHT = 3.9, 9.6
# Boxes bring their own ground, so that the page's may be light or dark; lines are seen on both.
QUESTION = {"facecolor": "#e3e8ef", "edgecolor": "#6f7b8b"}
ANSWER = {"facecolor": "#0b3c6f", "edgecolor": "#6f7b8b"}
LINE = "#6f7b8b"
LEFT, RIGHT = (0.01, 0.40), (0.51, 0.48)
SAYS = {"fontsize": 8.5, "color": LINE}


LOGITS_ALONE = "only logits or\nprobabilities:\ngo on at the number\nof classes"
NOT_TRAINED = "cross-fitted: each sample is\njudged by one that hasn't seen it"
TWO_VIEWS, KEEPS_ORDER = "NeuralClampingCalibrator\n(max_views=2)", "IntraOrderPreservingCalibration"


class Step(NamedTuple):
    """A question, the answer to it that ends the way, what to take then, and what was measured of that."""

    question: str
    ends: str
    take: str
    measured: str


def steps(folder=RESULTS):
    """The way from top to bottom; what is left at its end has no question."""
    names = ("families", "intents", "views", "two_classes", "sample_sizes", "choosing")
    families, intents, views, rare, sizes, maps = (pd.read_csv(folder / f"{name}.csv") for name in names)
    return [
        Step("Is the classifier\ntrained?", "no", "TemperatureScaling\n(skorch_net, cv=5)", NOT_TRAINED),
        Step("Do you have\nthe network and\nits inputs?", "no", "", LOGITS_ALONE),
        Step(
            "Tokens, such as\ntext, that have\nchanged?",
            "yes",
            "CalibratorSelector, then\nNeuralClampingCalibrator",
            tokens(intents),
        ),
        Step("Has the input\nchanged: camera,\nlight, sensor?", "yes", "NeuralClampingCalibrator", shifted(families)),
        Step("Images, and may\na prediction cost\ntwo passes?", "yes", TWO_VIEWS, seen(views)),
        Step("Two classes,\nor rare events?", "yes", "PlattScaling,\nBetaCalibration", two(rare)),
        Step("Fewer than\n1,000 samples?", "yes", "TemperatureScaling", few(sizes)),
        Step("Must no\nprediction\nchange?", "yes", "IntraOrderPreserving\nCalibration", many(maps, KEEPS_ORDER)),
        Step("", "", "CalibratorSelector", many(maps, "CalibratorSelector")),
    ]


def words(folder=RESULTS):
    """What the chart says, for those who can't see it."""
    return "\n".join(" ".join(" ".join(step).split()) for step in steps(folder))


def shifted(results):
    """NLL over temperature scaling's, mean over the shifts of their means, and the range of points of accuracy."""
    auto = results[(results.family == "auto") & (results["shift"] != "none")]
    means = beside_temperature(auto).groupby("shift")[["ratio", "points"]].mean()
    return (
        f"{len(means)} shifts, 1,000 images:\nNLL × {means.ratio.mean():.2f}, accuracy\n"
        f"+{means.points.min():.1f} to +{means.points.max():.1f} points"
    )


def tokens(results):
    """The same of the selector and of clamping, over changes of 500 texts."""
    changed = results.query("n == 500 and change != 'none'")
    means = beside_temperature(changed, ["change", "n", "draw"]).groupby("method").ratio.mean()
    return f"500 texts that changed:\nNLL × {means.selector:.2f}, then {means.clamping:.2f}"


def two(results):
    """NLL over temperature scaling's after training with class weights, with few positives."""
    nll = results.query("training == 'balanced' and share < 0.1").groupby(["positives", "method"]).nll.mean()
    return f"1 % of positives, trained as half:\nNLL × {nll[30, 'Platt'] / nll[30, 'temperature']:.2f} with 30 of them"


def seen(results):
    """The same of two views without a shift, over networks."""
    two = beside_one_view(results.query("part == 'plain' and max_views == 2"))
    means = two.groupby("network")[["ratio", "points"]].mean()
    return (
        f"no shift: NLL × {means.ratio.min():.2f} to {means.ratio.max():.2f},\n"
        f"accuracy +{means.points.min():.1f} to +{means.points.max():.1f} points"
    )


def few(results):
    """Mean NLL of temperature scaling with 100 samples less that with all, the largest of the networks'."""
    plain = results[~results.record.str.contains("dark")]
    by_seed = ["record", "seed"]
    small = plain[(plain.method == "temperature") & (plain.n == 100)].set_index(by_seed).nll
    whole = plain[plain.method == "temperature, all"].set_index(by_seed).nll
    loss = (small - whole).groupby("record").mean().max()
    return f"100 samples: NLL on average at\nmost +{loss:.3f} above 5,000's"


def many(results, method):
    row = results.set_index("method").loc[method]
    few, all_ = row["WideResNet, 500"], row["WideResNet, 5,000"]
    return f"100 classes: NLL {few} with\n500 images, {all_} with 5,000"


def draw(path, folder=RESULTS):
    """Write the chart."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT))
    figure.patch.set_alpha(0)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.axis("off")
    way = steps(folder)
    height, middle, left = 1 / len(way), LEFT[0] + LEFT[1] / 2, RIGHT[0] + 0.015
    for row, step in enumerate(way):
        y = 1 - (row + 0.5) * height
        if step.question:
            box(axes, LEFT, y, 0.74 * height, QUESTION)
            style = {"ha": "center", "fontsize": 8.5, "linespacing": 1.25}
            axes.text(middle, y, step.question, va="center", color="#14181f", **style)
            axes.text((LEFT[0] + LEFT[1] + RIGHT[0]) / 2, y + 0.006, step.ends, ha="center", va="bottom", **SAYS)
        arrow(axes, (LEFT[0] + LEFT[1] if step.question else middle, y), (RIGHT[0], y))
        if step.take:
            box(axes, RIGHT, y, 0.74 * height, ANSWER)
            style = {"linespacing": 1.2}
            axes.text(left, y + 0.29 * height, step.take, va="top", fontsize=8.3, weight="bold", color="white", **style)
            axes.text(left, y - 0.3 * height, step.measured, va="bottom", fontsize=7.6, color="#dce6f2", **style)
        else:
            axes.text(left, y, step.measured, va="center", linespacing=1.2, **SAYS)
        if row + 1 < len(way):
            question = way[row + 1].question
            axes.text(middle + 0.015, y - 0.5 * height, "yes" if step.ends == "no" else "no", va="center", **SAYS)
            end = y - (0.63 if question else 1) * height
            arrow(axes, (middle, y - 0.37 * height), (middle, end), "-|>" if question else "-")
    metadata = {"Description": words(folder)}
    figure.savefig(path, dpi=220, transparent=True, metadata=metadata, pil_kwargs={"optimize": True})


def box(axes, span, y, tall, colors):
    from matplotlib.patches import FancyBboxPatch

    style = "round,pad=0,rounding_size=0.015"
    axes.add_patch(FancyBboxPatch((span[0], y - tall / 2), span[1], tall, boxstyle=style, lw=0.8, **colors))


def arrow(axes, start, end, style="-|>"):
    properties = {"arrowstyle": style, "color": LINE, "lw": 1.4, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", end, start, arrowprops=properties)


@benchmark
def main(out=Path("docs/images/decision.png")):
    draw(out)
