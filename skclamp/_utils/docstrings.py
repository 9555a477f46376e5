"""Docstrings of what several calibrators have: a base tells it once, and each class takes it from there."""

import inspect
import re


def with_shared_docs(calibrator):
    """Fill the places that a class's docstring leaves for what its bases document; order its signature likewise.

    A place names entries of the bases' docstrings in braces, such as ``{estimator}`` or ``{alpha, max_iter}``. All the
    other parameters, or attributes, of the bases go to ``{shared_parameters}`` and ``{shared_attributes}``. A dataclass
    has the parameters of its base first, a docstring those that matter most. Docstrings that Python has stripped
    (``-OO``) stay away.
    """
    if calibrator.__doc__ is None:
        return calibrator
    doc = inspect.cleandoc(calibrator.__doc__)
    places = re.findall(r"^\{([\w,\s]+)\}", doc, re.MULTILINE)
    told = entries_of(calibrator, "Parameters|Attributes").keys() | {name for place in places for name in _names(place)}
    texts: dict[str, str] = {}
    for section in ("Parameters", "Attributes"):
        inherited: dict[str, str] = {}
        for base in reversed(calibrator.__mro__[1:]):
            inherited |= entries_of(base, section)
        rest = [text for name, text in inherited.items() if name not in told]
        texts |= inherited | {f"shared_{section.lower()}": "\n".join(dict.fromkeys(rest))}
    for place in places:
        doc = doc.replace(f"{{{place}}}", "\n".join(texts[name] for name in _names(place)))
    calibrator.__doc__ = doc
    # Without one of its own, it has the constructor of its base, and its order.
    if "__init__" in vars(calibrator):
        order = {name: place for place, name in enumerate(["self", *entries_of(calibrator, "Parameters")])}
        signature = inspect.signature(calibrator.__init__)
        parameters = sorted(signature.parameters.values(), key=lambda parameter: order.get(parameter.name, 0))
        calibrator.__init__.__signature__ = signature.replace(parameters=parameters)
    return calibrator


def entries_of(documented, sections):
    """Texts of the entries of some sections of a docstring, "Other Parameters" among its parameters, by name."""
    doc = inspect.cleandoc(documented.__doc__ or "")
    found = re.findall(rf"^(?:Other )?(?:{sections})\n-+\n(.*?)(?:\n\n|\Z)", doc, re.MULTILINE | re.DOTALL)
    entries = [entry for section in found for entry in re.split(r"\n(?=[^\s{])", section)]
    return {name: entry for entry in entries for name in _names(entry.partition(" : ")[0])}


def _names(several):
    return re.split(r",\s+", several)
