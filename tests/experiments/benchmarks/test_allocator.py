"""What a worker inherits."""

import os

from experiments.benchmarks.allocator import environment
from experiments.common.files import ROOT


def test_a_worker_finds_what_the_command_found(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/carried")
    assert environment("pinned")["PYTHONPATH"] == os.pathsep.join([str(ROOT), "/carried"])
    monkeypatch.delenv("PYTHONPATH")
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "7")
    assert environment("pinned")["MALLOC_MMAP_MAX_"] == "0" and "MALLOC_MMAP_MAX_" not in environment("unpinned")
    assert environment("pinned")["PYTHONPATH"] == str(ROOT)
