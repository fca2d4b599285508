"""What a user's own function depends on: its text, and what it refers to. So an edited model is not taken for the old one."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from tokenize import TokenError
from types import CodeType
from typing import Any

import numpy as np
import torch

from .reach import codes, functions, references

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
        for name, value in sorted(references(thing), key=lambda item: item[0]):
            digest.update(f"\n{name}={_described(value, describe)}".encode())
        return digest.hexdigest()[:16]
    finally:
        _read.pop()


def _described(value: Any, describe: Callable[[Any], Any]) -> Any:
    try:
        return describe(value)
    except (TypeError, RecursionError):  # a logger, a lock: its kind has to do
        return type(value).__qualname__


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
    return _source(thing) if isinstance(thing, type) else "".join(map(_source, functions(thing)))


def _source(thing: Any) -> str:
    name = f"class {thing.__name__}" if isinstance(thing, type) else f"def {thing.__code__.co_name}"
    try:
        found = inspect.getsource(getattr(thing, "__code__", thing))
    except (OSError, TypeError, SyntaxError, TokenError):  # typed at a prompt, from a page of text, made by a library
        found = ""
    if name in found or (name == "def <lambda>" and found.count("lambda") == 1):  # of two on a line the text is the same
        return found  # else the lines of another file, where what was compiled bears its name
    return repr([(code.co_code, [c for c in code.co_consts if not isinstance(c, CodeType)]) for code in codes(thing)])
