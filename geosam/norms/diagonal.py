"""A diagonal inner product, computed one tensor at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import Damping, InnerProduct, Normal, Vectors, resolve, singular
from ..core import vectors as vec


@dataclass(frozen=True, eq=False)
class Diagonal(InnerProduct):
    """G = diag(d) > 0, ♯c = c / d.

    entries: i ↦ dᵢ (with ``inverse`` 1/dᵢ), the diagonal of parameter i, in a new tensor that may be overwritten;
    it is called at each use, so that the diagonal need not be stored. Where 1/d = 0 a coordinate is pinned: ε = 0 there.
    """

    entries: Callable[[int], Tensor]
    like: Vectors
    inverse: bool = False

    @classmethod
    def of(cls, diagonal: Vectors) -> Diagonal:
        """From a diagonal in memory."""
        return cls(lambda i: diagonal[i].clone(), diagonal)

    @classmethod
    def damped(cls, squares: Vectors, damping: Damping, like: Vectors, what: str) -> Diagonal:
        """diag(squares) + λI. Raises: ValueError for λ = 0 where an entry is zero; ``what`` is the matrix's name.

        Where reads are free, entries within the range of the parameters' type are rounded to it.
        """
        amount = resolve(damping, lambda: torch.stack([s.sum().double() for s in squares]).sum() / vec.count(squares))
        if isinstance(amount, float) and amount == 0 and any(bool((s == 0).any()) for s in squares):
            raise singular(what)
        fits = vec.reads_are_free(squares) and float(amount) > 1e-30
        wide = [s for s in squares if s.dtype == torch.float64]
        narrow = fits and (not wide or bool(vec.sup(wide) < 1e30))

        def entries(i: int) -> Tensor:
            d = squares[i] + amount
            return d.to(like[i].dtype) if narrow else d

        return cls(entries, like)

    def sharp(self, c: Vectors) -> Vectors:
        """c / d."""
        return self.ascend(c)[0]

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(c / d, √⟨c, c / d⟩) in one pass."""
        return self.ascend_into(None, c)

    def ascend_into(self, out: Vectors | None, c: Vectors) -> tuple[Vectors, Tensor]:
        """The same, with c / d written into ``out``."""
        divide = torch.mul if self.inverse else torch.div

        def quotient(i: int, t: Tensor) -> Tensor:
            d = self.entries(i)
            if out is not None and d.dtype == t.dtype:
                return divide(t, d, out=out[i])
            if d.dtype == t.dtype and d.shape == t.shape:
                return divide(t, d, out=d)  # in place: the quotient stays in the cache
            return divide(t, d).to(t.dtype)

        v, square = vec.map_dot(quotient, c)
        return v, square.sqrt()

    def flat(self, v: Vectors) -> list[Tensor]:
        """d · v, with 0 · ∞ = 0 where a coordinate is pinned."""
        multiply = torch.div if self.inverse else torch.mul
        return [torch.where(t == 0, 0, multiply(t, self.entries(i))).to(t.dtype) for i, t in enumerate(v)]

    def coloured(self, normal: Normal, like: Vectors) -> list[Tensor]:
        """z / √d; a pinned coordinate is 0."""
        divide = torch.mul if self.inverse else torch.div
        return [divide(normal(t.shape), self.entries(i).double().sqrt()) for i, t in enumerate(like)]

    def logdet(self) -> Tensor:
        """Σ log d, infinite where a coordinate is pinned."""
        logs = [self.entries(i).double().log().sum() for i in range(len(self.like))]
        total = torch.stack([t.to(logs[0].device) for t in logs]).sum()
        return -total if self.inverse else total
