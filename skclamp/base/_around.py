"""AroundEstimator: what stands around an estimator that may be frozen, and keeps what it learned beside."""

import copy
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from typing import ClassVar

import torch
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from skorch import NeuralNet

from .._backbones.opening import is_frozen
from .._utils.encoding import register
from .._utils.metadata import keeping_together, router_of
from .._utils.outputs import SOFTMAX
from .._utils.parameters import check_parameters
from ..persistence import load

# What scikit-learn's own methods set, which are neither parameters nor learned.
_CONFIGURED = (
    "_metadata_request",
    "_sklearn_output_config",
    "_skl_callbacks",
    "_skl_callbacks_to_teardown",
    "_callback_fit_ctx",
    "_parent_callback_ctx",
)


@dataclass(eq=False, repr=False, kw_only=True)
class AroundEstimator(BaseEstimator):
    """Parameters, clones and the repr of what stands around an estimator; what it learned, kept and given away."""

    estimator: object = field(default=None, kw_only=False)

    # Learned attributes that a file does without, or that are made anew from the rest and the estimator.
    _not_saved: ClassVar[frozenset] = frozenset({"_backbone"})

    # With scikit-learn's metadata routing, unless somebody says otherwise, as of splitters that go by groups.
    __metadata_request__fit = {"groups": True}

    # A class has those of its bases, and its own.
    _parameter_constraints: ClassVar[dict] = {"estimator": "no_validation"}

    def __init_subclass__(cls, **options):
        super().__init_subclass__(**options)
        cls._parameter_constraints = {**super(cls, cls)._parameter_constraints, **cls._parameter_constraints}
        register(cls, arguments_of)

    @classmethod
    def load(cls, path, estimator=None, **options):
        """Read one of this class that was saved: `skclamp.load`, which reads any.

        Parameters
        ----------
        path : str or path-like
            The file.
        estimator : object, default=None
            What it was fitted around; None where that was nothing.
        **options : dict
            Others of `skclamp.load`.

        Returns
        -------
        object
            What was saved, around the estimator.

        Raises
        ------
        TypeError
            If the file holds one of another class.
        """
        found = load(path, estimator, **options)
        if not isinstance(found, cls):
            raise TypeError(f"path must be a file of a {cls.__name__}; got that of a {type(found).__name__}")
        return found

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
        frozen = is_frozen(self.estimator)
        return {name: value for name, value in params.items() if not (frozen and name.startswith("estimator__"))}

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

    def __sklearn_clone__(self):
        """An unfitted copy that shares a frozen estimator."""
        bare = copy.copy(self)
        bare.estimator = None
        twin = BaseEstimator.__sklearn_clone__(bare)
        twin.estimator = self.estimator if is_frozen(self.estimator) else clone(self.estimator)
        return twin

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if not is_frozen(self.estimator):
            tags.input_tags.sparse = get_tags(self.estimator).input_tags.sparse
        return tags

    def __sklearn_is_fitted__(self):
        return hasattr(self, "classes_")

    def __repr__(self, N_CHAR_MAX=700):
        shown = object.__new__(type(self))
        shown.__dict__ = {name: _by_name(value) for name, value in vars(self).items()}
        return BaseEstimator.__repr__(shown, N_CHAR_MAX)

    def get_metadata_routing(self):
        """Who gets the metadata that `fit` is given.

        Returns
        -------
        MetadataRouter
            To an estimator that isn't fitted, to the splitter that folds for it, and to that of a guard.
        """
        return router_of(self, **self._routed_to()).add_self_request(self)

    def _routed_to(self, groups=None):
        """The classifier that `fit` fits, the splitter that folds for it, and that of a guard, where there are any."""
        if is_frozen(self.estimator):
            return {}
        stratified = getattr(self, "_outputs", SOFTMAX) == SOFTMAX
        return {"estimator": self.estimator, "splitter": keeping_together(self.cv, groups, stratified)}

    def _html_repr(self):
        """Return scikit-learn's diagram for notebooks and, once fitted, the summary below it."""
        diagram = super()._html_repr()
        return f"{diagram}<p>{escape(self.summary())}</p>" if self.__sklearn_is_fitted__() else diagram

    def _frozen_part(self):
        """The estimator itself, taken out of scikit-learn's wrapper."""
        return self.estimator.estimator if isinstance(self.estimator, FrozenEstimator) else self.estimator

    def _validate_params(self):
        check_parameters(self._parameter_constraints, vars(self), type(self).__name__)

    @contextmanager
    def _kept_on_error(self, *, anew=False):
        """Leave everything as it was when the body raises, an earlier fit included, which `anew` forgets."""
        before = vars(self).copy()
        if anew:
            for name in [name for name in before if name.endswith("_") or name == "_backbone"]:
                delattr(self, name)
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _learned(self):
        """Return the attributes that `save` keeps beside the parameters."""
        learned = {name for name in vars(self) if name.startswith("_") or name.endswith("_")}
        return {name: getattr(self, name) for name in sorted(learned - self._not_saved - set(_CONFIGURED))}

    def _restore(self, learned, backbone=None):
        """Take on what `_learned` gave, around the network of `backbone` or, without one, its own."""
        shadowing = [name for name in learned if hasattr(type(self), name)]
        if shadowing:
            raise ValueError(f"{type(self).__name__} doesn't learn {shadowing[0]!r}")
        self.__dict__.update(learned)
        self._backbone = self._open_backbone() if backbone is None else backbone
        self._backbone.scale_of_fit = learned.get("_scale_of_inputs")


def arguments_of(calibrator):
    """Return the constructor's arguments of a calibrator, but for the estimator."""
    return {name: value for name, value in calibrator.get_params(deep=False).items() if name != "estimator"}


def _by_name(value):
    """Return a parameter as a repr shows it: of what is or holds a network, every layer of it, only the class."""
    if isinstance(value, AroundEstimator):
        return _ByName(repr(value))
    holds_network = isinstance(value, (torch.nn.Module, NeuralNet, FrozenEstimator, Pipeline))
    return _ByName(f"{type(value).__name__}(...)") if holds_network else value


class _ByName(str):
    """Stands for a network, or for what is around one, in a calibrator's repr."""

    __repr__ = str.__str__
