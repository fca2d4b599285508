"""What modules hold from one pass to the next: buffers, and tensors that are plain attributes."""

from __future__ import annotations

import collections
from collections.abc import Callable, Collection, Iterable
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


class Kept:
    """What some modules hold in buffers and plain attributes at one time. parameters: those in other hands, left alone."""

    def __init__(self, parts: Iterable[nn.Module], parameters: Iterable[Tensor] = ()) -> None:
        taken = {_memory(p) for p in parameters}
        self.names = [(m, frozenset(vars(m))) for m in parts]
        self.slots = [slot for m, _ in self.names for slot in slots(m)]
        found = [(slot.module, t) for slot in self.slots for t in _tensors(slot.value) if _memory(t) not in taken]
        self.owners, self.tensors = [m for m, _ in found], [t for _, t in found]
        self.versions = [version(t) for t in self.tensors]
        self.values = vec.clone(self.tensors)

    @torch.no_grad()
    def restore(self, only: Collection[int] | None = None) -> None:
        """Give all of them their values back, or those of some modules, by their ids; may be repeated."""
        for m, names in self.names:
            if only is None or id(m) in only:
                for name in _born(m, names):
                    vars(m).pop(name)
        for slot in self.slots:
            if only is None or id(slot.module) in only:
                slot.restore()
        found = zip(self.owners, self.tensors, self.values, strict=True)
        pairs = [(t, v) for m, t, v in found if only is None or id(m) in only]
        vec.copy_([t for t, _ in pairs], [v for _, v in pairs])

    def changed(self, known: Callable[[nn.Module], bool]) -> dict[int, bool]:
        """A module's id → whether it was written to, or is ``known`` to be. A module may hash by its state (torchmetrics)."""
        found = {id(m): known(m) or bool(_born(m, names)) for m, names in self.names}
        for slot in self.slots:
            found[id(slot.module)] = found[id(slot.module)] or slot.replaced
        for m, t, before, value in zip(self.owners, self.tensors, self.versions, self.values, strict=True):
            found[id(m)] = found[id(m)] or version(t) != before or not t.equal(value)
        return found


def _born(module: nn.Module, names: Collection[str]) -> list[str]:
    """Plain attributes that came into being since there were those of these names."""
    held = vars(module)
    return [name for name in held.keys() - names if _carried(held[name])] if _own(module) else []


def slots(module: nn.Module) -> list[Slot]:
    """Of one module."""
    found = [Slot(module, module._buffers, name, b, None) for name, b in module._buffers.items()]
    if not _own(module):
        return found
    held = vars(module)
    for name, value in held.items():
        if type(value) in _PLAIN or name in _STANDARD:
            continue
        if value is None or _carried(value):
            found.append(Slot(module, held, name, value, value.copy() if isinstance(value, list | dict) else None))
    return found


def _own(module: nn.Module) -> bool:
    """Whether its attributes are the model's: what a wrapper of processes keeps is its own affair."""
    kind = type(module)  # of the class: a module takes long to say that it has no such attribute
    return not (hasattr(kind, "no_sync") or hasattr(kind, "unshard"))


def _tensors(value: Any) -> list[Tensor]:
    """Those whose numbers are kept: no parameters, and nothing with a graph, which the next pass makes anew."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else (value,)
    return [t for t in parts if isinstance(t, Tensor) and not t.requires_grad]


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
