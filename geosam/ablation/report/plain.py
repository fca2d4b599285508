"""A report without a template of its own: pictures, tables, and where the records come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from matplotlib.figure import Figure

from ...records import Record
from .page import Table, provenance_table, write_page

TEMPLATE = Path(__file__).with_name("plain.html.j2")


@dataclass(frozen=True)
class Picture:
    """name: of its file. words: how to read it."""

    name: str
    figure: Figure
    words: str


class Shown(Protocol):
    """What is reported: records, and the titles of runs without one."""

    @property
    def records(self) -> Sequence[Record[Any]]:
        """Those there are."""

    @property
    def failed(self) -> Iterable[str]:
        """The others."""


def plain_report(
    out: Path, title: str, lead: str, finished: Shown, pictures: Sequence[Picture], tables: Sequence[Table]
) -> Path:
    """Write ``report.html``. lead: what was run, in a sentence."""
    return write_page(
        out / "report.html",
        TEMPLATE,
        {picture.name: picture.figure for picture in pictures},
        title=title,
        lead=lead,
        pictures=pictures,
        tables=tables,
        provenance=provenance_table(finished.records),
        failed=finished.failed,
        runs=len(finished.records),
        seconds=sum(record.seconds for record in finished.records),
    )
