"""A worker watched from outside: where it dies or hangs, another goes on without the job that it died in. Imports no torch."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PATIENCE, POLL = 90.0, 0.2
"""Seconds without a word after which a worker hangs; between two looks."""


def watched(
    worker: Callable[[float], Sequence[str]],
    environment: Mapping[str, str],
    folder: Path,
    path: Path,
    seconds: float,
    keep: Callable[[dict[str, Any]], None],
) -> dict[str, Any]:
    """The record that workers leave at ``path``. keep: is given it whenever it has grown.

    worker: seconds left ↦ its command line. Each worker that dies takes one job or part out, so that this ends.
    """
    end = time.monotonic() + seconds
    while True:
        process = subprocess.Popen(worker(max(end - time.monotonic(), 1.0)), env=dict(environment), cwd=folder)
        died = _end(process, path, end, keep)
        record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        at = record.pop("at", None)
        if died is None or at is None:
            return record if died is None else record | {"died": died}
        if time.monotonic() > end:
            return record | {"died": f"{died}, in {at[0]}: {at[1] or 'between jobs'}"}
        known = record.setdefault("stopped", {}).setdefault(at[0], {})
        known[at[1] or ""] = at[2] or died
        from geosam.records import write_json  # brings torch, which --help does without

        write_json(path, record)


def _end(process: subprocess.Popen[bytes], path: Path, end: float, keep: Callable[[dict[str, Any]], None]) -> str | None:
    """None where it ended well, else how it died."""
    seen, word = 0, time.monotonic()
    try:
        while process.poll() is None:
            time.sleep(POLL)
            written = path.stat().st_mtime_ns if path.exists() else 0
            if written != seen:
                seen, word = written, time.monotonic()
                keep(json.loads(path.read_text()))
            if time.monotonic() > min(word + PATIENCE, end + PATIENCE / 3):
                process.kill()
                process.wait()
                return f"stopped: no word for {time.monotonic() - word:.0f} s, {end - time.monotonic():.0f} s before its end"
    finally:
        if process.poll() is None:
            process.kill()
    code = process.returncode
    return None if code == 0 else f"the process ended with {code}"
