"""Wrong labels."""

from __future__ import annotations

import torch
from torch import Tensor


def flipped(labels: Tensor, part: float, seed: int, classes: int = 10) -> Tensor:
    """The labels with ``part`` of them moved to another class, uniformly."""
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(labels), generator=generator)[: round(part * len(labels))]
    shift = torch.randint(1, classes, (len(chosen),), generator=generator)
    noisy = labels.clone()
    noisy[chosen] = (noisy[chosen] + shift) % classes
    return noisy
