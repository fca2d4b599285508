"""Products with the loss's Hessian."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor

from ..core import Vectors
from ..core import vectors as vec
from ..problem import Bound, Surface
from ..problem.modules import structure
from ..problem.surface import Product
from .guard import guard
from .request import Look, Request

_ASYMMETRY = 0.015  # relative; under autocast to bfloat16 it stays below 0.006


@dataclass(frozen=True, eq=False)
class Hessian:
    """v ↦ Hv, H = ∇²L(θ) on the batch, with the random numbers of the pass. Its graph is recorded at the first product.

    index: positions of the parameters that v belongs to; H is then the block of these. check: of the product, before its use.
    """

    surface: Surface
    unchanged: Callable[[], None]
    index: Sequence[int]
    check: Callable[[Product], None]

    @cached_property
    def _product(self) -> Product:
        self.unchanged()
        product = self.surface.hessian()
        self.check(product)
        return product

    def __call__(self, v: Vectors) -> list[Tensor]:
        """Hv, in the parameters' type."""
        whole = vec.zeros_like(self.surface.theta)
        for i, t in zip(self.index, v, strict=True):
            whole[i] = t
        product = self._product(whole)
        return [product[i] for i in self.index]

    def restrict(self, index: Sequence[int]) -> Hessian:
        """The block of some of the parameters."""
        return Hessian(self.surface, self.unchanged, [self.index[i] for i in index], self.check)


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
        unchanged, index = guard(bound, (bound.y, others)), range(len(look.parameters))
        check = partial(_once, bound, look.theta)
        return Hessian(bound.surface(look.theta, look.replay), unchanged, index, check)

    def restrict(self, value: Hessian, index: Sequence[int]) -> Hessian:
        """The block of some of the parameters."""
        return value.restrict(index)


def _once(bound: Bound, like: Vectors, product: Product) -> None:
    """Symmetry, seen once for each structure of a problem: where numbers are not finite, or all 0, on another batch again."""
    key = ("symmetric", *structure(bound.model, bound.parameters))
    if key not in bound.memory and _is_symmetric(product, like):
        bound.memory[key] = True


def _is_symmetric(product: Product, like: Vectors) -> bool:
    """Whether ⟨u, Hv⟩ = ⟨v, Hu⟩ for three vectors of noise is seen. Raises: ValueError where they differ."""
    generator = torch.Generator().manual_seed(0)
    noise = [
        [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.device, t.dtype) for t in like] for _ in range(3)
    ]
    images = [product(v) for v in noise]
    gaps = [vec.dot(noise[i], images[k]) - vec.dot(noise[k], images[i]) for i, k in combinations(range(3), 2)]
    size = torch.stack([vec.norm(image).square() for image in images]).mean().sqrt()
    gap = torch.stack(gaps).square().mean().sqrt()
    if gap > _ASYMMETRY * size:
        raise ValueError(
            f"H is not symmetric: ⟨u, Hv⟩ and ⟨v, Hu⟩ differ by {gap.item() / size.item():.2g} of ‖Hv‖ for noise u, v. torch "
            "derives some operation wrongly the second time (torch._weight_norm on a CPU is known for it): write it out."
        )
    return bool(0 < size < math.inf)
