"""Copies of sharded parameters that FSDP2 gathers for a pass, which do not follow when the parameters move."""

from __future__ import annotations

import sys
import weakref
from typing import Any

from ..core import Vectors
from ..core.sharded import any_sharded
from .holders import alive


class Gathered:
    """The modules that gather some parameters. FSDP2 keeps what it gathered after a forward pass without a backward pass, or
    where ``set_reshard_after_backward(False)`` was called; the next forward pass would then be at the place before the move.
    """

    def __init__(self) -> None:
        self._modules: list[weakref.ref[Any]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return Gathered, ()

    @property
    def any(self) -> bool:
        """Whether there are any."""
        return bool(self._modules)

    def find(self, parameters: Vectors) -> None:
        """Look through all modules that there are, for a parameter does not know its own."""
        self._modules = [weakref.ref(module) for module in wrappers(parameters)]

    def drop(self) -> None:
        """Have them gather again in the next pass."""
        for module in self._modules:
            if (here := module()) is not None:
                here.reshard()


def wrappers(parameters: Vectors) -> list[Any]:
    """The modules that FSDP2 wraps and that hold one of the parameters."""
    kind = getattr(sys.modules.get("torch.distributed.fsdp"), "FSDPModule", None)
    if kind is None or not any_sharded(parameters):
        return []
    modules = alive(kind)
    for module in modules:
        module.reshard()
    held = {id(p) for p in parameters}
    return [module for module in modules if any(id(p) in held for p in module.parameters())]
