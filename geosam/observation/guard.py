"""A check of what a kept observation still reads from the problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from ..problem import Bound
from ..problem.modules import training_modes


def guard(bound: Bound) -> Callable[[], None]:
    """A check that raises RuntimeError once the batch was overwritten or the model's mode has changed."""
    stamp = _stamp(bound)

    def check() -> None:
        if _stamp(bound) != stamp:
            raise RuntimeError("the inputs were overwritten or the model's mode was changed since this observation was taken")

    return check


def _stamp(bound: Bound) -> tuple[Any, ...]:
    versions = (t._version for t in tree_leaves(bound.x) if isinstance(t, Tensor) and not t.is_inference())
    return (*versions, *training_modes(bound.model))
