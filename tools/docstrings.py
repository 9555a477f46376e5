"""Validate the docstring of every public name by numpydoc's rules, as they read when the package is imported.

numpydoc's own hook reads the sources, where shared parameters aren't filled in yet. Which of its checks are made is in
pyproject.toml, [tool.numpydoc_validation]. Run by `make lint`.
"""

import importlib
import inspect
import pkgutil
import sys
from pathlib import Path

from numpydoc.hooks.validate_docstrings import parse_config
from numpydoc.validate import validate

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "skclamp"
# torch names and calls these, and documents what they take.
OF_TORCH = {"forward", "train", "extra_repr"}


def public_modules(package=PACKAGE):
    """Names of the modules that no private one leads to."""
    root = importlib.import_module(package)
    found = [module.name for module in pkgutil.walk_packages(root.__path__, f"{package}.")]
    return [package, *(name for name in found if "._" not in name)]


def public_objects(module):
    """(name, class or function) of what a module offers: of its own, or as its ``__all__`` says."""
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    for name in getattr(module, "__all__", own):
        value = getattr(module, name)
        if not name.startswith("_") and (inspect.isclass(value) or inspect.isroutine(value)):
            yield name, value


def members(cls, package=PACKAGE):
    """(name, function) of the public methods and properties of a class that the package defines."""
    found = {name: member for base in reversed(cls.__mro__) for name, member in vars(base).items()}
    for name, member in found.items():
        function = function_of(member)
        own = inspect.isfunction(function) and function.__module__.partition(".")[0] == package
        if own and not name.startswith("_") and name not in OF_TORCH:
            yield name, function


def function_of(member):
    """What a property or a decorated method calls; the member itself where it calls nothing."""
    for inner in ("fget", "func", "__func__"):
        member = getattr(member, inner, member)
    return inspect.unwrap(member)


def definitions():
    """The path of every definition that is public, each once, whatever the number of its names."""
    found = {}
    for path in public_modules():
        for name, value in public_objects(importlib.import_module(path)):
            found.setdefault(id(value), (f"{path}.{name}", value))
            if inspect.isclass(value):
                for member, function in members(value):
                    found.setdefault(id(function), (f"{path}.{name}.{member}", function))
    return list(found.values())


def errors(path, value, checks):
    """(code, message) of each check that a docstring fails."""
    # What a tuple holds is said of its attributes: nobody makes one.
    left_out = {"PR01"} if inspect.isclass(value) and issubclass(value, tuple) else set()
    return [(code, message) for code, message in validate(path)["errors"] if code in checks - left_out]


def main():
    """Print what fails; the exit status says whether anything did."""
    checks = parse_config(ROOT)["checks"]
    found = definitions()
    failed = [(path, *error) for path, value in found for error in errors(path, value, checks)]
    for path, code, message in failed:
        print(f"{path}: {code} {message}")
    print(f"{len(found)} docstrings, {len(failed)} errors")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
