"""Records on disk: one JSON file a run, written atomically, used only if complete and of the run that is asked for."""

from __future__ import annotations

import json
import math
import re
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from .describe import describe, fingerprint
from .files import claim, write
from .provenance import Provenance

Result = TypeVar("Result")


class Job(Protocol):
    """One run: a picklable dataclass that holds all that its numbers depend on."""

    @property
    def title(self) -> str:
        """What a progress bar calls it."""

    @property
    def seed(self) -> int:
        """The seed of everything random in it."""


@dataclass
class Record(Generic[Result]):
    """A run with all that it takes to repeat it. key: the fingerprint of config."""

    key: str
    title: str
    seed: int
    config: Any
    provenance: Provenance
    seconds: float
    result: Result


@dataclass
class Store(Generic[Result]):
    """The records of one study in one directory.

    kind: of the results: ``dict``, or a class with ``model_validate`` and ``model_dump``, as pydantic's have.
    broken: files that were found unreadable, incomplete or of another run, each with what is wrong.
    """

    directory: Path
    kind: type[Result]
    broken: dict[Path, str] = field(default_factory=dict)

    def path(self, job: Job) -> Path:
        """The title for readers, and the fingerprint, which decides."""
        slug = re.sub(r"[^a-z0-9]+", "-", job.title.lower()).strip("-")
        return self.directory / f"{slug}-{fingerprint(job)}.json"

    def claim(self, job: Job, wait: bool = False) -> AbstractContextManager[None]:
        """The right to run the job, as :func:`geosam.records.claim`."""
        return claim(self.directory / f".{fingerprint(job)}.claim", wait)

    def load(self, job: Job) -> Record[Result] | None:
        """The job's record; None where there is none, or one that is broken or of another run."""
        path = self.path(job)
        record = self.read(path)
        if record is not None and (record.key, record.config) != (fingerprint(job), describe(job)):
            self.broken[path] = "it is of another run"
            return None
        return record

    def read(self, path: Path) -> Record[Result] | None:
        """The record in a file; None where there is none, or a broken one."""
        try:
            found = json.loads(path.read_bytes())
            read = getattr(self.kind, "model_validate", dict)
            result = read(found["result"])
            return Record(**{**found, "provenance": Provenance(**found["provenance"]), "result": result})
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, OSError) as error:  # pydantic's errors are ValueErrors
            self.broken[path] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            return None

    def save(self, job: Job, result: Result, seconds: float, device: str = "cpu") -> Record[Result]:
        """Write the job's record, replacing any that is there."""
        record = Record(fingerprint(job), job.title, job.seed, describe(job), Provenance.here(device), seconds, result)
        plain = result.model_dump(mode="json") if hasattr(result, "model_dump") else result
        content = {**vars(record), "provenance": asdict(record.provenance), "result": _finite(plain)}
        write(self.path(job), json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False).encode())
        return record


def _finite(value: Any) -> Any:
    """JSON has no NaN: null in its place."""
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
