"""K + nλI, factorised, and an error estimate for a K from float32 products."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from ..core import vectors as vec

# RMS error of K from float32 products, relative to ‖gᵢ‖‖gⱼ‖; linear layers, convolutions, attention gave 1e-8 to 4e-8.
_ROUNDING = 5e-8
_PROBES = 8
_SHOWS = 1e-5, 1e-3


class Shifted:
    """K + nλI by Cholesky, in float64. rounded: K is from float32 products, and each result must pass ``accurate``.

    Cholesky keeps the digits of small rows of a badly scaled J; an eigendecomposition would lose them beside large ones.
    """

    def __init__(self, gram: Tensor, shift: Tensor | float, rounded: bool = False) -> None:
        self.gram, self.rounded, self.lengths = gram, rounded, _lengths(gram)
        self._factor = gram.clone()
        self._factor.diagonal().add_(shift)
        failed = torch.empty((), dtype=torch.int32, device=gram.device)
        torch.linalg.cholesky_ex(self._factor, out=(self._factor, failed))
        # Without a factor (not finite, or damped below rounding) NaN propagates to the dual norm, and selection gives ε* = 0.
        if not vec.reads_are_free([gram]) or failed:
            self._factor = torch.where(failed == 0, self._factor, torch.nan)
        self.pivots = self._factor.diagonal()

    def solve(self, b: Tensor) -> Tensor:
        """(K + nλI)⁻¹b, for [n] or [n, m]."""
        columns = b if b.dim() == 2 else b.unsqueeze(1)
        return torch.cholesky_solve(columns, self._factor).view_as(b)

    def accurate(self, weights: Tensor, more: Tensor | float, squares: tuple[Tensor, Tensor]) -> bool:
        """Whether rounding of K changes v = Jᵀw by less than 1e-5 ‖v‖₂ and 1e-3 ‖v‖_G. squares: of ‖v‖₂ and √n‖v‖_G.

        The second may be larger because its effect is of second order: at an angle e (in G) to the steepest direction, ⟨c, v⟩
        is smaller by e²/2. A residual as large as rounding leaves, r = 5e-8 (√Σ(‖gᵢ‖wᵢ)² + more) ‖gᵢ‖zᵢ for z ~ N(0, I), is
        solved like the right-hand side, (K + nλI)δw = r. It changes ‖v‖² by δwᵀKδw ≤ δwᵀr and n‖v‖²_G by
        δwᵀK(K + nλI)δw ≤ rᵀr (the left sides need K ≥ 0, which rounding can break). An estimate without a guarantee: it detects
        rows that are dependent or nearly so, small rows beside large ones, and damping below the rounding.
        """
        if not self.rounded:
            return True
        size = _ROUNDING * (torch.linalg.vector_norm(self.lengths * weights) + more)
        r = _probes(len(weights)) * (size * self.lengths).unsqueeze(1)
        moved = (self.solve(r) * r).sum()
        plain, metric = (shows**2 * _PROBES * square for shows, square in zip(_SHOWS, squares, strict=True))
        return bool(moved <= plain and r.square().sum() <= metric)


class Inverted:
    """K⁺ of an undamped K, float64. It raises nothing; rank: how many eigenvalues it kept."""

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
    """Fixed noise: results do not depend on the number of calls."""
    return torch.randn(n, _PROBES, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
