"""A step as one graph where there is a device."""

from __future__ import annotations

from typing import Any

from torch import Tensor

import geosam
from geosam.ablation import plain_step


class Captured:
    """``opt.captured``, made of the first batch, whose shapes all others must have."""

    def __init__(self, optimizer: geosam.SAM, problem: geosam.Problem) -> None:
        self.optimizer, self.problem = optimizer, problem
        self.replay: Any = None

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """One step; the loss at θ."""
        self.replay = self.replay or self.optimizer.captured(self.problem, x, y)
        return self.replay(x, y)


def device_step(optimizer: Any, problem: geosam.Problem) -> Any:
    """A captured step of SAM on a CUDA device, else an ordinary one."""
    on_device = next(problem.model.parameters()).is_cuda
    return Captured(optimizer, problem) if on_device and isinstance(optimizer, geosam.SAM) else plain_step(optimizer, problem)
