"""The templates of `examples/templates`, which the registries hold to what the package's own promise."""

import importlib.util
import sys
from pathlib import Path

TEMPLATES = Path(__file__).resolve().parents[1] / "examples" / "templates"


def template(name):
    """The module of a template, imported once."""
    key = f"templates.{name}"
    if key not in sys.modules:
        spec = importlib.util.spec_from_file_location(key, TEMPLATES / f"{name}.py")
        sys.modules[key] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[key])
    return sys.modules[key]
