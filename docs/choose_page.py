"""What became of matched radii, written at build time from the records of ``python -m experiments match``."""

from __future__ import annotations

from pathlib import Path

from theory_pages import RECORDS, cell, replace

from experiments.match.command import command
from experiments.report.study import pages


def write(app) -> None:
    """``choose_table.md`` in the documentation's source directory."""
    replace(Path(app.srcdir) / "choose_table.md", table(RECORDS))


def table(records: Path) -> str:
    """The study's own table."""
    ((_, page, _),) = pages(records, [command.study.__module__.split(".")[-2]])
    found = page.table
    lines = [found.head, ["---"] * len(found.head), *found.rows]
    return "\n".join([*(f"| {' | '.join(map(cell, line))} |" for line in lines), "", f"*{found.caption}*", ""])
