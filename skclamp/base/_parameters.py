"""Parameters around an estimator that may be frozen: who gets metadata, copies without a fit, the repr."""

import copy
from importlib.metadata import PackageNotFoundError, metadata

import torch
from sklearn.base import BaseEstimator, clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from skorch import NeuralNet

from .._backbones.opening import check_classifier, is_frozen
from .._utils.metadata import NO_METADATA, route, router_of
from ..distributed import ALONE, Shard

# What scikit-learn's own methods set, which are neither parameters nor learned.
CONFIGURED = ("_metadata_request", "_sklearn_output_config")


class AroundEstimatorMixin(BaseEstimator):
    """Routing, parameters, clones and the repr of what stands around an estimator."""

    # Where scikit-learn's diagrams link to.
    _doc_link_module = "skclamp"

    @property
    def _doc_link_template(self):
        return _template_of_pages()

    def get_metadata_routing(self):
        """Who gets the metadata that `fit` is given.

        Returns
        -------
        MetadataRouter
            To a classifier that isn't fitted, to the splitter that folds for it, and to that of a guard.
        """
        return self._router().add_self_request(self)

    def _router(self):
        return router_of(type(self).__name__, **self._routed_to())

    def _routed_to(self):
        """The classifier that `fit` fits, the splitter that folds for it, and that of a guard, where there are any."""
        return {} if is_frozen(self.estimator) else {"classifier": self.estimator, "splitter": self.cv}

    def _route(self, y, params, ranks=ALONE):
        """Metadata on their way, the weights among them."""
        params = {name: value for name, value in params.items() if value is not None}
        if not params:
            return NO_METADATA
        if "sample_weight" in params and y is not None:
            weight = self._check_weight(params["sample_weight"], len(y), ranks)
            # A scorer sees the samples of all.
            params["sample_weight"] = Shard.of(ranks, len(y)).all_gather(weight).numpy()
        if not is_frozen(self.estimator):
            check_classifier(self.estimator)
        return route(self.get_metadata_routing(), params, **self._routed_to())

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

    def __sklearn_clone__(self):
        """An unfitted copy that shares a frozen estimator."""
        params = {
            name: clone(value, safe=False) for name, value in self.get_params(deep=False).items() if name != "estimator"
        }
        estimator = self.estimator if is_frozen(self.estimator) else clone(self.estimator)
        twin = type(self)(estimator=estimator, **params)
        for name in CONFIGURED:
            if hasattr(self, name):
                setattr(twin, name, copy.deepcopy(getattr(self, name)))
        return twin

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if not is_frozen(self.estimator):
            tags.input_tags.sparse = get_tags(self.estimator).input_tags.sparse
        return tags

    def _frozen_part(self):
        """The estimator itself, taken out of scikit-learn's wrapper."""
        return self.estimator.estimator if isinstance(self.estimator, FrozenEstimator) else self.estimator

    def __repr__(self, N_CHAR_MAX=700):
        shown = object.__new__(type(self))
        for name, value in vars(self).items():
            setattr(shown, name, _by_name(value))
        return BaseEstimator.__repr__(shown, N_CHAR_MAX)


def arguments_of(calibrator):
    """What `save` takes for the arguments of a calibrator."""
    return {name: value for name, value in calibrator.get_params(deep=False).items() if name != "estimator"}


def _template_of_pages():
    """Where the classes' pages are, by the address in the package's metadata; empty where these have none."""
    try:
        named = metadata("skclamp").get_all("Project-URL", [])
    except PackageNotFoundError:
        named = []
    address = dict(url.split(", ", 1) for url in named).get("Documentation")
    return f"{address}/api/generated/skclamp.{{estimator_name}}.html" if address else ""


def _by_name(value):
    """What a repr shows of a parameter: of networks, which would print every layer, only the class."""
    if isinstance(value, FrozenEstimator):
        return FrozenEstimator(_by_name(value.estimator))
    if isinstance(value, Pipeline):
        return Pipeline([(name, _by_name(step)) for name, step in value.steps])
    if isinstance(value, AroundEstimatorMixin):
        return _ByName(repr(value))
    return _ByName(f"{type(value).__name__}(...)") if isinstance(value, (torch.nn.Module, NeuralNet)) else value


class _ByName:
    """Stands for a network, or for what is around one, in a calibrator's repr."""

    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return self.name
