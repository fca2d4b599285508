"""Where data sets that are not shipped with a library lie."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "GEOSAM_DATA"


def folder() -> Path:
    """The folder named by the variable, else ``~/.cache/geosam``."""
    return Path(os.environ.get(VARIABLE) or Path.home() / ".cache" / "geosam")


class Missing(FileNotFoundError):
    """A file that is the user's to get; the message says how."""


def missing(what: str, command: str, file: str) -> Missing:
    """How to get it. file: what is taken instead."""
    return Missing(
        f"{what} is not in {folder()}. On a machine with a network: {command}. Else put {file} there, or name the folder that "
        f"has one of them by the environment variable {VARIABLE}."
    )
