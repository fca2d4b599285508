"""The rows as a table, for a page and for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from geosam.records import Record, write

from .result import Outcome
from .summary import HEAD, Summary


def write_report(path: Path, summary: Summary, records: Sequence[Record[Outcome]], picture: Path) -> Path:
    """In Markdown. picture: a file below the page's folder."""
    first = records[0]
    lines = ["# What the PAC-Bayes bounds say", ""]
    lines.append(f"n = {first.result.samples} digits, δ = {summary.config.delta}, {len(records)} runs.")
    lines += ["", f"![{HEAD[4]} and what the theorems add]({picture.relative_to(path.parent)})", ""]
    lines += [_line(row) for row in (HEAD, ["---"] * len(HEAD), *summary.rows)]
    lines += ["", *(f"{text}\n" for text in summary.notes)]
    lines.append(f"Commit {first.provenance.commit}, {first.provenance.device}, {first.provenance.versions}.")
    write(path, ("\n".join(lines) + "\n").encode())
    return path


def said(summary: Summary) -> list[Table | str]:
    """The table and its notes."""
    table = Table(*HEAD)
    for row in summary.rows:
        table.add_row(*row)
    return [table, *summary.notes]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
