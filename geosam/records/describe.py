"""Configuration as plain data, and its fingerprint: what a record is filed under."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import partial
from importlib import import_module
from pathlib import PurePath
from types import FunctionType, MethodType, ModuleType
from typing import Any

from torch import Tensor, device, dtype, nn

from .code import code_of, numbers
from .reach import installed, lasting

ROOMS = ("metrics", "norms", "objectives", "solvers", "engines", "updates", "ablation", "observation")
"""Where geosam's public names are looked up, in this order, before ``geosam`` itself. Append only: records hold these names."""

LATER = {"later": True}
"""Metadata of a dataclass field that was added after records of the class had been made."""

_HEAP = 1 << 9  # Py_TPFLAGS_HEAPTYPE: made by a class statement

_TORCHS = vars(nn.Module()).keys()

_named: dict[str, Any] = {}


class Described:
    """Base of a frozen dataclass whose pickles bring their description along.

    Functions that are pickled by value arrive in another process without their text.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_described": describe(self)}


def describe(value: Any) -> Any:
    """Plain data that two configurations share exactly when they mean the same.

    Dataclasses by name and fields, tensors by their bytes; never by ``repr``, which shows memory addresses. Functions by name,
    and where no installed package and no package with ``__short_names__`` holds them, by their code and what it refers to.
    A field with ``LATER`` in its metadata is left out while it has its default: it came after records of its class, which
    stay found.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, Mapping):
        return [[describe(k), describe(v)] for k, v in value.items()]  # the order matters: the first match wins
    if isinstance(value, tuple | list | range):
        return [describe(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted((describe(v) for v in value), key=json.dumps)
    if isinstance(value, Tensor) or type(value).__module__ == "numpy":
        return numbers(value)
    if isinstance(value, device | dtype):
        return str(value)
    if isinstance(value, ModuleType):
        return value.__name__
    if isinstance(value, PurePath):
        return value.as_posix()
    if isinstance(value, MethodType):
        return {"method": value.__name__, "of": describe(value.__self__)}
    if isinstance(value, nn.Module):
        return {**_module(value), "state": describe(value.state_dict())}
    if isinstance(value, partial):
        return {"type": "partial", "of": [describe(v) for v in (value.func, value.args, value.keywords)]}
    if isinstance(value, Described) and "_described" in vars(value):
        return vars(value)["_described"]
    if is_dataclass(value) and not isinstance(value, type):
        return {**_type(type(value)), **dict(_settings(value))}
    if isinstance(inside := getattr(value, "__wrapped__", None), FunctionType) and not isinstance(value, FunctionType | type):
        return describe(inside)  # functools.cache
    if isinstance(value, FunctionType | type) and not _lasting(value):
        return {"name": _path(value), "code": code_of(value, describe)}
    if callable(value) and "<" not in _path(value):
        return name(value)
    if _plain(type(value)) and hasattr(value, "__dict__"):
        return {**_type(type(value)), **{k: describe(v) for k, v in vars(value).items()}}
    raise TypeError(
        f"cannot describe {value!r}, and a record is filed under the description of its run: "
        "use dataclasses, plain values, tensors and functions"
    )


def spelled(description: Any) -> str:
    """A description as an expression; how per-sample gradients are computed is left out."""
    if isinstance(description, dict):
        shown = {k: v for k, v in description.items() if k not in ("type", "engine", "code")}
        if "type" not in description:
            return str(description.get("name", description)).rpartition(".")[2]
        return f"{description['type'].rpartition('.')[2]}({', '.join(f'{k}={spelled(v)}' for k, v in shown.items())})"
    if isinstance(description, list):
        return f"[{', '.join(map(spelled, description))}]"
    return str(description)


def fingerprint(value: Any) -> str:
    """16 hexadecimal digits of the description's SHA-256."""
    text = json.dumps(describe(value), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def name(thing: Any) -> str:
    """A name of a class or function that stays when its file moves.

    ``geosam.metrics.Fisher``: the public name. In a package with ``__short_names__``, such as ``experiments.compare.Run``: the
    folder and its own name. Elsewhere the import path. Raises: TypeError for what is private in geosam, and for a second
    thing of the same name in a folder.
    """
    top, *inside = _path(thing).split(".")
    if top == "geosam":
        return _public(thing)
    return _only(thing, f"{top}.{inside[0]}.{inside[-1]}") if lasting(top) else _path(thing)


def _settings(value: Any) -> Iterator[tuple[str, Any]]:
    for f in fields(value):
        held = describe(getattr(value, f.name))
        if not ("later" in f.metadata and held == describe(f.default)):
            yield f.name, held


def _module(value: nn.Module) -> dict[str, Any]:
    """Settings of a module and of those in it, and what its state does not hold. Private names may be a library's scratch."""
    settings = {k: describe(v) for k, v in vars(value).items() if not k.startswith("_")}
    for k in vars(value).keys() - _TORCHS:
        if k.startswith("_"):
            with suppress(TypeError, RecursionError):
                settings[k] = describe(vars(value)[k])
    settings |= {k: describe(v) for k, v in value.named_buffers(recurse=False) if k in value._non_persistent_buffers_set}
    parts = {k: _module(part) for k, part in value.named_children()}
    return {**_type(type(value)), "settings": settings, **({"parts": parts} if parts else {})}


def _type(kind: type) -> dict[str, Any]:
    return {"type": name(kind)} if _lasting(kind) else {"type": _path(kind), "code": code_of(kind, describe)}


def _plain(kind: type) -> bool:
    """Whether its objects are their attributes: written in Python down to ``object``."""
    return all(c is object or (c.__flags__ & _HEAP and not vars(c).get("__slots__")) for c in kind.__mro__)


def _lasting(thing: Any) -> bool:
    """Whether its name says what it is: a release, or a commit, does the rest."""
    return "<" not in _path(thing) and (lasting(_path(thing)) or installed(thing))


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
