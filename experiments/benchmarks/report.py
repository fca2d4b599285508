"""A record as tables on the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

_COLUMNS = ("process_ms", "device_ms", "wall_ms", "ratio", "wall_ratio", "to_sgd", "memory_copies", "peak_mb")


def show(name: str, allocator: str, result: dict[str, Any], console: Console) -> None:
    """Every race and table of one run."""
    for title, part in result.items():
        if title in ("provenance", "machine", "settings"):
            continue
        heading = f"{name} · {title} · allocator {allocator}"
        if isinstance(part, dict) and "jobs" in part:
            _race(heading, part, console)
        elif isinstance(part, dict) and part and all(isinstance(row, dict) for row in part.values()):
            _rows(heading, part, console)
        elif isinstance(part, dict):
            _plain(heading, part, console)
        else:
            console.print(f"{heading}: {part}")


def _race(heading: str, part: dict[str, Any], console: Console) -> None:
    used = [column for column in _COLUMNS if any(column in row for row in part["jobs"].values())]
    table = Table("job", *used, title=heading, title_justify="left")
    for job, row in part["jobs"].items():
        table.add_row(job, *(f"{row[column]:.3f}" if column in row else "" for column in used))
    console.print(table)
    difference = f"A/A difference {part['aa_difference']:.1%} over {part['rounds']} rounds"
    console.print(f"[bold red]VOID: {difference}[/]" if part["void"] else difference)
    for target in part["targets"]:
        verdict = "met" if target["met"] else "[bold]missed[/]"
        console.print(f"  {target['job']} over {target['over']}: {target['value']:.3f}, limit {target['limit']}: {verdict}")
    for job, reason in part.get("left_out", {}).items():
        console.print(f"  left out: {job}: {reason}", markup=False)
    for note in part.get("notes", []):
        console.print(f"  {note}")


def _rows(heading: str, part: dict[str, dict[str, Any]], console: Console) -> None:
    columns = list(dict.fromkeys(key for row in part.values() for key in row))
    table = Table("", *columns, title=heading, title_justify="left")
    for name, row in part.items():
        table.add_row(name, *("" if row.get(column) is None else str(row[column]) for column in columns))
    console.print(table)


def _plain(heading: str, part: dict[str, Any], console: Console) -> None:
    table = Table("", "value", title=heading, title_justify="left")
    for key, value in part.items():
        table.add_row(str(key), str(value))
    console.print(table)
