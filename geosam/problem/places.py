"""Where modules hold what a pass may write: buffers, frozen parameters, and data in attributes, containers and objects."""

from __future__ import annotations

import collections
from collections.abc import Collection, Sequence
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn

from ..core import vectors as vec
from .data import CONTAINERS, entries, is_array, is_data, is_scalar, named
from .holder import Holder
from .modules import modules

_LONG = 100
"""Entries from which on a list is a log, whose tensors are not searched."""
_MUCH = 4
"""Frozen parameters beyond so many times the bytes of the others are not copied."""
_GROUPS = 4
"""Groups of modules whose places are known: a closure calls few."""


class Places:
    """Where some modules hold what a pass may write.

    parameters: those in other hands, left alone. known: ids of modules that are looked at by themselves. frozen: whether
    parameters without a gradient count, unless they are very many.

    Making one takes microseconds a tensor; ``fits`` tells in a tenth of that whether it can be used again.
    """

    def __init__(
        self, parts: Sequence[nn.Module], parameters: Sequence[Tensor] = (), known: Collection[int] = (), frozen: bool = True
    ) -> None:
        self.parts, self.parameters, self.frozen = parts, parameters, frozen
        self.holders: list[Holder] = []
        self.owners: list[int] = []
        """The id of the module of each of the tensors, in whatever it holds them."""
        self.tensors: list[Tensor] = []
        self.arrays: list[tuple[int, Any]] = []
        self.lasting = True
        """Whether they may be held until the next step, because no graph of this one is."""
        self._taken: set[int] | None = None
        self._seen = {*known, *map(id, parts)}
        still: list[tuple[int, Tensor]] = []
        for m in parts:
            self._module(m, m, still if frozen else None)
        self.holding = {*self.owners, *(key for key, _ in self.arrays)}
        """Ids of modules with tensors or arrays that are no parameters."""
        self.teachers = {key for key, _ in still}
        """Ids of modules with frozen parameters, which may follow those of an optimizer and at first be equal to them."""
        few = _bytes(t for _, t in still) <= _MUCH * _bytes(parameters)
        self.many = [] if few else still
        """Frozen parameters that are too many to copy."""
        self.owners += [key for key, _ in still] if few else []
        self.tensors += [t for _, t in still] if few else []
        self.groups = [index for index, _ in vec.kinds(self.tensors)] if self.tensors else []
        """Positions of the tensors of each type and device, which one operation takes."""
        self._held = [(m.__dict__, m.__dict__.copy()) for m in parts if not _is_wrapper(m)]
        self._held += [(m._buffers, dict(m._buffers.items())) for m in parts]  # type: ignore[misc]
        compared = {id(place) for m in parts for place in (m, m._buffers)}
        self._inner = [h for h in self.holders if id(h.place) not in compared]

    def same(self) -> bool:
        """Whether each module holds the same objects as then."""
        for now, then in self._held:
            if len(now) != len(then) or not all(map(is_, now.values(), then.values())):
                return False
        return not any(holder.replaced for holder in self._inner)

    def fits(self, parts: Sequence[nn.Module], parameters: Sequence[Tensor], frozen: bool) -> bool:
        """Whether these would have the same places."""
        alike = frozen == self.frozen and same_objects(parts, self.parts) and same_objects(parameters, self.parameters)
        return alike and self.same()

    def _module(self, m: nn.Module, owner: nn.Module, still: list[tuple[int, Tensor]] | None) -> None:
        self._seen.add(id(m))
        buffers = dict(m._buffers.items())
        if buffers or isinstance(m._buffers, dict):
            self.holders.append(Holder(owner, m._buffers, buffers, buffers.keys()))
        for b in buffers.values():
            self._follows(b, owner, still)
        for p in m._parameters.values() if still is not None else ():
            # those of other types are quantised, sharded or not there yet
            if type(p) in (Tensor, nn.Parameter) and not (p.requires_grad or p.is_meta or self._is_taken(p)):  # type: ignore[union-attr, arg-type]
                still.append((id(owner), p))  # type: ignore[union-attr, arg-type]
        if not _is_wrapper(m):
            held = named(m)
            items = {k: v for k, v in held.items() if self._follows(v, owner, still)}
            self.holders.append(Holder(owner, m, items, held.keys()))

    def _follows(self, value: Any, owner: nn.Module, still: list[tuple[int, Tensor]] | None) -> bool:
        """Whether it is data, or may hold some, which is noted."""
        if is_scalar(value):
            return True
        if isinstance(value, Tensor):
            if isinstance(value, nn.Parameter):
                return False
            if value.requires_grad:  # the next pass makes it anew
                self.lasting = False
            elif id(value) not in self._seen and not self._is_taken(value):
                self._seen.add(id(value))
                self.owners.append(id(owner))
                self.tensors.append(value)
            return True
        if id(value) in self._seen:
            return True
        if isinstance(value, nn.Module):
            for m in modules(value):
                if id(m) not in self._seen:
                    self._module(m, owner, still)
            return True
        return self._holds(value, owner, still)

    def _holds(self, value: Any, owner: nn.Module, still: list[tuple[int, Tensor]] | None) -> bool:
        """The same of an array, a container or an object."""
        parts: Collection[Any] = ()
        if is_array(value):
            self.arrays.append((id(owner), value))
        elif isinstance(value, collections.Counter):  # which counts whatever happens
            return False
        elif isinstance(value, CONTAINERS):
            parts = entries(value)
            if any(isinstance(v, nn.Parameter) for v in parts):
                return False
            if isinstance(value, dict):
                self.holders.append(Holder(owner, value, held := dict(value), held.keys()))
            elif not isinstance(value, tuple):
                self.holders.append(Holder(owner, value, set(value) if isinstance(value, set) else list(value)))
                parts = parts if len(parts) < _LONG else ()
        elif is_data(value):
            self.holders.append(Holder(owner, value, held := named(value), held.keys()))
            parts = held.values()
        else:
            return False
        self._seen.add(id(value))
        for v in parts:
            self._follows(v, owner, still)
        return True

    def _is_taken(self, t: Tensor) -> bool:
        if self._taken is None:
            self._taken = {_memory(p) for p in self.parameters}
        return _memory(t) in self._taken


class Known:
    """The places of some groups of modules, found once as long as these hold the same objects. Copies begin with none."""

    def __init__(self) -> None:
        self._places: list[Places] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return Known, ()

    def places(
        self, parts: Sequence[nn.Module], parameters: Sequence[Tensor] = (), known: Collection[int] = (), frozen: bool = True
    ) -> Places:
        """Those of these modules; arguments as of :class:`Places`."""
        found = next((p for p in self._places if p.fits(parts, parameters, frozen)), None)
        if found is None:
            found = Places(parts, parameters, known, frozen)
            others = [p for p in self._places if not same_objects(p.parts, parts)]
            self._places = [*others[1 - _GROUPS :], found] if found.lasting else others
        return found


def same_objects(u: Sequence[Any], v: Sequence[Any]) -> bool:
    """Whether both hold the same objects."""
    return len(u) == len(v) and all(map(is_, u, v))


def _memory(t: Tensor) -> int:
    return t.untyped_storage()._cdata if t.layout == torch.strided else id(t)


def _bytes(tensors: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _is_wrapper(module: nn.Module) -> bool:
    """What a wrapper of processes keeps is its own affair."""
    kind = type(module)  # of the class: a module takes long to say that it has no such attribute
    return hasattr(kind, "no_sync") or hasattr(kind, "unshard")
