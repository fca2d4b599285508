"""Whether the values of a batch may decide which sample goes where."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

# how a program reads a tensor's numbers
_READS = {"item", "tolist", "numpy", "__int__", "__index__", "__bool__", "__float__", "__array__", "__complex__"}


class Routes:
    """Watches the calls of a pass. found: whether one of them may have moved samples by the batch's values.

    Data move samples by discrete numbers: an index, a mask, or a matrix made of them. found is set where such a tensor is made
    from floating ones (a comparison, an argmax, a sort), where one meets activations other than entry by entry (indexing, a
    product of matrices), where a parameter is indexed by a computed one, and where the program reads a number. It decides how
    often layouts are proven, not what is right: a call that moves no sample costs a backward pass, and what is not seen here is
    left to the verification of rows.
    """

    def __init__(self, parameters: Iterable[int]) -> None:
        self.found = False
        self._parameters = set(parameters)
        self._made: dict[int, Tensor] = {}  # discrete tensors that were computed, and floating ones computed from discrete ones

    def see(self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> None:
        """Take note of one call."""
        given = [t for t in _tensors([*args, *kwargs.values()]) if id(t) not in self._parameters]
        name = getattr(func, "__name__", "")
        if name in _READS:
            self.found |= bool(given)
            return
        floats = [t for t in given if not self._discrete(t)]
        made = [t for t in _tensors([out]) if _whole(t) and not any(t is g for g in given)]
        if len(floats) == len(given):
            self.found |= bool(made and floats) and not _reduces(out, floats)
            return
        known = any(id(t) in self._made for t in given)
        results = {id(t): t for t in _tensors([out]) if known or not t._is_view()}
        if _by_entry(name):
            if not floats:
                self._made.update({i: t for i, t in results.items() if known or not _whole(t)})
            return
        if any(id(t) in self._parameters for t in _tensors([*args, *kwargs.values()])):
            self.found |= known
        self.found |= bool(floats)
        self._made.update({} if floats else results)

    def _discrete(self, t: Tensor) -> bool:
        return _whole(t) or id(t) in self._made


def _whole(t: Tensor) -> bool:
    return not (t.is_floating_point() or t.is_complex())


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, list | tuple | dict):
            found += [t for t in tree_leaves(value) if isinstance(t, Tensor)]
    return found


def _reduces(out: Any, floats: Sequence[Tensor]) -> bool:
    """Whether numbers came with their places, fewer than there were, as from a maximum: moves nothing by itself."""
    values = [t for t in _tensors([out]) if not _whole(t)]
    return bool(values) and all(t.numel() < floats[0].numel() for t in values)


@functools.cache
def _by_entry(name: str) -> bool:
    """Whether torch calls the operation of this name pointwise."""
    plain = name.strip("_")
    for operation in (plain, plain[1:]) if name.startswith("__") else (plain,):
        packet = getattr(torch.ops.aten, operation, None)
        if packet is not None and any(torch.Tag.pointwise in getattr(packet, o).tags for o in packet.overloads()):
            return True
    return False
