"""Several batches where one is usual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..core import check_instance
from ..problem import Bound


def bounds_of(bounds: Sequence[Bound]) -> list[Bound]:
    """A list of bound problems. Raises: TypeError for anything else, ValueError where there is none."""
    found: list[Any] = list(bounds) if isinstance(bounds, list | tuple) else [bounds]
    if not found:
        raise ValueError("not one batch was given: pass [problem.on(x, y), ...]")
    for bound in found:
        check_instance("a batch", bound, Bound)
    return found
