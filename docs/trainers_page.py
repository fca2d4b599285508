"""The table of trainers, written at build time from the record of the runs."""

from __future__ import annotations

import json
from pathlib import Path

from theory_pages import replace


def write(app) -> None:
    """``trainers_table.md`` in the documentation's source directory."""
    replace(Path(app.srcdir) / "trainers_table.md", table(Path(app.srcdir) / "trainers" / "record.json"))


def table(record: Path) -> str:
    """Route × trainer × metric; a metric that the route cannot serve has no number."""
    found = json.loads(record.read_text(encoding="utf-8"))
    metrics = list(max((row["errors"] for row in found["rows"]), key=len))
    lines = [f"| trainer | route | {' | '.join(metrics)} |", f"|---|---|{'---|' * len(metrics)}"]
    for row in found["rows"]:
        errors = [f"{row['errors'][name]:.0e}" if name in row["errors"] else "" for name in metrics]
        lines.append(f"| {row['trainer']} | {row['route']} | {' | '.join(errors)} |")
    versions = ", ".join(f"{name} {version.partition('+')[0]}" for name, version in found["versions"].items())
    return "\n".join([*lines, "", f"*{versions}.*", ""])
