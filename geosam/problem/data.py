"""What is data: numbers, names and tensors, and containers and plain objects of these."""

from __future__ import annotations

import collections
import dataclasses
import enum
import sys
import types
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

STANDARD = frozenset(vars(nn.Module()))
"""Attributes that every module has."""
ATOMS = frozenset(
    {type(None), bool, int, float, complex, str, bytes, range, slice, torch.dtype, torch.device, torch.Size, torch.layout}
)
CONTAINERS = (list, tuple, dict, set, collections.deque)
_METHODS = ("__reduce__", "__reduce_ex__", "__copy__", "__deepcopy__", "__getstate__", "__setstate__")


def is_data(value: Any, inside: frozenset[int] = frozenset()) -> bool:
    """Whether numbers, names and tensors are all that it leads to. inside: ids of what it was reached by."""
    kind = type(value)
    if id(value) in inside or is_scalar(value) or is_array(value):
        return True
    if isinstance(value, Tensor | nn.Module):
        return isinstance(value, Tensor) and not isinstance(value, nn.Parameter)
    inside |= {id(value)}
    if isinstance(value, CONTAINERS):
        parts = entries(value)
        return ATOMS.issuperset(map(type, parts)) or all(is_data(v, inside) for v in parts)
    if isinstance(value, type | types.ModuleType) or hasattr(kind, "__get__"):
        return False
    if defines_copying(kind) and not dataclasses.is_dataclass(kind):
        return False
    held = named(value)
    return (bool(held) or hasattr(value, "__dict__")) and all(is_data(v, inside) for v in held.values())


def defines_copying(kind: type) -> bool:
    """Whether a class defines how it is copied."""
    return any(getattr(kind, name, None) is not getattr(object, name, None) for name in _METHODS)


def entries(value: Any) -> Collection[Any]:
    """What a container holds, without keys."""
    return value.values() if isinstance(value, dict) else value  # type: ignore[no-any-return]


def named(place: Any) -> dict[Any, Any]:
    """What a dictionary or an object holds by name."""
    if _is_mapping(place):
        return dict(place.items())
    held = getattr(place, "__dict__", {})
    if isinstance(place, nn.Module):
        return {k: v for k, v in held.items() if k not in STANDARD}
    return held | {name: getattr(place, name) for name in _slots(type(place)) if hasattr(place, name)}


def _is_mapping(place: Any) -> bool:
    """A dictionary, or what TorchScript has in its place; of modules, containers too, the attributes count."""
    return (
        not isinstance(place, nn.Module) and callable(getattr(place, "items", None)) and callable(getattr(place, "keys", None))
    )


def _slots(kind: type) -> list[str]:
    found = [vars(c).get("__slots__", ()) for c in kind.__mro__]
    names = [name for each in found for name in ((each,) if isinstance(each, str) else each)]
    return [name for name in names if not name.startswith("__")]


def put(place: Any, name: Any, items: dict[Any, Any]) -> None:
    """Give a dictionary or an object what it held by this name, if anything."""
    if _is_mapping(place):
        held = place
    elif not isinstance(place, nn.Module) and name in _slots(type(place)):
        if name in items:
            object.__setattr__(place, name, items[name])
        else:
            object.__delattr__(place, name)
        return
    else:
        held = vars(place)
    if name in items:
        held[name] = items[name]
    elif name in held:
        del held[name]


def same(a: Any, b: Any) -> bool:
    """Whether two are one object, or equal numbers or names."""
    return a is b or (type(a) is type(b) and type(a) in ATOMS and bool(a == b))


def is_scalar(value: Any) -> bool:
    """Whether it is one number, name or constant."""
    numpy = sys.modules.get("numpy")
    return type(value) in ATOMS or isinstance(value, enum.Enum) or (numpy is not None and isinstance(value, numpy.generic))


def is_array(value: Any) -> bool:
    """Whether it is one of numpy's."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(value, numpy.ndarray)


def versions(tree: Any) -> list[int]:
    """Of its tensors, one after the other: a write in place counts on."""
    return [t._version for t in tree_leaves(tree) if isinstance(t, Tensor) and not t.is_inference()]
