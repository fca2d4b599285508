"""What is taken of label draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from ..core import Vectors
from ..rows import Rows


@dataclass(frozen=True, eq=False)
class Sampled:
    """The value of :class:`LabelDraws`. how: a description, for reports.

    rows: of the K·n cotangents. squares: their mean squares. coordinates: (α [K, n], spanned [n]) with
    Jᵢᵀ∂ℓᵢ/∂zᵢ = Σ_k α_kᵢ row_kᵢ for the samples that are spanned. cotangents: u, [K, n, ...], where products replace rows;
    mean_diagonal: then tr(F)/P, if requested and computed from rows.
    """

    how: str
    rows: Rows | None = None
    squares: Vectors | None = None
    coordinates: tuple[Tensor, Tensor] | None = None
    cotangents: Tensor | None = None
    mean_diagonal: Tensor | None = None

    def restrict(self, index: Sequence[int]) -> Sampled:
        """The same labels, for some of the parameters."""
        rows = None if self.rows is None else self.rows.restrict(index)
        squares = None if self.squares is None else [self.squares[i] for i in index]
        return replace(self, rows=rows, squares=squares, mean_diagonal=None)
