"""The developer's scripts and configured rules find what they are for, and the package holds to them."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def lint_imports(folder):
    """What import-linter says of the package in a folder, by the contracts of pyproject.toml."""
    pytest.importorskip("importlinter")
    command = "from importlinter.cli import lint_imports_command as main; main(['--no-cache', 'pyproject.toml'])"
    return subprocess.run([sys.executable, "-c", command], cwd=folder, capture_output=True, text=True)


def test_the_package_stands_on_its_floors():
    ran = lint_imports(ROOT)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("_utils/arrays", "from ..base import BaseCalibrator", "skclamp._utils is not allowed to import skclamp.base"),
        ("_utils/arrays", "from . import labels", "- .labels -> .arrays"),
        ("novelty", "", "skclamp.novelty"),
    ],
)
def test_imports_that_run_up_are_named(tmp_path, module, source, fault):
    shutil.copytree(ROOT / "skclamp", tmp_path / "skclamp", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with open(tmp_path / "skclamp" / f"{module}.py", "a", encoding="utf-8") as file:
        file.write(f"\n{source}\n")
    ran = lint_imports(tmp_path)
    assert ran.returncode != 0
    assert fault in " ".join(ran.stdout.split())


@pytest.mark.parametrize(
    ("module", "source", "rule"),
    [
        ("base/_calibrator", "from sklearn.utils._param_validation import Interval", "TID251"),
        ("base/_calibrator", "from sklearn.utils import _safe_indexing", "TID251"),
        ("base/_calibrator", "def f():\n    from sklearn.utils.validation import _num_samples", "TID251"),
        ("_utils/sklearn_private", "from sklearn.utils import _safe_indexing", None),
        ("display/_axes", "import matplotlib.pyplot as plt", "TID253"),
        ("selection/_compare", "from pandas import DataFrame", "TID253"),
        ("display/_axes", "def f():\n    import matplotlib.pyplot as plt", None),
        ("base/_calibrator", "from sklearn.utils.validation import check_is_fitted\nimport skorch", None),
    ],
)
def test_private_helpers_and_optional_packages_are_named(module, source, rule):
    pytest.importorskip("ruff")
    options = [
        "--select",
        "TID",
        "--stdin-filename",
        f"skclamp/{module}.py",
        "--no-cache",
        "--output-format",
        "concise",
    ]
    command = [sys.executable, "-m", "ruff", "check", *options, "-"]
    ran = subprocess.run(command, input=f"{source}\n", cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == (rule is not None), ran.stderr
    assert rule is None or rule in ran.stdout


@pytest.fixture
def docstrings():
    pytest.importorskip("numpydoc")
    import docstrings

    return docstrings


def test_public_definitions_are_found_once(docstrings):
    found = [path for path, _ in docstrings.definitions()]
    assert {"skclamp.TemperatureScaling", "skclamp.metrics.brier_score", "skclamp.base.BaseCalibrator"} <= set(found)
    of_classes = {"display.ReliabilityDisplay.plot", "display.ReliabilityDisplay.from_estimator"}
    # A property.
    of_classes |= {"modules.LogitsModule.reading"}
    assert {f"skclamp.{name}" for name in of_classes} <= set(found)
    assert sum(path.endswith(".predict_proba") for path in found) <= 3
    assert not any("._" in path or path.endswith(".forward") for path in found)


OF_TWO_THREADS = """
import os

def test_what_a_setting_names():
    assert os.environ["OMP_NUM_THREADS"] == "2"

def test_what_it_does_not_name():
    assert "OPENBLAS_CORETYPE" not in os.environ

def test_what_fails():
    assert False
"""


def test_each_processor_has_a_row(tmp_path, monkeypatch):
    processors = importlib.import_module("processors")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Zen")
    (tmp_path / "test_it.py").write_text(OF_TWO_THREADS, encoding="utf-8")
    passed, row = processors.run({"OMP_NUM_THREADS": "2"}, ["-p", "no:cacheprovider", str(tmp_path)])
    assert not passed
    assert row.split() == ["2", "1", "0", "OMP_NUM_THREADS=2"]


@pytest.mark.parametrize(("capability", "n_settings"), [("AVX512", 5), ("AVX2", 4), ("DEFAULT", 3), ("SVE256", 2)])
def test_a_processor_runs_what_it_can(capability, n_settings):
    assert len(importlib.import_module("processors").settings(capability)) == n_settings
