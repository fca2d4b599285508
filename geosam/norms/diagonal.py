"""A diagonal inner product, filled one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .._abstract import InnerProduct
from .._vectors import Vectors


@dataclass(frozen=True, eq=False)
class Diagonal(InnerProduct):
    """G = diag(d) > 0, ♯c = c / d.

    entries: i ↦ dᵢ, the diagonal that belongs to parameter i; it is called when needed, so that the diagonal need not be
    stored. An infinite entry pins its coordinate: ε = 0 there.
    """

    entries: Callable[[int], Tensor]
    like: Vectors

    @classmethod
    def of(cls, diagonal: Vectors) -> Diagonal:
        """From a diagonal that is held in memory."""
        return cls(lambda i: diagonal[i], diagonal)

    def sharp(self, c: Vectors) -> list[Tensor]:
        """c / d."""
        return [(t / self.entries(i)).to(t.dtype) for i, t in enumerate(c)]

    def flat(self, v: Vectors) -> list[Tensor]:
        """d · v, with 0 · ∞ = 0 where a coordinate is pinned."""
        return [torch.where(t == 0, 0, t * self.entries(i)).to(t.dtype) for i, t in enumerate(v)]
