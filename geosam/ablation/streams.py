"""The random streams that a run draws from: torch's, and NumPy's and Python's, by which data may be augmented."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def seed(value: int) -> None:
    """All of them, from one number."""
    torch.manual_seed(value)
    np.random.seed(value % 2**32)
    random.seed(value)


def state(device: torch.device) -> dict[str, Any]:
    """Where they are."""
    return {
        "torch": torch.get_rng_state(),
        "device": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "numpy": np.random.get_state(),
        "python": random.getstate(),
    }


def load(found: dict[str, Any], device: torch.device) -> None:
    """Put them where ``state`` found them."""
    torch.set_rng_state(found["torch"])
    if found["device"] is not None:
        torch.cuda.set_rng_state(found["device"], device)
    np.random.set_state(found["numpy"])
    random.setstate(found["python"])


@contextmanager
def apart(device: torch.device) -> Iterator[None]:
    """What is drawn inside changes nothing outside."""
    before = state(device)
    try:
        yield
    finally:
        load(before, device)
