"""Records on disk: one JSON file a run, written atomically, used only if complete and of the run that is asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ValidationError

from .describe import describe, fingerprint
from .files import write
from .provenance import Provenance

Result = TypeVar("Result", bound=BaseModel)


class Job(Protocol):
    """One run: a picklable dataclass that holds all that its numbers depend on."""

    @property
    def title(self) -> str:
        """What a progress bar calls it."""

    @property
    def seed(self) -> int:
        """The seed of everything random in it."""


class Record(BaseModel, Generic[Result]):
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
    """The records of one study in one directory. broken: files that were found unreadable, incomplete or of another run."""

    directory: Path
    record: type[Record[Result]]
    broken: list[Path] = field(default_factory=list)

    def path(self, job: Job) -> Path:
        """The title for readers, and the fingerprint, which decides."""
        slug = re.sub(r"[^a-z0-9]+", "-", job.title.lower()).strip("-")
        return self.directory / f"{slug}-{fingerprint(job)}.json"

    def load(self, job: Job) -> Record[Result] | None:
        """The job's record; None where there is none, or one that is broken or of another run."""
        path = self.path(job)
        try:
            record = self.record.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (ValidationError, OSError):
            record = None
        if record is None or (record.key, record.config) != (fingerprint(job), describe(job)):
            self.broken.append(path)
            return None
        return record

    def save(self, job: Job, result: Result, seconds: float) -> Record[Result]:
        """Write the job's record, replacing any that is there."""
        record = self.record(
            key=fingerprint(job),
            title=job.title,
            seed=job.seed,
            config=describe(job),
            provenance=Provenance.here(),
            seconds=seconds,
            result=result,
        )
        write(self.path(job), record.model_dump_json(indent=1).encode())
        return record
