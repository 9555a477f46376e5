"""CalibratorSelector: the output map that does best out of fold, or a stack of several."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from inspect import isfunction, signature
from numbers import Integral
from typing import ClassVar

import numpy as np
import torch
from scipy.stats import rankdata
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import get_scorer, get_scorer_names

from .._judging.paired import Contest, n_effective, of_groups
from .._judging.splits import copies_of, draw_folds
from .._utils.docstrings import with_shared_docs
from .._utils.metadata import calls, routing_enabled
from .._utils.parameters import Choices, did_you_mean
from .._utils.progress import progress_bar
from .._utils.sklearn_private import Interval
from .._utils.warnings import warn_caller
from ..base import BaseCalibrator
from ..base._scores import Mapped
from ..clamping._base import BaseClamping
from ..distributed import ALONE
from ..exceptions import CalibrationSetWarning
from ..metrics._metric import facts_of
from ..scaling import IntraOrderPreservingCalibration, TemperatureScaling
from ._candidates import check_bare, default_candidates, takers
from ._trial import LabelledLogits, Stack, Trial

# The package's scorers, which are objects, by what their names are cut short to.
_OURS = {
    "nll": "skclamp.metrics.neg_log_likelihood_scorer",
    "brier": "skclamp.metrics.neg_brier_score_scorer",
    "ece": "skclamp.metrics.neg_expected_calibration_error_scorer",
}
# The same, by the metrics' names.
_SCORERS = {
    "negative_log_likelihood": _OURS["nll"],
    "brier_score": _OURS["brier"],
    "expected_calibration_error": _OURS["ece"],
}


class _ScorerNames(Choices):
    """scikit-learn's names of scorers, which are too many to be listed."""

    def __str__(self):
        return f"a scorer of this package ({', '.join(_OURS.values())}), a str of sklearn.metrics.get_scorer_names()"

    def meant_by(self, value):
        ours = [scorer for name, scorer in _OURS.items() if name in str(value).lower()]
        return f" Did you mean {ours[0]}?" if ours else did_you_mean(value, self.choices)


# What the stack is called among the candidates, as it is and with a map that follows it.
_STACKS = ("stack", "recalibrated stack")
# How many misclassified samples each parameter takes that nothing but the samples holds: the classifier's right answers
# are alike, and say hardly more than one would. Logistic regressions need 5 to 10 events per parameter (Vittinghoff and
# McCulloch, 2007).
_MIN_MISSES = 5
# Standard errors by which the best must beat temperature scaling where fewer samples than this are misclassified, or of
# other classes than the most frequent one: they decide the gain, and so few are alike by chance. Elsewhere it is one.
# Chosen by how often and how far a map was taken that is worse than temperature scaling, where none is better, as by
# ``benchmarks/selecting.py --records null-3 null-10 null-rare --size 200`` (and 100, 300, 500, 1000), against what is
# lost on its other records (docs/guide/choosing.rst).
_N_ERRORS_OF_FEW = {10: 3.0, 60: 2.0}
# With fewer samples of other classes than the most frequent one no number of standard errors is safe: nothing leaves
# temperature scaling.
_MIN_OTHERS = 20
# Of more logits our order-preserving networks, which take most of the time, end at this tolerance: to go on to their
# own gains nothing on other samples. So coarse a search needs no more than float32 tells, in two thirds of the time.
_MANY_LOGITS, _TOLERANCE_OF_MANY = 1 << 18, 1e-6


def _bearable_candidates(samples):
    """The default ones, without free maps of more parameters than the misclassified samples bear."""
    n_classes, n_misses = samples.logits.shape[1], _effective(samples, _missed(samples))
    return [
        (name, calibrator)
        for name, calibrator in takers(default_candidates(), samples.logits)
        if n_misses >= _MIN_MISSES * n_classes * calibrator._n_per_class
    ]


def _missed(samples):
    return (samples.logits.argmax(1) != samples.y).cpu().numpy()


def _effective(samples, rows, copies=None):
    """Kish's number of some of the samples, copies counted once."""
    _, weight = of_groups(
        np.zeros(rows.sum()), samples.weight.cpu().numpy()[rows], copies if copies is None else copies[rows]
    )
    return float(n_effective(weight)) if weight.any() else 0.0


def _n_errors(samples, copies):
    """Standard errors by which the best must beat temperature scaling."""
    y = samples.y.cpu().numpy()
    others = y != np.bincount(y, samples.weight.cpu().numpy()).argmax()
    n_missed, n_others = (_effective(samples, rows, copies) for rows in (_missed(samples), others))
    if n_others < _MIN_OTHERS:
        return np.inf
    return next((n_errors for few, n_errors in _N_ERRORS_OF_FEW.items() if min(n_missed, n_others) < few), 1.0)


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class CalibratorSelector(BaseCalibrator):
    """Chooses among output maps the one that does best out of fold, or a stack of them where that does better still.

    The network's logits are computed once. Every candidate is fitted without each fold in turn, and judged on the
    samples of that fold. The stack adds up log-probabilities, ``softmax(sum_j weights_[j] * log p_j)``, with weights
    of at least 0 and the least negative log-likelihood (NLL) out of fold, drawn a little towards equal ones. A
    pool of calibrated maps isn't calibrated by itself, so that the stack competes a second time with an
    order-preserving map after it, fitted out of fold. Both are judged fold by fold as well, with weights and map
    learned from the other folds. What is chosen is then fitted to all the samples.

    On few samples the best of many is often so by chance. Where temperature scaling is among the candidates, the first
    of that class is chosen after all unless the best beats it by more than one standard error of their difference: of
    the samples' paired losses or, with another `scoring`, of the folds' paired scores. Where fewer than 60 samples are
    misclassified, or of other classes than the most frequent one, two standard errors are asked, and three where fewer
    than 10 are misclassified. Where fewer than 20 are of other classes than the most frequent one, nothing but
    temperature scaling is chosen, since three standard errors too are often passed by chance there. Samples of equal
    inputs share a fold, and count as one where their labels are equal too; so do samples of equal logits where the
    inputs aren't arrays or aren't given, unless the logits are those of votes. And by the NLL the better stack is
    chosen where it does so too and is within one standard error of the best: an average of maps that are nearly as good
    as each other is safer than any one of them.

    Probabilities of exactly 0, such as those of a class for which no tree of a forest votes, tell only that they are
    less than the least that isn't 0. Half of that stands for them, in all that the candidates see.

    Parameters
    ----------
    {estimator}
    candidates : sequence of (str, BaseCalibrator), default=None
        Names and output maps, none of which has an estimator of its own; clones of them are fitted. Neural clamping,
        which perturbs inputs, is none: `compare_calibrators` has it beside them. None is
        `default_candidates()`, of which "vector" and "beta", maps without a penalty, are left out where fewer than five
        samples a parameter are misclassified (Kish's effective number, where they have weights), and "beta" where
        logits are -inf, as of classes that a sample doesn't have. Of more than 2^18 logits "order-preserving" has
        ``tol=1e-6``, and so has the map after the stack. Candidates that are given all take part.
    scoring : str, callable or None, default=None
        What is best: a scorer ``(calibrator, logits, y) -> float``, greater is better, or scikit-learn's name for one;
        y holds column indices. None is the negative NLL. Where `fit` is given weights, a scorer must take those of its
        samples as ``sample_weight``; with scikit-learn's metadata routing it gets what it requests.
    stack : bool, default=True
        Whether the stack competes, as it is and recalibrated.
    one_standard_error : bool, default=False
        Take the fewest parameters among those that are worse than the best by no more than one such standard error, and
        better than temperature scaling by as much as is asked.
    n_folds : int, default=5
        Folds, at least 2: not stratified by class, since class frequencies that all folds shared would flatter maps
        that learn them; equal samples kept together, drawn the same way whatever the order of the samples.
    {shared_parameters}

    Attributes
    ----------
    best_index_ : int
        The row of `cv_results_` that was chosen; by the rules above its rank may be above 1.
    best_params_ : dict
        Its name, under "candidate"; "stack" or "recalibrated stack" for the stack.
    best_score_ : float
        Its mean score out of fold (the negative mean NLL, unless `scoring` says otherwise). The same folds chose it:
        of the best of many it is optimistic.
    best_estimator_ : BaseCalibrator
        The calibrator of that row, fitted to the logits of all the samples; of probabilities, the logarithms.
    weights_ : ndarray of shape (n_candidates,)
        Weights of the candidates' log-probabilities; only where a stack was chosen.
    cv_results_ : dict of arrays
        As GridSearchCV's, one row per candidate and the two stacks last: ``params``, ``param_candidate``,
        ``n_parameters``, ``split*_test_score``, ``mean_test_score``, ``std_test_score`` and ``rank_test_score``. A fold
        counts by the weight of its samples. ``n_parameters`` counts what the samples set, the knots and heights of a
        nonparametric map too. ``mean_test_gain`` is the mean score less temperature scaling's, and
        ``test_gain_standard_error`` the standard error of this paired difference; only where temperature scaling is
        among the candidates. `cv_results_` and `best_score_` are absent where nothing could be held out.
    {shared_attributes}

    Raises
    ------
    ValueError, TypeError
        If `candidates` is empty, repeats a name, or holds something else than output maps without an estimator; if a
        score isn't a finite number, or a scorer takes no weights where there are some.

    Warns
    -----
    CalibrationSetWarning
        If there are no two distinct samples, so that nothing can be held out: the candidate with the fewest
        parameters is taken.

    See Also
    --------
    default_candidates : The list that is used when none is given.

    Notes
    -----
    Time: each candidate and the map after the stack are fitted ``n_folds`` times, and again if they are used. Memory:
    the candidates' log-probabilities of all samples at once, in the precision of the logits, if the stack competes.

    References
    ----------
    D. H. Wolpert, "Stacked generalization", Neural Networks 5, 1992. L. Breiman, J. Friedman, R. Olshen and C. Stone,
    "Classification and Regression Trees", 1984, section 3.4.3 (one standard error). R. Ranjan and T. Gneiting,
    "Combining probability forecasts", Journal of the Royal Statistical Society B 72, 2010 (recalibrating a pool).

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import CalibratorSelector, TemperatureScaling, VectorScaling
    >>> rng = np.random.default_rng(0)
    >>> logits = rng.normal(scale=3.0, size=(1000, 3))
    >>> y = (logits / 2.0 + np.array([0.0, 1.0, 2.0]) + rng.gumbel(size=logits.shape)).argmax(axis=1)
    >>> candidates = [("temperature", TemperatureScaling()), ("vector", VectorScaling())]
    >>> selector = CalibratorSelector(candidates=candidates, stack=False).fit(logits, y)
    >>> selector.best_params_
    {'candidate': 'vector'}
    """

    candidates: Sequence[tuple[str, BaseCalibrator]] | None = None
    scoring: str | Callable | None = None
    stack: bool = True
    one_standard_error: bool = False
    n_folds: int = 5

    _parameter_constraints: ClassVar[dict] = {
        **BaseCalibrator._parameter_constraints,
        "candidates": ["array-like", None],
        "scoring": [_ScorerNames(*get_scorer_names()), callable, None],
        "stack": ["boolean"],
        "one_standard_error": ["boolean"],
        "n_folds": [Interval(Integral, 2, None, closed="left")],
    }

    _group = "selected"
    _held_out = "in the folds that chose it"

    def _router(self):
        router, scorer = super()._router(), self._scorer()
        return router if scorer is None else router.add(scorer=scorer, method_mapping=calls("fit", "score"))

    def _scorer(self):
        return None if self.scoring is None else get_scorer(self.scoring)

    def _validate_params(self):
        super()._validate_params()
        _check_scorer(self.scoring)
        if self.candidates is not None:
            _check_candidates(self.candidates)

    def _fit(self, samples):
        of_all, told = LabelledLogits(*samples.of_all()), samples.metadata.score
        if "sample_weight" in told and not routing_enabled():
            told = {"sample_weight": of_all.weight.cpu().numpy()}
            _check_takes_weights(self._scorer())
        has_inputs = self.estimator is not None and samples.shard.ranks is ALONE
        self._select(of_all, told, samples.X if has_inputs else None)
        # It was fitted to raised logits, and takes others.
        self.best_estimator_.least_probability_ = self.least_probability_
        loss = -self.best_score_ if self.scoring is None and hasattr(self, "best_score_") else None
        return Mapped(samples.logits, samples.logits, samples.y_encoded, samples.weight, loss)

    def _select(self, samples, told, X):
        """Fit, score and choose; scorers are `told` what they request or, without routing, weights; X tells copies."""
        logits, y = samples.logits, samples.y
        order_preserving = IntraOrderPreservingCalibration()
        names, maps = zip(*(self.candidates or _bearable_candidates(samples)), strict=True)
        if logits.numel() > _MANY_LOGITS:
            order_preserving.set_params(tol=_TOLERANCE_OF_MANY)
            order_preserving._most_wide = 0
            if self.candidates is None:
                maps = tuple(order_preserving if isinstance(map_, type(order_preserving)) else map_ for map_ in maps)
        log_proba, weight = torch.log_softmax(logits.double(), 1), samples.weight.cpu()
        copies = copies_of(log_proba, weight, X, votes=self.least_probability_ > 0)
        numbers = draw_folds(log_proba, y, weight, self.n_folds, copies)
        if not numbers.any():
            self._take_the_smallest(names, maps, samples)
            return
        stacks = self.stack and len(maps) > 1
        total = (numbers.max() + 1) * (len(maps) + stacks)
        with progress_bar(verbose=self.verbose, total=total, desc="out of fold", unit="fit") as bar:
            trial = Trial(maps, samples, numbers, order_preserving if stacks else None, bar)
        scores = trial.scores(self._scorer(), told)
        # Copies of several labels are several samples of one fold.
        alike = None if copies is None else copies * logits.shape[1] + y.cpu().numpy()
        n_errors = _n_errors(samples, alike)
        # The first map that is temperature scaling.
        baseline = next((row for row, map_ in enumerate(maps) if isinstance(map_, TemperatureScaling)), None)
        if self.scoring is None:
            contest = Contest(-trial.losses, trial.shares, baseline, n_errors, alike)
        else:
            contest = Contest(scores, trial.fold_shares, baseline, n_errors)
        if self.one_standard_error:
            best = contest.simplest(trial.n_parameters)
        else:
            # The stack's weights are those of the least NLL: of other scores it promises nothing.
            best = contest.best_average(trial.stacks) if self.scoring is None else contest.best()
        self.best_index_ = best
        self.cv_results_ = _results([*names, *_STACKS][: len(scores)], trial, scores, contest)
        self.best_params_ = self.cv_results_["params"][best]
        self.best_score_ = float(self.cv_results_["mean_test_score"][best])
        if best < len(maps):
            chosen = maps[best]
        else:
            self.weights_ = weights = trial.weights
            # Without any weight the stack says the same of all classes, and one map tells it how many there are.
            used = np.flatnonzero(weights) if weights.any() else [0]
            last = None if best == len(maps) else FrozenEstimator(trial.fit_recalibration(weights))
            chosen = Stack(calibrators=[maps[j] for j in used], weights=weights[used], last=last)
        self.best_estimator_ = samples.fit(chosen)

    def _take_the_smallest(self, names, maps, samples):
        fitted = [samples.fit(calibrator) for calibrator in maps]
        self.best_index_ = int(np.argmin([calibrator._n_parameters for calibrator in fitted]))
        self.best_estimator_ = fitted[self.best_index_]
        self.best_params_ = {"candidate": names[self.best_index_]}
        warn_caller(
            "the calibration set has no two distinct samples with weight, of which one could be held out: "
            f"{names[self.best_index_]!r}, which has the fewest parameters, is taken unseen",
            CalibrationSetWarning,
        )

    def _calibrated(self, logits):
        return self.best_estimator_._calibrated(logits)

    def _module_around(self, network):
        return self.best_estimator_._module_around(network)

    def _sentences(self):
        yield f"{type(self).__name__} chose {self.best_params_['candidate']!r}."
        yield from self.best_estimator_._sentences()

    @property
    def _n_parameters(self):
        return self.best_estimator_._n_parameters


def _check_scorer(scoring):
    """Raise for a metric, which takes labels and probabilities, where a scorer has to go."""
    metric = scoring.func if isinstance(scoring, partial) else scoring
    if not isfunction(metric) or next(iter(signature(metric).parameters), None) != "y_true":
        return
    name = metric.__name__
    maker = "skclamp.metrics.make_calibration_scorer" if facts_of(metric) else "sklearn.metrics.make_scorer"
    ours = f"{_SCORERS[name]} or " if facts_of(metric) and name in _SCORERS else ""
    raise TypeError(f"scoring must be a scorer; got {name}, a metric, not a scorer: use {ours}{maker}({name}, ...)")


def _check_takes_weights(scorer):
    """Raise for a scorer that would fail on the first weights, when all candidates are fitted."""
    named = [] if scorer is None else signature(getattr(scorer, "_score_func", scorer)).parameters.values()
    if named and not any(each.name == "sample_weight" or each.kind is each.VAR_KEYWORD for each in named):
        raise TypeError(f"scoring must take sample_weight, since weights are given; got {scorer!r}")


def _check_candidates(candidates):
    """Raise unless these are named output maps."""
    if not isinstance(candidates, Sequence) or not len(candidates):
        raise ValueError(f"candidates must hold at least one (name, calibrator) pair; got {candidates!r}")
    names = []
    for pair in candidates:
        if not isinstance(pair, Sequence) or len(pair) != 2 or not isinstance(pair[0], str):
            raise TypeError(f"candidates must hold (name, calibrator) pairs; got {pair!r}")
        check_bare(pair[0], pair[1], "candidates")
        if isinstance(pair[1], BaseClamping):
            raise TypeError(
                "candidates must be maps of the output, since logits alone are given to them: what perturbs inputs is "
                f"for compare_calibrators; got {pair[1]!r} for {pair[0]!r}"
            )
        names.append(pair[0])
    if len(set(names)) < len(names) or set(names) & set(_STACKS):
        raise ValueError(
            f"candidates must have distinct names, and none {' or '.join(map(repr, _STACKS))}; got {names}"
        )


def _results(names, trial, scores, contest):
    """Scores of candidates in the form of GridSearchCV's ``cv_results_``."""
    means = scores @ trial.fold_shares
    gains = {}
    if contest.baseline is not None:
        gains = {"mean_test_gain": contest.gains, "test_gain_standard_error": contest.errors}
    return {
        "params": [{"candidate": name} for name in names],
        "param_candidate": np.ma.array(names, dtype=object),
        "n_parameters": np.array(trial.n_parameters),
        **{f"split{k}_test_score": scores[:, k] for k in range(scores.shape[1])},
        "mean_test_score": means,
        "std_test_score": np.sqrt((scores - means[:, None]) ** 2 @ trial.fold_shares),
        "rank_test_score": rankdata(-means, method="min").astype(np.int32),
        **gains,
    }
