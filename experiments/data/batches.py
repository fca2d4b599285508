"""The order of training batches."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from .split import Split

Batch = tuple[Tensor, Tensor]
PROBE_SEED = 20_000  # added to a run's seed: batches in another order than the run's own


def batches(split: Split, size: int, epochs: int, seed: int) -> Iterator[list[Batch]]:
    """Lists of (inputs, labels), one an epoch: whole batches in an order that only the seed decides."""
    generator, n = torch.Generator().manual_seed(seed), len(split.y)
    for _ in range(epochs):
        order = torch.randperm(n, generator=generator)
        yield [(split.x[index], split.y[index]) for index in order[: n // size * size].split(size)]


def probes(split: Split, size: int, count: int, seed: int) -> list[Batch]:
    """Fixed training batches to measure on, in another order than ``batches`` has with this seed."""
    return next(batches(split, size, 1, PROBE_SEED + seed))[:count]
