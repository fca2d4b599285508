"""Signals that wait, where what their handlers raise would end the process."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any, TypeVar

from .undo import SIGNALS, handler_of, unless_raised

T = TypeVar("T")


def late(run: Callable[[], T]) -> T:
    """What ``run`` returns. Handlers of signals that come meanwhile are called after it, in their order.

    For torch's tracer: an exception between two of its steps is met by a destructor in C++, which may not raise, and the
    process is aborted. In other threads than the main one no handler runs. Raises: what a handler does; all are called.
    """
    if threading.current_thread() is not threading.main_thread():
        return run()
    came: list[tuple[int, FrameType | None]] = []
    before: dict[int, Any] = {}

    def wait() -> T:
        for number in SIGNALS:
            if callable(handler := handler_of(number)):
                before[number] = handler
                signal.signal(number, lambda *given: came.append(given))
        return run()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    try:
        return unless_raised(wait, restore)
    finally:
        unless_raised(restore, restore)
        _handle([(before[number], number, frame) for number, frame in came])


def _handle(came: Sequence[tuple[Any, int, FrameType | None]]) -> None:
    """All of them, also where one raises."""
    if came:
        handler, *given = came[0]
        try:
            handler(*given)
        finally:
            _handle(came[1:])
