"""Where a run was: written whole at the end of an epoch, with a checksum, and gone when the run has its record."""

from __future__ import annotations

import hashlib
import io
import time
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..records import Provenance, write

FORMAT = 2
"""Of the state; another one is not read."""


class Checkpoint:
    """A run's checkpoint file. every: seconds between two writes; 0 writes at every call."""

    def __init__(self, path: Path, every: float) -> None:
        self.path, self.every = path, every
        self._last = time.monotonic()

    def save(self, state: dict[str, Any]) -> None:
        """Write, if it is time."""
        if time.monotonic() - self._last < self.every:
            return
        buffer = io.BytesIO()
        torch.save({"code": _code(), **state}, buffer)
        content = buffer.getvalue()
        write(self.path, hashlib.sha256(content).digest() + content)
        self._last = time.monotonic()

    def load(self) -> tuple[dict[str, Any] | None, str | None]:
        """The state, and why there is none although there is a file."""
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return None, None
        except OSError as error:
            return None, f"checkpoint {self.path} cannot be read ({error}): the run begins anew"
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            return None, f"checkpoint {self.path} is damaged: the run begins anew"
        state: dict[str, Any] = torch.load(io.BytesIO(content[32:]), map_location="cpu", weights_only=False)
        if state.pop("code") != _code():
            return None, f"checkpoint {self.path} is of other code or another torch: the run begins anew"
        return state, None

    def remove(self) -> None:
        """It is no longer needed."""
        self.path.unlink(missing_ok=True)


@cache
def _code() -> tuple[Any, ...]:
    here = Provenance.here()
    return FORMAT, here.commit, sorted(here.versions.items())
