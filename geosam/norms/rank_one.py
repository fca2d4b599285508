"""Identity plus rank one."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..core import InnerProduct, Normal, Vectors
from ..core import vectors as vec


@dataclass(frozen=True, eq=False)
class RankOne(InnerProduct):
    """G = I + uuᵀ, ♯c = c − u⟨u, c⟩/(1 + ‖u‖²) (Sherman–Morrison).

    For c = u the subtraction cancels to 1/(1 + ‖u‖²) of c, below float32's resolution from ‖u‖ ≈ 3e3 on. So c is split
    into its part along u and the rest: ♯c = c⊥ + a u/(1 + ‖u‖²) with a = ⟨u, c⟩/‖u‖², in float64, and ♯u has a closed form.
    """

    u: Vectors

    @property
    def like(self) -> Vectors:  # type: ignore[override]
        """The vector u."""
        return self.u

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(♯c, ‖c‖*) with ‖c‖*² = ‖c⊥‖² + a²‖u‖²/(1 + ‖u‖²)."""
        square = vec.dot(self.u, self.u)
        if all(a is b for a, b in zip(c, self.u, strict=True)):
            return vec.scale(c, 1 / (1 + square)), (square / (1 + square)).sqrt()
        u, wide = vec.map(Tensor.double, self.u), vec.map(Tensor.double, c)
        square = vec.dot(u, u)
        a = (vec.dot(u, wide) / square).nan_to_num(0.0, 0.0, 0.0)
        rest = vec.axpy(wide, -a, u)
        direction = vec.axpy(rest, a / (1 + square), u)
        dual = (vec.dot(rest, rest) + a.square() * square / (1 + square)).sqrt()
        return [v.to(t.dtype) for v, t in zip(direction, c, strict=True)], dual

    def sharp(self, c: Vectors) -> Vectors:
        """♯c, as split above."""
        return self.ascend(c)[0]

    def flat(self, v: Vectors) -> list[Tensor]:
        """v + u⟨u, v⟩."""
        return vec.axpy(v, vec.dot(self.u, v), self.u)

    def norm(self, v: Vectors) -> Tensor:
        """‖v‖² = ‖v‖₂² + ⟨u, v⟩²."""
        return (vec.dot(v, v) + vec.dot(self.u, v).square()).sqrt()

    def coloured(self, normal: Normal, like: Vectors) -> list[Tensor]:
        """G^(−1/2)z = z − u⟨u, z⟩/(s + s²), s² = 1 + ‖u‖²: its part along u is 1/s of z's."""
        u, z = vec.map(Tensor.double, self.u), [normal(t.shape) for t in like]
        root = (1 + vec.dot(u, u)).sqrt()
        return vec.axpy(z, -vec.dot(u, z) / (root + root.square()), u)

    def logdet(self) -> Tensor:
        """log(1 + ‖u‖²)."""
        return vec.dot(self.u, self.u).log1p()
