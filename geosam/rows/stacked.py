"""Rows whose columns are dealt out to parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .._vectors import Vectors
from .abstract import Pulled, Rows


class Stacked(Rows):
    """Rows whose columns are dealt out to parts: (positions of the parameters, the rows of these)."""

    def __init__(self, parts: Sequence[tuple[Sequence[int], Rows]]) -> None:
        self.parts = list(parts)
        self.n = self.parts[0][1].n
        self.like = self._dealt(lambda rows: rows.like)

    def accumulate(self, out: Tensor, precision: torch.dtype) -> None:
        """Part by part."""
        for _, rows in self.parts:
            rows.accumulate(out, precision)

    def apply(self, v: Vectors) -> Tensor:
        """The sum of the parts'. A vector of other rows that are dealt out alike may be met in its own row space."""
        total = torch.zeros(self.n, dtype=torch.float64, device=self.like[0].device)
        theirs: dict[tuple[int, ...], Rows] = {}
        if isinstance(v, Pulled) and isinstance(v.rows, Stacked):
            theirs = {tuple(index): rows for index, rows in v.rows.parts}
        for index, rows in self.parts:
            other = theirs.get(tuple(index))
            met = rows.cross(other, v.coordinates) if isinstance(v, Pulled) and other is not None else None
            total += rows.apply([v[i] for i in index]) if met is None else met
        return total

    def materialise(self, a: Tensor) -> list[Tensor]:
        """Each part's own."""
        return self._dealt(lambda rows: rows.materialise(a))

    def mean_squares(self) -> list[Tensor]:
        """Each part's own."""
        return self._dealt(lambda rows: rows.mean_squares())

    def moments(self) -> tuple[list[Tensor], list[Tensor]]:
        """Part by part, so that no more than one part's rows need be held at once."""
        found = [(index, rows.moments()) for index, rows in self.parts]
        mean, squares = (self._sorted([(index, moments[k]) for index, moments in found]) for k in (0, 1))
        return mean, squares

    @property
    def held(self) -> int:
        """Of all parts."""
        return sum(rows.held for _, rows in self.parts)

    def columns(self, index: Sequence[int]) -> Stacked:
        """The same parts with fewer columns, in the order asked for."""
        place = {i: k for k, i in enumerate(index)}
        parts: list[tuple[Sequence[int], Rows]] = []
        for held, rows in self.parts:
            inside = [k for k, i in enumerate(held) if i in place]
            if inside:
                parts.append(([place[held[k]] for k in inside], rows.columns(inside)))
        return Stacked(parts)

    def _dealt(self, of: Callable[[Rows], Vectors]) -> list[Tensor]:
        return self._sorted([(index, of(rows)) for index, rows in self.parts])

    @staticmethod
    def _sorted(parts: Sequence[tuple[Sequence[int], Vectors]]) -> list[Tensor]:
        found = {i: t for index, tensors in parts for i, t in zip(index, tensors, strict=True)}
        return [found[i] for i in sorted(found)]
