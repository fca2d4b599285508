"""Files that are written whole, and claims that end with the process that holds them."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


def write(path: Path, content: bytes) -> None:
    """Atomically: a reader, or a run that comes after a crash, finds the old file or the new one and never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    _sync(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Atomically, for people to read too."""
    write(path, (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode())


class Claimed(RuntimeError):
    """Another process holds the claim."""


@contextmanager
def claim(path: Path, wait: bool = False) -> Iterator[None]:
    """Inside, no other process has the claim at ``path``. The system gives it up when its owner ends, however it ends.

    wait: until it is free. Raises: Claimed where it is not.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        file = path.open("ab")
        try:
            _lock(file, wait)
        except OSError as error:
            file.close()
            raise Claimed(f"another process holds {path}") from error
        if _is(file, path):
            break
        file.close()  # its owner removed it while we waited: this lock is of a file that nobody else will find
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while the lock is held, so that who waits for it finds out
        file.close()


def _lock(file: IO[bytes], wait: bool) -> None:
    if sys.platform == "win32":
        while True:
            try:
                return msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except OSError:  # LK_LOCK gives up after ten seconds
                if not wait:
                    raise
    fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def _is(file: IO[bytes], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _sync(folder: Path) -> None:
    """The name in its folder too, where the system lets a folder be opened."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(handle)
    except OSError:
        pass
    finally:
        os.close(handle)
