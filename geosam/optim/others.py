"""Gradients of parameters that another optimizer steps, to which a closure's passes add as well."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import ref

from torch import Tensor, nn

from ..core import Vectors


class Others:
    """Those of the modules that closures call. They are looked for where a module is new, and a step pays for those alone.

    Their modules are known by weak references: a parameter that has one cannot be swapped, as ``model.to(dtype)`` may do.
    """

    def __init__(self) -> None:
        self._known: dict[int, ref[nn.Module]] = {}
        self._kept: list[tuple[Tensor, Tensor | None]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Others, ()

    def meet(self, modules: Iterable[nn.Module], parameters: Vectors) -> None:
        """Know those of these modules, which a pass calls for the first time. parameters: the optimizer's own."""
        own = {id(p) for p in parameters}
        for m in modules:
            if found := _apart(m, own):
                self._known[id(m)] = ref(m)
                for p in found:
                    self._keep(p)

    @contextmanager
    def unchanged(self, parameters: Vectors) -> Iterator[None]:
        """Inside, a pass of which only the optimizer's own gradients are read; the others are then as before."""
        self._kept = []
        try:
            taken = {id(p) for p in parameters} if self._known else set()
            for key, known in list(self._known.items()):
                if (m := known()) is None:
                    del self._known[key]
                    continue
                for p in _apart(m, taken):
                    taken.add(id(p))  # tied ones are met once
                    self._keep(p)
            yield
        finally:
            for p, grad in reversed(self._kept):  # a tied one may have been met twice
                p.grad = grad
            self._kept = None

    def _keep(self, p: Tensor) -> None:
        if self._kept is not None:
            view = p.grad is not None and p.grad._is_view()  # of a bucket, into which the pass writes
            self._kept.append((p, p.grad.clone() if view and p.grad is not None else p.grad))
            p.grad = None


def _apart(module: nn.Module, own: set[int]) -> list[Tensor]:
    return [p for p in module._parameters.values() if p is not None and id(p) not in own]
