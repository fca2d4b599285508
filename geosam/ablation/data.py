"""What a run trains, is tuned and is tested on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_map
from torch.utils.data import DataLoader, Dataset

from ..core import brief
from .sources import Batch, check_source, taken

PROBE_SEED = 20_000  # added to a run's seed: batches in another order than the run's own
SPLIT_SEED = 30_000


class Data(Protocol):
    """The data of one run, made from its seed; batches may be made when they are asked for, on the device.

    steps: batches an epoch. validation: iterated as often as something is chosen or shown. test: iterated once.
    """

    steps: int
    validation: Iterable[Batch] | None
    test: Iterable[Batch] | None

    def epoch(self, index: int) -> Iterable[Batch]:
        """The batches of an epoch. They depend on seed and index alone, so that a run can go on from a checkpoint."""

    def probes(self, count: int) -> Sequence[Batch]:
        """Fixed training batches to measure on."""


class Batches:
    """Whole batches of a data set in memory, in an order that only the seed decides: another permutation every epoch.

    take: index tensor ↦ batch, of ``n`` training samples.
    """

    def __init__(
        self,
        take: Callable[[Tensor], Batch],
        n: int,
        size: int,
        seed: int,
        validation: Sequence[Batch] | None = None,
        test: Sequence[Batch] | None = None,
    ) -> None:
        if not 0 < size <= n:
            raise ValueError(f"a batch has between 1 and {n} samples, all there are to train on; got {size}")
        self.take, self.n, self.size, self.seed = take, n, size, seed
        self.steps = n // size
        self.validation: Iterable[Batch] | None = validation
        self.test: Iterable[Batch] | None = test
        self._generator, self._next = torch.Generator().manual_seed(seed), 0

    def epoch(self, index: int) -> Iterator[Batch]:
        """The index-th permutation that the seed gives, cut into batches; what is left over waits for another epoch."""
        if index < self._next:
            self._generator, self._next = torch.Generator().manual_seed(self.seed), 0
        while self._next <= index:
            self._next, order = self._next + 1, torch.randperm(self.n, generator=self._generator)
        return (self.take(chosen) for chosen in order[: self.steps * self.size].split(self.size))

    def probes(self, count: int) -> list[Batch]:
        """From the permutation of another seed."""
        order = torch.randperm(self.n, generator=torch.Generator().manual_seed(PROBE_SEED + self.seed))
        return [self.take(chosen) for chosen in order[: self.steps * self.size].split(self.size)[:count]]


@dataclass(frozen=True)
class Tensors:
    """A data set in memory, as every seed's data: training batches in the seed's order, the same validation and test.

    train, test, validation: (x, y), or a torch data set of such pairs, whose samples are fetched whenever they are used.
    validation: a number is the part of the training set that is put aside for it, the same for all seeds. batch: its size.
    """

    train: Any
    test: Any = None
    validation: Any = None
    batch: int = 128

    def __call__(self, seed: int) -> Batches:
        """The data of a run."""
        take, n = taken(self.train)
        if not isinstance(self.validation, float):
            kept, aside = torch.arange(n), None if self.validation is None else self._all(self.validation)
        else:
            order = torch.randperm(n, generator=torch.Generator().manual_seed(SPLIT_SEED))
            count = round(self.validation * n)
            if not 0 < count < n:
                raise ValueError(f"validation={self.validation} of {n} samples leaves none on one side")
            kept, aside = order[count:], [take(chosen) for chosen in order[:count].split(self.batch)]
        test = None if self.test is None else self._all(self.test)
        return Batches(lambda chosen: take(kept[chosen]), len(kept), self.batch, seed, aside, test)

    def _all(self, source: Any) -> list[Batch]:
        take, n = taken(source)
        return [take(chosen) for chosen in torch.arange(n).split(max(self.batch, 512))]


def as_data(data: Any, test: Any, validation: Any, batch: int) -> Callable[[int], Data]:
    """What makes a run's data from its seed."""
    if isinstance(data, DataLoader):
        raise TypeError("data is a data set, and batches are drawn from it by the seed: loader.dataset, with batch=")
    if isinstance(data, tuple | Dataset):
        for name, given in (("test", test), ("validation", validation)):
            share = name == "validation" and isinstance(given, float)
            if isinstance(given, Tensor) or not (given is None or share or hasattr(given, "__getitem__")):
                raise TypeError(f"{name} is (x, y) or a torch data set; got {brief(given)}")
        for given in (data, test, validation):
            check_source(given)
        return Tensors(data, test, validation, batch)
    if not callable(data):
        raise TypeError(f"data is (x, y), a torch data set, or seed -> Data; got {type(data).__name__}")
    if test is not None or validation is not None:
        raise ValueError("data that is made from a seed brings its own test and validation")
    made: Callable[[int], Data] = data
    return made


def moved(batch: Batch, device: torch.device | str) -> Batch:
    """The batch on a device."""
    x, y = tree_map(lambda t: t.to(device, non_blocking=True) if isinstance(t, Tensor) else t, tuple(batch))
    return x, y
