"""What a study is: it knows its jobs, and makes a page of their records. Imported by ``--help``, so without torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import Console

    from geosam.ablation.report import Page, Shown
    from geosam.records import Finished, Job

Result = TypeVar("Result", bound="BaseModel")


@dataclass(frozen=True)
class Part(Generic[Result]):
    """Jobs of one kind. work: job ↦ what it found out, of type ``result``. folder: of their records, where kinds differ."""

    jobs: Sequence[Job]
    work: Callable[[Any], Result]
    result: type[Result]
    folder: str = ""


class Study(Protocol):
    """A study with its configuration. ``runner.carry_out`` runs what has no record, and writes the page."""

    def parts(self) -> Sequence[Part[Any]]:
        """All jobs, each with all that its numbers depend on."""

    def page(self, finished: Finished) -> Page | None:
        """What the records say, and how it is shown; None where those there are do not suffice."""


@runtime_checkable
class Filed(Protocol):
    """A study whose records are too many to keep, and its counts are not."""

    def kept(self, folder: Path) -> tuple[Page, Shown] | None:
        """The page of the counts in ``folder``; None where there are none."""


@runtime_checkable
class Whole(Protocol):
    """A study that carries itself out, because what it runs last depends on what it ran first."""

    def carry_out(self, out: Path, *, workers: int, fresh: bool, figure: Path | None, console: Console) -> Path | None:
        """As ``runner.carry_out``."""

    def found(self, out: Path) -> tuple[Page, Shown] | None:
        """The page of the records that are in ``out``, and these records; None where there are none. Runs nothing."""
