"""Carry a study out: run its jobs, then make its report."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from .files import write
from .scheduling import Finished, run_all
from .store import Record, Result, Store
from .study import Part, Study
from .style import styled


def records_of(part: Part[Result], folder: Path) -> Store[Result]:
    """Where a part of a study has its records, in the folder of all of them."""
    return Store(folder / part.folder, Record[part.result])  # type: ignore[name-defined]


def carry_out(study: Study, out: Path, *, workers: int, fresh: bool, figure: Path | None, console: Console) -> Path | None:
    """The page's path; None where a job failed (there may be a page of the others). figure: where to put the overview too."""
    start = time.perf_counter()
    done = []
    for part in study.parts():
        store = records_of(part, out / "records")
        done += run_all(part.jobs, part.work, store, workers=workers, fresh=fresh, console=console)
    finished = Finished(done)
    if not finished.records:
        console.print("[red]No run succeeded: there is nothing to report.[/]")
        return None
    with styled():
        report = study.report(finished, out)
    if report is None:
        console.print(f"[red]No report: {len(finished.failed)} of {len(done)} jobs failed. The others have their records.[/]")
        return None
    if figure is not None:
        write(figure, report.overview.read_bytes())
    for line in report.said:
        console.print(line)
    console.print(f"{report.page}  ({time.perf_counter() - start:.0f} s)")
    return None if finished.failed else report.page
