"""BaseCalibrator: fit, predict_proba, predict_log_proba, predict and score around two hooks.

A calibrator on logits implements ``_fit_logits`` and ``_transform_logits``; one that works on the inputs of the network
overrides ``_fit`` and ``_logits``.
"""

import copy
from contextlib import contextmanager
from functools import partial
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted, validate_data
from skorch import NeuralNet

from ._backbones.array import ArrayBackbone
from ._backbones.cross_fit import cross_fit
from ._backbones.datasets import dataset_behind
from ._backbones.fingerprint import content_hash, fingerprint
from ._backbones.opening import check_classifier, is_frozen, open_backbone
from ._backbones.plausibility import (
    look_at,
    look_at_item,
    look_at_number,
    look_back,
    look_for_errors,
    look_for_probabilities,
)
from ._backbones.reading import Reading, read
from ._utils.arrays import tensor_of
from ._utils.docstrings import with_shared_docs
from ._utils.encoding import Packed, is_registered, register
from ._utils.labels import check_labels, check_sample_weight, encode_labels, resolve_classes
from ._utils.metadata import NO_METADATA, Metadata, route, router_of
from ._utils.pickling import goes_to_a_worker, has_large_weights, reduce_around
from ._utils.sklearn_private import Interval, StrOptions
from ._utils.warnings import one_warning, within_another_fit
from .distributed import ALONE, Shard, Told, current
from .persistence import write

# A float64 chunk of this many entries is 1 MB and stays in the cache from one step to the next.
_ENTRIES_AT_ONCE = 1 << 17
# Parameters in which the ranks of a sharded fit may differ.
_OF_EACH_RANK = ("callbacks", "device", "num_workers", "pin_memory", "random_state", "verbose")
# What scikit-learn's own methods set, which are neither parameters nor learned.
_CONFIGURED = ("_metadata_request", "_sklearn_output_config")


class CalibrationSet(NamedTuple):
    """The samples of one fit, of which this process may hold a part only.

    Attributes
    ----------
    reading : Reading
        The inputs of this process, and what the estimator says of them.
    codes : torch.Tensor of shape (n_samples,), dtype int64
        Column index of each label, on the logits' device.
    weight : torch.Tensor of shape (n_samples,), float64
        Sample weights, 1 where the user gave none.
    shard : Shard
        Which samples these are of those of all processes.
    metadata : Metadata
        What the user gave beside them, and where it goes.
    """

    reading: Reading
    codes: torch.Tensor
    weight: torch.Tensor
    shard: Shard
    metadata: Metadata

    def of_all(self):
        """Logits, column indices and weights of the samples of all processes."""
        return tuple(map(self.shard.whole, (self.reading.logits, self.codes, self.weight)))


@with_shared_docs
class BaseCalibrator(ClassifierMixin, BaseEstimator):
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

    _parameter_constraints: dict = {
        "estimator": "no_validation",
        "response": [StrOptions({"auto", "logits", "probabilities"})],
        "classes": ["array-like", torch.Tensor, None],
        "cv": ["cv_object"],
        "device": [str, torch.device, None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "num_workers": [Interval(Integral, 0, None, closed="left")],
        "pin_memory": ["boolean"],
        "integer_scale": [Interval(Real, 0, None, closed="neither"), dict, None],
    }

    # Learned attributes that a saved calibrator does without, or makes anew from the rest and its network.
    _not_saved: frozenset = frozenset({"_backbone", "estimator_", "cv_results_"})

    # Whether the fit reads samples several times, by their numbers, which streams don't have.
    _reads_again = False

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        register(cls, _arguments)

    def __init__(
        self,
        estimator=None,
        *,
        response="auto",
        classes=None,
        cv=None,
        device=None,
        batch_size=64,
        num_workers=0,
        pin_memory=False,
        integer_scale=None,
    ):
        self.estimator = estimator
        self.response = response
        self.classes = classes
        self.cv = cv
        self.device = device
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.integer_scale = integer_scale

    def fit(self, X, y=None, sample_weight=None, **params):
        """Learn the calibration map on held-out data; the network stays as it is.

        Parameters
        ----------
        X : array-like, torch.Tensor, dict, torch.utils.data.Dataset or torch.utils.data.DataLoader
            Inputs of the estimator, first axis the samples; or, without an estimator, logits (probabilities, if
            ``response`` says so) of shape (n_samples, n_classes). A network that takes several inputs by name,
            ``network(**X)``, has them in a dict of arrays. A Dataset yields inputs, such dicts, or pairs of either and
            a label; what else an item holds, such as a weight, is left aside. Hugging Face's data sets and skorch's
            SliceDataset are Datasets too. A dict's "labels" or "label" are labels. A DataLoader stands for its Dataset,
            read with the calibrator's `batch_size`, `num_workers` and `pin_memory`; it may shuffle where nothing else
            goes by the order. An IterableDataset is gone through once, which all calibrators can do but those that
            clamp. For scikit-learn's searches, which choose rows, wrap a Dataset in skorch's SliceDataset, a dict in
            its SliceDict.
        y : array-like of shape (n_samples,), default=None
            Class labels. May be left out where X brings them.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, which count as repetitions: what is smoothed or penalised by the number of samples,
            as Platt's targets are, goes by their sum. The largest must lie between 1e-100 and 1e100.
        **params : dict
            Metadata for the ``fit`` of a classifier that isn't fitted. With scikit-learn's metadata routing they, and
            the weights, go to the classifier and to the splitter `cv` as these request them, ``groups`` for instance.

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
            any_order = y is None and sample_weight is None and not params
            y = None if y is None else check_labels(y)
            self._check_alike(ranks, sample_weight, params)
            metadata = self._route(y, {"sample_weight": sample_weight, **params}, ranks)
            self._forget()
            reading = self._read(X, y, metadata, any_order)
            samples, classes, looks = self._understand(reading, sample_weight, metadata, ranks)
            self._fit(samples)
            self._remember(reading, classes)
            self._look_back(looks)
        return self

    def get_metadata_routing(self):
        """Who gets the metadata that `fit` is given.

        Returns
        -------
        MetadataRouter
            To a classifier that isn't fitted, and to the splitter that folds for it.
        """
        return self._router().add_self_request(self)

    def _router(self):
        return router_of(type(self).__name__, **self._routed_to())

    def _routed_to(self):
        """The classifier that `fit` fits and the splitter that it uses, where it does."""
        return {} if is_frozen(self.estimator) else {"classifier": self.estimator, "splitter": self.cv}

    def _route(self, y, params, ranks=ALONE):
        """Metadata on their way, the weights among them."""
        params = {name: value for name, value in params.items() if value is not None}
        if not params:
            return NO_METADATA
        if "sample_weight" in params and y is not None:
            weight = self._check_weight(params["sample_weight"], len(y), ranks)
            # A scorer sees the samples of all.
            params["sample_weight"] = Shard.of(ranks, len(y)).whole(weight).numpy()
        if not is_frozen(self.estimator):
            check_classifier(self.estimator)
        return route(self.get_metadata_routing(), params, **self._routed_to())

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
        inputs: with ``module = calibrator.module_.eval()``, of ``module.logits(module.perturbation(x))``.

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
            If there isn't one finite logit a class.

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
        logits, _ = backbone.logits(backbone.open(logits))
        return self._transform_rows(torch.log_softmax, self._check_width(logits))

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

    def _read(self, X, y, metadata, any_order):
        """X opened, and what the estimator says of it."""
        if is_frozen(self.estimator):
            return read(self._open_backbone(), X, y, any_order=any_order, again=self._reads_again)
        return self._cross_fitting()(self.estimator, X, y, metadata)

    def _cross_fitting(self):
        """What fits a classifier, and reads X without each fold."""
        return partial(cross_fit, response=self.response, cv=self.cv)

    def _understand(self, reading, sample_weight, metadata, ranks):
        """What is to be learned from, the names of its classes, and how it looks."""
        backbone, logits = reading.backbone, reading.logits
        classes, codes = self._check_y(reading.labels, logits, backbone, ranks)
        weight = self._check_weight(sample_weight, len(logits), ranks)
        looks = self._look_at(logits, codes, weight, classes, backbone, ranks)
        return CalibrationSet(reading, codes, weight, Shard.of(ranks, len(logits)), metadata), classes, looks

    def _fit(self, samples):
        """Hook of what needs more than logits; by default, `_fit_logits` on those of all processes."""
        self._fit_logits(*samples.of_all())

    def _check_alike(self, ranks, sample_weight, params):
        """Raise on all ranks where one was asked for something else."""
        if ranks is ALONE:
            return
        if not is_frozen(self.estimator):
            raise ValueError(f"estimator must be fitted where samples are sharded; got {self.estimator!r}")
        if params:
            raise ValueError(f"metadata must be sample_weight alone where samples are sharded; got {sorted(params)}")
        given = {name: value for name, value in _arguments(self).items() if name not in _OF_EACH_RANK}
        told: dict[str, Told | str] = {name: Told(repr(value), content_hash(value)) for name, value in given.items()}
        told["sample_weight"] = "None" if sample_weight is None else "weights"
        ranks.check_alike(calibrator=type(self).__name__, **told)

    def _check_weight(self, sample_weight, n_samples, ranks):
        """Weights of this process's samples, of which those of all mustn't be 0."""
        weight = check_sample_weight(sample_weight, n_samples, some=ranks is ALONE)
        if ranks is not ALONE and not ranks.sum(weight.sum()):
            raise ValueError("sample_weight must not be zero everywhere; got zeros on all ranks")
        return weight

    def _check_y(self, y, logits, backbone, ranks):
        """Names of the columns, and the labels as column indices on the logits' device."""
        if self._takes_for_logits() and not within_another_fit():
            look_for_probabilities(logits)
        seen = y
        if ranks is not ALONE:
            kinds = {"dtype_of_the_logits": logits.dtype, "kind_of_the_labels": y.dtype.kind}
            ranks.check_alike(number_of_classes=logits.shape[1], network=fingerprint(backbone), **kinds)
            seen = np.concatenate(ranks.everyone(np.unique(y)))
        names = {"known": backbone.classes, "likely": backbone.likely_classes}
        classes = resolve_classes(seen, logits.shape[1], classes=self.classes, **names)
        return classes, tensor_of(encode_labels(y, classes), "y").to(logits.device)

    def _takes_for_logits(self):
        """Whether nobody said that what is taken for logits is."""
        return self.response == "auto" and isinstance(self._frozen_part(), (torch.nn.Module, type(None)))

    def _look_at(self, logits, codes, weight, classes, backbone, ranks=ALONE):
        """Note what looks like a mistake in the data; None where another fit has looked at them, or no network."""
        if ranks is not ALONE or within_another_fit():
            return None
        # Folds are fitted without what they calibrate on.
        if self.estimator is not None and is_frozen(self.estimator):
            look_for_errors(logits, codes, weight)
        # What other classifiers call scores needn't be logits, and they know their classes.
        if not isinstance(self._frozen_part(), (torch.nn.Module, NeuralNet, type(None))):
            return None
        inputs = None
        if self.estimator is not None:
            look_at_item(backbone.guessed_item)
            inputs = backbone.range_of_inputs
        return look_at(logits, codes, weight, classes, known=backbone.classes is not None, inputs=inputs)

    def _look_back(self, looks):
        """Note what looks like a mistake in what was fitted."""
        if looks is None:
            return
        look_back(looks, getattr(self, "temperature_", None), raw=self._takes_for_logits())
        look_at_number(looks.n_samples, self._n_free, type(self).__name__)

    def _open_backbone(self, **options):
        options |= self._loading()
        return open_backbone(self.estimator, response=self.response, device=self.device, **options)

    def _loading(self):
        """How a network's inputs are read."""
        return {name: getattr(self, name) for name in ("batch_size", "num_workers", "pin_memory", "integer_scale")}

    def _rebind(self, reading, classes, /, **params):
        """Take an estimator's inputs from now on, having been fitted to the logits that it gave."""
        self.set_params(**params)
        del self.n_features_in_
        self._remember(reading, classes)
        return self

    def _remember(self, reading, classes):
        """Take on what predictions need beside what was learned."""
        X = reading.X
        self._backbone = reading.deployed
        self.classes_ = classes
        if not is_frozen(self.estimator):
            self.estimator_ = reading.deployed.classifier
        if not isinstance(X, torch.utils.data.Dataset):
            shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
            # Images have no number of features: what is told one tries the estimator on rows of so many.
            if len(shape) <= 2:
                self.n_features_in_ = int(shape[1]) if len(shape) > 1 else 1
        if hasattr(X, "columns"):
            validate_data(self, X, skip_check_array=True)

    def save(self, path):
        """Write what was learned to a file, without the network; `skclamp.load` reads it.

        For the whole calibrator there are joblib and, but around a torch network, skops.

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

    def _learned(self):
        """What `save` keeps beside the parameters."""
        learned = {name for name in vars(self) if name.startswith("_") or name.endswith("_")}
        return {name: getattr(self, name) for name in sorted(learned - self._not_saved - set(_CONFIGURED))}

    def _restore(self, learned, backbone=None):
        """Take on what `_learned` gave, around the network of `backbone` or, without one, the calibrator's own."""
        shadowing = [name for name in learned if hasattr(type(self), name)]
        if shadowing:
            raise ValueError(f"{type(self).__name__} doesn't learn {shadowing[0]!r}")
        self.__dict__.update(learned)
        self._backbone = self._open_backbone() if backbone is None else backbone

    def _forget(self):
        for name in [name for name in vars(self) if name.endswith("_") or name == "_backbone"]:
            delattr(self, name)

    @contextmanager
    def _kept_on_error(self):
        """Leave the calibrator as it was when the body raises, an earlier fit included."""
        before = vars(self).copy()
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _logits(self, X):
        shape, expected = tuple(getattr(X, "shape", ())), getattr(self, "n_features_in_", None)
        if len(shape) == 2 and expected not in (None, shape[1]):
            raise ValueError(
                f"X has {shape[1]} features, but {type(self).__name__} is expecting {expected} features as input"
            )
        return self._check_width(self._backbone.logits(self._backbone.open(X), labelled=False)[0])

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
        X = dataset_behind(X)
        named = hasattr(X, "columns") or hasattr(self, "feature_names_in_")
        if named and not isinstance(X, torch.utils.data.Dataset):
            validate_data(self, X, reset=False, skip_check_array=True)
        return self._transform_rows(normalise, self._logits(X))

    def _transform_rows(self, normalise, logits):
        """From logits in the network's precision, a chunk at a time."""
        out = np.empty(tuple(logits.shape))
        rows = max(1, _ENTRIES_AT_ONCE // logits.shape[1])
        for chunk, place in zip(logits.split(rows), torch.from_numpy(out).split(rows), strict=True):
            place.copy_(normalise(self._transform_logits(chunk.to(torch.float64, copy=True)), 1))
        return out

    def _fit_logits(self, logits, y, sample_weight):
        """Hook: learn from logits (n, K), column indices (n,) and float64 weights (n,)."""
        raise TypeError(f"{type(self).__name__} must implement _fit_logits")

    def _transform_logits(self, logits):
        """Hook: calibrated log-probabilities, up to a constant a row, of some rows of float64 logits."""
        raise TypeError(f"{type(self).__name__} must implement _transform_logits")

    @property
    def _n_parameters(self):
        """Hook: how many numbers of the map the fit has set; by default, all floats in the learned attributes."""
        return sum(_n_floats(value) for name, value in vars(self).items() if name.endswith("_") and name != "classes_")

    @property
    def _n_free(self):
        """Hook: how many of them nothing but the samples holds: no penalty, no pooling, no held-out samples."""
        return 0

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if not is_frozen(self.estimator):
            tags.input_tags.sparse = get_tags(self.estimator).input_tags.sparse
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "classes_")

    def _frozen_part(self):
        """The estimator itself, taken out of scikit-learn's wrapper."""
        return self.estimator.estimator if isinstance(self.estimator, FrozenEstimator) else self.estimator

    def __copy__(self):
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __reduce_ex__(self, protocol):
        network = self._frozen_part()
        if not (has_large_weights(network) and goes_to_a_worker()):
            return super().__reduce_ex__(protocol)
        return reduce_around(network, type(self)._from_state, self.__getstate__())

    @classmethod
    def _from_state(cls, state):
        calibrator = cls.__new__(cls)
        calibrator.__setstate__(state)
        return calibrator

    def __sklearn_clone__(self):
        """An unfitted copy that shares a frozen estimator."""
        params = {
            name: clone(value, safe=False) for name, value in self.get_params(deep=False).items() if name != "estimator"
        }
        estimator = self.estimator if is_frozen(self.estimator) else clone(self.estimator)
        twin = type(self)(estimator=estimator, **params)
        for name in _CONFIGURED:
            if hasattr(self, name):
                setattr(twin, name, copy.deepcopy(getattr(self, name)))
        return twin

    def get_params(self, deep=True):
        """Get the parameters of this calibrator.

        Parameters
        ----------
        deep : bool, default=True
            Whether to include those of an estimator that isn't frozen.

        Returns
        -------
        dict
            Values by name.
        """
        params = super().get_params(deep=deep)
        nested = [name for name in params if name.startswith("estimator__")]
        return {k: v for k, v in params.items() if k not in nested} if is_frozen(self.estimator) else params

    def set_params(self, **params):
        """Set parameters of this calibrator.

        Parameters
        ----------
        **params : dict
            New values by name; ``estimator__name`` reaches into an estimator that isn't frozen.

        Returns
        -------
        self : object
            The calibrator itself.

        Raises
        ------
        ValueError
            If a name is unknown, or reaches into a frozen estimator.
        """
        nested = [name for name in params if name.startswith("estimator__")]
        if nested and is_frozen(params.get("estimator", self.estimator)):
            raise ValueError(f"estimator is frozen: its parameters can't be set; got {nested[0]!r}")
        return super().set_params(**params)

    def __getstate__(self):
        """The attributes; those of learned ones that hold tensors, which skops can't, as arrays."""
        return {name: _packed(name, value) for name, value in super().__getstate__().items()}

    def __setstate__(self, state):
        unpacked = {name: value.value() if isinstance(value, Packed) else value for name, value in state.items()}
        super().__setstate__(unpacked)

    def __repr__(self, N_CHAR_MAX=700):
        shown = object.__new__(type(self))
        for name, value in vars(self).items():
            setattr(shown, name, _by_name(value))
        return BaseEstimator.__repr__(shown, N_CHAR_MAX)


def _packed(name, value):
    """What stands for an attribute in a calibrator's state."""
    whole = isinstance(value, (BaseCalibrator, FrozenEstimator))
    return Packed(value) if name.endswith("_") and is_registered(value) and not whole else value


def _arguments(calibrator):
    """What `save` takes for the arguments of a calibrator."""
    return {name: value for name, value in calibrator.get_params(deep=False).items() if name != "estimator"}


def _n_floats(value):
    """How many floats a learned attribute holds; indices, counts and flags are none."""
    if isinstance(value, BaseCalibrator):
        return value._n_parameters
    if isinstance(value, torch.nn.Module):
        value = list(value.parameters())
    if isinstance(value, (list, tuple)):
        return sum(map(_n_floats, value))
    if isinstance(value, torch.Tensor):
        return value.numel() if value.is_floating_point() else 0
    known = isinstance(value, (float, np.floating, np.ndarray))
    return np.size(value) if known and np.asarray(value).dtype.kind == "f" else 0


def _by_name(value):
    """What a repr shows of a parameter: of networks, which would print every layer, only the class."""
    if isinstance(value, FrozenEstimator):
        return FrozenEstimator(_by_name(value.estimator))
    return _ByName(value) if isinstance(value, (torch.nn.Module, NeuralNet)) else value


class _ByName:
    """Stands for a network in a calibrator's repr."""

    def __init__(self, module):
        self.name = type(module).__name__

    def __repr__(self):
        return f"{self.name}(...)"
