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

from .._backbones.samples import Samples
from .._judging.paired import numbered, of_groups, student_below_zero
from .._judging.splits import folds_of_rows
from .._looks import words
from .._solvers import covariate_terms
from .._solvers.temperature import log_likelihoods, solve_temperature
from .._utils.arrays import absent_among, at_least_single
from .._utils.docstrings import with_shared_docs
from .._utils.least_probability import raised
from .._utils.parameters import Choices
from .._utils.warnings import note
from ..base import BaseCalibrator, Map
from ..base._map import refuse_absent
from ..base._tags import MapTags
from ..distributed import ALONE
from ..exceptions import CalibrationSetWarning
from ..modules._frozen import evaluating
from ._covariates import Column, check_lengths, columns_of, encoded, learned_columns, split

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
# What several labels go by, which are a column of categories, too.
_LABEL = "label"
# A category that a summary names as the worst has so many samples.
_WORST_OF = 20


class CovariateMap(Map):
    """Gains and offsets of logits by codes of categories and by numbers, which are further columns of the rows.

    ``sizes`` holds the number of categories of each column of codes; ``means`` and ``scales`` are of the columns of
    numbers, and ``missing`` tells which of these have a term for that. Terms are those of the categories, then of the
    numbers. ``of_new``, where there is one, is the map of rows none of whose categories was seen: terms of categories
    that were may leave nothing to what all share.
    """

    def forward(self, rows):
        """Calibrated logits (n, K) of rows of K logits, codes of categories and numbers."""
        n_before = self.n_classes + len(self.sizes)
        logits, codes, numbers = rows[:, : self.n_classes], rows[:, self.n_classes : n_before], rows[:, n_before:]
        self.absent_of(logits)
        logits = raised(logits, self.least_probability)
        mapped = self.calibrated(logits, codes, numbers)
        if self.of_new is None:
            return mapped
        # A label is none of what may be new.
        labels, categories = codes[:, : self.of_labels], codes[:, self.of_labels :]
        are_new = (categories < 0).all(1, keepdim=True)
        return torch.where(are_new, self.of_new.calibrated(logits, labels, numbers), mapped)

    def calibrated(self, logits, codes, numbers):
        """Calibrated logits of logits, codes and numbers."""
        own = self.terms_of(codes, numbers)
        gain, offset = own[:, :1], own[:, 1:]
        shared_gain, shared_offset = self.gains[0].to(logits), self.offsets[0].to(logits)
        if self.n_classes > 2:
            return (shared_gain + gain) * _below_the_highest(logits, self.lowest) + shared_offset + offset
        z = logits[:, 1:] - logits[:, :1]
        score = shared_gain * z + gain * (z - self.centre) + shared_offset + offset
        return logsigmoid(torch.cat([-score, score], 1))

    def terms_of(self, codes, numbers):
        """Return what each row adds to the shared gain and offsets, (n, 1 + n_outputs)."""
        terms = torch.cat([self.gains[:, None], self.offsets], 1).to(numbers)
        _, *of_categories, of_numbers = terms.split([1, *self.sizes, len(terms) - 1 - sum(self.sizes)])
        # An exporter takes len for a constant.
        own = terms.new_zeros(codes.shape[0], terms.shape[1])
        for code, of_column in zip(codes.unbind(1), of_categories, strict=True):
            # A category that wasn't seen adds nothing.
            own = own + of_column[code.clamp(min=0).long()] * (code >= 0)[:, None]
        if len(self.means):
            own = own + features_of(numbers, self.means, self.scales, self.missing) @ of_numbers
        return own

    @property
    def n_parameters(self):
        """Number of gains and offsets."""
        return self.gains.numel() + self.offsets.numel()


def features_of(numbers, means, scales, missing):
    """Standardised numbers, their squares, and whether they are missing, of the columns where some were."""
    gone = numbers.isnan()
    u = (torch.where(gone, means.to(numbers), numbers) - means.to(numbers)) / scales.to(numbers)
    u = u.clamp(-_FARTHEST, _FARTHEST)
    squares = torch.where(gone, torch.zeros_like(u), (u.square() - 1) / 2)
    return torch.cat([u, squares, *(gone[:, column, None].to(u) for column in missing)], 1)


def of_each_label(beside, n_labels, of_labels):
    """Columns beside samples as those of rows, one for each of several labels in turn, whose number may come first."""
    if not n_labels:
        return beside
    label = torch.arange(n_labels, dtype=beside.dtype, device=beside.device).repeat(beside.shape[0])
    rows = beside.repeat_interleave(n_labels, 0)
    return torch.cat([label[:, None], rows], 1) if of_labels else rows


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
        beside = of_each_label(covariates.double(), self.outputs.n_labels, self.output.of_labels)
        mapped = self.output(torch.cat([self.outputs.rows(logits.double()), beside], 1))
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
    categories are normal around 0, those of all numbers together too. How far they spread is what empirical Bayes
    finds, one precision for gains and one for offsets, so that terms which mean nothing vanish. The shared gain and
    offset are held near 1 and 0. A category that wasn't seen adds nothing; samples with no other have a map that was
    fitted without categories.

    A guard keeps what pays. The shared map, each column of categories alone, all numbers alone, and everything are
    judged out of fold, folds being of whole groups, at the precisions of all samples. What has the lowest NLL is kept
    where it gains more than half a standard error, and more than two nats of all samples together. Of fewer than 50
    groups, or independent samples, nothing is.

    Parameters
    ----------
    {estimator}
    covariates : str, int, list of these or callable, default=None
        Columns of X, or entries of its dicts, that the terms depend on; or what chooses them, such as
        `sklearn.compose.make_column_selector`. They leave logits, and what a network gets. They stay inputs of a
        classifier: a fitted one gets the columns that it was trained with, and one that isn't fitted learns from all,
        so that names among them need a ColumnTransformer before it. None takes a table that `fit` is given beside X,
        or none.
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
        Of each category that is kept the "column", the "category", its "gain" and its "offset", where z is 0. The
        posterior's standard deviations, "gain_deviation" and "offset_deviation", are of what the category adds to the
        gain and the offset that all share, at the mean of z, and not of the sums.
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

    # In predictions, beside X.
    __metadata_request__predict = __metadata_request__predict_proba = __metadata_request__predict_log_proba = {
        "covariates": None
    }
    __metadata_request__score = {"covariates": None}

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
        return super().fit(X, y, sample_weight, groups, by=by, covariates=covariates, **params)

    def _opening(self):
        # Another calibrator's probabilities, where they underflow, have logarithms.
        return super()._opening()._replace(exact=True)

    def _samples_of(self, X, y, sample_weight, params, ranks):
        if isinstance(X, Samples):
            # Of a comparison, which has found the covariates.
            return super()._samples_of(X, y, sample_weight, params, ranks)
        params = dict(params)
        inputs, beside = self._parted(X, params.pop("covariates", None), self.covariates)
        columns = columns_of(beside["covariates"])
        self._logit_names = []
        if self.estimator is None and self.covariates is not None and hasattr(X, "columns"):
            self._logit_names = [name for name in X.columns if name not in columns]
        if columns and ranks is not ALONE:
            raise ValueError(f"covariates must be None where samples are sharded; got {list(columns)}")
        samples = super()._samples_of(inputs, y, sample_weight, params, ranks)
        self._look_for_samples_seen(samples)
        # Whoever is given X later sees the covariates that are in it.
        return replace(samples, beside=columns) if self.covariates is None else samples.among(X, columns)

    def _parted(self, X, covariates=None, chosen=None, **params):
        super()._parted(X, **params)
        if self.covariates is None:
            return X, {"covariates": covariates}
        if covariates is not None:
            raise ValueError(
                "covariates must be given once: to the constructor, as columns of X, or beside X; got both"
            )
        # Of later samples those of the fit.
        chosen = self._names if chosen is None else chosen
        inputs, columns = split(X, chosen, self._frozen_part(), type(self).__name__)
        return inputs, {"covariates": columns}

    def _look_for_samples_seen(self, samples):
        """Tell of samples that fitted the calibrator inside, whose gain is then no more than a repetition."""
        inner = self._frozen_part()
        counted = samples.weight.numpy() > 0
        if isinstance(inner, BaseCalibrator) and (share := inner._share_seen(samples.prints, counted)):
            note(
                f"{words.SAMPLES_SEEN.format(name=type(inner).__name__, share=share)}, on which it does better than on "
                "others: give fit other samples",
                CalibrationSetWarning,
            )

    def _fit(self, samples, looked):
        columns = samples.beside
        check_lengths(columns, len(samples.logits))
        labels = samples.classes.tolist() if samples.outputs.n_labels else None
        if labels and _LABEL in columns:
            raise ValueError(
                f"covariates must not be named {_LABEL!r} where y has several labels, which go by that name"
            )
        y = samples.y_encoded.cpu().numpy()
        self._names = list(columns)
        self._columns = learned_columns(columns, y, samples.weight.numpy(), self.categorical)
        rows = samples.rows(in_units=True)
        wide = self._learn_map(rows, columns, labels)
        if samples.parts is not None:
            losses = -log_likelihoods(self.map_(wide.logits), rows.y, 1.0)
            self._judge_parts(samples.parts, rows, losses.cpu().numpy())
        return wide, rows.logits, self._held_out

    def _fit_rows(self, rows, n_labels=None):
        # Of rows alone nobody knows the covariates.
        self._names, self._columns = [], []
        self._learn_map(rows, {}, n_labels and list(range(n_labels)))

    def _learn_map(self, rows, columns, labels):
        """Learn the map, and what the guard says; return the rows with what is kept of the columns beside.

        `labels` are names of several labels that don't exclude each other, a column of categories of rows, or None.
        """
        absent = absent_among(rows.logits)
        if absent is not None and absent.any():
            refuse_absent(type(self).__name__)
        blocks = _blocks_of(self._columns, labels) if self.pooling != "complete" else []
        ordered = [column for block in blocks for column in block]
        n_labels = len(labels or ())
        beside = torch.from_numpy(encoded(ordered, columns, len(rows.y) // (n_labels or 1)))
        beside = of_each_label(beside, n_labels, _are_of_labels(ordered))
        parts = beside.split([len(block) for block in blocks], 1)
        counted = rows.weight.cpu().numpy() > 0
        some = rows.take(torch.from_numpy(counted))
        problem, scale = _problem(some, blocks, [part[counted] for part in parts], self.pooling)
        learned, kept = self._chosen(problem, rows, counted, blocks)
        self._columns = [column for number in kept for column in blocks[number]]
        self.kept_ = [_shown(column) for column in self._columns]
        pairs = learned.precisions.T.tolist()
        self.precisions_ = {_named(blocks[number]): tuple(pair) for number, pair in zip(kept, pairs, strict=True)}
        told = {"n_classes": rows.logits.shape[1], "scale": scale, "refused_by": type(self).__name__}
        self.map_ = _map_of(self._columns, learned, problem, **told)
        if any(column.levels is not None and column.name is not None for column in self._columns):
            # Labels are never new, and numbers are what they were.
            stay = [number for number in kept if blocks[number][0].levels is None or blocks[number][0].name is None]
            without = problem.take(blocks=stay)
            columns = [column for number in stay for column in blocks[number]]
            self.map_.learn(of_new=_map_of(columns, covariate_terms.learn(without), without, **told))
        wide = [rows.logits.double(), *(parts[number].to(rows.logits.device) for number in kept)]
        return rows._replace(logits=torch.cat(wide, 1))

    def _chosen(self, problem, rows, counted, blocks):
        """Return what is learned, and the numbers of the blocks that it is learned of."""
        everything = list(range(len(blocks)))
        self.gains_, self._held_out, self._worst = {}, None, None
        if not (self.guard and blocks):
            return covariate_terms.learn(problem), everything
        shared = covariate_terms.learn(problem.take(blocks=[]))
        unit = None if rows.unit is None else numbered(rows.unit[counted])
        weight = problem.weight
        self._n_units = len(weight) if unit is None else int(unit.max()) + 1
        if self._n_units < _FEWEST_UNITS:
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

    # Predicting.

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
        columns = self._columns_of(covariates)
        return encoded(self._columns, columns, len(next(iter(columns.values()), ())))

    @cached_property
    def module_(self):
        """A torch module of inputs and `encode`-d covariates; of inputs alone where no covariate is kept."""
        check_is_fitted(self)
        if not self._columns:
            return super().module_
        network = self._backbone.as_module(type(self).__name__)
        return CovariateModule(network, copy.deepcopy(self.map_), self._outputs)

    def _columns_of(self, covariates):
        """Return covariates by name; raises where those of the fit are missing, or are those of nobody."""
        if not self._names:
            if covariates is not None and len(covariates):
                raise ValueError("covariates must be None, as in fit; got some")
            return {}
        columns = columns_of(covariates, self._names)
        missing = [name for name in self._names if name not in columns]
        if missing:
            raise ValueError(
                f"covariates must have the columns of fit, {self._names}: without {missing[0]!r} nobody knows what "
                f"{type(self).__name__} makes of the logits"
            )
        return columns

    def _transform_rows(self, normalise, logits, *, given, covariates=None):
        columns = self._columns_of(covariates)
        self._check_new(logits, given)
        check_lengths(columns, len(logits))
        outputs = self._outputs
        beside = torch.from_numpy(encoded(self._columns, columns, len(logits)))
        beside = of_each_label(beside, outputs.n_labels, _are_of_labels(self._columns)).to(logits.device)
        mapped = self.map_(torch.cat([outputs.rows(logits.double()), beside], 1))
        return outputs.of_rows(normalise(mapped, 1), logits).cpu().numpy()

    # Reporting.

    @property
    def group_maps_(self):
        """Gains and offsets of categories that are kept, as a pandas.DataFrame."""
        check_is_fitted(self)
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("a DataFrame needs pandas: pip install pandas") from error
        columns = [column for column in self._columns if column.levels is not None]
        lines = [(_shown(column), level) for column in columns for level in column.levels]
        gains, offsets, deviations = (
            values.numpy() for values in (self.map_.gains, self.map_.offsets, self.map_.deviations)
        )
        own = slice(1, 1 + len(lines))
        offset = offsets[0] + offsets[own] - gains[own, None] * self.map_.centre
        return pd.DataFrame(
            {
                "column": [column for column, _ in lines],
                "category": [level for _, level in lines],
                "gain": gains[0] + gains[own],
                "offset": offset[:, 0] if offset.shape[1] == 1 else list(offset),
                "gain_deviation": deviations[0, own],
                "offset_deviation": deviations[1, own],
            }
        )

    def _sentences(self):
        yield from super()._sentences()
        if names := getattr(self, "_logit_names", []):
            yield f"Logits are the columns {', '.join(map(str, names))}."
        if not self.kept_:
            few = getattr(self, "_n_units", _FEWEST_UNITS) < _FEWEST_UNITS
            why = f", since {self._n_units} independent samples or groups are fewer than {_FEWEST_UNITS}" if few else ""
            yield f"No covariate is kept{why}: all samples share one map."
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


def _below_the_highest(logits, lowest):
    """Logits less the highest of each row: no class is likelier for being far below."""
    return (logits - logits.amax(1, keepdim=True)).clamp(min=lowest)


def _shown(column):
    """Name of a column for the user; several labels are one, too."""
    return _LABEL if column.name is None else column.name


def _named(block):
    return " + ".join(str(_shown(column)) for column in block)


def _blocks_of(columns, labels):
    """Lists of columns whose terms share precisions: each of categories, labels first, and all numbers."""
    categories = [column for column in columns if column.levels is not None]
    numbers = [column for column in columns if column.levels is None]
    if labels:
        categories.insert(0, Column(None, labels))
    return [[column] for column in categories] + [numbers] * bool(numbers)


def _are_of_labels(columns):
    return any(column.name is None for column in columns)


def _problem(rows, blocks, parts, pooling):
    """What the solver takes of rows and, in parts, of each block's columns; and what logits were divided by."""
    logits = rows.logits.double().cpu()
    z = (logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else _below_the_highest(logits, -np.inf)).numpy()
    features = [_features(block, part) for block, part in zip(blocks, parts, strict=True)]
    number = np.repeat(np.arange(len(blocks)), [each.shape[1] for each in features])
    features = sparse.hstack([sparse.csr_array((len(z), 0)), *features]).tocsr()
    given = rows.y.cpu().numpy(), rows.weight.cpu().numpy(), features, number, pooling
    scale = _scale_of(rows, covariate_terms.Problem(z, *given))
    z = z / scale
    return covariate_terms.Problem(z if z.ndim == 1 else z.clip(_LOWEST), *given), scale


def _features(block, beside):
    if block[0].levels is None:
        return sparse.csr_array(features_of(beside, *_scales_of(block)).numpy())
    code = beside[:, 0].long().numpy()
    places = np.arange(len(code)), code
    return sparse.csr_array((np.ones(len(code)), places), shape=(len(code), len(block[0].levels)))


def _scale_of(rows, problem):
    """What logits are divided by, 1 unless they are on another scale, where the prior would hold what is wrong."""
    temperature = solve_temperature(rows.logits, rows.y, sample_weight=rows.weight, prior=True).temperature
    # Logits that are right of all samples have no scale: the larger the gain, the better.
    flawless = bool((rows.logits.argmax(1) == rows.y.to(rows.logits.device)).all())
    if flawless or _HIGHEST_GAIN >= 1 / temperature >= _LOWEST_GAIN:
        return 1.0
    found = covariate_terms.free_gain(problem)
    return 1 / found if found > _HIGHEST_GAIN or 0 < found < _LOWEST_GAIN else 1.0


def _scales_of(numbers):
    means, scales = (
        torch.tensor([getattr(each, name) for each in numbers], dtype=torch.float64) for name in ("mean", "scale")
    )
    return means, scales, [place for place, column in enumerate(numbers) if column.has_missing]


def _map_of(columns, learned, problem, *, n_classes, scale, refused_by):
    means, scales, missing = _scales_of([column for column in columns if column.levels is None])
    return CovariateMap(
        n_classes=n_classes,
        sizes=[len(column.levels) for column in columns if column.levels is not None],
        means=means,
        scales=scales,
        missing=missing,
        of_labels=_are_of_labels(columns),
        gains=learned.gains / scale,
        offsets=learned.offsets,
        deviations=np.sqrt(learned.variances) / np.array([[scale], [1.0]]),
        centre=0.0 if problem.centre is None else float(problem.centre * scale),
        lowest=_LOWEST * scale,
        of_new=None,
        refused_by=refused_by,
    )


def _worst_of(problem, blocks, chosen, gains):
    """Return the category that one map for all costs most out of fold: its column, its name and the nats."""
    weight = problem.weight
    told = np.column_stack([np.ones(len(weight)), weight, weight * gains])
    found = []
    for number in chosen:
        column = blocks[number][0]
        if column.levels is not None:
            sums = problem.features[:, problem.block == number].T @ told
            found += [
                (total / of_weight, _shown(column), level)
                for level, (n_samples, of_weight, total) in zip(column.levels, sums.tolist(), strict=True)
                if n_samples >= _WORST_OF
            ]
    if not found:
        return None
    gain, name, level = max(found, key=lambda each: each[0])
    return name, level, gain
