"""Losses of single entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...core.undo import pass_on
from .known import Known


class OverEntries(Known):
    """Losses that compare outputs and targets entry by entry and average over all of them."""

    def factor(self, targets: Any, outputs: Callable[[], Tensor]) -> Tensor | float:
        """1: a mean over all entries is a mean over samples. ValueError for weights that differ between samples."""
        self._follow()
        self._try(targets)
        weights = (getattr(self.loss, name, None) for name in ("weight", "pos_weight"))
        # torch aligns shapes at their ends, so these sizes are aligned with the samples
        meeting = (k for w in weights if w is not None for k in w.shape[: max(0, w.dim() - targets.dim() + 1)])
        if any(k > 1 for k in meeting):
            raise ValueError("a loss weight with a batch dimension ties the loss to one batch; weight the entries instead")
        return 1.0

    def one(self, outputs: Tensor, targets: Any, factor: Tensor | float) -> Tensor:
        """The mean of its entries."""
        return self.all(outputs, targets).sum()

    def all(self, outputs: Tensor, targets: Any) -> Tensor:
        """The mean of each sample's entries."""
        self.check(outputs, targets)
        self.factor(targets, lambda: outputs)
        return self.entries(outputs, targets).reshape(outputs.shape[0], -1).mean(1)

    def check(self, outputs: Any, targets: Any) -> None:
        """ValueError where outputs and targets have other shapes."""
        super().check(outputs, targets)
        if outputs.shape != targets.shape:
            raise ValueError(
                f"outputs have shape {tuple(outputs.shape)} and targets {tuple(targets.shape)}; broadcasting them would "
                "change what the loss averages over. Reshape one of them."
            )
        self._try(targets)

    def _try(self, targets: Tensor) -> None:
        """Some of these losses take integers, and some only in the forward pass. Once for each type."""
        if targets.is_floating_point() or targets.dtype in self._taken:
            return
        outputs = torch.zeros_like(targets[:1], dtype=torch.float32, requires_grad=True)
        try:
            with torch.enable_grad():
                self.entries(outputs, targets[:1]).sum().backward()
            self._taken.add(targets.dtype)
        except RuntimeError as error:
            pass_on(error)
            raise TypeError(
                f"the targets are {targets.dtype}, and {type(self.loss).__name__} compares real numbers: y.to(outputs.dtype)"
            ) from error
