"""The geometry at one point: a norm with its duality map, and the special case of an inner product."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from . import vectors as vec
from .brief import Brief
from .vectors import Vectors

Normal = Callable[[Sequence[int]], Tensor]
"""Shape ↦ standard normal noise, float64."""


class Norm(Brief, ABC):
    """A norm on tangent vectors with its duality map ♯: the geometry at one point.

    ♯ is homogeneous of degree 1 with ⟨c, ♯c⟩ = ‖♯c‖² = ‖c‖*². Implement ``ascend`` and ``norm``.
    """

    like: Vectors | None = None
    """Tensors with the shapes, type and device of the space; None if the norm fits every space."""

    @abstractmethod
    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(♯c, ‖c‖*), the pair that a solver uses: ε* = ρ ♯c / ‖c‖*. ♯c may share memory with c.

        An inexact ♯ returns the primal norm ‖♯c‖ instead of ‖c‖*, so that ‖ε*‖ = ρ holds at every tolerance.
        """

    @abstractmethod
    def norm(self, v: Vectors) -> Tensor:
        """‖v‖, a 0-dimensional float64 tensor."""

    def ascend_into(self, out: Vectors | None, c: Vectors) -> tuple[Vectors, Tensor]:
        """``ascend``, where ♯c may be written into ``out`` instead of new memory; c is not changed."""
        return self.ascend(c)

    @property
    def report(self) -> Mapping[str, Any]:
        """What an iterative norm reports about its last ``ascend``: iterations, residual, whether it converged."""
        return {}

    def sharp(self, c: Vectors) -> Vectors:
        """♯c: the direction of steepest ascent, with ‖♯c‖ = ‖c‖*."""
        return self.ascend(c)[0]

    def dual_norm(self, c: Vectors) -> Tensor:
        """‖c‖* = max ⟨c, v⟩ over ‖v‖ ≤ 1, a 0-dimensional float64 tensor."""
        return self.ascend(c)[1]


class InnerProduct(Norm):
    """A norm from a symmetric positive-definite G: ‖v‖² = ⟨Gv, v⟩ and ♯c = G⁻¹c. Implement ``sharp`` and ``flat``.

    Override ``ascend`` where ♯c and ‖c‖* share work.
    """

    @abstractmethod
    def sharp(self, c: Vectors) -> Vectors:
        """♯c = G⁻¹c."""

    @abstractmethod
    def flat(self, v: Vectors) -> Vectors:
        """♭v = Gv."""

    def inner(self, u: Vectors, v: Vectors) -> Tensor:
        """⟨Gu, v⟩, a 0-dimensional float64 tensor."""
        return vec.dot(self.flat(u), v)

    def norm(self, v: Vectors) -> Tensor:
        """‖v‖ = √⟨Gv, v⟩."""
        return self.inner(v, v).clamp_min(0).sqrt()

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(G⁻¹c, √⟨c, G⁻¹c⟩)."""
        v = self.sharp(c)
        return v, vec.dot(c, v).sqrt()

    def sample(self, generator: torch.Generator, like: Vectors | None = None) -> list[Tensor]:
        """One Gaussian sample ε ~ N(0, G⁻¹), with E‖ε‖_G² = P; for radius ρ multiply by ρ.

        generator: the only source of randomness; noise is generated on its device, in float64. like: tensors with the shapes,
        type and device wanted, by default those of the norm. Raises: ValueError where neither is known;
        NotImplementedError where the norm does not implement ``coloured``.
        """
        space = self.like if like is None else like
        if space is None:
            raise ValueError(f"{type(self).__name__} fits every space: pass like=, tensors with the shapes of the draw")
        device = space[0].device

        def normal(shape: Sequence[int]) -> Tensor:
            noise = torch.randn(tuple(shape), generator=generator, device=generator.device, dtype=torch.float64)
            return noise.to(device)

        return [v.to(t.device, t.dtype) for v, t in zip(self.coloured(normal, space), space, strict=True)]

    def coloured(self, normal: Normal, like: Vectors) -> Vectors:
        """Az with AAᵀ = G⁻¹, linear in the noise z that ``normal`` gives, in float64. Optional: ``sample`` needs it."""
        raise NotImplementedError(f"{type(self).__name__} cannot be sampled: no A with AAᵀ = G⁻¹ is known to it. {_CLOSED}")

    def logdet(self) -> Tensor:
        """log det G, a 0-dimensional float64 tensor. Optional."""
        raise NotImplementedError(f"{type(self).__name__} has no log-determinant: its matrix is not factorised. {_CLOSED}")


_CLOSED = "norms.Identity, Diagonal, RankOne and LowRank have it: use e.g. metrics.EmpiricalFisher() or Monge()."
