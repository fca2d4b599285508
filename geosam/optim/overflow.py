"""A first pass that is not finite, reported to a GradScaler."""

from __future__ import annotations

import math
from collections import deque
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor


class Overflow:
    """Lets the scaler's next ``update`` lower the scale after a first pass that was not finite, without a host read.

    The second pass alone would report only its own overflow, and ε* would stay 0 at a scale that is too large.
    """

    def __init__(self) -> None:
        # The scaler knows each by its id until update(): as many first passes as one update may have stay alive.
        self._reported: deque[SimpleNamespace] = deque(maxlen=1024)

    def report(self, scaler: Any, finite: Tensor) -> None:
        """As one more gradient to unscale, ∞ where the pass was not finite."""
        flag = torch.zeros((), device=finite.device)
        flag.grad = torch.where(finite, 0.0, math.inf)
        self._reported.append(SimpleNamespace(param_groups=[{"params": [flag]}]))
        scaler.unscale_(self._reported[-1])


def scale_of(scaler: Any, like: Tensor) -> float | None:
    """The scale, None without a scaler that is enabled; the scaler's own state is made on that device."""
    if scaler is None or not scaler.is_enabled():
        return None
    scaler.scale(torch.ones((), device=like.device))
    scale: float = scaler.get_scale()
    return scale
