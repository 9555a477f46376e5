"""CalibratorSelector: a pool of the output maps that prove themselves out of fold."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import isfunction, signature
from numbers import Real
from operator import attrgetter

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import get_scorer, get_scorer_names

from .._judging.paired import student_below_zero
from .._judging.splits import folds_of_rows
from .._pooling.candidates import maps_for, tried_places
from .._pooling.pool import Pool, learn_pool, try_out
from .._utils.arrays import to_numpy
from .._utils.docstrings import with_shared_docs
from .._utils.metadata import of_rows, routing_enabled
from .._utils.outputs import SOFTMAX
from .._utils.parallel import N_JOBS
from .._utils.parameters import N_FOLDS, Choices, by_name
from .._utils.warnings import warn_caller
from ..base import BaseCalibrator
from ..base._scores import FEW_PLACES
from ..base._tags import MapTags
from ..clamping import NeuralClampingCalibrator
from ..exceptions import CalibrationSetWarning
from ..metrics._metric import facts_of
from ..scaling import CovariateScaling, TemperatureScaling
from ._candidates import check_bare


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class CalibratorSelector(BaseCalibrator):
    """Pools output maps, each at the weight that it earns out of fold beyond temperature scaling.

    The network's logits are computed once. Every candidate is fitted without each fold in turn, and asked for the
    log-probabilities l_j of the samples of that fold. The pool is ``softmax(l_0 + sum_j w_j (l_j - l_0))`` with w of at
    least 0 and a sum of at most 1. l_0 is temperature scaling. The weights minimise the total negative log-likelihood
    (NLL) out of fold plus a price, ``sum_j c_j w_j``. The price of a candidate is 3 nats or, if that is more, two
    standard deviations of its gain where nothing is to be gained. Of two classes it is one and a half deviations. So
    what helps comes in smoothly. Where nothing earns its price the weights of all others are exactly 0, and the result
    is temperature scaling to the bit. What was chosen is then fitted to all the samples.

    Samples that depend on each other, of equal inputs and labels or of one of the ``groups`` that `fit` takes, share a
    fold, and so do the labels or places of a sample. They count for less the more their gains agree, by their design
    effect (Kish): copies as one, as equal logits that are given in the inputs' place are, unless their labels differ
    as those of independent samples do, such as of votes.
    Labels that are 0 in all samples, or 1 in all, more than chance explains, teach the weights nothing.
    Probabilities of exactly 0, such as those of a class for which no tree of a forest votes, tell only that they are
    less than the least that isn't 0. Half of that stands for them, in all that the candidates see.

    Parameters
    ----------
    {estimator}
    candidates : sequence of (str, BaseCalibrator), default=None
        Names and output maps, none of which has an estimator of its own; clones of them are fitted. Neural clamping,
        which perturbs inputs, is none: `compare_calibrators` has it beside them. None is `default_candidates()`,
        without "beta" where logits are -inf, as of classes that a sample doesn't have. The first plain
        `TemperatureScaling` of default bounds among the candidates is the base; where there is none, "temperature
        scaling" is added at the end.
    scoring : str, callable or None, default=None
        None pools by the NLL. With a scorer ``(calibrator, logits, y) -> float``, greater is better, or scikit-learn's
        name for one, the single candidate of the best mean score is taken, if it beats temperature scaling by more than
        one standard error of the folds' paired scores. Logits and y are arrays, y of column indices. Where `fit` is
        given weights, a scorer must take those of its samples as ``sample_weight``; with scikit-learn's metadata
        routing it gets what it requests.
    n_folds : int, default=5
        Folds, at least 2: not stratified by class, since class frequencies that all folds shared would flatter maps
        that learn them. Dependent samples kept together, drawn the same way whatever the order of the samples.
    n_jobs : int, default=None
        Number of fits to run at a time, in threads that share the logits and divide torch's own. None means 1 unless in
        a `joblib.parallel_config` of threads, -1 all processors.
    {shared_parameters}

    Attributes
    ----------
    best_estimator_ : BaseCalibrator
        The pool, fitted to the logits of all the samples (of probabilities, the logarithms); with `scoring`, the
        candidate that was taken.
    best_score_ : float
        Its mean score out of fold (the negative mean NLL, unless `scoring` says otherwise). The same folds gave the
        weights: it is a little optimistic.
    weights_ : ndarray of shape (n_candidates,)
        What each candidate weighs, temperature scaling too, the last where none was among them. They sum to 1.
    cv_results_ : dict of arrays
        As GridSearchCV's, one row per candidate: ``params``, ``param_candidate``, ``n_parameters``,
        ``split*_test_score``, ``mean_test_score``, ``std_test_score`` and ``rank_test_score``. A fold counts by the
        weight of its samples. ``n_parameters`` counts what the samples set, the knots and heights of a nonparametric
        map too. ``mean_test_gain`` is the mean score less temperature scaling's. ``price`` is what a unit of a
        candidate's weight costs, in nats of the total NLL of ``n_effective`` samples, as many independent ones as tell
        as much of it. These three without `scoring` alone. Absent, with `best_score_`, where nothing could be held out.
    {shared_attributes}

    Raises
    ------
    ValueError, TypeError
        If `candidates` is empty, repeats a name, or holds something else than output maps without an estimator. If a
        score isn't a finite number, or a scorer takes no weights where there are some.

    Warns
    -----
    CalibrationSetWarning
        If there are no two distinct samples, so that nothing can be held out: temperature scaling is taken.

    See Also
    --------
    default_candidates : The list that is used when none is given.

    Notes
    -----
    Time: each candidate is fitted ``n_folds`` times, and again if it is used. Memory: the candidates' log-probabilities
    of all samples at once, in the precision of the logits.

    References
    ----------
    D. H. Wolpert, "Stacked generalization", Neural Networks 5, 1992. L. Breiman, "Better subset regression using the
    nonnegative garrote", Technometrics 37, 1995. L. Kish, "Survey Sampling", Wiley, 1965.

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import CalibratorSelector, TemperatureScaling, VectorScaling
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 3))
    >>> y = (logits / 2.0 + np.array([0.0, 1.0, 2.0]) + rng.gumbel(size=logits.shape)).argmax(axis=1)
    >>> candidates = [("temperature", TemperatureScaling()), ("vector", VectorScaling())]
    >>> CalibratorSelector(candidates=candidates).fit(logits, y).weights_.round(1)
    array([0., 1.])
    """

    candidates: Sequence[tuple[str, BaseCalibrator]] | None = None
    scoring: str | Callable | None = None
    n_folds: int = 5
    n_jobs: int | None = None

    _parameter_constraints = {
        "candidates": ["array-like", None],
        "scoring": [Choices(*get_scorer_names()), callable, None],
        "n_folds": N_FOLDS,
        "n_jobs": N_JOBS,
    }

    _tags = MapTags(group="selected", held_out="in the folds that chose it")

    map_ = property(attrgetter("best_estimator_.map_"))

    def _routed_to(self, groups=None):
        return {**super()._routed_to(groups), "scorer": get_scorer(self.scoring)}

    def _validate_params(self):
        super()._validate_params()
        _check_scorer(self.scoring)
        candidates = {} if self.candidates is None else by_name(self.candidates, "candidates")
        for name, calibrator in candidates.items():
            check_bare(name, calibrator, "candidates")
            if isinstance(calibrator, (NeuralClampingCalibrator, CovariateScaling)):
                raise TypeError(
                    "candidates must be maps of the output, since logits alone are given to them: what perturbs inputs "
                    f"or takes covariates is for compare_calibrators; got {calibrator!r} for {name!r}"
                )
            if getattr(calibrator, "label_noise", None):
                raise ValueError(
                    "candidates must have label_noise=None, since they are judged by the labels as they are given; got "
                    f"{calibrator!r} for {name!r}"
                )

    def _fit(self, samples, looked):
        everywhere = samples.rows(in_units=True)
        told = samples.metadata.score
        if "sample_weight" in told and not routing_enabled():
            told = {"sample_weight": everywhere.weight.cpu().numpy()}
            _check_takes_weights(get_scorer(self.scoring))
        rows = samples.rows(tried_places(len(samples.weight)), in_units=True)
        self._select(everywhere, rows, samples.outputs, told)
        # It was fitted to raised logits, and takes others.
        self.best_estimator_.least_probability_ = self.least_probability_
        loss = -self.best_score_ if self.scoring is None and hasattr(self, "best_score_") else None
        some = samples.rows(FEW_PLACES)
        if samples.parts is not None:
            self._judge_parts(samples.parts, some)
        return some, None, loss

    def _select(self, everywhere, rows, outputs, told):
        """Fit, score and choose; scorers are `told` what they request or, without routing, weights."""
        if outputs != SOFTMAX and self.scoring is not None:
            raise ValueError(
                "scoring must be None where y has several labels or places a sample, whose maps are pooled by NLL; got "
                f"{self.scoring!r}"
            )
        weight = rows.weight.cpu()
        given = by_name(self.candidates, "candidates").items() if self.candidates else maps_for(rows, outputs)
        names, maps = zip(*given, strict=True)
        base = next((row for row, map_ in enumerate(maps) if _is_temperature_scaling(map_)), None)
        if base is None:
            names, maps, base = (*names, "temperature scaling"), (*maps, TemperatureScaling()), len(maps)
        self._names = list(names)
        numbers = folds_of_rows(rows, self.n_folds)
        if not numbers.any():
            self.best_estimator_ = maps[base]._fitted_to(everywhere, outputs)
            self.weights_ = np.eye(len(maps))[base]
            warn_caller(
                "the calibration set has no two distinct samples (or groups) with weight, of which one could be held "
                "out: temperature scaling is taken unseen",
                CalibrationSetWarning,
            )
            return
        trial = try_out(maps, rows, outputs, numbers, verbose=self.verbose, desc="out of fold", n_jobs=self.n_jobs)
        shares = np.array([float(weight[fold].sum()) for fold in trial.folds]) / float(weight.sum())
        if self.scoring is not None:
            scores = _scores(trial, get_scorer(self.scoring), told, rows)
            found = {}
            best = int((scores @ shares).argmax())
            gain, error, _ = student_below_zero(scores[best] - scores[base], shares)
            best = best if gain > error else base
            self.best_estimator_ = maps[best]._fitted_to(rows, outputs)
            self.best_score_ = float(scores[best] @ shares)
            self.weights_ = np.eye(len(maps))[best]
        else:
            pooled = learn_pool(trial, names, maps, base, rows, outputs, everywhere)
            losses = trial.losses(rows.y)
            means = [np.average(losses[:, fold.numpy()], axis=1, weights=weight[fold]) for fold in trial.folds]
            scores = -np.array(means).T
            self.best_estimator_ = pooled.pool
            self.weights_ = pooled.weights
            self.best_score_ = -float(np.average(pooled.losses, weights=weight))
            found = {
                "mean_test_gain": (scores - scores[base]) @ shares,
                "price": pooled.prices,
                "n_effective": pooled.totals,
            }
        means = scores @ shares
        # In the form of GridSearchCV's.
        self.cv_results_ = {
            "params": [{"candidate": name} for name in names],
            "param_candidate": np.ma.array(names, dtype=object),
            "n_parameters": np.array(trial.n_parameters),
            **{f"split{k}_test_score": scores[:, k] for k in range(scores.shape[1])},
            "mean_test_score": means,
            "std_test_score": np.sqrt((scores - means[:, None]) ** 2 @ shares),
            "rank_test_score": rankdata(-means, method="min").astype(np.int32),
            **found,
        }

    def _sentences(self):
        chosen = self.best_estimator_
        if not isinstance(chosen, Pool):
            yield f"{type(self).__name__} took {self._names[int(self.weights_.argmax())]!r}."
            yield from chosen._sentences()
            return
        yield (
            f"{type(self).__name__} pooled {chosen.in_words()}, by {self._n_samples:,} samples; "
            f"T = {chosen.temperature_:.4g}."
        )
        yield from chosen._of_missing_classes()


def _is_temperature_scaling(calibrator):
    """Return whether it is plain, of default bounds."""
    is_one = isinstance(calibrator, TemperatureScaling)
    return is_one and calibrator.gamma == 0 and tuple(calibrator.bounds) == TemperatureScaling.bounds


def _scores(trial, scorer, metadata, rows):
    """Scores of each candidate (rows) on each fold (columns); metadata are what the scorer is told."""
    scores = np.empty((len(trial.log_proba), len(trial.folds)))
    for column, (fold, calibrators) in enumerate(zip(trial.folds, trial.fitted, strict=True)):
        held_out = rows.take(fold)
        told = of_rows(metadata, fold.numpy(), len(fold))
        X = to_numpy(held_out.logits)
        y = held_out.y.cpu().numpy()
        for row, calibrator in enumerate(calibrators):
            score = scorer(calibrator, X, y, **told)
            if not isinstance(score, Real) or not math.isfinite(score):
                raise ValueError(f"scoring must give a finite number; got {score!r}")
            scores[row, column] = score
    return scores


def _check_takes_weights(scorer):
    """Raise for a scorer that would fail on the first weights, when all candidates are fitted."""
    named = [] if scorer is None else signature(getattr(scorer, "_score_func", scorer)).parameters.values()
    if named and not any(each.name == "sample_weight" or each.kind is each.VAR_KEYWORD for each in named):
        raise TypeError(f"scoring must take sample_weight, since weights are given; got {scorer!r}")


def _check_scorer(scoring):
    """Raise for a metric, which takes labels and probabilities, where a scorer has to go."""
    metric = scoring.func if isinstance(scoring, partial) else scoring
    if not isfunction(metric) or next(iter(signature(metric).parameters), None) != "y_true":
        return
    maker = "skclamp.metrics.make_calibration_scorer" if facts_of(metric) else "sklearn.metrics.make_scorer"
    raise TypeError(f"scoring must be a scorer; got {metric.__name__}, a metric: use {maker}({metric.__name__}, ...)")
