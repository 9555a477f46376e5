"""The sdist holds what it takes to test and build, and the wheel that comes of it every file of the package."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("benchmarks", "docs", "examples", "skclamp", "tests", "tools")
# What no distribution holds.
LEFT_OUT = re.compile(r"(__pycache__|\.pyc$|_build/|auto_examples/|docs/api/(examples|generated)/)")


def setuptools_version():
    try:
        return int(importlib.metadata.version("setuptools").split(".")[0])
    except importlib.metadata.PackageNotFoundError:
        return 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(setuptools_version() < 77, reason="needs a setuptools that pyproject.toml allows"),
]


def build(kind, source, target):
    command = f"import sys, setuptools.build_meta as backend; backend.build_{kind}(sys.argv[1])"
    ran = subprocess.run([sys.executable, "-c", command, target], cwd=source, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr[-3000:]
    (made,) = target.iterdir()
    return made


def files_below(root, *folders):
    found = (path.relative_to(root) for folder in folders for path in (root / folder).rglob("*") if path.is_file())
    return {name.as_posix() for name in found if not LEFT_OUT.search(name.as_posix())}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory):
    """The sdist of a copy, unpacked."""
    copy, made, unpacked = (tmp_path_factory.mktemp(name) for name in ("copy", "sdist", "unpacked"))
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__", "_build"))
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy(path, copy)
    with tarfile.open(build("sdist", copy, made)) as archive:
        archive.extractall(unpacked, filter="data")
    (root,) = unpacked.iterdir()
    return root


def test_sdist_is_complete(sdist):
    assert files_below(ROOT, *FOLDERS) <= files_below(sdist, ".")
    expected = {"CHANGELOG.rst", "CITATION.cff", "LICENSE", "Makefile", "README.md", "pyproject.toml", "setup.cfg"}
    assert expected <= {path.name for path in sdist.iterdir()}


def test_wheel_is_complete(sdist, tmp_path):
    with zipfile.ZipFile(build("wheel", sdist, tmp_path)) as wheel:
        found = {name for name in wheel.namelist() if ".dist-info/" not in name}
        assert any(name.endswith("licenses/LICENSE") for name in wheel.namelist())
    assert {"skclamp/py.typed", "skclamp/_report/assets/page.html", "skclamp/datasets/fogged_digits.npz"} <= found
    assert found == files_below(ROOT, "skclamp")
