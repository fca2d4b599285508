"""``python -m experiments benchmarks``: each benchmark in its own process, with one record of each. Imports no torch."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..common.files import ROOT, write_json

NAMES = ("move", "step", "fisher_cost", "growth", "memory", "graph", "accelerator")
RECORDS = ROOT / "experiments" / "records" / "benchmarks"


def command(
    names: Annotated[list[str] | None, typer.Argument(help=f"any of {', '.join(NAMES)}; by default all")] = None,
    quick: Annotated[bool, typer.Option(help="few rounds, to see that it runs; nothing is recorded unless --records")] = False,
    allocator: Annotated[str | None, typer.Option(help="pinned or unpinned; by default those the benchmark asks for")] = None,
    records: Annotated[Path | None, typer.Option(help="where records are")] = None,
    figure: Annotated[Path | None, typer.Option(help="measure nothing: draw the record of growth here (PNG)")] = None,
) -> None:
    """Time geosam against its floors and its peers, as ratios within one run."""
    unknown = set(names or NAMES) - set(NAMES)
    if unknown:
        raise typer.BadParameter(f"no benchmark is called {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    if allocator not in (None, "pinned", "unpinned"):
        raise typer.BadParameter(f"the allocator is pinned or unpinned, not {allocator}")
    if figure is not None:
        _draw(names, (records or RECORDS) / "growth.json", figure)
    elif _measure(names or NAMES, quick, allocator, records or (None if quick else RECORDS), Console(width=120)):
        raise typer.Exit(1)


def _draw(names: list[str] | None, path: Path, figure: Path) -> None:
    from ..common import page, style
    from .growth_figure import growth

    if names != ["growth"]:
        raise typer.BadParameter("only growth has a figure: growth --figure PATH")
    if not path.exists():
        raise typer.BadParameter(f"there is no record {path} to draw: measure first, or name its folder with --records")
    with style.styled():
        page.png(growth(path), figure)


def _measure(names: Sequence[str], quick: bool, allocator: str | None, where: Path | None, console: Console) -> bool:
    """Whether any race was void. What did not run leaves a record that is there as it was."""
    from . import report

    void = False
    for name in names:
        wanted = (allocator,) if allocator else import_module(f"{__package__}.{name}").ALLOCATORS
        runs = {each: _inside(name, each, quick) for each in wanted}
        for each, result in runs.items():
            report.show(name, each, result, console)
        void |= any(part["void"] for result in runs.values() for part in result.values() if _is_race(part))
        kept = where and where / f"{name}.json"
        if kept and kept.exists() and all("not run" in result for result in runs.values()):
            console.print(f"kept as it was: {kept}")
        elif kept:
            write_json(kept, {"name": name, "quick": quick, "runs": runs})
            console.print(f"written: {kept}")
    if void:
        console.print("[bold red]At least one race is void: run it again on a quiet machine.[/]")
    return void


def _inside(name: str, allocator: str, quick: bool) -> dict[str, Any]:
    """In a process of its own, whose allocator is set before it starts."""
    from .allocator import environment

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "result.json"
        worker = [sys.executable, "-m", f"{__package__}.worker", name, allocator, "quick" if quick else "full", str(path)]
        subprocess.run(worker, env=environment(allocator), cwd=ROOT, check=True)
        return json.loads(path.read_text())


def _is_race(part: Any) -> bool:
    return isinstance(part, dict) and "void" in part
