"""Configuration as plain data, and its fingerprint: what a record is filed under."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any


def describe(value: Any) -> Any:
    """Plain data that two configurations share exactly when they mean the same.

    Dataclasses by type and fields, functions by their import path; never by ``repr``, which shows memory addresses.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, Mapping):
        return [[describe(k), describe(v)] for k, v in value.items()]  # the order matters: the first match wins
    if isinstance(value, tuple | list):
        return [describe(v) for v in value]
    if is_dataclass(value) and not isinstance(value, type):
        return {"type": _path(type(value)), **{f.name: describe(getattr(value, f.name)) for f in fields(value)}}
    if isinstance(value, Callable) and "<" not in _path(value):
        return _path(value)
    raise TypeError(f"cannot describe {value!r}: use dataclasses, plain values and functions that can be imported by name")


def fingerprint(value: Any) -> str:
    """16 hexadecimal digits of the description's SHA-256."""
    text = json.dumps(describe(value), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _path(thing: Any) -> str:
    return f"{thing.__module__}.{getattr(thing, '__qualname__', '<unnamed>')}"
