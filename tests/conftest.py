"""One thread, one dtype, and the Hypothesis profile that HYPOTHESIS_PROFILE names: dev (default), ci or deep."""

import os

import pytest
import torch
from hypothesis import HealthCheck, settings

settings.register_profile("dev", deadline=None, max_examples=6, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("dev"), max_examples=10, derandomize=True, database=None)
settings.register_profile("deep", settings.get_profile("dev"), max_examples=10_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _the_same_start_for_every_test():
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
