"""Configuration as plain data, and its fingerprint: what a record is filed under."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from typing import Any

ROOMS = ("metrics", "norms", "objectives", "solvers", "engines", "updates")
"""Where geosam's public names are looked up, in this order, before ``geosam`` itself. Append only: records hold these names."""

_named: dict[str, Any] = {}


def describe(value: Any) -> Any:
    """Plain data that two configurations share exactly when they mean the same.

    Dataclasses by name and fields, functions by name; never by ``repr``, which shows memory addresses.
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
        return {"type": name(type(value)), **{f.name: describe(getattr(value, f.name)) for f in fields(value)}}
    if callable(value) and "<" not in _path(value):
        return name(value)
    raise TypeError(f"cannot describe {value!r}: use dataclasses, plain values and functions that can be imported by name")


def spelled(description: Any) -> str:
    """A description as an expression; how per-sample gradients are computed is left out."""
    if isinstance(description, dict):
        fields = ", ".join(f"{k}={spelled(v)}" for k, v in description.items() if k not in ("type", "engine"))
        return f"{description['type'].rpartition('.')[2]}({fields})"
    if isinstance(description, list):
        return f"[{', '.join(map(spelled, description))}]"
    return str(description)


def fingerprint(value: Any) -> str:
    """16 hexadecimal digits of the description's SHA-256."""
    text = json.dumps(describe(value), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def name(thing: Any) -> str:
    """A name of a class or function that stays when its file moves.

    ``geosam.metrics.Fisher``: the public name. ``experiments.compare.Run``: the folder and its own name. Elsewhere the import
    path. Raises: TypeError for what is private in geosam, and for a second thing of the same name in a folder.
    """
    top, *inside = _path(thing).split(".")
    if top == "geosam":
        return _public(thing)
    return _only(thing, f"{top}.{inside[0]}.{inside[-1]}") if top == "experiments" else _path(thing)


def _public(thing: Any) -> str:
    geosam = import_module("geosam")
    for prefix, room in [*((f"geosam.{room}", getattr(geosam, room)) for room in ROOMS), ("geosam", geosam)]:
        for own in getattr(room, "__all__", None) or vars(room):
            if getattr(room, own) is thing and not own.startswith("_"):
                return f"{prefix}.{own}"
    _, room, *_, own = _path(thing).split(".")
    if room not in ROOMS:
        raise TypeError(f"{_path(thing)} has no public name, and a record needs one that stays: use what geosam exports")
    return _only(thing, f"geosam.{room}.{own}")  # a default such as ParameterScaled's ``where``


def _only(thing: Any, name: str) -> str:
    if _named.setdefault(name, thing) is not thing:
        raise TypeError(f"both {_path(thing)} and {_path(_named[name])} would be called {name} in records: rename one")
    return name


def _path(thing: Any) -> str:
    return f"{thing.__module__}.{getattr(thing, '__qualname__', '<unnamed>')}"
