"""Ctrl-C at a chosen line."""

import inspect
import sys
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any

import torch

from geosam.optim.ascent import Ascent
from geosam.optim.buffers import Buffers
from geosam.optim.descent import Descent
from geosam.optim.others import Others
from geosam.optim.routes import Route
from geosam.optim.routes.closure import ByClosure
from geosam.optim.routes.problem import ByProblem
from geosam.optim.routes.trainer import ByTrainer
from geosam.optim.safety import Safety
from geosam.optim.sharing import Sharing
from geosam.optim.statistics import ByModule, Statistics
from geosam.optim.step import Step
from geosam.optim.turn import Turn
from geosam.problem import data, holder, kept


def functions_of(*parts: Any) -> list[FunctionType]:
    """Of classes and modules."""
    found = (inspect.unwrap(getattr(f, "fget", f)) for part in parts for f in vars(part).values())
    return [f for f in found if isinstance(f, FunctionType)]


_GUARD = inspect.unwrap(Safety.displaced)
STEP = functions_of(Step, Safety, Route, ByClosure, ByProblem, ByTrainer, Sharing, Ascent, Turn, Descent)
STEP.remove(_GUARD)
"""Every line of a step but those of its context manager itself, between whose lines and the with block nobody can stand."""
BUFFERS = [
    *functions_of(Buffers, ByModule, Statistics, Others, kept.Kept),
    holder.Holder.restore,
    holder.Tally.set,
    data.put,
]
"""Places are searched for without a change."""


def lines_of(*functions: Callable[..., object]) -> set[CodeType]:
    return {f.__code__ for f in functions}


def interrupt_at(k: int, codes: set[CodeType], run: Callable[[], object]) -> bool:
    """Run with a KeyboardInterrupt before the k-th line that is executed in these functions; whether the run was that long."""
    seen = 0

    def line(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal seen
        if event == "line":
            seen += 1
            if seen == k:
                raise KeyboardInterrupt
        return line

    before, grad = sys.gettrace(), torch.is_grad_enabled()
    sys.settrace(lambda frame, event, arg: line if frame.f_code in codes else None)
    try:
        run()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
        # a trace function, unlike a signal, can also raise between the end of a with block and its __exit__
        torch.set_grad_enabled(grad)
    return seen >= k
