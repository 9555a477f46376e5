"""Fixtures for every test: real data, what the reference computed, and few threads for each test process."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import scipy
import sklearn
import torch
from sklearn.utils.fixes import parse_version

# Set before anything imports matplotlib or scipy: tests draw off screen, and scikit-learn checks its array API too.
os.environ["MPLBACKEND"] = "agg"
os.environ["SCIPY_ARRAY_API"] = "1"

ROOT = Path(__file__).resolve().parents[1]

# Of which one opens pages.
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)

# Doctests are sought in modules, of which these share a name.
collect_ignore_glob = ["*conftest.py"]

# What versions before these say on the way to what they do right; of newer ones it is an error.
OLD_WARNINGS = [
    (scipy, "1.12", "Conversion of an array with ndim > 0 to a scalar is deprecated:DeprecationWarning"),
    (scipy, "1.16", r"Values in x were outside bounds:RuntimeWarning:scipy\.optimize\..*"),
    (sklearn, "1.9", r"invalid value encountered in .*divide:RuntimeWarning:sklearn\.linear_model\..*"),
    (sklearn, "1.9", r"The least populated class in y has only .*:UserWarning:sklearn\.model_selection\..*"),
    (torch, "2.7", r"Skipping serialization of .*:UserWarning:torch\..*"),
]


def pytest_configure(config):
    """Let the oldest versions warn."""
    for package, version, warning in OLD_WARNINGS:
        if parse_version(package.__version__) < parse_version(version):
            config.addinivalue_line("filterwarnings", f"default:{warning}")


@pytest.fixture(scope="session", autouse=True)
def few_threads():
    """Small networks lose time to thread switches; what hangs on threads is seen where OMP_NUM_THREADS asks for two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 1)))
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def data_dir():
    """The folder of images and networks: SKCLAMP_DATA, or ../shared/data beside the repository."""
    folder = Path(os.environ.get("SKCLAMP_DATA", ROOT / "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"needs the project's data: set SKCLAMP_DATA to their folder (looked in {folder})")
    return folder


@pytest.fixture(scope="session")
def reference():
    """What the authors' toolkit computed: inputs, a network, three runs and losses and metrics of a ResNet's logits."""
    with np.load(ROOT / "tests/data/nctoolkit_reference.npz") as archive:
        return dict(archive)


@pytest.fixture(scope="module")
def browser():
    """A browser on the machine, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"needs one of {', '.join(BROWSERS)} on the machine")
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=path, args=FLAGS.split())
        yield browser
        browser.close()
