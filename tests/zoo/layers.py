"""What the lines are built of: a module from parts and a function, and batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tests import networks

N, CLASSES = 4, 3


class Net(nn.Module):
    """``run(self, *inputs)`` over the parts, which are its modules and parameters."""

    def __init__(self, run: Callable[..., Any], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.run = run

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self, *args, **kwargs)


def draw(*shape: int, seed: int = 1) -> Tensor:
    """Normal numbers of the default type."""
    return networks.draw(*shape, seed=seed, dtype=torch.get_default_dtype())


def labels(*shape: int, classes: int = CLASSES, seed: int = 2) -> Tensor:
    return torch.randint(classes, shape or (N,), generator=torch.Generator().manual_seed(seed))


def free(*shape: int) -> nn.Parameter:
    """A parameter that belongs to no layer."""
    return nn.Parameter(torch.randn(shape) / 2)


def mlp(width: int = 4, out: int = CLASSES, hidden: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, out))
