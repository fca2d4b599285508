"""Run the jobs that have no record yet, a few at a time, each once however many commands share the folder."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from .describe import fingerprint
from .files import Claimed, write
from .store import Job, Record, Store

Result = TypeVar("Result")
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Done(Generic[Result]):
    """A job with its record, or with the traceback of what stopped it; with neither while another process runs it."""

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


class Watcher:
    """Is told what goes on. This one prints a line for every job that ends."""

    def why(self, error: str) -> str:
        """The traceback; its last line where it was told before."""
        told: set[str] = vars(self).setdefault("_told", set())  # of subclasses too, whatever their __init__ does
        known = error in told
        told.add(error)
        return f"as before: {error.rstrip().splitlines()[-1]}" if known else error

    def say(self, text: str) -> None:
        """What a reader should know."""
        print(text, flush=True)

    def begin(self, total: int) -> None:
        """So many jobs will be run."""
        self.total, self.ended = total, 0

    def started(self, job: Job) -> None:
        """A worker takes it."""

    def finished(self, done: Done[Any]) -> None:
        """It has a record, or failed."""
        self.ended += 1
        self.say(f"{self.ended}/{self.total} {done.job.title}" + (f" failed\n{self.why(done.error)}" if done.error else ""))

    def left(self, job: Job) -> None:
        """Another process runs it."""

    def end(self) -> None:
        """Nothing runs any more."""


def run_all(
    jobs: Sequence[Job],
    work: Callable[[Any], Result],
    store: Store[Result],
    *,
    workers: int = 1,
    fresh: bool = False,
    watcher: Watcher | None = None,
    device: str = "cpu",
) -> list[Done[Result]]:
    """Every job's record, in the order of ``jobs``: from the store where it has one, else from a run.

    Each run is one process with one thread, and saves its own record, so that an interrupt loses only what was running. A job
    that another command runs in the same folder is left to it, and awaited. workers = 1 stays in this process; with more,
    joblib runs them, on loky or on the backend that ``joblib.parallel_config`` names around the call.
    Raises: OSError where there is something to run and no record can be written.
    """
    watcher = watcher or Watcher()
    done = {} if fresh else {fingerprint(job): Done(job, record) for job in jobs if (record := store.load(job))}
    missing = [job for job in jobs if fingerprint(job) not in done]
    watcher.say(_plan(len(jobs), len(done), store, fresh))
    if missing:
        _try(store.directory)
        watcher.begin(len(missing))
        try:
            done |= _each(missing, Once(work, store, device, fresh), workers, watcher)
            left = [job for job in missing if fingerprint(job) not in done]
            done |= _each(left, Once(work, store, device, wait=True), workers, watcher)
        finally:
            watcher.end()
    return [done[fingerprint(job)] for job in jobs]


@dataclass(frozen=True, eq=False)  # schedulers put functions into sets
class Once(Generic[Result]):
    """Run a job and save its record, unless another process has done so. wait: for one that is at it; else it is left to it."""

    work: Callable[[Any], Result]
    store: Store[Result]
    device: str
    fresh: bool = False
    wait: bool = False

    def __call__(self, job: Job) -> Done[Result]:
        """As Done."""
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with self.store.claim(job, self.wait):
                if not self.fresh and (record := self.store.load(job)):
                    return Done(job, record)
                start = time.perf_counter()
                result = self.work(job)
                return Done(job, self.store.save(job, result, time.perf_counter() - start, self.device))
        except Claimed:
            return Done(job, None)
        except Exception:
            return Done(job, None, traceback.format_exc())
        finally:
            torch.set_num_threads(threads)


def _each(jobs: Sequence[Job], once: Once[Result], workers: int, watcher: Watcher) -> dict[str, Done[Result]]:
    def feed() -> Iterator[Job]:
        for job in jobs:  # taken when a worker falls free
            watcher.started(job)
            yield job

    ended = {}
    for done in map(once, feed()) if workers == 1 else _parallel(feed(), once, workers):
        if done.record or done.error:
            ended[fingerprint(done.job)] = done
            watcher.finished(done)
        else:
            watcher.left(done.job)
    return ended


def _parallel(jobs: Iterator[Job], once: Once[Result], workers: int) -> Iterator[Done[Result]]:
    try:
        import joblib
    except ImportError as error:
        raise ImportError("more than one worker needs joblib: pip install 'geosam[ablation]', or use workers=1") from error
    options: dict[str, Any] = {"n_jobs": workers, "pre_dispatch": workers, "batch_size": 1}
    try:
        parallel = joblib.Parallel(return_as="generator_unordered", **options)
    except ValueError:  # the backend hands out no result before all are there
        parallel = joblib.Parallel(**options)
    found: Iterator[Done[Result]] = iter(parallel(joblib.delayed(once)(job) for job in jobs))
    return found


def _plan(total: int, found: int, store: Store[Any], fresh: bool) -> str:
    text = f"{total} runs: {found} have a record in {store.directory}, {total - found} to do"
    text += " (fresh: records are not used)" if fresh else ""
    if store.broken:
        text += f"\n{len(store.broken)} broken or partial, done again:"
        text += "".join(f"\n  {path.name}: {why}" for path, why in store.broken.items())
    return text


def _try(folder: Path) -> None:
    probe = folder / f".probe-{os.getpid()}"
    try:
        write(probe, b"")
        probe.unlink()
    except OSError as error:
        raise type(error)(
            f"no record can be written into {folder} ({error.strerror or error}): choose another folder, or make it writable"
        ) from error
