"""Pickles that name the public place of a class, wherever its file is."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from .brief import Brief


class Public(Brief):
    """A base of configuration objects: pickled as ``geosam.metrics.Fisher``, not as the file that holds it today."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        made, place = super().__reduce_ex__(max(protocol, 2)), public_place(type(self))
        return made if place is None or isinstance(made, str) else (_blank, place, *made[2:])


def public_place(kind: type) -> tuple[str, str] | None:
    """(package, name): the package nearest to the root in which the class is found under its own name; None elsewhere."""
    parts = kind.__module__.split(".")
    for end in range(1, len(parts)):
        package = ".".join(parts[:end])
        if getattr(sys.modules.get(package), kind.__name__, None) is kind:
            return package, kind.__name__
    return None


def _blank(package: str, name: str) -> Any:
    kind = getattr(importlib.import_module(package), name)
    return kind.__new__(kind)
