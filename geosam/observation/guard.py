"""A check of what a kept observation still reads from the problem."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

from ..problem import Bound
from ..problem.modules import training_modes


def guard(bound: Bound, more: Any = ()) -> Callable[[], None]:
    """A check that raises RuntimeError once the inputs were overwritten or the model's mode has changed.

    more: other tensors that are read later and must stay as they are.
    """
    stamp = _stamp(bound, more)

    def check() -> None:
        if _stamp(bound, more) != stamp:
            raise RuntimeError("the inputs were overwritten or the model's mode was changed since this observation was taken")

    return check


def _stamp(bound: Bound, more: Any) -> tuple[Any, ...]:
    versions = (t._version for t in tree_leaves((bound.x, more)) if isinstance(t, Tensor) and not t.is_inference())
    return (*versions, *training_modes(bound.model))
