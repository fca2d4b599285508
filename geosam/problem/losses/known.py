"""One of torch's losses, whose unreduced entries are known."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from ..modules import as_written
from .abstract import SampleLoss, check_reduction


class Known(SampleLoss):
    """One of torch's losses, by its unreduced entries."""

    known = True

    def __init__(self, loss: nn.Module) -> None:
        self.loss, self.entries, self._taken = loss, copy.copy(loss), set[torch.dtype]()
        self._follow()

    def check(self, outputs: Any, targets: Any) -> None:
        """RuntimeError for a hook that came later; ValueError for a reduction that is no mean."""
        if not as_written(self.loss):
            raise RuntimeError("a hook was put on the loss after this batch was bound: bind it again, problem.on(x, y)")
        check_reduction(self.loss)

    def _follow(self) -> None:
        """The loss's settings as they are now: a schedule may change its label smoothing or its weight."""
        vars(self.entries).update({**vars(self.loss), "reduction": "none"})
