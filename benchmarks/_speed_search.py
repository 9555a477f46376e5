"""NeuralClampingCalibratorCV against GridSearchCV over the same grid and folds: time, choice and scores."""

import numpy as np
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from _relative_time import least, measure, plain_pass
from skclamp import NeuralClampingCalibrator, NeuralClampingCalibratorCV
from skclamp.metrics import neg_log_likelihood_scorer

GAMMAS = (0.0, 0.5, 1.0, 2.0)
FAMILIES = ("affine", "color")
N_FOLDS = 3
# GridSearchCV's candidates without a guard, as NeuralClampingCalibratorCV compares them, and as they are by default.
GUARDS = {"GridSearchCV, no guard": None, "GridSearchCV, guard": 0.5}


def search_rows(network, images, labels, shift):
    """A row for our search and for each grid search; "factor" is the row's processor time over our search's."""
    X = images.numpy()
    folds = list(StratifiedKFold(N_FOLDS, shuffle=True, random_state=0).split(X, labels))
    one_pass = least(*(plain_pass(network, images) for _ in range(3)))
    searches = {"NeuralClampingCalibratorCV": our_search(network, folds)}
    searches.update({name: grid_search(network, folds, fraction) for name, fraction in GUARDS.items()})
    ours = None
    for name, search in searches.items():
        _, spent = measure(lambda search=search: search.fit(X, labels))
        ours = ours or (search, spent)
        relative = spent.over(one_pass)
        yield {
            "part": "search",
            "shift": shift,
            "what": name,
            "precision": "auto",
            "relative_time": relative.wall,
            "relative_cpu": relative.cpu,
            "factor": spent.over(ours[1]).cpu,
            **agreement(search, ours[0]),
        }


def our_search(network, folds):
    return NeuralClampingCalibratorCV(network, perturbations=FAMILIES, gammas=GAMMAS, cv=folds, random_state=0)


def grid_search(network, folds, validation_fraction):
    calibrator = NeuralClampingCalibrator(network, validation_fraction=validation_fraction, random_state=0)
    grid = {"gamma": GAMMAS, "perturbation": FAMILIES}
    return GridSearchCV(calibrator, grid, scoring=neg_log_likelihood_scorer, cv=folds)


def agreement(search, ours):
    """What a search chose, how clearly, and how far its scores are from those of ours.

    "lead" is by how many paired standard errors over the folds the best candidate beats the second.
    """
    scores, our_scores = fold_scores(search.cv_results_), fold_scores(ours.cv_results_)
    best, second = sorted(scores, key=lambda candidate: -scores[candidate].mean())[:2]
    our_best = max(our_scores, key=lambda candidate: our_scores[candidate].mean())
    gains = scores[best] - scores[second]
    error = gains.std(ddof=1) / np.sqrt(len(gains))
    return {
        "choice": "{}, gamma={}".format(*best),
        "lead": gains.mean() / error if gains.any() else 0.0,
        "same_choice": int(best == our_best),
        "score_difference": max(abs(scores[c].mean() - our_scores[c].mean()) for c in scores),
    }


def fold_scores(results):
    """Scores on each fold of each candidate, (family, gamma)."""
    columns = np.array([results[f"split{k}_test_score"] for k in range(N_FOLDS)]).T
    return {
        (params["perturbation"], params["gamma"]): row for params, row in zip(results["params"], columns, strict=True)
    }
