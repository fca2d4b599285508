"""Losses of which nothing is known: each may write into what it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from ...core.limits import rounding
from ...core.undo import Attempt
from ..data import versions
from .abstract import Loss, SampleLoss, one_number


class Opaque(SampleLoss):
    """Any other callable: sample i's loss is that of a batch of it alone. Checked, because for many losses it is not.

    writes: whether it writes into outputs or targets, found in its first call. It is then given clones of them.
    """

    def __init__(self, loss: Loss, writes: list[bool] | None = None) -> None:
        self.loss, self.writes = loss, [] if writes is None else writes

    def value(self, loss: Loss, outputs: Any, targets: Any) -> Tensor:
        """By clones where the loss writes: outputs are read after it, and the second pass of a step has the same targets."""
        if self.writes == [False] or (not self.writes and torch.compiler.is_compiling()):
            return loss(outputs, targets)
        outputs, targets = tree_map(lambda t: t.clone() if isinstance(t, Tensor) else t, (outputs, targets))
        before = versions((outputs, targets))
        found = loss(outputs, targets)
        if not self.writes:
            self.writes.append(versions((outputs, targets)) != before)
        return found

    def factor(self, targets: Any, outputs: Callable[[], Tensor]) -> Tensor | float:
        """1. ValueError where the samples taken alone do not average to the loss of the batch."""
        with torch.no_grad():
            z = outputs()
        if _samples(z, targets) is None:  # the model's own loss, which rows are verified by
            return 1.0
        with torch.enable_grad():  # the loss may differentiate inside
            together, alone = one_number(self.value(self.loss, z, targets)).detach(), self._alone(z, targets).mean().detach()
        tolerance = rounding(alone.dtype)
        if not torch.allclose(together, alone, rtol=tolerance, atol=tolerance, equal_nan=True):
            raise ValueError(
                f"the loss of the batch is {together.item():.6g}, but its samples taken alone average {alone.item():.6g}: "
                "this loss is not a mean over samples (a sum, weights by batch, or samples that meet each other), so it has "
                "no per-sample gradients. Use a mean over samples, or a metric that needs the gradient only."
            )
        return 1.0

    def one(self, outputs: Tensor, targets: Any, factor: Tensor | float) -> Tensor:
        """The loss of that batch."""
        return self.value(self.loss, outputs, targets)

    def all(self, outputs: Tensor, targets: Any) -> Tensor:
        """The loss of each sample alone."""
        self.factor(targets, lambda: outputs)
        return self._alone(outputs, targets)

    def _alone(self, outputs: Tensor, targets: Any) -> Tensor:
        samples = _samples(outputs, targets)
        if samples is None:
            raise ValueError(
                "neither outputs nor targets have a dimension of samples, as where the model computes the loss itself: there "
                "are no losses of single samples. Let the model return its outputs, and give the loss to Problem(model, loss)."
            )
        rows = [tree_map(lambda t, i=i: t[i : i + 1] if _has_samples(t) else t, (outputs, targets)) for i in range(samples)]
        attempt = Attempt()
        try:
            return torch.stack([self.value(self.loss, *row) for row in rows])
        except Exception as error:
            attempt.refused(error)
            shapes = [tuple(t.shape) for t in tree_leaves((outputs, targets)) if isinstance(t, Tensor)]
            raise ValueError(
                f"the loss does not run on one sample alone, the first entry of outputs and targets, whose shapes are {shapes} "
                f"({type(error).__name__}: {str(error).strip().splitlines()[0]}). Let the model return the batch as the first "
                "dimension, and flatten or transpose in the loss; or use a metric that needs the gradient only."
            ) from error


def _samples(outputs: Any, targets: Any) -> int | None:
    return next((t.shape[0] for t in tree_leaves((outputs, targets)) if _has_samples(t)), None)


def _has_samples(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.dim() > 0
