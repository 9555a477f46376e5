"""Checks of parameters: those of estimators by their constraints, and numbers, choices and grids of functions."""

from collections.abc import Iterable
from numbers import Integral, Real

import numpy as np
import torch
from sklearn import get_config

from .sklearn_private import HasMethods, Interval, StrOptions, validate_parameter_constraints

# Rules that parameters have in common: of numbers, and of `n_folds`.
NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")
FINITE = Interval(Real, None, None, closed="neither")
COUNT = Interval(Integral, 1, None, closed="left")
N_FOLDS = [Interval(Integral, 2, None, closed="left")]


class Choices(StrOptions):
    """scikit-learn's constraint of strings, which says them in the order given."""

    def __init__(self, *choices):
        super().__init__(set(choices))
        self.choices = choices

    def __str__(self):
        return f"a str among {{{', '.join(map(repr, self.choices))}}}"


# What has a method of that name, or can be gone through, but splits no samples.
_NO_SPLITS = (str, bytes, dict, np.ndarray, torch.Tensor)


class Splits(HasMethods):
    """scikit-learn's constraint of what splits samples: an object that does, or the splits themselves."""

    def __init__(self):
        super().__init__("split")

    def is_satisfied_by(self, val):
        """Return whether it is a splitter or, no string, an iterable."""
        return is_splitter(val) or (isinstance(val, Iterable) and not isinstance(val, _NO_SPLITS))

    def __str__(self):
        return "a splitter, an iterable of (train, test) splits"


def is_splitter(value):
    """Return whether a value is a splitter of scikit-learn's kind; strings, whose ``split`` is another, aren't."""
    return hasattr(value, "split") and not isinstance(value, _NO_SPLITS)


def check_parameters(constraints, params, owner):
    """Raise scikit-learn's error unless each parameter satisfies a constraint, or the configuration skips that."""
    if get_config()["skip_parameter_validation"]:
        return
    validate_parameter_constraints(constraints, params, caller_name=owner)


def check_whole_number(value, name, low=1):
    """An int of at least `low`, or any; TypeError if `value` isn't a whole number, ValueError if it is less."""
    rule = f"{name} must be a whole number{'' if low is None else f' of at least {low}'}"
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{rule}; got {value!r}")
    if low is not None and value < low:
        raise ValueError(f"{rule}; got {value}")
    return int(value)


def check_flag(value, name):
    """A bool; TypeError if `value` isn't one, of Python's or numpy's."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False; got {value!r}")
    return bool(value)


def check_choice(value, name, choices):
    """Raise ValueError unless `value` is one of the choices, which are strings."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {tuple(choices)}; got {value!r}")


def check_number(value, name, *, high=1, closed="both"):
    """A float between 0 and `high`, which `closed` ("both", "left", "right" or "neither") counts in or out."""
    interval = Interval(Real, 0, high, closed=closed)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be {interval}; got {value!r}")
    if not interval.is_satisfied_by(value):
        raise ValueError(f"{name} must be {interval}; got {value!r}")
    return float(value)


def by_name(several, parameter):
    """Estimators by name: of a dict, of pairs of a name and an estimator, of a list, or of one estimator.

    In a list they have their classes' names, numbered where a class comes several times.
    """
    if hasattr(several, "get_params"):
        several = [several]
    if isinstance(several, dict):
        pairs: list = list(several.items())
    elif isinstance(several, Iterable) and not isinstance(several, str):
        several = list(several)
        kinds = [type(each).__name__ for each in several]
        pairs = []
        for k, (kind, each) in enumerate(zip(kinds, several, strict=True)):
            name = kind if kinds.count(kind) == 1 else f"{kind}-{kinds[: k + 1].count(kind)}"
            pairs.append(each if isinstance(each, (tuple, list)) else (name, each))
        if any(len(pair) != 2 for pair in pairs):
            raise TypeError(f"{parameter} must be estimators or (name, estimator) pairs; got {pairs!r}")
    else:
        raise TypeError(f"{parameter} must be a list, or a dict by name; got {several!r}")
    named = dict(pairs)
    if len(named) < len(pairs):
        raise ValueError(f"{parameter} must have names of their own; got {[name for name, _ in pairs]}")
    if not named:
        raise ValueError(f"{parameter} must hold at least one; got none")
    return named
