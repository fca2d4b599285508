"""Peaks without a profiler."""

import pytest

from experiments.benchmarks import budget, growth


def one_mb(run, device):
    run()
    return 2**20


@pytest.fixture
def light(monkeypatch):
    """Without the profiler that counts bytes on a CPU, which takes seconds to start: a run still runs."""
    for module in (budget, growth):
        monkeypatch.setattr(module, "peak_bytes", one_mb)
