"""Rows in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ..core import Vectors, limits
from ..core import vectors as vec
from .abstract import Rows
from .square import add_square


class Materialised(Rows):
    """Rows held in memory: one tensor of shape [n, *shape] per parameter."""

    def __init__(self, jacobian: Sequence[Tensor]) -> None:
        self.jacobian = [j.reshape(j.shape[0], -1) for j in jacobian]
        self.like = [j[0] for j in jacobian]
        self.n = jacobian[0].shape[0]

    def _blocks(self, precision: torch.dtype) -> Iterator[tuple[int, Tensor]]:
        """(position of a parameter, a block [n, w] of its columns), in order and in this precision."""
        for i, j in enumerate(self.jacobian):
            size = limits.CACHE if j.is_cpu and j.dtype != precision else limits.BLOCK
            for block in j.split(max(1, size // (8 * self.n)), dim=1):
                yield i, block.to(precision)

    def accumulate(self, out: Tensor, precision: torch.dtype) -> None:
        """Block by block; the sum over blocks is float64 for products of any precision."""
        for _, block in self._blocks(precision):
            add_square(out, block)

    def apply(self, v: Vectors) -> Tensor:
        """Jv; J is converted block by block where v's type is wider."""
        total = torch.zeros(self.n, dtype=torch.float64, device=self.like[0].device)
        done = [0] * len(self.like)
        for i, block in self._blocks(v[0].dtype):
            total += block @ v[i].reshape(-1)[done[i] : done[i] + block.shape[1]]
            done[i] += block.shape[1]
        return total

    def vjp(self, a: Tensor) -> list[Tensor]:
        """Jᵀa; J is converted block by block where a's type is wider."""
        return self._reduced(lambda block: a @ block, a.dtype)

    def mean_squares(self) -> list[Tensor]:
        """In float64 where a square would leave the range of the rows' type: gradients of 1e-25 are allowed."""

        def mean(block: Tensor) -> Tensor:
            return block.square().mean(0)

        if vec.reads_are_free(self.like):
            narrow = self._reduced(mean, self.like[0].dtype)
            if vec.within_range(narrow):
                return narrow
        return self._reduced(mean, torch.float64)

    @torch.no_grad()
    def spent(self) -> tuple[list[Tensor], list[Tensor]]:
        """(g, (1/n) Σ gᵢ²) in the rows' type. Overwrites the rows by their squares."""
        even = torch.full((self.n,), 1 / self.n, dtype=self.like[0].dtype, device=self.like[0].device)
        return self.vjp(even), self._reduced(lambda block: even @ block.square_(), even.dtype)

    @property
    def held(self) -> int:
        """Bytes of all rows."""
        return sum(j.numel() * j.element_size() for j in self.jacobian)

    def _reduced(self, column: Callable[[Tensor], Tensor], precision: torch.dtype) -> list[Tensor]:
        parts: list[list[Tensor]] = [[] for _ in self.like]
        for i, block in self._blocks(precision):
            parts[i].append(column(block))
        return [torch.cat(part).reshape(like.shape) for part, like in zip(parts, self.like, strict=True)]

    def columns(self, index: Sequence[int]) -> Materialised:
        """Views of the same memory, of fewer parameters."""
        return Materialised([self.jacobian[i].reshape(self.n, *self.like[i].shape) for i in index])
