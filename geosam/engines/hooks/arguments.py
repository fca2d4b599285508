"""A call's arguments as a flat list, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

_NESTED = (list, tuple, dict)


@dataclass(frozen=True)
class Spec:
    """How to rebuild (args, kwargs). nested: the tree of arguments that contain others, which few operations take."""

    count: int
    names: tuple[str, ...]
    nested: TreeSpec | None = None

    def whole(self, flat: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(args, kwargs) with these leaves."""
        if self.nested is not None:
            args, kwargs = tree_unflatten(flat, self.nested)
            return args, kwargs
        return tuple(flat[: self.count]), dict(zip(self.names, flat[self.count :], strict=True))


def flatten(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], Spec]:
    """(leaves, spec). Without nesting no pytree is built: it takes longer than a small operation."""
    flat = [*args, *kwargs.values()]
    for value in flat:
        if isinstance(value, _NESTED):
            leaves, nested = tree_flatten((tuple(args), dict(kwargs)))
            return leaves, Spec(len(args), tuple(kwargs), nested)
    return flat, Spec(len(args), tuple(kwargs))
