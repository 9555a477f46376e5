"""NeuralClampingCalibratorCV: neural clamping over a grid, in the manner of LogisticRegressionCV."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from sklearn.model_selection import check_cv

from .._backbones.opening import is_frozen
from .._judging.splits import check_partition
from .._utils.docstrings import with_shared_docs
from .._utils.parameters import check_grid
from ..perturbations._words import title_of
from ._base import BaseClamping
from ._calibrator import GAMMA_RULE, NeuralClampingCalibrator
from ._splits import look_for_torn_copies, merged
from ._state import Settings

# Parameters of the CV form, and what each of their values is to a single calibrator.
_GRIDS = {"perturbations": "perturbation", "penalties": "penalty", "lrs": "lr", "gammas": "gamma"}


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class NeuralClampingCalibratorCV(BaseClamping):
    """Neural clamping with gamma, penalty, learning rate and family chosen by cross-validation.

    Does what a `GridSearchCV` over `NeuralClampingCalibrator` does, and shares what its candidates have in common:
    logits, and the way to the optimum, on which candidates of one family go on from each other. The best candidate's
    held-out losses also serve as the guard: it must beat temperature scaling, and the more candidates there were the
    more clearly.

    Parameters
    ----------
    {estimator}
    perturbations : sequence of str, torch.nn.Module or None, default=("auto",)
        Families, see `NeuralClampingCalibrator`.
    gammas : sequence of float, default=(0.0, 0.5, 1.0, 2.0)
        Focusing parameters of the focal loss.
    penalties : sequence of float, default=(0.0,)
        Weights of the perturbation's norm.
    lrs : sequence of float or "auto", default=("auto",)
        Learning rates, see `NeuralClampingCalibrator`.
    cv : int, cross-validation generator or iterable, default=3
        Folds, stratified where an int is given; each sample must be held out once. A classifier that isn't fitted is
        cross-fitted on the same folds. Splitters that go by ``groups`` get those that `fit` is given; with
        scikit-learn's metadata routing a splitter gets what it requests.
    {max_views, device, random_state}

    Attributes
    ----------
    cv_results_ : dict
        As GridSearchCV's: ``params``, ``param_*``, ``split*_test_score``, ``mean_test_score``, ``std_test_score`` and
        ``rank_test_score``; scores are negative mean NLLs. Candidates share their work, so there are no times.
    best_index_ : int
        The row with the best mean score.
    best_params_ : dict
        Its parameters.
    best_score_ : float
        Its mean score.
    {estimator_, temperature_, perturbation_, delta_, accepted_, verdict_, unlabelled_verdict_,
    views_, view_weights_, views_verdict_, output_, module_, classes_, n_features_in_, history_, n_iter_, cost_}

    Other Parameters
    ----------------
    {views}
    {output, verbose}
    {loss_eps, init, init_scale, init_temperature, refit_temperature, optimizer}
    {max_epochs, shuffle, callbacks}
    {response, outputs, classes, input_key, integer_scale, ignore_index, least_probability}
    {precision, batch_size}

    Raises
    ------
    ValueError, TypeError
        As `NeuralClampingCalibrator`; and where a grid is empty or holds a value that breaks a rule.

    See Also
    --------
    NeuralClampingCalibrator : One setting.

    References
    ----------
    .. [1] Y.-C. Tang, P.-Y. Chen and T.-Y. Ho, "Neural Clamping: Joint Input Perturbation and Temperature Scaling for
       Neural Network Calibration", TMLR 2024.

    Examples
    --------
    >>> import torch
    >>> from sklearn.datasets import make_classification
    >>> from skclamp import NeuralClampingCalibratorCV
    >>> X, y = make_classification(600, n_informative=6, n_classes=3, random_state=0)
    >>> X = X.astype("float32")
    >>> _ = torch.manual_seed(0)
    >>> network = torch.nn.Sequential(torch.nn.Linear(20, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
    >>> search = NeuralClampingCalibratorCV(network, perturbations=["affine"], gammas=[0, 1], random_state=0).fit(X, y)
    >>> sorted(search.best_params_)
    ['gamma', 'lr', 'penalty', 'perturbation']
    """

    perturbations: Sequence = ("auto",)
    gammas: ArrayLike = (0.0, 0.5, 1.0, 2.0)
    penalties: ArrayLike = (0.0,)
    lrs: Sequence[float | str] = ("auto",)
    cv: object = 3

    _parameter_constraints: ClassVar[dict] = {name: ["array-like"] for name in _GRIDS}

    _inputs_stay, _guarded, _is_auto, _gradients_may_prove = False, True, False, False

    def _routed_to(self, groups=None):
        return {"splitter": self.cv, "guard": self.cv, **super()._routed_to(groups)}

    def _candidates(self):
        """The grid, checked, in an order in which neighbours resemble each other."""
        rules = {**NeuralClampingCalibrator._parameter_constraints, "gamma": [GAMMA_RULE]}
        for values, name in _GRIDS.items():
            check_grid(getattr(self, values), values, rules[name], type(self).__name__)
        grid = itertools.product(*(getattr(self, name) for name in _GRIDS))
        rows = [dict(zip(_GRIDS.values(), values, strict=True)) for values in grid]
        return [Settings.of(self, **row, features=row["perturbation"] in ("auto", "norm")) for row in rows]

    @property
    def _draws_folds(self):
        """Return whether folds are drawn at random, not the user's."""
        return isinstance(self.cv, Integral) and is_frozen(self.estimator)

    def _splits_for(self, problem, candidates):
        drawn = self._draws_folds
        problem = merged(problem) if drawn else problem
        splits = problem.backbone.splits
        if splits is None:
            y_encoded = problem.y_encoded.cpu().numpy()
            folds = check_cv(self.cv, y_encoded, classifier=True)
            if isinstance(self.cv, Integral) and problem.units is not None:
                # Copies, and groups, follow the first of them.
                _, first, place = np.unique(problem.units, return_index=True, return_inverse=True)
                parts = folds.split(first, y_encoded[first])
                splits = [tuple(np.flatnonzero(np.isin(place, part)) for part in split) for split in parts]
            else:
                splits = list(folds.split(y_encoded, y_encoded, **problem.split_params))
            check_partition([rows for _, rows in splits], len(problem))
        # In the order of the samples, as processes that share them need it.
        splits = [tuple(map(np.sort, split)) for split in splits]
        if not drawn:
            look_for_torn_copies(problem, [splits], "cv")
        return problem, [splits]

    def _search_all(self, starts, learner, unheard):
        # The grid's scores are asked for, whatever they are worth.
        found = super()._search_all(starts, learner, None)
        evidence = found[1].evidence
        self.cv_results_ = _results(self._candidates(), -evidence.by_fold(evidence.losses))
        self.best_index_ = evidence.best()
        self.best_params_ = self.cv_results_["params"][self.best_index_]
        self.best_score_ = float(self.cv_results_["mean_test_score"][self.best_index_])
        return found if unheard is None else super()._search_all(starts, learner, unheard)

    def _sentences(self):
        yield from super()._sentences()
        best = {**self.best_params_, "perturbation": title_of(self.best_params_["perturbation"])}
        yield f"The best of the grid was {', '.join(f'{name} {value}' for name, value in best.items())}."


def _results(candidates, scores):
    """Return held-out scores of a grid in the form of GridSearchCV's ``cv_results_``."""
    params = [{name: getattr(settings, name) for name in _GRIDS.values()} for settings in candidates]
    # Numpy itself would take an nn.Sequential apart.
    columns = {f"param_{name}": np.ma.empty(len(params), dtype=object) for name in _GRIDS.values()}
    for k, row in enumerate(params):
        for name, value in row.items():
            columns[f"param_{name}"][k] = value
    return {
        **columns,
        "params": params,
        **{f"split{k}_test_score": scores[:, k] for k in range(scores.shape[1])},
        "mean_test_score": scores.mean(1),
        "std_test_score": scores.std(1),
        "rank_test_score": rankdata(-scores.mean(1), method="min").astype(np.int32),
    }
