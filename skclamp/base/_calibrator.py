"""BaseCalibrator: fit, predict_proba, predict_log_proba, predict and score around two hooks."""

import math
from dataclasses import dataclass, field
from functools import cached_property
from numbers import Integral, Real
from typing import ClassVar

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.validation import check_is_fitted, validate_data
from torch.utils.data import Dataset

from .._backbones.array import ArrayBackbone
from .._backbones.datasets import LabelledSamples, dataset_behind
from .._backbones.differentiable import module_behind
from .._backbones.instead import check_samples
from .._backbones.reading import labels_beside
from .._utils.arrays import absent_again, absent_among, is_exporting
from .._utils.docstrings import with_shared_docs
from .._utils.encoding import register
from .._utils.labels import check_labels
from .._utils.least_probability import raised
from .._utils.parameters import Choices, check_parameters
from .._utils.progress import VERBOSE
from .._utils.sklearn_private import Interval
from .._utils.warnings import one_warning
from ..distributed import current
from ..modules import ClampedModule
from ..persistence import write
from ._calibration_map import CalibrationMap
from ._learned import LearnedMixin
from ._parameters import AroundEstimatorMixin, arguments_of
from ._samples import ReadingMixin

# A float64 chunk of this many entries is 1 MB and stays in the cache from one step to the next.
_ENTRIES_AT_ONCE = 1 << 17


@with_shared_docs
@dataclass(eq=False, repr=False, kw_only=True)
class BaseCalibrator(ReadingMixin, AroundEstimatorMixin, LearnedMixin, ClassifierMixin, BaseEstimator):
    """What every calibrator shares.

    A calibrator of one's own implements two hooks: ``_fit_logits``, which learns from logits, column indices and
    weights (1 where none are given), all tensors, and ``_transform_logits``, which takes some rows of float64 logits
    to calibrated ones.

    Parameters
    ----------
    {estimator}
    {shared_parameters}

    Examples
    --------
    >>> import torch
    >>> from skclamp.base import BaseCalibrator
    >>> class PriorCorrection(BaseCalibrator):
    ...     def _fit_logits(self, logits, y, sample_weight):
    ...         predicted, found = logits.softmax(1).mean(0), y.bincount(minlength=logits.shape[1]) / len(y)
    ...         self.shift_ = torch.log(found / predicted)
    ...
    ...     def _transform_logits(self, logits):
    ...         return logits + self.shift_
    >>> logits, y = torch.zeros(4, 2), [0, 1, 1, 1]
    >>> PriorCorrection().fit(logits, y).predict_proba(logits[:1]).round(2)
    array([[0.25, 0.75]])
    """

    estimator: object = field(default=None, kw_only=False)
    response: str = "auto"
    classes: object = None
    cv: object = None
    device: str | torch.device | None = None
    batch_size: int = 64
    integer_scale: float | dict[str, float] | None = None
    least_probability: float | str = "auto"
    verbose: int | str = "auto"

    _parameter_constraints: ClassVar[dict] = {
        "estimator": "no_validation",
        "response": [Choices("auto", "logits", "probabilities")],
        "classes": ["array-like", torch.Tensor, None],
        "cv": ["cv_object"],
        "device": [str, torch.device, None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "integer_scale": [Interval(Real, 0, None, closed="neither"), dict, None],
        "least_probability": [Interval(Real, 0, 0.5, closed="left"), Choices("auto")],
        "verbose": VERBOSE,
    }

    # Learned attributes that a saved calibrator does without, or makes anew from the rest and its network.
    _not_saved: ClassVar[frozenset] = frozenset({"_backbone", "estimator_", "cv_results_", "module_"})

    # Whether the map is one of logarithms, which probabilities of 0 don't have.
    _takes_logarithms = True

    # Whether zeros are raised before the map, and not by the backbone.
    _raises_zeros = True

    # Learned arrays that `_transform_logits` takes as tensors too: `module_` has them as buffers.
    _arrays: ClassVar[tuple[str, ...]] = ()

    # Whether it takes logits of -inf, as of classes that a sample doesn't have, and gives the others what they would
    # have among themselves.
    _takes_absent = True

    # About how many numbers of each class samples alone have to set; 0 where there are so few that it can't do harm.
    _n_per_class = 0

    # With so many samples for each of them a map is hardly ever worse than one temperature: nothing is held out to see.
    _enough_per_number = 10

    # Whether the fit reads samples several times, by their numbers, which streams don't have.
    _reads_again = False

    # The group of a page that it is in.
    _group = "others"

    # A comparison of the package's maps has it up to so many classes, from so many samples for each.
    _compared_classes = math.inf
    _compared_samples = 0

    @classmethod
    def _default_candidates(cls):
        """Names and maps of this kind that a selector chooses from where nobody says, from few parameters to many."""
        return []

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        register(cls, arguments_of)

    def fit(self, X, y=None, sample_weight=None, **params):
        """Learn the calibration map on held-out data; the network stays as it is.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            Inputs of the estimator, first axis the samples; or, without an estimator, logits (probabilities, if
            ``response`` says so) of shape (n_samples, n_classes). A logit of -inf, an array's or a network's, says that
            the sample doesn't have the class, as masked actions are; its probability is then exactly 0, or the
            calibrator says that it takes none. A network that takes several inputs by name,
            ``network(**X)``, has them in a dict of arrays. A Dataset yields inputs, such dicts, or pairs of either and
            a label; what else an item holds, such as a weight, is left aside. Hugging Face's data sets and skorch's
            SliceDataset are Datasets too. A dict's "labels" or "label" are labels. A DataLoader stands for its Dataset,
            read in its own order with the loader's batch size, collate_fn, pinned memory and workers; it may shuffle
            where nothing else goes by the order. An IterableDataset is gone through once, which all calibrators can do
            but those that perturb the input. For scikit-learn's searches, which choose rows, wrap a Dataset in skorch's
            SliceDataset, a dict in its SliceDict.
        y : array-like of shape (n_samples,), default=None
            Class labels. May be left out where X brings them, and must be the same otherwise, or other names for them,
            such as strings for numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, which count as repetitions: what is smoothed or penalised by the number of samples,
            as Platt's targets are, goes by their sum. The largest must lie between 1e-100 and 1e100.
        **params : dict
            ``groups`` for splitters that go by them: `cv`, and that of a guard; all else is for the ``fit`` of a
            classifier that isn't fitted. With scikit-learn's metadata routing they, and the weights, go to whoever
            requests them.

        Returns
        -------
        self : object
            The fitted calibrator.

        Raises
        ------
        ValueError, TypeError
            If a parameter, X or y breaks a rule; the message says which. An earlier fit is then kept.

        Warns
        -----
        TrainingDataWarning
            If a fitted estimator is right on each of 500 samples or more, as on those that trained it.
        CalibrationWarning
            Others of its kind, see `skclamp.exceptions`.
        """
        ranks = current()
        with self._kept_on_error(), ranks.fitting(), one_warning():
            self._validate_params()
            check_samples(X, type(self).__name__)
            any_order = y is None and sample_weight is None and not params
            y = None if y is None else check_labels(y, beside=("X", X))
            self._check_alike(ranks, sample_weight, params)
            metadata = self._route(y, {"sample_weight": sample_weight, **params}, ranks)
            self._forget()
            reading = self._read(X, y, metadata, any_order)
            samples, classes, looks = self._understand(reading, sample_weight, metadata, ranks)
            self._n_samples = samples.shard.total
            hopeless = self._look_ahead(samples)
            mapped = self._fit(samples)
            self._remember(reading, classes)
            rival = None if hopeless else self._look_out_of_fold(samples)
            self._look_over(samples, mapped, rival)
            self._look_back(looks, few=hopeless or (rival is not None and rival.worse))
        return self

    def predict_proba(self, X):
        """Calibrated probabilities.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            As in `fit`; a DataLoader mustn't shuffle. Labels in it are left aside.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Columns in the order of ``classes_``; each row sums to 1.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X isn't what the calibrator was fitted to: its shape, its dtype, NaN or infinity in it.
        """
        return self._map_rows(torch.softmax, X)

    def predict_log_proba(self, X):
        """Logarithm of the calibrated probabilities, exact where they underflow.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            As in `fit`; a DataLoader mustn't shuffle. Labels in it are left aside.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Columns in the order of ``classes_``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X isn't what the calibrator was fitted to: its shape, its dtype, NaN or infinity in it.
        """
        return self._map_rows(torch.log_softmax, X)

    def transform_logits(self, logits):
        """Calibrated log-probabilities of logits that were computed before.

        For whoever runs the network elsewhere, once and for several uses. What `predict_log_proba` makes of the
        inputs, this makes of the network's logits for them; of neural clamping, of its logits for the *perturbed*
        inputs, averaged over its views: with ``module = calibrator.module_.eval()``, of ``module.averaged_logits(x)``.

        Parameters
        ----------
        logits : array-like or torch.Tensor of shape (n_samples, n_classes)
            Or (n_samples,) or (n_samples, 1), for the second of two classes. Logits whatever ``response`` says;
            logarithms of positive probabilities are some.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), float64
            Logits whose softmax are the calibrated probabilities, which these are the logarithms of.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If there isn't one logit per class, finite or -inf.

        Examples
        --------
        >>> import torch
        >>> from skclamp import TemperatureScaling
        >>> _ = torch.manual_seed(0)
        >>> network = torch.nn.Linear(2, 3)
        >>> X = 5 * torch.randn(500, 2)
        >>> y = torch.multinomial((network(X) / 2).softmax(1), 1)[:, 0]
        >>> calibrator = TemperatureScaling(network).fit(X, y)
        >>> logits = network(X[:4]).detach()
        >>> bool((calibrator.transform_logits(logits) == calibrator.predict_log_proba(X[:4])).all())
        True
        """
        check_is_fitted(self)
        backbone = ArrayBackbone("logits")
        logits, _ = backbone.logits(backbone.open(self._mapped_logits(logits)))
        self._check_width(logits)
        self._look_at_new(logits)
        return self._transform_rows(torch.log_softmax, logits)

    @cached_property
    def module_(self):
        """An ordinary torch module from what the estimator takes to calibrated logits."""
        check_is_fitted(self)
        return self._module_around(module_behind(self._backbone, type(self).__name__))

    def _module_around(self, network):
        """Hook: a network of logits, and the map after it."""
        return ClampedModule(network, output=CalibrationMap(self))

    def predict(self, X):
        """The most probable class of each sample.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            As in `fit`; a DataLoader mustn't shuffle. Labels in it are left aside.

        Returns
        -------
        ndarray of shape (n_samples,)
            Names of ``classes_``.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            If X isn't what the calibrator was fitted to: its shape, its dtype, NaN or infinity in it.
        """
        best = self.predict_log_proba(X).argmax(1)
        return self.classes_[best]

    def score(self, X, y=None, sample_weight=None):
        """Accuracy: the share of samples whose most probable class is their label.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            As in `fit`.
        y : array-like of shape (n_samples,), default=None
            Class labels. May be left out where X brings them.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples.

        Returns
        -------
        float
            Between 0 and 1.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError, TypeError
            As `predict`; if there are no labels, or y aren't those that X brings.
        """
        predicted, y = self._predict_labelled("predict", X, y, in_order=sample_weight is not None)
        return float(accuracy_score(y, predicted, sample_weight=sample_weight))

    @property
    def _treats_classes_alike(self):
        """Hook: whether the map treats all classes alike, so that it can't make one more frequent."""
        return False

    def _validate_params(self):
        check_parameters(self._parameter_constraints, self.get_params(deep=False), type(self).__name__)

    def _fit(self, samples):
        """Hook of what needs more than logits; by default, `_fit_logits` on those of all processes.

        What it returns says what the map takes, a `Mapped`; None is the estimator's logits.
        """
        self._fit_logits(*samples.of_all())

    def save(self, path):
        """Write what was learned to a file, without the network; `skclamp.load` reads it.

        Parameters
        ----------
        path : str or path-like
            The safetensors file to write. One that is there is replaced once the new one is complete.

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError
            If a perturbation is a module of the user's own that `skclamp.persistence.register` doesn't know.
        FileNotFoundError
            If there is no such folder.
        ImportError
            If safetensors isn't installed: ``pip install "skclamp[save]"``.

        Warns
        -----
        NotSavedWarning
            If a parameter, such as callbacks, can't be saved.
        """
        check_is_fitted(self)
        write(self, path)

    def _predict_labelled(self, method, X, y=None, *, in_order=False, name="y"):
        """What a method says of X, and the labels: y or those that X brings, read in the same pass.

        `in_order` says that something beside goes by the order of the samples, `name` what the user calls y.
        """
        check_is_fitted(self)
        X = dataset_behind(X, any_order=y is None and not in_order)
        if not isinstance(X, Dataset):
            y = check_labels(y, name) if y is None else y
            return getattr(self, method)(X), y
        y = None if y is None else check_labels(y, name)
        samples = LabelledSamples(X)
        predicted = getattr(self, method)(samples)
        return predicted, labels_beside(samples.labels, y, len(predicted), name)

    def _logits(self, X, labelled):
        """Hook: logits of X and, if wanted, the labels that it brings, or None."""
        return self._backbone.logits(self._backbone.open(X), labelled=labelled)

    def _check_features(self, X):
        shape, expected = tuple(getattr(X, "shape", ())), getattr(self, "n_features_in_", None)
        if len(shape) == 2 and expected not in (None, shape[1]):
            are_logits = self.estimator is not None and shape[1] == len(self.classes_)
            raise ValueError(
                f"X has {shape[1]} features, but {type(self).__name__} is expecting {expected} features as input"
                f"{'. If X holds logits, transform_logits(logits) takes them' if are_logits else ''}"
            )

    def _check_width(self, logits):
        if logits.shape[1] != len(self.classes_):
            raise ValueError(
                f"X has {logits.shape[1]} columns of logits, but {type(self).__name__} is expecting "
                f"{len(self.classes_)} features as input"
            )
        return logits

    def _map_rows(self, normalise, X):
        """Calibrated and normalised rows in float64."""
        check_is_fitted(self)
        samples = X if isinstance(X, LabelledSamples) else LabelledSamples(dataset_behind(X))
        labelled, X = samples is X, samples.X
        named = hasattr(X, "columns") or hasattr(self, "feature_names_in_")
        if named and not isinstance(X, Dataset):
            validate_data(self, X, reset=False, skip_check_array=True)
        self._check_features(X)
        logits, samples.labels = self._logits(X, labelled)
        if self.estimator is None:
            self._look_at_new(logits)
        return self._transform_rows(normalise, self._check_width(logits))

    def _transform_rows(self, normalise, logits):
        """From logits in the network's precision, a chunk at a time."""
        out = np.empty(tuple(logits.shape))
        rows = max(1, _ENTRIES_AT_ONCE // logits.shape[1])
        for chunk, place in zip(logits.split(rows), torch.from_numpy(out).split(rows), strict=True):
            chunk = chunk.to(torch.float64, copy=True)
            absent = absent_among(chunk)
            mapped = self._calibrated(chunk)
            if absent is not None and (lost := (mapped == -math.inf).all(1) | mapped.isnan().any(1)).any():
                row = int(lost.nonzero()[0])
                raise ValueError(
                    f"{type(self).__name__} leaves no class to a sample with logits of -inf; got {chunk[row].tolist()}"
                )
            place.copy_(normalise(mapped, 1))
        return out

    def _calibrated(self, logits):
        """As `_transform_logits`, of logits that may stand for probabilities of 0 or be -inf."""
        absent = absent_among(logits)
        if not self._takes_absent and not is_exporting():
            self._check_absent(absent)
        least = self.least_probability_ if self._raises_zeros else 0.0
        return absent_again(self._transform_logits(raised(logits, least)), absent)

    def _mapped_logits(self, logits):
        """Hook: what the map takes, of a network's logits."""
        return logits

    def _fit_logits(self, logits, y, sample_weight):
        """Hook: learn from logits (n, K), column indices (n,) and float64 weights (n,)."""
        raise TypeError(f"{type(self).__name__} must implement _fit_logits")

    def _transform_logits(self, logits):
        """Hook: calibrated log-probabilities, up to a constant per row, of some rows of float64 logits."""
        raise TypeError(f"{type(self).__name__} must implement _transform_logits")

    def __sklearn_is_fitted__(self):
        return hasattr(self, "classes_")
