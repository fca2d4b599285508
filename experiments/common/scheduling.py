"""Run the jobs that have no record yet, a few at a time, and show what runs and what is left."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import joblib
import torch
from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from .describe import fingerprint
from .store import Job, Record, Store

Result = TypeVar("Result", bound=BaseModel)
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Done(Generic[Result]):
    """A job with its record, or with the traceback of what stopped it."""

    job: Job
    record: Record[Result] | None
    error: str | None = None


@dataclass(frozen=True)
class Finished:
    """All jobs of a study, in its order."""

    done: Sequence[Done[Any]]

    @property
    def records(self) -> list[Record[Any]]:
        """Those there are."""
        return [d.record for d in self.done if d.record is not None]

    @property
    def failed(self) -> list[str]:
        """The titles of the jobs without one."""
        return [d.job.title for d in self.done if d.record is None]

    def of(self, kind: type[Kind]) -> list[tuple[Kind, Record[Any]]]:
        """The jobs of one type that have a record, each with it."""
        return [(d.job, d.record) for d in self.done if isinstance(d.job, kind) and d.record is not None]


def run_all(
    jobs: Sequence[Job],
    work: Callable[[Job], Result],
    store: Store[Result],
    *,
    workers: int,
    fresh: bool,
    console: Console,
) -> list[Done[Result]]:
    """Every job's record, in the order of ``jobs``: from the store where it has one, else from a run.

    Each run is one process with one thread, and saves its own record, so that an interrupt loses only what was running.
    workers = 1 stays in this process.
    """
    done = {} if fresh else {fingerprint(job): Done(job, record) for job in jobs if (record := store.load(job))}
    missing = [job for job in jobs if fingerprint(job) not in done]
    console.print(_plan(len(jobs), len(done), store, fresh))
    if missing:
        done |= _run(missing, work, store, workers, console)
    return [done[fingerprint(job)] for job in jobs]


def _plan(total: int, found: int, store: Store[Result], fresh: bool) -> str:
    text = f"{total} runs: {found} have a record in {store.directory}, {total - found} to do"
    text += " (--fresh: records are not used)" if fresh else ""
    if store.broken:
        text += f"\n{len(store.broken)} broken or partial, done again: {', '.join(path.name for path in store.broken)}"
    return text


def _run(
    jobs: Sequence[Job], work: Callable[[Job], Result], store: Store[Result], workers: int, console: Console
) -> dict[str, Done[Result]]:
    running: list[str] = []
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    done = {}
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("starting", total=len(jobs))

        def show() -> None:
            progress.update(bar, description="  +  ".join(running) or "finishing")

        def feed() -> Iterator[object]:
            for job in jobs:  # joblib takes the next job when a worker falls free
                running.append(job.title)
                show()
                yield joblib.delayed(_one)(job, work, store)

        with joblib.parallel_config("loky", n_jobs=workers, inner_max_num_threads=1):
            parallel = joblib.Parallel(return_as="generator_unordered", pre_dispatch=workers, batch_size=1)
            for result in parallel(feed()):
                done[fingerprint(result.job)] = result
                running.remove(result.job.title)
                show()
                progress.advance(bar)
                if not console.is_terminal:  # a log shows no bar
                    console.print(f"{len(done)}/{len(jobs)} {result.job.title}")
                if result.error:
                    progress.console.print(f"[red]{result.job.title} failed[/]\n{result.error}", highlight=False)
    return done


def _one(job: Job, work: Callable[[Job], Result], store: Store[Result]) -> Done[Result]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start = time.perf_counter()
        result = work(job)
        return Done(job, store.save(job, result, time.perf_counter() - start))
    except Exception:
        return Done(job, None, traceback.format_exc())
    finally:
        torch.set_num_threads(threads)
