"""What the losses of samples are, whatever the batch loss."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...core.undo import Attempt
from ..reading import Instead, widened

Loss = Callable[[Any, Any], Tensor]


def check_reduction(loss: Loss) -> None:
    """ValueError unless it averages over the batch."""
    reduction = getattr(loss, "reduction", "mean")
    if reduction in ("sum", "none"):
        raise ValueError(
            f"the loss has reduction={reduction!r}; radii and Fisher matrices are defined for the batch mean loss. "
            "Build it with reduction='mean'."
        )


class SampleLoss(ABC):
    """ℓ₁ … ℓₙ of a batch. ``factor`` is computed once for the batch, ``one`` for a single sample (it can be mapped over).

    known: whether it is one of torch's losses, so that its slopes may be computed in another precision than the outputs'.
    """

    known: bool = False

    def value(self, loss: Loss, outputs: Any, targets: Any) -> Tensor:
        """The batch loss by ``loss``, which is this one or a copy of it; outputs and targets stay as they are."""
        return loss(outputs, targets)

    @abstractmethod
    def factor(self, targets: Any, outputs: Callable[[], Tensor]) -> Tensor | float:
        """The factor of each sample's own loss that makes the mean of ℓ the batch loss. May call ``outputs``."""

    @abstractmethod
    def one(self, outputs: Tensor, targets: Any, factor: Tensor | float) -> Tensor:
        """ℓ of a batch of one, outputs of shape [1, ...]."""

    @abstractmethod
    def all(self, outputs: Tensor, targets: Any) -> Tensor:
        """ℓ, shape [n]."""

    def slopes(self, outputs: Tensor, targets: Any) -> Tensor:
        """∂ℓᵢ/∂zᵢ, [n, ...], in float64 where the loss allows it: then 1 − p keeps its digits near p = 1."""
        attempt = Attempt()
        try:
            with Instead():
                return _slope(self, outputs.double(), widened(targets))
        except (RuntimeError, ValueError) as error:  # a loss of one type only
            attempt.refused(error)
            return _slope(self, outputs, targets)

    def check(self, outputs: Any, targets: Any) -> None:
        """ValueError where the batch loss would average over other entries than it seems to (by broadcasting).

        TypeError for targets of a type that torch's loss does not take.
        """


def _slope(loss: SampleLoss, outputs: Tensor, targets: Any) -> Tensor:
    z = outputs.detach().requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(loss.all(z, targets).sum(), z)[0]


def one_number(loss: Tensor) -> Tensor:
    """The loss itself; ValueError unless it is 0-dimensional."""
    if loss.dim() != 0:
        raise ValueError(f"the loss has shape {tuple(loss.shape)}; it must be one number, the mean over the batch")
    return loss
