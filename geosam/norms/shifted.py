"""K + nλI, factorised, and what can be said of a K whose products were rounded."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from ..core import vectors as vec

# Of float32 products: entries of K are off by this part of ‖gᵢ‖‖gⱼ‖ in the root mean square. Linear layers, convolutions and
# attention gave 1e-8 to 4e-8.
_ROUNDING = 5e-8
_PROBES = 8
_SHOWS = 1e-5, 1e-3


class Shifted:
    """K + nλI by Cholesky, in float64. rounded: K is from float32 products, and what comes of it must be ``believed``.

    Cholesky keeps the small rows of a badly scaled J, which an eigendecomposition would drown in the large ones.
    """

    def __init__(self, gram: Tensor, shift: Tensor | float, rounded: bool = False) -> None:
        self.gram, self.rounded, self.lengths = gram, rounded, _lengths(gram)
        self._factor = gram.clone()
        self._factor.diagonal().add_(shift)
        failed = torch.empty((), dtype=torch.int32, device=gram.device)
        torch.linalg.cholesky_ex(self._factor, out=(self._factor, failed))
        # A gram that is not finite, or whose damping is below its rounding, has no factor. NaN flows on to the dual norm
        # and is selected away there.
        if not vec.reads_are_free([gram]) or failed:
            self._factor = torch.where(failed == 0, self._factor, torch.nan)
        self.pivots = self._factor.diagonal()

    def solve(self, b: Tensor) -> Tensor:
        """(K + nλI)⁻¹b, for [n] or [n, m]."""
        columns = b if b.dim() == 2 else b.unsqueeze(1)
        return torch.cholesky_solve(columns, self._factor).view_as(b)

    def believed(self, weights: Tensor, more: Tensor | float, squares: tuple[Tensor, Tensor]) -> bool:
        """Whether rounding of K moves v = Jᵀw by less than 1e-5 ‖v‖₂ and 1e-3 ‖v‖_G. squares: of ‖v‖₂ and √n‖v‖_G.

        The second is of second order: off the steepest direction by a part e in G's own angles, ⟨c, v⟩ loses e²/2 of itself.
        A residual of the size that rounding leaves, r = 5e-8 (√Σ(‖gᵢ‖wᵢ)² + more) ‖gᵢ‖zᵢ for some z ~ N(0, I), is solved for as
        the right-hand side was, (K + nλI)δw = r. It moves ‖v‖² by δwᵀKδw ≤ δwᵀr and n‖v‖²_G by δwᵀK(K + nλI)δw ≤ rᵀr (K itself
        may have lost its sign where that matters). An estimate, not a bound; it sees rows that depend on each other or nearly
        so, small rows beside large ones, and damping below the rounding.
        """
        if not self.rounded:
            return True
        size = _ROUNDING * (torch.linalg.vector_norm(self.lengths * weights) + more)
        r = _probes(len(weights)) * (size * self.lengths).unsqueeze(1)
        moved = (self.solve(r) * r).sum()
        plain, metric = (shows**2 * _PROBES * square for shows, square in zip(_SHOWS, squares, strict=True))
        return bool(moved <= plain and r.square().sum() <= metric)


class Inverted:
    """K⁺ of an undamped K, float64. Raises nothing: ``rank`` says how much of K it kept."""

    rounded = False

    def __init__(self, gram: Tensor, eps: float) -> None:
        self.gram, self.lengths, n = gram, _lengths(gram), len(gram)
        self.finite = torch.isfinite(gram).all()
        values, self._basis = torch.linalg.eigh(gram.nan_to_num(0.0, 0.0, 0.0))
        kept = values > max((n * eps) ** 2, n * torch.finfo(torch.float64).eps) * values.amax()
        self.rank = int(kept.sum())
        self._inverse = torch.where(kept, 1 / values, 0.0)
        self.pivots = values[kept].sqrt()

    def solve(self, b: Tensor) -> Tensor:
        """K⁺b."""
        return self._basis @ (self._inverse * (self._basis.T @ b))


def _lengths(gram: Tensor) -> Tensor:
    """‖gᵢ‖."""
    return gram.diagonal().clamp_min(0).sqrt()


@functools.lru_cache(maxsize=8)
def _probes(n: int) -> Tensor:
    """The same at every call: results do not depend on how often one asked."""
    return torch.randn(n, _PROBES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
