"""The per-sample Jacobian J as an operator.

Row i of J is gᵢ = ∇ℓᵢ, the gradient of sample i's own loss, **not** divided by n, so the batch gradient is g = Jᵀ1/n and the
empirical Fisher is F = JᵀJ/n. Metrics need only products with J; J itself need not be formed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import overload

import torch
from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec


class Rows(ABC):
    """n rows of gradients, one per sample: the operator J of shape [n, P]."""

    n: int
    like: Vectors

    @abstractmethod
    def accumulate(self, out: Tensor, precision: torch.dtype) -> None:
        """Add K = JJᵀ to ``out``, [n, n] float64; the products are computed in ``precision``."""

    def gram(self, precision: torch.dtype = torch.float64) -> Tensor:
        """K = JJᵀ, shape [n, n], float64. Float32 products give entries to about 1e-7 ‖gᵢ‖‖gⱼ‖ if none underflows."""
        out = torch.zeros(self.n, self.n, dtype=torch.float64, device=self.like[0].device)
        with vec.as_given(out):
            self.accumulate(out, precision)
        return out

    @abstractmethod
    def apply(self, v: Vectors) -> Tensor:
        """Jv, shape [n], float64; products in v's precision. A v = Jᵀa of the same layer and pass need not be formed."""

    def add(self, c: Vectors, factor: vec.Scalar, a: Tensor) -> list[Tensor]:
        """factor · c + Jᵀa. A c = Jᵀb of the same layer and pass need not be formed."""
        return vec.axpy(self.vjp(a), factor, c)

    def square(self, a: Tensor) -> Tensor | None:
        """‖Jᵀa‖², float64, where it is cheaper than Jᵀa itself; else None."""
        return None

    @property
    def parts(self) -> Sequence[tuple[Sequence[int], Rows]]:
        """(positions of parameters, their rows): the blocks of columns of J."""
        return [(range(len(self.like)), self)]

    @abstractmethod
    def vjp(self, a: Tensor) -> list[Tensor]:
        """The vector-Jacobian product Jᵀa, a of shape [n], as tensors with the parameters' shapes in a's type."""

    def summed(self, a: Tensor) -> list[Tensor]:
        """Jᵀa from the single rows that ``gram`` and ``mean_squares`` read, also where ``vjp`` needs none."""
        return self.vjp(a)

    @abstractmethod
    def mean_squares(self) -> list[Tensor]:
        """(1/n) Σᵢ gᵢ² with the parameters' shapes; float64, or the parameters' type where its range holds them all."""

    def moments(self) -> tuple[list[Tensor], list[Tensor]]:
        """(g, (1/n) Σᵢ gᵢ²), g = Jᵀ1/n in the parameters' type."""
        like = self.like[0]
        even = torch.full((self.n,), 1 / self.n, dtype=like.dtype, device=like.device)
        return self.vjp(even), self.mean_squares()

    @property
    def held(self) -> int:
        """Bytes of rows in memory, now or once they are formed."""
        return 0

    @abstractmethod
    def columns(self, index: Sequence[int]) -> Rows:
        """The columns of J that belong to the parameters at these positions."""

    def restrict(self, index: Sequence[int]) -> Rows:
        """``columns``, cached: the same positions give the same object, because norms compare rows by identity."""
        restricted: dict[tuple[int, ...], Rows] = vars(self).setdefault("_restricted", {})
        if tuple(index) not in restricted:
            restricted[tuple(index)] = self.columns(index)
        return restricted[tuple(index)]

    def pull(self, a: Tensor) -> Pulled:
        """Pull back a: Jᵀa as a vector that keeps its coordinates a in the row space."""
        return Pulled(self, a)


class Pulled(Sequence[Tensor]):
    """A pulled vector Jᵀa: behaves as a list of tensors, computed at first use, and keeps (rows, a).

    A norm built from the same rows solves for a in n dimensions and does not read the P-dimensional vector. This keeps float32
    accurate at small damping: g lies in the row space, and its rounding error off that space would be amplified by 1/λ.
    """

    def __init__(self, rows: Rows, coordinates: Tensor) -> None:
        self.rows, self.coordinates = rows, coordinates

    def restrict(self, index: Sequence[int]) -> Pulled:
        """The part that belongs to some parameters, again a pulled vector."""
        return self.rows.restrict(index).pull(self.coordinates)

    @property
    def like(self) -> Vectors:
        """Tensors with its shapes, known without computing it."""
        return self.rows.like

    @cached_property
    def tensors(self) -> list[Tensor]:
        """The vector itself."""
        if self.rows in (rows for _, rows in self.rows.parts):
            with vec.as_given(self.coordinates):
                wide = self.rows.vjp(self.coordinates)
            return vec.cast(wide, self.rows.like)
        return vec.assemble((index, part.tensors) for index, part in self._parts.items())

    @cached_property
    def _parts(self) -> dict[tuple[int, ...], Pulled]:
        return {tuple(index): self if rows is self.rows else Pulled(rows, self.coordinates) for index, rows in self.rows.parts}

    def part(self, index: Sequence[int]) -> Vectors:
        """The tensors at these positions; a pulled vector where the positions are a part of the rows."""
        return self._parts.get(tuple(index)) or [self[i] for i in index]

    def square(self) -> Tensor:
        """‖Jᵀa‖², 0-dimensional, float64."""
        found = [(part, part.rows.square(part.coordinates)) for part in self._parts.values()]
        return torch.stack([vec.dot(part, part) if square is None else square for part, square in found]).sum()

    @overload
    def __getitem__(self, index: int) -> Tensor: ...
    @overload
    def __getitem__(self, index: slice) -> list[Tensor]: ...
    def __getitem__(self, index: int | slice) -> Tensor | list[Tensor]:
        return self.tensors[index]

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.rows.like)

    def __repr__(self) -> str:
        return f"Pulled({self.tensors!r})"
