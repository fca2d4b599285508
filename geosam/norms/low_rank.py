"""Low rank plus damping, solved by push-through."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from .. import _vectors as vec
from .._abstract import InnerProduct
from .._vectors import Vectors
from ..damping import Damping, resolve, singular
from ..rows import Pulled, Rows


class LowRank(InnerProduct):
    """G = JᵀJ/n + λI, exact, at the cost of an n × n eigendecomposition K = JJᵀ = U diag(s) Uᵀ in float64.

    For a vector Jᵀa of the row space, (JᵀJ/n + λI)⁻¹Jᵀa = Jᵀ n(K + nλI)⁻¹a (push-through), so that only a is solved for and
    float32 keeps 1e-6 at every λ; ‖Jᵀa‖*² = n aᵀK(K + nλI)⁻¹a. The batch gradient is Jᵀ1/n.

    Any other covector is split by the orthonormal qᵢ = Jᵀuᵢ/√sᵢ: ♯c = Σ ⟨qᵢ, c⟩qᵢ/(sᵢ/n + λ) + c⊥/λ. Its accuracy in
    float32 is that of c⊥, about 1e-7‖c‖/λ; Woodbury's formula would lose the row-space part as well.
    """

    like: Vectors

    def __init__(self, rows: Rows, damping: Damping) -> None:
        self.rows, self.like, self.n = rows, rows.like, rows.n
        self._values, self._basis = self._decompose(rows.gram())
        self.damping = resolve(damping, lambda: self._values.sum() / (self.n * vec.count(self.like)))
        if isinstance(damping, int | float) and damping == 0 and int(self._kept.sum()) < vec.count(self.like):
            raise singular(f"JᵀJ/n, of rank {int(self._kept.sum())} with {vec.count(self.like)} parameters,")

    @staticmethod
    def _decompose(gram: Tensor) -> tuple[Tensor, Tensor]:
        # A gram that is not finite has no eigenvectors; NaN flows on to the dual norm and is selected away there.
        if not torch.isfinite(gram).all():
            return torch.full_like(gram[0], torch.nan), torch.full_like(gram, torch.nan)
        values, basis = torch.linalg.eigh(gram)
        return values.clamp_min(0), basis

    @cached_property
    def _kept(self) -> Tensor:
        """Directions that the rows' precision can tell from zero: singular values of J above n·eps of the largest."""
        eps = torch.finfo(self.like[0].dtype).eps
        tolerance = max((self.n * eps) ** 2, self.n * torch.finfo(torch.float64).eps)
        return self._values > tolerance * self._values.amax()

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(♯c, ‖c‖*): in n dimensions for a vector of these rows, by the splitting above otherwise."""
        if isinstance(c, Pulled) and c.rows is self.rows:
            return self._push_through(c.coordinates)
        return self._split(c)

    def _push_through(self, coordinates: Tensor) -> tuple[Vectors, Tensor]:
        a = self._basis.T @ coordinates.double()
        # null directions of K carry nothing through Jᵀ, yet 1/(nλ) would amplify their rounding
        weights = torch.where(self._kept, self.n * a / (self._values + self.n * self.damping), 0 * a)
        return self.rows.pull(self._basis @ weights), (a * self._values * weights).sum().sqrt()

    def _split(self, c: Vectors) -> tuple[Vectors, Tensor]:
        roots = self._values.sqrt()
        inside, rest = torch.zeros_like(roots), list(c)
        for _ in range(2):  # the second projection removes what rounding left of the first
            along = torch.where(self._kept, self._basis.T @ self.rows.apply(rest) / roots, 0)
            inside = inside + along
            rest = vec.add(rest, self._vector(along), -1.0)
        weight = 1 / (self._values / self.n + self.damping)
        direction = self._vector(torch.where(self._kept, inside * weight, 0))
        dual = torch.where(self._kept, inside.square() * weight, 0 * inside).sum()
        if isinstance(self.damping, Tensor) or self.damping > 0:  # else the rows span the space, and the rest is rounding
            direction = vec.axpy(direction, 1 / self.damping, rest)
            dual = dual + vec.dot(rest, rest) / self.damping
        return direction, dual.sqrt()

    def _vector(self, along: Tensor) -> list[Tensor]:
        """Σ alongᵢ qᵢ."""
        return self.rows.materialise(self._basis @ torch.where(self._kept, along / self._values.sqrt(), 0))

    def sharp(self, c: Vectors) -> Vectors:
        """♯c; a vector of these rows gives one again."""
        return self.ascend(c)[0]

    def flat(self, v: Vectors) -> list[Tensor]:
        """Jᵀ(Jv)/n + λv."""
        return vec.axpy(self.rows.materialise(self.rows.apply(v) / self.n), self.damping, v)

    def norm(self, v: Vectors) -> Tensor:
        """‖v‖² = ‖Jv‖²/n + λ‖v‖₂²."""
        return (self.rows.apply(v).square().sum() / self.n + self.damping * vec.dot(v, v)).sqrt()
