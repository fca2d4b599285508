"""What an option names: something known, or anybody's own as ``module:name``."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any


def own(kind: str, name: str) -> Any:
    """What ``module:name`` is; None for a name of ours."""
    return named(kind, name, {}) if ":" in name else None


def named(kind: str, name: str, known: Mapping[str, Any]) -> Any:
    """known[name], or the thing of that name in a module that can be imported from here.

    Raises: ValueError that lists what is known; ImportError or AttributeError that says which part was not found.
    """
    if name in known:
        return known[name]
    module, colon, inside = name.partition(":")
    if not colon:
        raise ValueError(f"no {kind} '{name}'; there are {', '.join(known)}, and your own as module:name")
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(f"{kind} '{name}': cannot import {module} ({error}); is its folder on PYTHONPATH?") from error
    try:
        return getattr(found, inside)
    except AttributeError:
        raise AttributeError(f"{kind} '{name}': {module} has no {inside}") from None
