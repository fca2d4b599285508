"""Files of one name in the folders of all studies: a folder that has one needs no registration."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

PACKAGE = "experiments"


def parts(file: str) -> dict[str, ModuleType]:
    """By folder, in alphabetical order, the modules of that name."""
    folders = sorted(entry.name for entry in pkgutil.iter_modules(import_module(PACKAGE).__path__) if entry.ispkg)
    names = {folder: f"{PACKAGE}.{folder}.{file}" for folder in folders}
    return {folder: import_module(name) for folder, name in names.items() if find_spec(name)}
