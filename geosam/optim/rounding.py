"""How much of ε* parameters below float32 take."""

from __future__ import annotations

from typing import Any

from ..core import Perturbation, Vectors
from ..core import vectors as vec
from .move import Move


def displace(move: Move, parameters: Vectors, found: Perturbation) -> dict[str, Any]:
    """θ ← θ + ε*; where a parameter is below float32, ‖ε*‖₂ as ``length`` and as ``realised``."""
    if all(p.dtype.itemsize >= 4 for p in parameters):
        move.displace(parameters, found)
        return {}
    length = (vec.norm(found.direction) * found.scale.abs()).where(found.finite, 0.0)  # a move may write over the direction
    move.displace(parameters, found)
    return {"length": length, "realised": vec.norm(move.realised(parameters))}
