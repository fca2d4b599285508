"""Mapped functions, compiled once for each structure of a problem."""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable
from typing import Any, cast

from ...problem.randomness import Replay
from .mapped import Function

Compiler = Callable[[Function], Function]

_NUMBER = itertools.count()


def compiled(function: Function, compiler: Compiler) -> Function:
    """The same, compiled. Raises: ValueError where it does not compile, or uses random numbers."""
    plain = cast(types.FunctionType, function)
    # its own code under its own name: torch.compile stops after eight compilations of a code object, and treats sizes that
    # differ under one name, here those of several problems, as variable
    code = plain.__code__.replace(co_name=f"{plain.__name__}_{next(_NUMBER)}")
    found = compiler(types.FunctionType(code, plain.__globals__, code.co_name, None, plain.__closure__))

    def checked(tensors: Any, x: Any, y: Any) -> Any:
        replay = Replay.now(tensors[0])
        try:
            with replay:
                out = found(tensors, x, y)
        except RuntimeError as error:
            raise ValueError(
                f"the per-sample gradients do not run in compiled form: {str(error).strip().splitlines()[0]}. Leave out the "
                "compiler of engines.Func, or let it break the graph: torch.compile without fullgraph=True."
            ) from error
        if replay.used:
            raise ValueError(
                "the forward pass draws random numbers, and compiled code may draw others than the model does. Leave out the "
                "compiler of engines.Func, or put dropout in eval mode."
            )
        return out

    return checked
