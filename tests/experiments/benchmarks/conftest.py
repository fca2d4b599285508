"""Peaks without a profiler, and turns without a ledger."""

import time

import pytest

from experiments.benchmarks import contest, growth
from experiments.benchmarks.ledger import Turn


def one_mb(run, device):
    run()
    return 2**20


@pytest.fixture
def light(monkeypatch):
    """Without the profiler that counts bytes on a CPU, which takes seconds to start: a run still runs."""
    for module in (contest, growth):
        monkeypatch.setattr(module, "peak_bytes", one_mb)


@pytest.fixture
def turn():
    """Of an hour, which writes nothing."""
    return Turn(time.monotonic() + 3600, {}, lambda job, why: None)
