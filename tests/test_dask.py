"""Searches on a dask cluster and predictions over dask arrays give what one process gives."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs dask's distributed"),
]


def test_a_cluster_searches_and_predicts_as_one_process_does():
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TESTS / "_dask_cluster.py")]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-3000:]
    found = json.loads(ran.stdout)
    assert found["n_workers"] == 2
    assert min(found["scores"]) > 0.8
    assert max(found["differences"]) == 0
    assert found["proba"] < 1e-12
