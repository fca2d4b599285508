"""Updates: what the base optimizer is given, from the gradients of both passes."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core import Divergence, InnerProduct, Norm, Public, Vectors
from ..core import vectors as vec
from ..observation import Constant, Metric, as_metric

__all__ = ["Natural", "Sharp", "SurrogateGap", "Update"]


class Update(Public, ABC):
    """(∇L(θ), ∇L(θ + ε*)) ↦ the gradient that the base optimizer steps with; one that ``reads`` a metric gets its norm at θ."""

    example: ClassVar[str] = "geosam.updates.Sharp()"

    def reads(self, ball: Metric) -> Metric | None:
        """The metric whose norm at θ ``keep`` is given as its third argument; None: it takes two. ball: the step's metric."""
        return None

    @abstractmethod
    def keep(self, gradient: Vectors, finite: Tensor, norm: Norm | Divergence | None = None) -> Any | None:
        """What is kept of the first pass until the second is over; None: nothing, and then nothing is applied.

        finite: whether the first pass was.
        """

    def joined(self, kept: Any, other: Any, times: int) -> Any:
        """What was kept of ``times`` first passes, and of one more of the same step: by default the mean of vectors."""
        return vec.lerp(kept, other, 1 / (times + 1))

    @abstractmethod
    def apply(self, kept: Any, parameters: Vectors, scale: float) -> None:
        """Turn the second pass's gradients, in ``.grad``, into the update's. The parameters are at θ.

        scale: a GradScaler's. The gradients carry it, before and after; kept does not.
        """

    def at_rest(self, kept: Any, gradient: Vectors, parameters: Vectors) -> Vectors:
        """The same where both gradients are one, ε* = 0; by default that gradient."""
        return gradient


@dataclass(frozen=True)
class Sharp(Update):
    """∇L(θ + ε*), SAM's own. Keeps nothing. Source: Foret et al. 2021."""

    def keep(self, gradient: Vectors, finite: Tensor, norm: Norm | Divergence | None = None) -> None:
        """Nothing."""

    def apply(self, kept: Any, parameters: Vectors, scale: float) -> None:
        """Nothing: ``.grad`` is the update already."""


@dataclass(frozen=True)
class SurrogateGap(Update):
    """s − α g⊥ with s = ∇L(θ + ε*), g = ∇L(θ) and g⊥ = g − s⟨g, s⟩/‖s‖²: GSAM's step. To first order it lowers L(θ + ε*) by
    as much as SAM's and L(θ) by α‖g⊥‖² less, so that the surrogate gap L(θ + ε*) − L(θ) narrows.

    Inner products are Euclidean and over all parameters, for every metric. Costs one copy of the gradient from one pass to the
    other, and no more passes. A first pass that is not finite counts as g = 0, and s = 0 gives −αg. A parameter without a
    gradient in the second pass is left out of both.
    Source: Zhuang et al. 2022, algorithm 1. Raises: ValueError for alpha that is not finite; TypeError for sparse gradients.
    """

    alpha: float = 0.4

    def __post_init__(self) -> None:
        if not math.isfinite(self.alpha):
            raise ValueError(f"alpha must be finite, got {self.alpha}; 0 is SAM's own update")

    def keep(self, gradient: Vectors, finite: Tensor, norm: Norm | Divergence | None = None) -> list[Tensor]:
        """A copy of g: the second pass may overwrite the first one's gradient."""
        return vec.keep(finite, vec.clone([t.detach() for t in gradient]))

    def apply(self, kept: Any, parameters: Vectors, scale: float) -> None:
        """s ← (1 + αa)s − αg with a = ⟨g, s⟩/‖s‖², one tensor at a time."""
        pairs = [(g, p.grad) for g, p in zip(kept, parameters, strict=True) if p.grad is not None]
        if not pairs:
            return
        g, s = ([pair[k] for pair in pairs] for k in (0, 1))
        _check_dense(self, s)
        square = vec.dot(s, s)
        along = torch.where(square > 0, vec.dot(g, s) / square, 0.0)
        vec.axpby_(1 + self.alpha * scale * along, s, -self.alpha * scale, g)


@dataclass(frozen=True)
class Natural(Update):
    """G(θ)⁻¹∇L(θ + ε*): the natural gradient of SAM in any geometry; with ρ = 0 that of the base optimizer, G(θ)⁻¹∇L(θ).

    metric: of G, damped as it is; None: the ball's own. G is that of the first pass, at θ, over all parameters, whatever the
    groups' radii. Where it is the ball's own, and one radius holds for all groups, the norm of the ball is used again; else it
    is made of what the same first pass observed. Costs no pass more than the step without it (two; one with ρ = 0), a second
    ♯, and what the norm holds, from one pass to the other. The learning rate is that of another unit: G⁻¹s is about 1/λ times s
    where s is small in F; a block of weight w is scaled by w².

    Several first passes of one step (``perturb`` before each micro-batch, ``ball="rank"``) give the mean of their G⁻¹s. One
    that is not finite gives no G; if none is left, the update is withheld. A parameter without a gradient in the second pass
    counts as 0 in s and is left out. With ρ = 0 on a problem one that the loss does not reach has gradient 0.
    Source: Kim et al. 2022, footnote 3 and section 6; Amari 1998. Raises: TypeError for a norm without a linear inverse (sup,
    spectral, a ball for each block) and a divergence, for sparse gradients, and where ``passes`` makes no pass at θ.
    """

    metric: Metric | Norm | None = None

    def __post_init__(self) -> None:
        if self.metric is not None:
            object.__setattr__(self, "metric", as_metric(self.metric))
        if isinstance(self.metric, Constant):
            _check_linear(self.metric.norm)

    def reads(self, ball: Metric) -> Metric:
        """Its metric, or the ball's."""
        return ball if self.metric is None else as_metric(self.metric)

    def keep(self, gradient: Vectors, finite: Tensor, norm: Norm | Divergence | None = None) -> Kept:
        """The norm, unless the pass is known not to be finite. Raises: TypeError where it is no inner product."""
        linear = _check_linear(norm)
        return () if vec.reads_are_free(gradient) and not finite else ((linear, finite),)

    def joined(self, kept: Any, other: Any, times: int) -> Kept:
        """All norms."""
        return (*kept, *other)

    def apply(self, kept: Any, parameters: Vectors, scale: float) -> None:
        """s ← the mean of G⁻¹s over the norms kept; NaN, which the step withholds, where there is none."""
        s = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        _check_dense(self, s)
        v = self.at_rest(kept, s, parameters)
        held = [i for i, p in enumerate(parameters) if p.grad is not None]
        vec.copy_([s[i] for i in held], [v[i] for i in held])

    def at_rest(self, kept: Any, gradient: Vectors, parameters: Vectors) -> Vectors:
        """The mean of G⁻¹g."""
        total: Vectors | None = None
        for norm, finite in kept:
            part = vec.keep(finite, norm.sharp(gradient))
            total = part if total is None else vec.add(total, part)
        if total is not None and len(kept) == 1 and vec.reads_are_free(parameters):
            return total
        if total is None:
            return vec.scale(vec.zeros_like(parameters), math.nan)
        return vec.scale(total, 1 / vec.gathered([finite.double() for _, finite in kept]).sum())


Kept = tuple[tuple[InnerProduct, Tensor], ...]
"""Norms at θ, and whether the first passes that they come from were finite."""


def _check_linear(norm: Norm | Divergence | None) -> InnerProduct:
    if not isinstance(norm, InnerProduct):
        raise TypeError(
            f"Natural multiplies by the inverse of a matrix, and {type(norm).__name__} has none: its ♯ is not linear. Name an "
            "inner product for the update, which need not be the ball's: updates.Natural(metrics.Fisher())."
        )
    return norm


def _check_dense(update: Update, gradients: Vectors) -> None:
    if any(g.layout != torch.strided for g in gradients):
        raise TypeError(
            f"{type(update).__name__} mixes the entries of gradients and needs dense ones. Use nn.Embedding(..., sparse=False)."
        )
