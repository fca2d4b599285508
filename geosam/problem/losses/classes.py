"""Losses over classes, of which some targets may not count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn

from .known import Known


class OverClasses(Known):
    """Cross-entropy and NLL: torch divides by Σ w(yᵢ) over the targets that count, or by their number if soft."""

    def check(self, outputs: Any, targets: Any) -> None:
        """TypeError for targets that are neither classes nor probabilities of classes."""
        super().check(outputs, targets)
        if targets.dtype not in (torch.int64, torch.uint8) and not targets.is_floating_point():
            raise TypeError(f"the targets are {targets.dtype}, and torch's losses over classes take int64: y.long()")

    def factor(self, targets: Any, outputs: Callable[[], Tensor]) -> Tensor | float:
        """n / Σ w(yᵢ) over the targets that count."""
        self._follow()
        self.check(None, targets)
        if targets.is_floating_point():
            return targets.shape[0] / (targets.numel() / targets.shape[1])
        targets, loss = targets.long(), cast(Any, self.loss)  # uint8 would index as a mask
        counted, weight = targets != loss.ignore_index, loss.weight
        if weight is None:
            return targets.shape[0] / counted.sum(dtype=torch.float64)
        weights = weight[torch.where(counted, targets, 0)]
        return targets.shape[0] / torch.where(counted, weights, 0).sum(dtype=torch.float64)

    def one(self, outputs: Tensor, targets: Any, factor: Tensor | float) -> Tensor:
        """The entries' sum, times the factor."""
        entries = self.entries(outputs, targets)
        return (entries.sum() * factor).to(entries.dtype)

    def all(self, outputs: Tensor, targets: Any) -> Tensor:
        """The entries' sums of each sample, times the factor."""
        factor = self.factor(targets, lambda: outputs)
        return self.entries(outputs, targets).reshape(outputs.shape[0], -1).sum(1) * factor

    def slopes(self, outputs: Tensor, targets: Any) -> Tensor:
        """For hard labels, weighted or not: n wᵢ(p − e_y)/Σw in closed form, because every step of a classifier needs it."""
        loss: Any = self.loss
        if not isinstance(loss, nn.CrossEntropyLoss) or loss.label_smoothing or targets.is_floating_point():
            return super().slopes(outputs, targets)
        targets = targets.long()
        counted = targets != loss.ignore_index
        labels = torch.where(counted, targets, 0)
        each = self.factor(targets, lambda: outputs) * counted.double()
        if loss.weight is not None:
            each = each * loss.weight.double()[labels]
        p = outputs.detach().double().softmax(1)
        p.scatter_add_(1, labels.unsqueeze(1), torch.full_like(p[:, :1], -1.0))
        return p.mul_(each.unsqueeze(1))
