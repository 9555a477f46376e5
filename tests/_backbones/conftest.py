"""Fixtures of the tests of inputs."""

import os

import pytest


@pytest.fixture
def one_core(monkeypatch):
    """A machine that torch takes for one of a single core, as small containers are: there it warns of two workers."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
