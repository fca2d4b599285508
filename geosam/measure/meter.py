"""Bytes that a computation holds at its peak, counted from the tensors it makes: the same on every device and every run."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Meter(TorchDispatchMode):
    """Inside the context, ``peak`` is the most bytes of new storage alive at once. Memory inside a kernel is not counted."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        old = {t.untyped_storage()._cdata for t in _strided((args, kwargs))}
        for t in _strided(out):
            if t.untyped_storage()._cdata not in old | self._known:
                self._count(t)
        return out

    def _count(self, t: Tensor) -> None:
        storage = t.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        self._known.add(key)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def _strided(tree: Any) -> list[Tensor]:
    """Others have no storage of their own: the parts of a sparse gradient are counted where they are made."""
    return [t for t in tree_leaves(tree) if isinstance(t, Tensor) and t.layout == torch.strided]
