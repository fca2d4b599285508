"""Rows in parts, each with the columns of some parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..core import Scalar, Vectors
from ..core import vectors as vec
from .abstract import Pulled, Rows


class Stacked(Rows):
    """J = [J₁ J₂ …] up to the order of columns. parts: (positions of the parameters, their rows J_p)."""

    def __init__(self, parts: Sequence[tuple[Sequence[int], Rows]]) -> None:
        self._parts = list(parts)
        self.n = self._parts[0][1].n
        self.like = self._dealt(lambda _, rows: rows.like)

    @property
    def parts(self) -> Sequence[tuple[Sequence[int], Rows]]:
        """The parts as given."""
        return self._parts

    def accumulate(self, out: Tensor, precision: torch.dtype) -> None:
        """Σ_p J_pJ_pᵀ."""
        for _, rows in self.parts:
            rows.accumulate(out, precision)

    def apply(self, v: Vectors) -> Tensor:
        """Σ_p J_pv_p."""
        return torch.stack([rows.apply(_part(v, index)) for index, rows in self.parts]).sum(0)

    def add(self, c: Vectors, factor: Scalar, a: Tensor) -> list[Tensor]:
        """Part by part."""
        return self._dealt(lambda index, rows: rows.add(_part(c, index), factor, a))

    def vjp(self, a: Tensor) -> list[Tensor]:
        """Part by part."""
        return self._dealt(lambda _, rows: rows.vjp(a))

    def summed(self, a: Tensor) -> list[Tensor]:
        """Part by part."""
        return self._dealt(lambda _, rows: rows.summed(a))

    def mean_squares(self) -> list[Tensor]:
        """Part by part."""
        return self._dealt(lambda _, rows: rows.mean_squares())

    def moments(self) -> tuple[list[Tensor], list[Tensor]]:
        """Part by part, so that the rows of one part at a time are in memory."""
        found = [(index, rows.moments()) for index, rows in self.parts]
        mean, squares = (vec.assemble([(index, moments[k]) for index, moments in found]) for k in (0, 1))
        return mean, squares

    @property
    def held(self) -> int:
        """Bytes of all parts."""
        return sum(rows.held for _, rows in self.parts)

    def columns(self, index: Sequence[int]) -> Stacked:
        """The same parts with fewer columns, in the order of ``index``."""
        place = {i: k for k, i in enumerate(index)}
        parts: list[tuple[Sequence[int], Rows]] = []
        for held, rows in self.parts:
            inside = [k for k, i in enumerate(held) if i in place]
            if inside:
                kept = rows if len(inside) == len(held) else rows.columns(inside)
                parts.append(([place[held[k]] for k in inside], kept))
        return Stacked(parts)

    def _dealt(self, of: Callable[[Sequence[int], Rows], Vectors]) -> list[Tensor]:
        return vec.assemble([(index, of(index, rows)) for index, rows in self.parts])


def _part(v: Vectors, index: Sequence[int]) -> Vectors:
    return v.part(index) if isinstance(v, Pulled) else [v[i] for i in index]
