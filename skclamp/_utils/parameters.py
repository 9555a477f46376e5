"""Checks of parameters of functions: numbers, choices and grids."""

import numbers

from .sklearn_private import Interval, validate_parameter_constraints


def check_whole_number(value, name, low=1):
    """An int of at least `low`; TypeError if `value` isn't a whole number, ValueError if it is less."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(f"{name} must be a whole number of at least {low}; got {value!r}")
    if value < low:
        raise ValueError(f"{name} must be a whole number of at least {low}; got {value}")
    return int(value)


def check_choice(value, name, choices):
    """Raise ValueError unless `value` is one of the choices, which are strings."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {tuple(choices)}; got {value!r}")


def check_number(value, name, low, high, closed="both"):
    """A float between two bounds, which `closed` ("both", "left", "right" or "neither") counts in or out."""
    interval = Interval(numbers.Real, low, high, closed=closed)
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} must be {interval}; got {value!r}")
    if not interval.is_satisfied_by(value):
        raise ValueError(f"{name} must be {interval}; got {value!r}")
    return float(value)


def check_grid(values, name, constraints):
    """Raise unless a grid has values and each is one that the parameter of a single estimator may take."""
    if not len(values):
        raise ValueError(f"{name} must hold at least one value; got an empty grid")
    for value in values:
        validate_parameter_constraints({name: constraints}, {name: value}, caller_name="each value of the grid")
