"""A problem on one batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..core import Norm, Vectors
from ..core.undo import undisturbed
from .batch import Batch
from .devices import explained
from .randomness import Replay
from .surface import Surface, around


@dataclass(frozen=True, eq=False)
class Bound(Batch):
    """A problem on one batch. It is a closure too: calling it zeroes gradients, runs forward and backward, returns the loss.

    It stores no number that depends on θ: every observation (:func:`geosam.observe`) is at the current parameters.
    """

    example: ClassVar[str] = "problem.on(x, y)"

    @property
    def parts(self) -> list[Bound]:
        """Its micro-batches: itself (:class:`geosam.problem.Together` has several)."""
        return [self]

    @property
    def joined(self) -> Bound:
        """The whole batch: itself."""
        return self

    def surface(self, theta: Vectors | None = None, replay: Replay | None = None, wide: bool = True) -> Surface:
        """ε ↦ L(θ + ε) on the batch, as :func:`geosam.problem.surface.around`."""
        return around(self, theta, replay, wide)

    @undisturbed
    def __call__(self) -> Tensor:
        """Zero the gradients, forward, backward (of the scaled loss where there is a scale); the loss, detached."""
        for p in (*self.model.parameters(), *(self.chosen or ())):  # FSDP2 may hold others in the model than the optimizer
            p.grad = None
        with explained(self), torch.enable_grad():
            loss = self.batch_loss(self.call(self.model))
            self.differentiated(loss).backward()
        return loss.detach()

    def explain(self, metric: Any) -> str:
        """As ``metric.explain``: what its engine would do for each parameter on this batch. A norm needs none."""
        if isinstance(metric, Norm):
            return f"{type(metric).__name__} needs no per-sample gradients: no engine is used."
        table: str = metric.explain(self)
        return table
