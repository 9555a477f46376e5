"""How the bars and lines of reliability diagrams look, and where they stand."""

import numpy as np

# Dark bars under a light hatched gap differ in print without colours, too.
ACCURACY_STYLE = {"color": "#3a6ea5", "edgecolor": "white", "linewidth": 0.8}
GAP_STYLE = {"facecolor": (0.96, 0.70, 0.56, 0.75), "edgecolor": "#9c2f10", "hatch": "////", "linewidth": 0.8}
INTERVAL_STYLE = {"fmt": "none", "ecolor": "black", "elinewidth": 1.2, "capsize": 2.5}
CURVE_STYLE = {"color": "black", "linewidth": 2.0}
HISTOGRAM_STYLE = {"color": "#b4bcc6", "edgecolor": "white", "linewidth": 0.8}


def places(bins, narrowest=0.004):
    """Left end and width of each bar; bins of equal mass may be too narrow to be seen."""
    width = np.maximum(bins.upper - bins.lower, narrowest)
    return bins.upper - width, width
