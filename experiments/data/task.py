"""A data set with all that training on it needs to know."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from .augment import Pipeline
from .batches import Batch
from .noise import flipped
from .split import Split

EPOCHS = 1_000_000  # a seed has so many numbers for its epochs
NOISE = 40_000  # added to a seed, by which samples are held out too: those would be the ones with wrong labels


def unchanged(x: Tensor) -> Tensor:
    """Inputs as they are."""
    return x


@dataclass(frozen=True)
class Standardise:
    """Pixels from 0 to 255, of any type ↦ (x/255 − mean)/deviation, float32, channel by channel."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __call__(self, x: Tensor) -> Tensor:
        """x: [n, channels, height, width]."""
        mean, deviation = (torch.tensor(v, device=x.device)[:, None, None] for v in (self.mean, self.deviation))
        return (x.float() / 255 - mean) / deviation


@dataclass(frozen=True)
class Enlarged(Standardise):
    """The same, then enlarged to size × size (bicubic): what a network of large images is shown of small ones."""

    size: int = 224

    def __call__(self, x: Tensor) -> Tensor:
        """x: [n, channels, height, width]."""
        return F.interpolate(super().__call__(x), size=(self.size, self.size), mode="bicubic")


@dataclass(frozen=True)
class Task:
    """split: raw inputs, on the device they are used on. standardise: what the network is shown of them."""

    split: Split
    classes: int
    standardise: Callable[[Tensor], Tensor] = unchanged

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return tuple(self.split.x.shape[1:])

    def part(self, train: int | None, test: int | None, seed: int) -> Task:
        """So many of either, drawn by the seed; None: all, in the order of the data set."""
        generator, s = torch.Generator().manual_seed(seed), self.split
        train_at, test_at = (_some(len(y), count, generator) for y, count in ((s.y, train), (s.test_y, test)))
        return replace(self, split=Split(s.x[train_at], s.y[train_at], s.test_x[test_at], s.test_y[test_at]))

    def noisy(self, part: float, seed: int) -> Task:
        """With this part of the training labels moved to another class; the test labels are as they were."""
        return replace(self, split=replace(self.split, y=flipped(self.split.y, part, NOISE + seed, self.classes)))

    def held_out(self, part: float, seed: int) -> Task:
        """Training samples only: this part of them stands where the test samples stood, and is not trained on."""
        s, order = self.split, torch.randperm(len(self.split.y), generator=torch.Generator().manual_seed(seed))
        aside, kept = order.split([round(part * len(order)), len(order) - round(part * len(order))])
        return replace(self, split=Split(s.x[kept], s.y[kept], s.x[aside], s.y[aside]))

    def to(self, device: str | torch.device) -> Task:
        """Loaded once, and used there."""
        s = self.split
        return replace(self, split=Split(s.x.to(device), s.y.to(device), s.test_x.to(device), s.test_y.to(device)))

    def epoch(self, number: int, size: int, seed: int, pipeline: Pipeline, alternate: bool = False) -> Iterator[Batch]:
        """Whole batches, one at a time, in an order and with changes that only the seed and the epoch's number decide.

        alternate: half of the images are flipped in the first epoch, the others in the second, and so on: two epochs show each
        image from both sides.
        """
        generator, n = torch.Generator().manual_seed(EPOCHS * seed + number), len(self.split.y)
        x, y = self.split.x, self.split.y
        turned = torch.zeros(n, dtype=torch.bool)
        if alternate:
            coins = torch.rand(n, generator=torch.Generator().manual_seed(EPOCHS * seed + EPOCHS - 1))
            turned = (coins < 0.5) ^ (number % 2 == 1)
        for at in torch.randperm(n, generator=generator)[: n // size * size].split(size):
            images = torch.where(turned[at].view(-1, 1, 1, 1).to(x.device), x[at].flip(3), x[at]) if alternate else x[at]
            yield pipeline(images, self.standardise, generator), y[at]


def _some(total: int, count: int | None, generator: torch.Generator) -> Tensor | slice:
    if count is None:
        return slice(None)
    if count > total:
        raise ValueError(f"{count} samples were asked for, and there are {total}")
    return torch.randperm(total, generator=generator)[:count]
