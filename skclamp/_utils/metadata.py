"""Metadata, given to ``fit`` beside X and y, and their routing as in scikit-learn.

With ``sklearn.set_config(enable_metadata_routing=True)`` metadata go to whoever requests them, and to nobody else: to
the ``fit`` of a classifier that isn't fitted, to the splitter that folds for it, to that of a guard, to a scorer.
Without, ``groups`` go to the splitters that take them, and to a calibrator that is fitted inside, and all else to the
classifier, the weights where it takes any. A calibrator itself takes ``groups`` either way; its ``by`` goes nowhere.
"""

import inspect
from numbers import Integral
from typing import Any, NamedTuple

from sklearn import get_config
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, get_routing_for_object, process_routing
from sklearn.utils.validation import has_fit_parameter

from ..exceptions import UnusedWeightWarning
from .parameters import is_splitter
from .sklearn_private import check_method_params
from .warnings import warn_caller


class Metadata(NamedTuple):
    """Dicts of values by name, for each receiver: the classifier's ``fit``, the splitter, the guard's, the scorer.

    `given` is what goes to classifier or splitter, under the names that the user gave: with routing enabled,
    `cross_validate` takes it so. `groups` are those of the samples, and `by` names their parts, as the user gave them,
    or None.
    """

    fit: dict
    split: dict
    guard: dict
    score: dict
    given: dict
    groups: Any = None
    by: Any = None


NO_METADATA = Metadata({}, {}, {}, {}, {})


def routing_enabled():
    """Return whether the user has switched metadata routing on."""
    return get_config()["enable_metadata_routing"]


def router_of(owner, **parts):
    """A router from the owner's ``fit`` to the ``fit`` of a classifier, the ``split`` of splitters, and a scorer."""
    router = MetadataRouter(owner=type(owner).__name__)
    for name, part in parts.items():
        if part is not None:
            callee = {"estimator": "fit", "scorer": "score"}.get(name, "split")
            router.add(method_mapping=MethodMapping().add(caller="fit", callee=callee), **{name: part})
    return router


def route(owner, params, **parts):
    """Send metadata by name, none of them None, where they belong; TypeError if nobody takes one.

    `parts` are those of `router_of` that a calibrator, the owner, has. With routing enabled, it is an error as well if
    nobody has said whether the classifier or another part requests one.
    """
    found = (_as_requested if routing_enabled() else _by_name)(owner, params, **parts)
    return found._replace(groups={**found.split, **found.guard, **params}.get("groups"))


def _as_requested(owner, params, **parts):
    """Send metadata where they are requested."""
    routed = process_routing(router_of(owner, **parts).add_self_request(owner), "fit", **params)
    taken = router_of(owner, estimator=parts.get("estimator"), splitter=parts.get("splitter")).consumes("fit", params)
    names = {"fit": "estimator", "split": "splitter", "guard": "guard", "score": "scorer"}
    sent = {name: dict(*routed[part].values()) if part in routed else {} for name, part in names.items()}
    return Metadata(given={name: params[name] for name in taken}, **sent)


def _by_name(owner, params, estimator=None, **parts):
    """Send metadata where they belong without routing."""
    weight = {name: value for name, value in params.items() if name == "sample_weight"}
    groups = {name: value for name, value in params.items() if name == "groups"}
    others = {name: value for name, value in params.items() if name not in ("sample_weight", "groups")}
    split, guard = (groups if takes_groups(parts.get(part)) else {} for part in ("splitter", "guard"))
    if estimator is None:
        if others:
            raise TypeError(
                f"{type(owner).__name__}.fit takes no {', '.join(sorted(others))}: what an estimator's own fit takes "
                "is for one that isn't fitted"
            )
        return Metadata({}, split, guard, score=weight, given={})
    told = others | (groups if takes_groups(estimator) else {})
    if has_fit_parameter(estimator, "sample_weight"):
        told |= weight
    elif weight:
        warn_caller(
            f"{type(estimator).__name__}.fit takes no sample_weight: the weights are used for the calibration alone",
            UnusedWeightWarning,
        )
    return Metadata(told, split, guard, score=weight, given={})


def without_none(params):
    """Return the metadata that were given, by name."""
    return {name: value for name, value in params.items() if value is not None}


def takes_groups(splitter):
    """Return whether a splitter, or a calibrator, takes ``groups``."""
    if hasattr(splitter, "_routed_to"):
        return True
    if not is_splitter(splitter):
        return False
    if hasattr(splitter, "get_metadata_routing"):
        return "groups" in get_routing_for_object(splitter).consumes("split", ["groups"])
    return "groups" in inspect.signature(splitter.split).parameters


def keeping_together(cv, groups, stratified):
    """What splits for an estimator that isn't fitted: in place of a number of folds, folds that go by groups."""
    if groups is None or not (cv is None or isinstance(cv, Integral)):
        return cv
    return (StratifiedGroupKFold if stratified else GroupKFold)(cv or 5)


def of_rows(metadata, rows, n_samples):
    """Of metadata that hold one value per sample those of some samples, the others as they are."""
    whole = {name: value for name, value in metadata.items() if isinstance(value, (str, dict))}
    return {**check_method_params(range(n_samples), metadata, rows), **whole}
