"""
Choosing gamma by GridSearchCV
==============================

Neural clamping trains with a focal loss, whose ``gamma`` rewards uncertainty. A calibrator is a scikit-learn estimator,
so GridSearchCV can choose ``gamma``, or anything else. You see what it does to the probabilities, how an exact last
solve of the temperature makes the choice harmless, and the quicker way to search.
"""

# %%
# A network, and pictures in an evening light that it wasn't trained for.

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from torch import nn

X, y = load_digits(return_X_y=True)
X = (X / 16).astype("float32").reshape(-1, 1, 8, 8)
X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=800, stratify=y, random_state=0)
evening = X_rest / 3 + 0.3
X_cal, X_test, y_cal, y_test = train_test_split(evening, y_rest, train_size=300, stratify=y_rest, random_state=0)

torch.manual_seed(0)
network = nn.Sequential(
    nn.Conv2d(1, 16, kernel_size=3, stride=2, padding=1),
    nn.ReLU(),
    nn.Conv2d(16, 32, kernel_size=3, stride=2, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(128, 10),
)
optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
for _ in range(100):
    optimizer.zero_grad()
    nn.functional.cross_entropy(network(torch.from_numpy(X_train)), torch.from_numpy(y_train)).backward()
    optimizer.step()

# %%
# The search
# ----------
# A ``TorchTraining`` says how a torch optimiser trains, here Adam. With ``refit_temperature=False`` the temperature is
# what the focal loss made it; with True, the default, it is solved for again at the end, under the plain negative
# log-likelihood (NLL). ``validation_fraction=None`` leaves out the guard of each fit: the search holds data out itself.
# The scorer is ours since scikit-learn's ``"neg_log_loss"`` has no value where a fold misses a class.

from skclamp import NeuralClampingCalibrator, TorchTraining
from skclamp.metrics import neg_log_likelihood_scorer, negative_log_likelihood

gammas = [0, 1, 2, 4]
settings = {"perturbation": "affine", "training": TorchTraining(), "lr": 0.05}
search = GridSearchCV(
    NeuralClampingCalibrator(network, validation_fraction=None, random_state=0, **settings),
    {"training__refit_temperature": [True, False], "gamma": gammas},
    scoring=neg_log_likelihood_scorer,
    cv=3,
)
search.fit(X_cal, y_cal)
print("best:", search.best_params_)
print(f"test NLL: {negative_log_likelihood(y_test, search.predict_proba(X_test)):.3f}")

# %%
# The quicker way
# ---------------
# ``gamma="auto"`` takes the best of 0, 0.5, 1 and 2 on the folds of the guard, in one fit. The guard also judges the
# winner: it must beat temperature scaling, and the more clearly the more candidates there were.

from time import perf_counter

results, start = search.cv_results_, perf_counter()
quick = NeuralClampingCalibrator(network, perturbation="affine", gamma="auto", random_state=0).fit(X_cal, y_cal)
print(f"{perf_counter() - start:.1f} s for four gammas and the guard", end="; ")
print(f"GridSearchCV took {results['mean_fit_time'].sum() * search.n_splits_:.1f} s for {len(results['params'])}")
print(f"test NLL: {negative_log_likelihood(y_test, quick.predict_proba(X_test)):.3f}")
print("perturbation kept:", quick.accepted_)

# %%
# What gamma does
# ---------------
# Without the last solve a large ``gamma`` makes the network too unsure, and the NLL rises. With it, what ``gamma``
# still changes is less than the standard deviation between folds, which the bands show: nothing to lose sleep over.

import matplotlib.pyplot as plt

figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
for refit, style in {True: "o-", False: "s--"}.items():
    rows = results["param_training__refit_temperature"].astype(bool) == refit
    nll, spread = -results["mean_test_score"][rows], results["std_test_score"][rows]
    color = "#1d3f66" if refit else "#c4561e"
    ax.plot(gammas, nll, style, color=color, label=f"refit_temperature={refit}")
    ax.fill_between(gammas, nll - spread, nll + spread, color=color, alpha=0.15, linewidth=0)
ax.set(xlabel="gamma", ylabel="NLL on held-out folds", ylim=(0, None))
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False)
