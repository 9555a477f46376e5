"""Fixtures for every test: the folder of real data, and one thread for each test process."""

import os
from pathlib import Path

import pytest
import torch

# Set before anything imports matplotlib or scipy: tests draw off screen, and scikit-learn checks its array API too.
os.environ["MPLBACKEND"] = "agg"
os.environ["SCIPY_ARRAY_API"] = "1"

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small networks lose time to thread switches, and sums must not depend on the number of cores."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def data_dir():
    """The folder of images, networks and reference results: SKCLAMP_DATA, or ../shared/data beside the repository."""
    folder = Path(os.environ.get("SKCLAMP_DATA", ROOT / "../shared/data")).resolve()
    if not folder.is_dir():
        pytest.skip(f"needs the project's data: set SKCLAMP_DATA to their folder (looked in {folder})")
    return folder
