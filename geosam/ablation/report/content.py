"""What a page says, as data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ...records import Record
from .picture import Picture


@dataclass(frozen=True)
class Table:
    """Cells as text; the first of each row is its header. caption: below the table."""

    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def kind(self) -> str:
        """How a narrow screen shows it: two columns and long texts restack, numbers scroll."""
        longest = max((len(cell) for row in self.rows for cell in row), default=0)
        return "pairs" if len(self.head) == 2 else "cards" if longest > 40 else "numbers"


@dataclass(frozen=True)
class Note:
    """What a reader should not miss: a line in large type, and a few sentences."""

    big: str
    words: Sequence[str] = ()


Block = str | Table | Picture | Note
"""A string is a paragraph of plain text, in which ``code`` and **bold** are marked so."""


@dataclass(frozen=True)
class Section:
    """A heading with what is below it; a line of the contents."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """lead: what was run, in a sentence or two. verdict, picture, table: what a study says in short, where all are on one page.

    setup: at the end, before where the records come from. said: lines for a terminal. beside: JSON files by name.
    """

    title: str
    lead: str
    picture: Picture | None = None
    table: Table | None = None
    verdict: Note | None = None
    sections: Sequence[Section] = ()
    setup: Sequence[Block] = ()
    said: Sequence[Any] = ()
    beside: Mapping[str, Any] = field(default_factory=dict)

    @property
    def short(self) -> list[Block]:
        """What there is of verdict, picture and table."""
        return [block for block in (self.verdict, self.picture, self.table) if block is not None]


class Shown(Protocol):
    """What is reported: records, and the titles of runs without one."""

    @property
    def records(self) -> Sequence[Record[Any]]:
        """Those there are."""

    @property
    def failed(self) -> Iterable[str]:
        """The others."""
