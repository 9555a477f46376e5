"""
A skorch net in a pipeline
==========================

skorch makes a torch network a scikit-learn estimator. You see the three ways to calibrate one that sits behind a
scaler: around the fitted pipeline, around an unfitted one, which is then cross-fitted, and as the last step.
"""

# %%
# A scaler and a net
# ------------------
# skorch gets the network's class rather than a network. A network would keep its weights when the net is cloned, and
# what is trained anew below would start from what it has seen already.

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch import NeuralNetClassifier
from torch import nn

X, y = load_digits(return_X_y=True)
X = X.astype("float32")
X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=400, stratify=y, random_state=0)
X_cal, X_test, y_cal, y_test = train_test_split(X_rest, y_rest, train_size=500, stratify=y_rest, random_state=0)


class Reader(nn.Sequential):
    """Logits of the ten digits from 64 pixels."""

    def __init__(self):
        super().__init__(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))


torch.manual_seed(0)
net = NeuralNetClassifier(
    Reader,
    criterion=nn.CrossEntropyLoss,
    optimizer=torch.optim.Adam,
    lr=0.003,
    max_epochs=40,
    batch_size=32,
    train_split=None,
    verbose=0,
)
pipeline = make_pipeline(StandardScaler(), net).fit(X_train, y_train)

# %%
# Around the fitted pipeline
# --------------------------
# A fitted pipeline is taken as it is, and learns nothing any more; the calibrator sees only its probabilities.

from skclamp import TemperatureScaling

around = TemperatureScaling(pipeline).fit(X_cal, y_cal)
print(f"T = {around.temperature_:.2f}")

# %%
# Around an unfitted one
# ----------------------
# ``clone`` makes it unfitted. Then scaler and net are trained here: once for each of three folds, whose held-out
# probabilities the temperature is fitted to, and once on all the digits, to predict with. No digit is lost to
# calibration, at the price of four trainings.

import numpy as np
from sklearn.base import clone

X_known, y_known = np.concatenate([X_train, X_cal]), np.concatenate([y_train, y_cal])
cross_fitted = TemperatureScaling(clone(pipeline), cv=3).fit(X_known, y_known)
print(f"T = {cross_fitted.temperature_:.2f}")

# %%
# As the last step
# ----------------
# The calibrator can also stand where the net stood. Around the net itself it sees logits, and inputs with gradients,
# which neural clamping needs. Fitting this pipeline leaves the trained net as it is; the scaler has to be frozen, so
# that it goes on scaling as the net is used to.

from sklearn.frozen import FrozenEstimator

from skclamp import NeuralClampingCalibrator

scaler, trained = pipeline.named_steps.values()
last = make_pipeline(FrozenEstimator(scaler), NeuralClampingCalibrator(trained, random_state=0)).fit(X_cal, y_cal)
print("perturbation kept:", last[-1].accepted_)

# %%
# Side by side
# ------------
# All three are classifiers as any other. The cross-fitted one has had more digits to learn from, and is right more
# often.

import matplotlib.pyplot as plt

from skclamp.metrics import neg_log_likelihood_scorer

ways = {"uncalibrated": pipeline, "around, fitted": around, "around, cross-fitted": cross_fitted, "last step": last}
figure, ax = plt.subplots(figsize=(6, 2.5), layout="constrained")
for name, classifier in ways.items():
    nll = -neg_log_likelihood_scorer(classifier, X_test, y_test)
    ax.barh(name, nll, color="#b4bcc6" if name == "uncalibrated" else "#3a6ea5")
    ax.text(nll, name, f" {nll:.3f}, {100 * classifier.score(X_test, y_test):.1f} % right", va="center")
ax.invert_yaxis()
ax.margins(x=0.5)
ax.set_xlabel("negative log-likelihood on test digits (less is better)")
ax.spines[["top", "right"]].set_visible(False)
