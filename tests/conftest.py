"""One thread, one dtype, one device, and the Hypothesis profile HYPOTHESIS_PROFILE: dev (default), brief, ci or deep.

torch is imported by functions, because the process that hands tests out to workers needs none of it.
"""

import gc
import os
import traceback
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("dev", deadline=None, max_examples=6, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("dev"), derandomize=True, database=None)
settings.register_profile("brief", settings.get_profile("dev"), max_examples=2)
settings.register_profile("deep", settings.get_profile("dev"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_addoption(parser):
    parser.addoption("--device", default="cpu", help="where models and batches lie: cpu, cuda, ...")
    parser.addoption("--no-host-reads", action="store_true", help="the library's branches for accelerators, on any device")


def pytest_configure(config):
    if config.getoption("numprocesses", None):
        return
    import torch
    from torch._subclasses import fake_tensor

    from tests.placement import place

    torch.set_num_threads(1)
    # torch keeps the stack of every operation that it records, a hundred frames under pytest, for messages of its own
    vars(fake_tensor)["traceback"] = SimpleNamespace(extract_stack=traceback.StackSummary, format_list=traceback.format_list)
    place(config.getoption("--device"), reads=not config.getoption("--no-host-reads"))


def pytest_collection_modifyitems(config, items):
    if config.getoption("--device") != "cpu" or config.getoption("--no-host-reads"):
        for item in items:
            for mark in item.iter_markers("host"):
                item.add_marker(pytest.mark.skip(reason=f"of the host alone: {mark.args[0]}"))


def pytest_collection_finish():
    """What was imported stays for good: the garbage collector need not look at it again, and looks less often."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@pytest.fixture(autouse=True)
def _the_same_start_for_every_test():
    import torch

    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
