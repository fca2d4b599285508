"""What an exception leaves half done is undone: at entry points of geosam, and where another way is tried after a refusal."""

from __future__ import annotations

import contextlib
import functools
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import CodeType, FrameType
from typing import Any, ParamSpec, TypeVar

import torch

from .stacks import Stacks

P = ParamSpec("P")
T = TypeVar("T")

handler_of: Callable[[int], Any] = getattr(signal, "_signal", signal).getsignal  # without enumerations, which take 0.2 ms
_TORCH = torch.__file__.removesuffix("__init__.py")
SIGNALS = [int(number) for number in signal.valid_signals()]


class _Use(threading.local):
    """The outermost use of geosam in this thread by its frame, and what has to be set back after one that was broken off."""

    frame: FrameType | None = None
    broken: Stacks | None = None


_use = _Use()


def _running(frame: FrameType | None) -> bool:
    here: FrameType | None = sys._getframe()
    while here is not None and here is not frame:
        here = here.f_back
    return here is not None


def _leave_contexts(error: BaseException | None) -> None:
    """Close the generators of contexts whose ``__exit__`` was broken off: the traceback would keep them until later."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename == contextlib.__file__:
                with suppress(RuntimeError):  # it still runs
                    frame.clear()
        error = error.__context__


def unless_raised(run: Callable[[], T], undo: Callable[[], None]) -> T:
    """What ``run`` returns; where anything is raised, ``undo`` comes first.

    A second exception may come at any moment of the undoing, which then begins again: ``undo`` can be repeated.
    """
    try:
        try:
            return run()
        except BaseException:
            undo()
            raise
    except BaseException:
        undo()
        raise


def undisturbed(function: Callable[P, T]) -> Callable[P, T]:
    """An entry point after which torch is as it was, whatever is raised at any moment inside; what a signal's handler raised
    comes out as it is.

    ``torch.compile`` leaves it out of what it traces: hooks, frames and passes are no graph. Compiled models and losses that
    it calls run compiled.
    """

    @torch._disable_dynamo  # torch.compiler.disable would import dynamo with geosam, which takes seconds
    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        if _use.frame is not None and _running(_use.frame):
            return function(*args, **kwargs)
        if _use.broken is not None:  # by a third exception
            _use.broken.restore()
        before, handled = Stacks(), sys.exc_info()[1]

        def undo() -> None:
            _use.broken = before
            _leave_contexts(sys.exc_info()[1])
            before.restore()
            _use.broken = _use.frame = None

        def outermost() -> T:
            _use.frame = sys._getframe()
            return function(*args, **kwargs)

        try:
            found = unless_raised(outermost, undo)
        except Exception as error:
            if (first := _replaced(error, handled)) is not None:
                raise first  # noqa: B904 - the other one is its context
            raise
        _use.frame = None
        return found

    return run


class Attempt:
    """What torch or the model may refuse, where another way is known.

    Made before a ``try``. In its ``except``, ``refused(error)`` comes first: torch is as it was before, and an exception that
    is no refusal goes on. Its class does not decide: a signal may raise any, and torch may turn that into another.
    """

    def __init__(self) -> None:
        self._before, self._handled = Stacks(), sys.exc_info()[1]

    def refused(self, error: BaseException) -> None:
        """Set torch back; raise the error again where a signal's handler raised it, or what it came of."""
        _leave_contexts(error)
        self._before.restore()
        pass_on(error, self._handled)


def pass_on(error: BaseException, known: BaseException | None = None) -> None:
    """Raise the error again if it, or what it came of, is an interrupt or was raised by a signal's handler.

    known: what was handled before.
    """
    if _signalled(error, known) is not None:
        raise error


def _replaced(error: Exception, known: BaseException | None) -> BaseException | None:
    """What a signal's handler raised, where torch then failed to leave a context that it had entered by half."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    if error.__context__ is None or not frames[-1].f_code.co_filename.startswith(_TORCH):
        return None
    return _signalled(error.__context__, known)


def _signalled(error: BaseException, known: BaseException | None) -> BaseException | None:
    handlers = {_code(handler_of(number)) for number in SIGNALS}
    for each in _chain(error, known):
        frames = (frame for frame, _ in traceback.walk_tb(each.__traceback__))
        if isinstance(each, KeyboardInterrupt | SystemExit) or any(frame.f_code in handlers for frame in frames):
            return each
    return None


def _chain(error: BaseException | None, known: BaseException | None) -> Iterator[BaseException]:
    while error is not None and error is not known:
        yield error
        error = error.__context__


def _code(handler: Any) -> CodeType | None:
    """Of the function that a call of the handler runs first."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    if not hasattr(handler, "__code__"):
        handler = getattr(handler, "__func__", type(handler).__call__)
    return getattr(handler, "__code__", None)
