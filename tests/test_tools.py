"""The developer's scripts find what they are for, and the package holds to them."""

import textwrap
from enum import Enum
from functools import cached_property

import pytest

import floors

TWO_FLOORS = [
    {"ground": ["low _validation", "lower_roof"]},
    {"one wing": ["high"], "another": ["other"]},
    {"roof": [""]},
]


@pytest.fixture
def house(tmp_path):
    """Builds a package in which no module imports anything but what is said; gives what is wrong with it."""

    def build(**sources):
        package = tmp_path / "house"
        package.mkdir()
        names = {"__init__", "low", "_validation", "lower_roof", "high", "other", *sources}
        for name in names:
            source = textwrap.dedent(sources.get(name, ""))
            (package / f"{name}.py").write_text(source, encoding="utf-8")
        return [fault.replace(f"{package}/", "") for fault in floors.faults(package, TWO_FLOORS)]

    return build


def test_the_package_stands_on_its_floors():
    assert floors.faults(floors.ROOT / "skclamp") == []


def test_what_is_below_may_be_imported(house):
    sources = {
        "__init__": "from . import high\nfrom .other import name",
        "high": "import os, numpy.linalg\nfrom . import low\nfrom .lower_roof import name\nimport house.low",
        "lower_roof": "from .low import a, b",
        "low": "def draw():\n    import matplotlib.pyplot as plt",
        "_validation": "from sklearn.utils import _safe_indexing",
    }
    assert house(**sources) == []


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("low", "from .high import name", "low.py:1: low is not above high"),
        ("low", "from . import high", "low.py:1: low is not above high"),
        ("low", "import house.high as high", "low.py:1: low is not above high"),
        ("low", "from . import _validation", "low.py:1: low is not above _validation"),
        ("low", "from .lower_roof import name", "low.py:1: low is not above lower_roof"),
        ("high", "\nfrom .other import name", "high.py:2: high is not above other"),
        ("high", "from . import __version__", "high.py:1: high is not above house"),
        ("low", "def late():\n    from .high import name", "low.py:2: low is not above high"),
        ("low", "if True:\n    import pandas as pd", "low.py:2: pandas is optional"),
        ("low", "class A:\n    from onnx.helper import name", "low.py:2: onnx is optional"),
        ("high", "from sklearn.utils import _safe_indexing", r"high.py:1: sklearn.utils._safe_indexing is private"),
        (
            "high",
            "def f():\n    from sklearn.utils._tags import Tags",
            "high.py:2: sklearn.utils._tags.Tags is private",
        ),
        ("high", '"""Imports\nnothing of the package."""\nfrom . import low', "high.py:1: high imports something"),
        ("new", "", "new.py: new is on no floor"),
    ],
)
def test_what_is_wrong_is_named(house, module, source, fault):
    (found,) = house(**{module: source})
    assert found.startswith(fault)


def test_a_row_without_its_module_is_named(tmp_path):
    (tmp_path / "__init__.py").touch()
    assert floors.faults(tmp_path, [{"ground": ["gone"]}, {"roof": [""]}]) == [
        "floors.py: gone is on a floor, and there is no such module"
    ]


def test_relative_imports_of_subpackages(tmp_path):
    (tmp_path / "part").mkdir()
    for name, source in {
        "__init__": "",
        "low": "",
        "part/__init__": "from ._inner import name\nfrom .. import low",
        "part/_inner": "from ..low import name\nfrom . import name",
    }.items():
        (tmp_path / f"{name}.py").write_text(source, encoding="utf-8")
    (found,) = floors.faults(tmp_path, [{"ground": ["low", "part._inner", "part"]}, {"roof": [""]}])
    assert found.endswith("_inner.py:2: part._inner is not above part, which it imports")


@pytest.fixture
def docstrings():
    pytest.importorskip("numpydoc")
    import docstrings

    return docstrings


class Documented:
    """Members of every kind."""

    def method(self):
        """One."""

    @property
    def plain(self):
        """Two."""

    @cached_property
    def cached(self):
        """Three."""

    @classmethod
    def made(cls):
        """Four."""

    def forward(self):
        """Left to torch."""

    def _private(self):
        """Left out."""


class Heir(Documented, Enum):
    """Inherits, and from others as well."""

    def method(self):
        """Another one."""


def test_docstrings_of_all_members_are_validated(docstrings):
    found = dict(docstrings.members(Heir, package=__name__))
    assert set(found) == {"method", "plain", "cached", "made"}
    assert found["method"].__doc__ == "Another one."


def test_public_definitions_are_found_once(docstrings):
    found = [path for path, _ in docstrings.definitions()]
    assert {"skclamp.TemperatureScaling", "skclamp.metrics.brier_score", "skclamp.base.BaseCalibrator"} <= set(found)
    assert sum(path.endswith(".predict_proba") for path in found) <= 3
    assert not any("._" in path for path in found)


def test_faulty_docstrings_are_found(docstrings):
    path = f"{__name__}.Documented.method"
    assert [code for code, _ in docstrings.errors(path, Documented.method, {"EX01", "SS03"})] == ["EX01"]
