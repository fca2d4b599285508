"""Augmentation of whole batches where they lie; every random number comes from the generator that is passed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor
from torch.nn import functional


class Augment(Protocol):
    """Images [n, channels, height, width] ↦ as many of the same shape and type. A frozen dataclass: it is part of a record."""

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """generator: on the CPU, so that a device has the numbers of a CPU."""


@dataclass(frozen=True)
class Crop:
    """A window of the image's size, from the image with ``padding`` more on each side: reflected, or zeros."""

    padding: int = 4
    reflect: bool = False

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """A translation an image."""
        n, _, height, width = x.shape
        padded = functional.pad(x.float(), (self.padding,) * 4, "reflect" if self.reflect else "constant").to(x.dtype)
        down, right = (_draw(2 * self.padding + 1, (n, 1), x, generator) for _ in range(2))
        rows, columns = down + torch.arange(height, device=x.device), right + torch.arange(width, device=x.device)
        which = torch.arange(n, device=x.device)[:, None, None]
        return padded[which, :, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Flip:
    """Left to right, every second image by chance."""

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """A coin an image."""
        return torch.where(_draw(2, (len(x), 1, 1, 1), x, generator).bool(), x.flip(3), x)


@dataclass(frozen=True)
class Cutout:
    """Zeros, the mean of standardised images, in a square of this side with its centre anywhere in the image.

    It is cut at the border. Source: DeVries and Taylor 2017.
    """

    side: int = 16

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """A square an image."""
        n, _, height, width = x.shape
        inside = []
        for size in (height, width):
            start = _draw(size, (n, 1), x, generator) - self.side // 2
            place = torch.arange(size, device=x.device) - start
            inside.append((place >= 0) & (place < self.side))
        hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
        return x.masked_fill(hole, 0)


@dataclass(frozen=True)
class Auto:
    """torchvision's AutoAugment, an image at a time (Cubuk et al. 2019). policy: of ``AutoAugmentPolicy``. uint8 only."""

    policy: str = "CIFAR10"

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        """A policy an image; torchvision draws from torch's own random state, which is put back."""
        from torchvision.transforms import AutoAugmentPolicy, v2  # seconds to import

        change = v2.AutoAugment(AutoAugmentPolicy[self.policy])
        seed = int(torch.randint(2**31, (), generator=generator))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return torch.stack([change(image) for image in x])


@dataclass(frozen=True)
class Pipeline:
    """What a training batch goes through: pixels are changed, standardised, and changed again. Testing only standardises."""

    pixels: tuple[Augment, ...] = ()
    standardised: tuple[Augment, ...] = ()

    def __call__(self, x: Tensor, standardise: Callable[[Tensor], Tensor], generator: Generator) -> Tensor:
        """All of them, in order."""
        for step in self.pixels:
            x = step(x, generator)
        x = standardise(x)
        for step in self.standardised:
            x = step(x, generator)
        return x


def _draw(high: int, shape: tuple[int, ...], like: Tensor, generator: Generator) -> Tensor:
    return torch.randint(high, shape, generator=generator).to(like.device, non_blocking=True)
