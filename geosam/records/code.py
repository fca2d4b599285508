"""What a user's own function depends on: its text, and what it refers to. So an edited model is not taken for the old one."""

from __future__ import annotations

import builtins
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator
from tokenize import TokenError
from types import CodeType, FunctionType
from typing import Any

import numpy as np
import torch

_PLACES = tuple({sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")})
_read: list[Any] = []
"""What is being read: code may refer to itself."""


def code_of(thing: Any, describe: Callable[[Any], Any]) -> str:
    """16 hexadecimal digits: the text of a function or class, its defaults, and what it refers to, as ``describe`` has it.

    What cannot be described counts by its type.
    """
    if any(thing is other for other in _read):
        return "itself"
    _read.append(thing)
    try:
        digest = hashlib.sha256(_text(thing).encode())
        for name, value in sorted(_references(thing), key=lambda item: item[0]):
            digest.update(f"\n{name}={_described(value, describe)}".encode())
        return digest.hexdigest()[:16]
    finally:
        _read.pop()


def _described(value: Any, describe: Callable[[Any], Any]) -> Any:
    try:
        return describe(value)
    except (TypeError, RecursionError):  # a logger, a lock: its kind has to do
        return type(value).__qualname__


def installed(thing: Any) -> bool:
    """Whether it comes with Python or with an installed package."""
    if isinstance(thing, FunctionType):
        return thing.__code__.co_filename.startswith(_PLACES)
    module = sys.modules.get(thing.__module__)
    file = getattr(module, "__file__", None)
    if module is None or thing.__module__ == "__main__":
        return False
    return file is None or file.startswith(_PLACES)


def numbers(value: Any) -> dict[str, Any]:
    """Shape, type and digest of a tensor's or an array's bytes; of a numpy number or random state, what it prints."""
    if not isinstance(value, torch.Tensor | np.ndarray):
        return {"numpy": repr(value)}
    if isinstance(value, np.ndarray) and value.dtype == object:
        raise TypeError("cannot describe an array of Python objects, and a record is filed under it: use numbers")
    tensor = torch.as_tensor(value).detach().cpu().contiguous()
    data = tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b""
    return {"shape": list(tensor.shape), "dtype": str(tensor.dtype), "bytes": hashlib.sha256(data).hexdigest()[:16]}


def _text(thing: Any) -> str:
    try:
        found = inspect.getsource(thing)
    except (OSError, TypeError, SyntaxError, TokenError):  # typed at a prompt, from a page of text, made by a library
        found = ""
    name = getattr(getattr(thing, "__code__", None), "co_name", None)
    begins = f"class {thing.__name__}" if name is None else "lambda" if name == "<lambda>" else f"def {name}"
    if begins in found:  # the lines of another file, where what was compiled bears its name
        return found
    return repr([(code.co_code, [c for c in code.co_consts if not isinstance(c, CodeType)]) for code in _codes(thing)])


def _references(thing: Any) -> Iterator[tuple[str, Any]]:
    """Bases of a class; defaults, closure and globals of a function, and of the functions in a class."""
    if isinstance(thing, type):
        yield from ((f"base {i}", base) for i, base in enumerate(thing.__bases__) if base is not object)
    for function in _functions(thing):
        yield from ((f"{function.__qualname__} default {i}", v) for i, v in enumerate(function.__defaults__ or ()))
        yield from ((f"{function.__qualname__} {k}", v) for k, v in (function.__kwdefaults__ or {}).items())
        variables = inspect.getclosurevars(function)
        own = {**variables.nonlocals, **{n: function.__globals__[n] for n in _names(function) if n in function.__globals__}}
        yield from ((k, v) for k, v in own.items() if not k.startswith("__") and getattr(builtins, k, None) is not v)


def _functions(thing: Any) -> Iterator[FunctionType]:
    members = vars(thing).values() if isinstance(thing, type) else [thing]
    for member in members:
        found = getattr(member, "__func__", getattr(member, "fget", member))
        if isinstance(found, FunctionType) and not found.__code__.co_filename.startswith(_PLACES):  # not what dataclasses add
            yield found


def _codes(thing: Any) -> Iterator[CodeType]:
    todo = [function.__code__ for function in _functions(thing)]
    while todo:
        code = todo.pop(0)
        yield code
        todo += [c for c in code.co_consts if isinstance(c, CodeType)]


def _names(function: FunctionType) -> set[str]:
    return {name for code in _codes(function) for name in code.co_names}
