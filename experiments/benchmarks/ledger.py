"""A record that grows: written after every job, and gone on with by the next worker where one died.

A benchmark that uses it has ``settings()``, ``parts(quick)``: title → ``Part``, and a limit of seconds (measure.py).
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from geosam.records import write_json

SPOILED = 3
"""The exit status of a worker whose device no longer works."""


class NotRun(Exception):
    """Nothing can be measured here; says why."""


@dataclass(frozen=True)
class Turn:
    """What a part is given. until: a reading of ``time.monotonic`` by which it should end. stopped: jobs that a worker died in,
    each with the reason. trying: is told the name of a job before it begins, None where no job is to blame, and why it failed.
    """

    until: float
    stopped: Mapping[str, str]
    trying: Callable[[str | None, str], None]

    def over(self) -> bool:
        """Whether the time is used up."""
        return time.monotonic() > self.until

    def each(self, jobs: Mapping[str, Callable[[], Any]], device: torch.device) -> tuple[dict[str, Any], dict[str, str]]:
        """(what each job gave, why the others gave nothing). A job that fails leaves the others as they are."""
        found, left_out = {}, {name: why for name, why in self.stopped.items() if name in jobs}
        for name, job in jobs.items():
            if name in left_out:
                continue
            if self.over():
                left_out[name] = "no time was left to try it"
                continue
            self.trying(name, "")
            try:
                found[name] = job()
            except Exception as error:  # any failure is a result: devices name their limits differently
                left_out[name] = reason(error)
            if name in left_out:  # here, where no traceback holds the job's memory any more
                self.trying(name, left_out[name])
                self.go_on(device)
        self.trying(None, "")
        return found, left_out

    def go_on(self, device: torch.device) -> None:
        """After a job that failed: its memory is given back. Ends the worker where the device no longer computes or draws."""
        gc.collect()
        if device.type == "cuda":
            try:
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
                torch.randn(1, device=device).item()
            except Exception as error:
                raise SystemExit(SPOILED) from error


@dataclass(frozen=True)
class Part:
    """weight: its share of the seconds that are left, against the weights of what is still to come."""

    weight: float
    run: Callable[[Turn], Any]


class Ledger:
    """The record at ``path``. ``at`` in it is what runs now, ``stopped`` what workers before this one died in."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def write(self, **changed: Any) -> None:
        """To disk, at once."""
        self.record |= changed
        write_json(self.path, self.record)

    def go_through(self, parts: Mapping[str, Part], seconds: float) -> None:
        """Every part that has no result yet. One that fails has the reason for its result."""
        end = time.monotonic() + seconds
        stopped = self.record.get("stopped", {})
        left = {title: part for title, part in parts.items() if title not in self.record}
        while left:
            share = (end - time.monotonic()) / sum(part.weight for part in left.values())
            title = next(iter(left))
            part, known = left.pop(title), stopped.get(title, {})
            until = time.monotonic() + part.weight * share

            def trying(job: str | None, why: str, title: str = title) -> None:
                self.write(at=[title, job, why])

            trying(None, "")
            try:
                result = {"failed": known[""]} if "" in known else part.run(Turn(until, known, trying))
            except Exception as error:  # any failure is a result: devices name their limits differently
                result = {"failed": reason(error)}
            self.write(**{title: result})
            gc.collect()
        self.record.pop("at", None)
        self.write()


def reason(error: BaseException) -> str:
    """Kind and first line."""
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else 'no message'}"
