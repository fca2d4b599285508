"""Carry a study out: run its jobs, then write its page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from geosam.ablation.report import Page, Shown, write_page
from geosam.records import Done, Finished, Job, Store, Watcher, fingerprint, run_all, write, write_json

from .study import Part, Result, Study

COMMAND = "command.json"


def records_of(part: Part[Result], folder: Path) -> Store[Result]:
    """Where a part of a study has its records, in the folder of all of them."""
    return Store(folder / part.folder, part.result)


def configured(study: Study) -> str:
    """The name of the folder of this configuration's page: no other configuration writes there."""
    jobs = [job for part in study.parts() for job in part.jobs]
    return f"{len(jobs)}-runs-{fingerprint(jobs)}"


def keep(folder: Path, options: Mapping[str, Any]) -> None:
    """The options of a study's command, beside its page: ``experiments report`` makes the study of them again."""
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    write_json(folder / COMMAND, plain)


def found(study: Study, out: Path) -> tuple[Page, Finished] | None:
    """The page of the records in ``out``, as ``carry_out`` would write it; None where there are none. Runs nothing."""
    folder = out / "records" if (out / "records").is_dir() else out
    done = [Done(job, records_of(part, folder).load(job)) for part in study.parts() for job in part.jobs]
    finished = Finished(done)
    page = study.page(finished) if finished.records else None
    return None if page is None else (page, finished)


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
            self.progress.console.print(f"[red]{done.job.title} failed[/]\n{self.why(done.error)}", highlight=False)

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
    page = study.page(finished)
    if page is None:
        console.print(f"[red]No report: {len(finished.failed)} of {len(done)} jobs failed. The others have their records.[/]")
        return None
    path = publish(page, finished, out / configured(study), figure, console)
    console.print(f"{path}  ({time.perf_counter() - start:.0f} s)")
    return None if finished.failed else path


def publish(page: Page, shown: Shown, folder: Path, figure: Path | None, console: Console) -> Path:
    """Write ``report.html`` into the folder, and say what the page says to a terminal. figure: where its picture goes too."""
    path = write_page(folder / "report.html", page, shown)
    if figure is not None and page.picture is not None:
        write(figure, (folder / "figures" / f"{page.picture.name}.png").read_bytes())
    for line in page.said:
        console.print(line)
    return path
