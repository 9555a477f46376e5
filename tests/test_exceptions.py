"""Every warning of the package is of a class of its own, and stands at the user's line."""

import ast
import pickle
from functools import cache
from pathlib import Path

import pytest
import sklearn.exceptions

import skclamp
from skclamp import exceptions
from skclamp.exceptions import CalibrationWarning, InterruptedFitWarning, NotConvergedWarning

PACKAGE = Path(skclamp.__file__).parent
WARNINGS = [name for name in exceptions.__all__ if name.endswith("Warning")]


@cache
def nodes_of(path):
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


def calls_of(path, name):
    """Arguments of each call of a function in a file."""
    calls = (node for node in nodes_of(path) if isinstance(node, ast.Call))
    return [call.args for call in calls if getattr(call.func, "id", getattr(call.func, "attr", None)) == name]


def test_each_warning_has_one_of_the_public_classes():
    paths = [path for path in PACKAGE.rglob("*.py") if path.name not in ("warnings.py", "exceptions.py")]
    assert all(len(args) > 1 for path in paths for name in ("warn_caller", "note") for args in calls_of(path, name))
    named = {
        node.id
        for path in paths
        for node in nodes_of(path)
        if isinstance(node, ast.Name) and node.id.endswith("Warning")
    }
    # scikit-learn's own checks ask for theirs.
    assert named - {"UserWarning", "DataConversionWarning"} == set(WARNINGS) - {"CalibrationWarning"}
    direct = [path.name for path in PACKAGE.rglob("*.py") if calls_of(path, "warn")]
    assert direct == ["warnings.py"]


@pytest.mark.parametrize("name", WARNINGS)
def test_classes_are_documented_user_warnings(name):
    kind = getattr(exceptions, name)
    assert issubclass(kind, CalibrationWarning)
    assert issubclass(kind, UserWarning)
    again = pickle.loads(pickle.dumps(kind("said")))
    assert (type(again), again.args) == (kind, ("said",))


def test_what_did_not_converge_is_scikit_learns_warning_too():
    for kind in (NotConvergedWarning, InterruptedFitWarning):
        assert issubclass(kind, sklearn.exceptions.ConvergenceWarning)
