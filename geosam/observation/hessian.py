"""Products with the loss's Hessian."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec
from ..problem import Surface
from ..problem.surface import Product
from .guard import guard
from .request import Look, Request


@dataclass(frozen=True, eq=False)
class Hessian:
    """v ↦ Hv, H = ∇²L(θ) on the batch, with the random numbers of the pass. Its graph is recorded at the first product.

    index: positions of the parameters that v belongs to; H is then the block of these.
    """

    surface: Surface
    unchanged: Callable[[], None]
    index: Sequence[int]

    @cached_property
    def _product(self) -> Product:
        self.unchanged()
        return self.surface.hessian()

    def __call__(self, v: Vectors) -> list[Tensor]:
        """Hv, in the parameters' type."""
        whole = vec.zeros_like(self.surface.theta)
        for i, t in zip(self.index, v, strict=True):
            whole[i] = t
        product = self._product(whole)
        return [product[i] for i in self.index]

    def restrict(self, index: Sequence[int]) -> Hessian:
        """The block of some of the parameters."""
        return Hessian(self.surface, self.unchanged, [self.index[i] for i in index])


@dataclass(frozen=True)
class HessianProducts(Request[Hessian]):
    """v ↦ ∇²L(θ)v."""

    lacking: ClassVar[str] = (
        "Hessian-vector products; a plain closure gives only the batch gradient. Pass problem.on(x, y), or use "
        "objectives.Gradient()."
    )

    def take(self, look: Look) -> Hessian:
        """Around the current θ; nothing is computed before the first product."""
        bound, chosen = look.bound, {id(p) for p in look.parameters}
        others = [p for p in bound.model.parameters() if id(p) not in chosen]
        return Hessian(bound.surface(look.theta, look.replay), guard(bound, (bound.y, others)), range(len(look.parameters)))

    def restrict(self, value: Hessian, index: Sequence[int]) -> Hessian:
        """The block of some of the parameters."""
        return value.restrict(index)
