"""A diagonal inner product, filled one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import _vectors as vec
from .._abstract import InnerProduct
from .._vectors import Vectors


@dataclass(frozen=True, eq=False)
class Diagonal(InnerProduct):
    """G = diag(d) > 0, ♯c = c / d.

    entries: i ↦ dᵢ, the diagonal that belongs to parameter i, in a new tensor that may be overwritten; it is called when
    needed, so that the diagonal need not be stored. An infinite entry pins its coordinate: ε = 0 there.
    """

    entries: Callable[[int], Tensor]
    like: Vectors

    @classmethod
    def of(cls, diagonal: Vectors) -> Diagonal:
        """From a diagonal that is held in memory."""
        return cls(lambda i: diagonal[i].clone(), diagonal)

    def sharp(self, c: Vectors) -> Vectors:
        """c / d."""
        return self.ascend(c)[0]

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(c / d, √⟨c, c / d⟩) in one pass."""
        v, square = vec.map_dot(self._divide, c)
        return v, square.sqrt()

    def _divide(self, i: int, t: Tensor) -> Tensor:
        d = self.entries(i)
        if d.dtype == t.dtype and d.shape == t.shape:
            return torch.div(t, d, out=d)  # in place: the quotient stays in the cache
        return (t / d).to(t.dtype)

    def flat(self, v: Vectors) -> list[Tensor]:
        """d · v, with 0 · ∞ = 0 where a coordinate is pinned."""
        return [torch.where(t == 0, 0, t * self.entries(i)).to(t.dtype) for i, t in enumerate(v)]
