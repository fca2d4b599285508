"""Several batches where one is usual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..problem import Bound


def bounds_of(bounds: Sequence[Bound]) -> list[Bound]:
    """A list of bound problems. Raises: TypeError for anything else, ValueError where there is none."""
    found: list[Any] = list(bounds) if isinstance(bounds, list | tuple) else [bounds]
    if not found:
        raise ValueError("not one batch was given: pass [problem.on(x, y), ...]")
    for bound in found:
        if not isinstance(bound, Bound):
            raise TypeError(f"a batch is problem.on(x, y), got {type(bound).__name__}")
    return found
