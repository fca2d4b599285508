"""What a study is: it knows its jobs, and makes a report of their records. Imported by ``--help``, so without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console, RenderableType

    from geosam.records import Finished, Job

Result = TypeVar("Result", bound="BaseModel")


@dataclass(frozen=True)
class Part(Generic[Result]):
    """Jobs of one kind. work: job ↦ what it found out, of type ``result``. folder: of their records, where kinds differ."""

    jobs: Sequence[Job]
    work: Callable[[Any], Result]
    result: type[Result]
    folder: str = ""


@dataclass(frozen=True)
class Report:
    """page, overview: files as written; the second is the picture that ``--figure`` asks for. said: to print."""

    page: Path
    overview: Path
    said: Sequence[RenderableType]


class Study(Protocol):
    """A study with its configuration. ``runner.carry_out`` runs what has no record, and asks for the report."""

    def parts(self) -> Sequence[Part[Any]]:
        """All jobs, each with all that its numbers depend on."""

    def report(self, finished: Finished, out: Path) -> Report | None:
        """Summarise, draw, and write page and pictures into ``out``; None where the records there are do not suffice."""


@runtime_checkable
class Whole(Protocol):
    """A study that carries itself out, because what it runs last depends on what it ran first."""

    def carry_out(self, out: Path, *, workers: int, fresh: bool, figure: Path | None, console: Console) -> Path | None:
        """As ``runner.carry_out``."""
