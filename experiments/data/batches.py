"""The order of training batches."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from geosam.ablation import Batches

from .split import Split

Batch = tuple[Tensor, Tensor]
PROBE_SEED = 20_000  # added to a run's seed where something is drawn for probes


def in_order(split: Split, size: int, seed: int) -> Batches:
    """The training set in whole batches, in an order that only the seed decides; no test."""
    return Batches(lambda chosen: (split.x[chosen], split.y[chosen]), len(split.y), size, seed)


def batches(split: Split, size: int, epochs: int, seed: int) -> Iterator[list[Batch]]:
    """Lists of (inputs, labels), one an epoch."""
    data = in_order(split, size, seed)
    return (list(data.epoch(index)) for index in range(epochs))


def probes(split: Split, size: int, count: int, seed: int) -> list[Batch]:
    """Fixed training batches to measure on, in another order than ``batches`` has with this seed."""
    return in_order(split, size, seed).probes(count)
