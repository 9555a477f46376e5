"""What a calibrator's ``fit`` was given beside X and y, and where it goes: scikit-learn's metadata routing.

With ``sklearn.set_config(enable_metadata_routing=True)`` metadata go to whoever requests them, and to nobody else: to
the ``fit`` of a classifier that isn't fitted, to the splitter that folds for it, to a scorer. Without, the classifier
gets them all, and the weights where it takes any.
"""

from typing import NamedTuple

from sklearn import get_config
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.validation import has_fit_parameter

from ..exceptions import UnusedWeightWarning
from .sklearn_private import num_samples, take_rows
from .warnings import warn_caller


class Metadata(NamedTuple):
    """What goes where, dicts of values by name: to the classifier's ``fit``, to the splitter, to the scorer.

    `given` is what goes to classifier or splitter, under the names that the user gave: `cross_validate` routes it by
    itself.
    """

    fit: dict
    split: dict
    score: dict
    given: dict


NO_METADATA = Metadata({}, {}, {}, {})


def routing_enabled():
    """Whether the user has switched metadata routing on."""
    return get_config()["enable_metadata_routing"]


def calls(caller, callee):
    """That one method of a router calls another one of its parts."""
    return MethodMapping().add(caller=caller, callee=callee)


def router_of(owner, *, classifier=None, splitter=None):
    """A router from the owner's ``fit`` to the ``fit`` of a classifier and the ``split`` of a splitter."""
    router = MetadataRouter(owner=owner)
    if classifier is not None:
        router.add(estimator=classifier, method_mapping=calls("fit", "fit"))
    return router.add(splitter=splitter, method_mapping=calls("fit", "split"))


def route(router, params, *, classifier=None, splitter=None):
    """Send metadata by name, none of them None, where they belong; TypeError if nobody takes one.

    With routing enabled, it is an error as well if nobody has said whether the classifier or another part requests one.
    """
    if not routing_enabled():
        return _all_to_the_classifier(router.owner, params, classifier)
    routed = process_routing(router, "fit", **params)
    taken = router_of(router.owner, classifier=classifier, splitter=splitter).consumes("fit", params)
    parts = {"fit": "estimator", "split": "splitter", "score": "scorer"}
    routed = {method: dict(routed[part][method]) if part in routed else {} for method, part in parts.items()}
    return Metadata(given={name: params[name] for name in taken}, **routed)


def _all_to_the_classifier(owner, params, classifier):
    """What goes where without routing."""
    weight = {name: value for name, value in params.items() if name == "sample_weight"}
    others = {name: value for name, value in params.items() if name not in weight}
    if classifier is None:
        if others:
            raise TypeError(
                f"{owner}.fit takes X, y and sample_weight alone where the estimator is fitted; got {sorted(others)}"
            )
        return Metadata({}, {}, weight, {})
    if weight and not has_fit_parameter(classifier, "sample_weight"):
        warn_caller(
            f"{type(classifier).__name__}.fit takes no sample_weight: the weights are used for the calibration alone",
            UnusedWeightWarning,
        )
        params = others
    return Metadata(params, {}, weight, params)


def of_rows(metadata, rows, n_samples):
    """Of metadata that hold one value per sample those of some samples, the others as they are."""
    return {
        name: take_rows(value, rows) if _is_of_samples(value, n_samples) else value for name, value in metadata.items()
    }


def _is_of_samples(value, n_samples):
    arraylike = hasattr(value, "__len__") or hasattr(value, "shape") or hasattr(value, "__array__")
    return arraylike and not isinstance(value, (str, dict)) and num_samples(value) == n_samples
