"""The modules that hold some parameters, where no call of them is seen because they are compiled."""

from __future__ import annotations

import gc
import inspect
import sys
from typing import Any, TypeVar

from torch import nn

from ..core import Vectors
from ..problem.modules import modules

T = TypeVar("T")


def compiles() -> bool:
    """Whether anything in this process was given to ``torch.compile``."""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    backends = getattr(dynamo, "cached_backends", {})
    return any(backend is not None for backend in backends.values())  # torch's optimizers make some without a backend


def named(source: Any) -> list[nn.Module]:
    """Modules that a closure reads by name, from its cells and globals."""
    function = getattr(source, "__func__", source)
    if not inspect.isfunction(function):
        return []
    read = inspect.getclosurevars(function)
    return [m for m in (*read.nonlocals.values(), *read.globals.values()) if isinstance(m, nn.Module)]


def is_frozen(module: nn.Module) -> bool:
    """Whether it has a parameter of its own without a gradient, which may follow an optimizer's (a teacher)."""
    return any(p is not None and not p.requires_grad for p in module._parameters.values())


def alive(kind: type[T]) -> list[T]:
    """All objects of a class in this process, some 50 ms a million objects; not those behind ``gc.freeze()``."""
    return [each for each in gc.get_objects() if issubclass(type(each), kind)]


def holders(parameters: Vectors) -> list[nn.Module]:
    """All modules with one of the parameters in themselves or their parts: a tensor does not know its module."""
    wanted = {id(p) for p in parameters}
    found = [m for m in alive(nn.Module) if "_parameters" in vars(m)]
    own = {m for m in found if any(id(p) in wanted for p in m._parameters.values())}
    return [m for m in found if not own.isdisjoint(modules(m))]
