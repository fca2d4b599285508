"""Each test begins where nothing was compiled: other tests of the process do, and buffers are then found in another way."""

import pytest
import torch

from geosam.optim.holders import compiles


@pytest.fixture(autouse=True)
def nothing_is_compiled():
    if compiles():
        torch._dynamo.reset()
