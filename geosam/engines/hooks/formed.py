"""Rows of a layer that are formed on demand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import torch
from torch import Tensor

from ...core import Vectors
from ...core import vectors as vec
from ...core.undo import undisturbed
from ...rows import Materialised, Rows
from .capture import Use
from .layers import is_linear_in_parameters, jacobian, total
from .layout import Layout


class Formed(Rows):
    """gᵢ = Σ_use ∂⟨δᵢ, out⟩/∂θ for the operations that used the parameters.

    uses: (operation, its layout, position in its arguments → position in ``like``, δ of each cotangent). Jᵀa is one weight
    gradient, of Σ_k a_k∘δ_k, as long as no rows are held; what reads single rows forms all of them. keep: whether they are then
    held, and the activations released; otherwise they are formed again. Parameters have their values at construction.
    Raises: RuntimeError where an activation was overwritten since.
    """

    def __init__(
        self, uses: Sequence[tuple[Use, Layout, dict[int, int], Sequence[Tensor]]], like: Vectors, n: int, keep: bool
    ) -> None:
        self.uses, self.like, self.samples, self.keep = list(uses), like, n, keep
        self.n = n * len(self.uses[0][3])
        self._kept: Materialised | None = None

    def _rows(self) -> Materialised:
        if self._kept is not None:
            return self._kept
        formed = self._form()
        if self.keep:
            self._kept, self.uses = formed, []
        return formed

    @undisturbed
    @torch.no_grad()
    def _form(self) -> Materialised:
        rows = [self._drawn(k) for k in range(self.n // self.samples)]
        return Materialised([torch.cat(parts) if len(parts) > 1 else parts[0] for parts in zip(*rows, strict=True)])

    def _drawn(self, k: int) -> list[Tensor]:
        return self._summed(lambda use, layout, deltas, like: jacobian(use, layout, deltas[k], self.samples, like))

    def _summed(self, of: Callable[[Use, Layout, Sequence[Tensor], dict[int, Tensor]], dict[int, Tensor]]) -> list[Tensor]:
        """What ``of`` returns for each operation, summed by parameter."""
        sums: dict[int, Tensor] = {}
        for use, layout, places, deltas in self.uses:
            if use.overwritten():
                raise RuntimeError(f"an input of {use.name} was overwritten since the forward pass: its rows cannot be formed")
            for place, t in of(use, layout, deltas, {place: self.like[i] for place, i in places.items()}).items():
                i = places[place]
                sums[i] = sums[i] + t if i in sums else t
        return [sums[i] for i in range(len(self.like))]

    def accumulate(self, out: Tensor, precision: torch.dtype) -> None:
        """From the formed rows."""
        self._rows().accumulate(out, precision)

    def apply(self, v: Vectors) -> Tensor:
        """From the formed rows."""
        return self._rows().apply(v)

    @undisturbed
    @torch.no_grad()
    def vjp(self, a: Tensor) -> list[Tensor]:
        """By one weight gradient for each operation in the parameters' type, from the formed rows in a wider one."""
        if self._kept is not None or a.dtype != self.like[0].dtype:
            return self._rows().vjp(a)
        even = vec.reads_are_free([a]) and bool((a == a[0]).all())  # the batch gradient: no weights are needed

        def weighted(layout: Layout, deltas: Sequence[Tensor]) -> Sequence[Tensor]:
            assert layout.out is not None, "only operations with a known layout come here"
            weights = a.view(-1, self.samples)
            return deltas if even else [layout.out.weighted(d, w) for d, w in zip(deltas, weights, strict=True)]

        def summed(use: Use, layout: Layout, deltas: Sequence[Tensor], like: dict[int, Tensor]) -> dict[int, Tensor]:
            return total(use, layout, reduce(torch.add, weighted(layout, deltas)), self.samples, like)

        found = self._summed(summed)
        return [t * a[0] for t in found] if even else found

    def summed(self, a: Tensor) -> list[Tensor]:
        """From the formed rows."""
        return self._rows().vjp(a)

    def mean_squares(self) -> list[Tensor]:
        """From the formed rows."""
        return self._rows().mean_squares()

    def moments(self) -> tuple[list[Tensor], list[Tensor]]:
        """From the formed rows; unless they are held already they are formed for this only and overwritten by their squares."""
        # the rows of any other operation may be its δ itself, or a view of it
        own = all(is_linear_in_parameters(use) for use, *_ in self.uses)
        if self._kept is not None or not own or not vec.reads_are_free(self.like):
            return self._rows().moments()
        mean, squares = self._form().spent()
        return mean, squares if vec.within_range(squares) else self._form().mean_squares()

    @property
    def held(self) -> int:
        """Bytes of all rows, if they are kept."""
        return self.n * sum(p.numel() * p.element_size() for p in self.like) if self.keep else 0

    def columns(self, index: Sequence[int]) -> Rows:
        """The columns of the formed rows."""
        return self._rows().columns(index)
