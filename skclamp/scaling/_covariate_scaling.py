"""CovariateScaling: a gain and an offset that depend on groups and numbers beside the logits."""

import copy
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy import sparse
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.nn.functional import logsigmoid

from .._backbones.backbone import ArrayBackbone
from .._backbones.classifier import log_odds
from .._backbones.inputs import dataset_behind
from .._judging.overlap import shared_share
from .._judging.paired import numbered, of_groups, student_below_zero
from .._judging.splits import folds_of_rows
from .._looks.diagnosis import look_at_new
from .._solvers import covariate_terms
from .._solvers.temperature import log_likelihoods, solve_temperature
from .._utils.arrays import absent_among, as_given, at_least_single, is_exporting, to_numpy
from .._utils.docstrings import with_shared_docs
from .._utils.labels import accuracy, check_same_length
from .._utils.least_probability import raised
from .._utils.parameters import Choices
from .._utils.progress import fit_task
from .._utils.warnings import note, tell
from ..base import BaseCalibrator, Map
from ..base._map import refuse_absent
from ..base._tags import MapTags
from ..exceptions import CalibrationSetWarning
from ..modules._frozen import evaluating
from ._covariates import Column, check_lengths, columns_of, learned_columns, split

# A gain of all samples between these leaves the prior at the logits as they are: of large ones, samples soon tell.
_LOWEST_GAIN, _HIGHEST_GAIN = 0.05, 4.0
_N_FOLDS = 5
# Of fewer units nothing is kept; of more, what gains so many standard errors and, in nats of all samples, so much: the
# precisions of blocks come from all samples, which flatters terms of few.
_FEWEST_UNITS = 50
_ERRORS = 0.5
_LEAST_GAIN = 2.0
# Numbers count up to so many standard deviations from their mean.
_FARTHEST = 3.0
# Logits so far below the highest of a row stand for impossible classes.
_LOWEST = -1e4
# A category that a summary names as the worst has so many samples.
_WORST_OF = 20


class CovariateMap(Map):
    """Gains and offsets of logits by codes of categories and by numbers, which are further columns of the rows.

    ``sizes`` holds the number of categories of each column of codes; ``means`` and ``scales`` are of the columns of
    numbers, and ``missing`` tells which of these have a term for that. Terms are those of the categories, then of the
    numbers.
    """

    def forward(self, rows):
        """Calibrated logits (n, K) of rows of K logits, codes of categories and numbers."""
        n_codes = len(self.sizes)
        logits = rows[:, : self.n_classes]
        codes = rows[:, self.n_classes : self.n_classes + n_codes]
        numbers = rows[:, self.n_classes + n_codes :]
        if self.refused_by and not is_exporting():
            absent = absent_among(logits)
            if absent is not None and absent.any():
                refuse_absent(self.refused_by)
        logits = raised(logits, self.least_probability)
        return self.calibrated(logits, codes, numbers)

    @property
    def n_parameters(self):
        """Number of gains and offsets."""
        return self.gains.numel() + self.offsets.numel()

    def calibrated(self, logits, codes, numbers):
        """Calibrated logits of logits, codes and numbers."""
        terms = torch.cat([self.gains[:, None], self.offsets], 1).to(logits)
        shared = terms[0]
        # An exporter takes len for a constant.
        own = terms.new_zeros(logits.shape[0], terms.shape[1])
        start = 1
        for column, size in enumerate(self.sizes):
            # A category that wasn't seen adds nothing.
            of_column = torch.cat([terms[start : start + size], torch.zeros_like(terms[:1])])
            code = codes[:, column].long()
            own = own + of_column[torch.where(code < 0, size, code)]
            start += size
        if len(self.means):
            own = own + features_of(numbers, self.means, self.scales, self.missing) @ terms[start:]
        if self.n_classes > 2:
            z = _below_the_highest(logits)
            return (shared[0] + own[:, :1]) * z + shared[1:] + own[:, 1:]
        z = logits[:, 1] - logits[:, 0]
        score = shared[0] * z + own[:, 0] * (z - self.centre) + shared[1] + own[:, 1]
        return torch.stack([logsigmoid(-score), logsigmoid(score)], 1)


def features_of(numbers, means, scales, missing):
    """Standardised numbers, their squares, and whether they are missing, of the columns where some were."""
    gone = numbers.isnan()
    u = (torch.where(gone, means.to(numbers), numbers) - means.to(numbers)) / scales.to(numbers)
    u = u.clamp(-_FARTHEST, _FARTHEST)
    squares = torch.where(gone, torch.zeros_like(u), (u.square() - 1) / 2)
    return torch.cat([u, squares, *(gone[:, column, None].to(u) for column in missing)], 1)


class CovariateModule(nn.Module):
    """A network, and a map of its logits and of covariates; a module of two inputs that yields calibrated logits.

    Parameters
    ----------
    network : torch.nn.Module
        Yields logits (n, K).
    of_rows : CovariateMap
    outputs : OutputLayer
    """

    def __init__(self, network, of_rows, outputs):
        super().__init__()
        self.logits = network
        self.output = of_rows
        self.outputs = outputs

    def forward(self, x=None, /, covariates=None, **others):
        """Calibrated logits; `covariates` (n, n_columns) are what `CovariateScaling.encode` gives."""
        with nullcontext() if torch.compiler.is_compiling() else evaluating(self.logits):
            logits = self.logits(x, **others)
        rows = self.outputs.rows(logits.double())
        beside = covariates.double()
        n_labels = self.outputs.n_labels
        if n_labels:
            beside = beside.repeat_interleave(n_labels, 0)
        if n_labels and self.output.of_labels:
            label = torch.arange(n_labels, dtype=torch.float64, device=logits.device).repeat(logits.shape[0])
            beside = torch.cat([label[:, None], beside], 1)
        mapped = self.output(torch.cat([rows, beside], 1))
        return self.outputs.logits_of_rows(mapped, logits).to(at_least_single(logits))

    def train(self, mode=True):
        """Set the mode; the network stays in eval mode."""
        self.training = mode
        for part in (self.logits, self.output):
            part.eval()
        return self


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class CovariateScaling(BaseCalibrator):
    """Calibration within groups and along numbers: gains and offsets of logits that depend on covariates.

    A confidence of 0.8 that is right in 0.9 of one hospital's cases, and in 0.6 of another's, is calibrated on the mean
    and wrong for both. Of two classes, z being the log-odds, and of K classes this learns

        logit p = a(x) z + b(x)    and    p = softmax(a(x) z + b(x)),

    where a and b are sums of a shared number and of terms of the covariates x: one for each category of a column, and
    for each number one of itself, standardised and clipped at 3, and one of its square. The terms of a column of
    categories are normal around 0, those of all numbers together too; how far they spread is what empirical Bayes
    finds, one precision for gains and one for offsets, so that terms which mean nothing vanish. The shared gain and
    offset are held near 1 and 0. A category that wasn't seen adds nothing: such samples have the shared map.

    A guard keeps what pays. The shared map, each column of categories alone, all numbers alone, and everything are
    judged out of fold, folds being of whole groups, at the precisions of all samples. What has the lowest NLL is kept
    where it gains more than half a standard error, and more than two nats of all samples together; of fewer than 50
    groups, or independent samples, nothing is.

    Parameters
    ----------
    {estimator}
    covariates : str, int, list of these or callable, default=None
        Columns of X, or entries of its dicts, that the terms depend on; or what chooses them, such as
        `sklearn.compose.make_column_selector`. They leave logits, and what a network gets; a fitted classifier gets the
        columns that it was trained with. None takes a table that `fit` is given beside X, or none.
    categorical : "auto" or list, default="auto"
        Covariates that hold categories, by name. "auto" are those of strings, bools, objects, and of pandas' and
        polars' categoricals; others hold numbers.
    pooling : {"partial", "complete", "none"}, default="partial"
        "partial" draws terms to 0 as empirical Bayes says, "none" hardly does, and "complete" leaves the shared map.
    guard : bool, default=True
        Whether only terms are kept that pay out of fold.
    {shared_parameters}

    Attributes
    ----------
    kept_ : list
        Names of the covariates that are kept.
    gains_ : dict of str to dict
        Of each candidate, columns joined by " + ", its "gain" over the shared map out of fold, in nats, and its
        "standard_error". Empty without the guard.
    group_maps_ : pandas.DataFrame
        Of each category that is kept the "column", the "category", its "gain" and its "offset", where z is 0, with the
        posterior's deviations of its terms, "gain_deviation" and "offset_deviation".
    precisions_ : dict of str to tuple
        Of each block that is kept the precisions of its gains and of its offsets.
    {shared_attributes}

    See Also
    --------
    PlattScaling : One gain and offset for all samples of a class.

    Notes
    -----
    The twelve rounds of expectation maximisation, and two terms of each block beside that count as 0, were chosen on
    six of the records that the guide shows. Where many samples show a shape that isn't quadratic, gradient boosting
    finds more. Sample weights count as repetitions. Beyond 500 terms, and of more than two classes, the Hessian's
    diagonal stands for the Hessian.

    References
    ----------
    C. N. Morris, "Parametric Empirical Bayes Inference: Theory and Applications", Journal of the American Statistical
    Association 1983. U. Hebert-Johnson, M. Kim, O. Reingold and G. Rothblum, "Multicalibration: Calibration for the
    (Computationally-Identifiable) Masses", ICML 2018 (what calibration within groups asks for).

    Examples
    --------
    >>> import numpy as np
    >>> from skclamp import CovariateScaling
    >>> rng = np.random.default_rng(0)
    >>> site = rng.integers(0, 3, size=2000)
    >>> margin = rng.normal(scale=2.0, size=2000)  # two classes: the logit of the second
    >>> y = (margin + np.array([-1.0, 0.0, 1.0])[site] + rng.logistic(size=2000) > 0).astype(int)
    >>> table = {"site": np.array(["A", "B", "C"])[site]}
    >>> calibrator = CovariateScaling().fit(margin, y, covariates=table)
    >>> calibrator.kept_
    ['site']
    >>> calibrator.predict_proba(np.zeros(3), covariates={"site": ["A", "B", "C"]})[:, 1].round(1)
    array([0.3, 0.5, 0.7])
    """

    covariates: object = None
    categorical: object = "auto"
    pooling: str = "partial"
    guard: bool = True

    _parameter_constraints = {
        "covariates": "no_validation",
        "categorical": [Choices("auto"), list, tuple],
        "pooling": [Choices("partial", "complete", "none")],
        "guard": ["boolean"],
    }

    _tags = MapTags(
        takes_absent=False,
        takes_places=False,
        map_of_labels="all",
        holds_out=True,
        group="scales and shifts per class",
        compared_classes=0,
    )

    def fit(self, X, y=None, sample_weight=None, groups=None, *, by=None, covariates=None, **params):
        """Learn the calibration map on held-out data; the estimator stays as it is.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, DataFrame or torch.utils.data.Dataset
            As of every calibrator, the covariates among it where the constructor names them.
        y : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            Class labels, or several that don't exclude each other, which then are one more column of categories.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, which count as repetitions.
        groups : array-like of shape (n_samples,), default=None
            What samples that depend on each other belong to, such as patients or images. Folds hold out whole groups.
        by : array-like of shape (n_samples,), default=None
            Names of the parts that samples come from, which `parts_` judges.
        covariates : DataFrame, dict of array-like or array-like of shape (n_samples, n_columns), default=None
            The covariates, where they aren't in X; then `predict_proba` is given them too. Not beside those of the
            constructor.
        **params : dict
            For the ``fit`` of a classifier that isn't fitted.

        Returns
        -------
        self : CovariateScaling
            The fitted calibrator.

        Raises
        ------
        ValueError, TypeError
            If a parameter, X, y or a covariate breaks a rule; the message says which.
        """
        self._validate_params()
        inputs, columns = self._parted(X, covariates)
        with fit_task(self, inputs, y, sample_weight):
            return self._learn(inputs, y, sample_weight, {"groups": groups, "by": by, **params}, beside=(X, columns))

    def _opening(self):
        # Another calibrator's probabilities, where they underflow, have logarithms.
        return super()._opening()._replace(exact=True)

    def _parted(self, X, covariates):
        """Return what the estimator takes of X, and the columns of the covariates by name, none without any."""
        if self.covariates is not None:
            if covariates is not None:
                raise ValueError(
                    "covariates must be given once: to the constructor, as columns of X, or beside X; got both"
                )
            return split(X, self.covariates, self._frozen_part(), type(self).__name__)
        return X, {} if covariates is None else columns_of(covariates)

    def _fit(self, samples, looked, X=None, columns=None):
        columns = columns or {}
        check_lengths(columns, len(samples.logits))
        counted = samples.weight.numpy() > 0
        self._look_for_samples_seen(samples.prints, counted)
        y = samples.y_encoded.cpu().numpy()
        self._names = list(columns)
        self._columns = learned_columns(columns, y, counted, self.categorical)
        rows = samples.rows(in_units=True)
        wide = self._learn_map(rows, columns, samples.outputs.n_labels)
        if samples.parts is not None:
            losses = -log_likelihoods(self.map_(wide.logits), rows.y, 1.0)
            self._judge_parts(samples.parts, rows, losses.cpu().numpy())
        self._whole = X
        return wide, rows.logits, self._held_out

    def _look_for_samples_seen(self, prints, counted):
        """Tell of samples that fitted the calibrator inside, whose gain is then no more than a repetition."""
        inner = self._frozen_part()
        seen = getattr(inner, "_rows_seen", None)
        if prints is None or seen is None:
            return
        share = shared_share(prints[counted], seen)
        if share:
            note(
                f"X holds samples that {type(inner).__name__} was fitted to, about {share:.0%} of X, on which it does "
                "better than on others: give fit other samples",
                CalibrationSetWarning,
            )

    def _remember(self, samples):
        whole = self.__dict__.pop("_whole", None)
        if self.covariates is not None:
            samples = replace(samples, X=whole)
        super()._remember(samples)

    def _fit_rows(self, rows, n_labels=None):
        # Of rows alone nobody knows the covariates.
        self._names, self._columns = [], []
        self._learn_map(rows, {}, n_labels)

    def _learn_map(self, rows, columns, n_labels):
        """Learn the map, and what the guard says; return the rows with what is kept of the columns beside."""
        absent = absent_among(rows.logits)
        if absent is not None and absent.any():
            refuse_absent(type(self).__name__)
        categories = [column for column in self._columns if column.levels is not None]
        if n_labels:
            categories.insert(0, Column(None, list(range(n_labels))))
        numbers = [column for column in self._columns if column.levels is None]
        blocks = [[column] for column in categories] + [numbers] * bool(numbers)
        if self.pooling == "complete":
            blocks = []
        self._columns = [column for block in blocks for column in block]
        wide = self._widened(rows.logits, columns)
        counted = rows.weight.cpu().numpy() > 0
        some = rows.take(torch.from_numpy(counted))
        scale = _scale_of(some, lambda: covariate_terms.free_gain(_problem(wide[counted], some, blocks, 1.0)))
        problem = _problem(wide[counted], some, blocks, scale, self.pooling)
        learned, kept = self._chosen(problem, rows, counted, blocks)
        self.kept_ = [_shown(column) for number in kept for column in blocks[number]]
        pairs = learned.precisions.T.tolist()
        # Offsets that all classes share come before those of blocks.
        pairs = pairs[len(pairs) - len(kept) :]
        self.precisions_ = {_named(blocks[number]): tuple(pair) for number, pair in zip(kept, pairs, strict=True)}
        dropped = {id(column) for number, block in enumerate(blocks) if number not in kept for column in block}
        self._columns = [column for column in self._columns if id(column) not in dropped]
        self.map_ = _map_of(self._columns, learned, problem, rows.logits.shape[1], scale, type(self).__name__)
        return rows._replace(logits=self._widened(rows.logits, columns))

    def _chosen(self, problem, rows, counted, blocks):
        """Return what is learned, and the numbers of the blocks that it is learned of."""
        everything = list(range(len(blocks)))
        self.gains_, self._held_out, self._worst = {}, None, None
        if not (self.guard and blocks):
            return covariate_terms.learn(problem), everything
        shared = covariate_terms.learn(problem.take(blocks=[]))
        unit = None if rows.unit is None else numbered(rows.unit[counted])
        weight = problem.weight
        if (len(weight) if unit is None else unit.max() + 1) < _FEWEST_UNITS:
            return shared, []
        fold = folds_of_rows(rows, _N_FOLDS)[counted]
        before = covariate_terms.losses_out_of_fold(problem.take(blocks=[]), shared, fold)
        candidates = [[number] for number in everything] + [everything] * (len(blocks) > 1)
        best: tuple = (shared, [], before, 0.0, 0.0)
        for chosen in candidates:
            some = problem.take(blocks=chosen)
            learned = covariate_terms.learn(some)
            after = covariate_terms.losses_out_of_fold(some, learned, fold)
            mean, error, _ = student_below_zero(*of_groups(after - before, weight, unit))
            name = " + ".join(_named(blocks[number]) for number in chosen)
            self.gains_[name] = {"gain": -mean, "standard_error": error}
            if -mean > best[3]:
                best = learned, chosen, after, -mean, error
        learned, chosen, after, gain, error = best
        if gain <= max(_ERRORS * error, _LEAST_GAIN / weight.sum()):
            learned, chosen, after = shared, [], before
        self._held_out = float(np.average(after, weights=weight))
        self._gain = gain if chosen else 0.0
        self._worst = _worst_of(problem, blocks, chosen, before - after)
        return learned, chosen

    def _widened(self, logits, columns):
        """Return rows with codes of categories, then numbers, as further columns."""
        n_labels = self._outputs.n_labels
        n_samples = len(logits) // (n_labels or 1)
        wide = [logits.double()]
        for column in self._columns:
            if column.name is None:
                values = torch.arange(n_labels, dtype=torch.float64).repeat(n_samples)
            else:
                values = torch.from_numpy(column.coded(columns[column.name])).repeat_interleave(n_labels or 1)
            wide.append(values.to(logits.device)[:, None])
        return torch.cat(wide, 1)

    # Predicting.

    def _map_rows(self, normalise, X, labelled=False, covariates=None):
        check_is_fitted(self)
        if self.covariates is None:
            X = dataset_behind(X)
        self._check_columns(X)
        inputs, columns = self._parted(X, covariates)
        self._check_covariates(columns)
        inputs = dataset_behind(inputs)
        if isinstance(inputs, torch.Tensor) and hasattr(self, "estimator_"):
            inputs = to_numpy(inputs)
        logits, labels = self._logits(inputs, labelled)
        return self._transform_rows(normalise, logits, given=self.estimator is None, columns=columns), labels

    def encode(self, covariates):
        """Codes of categories and numbers, as ``module_`` takes them beside the network's inputs.

        Parameters
        ----------
        covariates : DataFrame, dict of array-like or array-like of shape (n_samples, n_columns)
            The covariates alone, with the columns of `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_columns), float64
            Of the columns that are kept: the number of each category, -1 of a new one; then numbers, NaN where missing.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If a covariate of `fit` is missing.
        """
        check_is_fitted(self)
        columns = columns_of(covariates)
        self._check_covariates(columns)
        n_samples = len(next(iter(columns.values()), ()))
        values = [column.coded(columns[column.name]) for column in self._columns if column.name is not None]
        return np.column_stack(values) if values else np.empty((n_samples, 0))

    @cached_property
    def module_(self):
        """A torch module of inputs and `encode`-d covariates; of inputs alone where no covariate is kept."""
        check_is_fitted(self)
        if not self._columns:
            return super().module_
        network = self._backbone.as_module(type(self).__name__)
        return CovariateModule(network, copy.deepcopy(self.map_), self._outputs)

    def _check_covariates(self, columns):
        """Raise where the covariates of the fit are missing, or are those of nobody."""
        missing = [name for name in self._names if name not in columns]
        if missing:
            raise ValueError(
                f"covariates must have the columns of fit, {self._names}: without {missing[0]!r} nobody knows what "
                f"{type(self).__name__} makes of the logits"
            )
        if columns and not self._names:
            raise ValueError("covariates must be None, as in fit; got some")

    def _transform_rows(self, normalise, logits, *, given, columns=None):
        columns = columns or {}
        outputs = self._outputs
        if logits.ndim > 2:
            raise ValueError(f"X must have logits of one row a sample; got logits of shape {tuple(logits.shape)}")
        if logits.shape[1] != len(self.classes_):
            raise ValueError(
                f"X has {logits.shape[1]} columns of logits, but {type(self).__name__} is expecting "
                f"{len(self.classes_)} features as input"
            )
        check_lengths(columns, len(logits))
        if given and (self._backbone.guesses_response or not outputs.n_labels) and not self._like_probabilities:
            tell(look_at_new(logits, outputs))
        mapped = self.map_(self._widened(outputs.rows(logits.double()), columns))
        return outputs.of_rows(normalise(mapped, 1), logits).cpu().numpy()

    def transform_logits(self, logits, covariates=None):
        """Calibrated log-probabilities of logits that were computed before.

        Parameters
        ----------
        logits : array-like or torch.Tensor of shape (n_samples, n_classes)
            Or (n_samples,) or (n_samples, 1), for the second of two classes.
        covariates : DataFrame, dict of array-like or array-like of shape (n_samples, n_columns), default=None
            Columns as in `fit`; wherever these come from there.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Their softmax are the calibrated probabilities; of several labels log-odds.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If there isn't one logit per class, or a covariate of `fit` is missing.
        """
        check_is_fitted(self)
        columns = {} if covariates is None else columns_of(covariates)
        self._check_covariates(columns)
        backbone = ArrayBackbone("logits", self._outputs.kind)
        rows, _ = backbone.logits(backbone.open(self._backbone.handed_on(logits)))
        normalise = log_odds if self._outputs.n_labels else torch.log_softmax
        return as_given(self._transform_rows(normalise, rows, given=True, columns=columns), logits)

    def predict_proba(self, X, covariates=None):
        """Calibrated probabilities.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, DataFrame or torch.utils.data.Dataset
            As in `fit`.
        covariates : DataFrame, dict of array-like or array-like of shape (n_samples, n_columns), default=None
            As in `fit`, where it was given them.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Columns in the order of ``classes_``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X isn't what the calibrator was fitted to, or covariates of `fit` are missing.
        """
        return as_given(self._map_rows(torch.softmax, X, covariates=covariates)[0], X)

    def predict_log_proba(self, X, covariates=None):
        """Logarithm of the calibrated probabilities, exact where they underflow.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, DataFrame or torch.utils.data.Dataset
            As in `fit`.
        covariates : DataFrame, dict of array-like or array-like of shape (n_samples, n_columns), default=None
            As in `fit`, where it was given them.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Columns in the order of ``classes_``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            As `predict_proba`.
        """
        return as_given(self._map_rows(torch.log_softmax, X, covariates=covariates)[0], X)

    def predict(self, X, covariates=None):
        """The most probable class of each sample.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, DataFrame or torch.utils.data.Dataset
            As in `fit`.
        covariates : DataFrame, dict of array-like or array-like of shape (n_samples, n_columns), default=None
            As in `fit`, where it was given them.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Names of ``classes_``; of several labels 1 where the probability is at least 0.5, else 0.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            As `predict_proba`.
        """
        proba = to_numpy(self.predict_proba(X, covariates=covariates))
        return as_given(self._outputs.predict(proba, self.classes_), X)

    def score(self, X, y=None, sample_weight=None, covariates=None):
        """Accuracy: the share of samples whose most probable class is their label.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, DataFrame or torch.utils.data.Dataset
            As in `fit`.
        y : array-like of shape (n_samples,) or (n_samples, n_labels), default=None
            Class labels; of several labels all of a sample's must be right. May be left out where X brings them.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.
        covariates : DataFrame, dict of array-like or array-like of shape (n_samples, n_columns), default=None
            As in `fit`, where it was given them.

        Returns
        -------
        float
            Between 0 and 1.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            As `predict_proba`; if there are no labels, or not one for each sample.
        """
        proba, labels = self._map_rows(torch.softmax, X, labelled=y is None, covariates=covariates)
        y = self._outputs.targets(labels if y is None else y)
        check_same_length(y, len(proba), "y")
        return accuracy(y, self._outputs.predict(proba, self.classes_), sample_weight)

    # Reporting.

    @property
    def group_maps_(self):
        """Gains and offsets of categories that are kept, as a pandas.DataFrame."""
        check_is_fitted(self)
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("a DataFrame needs pandas: pip install pandas") from error
        gains, offsets = self.map_.gains.numpy(), self.map_.offsets.numpy()
        deviations = self.map_.deviations.numpy()
        lines = []
        start = 1
        for column in self._columns:
            if column.levels is None:
                break
            for number, level in enumerate(column.levels, start):
                offset = offsets[0] + offsets[number] - gains[number] * self.map_.centre
                lines.append(
                    {
                        "column": _shown(column),
                        "category": level if column.name is not None else self.classes_[level],
                        "gain": gains[0] + gains[number],
                        "offset": offset[0] if len(offset) == 1 else offset,
                        "gain_deviation": deviations[0, number],
                        "offset_deviation": deviations[1, number],
                    }
                )
            start += len(column.levels)
        names = ["column", "category", "gain", "offset", "gain_deviation", "offset_deviation"]
        return pd.DataFrame(lines, columns=names)

    def _sentences(self):
        yield from super()._sentences()
        if not self.kept_:
            yield "No covariate is kept: all samples share one map."
            return
        kept = " and ".join([", ".join(map(str, self.kept_[:-1]))] * (len(self.kept_) > 1) + [str(self.kept_[-1])])
        verb = "is" if len(self.kept_) == 1 else "are"
        if self._held_out is None:
            yield f"{kept} {verb} kept unjudged."
            return
        worst = ""
        if self._worst is not None:
            name, level, gain = self._worst
            worst = f"; most in {name} {level}, {gain:.2g}"
        yield f"{kept} {verb} kept: {self._gain:.2g} nats out of fold over one map for all{worst}."


def _below_the_highest(logits):
    """Logits less the highest of each row: no class is likelier for being far below."""
    return (logits - logits.amax(1, keepdim=True)).clamp(min=_LOWEST)


def _shown(column):
    """Name of a column for the user; several labels are one, too."""
    return "label" if column.name is None else column.name


def _named(block):
    return " + ".join(str(_shown(column)) for column in block)


def _scale_of(rows, gain):
    """What logits are divided by, 1 unless they are on another scale, where the prior would hold what is wrong."""
    temperature = solve_temperature(rows.logits, rows.y, sample_weight=rows.weight, prior=True).temperature
    if _HIGHEST_GAIN >= 1 / temperature >= _LOWEST_GAIN:
        return 1.0
    found = gain()
    return 1 / found if found > _HIGHEST_GAIN or 0 < found < _LOWEST_GAIN else 1.0


def _problem(wide, rows, blocks, scale, pooling="partial"):
    """What the solver takes of rows with columns beside."""
    n_classes = rows.logits.shape[1]
    logits = rows.logits.double().cpu() / scale
    z = (logits[:, 1] - logits[:, 0] if n_classes == 2 else _below_the_highest(logits)).numpy()
    beside = wide[:, n_classes:].cpu()
    features = [sparse.csr_array((len(z), 0))]
    start = 0
    for block in blocks:
        values = beside[:, start : start + len(block)]
        start += len(block)
        if block[0].levels is None:
            features.append(sparse.csr_array(features_of(values, *_scales_of(block)).numpy()))
            continue
        code = values[:, 0].long().numpy()
        ones = np.ones(len(code))
        features.append(sparse.csr_array((ones, (np.arange(len(code)), code)), shape=(len(code), len(block[0].levels))))
    number = np.repeat(np.arange(len(blocks)), [sum(column.n_features for column in block) for block in blocks])
    features = sparse.hstack(features).tocsr()
    return covariate_terms.Problem(z, rows.y.cpu().numpy(), rows.weight.cpu().numpy(), features, number, pooling)


def _scales_of(numbers):
    means, scales = (
        torch.tensor([getattr(each, name) for each in numbers], dtype=torch.float64) for name in ("mean", "scale")
    )
    return means, scales, [place for place, column in enumerate(numbers) if column.has_missing]


def _map_of(columns, learned, problem, n_classes, scale, owner):
    means, scales, missing = _scales_of([column for column in columns if column.levels is None])
    return CovariateMap(
        n_classes=n_classes,
        sizes=[len(column.levels) for column in columns if column.levels is not None],
        means=means,
        scales=scales,
        missing=missing,
        of_labels=bool(columns) and columns[0].name is None,
        gains=learned.gains / scale,
        offsets=learned.offsets,
        deviations=np.sqrt(learned.variances) / np.array([[scale], [1.0]]),
        centre=0.0 if problem.centre is None else float(problem.centre * scale),
        refused_by=owner,
    )


def _worst_of(problem, blocks, chosen, gains):
    """Return the category that one map for all costs most out of fold: its column, its name and the nats."""
    worst = None
    for number in chosen:
        block = blocks[number]
        if block[0].levels is None:
            continue
        members = problem.features[:, problem.block == number].tocsc()
        for place, level in enumerate(block[0].levels):
            rows = members.indices[members.indptr[place] : members.indptr[place + 1]]
            if len(rows) < _WORST_OF:
                continue
            gain = float(np.average(gains[rows], weights=problem.weight[rows]))
            if worst is None or gain > worst[2]:
                worst = _shown(block[0]), level, gain
    return worst
