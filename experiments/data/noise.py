"""Wrong labels."""

from __future__ import annotations

import torch
from torch import Tensor


def flipped(labels: Tensor, part: float, seed: int, classes: int = 10) -> Tensor:
    """The labels, of any shape, with ``part`` of them moved to another class, uniformly."""
    generator, noisy = torch.Generator().manual_seed(seed), labels.flatten().clone()
    chosen = torch.randperm(len(noisy), generator=generator)[: round(part * len(noisy))]
    shift = torch.randint(1, classes, (len(chosen),), generator=generator)
    noisy[chosen] = (noisy[chosen] + shift) % classes
    return noisy.view_as(labels)
