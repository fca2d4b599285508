"""Carry a study out: run its jobs, then make its report."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from geosam.ablation.report import styled
from geosam.records import Done, Finished, Job, Store, Watcher, run_all, write

from .study import Part, Result, Study


def records_of(part: Part[Result], folder: Path) -> Store[Result]:
    """Where a part of a study has its records, in the folder of all of them."""
    return Store(folder / part.folder, part.result)


class Bar(Watcher):
    """A progress bar with the titles of what runs; a line a job where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self.console, self.running = console, list[str]()

    def say(self, text: str) -> None:
        """On the console."""
        self.console.print(text)

    def begin(self, total: int) -> None:
        """Show the bar."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.total, self.ended, self.progress = total, 0, Progress(*columns, console=self.console)
        self.progress.start()
        self.bar = self.progress.add_task("starting", total=total)

    def started(self, job: Job) -> None:
        """Name it."""
        self.running.append(job.title)
        self._show()

    def left(self, job: Job) -> None:
        """No longer named."""
        self.running.remove(job.title)

    def finished(self, done: Done[Any]) -> None:
        """One step on."""
        self.ended += 1
        self.running.remove(done.job.title)
        self._show()
        self.progress.advance(self.bar)
        if not self.console.is_terminal:  # a log shows no bar
            self.console.print(f"{self.ended}/{self.total} {done.job.title}")
        if done.error:
            self.progress.console.print(f"[red]{done.job.title} failed[/]\n{done.error}", highlight=False)

    def end(self) -> None:
        """Leave the bar as it is."""
        self.progress.stop()

    def _show(self) -> None:
        self.progress.update(self.bar, description="  +  ".join(self.running) or "finishing")


def carry_out(study: Study, out: Path, *, workers: int, fresh: bool, figure: Path | None, console: Console) -> Path | None:
    """The page's path; None where a job failed (there may be a page of the others). figure: where to put the overview too."""
    start = time.perf_counter()
    done: list[Done[Any]] = []
    try:
        for part in study.parts():
            store = records_of(part, out / "records")
            done += run_all(part.jobs, part.work, store, workers=workers, fresh=fresh, watcher=Bar(console))
    except OSError as error:
        console.print(f"[red]{error}[/]")
        return None
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
