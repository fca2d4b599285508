"""What modules hold from one pass to the next: buffers, and tensors that are plain attributes."""

from __future__ import annotations

import collections
from collections.abc import Collection, Sequence
from operator import is_
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..core import vectors as vec

_STANDARD = frozenset(vars(nn.Module()))
_PLAIN = frozenset({bool, int, float, str, collections.OrderedDict})


class Slot(NamedTuple):
    """A buffer or a plain attribute. content: of a list or a dictionary, which a pass may change in place.

    A list that grows is a log of the passes, which is left alone.
    """

    module: nn.Module
    place: dict[str, Any]
    name: str
    value: Any
    content: Any

    @property
    def held(self) -> Any:
        """What is there now."""
        # TorchScript's own kind of dictionary has no get
        return self.place[self.name] if self.name in self.place else None  # noqa: SIM401

    @property
    def replaced(self) -> bool:
        """Whether there is another object, or one with another content."""
        held, content = self.held, self.content
        if held is not self.value or content is None or held is None:
            return held is not self.value
        if isinstance(content, dict):
            return len(held) != len(content) or any(held.get(k) is not v for k, v in content.items())
        return any(a is not b for a, b in zip(held, content, strict=False))

    def restore(self) -> None:
        """The same object again, with the same content."""
        if self.held is not self.value:
            self.place[self.name] = self.value
        if isinstance(self.content, dict):
            self.value.clear()
            self.value.update(self.content)
        elif self.content is not None and len(self.value) == len(self.content):
            self.value[:] = self.content


class Places:
    """Where some modules hold what a pass may write. parameters: those in other hands, left alone.

    Making one takes microseconds a tensor; ``fits`` tells in a tenth of that whether it can be used again.
    """

    def __init__(self, parts: Sequence[nn.Module], parameters: Sequence[Tensor] = ()) -> None:
        self.parts, self.parameters = parts, parameters
        self.slots = [slot for m in parts for slot in slots(m)]
        found = [(id(slot.module), t) for slot in self.slots for t in _tensors(slot.value)]
        taken = {_memory(p) for p in parameters} if found else set()
        found = [(key, t) for key, t in found if _memory(t) not in taken]
        self.owners, self.tensors = [key for key, _ in found], [t for _, t in found]
        self.groups = [index for index, _ in vec.kinds(self.tensors)] if found else []
        """Positions of the tensors of each type and device, which one operation takes."""
        self._held = [(m, m.__dict__.copy()) for m in parts if _own(m)]
        self._buffers = [(m._buffers, dict(m._buffers.items())) for m in parts]
        self._contents = [slot for slot in self.slots if slot.content is not None]

    def same(self) -> bool:
        """Whether each module holds the same objects as then."""
        held = [(m.__dict__, then) for m, then in self._held]
        for now, then in held + self._buffers:
            if len(now) != len(then) or not all(map(is_, now.values(), then.values())):
                return False
        return not any(slot.replaced for slot in self._contents)

    def fits(self, parts: Sequence[nn.Module], parameters: Sequence[Tensor]) -> bool:
        """Whether these would have the same places."""
        return alike(parts, self.parts) and alike(parameters, self.parameters) and self.same()

    @property
    def lasting(self) -> bool:
        """Whether they may be held until the next step, because no graph of this one is."""
        return not any(t.requires_grad for slot in self.slots for t in _inside(slot.value))

    def born(self) -> list[tuple[nn.Module, str]]:
        """(module, name) of plain attributes that came into being."""
        found = ((m, name) for m, then in self._held for name in m.__dict__.keys() - then.keys())
        return [(m, name) for m, name in found if _carried(m.__dict__[name])]


def alike(u: Sequence[Any], v: Sequence[Any]) -> bool:
    """Whether both hold the same objects."""
    return len(u) == len(v) and all(map(is_, u, v))


class Kept:
    """What some modules hold in buffers and plain attributes at one time."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.versions = [*map(version, places.tensors)]
        self.values = vec.assemble((group, vec.clone([places.tensors[i] for i in group])) for group in places.groups)

    @torch.no_grad()
    def restore(self, only: Collection[int] | None = None) -> None:
        """Give all of them their values back, or those of some modules, by their ids; may be repeated."""
        places = self.places
        if not places.same():
            for m, name in places.born():
                if only is None or id(m) in only:
                    m.__dict__.pop(name)
            for slot in places.slots:
                if only is None or id(slot.module) in only:
                    slot.restore()
        for group in places.groups:
            mine = [i for i in group if only is None or places.owners[i] in only]
            vec.copy_([places.tensors[i] for i in mine], [self.values[i] for i in mine])

    def changed(self, known: Collection[int] = ()) -> set[int]:
        """The ids of the modules that were written to, or ``known`` to be: a module may hash by its state (torchmetrics)."""
        places = self.places
        found = {id(m) for m in places.parts} & set(known)
        if not places.same():
            found |= {id(m) for m, _ in places.born()}
            found |= {id(slot.module) for slot in places.slots if slot.replaced}
        for key, t, before, value in zip(places.owners, places.tensors, self.versions, self.values, strict=True):
            if key not in found and (version(t) != before or not t.equal(value)):
                found.add(key)
        return found


def slots(module: nn.Module) -> list[Slot]:
    """Of one module."""
    held = module.__dict__
    buffers = module._buffers
    found = [Slot(module, buffers, name, b, None) for name, b in buffers.items()]
    for name in held.keys() - _STANDARD if _own(module) else ():
        value = held[name]
        if value is None or (type(value) not in _PLAIN and _carried(value)):
            found.append(Slot(module, held, name, value, value.copy() if isinstance(value, list | dict) else None))
    return found


def _own(module: nn.Module) -> bool:
    """Whether its attributes are the model's: what a wrapper of processes keeps is its own affair."""
    kind = type(module)  # of the class: a module takes long to say that it has no such attribute
    return not (hasattr(kind, "no_sync") or hasattr(kind, "unshard"))


def _inside(value: Any) -> list[Tensor]:
    """The tensors that a slot holds."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [t for t in parts if isinstance(t, Tensor)]


def _tensors(value: Any) -> list[Tensor]:
    """Those whose numbers are kept: no parameters, and nothing with a graph, which the next pass makes anew."""
    return [t for t in _inside(value) if not t.requires_grad]


def _carried(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not isinstance(value, nn.Parameter)
    if type(value) in (list, tuple, dict):
        parts = value.values() if isinstance(value, dict) else value
        return all(isinstance(t, Tensor | None) and not isinstance(t, nn.Parameter) for t in parts)
    return False


def _memory(t: Tensor) -> int:
    return t.untyped_storage()._cdata if t.layout == torch.strided else id(t)


def version(t: Tensor) -> int:
    """Of its memory; writes to it count on, but for those of some kernels."""
    return -1 if t.is_inference() else t._version
