"""A benchmark where typer and rich are missing: ``python -m experiments.benchmarks.brief NAME FOLDER SECONDS [--quick]``.

The record is the same; what is printed is its ratios in few lines.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from .measure import measure

SKIPPED = ("provenance", "machine", "settings")


def brief(result: dict[str, Any]) -> list[str]:
    """A part a line: ratios of its jobs, numbers or words."""
    return [f"{title}: {_part(part)}" for title, part in result.items() if title not in SKIPPED]


def _part(part: Any) -> str:
    if not isinstance(part, dict):
        return str(part)
    if "jobs" not in part:
        return " · ".join(f"{key} {value}" for key, value in part.items())
    rows = [f"{name} {_row(row)}" for name, row in part["jobs"].items()]
    out = [f"[{name}: {why}]" for name, why in part["left_out"].items()]
    return f"{' · '.join(rows)}; A/A {part['aa_difference']:.1%}, {part['rounds']} rounds {' '.join(out)}"


def _row(row: dict[str, Any]) -> str:
    milliseconds = next(value for key, value in row.items() if key in ("device_ms", "process_ms"))
    more = [f"{row[key]} {word}" for key, word in (("launches", "launches"), ("peak_mb", "MB")) if row.get(key)]
    return f"{row['ratio']:.3f} ({', '.join([f'{milliseconds:.3g} ms', *more])})"


def main(name: str, folder: str, seconds: str, quick: str = "") -> None:
    """Measure, keep the record in the folder, and print it."""
    for allocator, result in measure(name, quick == "--quick", "pinned", float(seconds), Path(folder)).items():
        print(f"== {name}, {allocator}", *brief(result), sep="\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
