"""A diagonal inner product: one tensor at a time on a CPU, all at once on an accelerator."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import Damping, InnerProduct, Normal, Vectors, resolve, singular
from ..core import vectors as vec

Roots = Callable[[], Sequence[Tensor | None]]


@dataclass(frozen=True, eq=False)
class Diagonal(InnerProduct):
    """G = diag(d) > 0, ♯c = c / d.

    entries: i ↦ dᵢ (with ``inverse`` 1/dᵢ), the diagonal of parameter i, in a new tensor that may be overwritten;
    it is called at each use, so that the diagonal need not be stored. Where 1/d = 0 a coordinate is pinned: ε = 0 there.
    roots: √d (with ``inverse`` 1/√d) of all parameters by multi-tensor operations, None for a parameter where it is 1; for
    accelerators, by default made from the entries.
    """

    entries: Callable[[int], Tensor]
    like: Vectors
    inverse: bool = False
    roots: Roots | None = None

    @classmethod
    def of(cls, diagonal: Vectors) -> Diagonal:
        """From a diagonal in memory."""
        return cls(lambda i: diagonal[i].clone(), diagonal)

    @classmethod
    def scaled(
        cls, sizes: Callable[[Sequence[int]], list[Tensor]], eta: float, chosen: Sequence[bool], like: Vectors
    ) -> Diagonal:
        """diag(T⁻²), T = size + η for the chosen parameters and 1 for the others. sizes: positions ↦ new tensors."""

        def entries(i: int) -> Tensor:
            ones = torch.ones((), dtype=like[i].dtype, device=like[i].device)
            return sizes([i])[0].add_(eta).square_() if chosen[i] else ones

        def roots() -> list[Tensor | None]:
            found: list[Tensor | None] = [None] * len(like)
            index = [i for i, c in enumerate(chosen) if c]
            for i, t in zip(index, vec.affine_(sizes(index), 1.0, eta) if index else (), strict=True):
                found[i] = t
            return found

        return cls(entries, like, True, roots)

    @classmethod
    def damped(cls, squares: Vectors, damping: Damping, like: Vectors, what: str) -> Diagonal:
        """diag(squares) + λI. Raises: ValueError for λ = 0 where an entry is zero; ``what`` is the matrix's name.

        Where reads are free, entries within the range of the parameters' type are rounded to it.
        """
        amount = resolve(damping, lambda: vec.gathered([s.sum().double() for s in squares]).sum() / vec.count(squares))
        if isinstance(amount, float) and amount == 0 and any(bool((s == 0).any()) for s in squares):
            raise singular(what)
        fits = vec.reads_are_free(squares) and float(amount) > 1e-30
        wide = [s for s in squares if s.dtype == torch.float64]
        narrow = fits and (not wide or bool(vec.sup(wide) < 1e30))

        def entries(i: int) -> Tensor:
            d = squares[i] + vec.on(amount, squares[i])
            return d.to(like[i].dtype) if narrow else d

        return cls(entries, like)

    def sharp(self, c: Vectors) -> Vectors:
        """c / d."""
        return self.ascend(c)[0]

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(c / d, √⟨c, c / d⟩) in one pass."""
        return self.ascend_into(None, c)

    def ascend_into(self, out: Vectors | None, c: Vectors) -> tuple[Vectors, Tensor]:
        """The same, on a CPU with c / d written into ``out``."""
        if not vec.reads_are_free(c):
            return self._ascend_together(c)
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

    def _ascend_together(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(c / √d / √d, ‖c / √d‖): c² / d may leave the range of float32 where c / √d does not."""
        divide, divide_ = (vec.mul, vec.mul_) if self.inverse else (vec.div, vec.div_)
        roots = self.roots() if self.roots else vec.sqrt_([self.entries(i) for i in range(len(c))])
        index = [i for i, r in enumerate(roots) if r is not None]
        root = [r for r in roots if r is not None]
        v = list(c)
        for i, half in zip(index, divide([c[i] for i in index], root) if index else (), strict=True):
            v[i] = half
        dual = vec.norm(v)
        if index:
            divide_([v[i] for i in index], root)
        return vec.cast(v, c), dual

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
        total = vec.gathered([self.entries(i).double().log().sum() for i in range(len(self.like))]).sum()
        return -total if self.inverse else total
