"""Product geometries: a norm from the norms of blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core import InnerProduct, Norm, Normal, Vectors
from ..core import vectors as vec
from ..rows import Pulled


@dataclass(frozen=True, eq=False)
class Block:
    """The parameters at ``index``, their norm and their weight: ‖ε_b‖_b ≤ weight · ρ where all other blocks are 0."""

    index: Sequence[int]
    norm: Norm
    weight: float = 1.0

    def of(self, v: Vectors) -> Vectors:
        """The block's part of v."""
        return v.restrict(self.index) if isinstance(v, Pulled) else [v[i] for i in self.index]


@dataclass(frozen=True, eq=False)
class OfBlocks(Norm):
    """A norm made of the norms of blocks that cover all parameters."""

    blocks: Sequence[Block]
    like: Vectors | None = None

    @property
    def report(self) -> Mapping[str, Any]:
        """blocks: position → the block's report; converged: whether all iterative blocks did."""
        parts = {b: block.norm.report for b, block in enumerate(self.blocks) if block.norm.report}
        if not parts:
            return {}
        converged = [part["converged"] for part in parts.values() if "converged" in part]
        return {"blocks": parts, **({"converged": all(converged)} if converged else {})}

    def _assemble(self, parts: Sequence[Vectors]) -> list[Tensor]:
        return vec.assemble((block.index, part) for block, part in zip(self.blocks, parts, strict=True))


def _over(norm: Tensor, weight: float) -> Tensor:
    """norm / weight, where weight 0 pins the block: 0 / 0 = 0."""
    return torch.where(norm == 0, 0, norm / weight) if weight else torch.where(norm == 0, 0, torch.inf)


@dataclass(frozen=True, eq=False)
class JointBall(OfBlocks):
    """One ball for all: ‖ε‖² = Σ_b (‖ε_b‖_b / w_b)², ♯c_b = w_b² ♯_b c_b, ‖c‖*² = Σ_b (w_b ‖c_b‖_b*)²."""

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(♯c, ‖c‖*). A weight of 0 pins its block without a division."""
        parts = [block.norm.ascend(block.of(c)) for block in self.blocks]
        sharp = [vec.scale(v, b.weight**2) for b, (v, _) in zip(self.blocks, parts, strict=True)]
        squares = [(b.weight * d).square() for b, (_, d) in zip(self.blocks, parts, strict=True)]
        return self._assemble(sharp), vec.gathered(squares).sum().sqrt()

    def norm(self, v: Vectors) -> Tensor:
        """‖v‖."""
        return vec.gathered([_over(b.norm.norm(b.of(v)), b.weight) for b in self.blocks]).square().sum().sqrt()


@dataclass(frozen=True, eq=False)
class JointInnerProduct(OfBlocks, InnerProduct):
    """The joint ball of inner products, itself one: G = blockdiag(G_b / w_b²)."""

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(♯c, ‖c‖*), as for any joint ball."""
        return JointBall(self.blocks).ascend(c)

    def sharp(self, c: Vectors) -> Vectors:
        """♯c."""
        return self.ascend(c)[0]

    def flat(self, v: Vectors) -> list[Tensor]:
        """♭v_b = ♭_b v_b / w_b²; a pinned block (w_b = 0) admits v_b = 0 only, whose ♭ is 0."""
        parts = [
            vec.scale(b.norm.flat(b.of(v)), b.weight**-2) if b.weight else vec.map(_pinned, b.of(v))  # type: ignore[attr-defined]
            for b in self.blocks
        ]
        return self._assemble(parts)

    def norm(self, v: Vectors) -> Tensor:
        """‖v‖."""
        return JointBall(self.blocks).norm(v)

    def coloured(self, normal: Normal, like: Vectors) -> list[Tensor]:
        """w_b A_b z_b, with independent z_b; 0 for a pinned block."""
        parts = [vec.scale(b.norm.coloured(normal, b.of(like)), b.weight) for b in self.blocks]  # type: ignore[attr-defined]
        return self._assemble(parts)

    def logdet(self) -> Tensor:
        """Σ_b (log det G_b − 2 P_b log w_b), infinite where a block is pinned. Raises: ValueError without ``like``."""
        if self.like is None:
            raise ValueError("a product that fits every space has no determinant: build it with like=, the parameters")
        weights = torch.tensor([b.weight for b in self.blocks], dtype=torch.float64, device=self.like[0].device)
        sizes = torch.tensor([vec.count(b.of(self.like)) for b in self.blocks], device=weights.device)
        dets = torch.stack([b.norm.logdet().to(weights.device) for b in self.blocks])  # type: ignore[attr-defined]
        return (dets - 2 * sizes * weights.log()).sum()


def _pinned(t: Tensor) -> Tensor:
    return torch.where(t == 0, 0, torch.inf).to(t.dtype)


@dataclass(frozen=True, eq=False)
class BallEach(OfBlocks):
    """A ball for each: ‖ε‖ = max_b ‖ε_b‖_b / w_b, ‖c‖* = Σ_b w_b ‖c_b‖_b*, ♯c_b = ‖c‖* w_b ♯_b c_b / ‖c_b‖_b*."""

    def ascend(self, c: Vectors) -> tuple[Vectors, Tensor]:
        """(♯c, ‖c‖*). A block whose covector is 0 gets ♯c_b = 0."""
        parts = [block.norm.ascend(block.of(c)) for block in self.blocks]
        duals = vec.gathered([b.weight * d for b, (_, d) in zip(self.blocks, parts, strict=True)])
        total = duals.sum()
        sharp = [
            vec.scale(v, torch.where(d == 0, 0, total.to(d.device) * b.weight / d))
            for b, (v, d) in zip(self.blocks, parts, strict=True)
        ]
        return self._assemble(sharp), total

    def norm(self, v: Vectors) -> Tensor:
        """‖v‖."""
        return vec.gathered([_over(b.norm.norm(b.of(v)), b.weight) for b in self.blocks]).amax()


def joint(blocks: Sequence[Block], like: Vectors | None = None) -> JointBall | JointInnerProduct:
    """The joint ball, as an inner product where every block is one."""
    kind = JointInnerProduct if all(isinstance(b.norm, InnerProduct) for b in blocks) else JointBall
    return kind(blocks, like)
