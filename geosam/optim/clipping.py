"""Clipping by norm: of what the base optimizer steps with, and nothing else."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..core import Vectors, check_number
from ..core import vectors as vec


def check_max_norm(max_norm: Any) -> float | None:
    """The bound, None for none. Raises: ValueError unless it is a positive number."""
    if max_norm is None:
        return None
    if max_norm != math.inf:
        check_number("max_norm", max_norm, "; None for no clipping", positive=True)
    return float(max_norm)


def clip(parameters: Vectors, max_norm: float | None, scale: float = 1.0) -> None:
    """g ← g min(1, max_norm/(‖g‖₂ + 10⁻⁶)) over all parameters' ``.grad`` together, as torch's ``clip_grad_norm_``.

    scale: a GradScaler's, which the gradients still carry.
    """
    if max_norm is None or max_norm == math.inf:
        return
    for p in parameters:
        if p.grad is not None and p.grad.is_sparse:
            p.grad = p.grad.coalesce()
    if gradients := [g._values() if g.is_sparse else g for p in parameters if (g := p.grad) is not None]:
        factor = max_norm / (vec.norm(gradients) / scale + 1e-6)
        vec.scale_(gradients, torch.where(factor < 1, factor, 1.0))  # NaN is 1: the guard has seen to it
