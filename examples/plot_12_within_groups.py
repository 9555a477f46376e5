"""
Four hospitals, one score
=========================

A score of illness is too high in one hospital and too low in another. One map for all of them is right on the mean and
wrong in each. You see reliability by hospital: uncalibrated, behind one Platt map, and behind ``CovariateScaling``,
which learns a gain and an offset for each.
"""

# %%
# Four sites that read the same score differently
# -----------------------------------------------
# The score is a logit of illness. Labels are drawn with a gain and an offset that the site decides. Half of the
# patients calibrate, and the others judge.

import numpy as np
import pandas as pd
from scipy.special import expit

rng = np.random.default_rng(0)
n_samples = 8000
site = rng.choice(["north", "east", "south", "west"], n_samples, p=[0.4, 0.3, 0.2, 0.1])
score = rng.normal(scale=2.5, size=n_samples)
gain = pd.Series(site).map({"north": 0.3, "east": 0.5, "south": 0.8, "west": 0.8})
offset = pd.Series(site).map({"north": 1.0, "east": -1.0, "south": 0.0, "west": -2.0})
y = (rng.random(n_samples) < expit(gain * score + offset)).astype(int)

frame = pd.DataFrame({"score": score, "site": site})
cal, test = frame[:4000], frame[4000:]
y_cal, y_test = y[:4000], y[4000:]

# %%
# One map for all, and a map that knows the site
# ----------------------------------------------
# Columns that are no covariates hold the logit.

from skclamp import CovariateScaling, PlattScaling

platt = PlattScaling().fit(cal[["score"]], y_cal)
within = CovariateScaling(covariates=["site"]).fit(cal, y_cal)
print(within.summary())

# %%
# Gains and offsets of the sites, which are close to what the labels were drawn with.

print(within.group_maps_[["category", "gain", "offset"]].round(1).to_string(index=False))

# %%
# Reliability by site
# -------------------
# A line for each site, and one for all samples. One Platt map brings the line of all to the diagonal and leaves the
# sites beside it. ``CovariateScaling`` brings them all there.

from skclamp.display import ReliabilityDisplay

ways = {
    "uncalibrated": expit(test["score"].to_numpy()),
    "one Platt map": platt.predict_proba(test[["score"]])[:, 1],
    "CovariateScaling": within.predict_proba(test)[:, 1],
}
for name, proba in ways.items():
    ReliabilityDisplay.from_predictions(y_test, proba, by=test["site"], n_bins=10, name=name)

# %%
# What it is worth
# ----------------
# The mean distance between confidence and frequency in a site, and the NLL of all patients.

from skclamp.metrics import group_calibration_error, negative_log_likelihood

distance, nll = {}, {}
for name, proba in ways.items():
    distance[name] = group_calibration_error(y_test, proba, by=test["site"])
    nll[name] = negative_log_likelihood(y_test, proba)
    print(f"{name:16}  within sites {distance[name]:.3f}, NLL {nll[name]:.3f}")
