"""Initial values that only a seed decides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def drawn_from(seed: int) -> Iterator[None]:
    """A context in which modules draw their values from this seed. Afterwards torch's random state is what it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
