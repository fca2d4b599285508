"""A field's state, leaf by leaf: a list with one entry a parameter belongs to the parameters, anything else to all together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Path = tuple[str, ...]


def leaves(state: Mapping[str, Any]) -> dict[Path, Any]:
    """The leaves of nested mappings by their keys, from the outermost to the innermost."""
    found: dict[Path, Any] = {}
    for key, value in state.items():
        found |= {(key, *path): leaf for path, leaf in leaves(value).items()} if isinstance(value, Mapping) else {(key,): value}
    return found


def nested(found: Mapping[Path, Any]) -> dict[str, Any]:
    """The inverse of :func:`leaves`."""
    state: dict[str, Any] = {}
    for path, leaf in found.items():
        inner = state
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = leaf
    return state


def by_parameter(leaf: Any, count: int) -> bool:
    """Whether a leaf of the state has one entry for each of ``count`` parameters; None is that of one without a past."""
    return isinstance(leaf, list) and len(leaf) == count


def of_block(found: Mapping[Path, Any], index: Sequence[int], count: int, shared: Path, own: Path) -> dict[str, Any]:
    """The state of a block of parameters, from the leaves of the whole state.

    Entries of parameters lie under the keys ``shared``, which blocks with one metric have in common, the rest under ``own``.
    """
    block: dict[Path, Any] = {}
    for path, leaf in found.items():
        if by_parameter(leaf, count):
            entries = [leaf[i] for i in index]
            if path[: len(shared)] == shared and any(entry is not None for entry in entries):
                block[path[len(shared) :]] = entries
        elif path[: len(own)] == own:
            block[path[len(own) :]] = leaf
    return nested(block)


def put_block(
    found: dict[Path, Any], block: Mapping[str, Any], index: Sequence[int], count: int, shared: Path, own: Path
) -> None:
    """The inverse of :func:`of_block`: the block's state among the leaves of the whole."""
    for path, leaf in leaves(block).items():
        if by_parameter(leaf, len(index)):
            entries = found.setdefault((*shared, *path), [None] * count)
            for i, entry in zip(index, leaf, strict=True):
                entries[i] = entry
        else:
            found[own + path] = leaf
