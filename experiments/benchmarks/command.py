"""``python -m experiments benchmarks``: each benchmark in its own process, with one record of each. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..common.files import ROOT
from .measure import measure

NAMES = ("move", "step", "fisher_cost", "checks", "growth", "memory", "graph", "correct", "accelerator")
RECORDS = ROOT / "experiments" / "records" / "benchmarks"


def command(
    names: Annotated[list[str] | None, typer.Argument(help=f"any of {', '.join(NAMES)}; by default all")] = None,
    quick: Annotated[bool, typer.Option(help="few rounds, to see that it runs; nothing is recorded unless --records")] = False,
    allocator: Annotated[str | None, typer.Option(help="pinned or unpinned; by default those the benchmark asks for")] = None,
    budget: Annotated[float | None, typer.Option(help="seconds for a benchmark that has a limit")] = None,
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
    elif _measure(names or NAMES, quick, allocator, budget, records or (None if quick else RECORDS), Console(width=120)):
        raise typer.Exit(1)


def _draw(names: list[str] | None, path: Path, figure: Path) -> None:
    from geosam.ablation.report import rendered, styled
    from geosam.records import write

    from .growth_figure import growth

    if names != ["growth"]:
        raise typer.BadParameter("only growth has a figure: growth --figure PATH")
    if not path.exists():
        raise typer.BadParameter(f"there is no record {path} to draw: measure first, or name its folder with --records")
    with styled():
        write(figure, rendered(growth(path), "png"))


def _measure(
    names: Sequence[str], quick: bool, allocator: str | None, budget: float | None, where: Path | None, console: Console
) -> bool:
    """Whether any race was void; a quick one shows that it runs, and decides nothing."""
    from . import report

    void = False
    for name in names:
        for each, result in measure(name, quick, allocator, budget, where).items():
            report.show(name, each, result, console)
            void |= not quick and any(part["void"] for part in result.values() if isinstance(part, dict) and "void" in part)
        if where:
            console.print(f"the record: {where / name}.json")
    if void:
        console.print("[bold red]At least one race is void: run it again on a quiet machine.[/]")
    return void
