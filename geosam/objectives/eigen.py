"""Eigen-SAM's objective."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import Vectors, check_number
from ..core import vectors as vec
from ..observation import Hessian, HessianProducts, Needs, Objective, Observation, Remembering, State
from .average import any_of, past


@dataclass(frozen=True)
class Eigen(Remembering[Vectors], Objective):
    """c = ĝ + α sign⟨g, v⟩ v⊥ with ĝ = g/‖g‖, v⊥ = v − ⟨v, ĝ⟩ĝ, v the unit eigenvector of ∇²L(θ) of largest |λ|.

    The gradient, turned towards the direction in which the loss curves most: ⟨g, c⟩ = ‖g‖ whatever α, and the curvature along
    ε grows with α. v is found by ``iterations`` power steps v ← Hv/‖Hv‖ in every ``every``-th training step, from the last v
    (at first from noise of a fixed seed), and kept in between. Where the batch gradient is 0 so is c; an estimate that is
    not finite does not replace v; without any, c = ĝ. With frozen statistics g lacks their terms, while H
    is that of the model in training mode, which has them. Each power step costs a backward pass through the gradient's graph;
    the graph is one forward and backward pass. State: {"vector": v, "steps": t}.

    Here ‖ε*‖ = ρ, as with any objective. The paper takes ε = ρc, which is longer by √(1 + α²‖v⊥‖²).
    Source: Luo et al. 2024, "Explicit Eigenvalue Regularization Improves Sharpness-Aware Minimization" (arXiv 2501.12666),
    algorithms 1 and 2. Raises: ValueError for alpha that is negative or not finite, or counts below 1; TypeError for a plain
    closure.
    """

    alpha: float = 0.2
    every: int = 100
    iterations: int = 5

    def __post_init__(self) -> None:
        check_number("alpha", self.alpha, "; 0 gives the gradient's direction")
        for name, count in (("every", self.every), ("iterations", self.iterations)):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ValueError(f"{name} must be a whole number ≥ 1, got {count!r}")

    @property
    def needs(self) -> Needs:
        """v ↦ Hv at θ."""
        return (HessianProducts(),)

    def step(self, observation: Observation, state: State) -> tuple[Vectors, State]:
        """(c, {"vector": v, "steps": t})."""
        g = list(observation.gradient)
        known = past(state, "vector", g)
        steps = state.get("steps", 0) if any_of(known) else 0
        last = [t.new_zeros(t.shape) if v is None else v for v, t in zip(known, g, strict=True)]
        v = last if steps % self.every else self._estimated(observation[HessianProducts()], last)
        return self._turned(g, v), {"vector": v, "steps": steps + 1}

    def _estimated(self, hessian: Hessian, v: Vectors) -> Vectors:
        """v after a few power steps, from noise where it is 0; v itself where the result is 0 or not finite."""
        start, v = v, vec.select(vec.norm(v) > 0, v, _noise(v))
        for _ in range(self.iterations):
            image = hessian(v)
            v = vec.scale(image, _over(vec.norm(image)))
        usable = vec.finite(v) & (vec.norm(v) > 0)
        return vec.select(usable, v, start)

    def _turned(self, g: Vectors, v: Vectors) -> list[Tensor]:
        size = vec.norm(g)
        unit = vec.scale(g, _over(size))
        along = vec.dot(v, unit)
        rest = vec.axpy(v, -along, unit)
        # sign(0) = 0 would leave out v⊥ where g and v are orthogonal, the one place where it matters most
        turned = vec.axpy(unit, self.alpha * torch.where(along < 0, -1.0, 1.0), rest)
        return vec.keep(size != 0, turned)


def _over(size: Tensor) -> Tensor:
    """1/size, and 0 where it is 0."""
    return torch.where(size == 0, 0.0, 1 / size)


def _noise(like: Vectors) -> list[Tensor]:
    """A unit vector, the same at every call."""
    generator = torch.Generator().manual_seed(0)
    noise = [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.device, t.dtype) for t in like]
    return vec.scale(noise, 1 / vec.norm(noise))
