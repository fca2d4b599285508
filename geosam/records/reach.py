"""What a user's own function reaches: the functions in it, and what their names refer to."""

from __future__ import annotations

import builtins
import inspect
import sys
import sysconfig
from collections.abc import Iterator
from dis import get_instructions
from importlib import import_module
from importlib.util import find_spec, resolve_name
from types import CodeType, FunctionType, ModuleType
from typing import Any

_PLACES = tuple({sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")})
_PLAIN = (str, bool, int, float, tuple)


def installed(thing: Any) -> bool:
    """Whether it comes with Python or with an installed package, as do all that it wraps."""
    if isinstance(thing, FunctionType):
        return not any(functions(thing))
    module = thing if isinstance(thing, ModuleType) else sys.modules.get(thing.__module__)
    if module is None or module.__name__ == "__main__":
        return False
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
    return file is None or file.startswith(_PLACES)


def lasting(name: str) -> bool:
    """Whether a package's names say what they are: geosam's, and of those with ``__short_names__``."""
    top = name.partition(".")[0]
    return top == "geosam" or bool(getattr(sys.modules.get(top), "__short_names__", False))


def references(thing: Any) -> Iterator[tuple[str, Any]]:
    """Bases and constants of a class; defaults, closure, globals and imports of a function, and of the functions in a class.

    Of a module of the user's own, what the function takes from it.
    """
    if isinstance(thing, type):
        yield from ((f"base {i}", base) for i, base in enumerate(thing.__bases__) if base is not object)
        yield from ((k, v) for k, v in vars(thing).items() if isinstance(v, _PLAIN) and not k.startswith("__"))
    for function in functions(thing):
        yield from ((f"{function.__qualname__} default {i}", v) for i, v in enumerate(function.__defaults__ or ()))
        yield from ((f"{function.__qualname__} {k}", v) for k, v in (function.__kwdefaults__ or {}).items())
        nonlocals, names = inspect.getclosurevars(function).nonlocals, _names(function)
        own = {**nonlocals, **{n: function.__globals__[n] for n in names if n in function.__globals__}}
        for k, v in {**own, **_imports(function)}.items():
            if not k.startswith("__") and getattr(builtins, k, None) is not v:
                yield k, v
                yield from _taken(k, v, names)


def functions(thing: Any) -> Iterator[FunctionType]:
    """A function with those that it wraps, or all those in a class."""
    members = list(vars(thing).values()) if isinstance(thing, type) else [thing]
    while members:
        member = members.pop(0)
        found = next((v for a in ("__func__", "fget", "func") if (v := getattr(member, a, None)) is not None), member)
        if isinstance(wrapped := getattr(found, "__wrapped__", None), FunctionType):
            members.append(wrapped)
        if isinstance(found, FunctionType) and not found.__code__.co_filename.startswith(_PLACES):  # not what dataclasses add
            yield found


def codes(thing: Any) -> Iterator[CodeType]:
    """Of its functions, and of the functions inside them."""
    todo = [function.__code__ for function in functions(thing)]
    while todo:
        code = todo.pop(0)
        yield code
        todo += [c for c in code.co_consts if isinstance(c, CodeType)]


def _names(function: FunctionType) -> set[str]:
    return {name for code in codes(function) for name in code.co_names}


def _taken(path: str, value: Any, names: set[str]) -> Iterator[tuple[str, Any]]:
    if isinstance(value, ModuleType) and not installed(value) and not lasting(value.__name__):
        for name in sorted(names & vars(value).keys()):
            if not (isinstance(held := vars(value)[name], ModuleType) and path.count(".") > 3):
                yield f"{path}.{name}", held
                yield from _taken(f"{path}.{name}", held, names)


def _imports(function: FunctionType) -> dict[str, Any]:
    """Modules of the user's own that are imported where they are used."""
    found = {}
    for code in codes(function):
        steps = list(get_instructions(code))
        for i, step in enumerate(steps):
            if step.opname == "IMPORT_NAME":
                level = steps[i - 2].argval
                path = "." * level + step.argval if isinstance(level, int) else step.argval
                if (module := _own(path, function.__globals__.get("__package__"))) is not None:
                    found[f"import {path}"] = module
    return found


def _own(path: str, package: str | None) -> ModuleType | None:
    """Imported, as the function will do, if it is not installed; what cannot be imported is the function's affair."""
    try:
        path = resolve_name(path, package)
        spec = None if lasting(path) else find_spec(path.partition(".")[0])
        where = spec.origin or next(iter(spec.submodule_search_locations or ()), None) if spec else None
        known = where is None or where in ("built-in", "frozen") or where.startswith(_PLACES)
        return None if known else import_module(path)
    except Exception:
        return None
