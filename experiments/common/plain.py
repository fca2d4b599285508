"""A report without a template of its own: pictures, tables, and where the records come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from .page import Table, provenance_table, write_page
from .scheduling import Finished
from .study import Report

TEMPLATE = Path(__file__).with_name("plain.html.j2")


@dataclass(frozen=True)
class Picture:
    """name: of its file. words: how to read it."""

    name: str
    figure: Figure
    words: str


def plain_report(
    out: Path, title: str, lead: str, finished: Finished, pictures: Sequence[Picture], tables: Sequence[Table]
) -> Report:
    """``report.html``. lead: what was run, in a sentence. The first picture is the overview."""
    page = write_page(
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
    return Report(page, out / "figures" / f"{pictures[0].name}.png", ())
