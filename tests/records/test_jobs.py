"""What is run, what is read, and what one failure does to the others."""

import io
from dataclasses import dataclass

import pytest
from pydantic import BaseModel
from rich.console import Console

from experiments.common.runner import Bar
from geosam.records import Store, run_all
from geosam.records.jobs import Once


class Number(BaseModel):
    value: float


@dataclass(frozen=True)
class Job:
    seed: int

    @property
    def title(self):
        return f"job {self.seed}"


@dataclass(frozen=True)
class Named:
    title: str
    seed: int


class Work:
    """Squares the seed, and remembers which it saw. Seed 13 fails, seed 99 is interrupted."""

    def __init__(self):
        self.seen = []

    def __call__(self, job):
        self.seen.append(job.seed)
        if job.seed == 13:
            raise ZeroDivisionError("unlucky")
        if job.seed == 99:
            raise KeyboardInterrupt
        return Number(value=job.seed**2)


@pytest.fixture
def call(tmp_path):
    def run(seeds, fresh=False):
        work, text = Work(), io.StringIO()
        store = Store(tmp_path, Number)
        done = run_all([Job(s) for s in seeds], work, store, workers=1, fresh=fresh, watcher=Bar(Console(file=text)))
        return [None if d.record is None else d.record.result.value for d in done], work.seen, text.getvalue()

    return run


def test_results_keep_the_order_of_the_jobs(call):
    call([2])
    values, seen, _ = call([3, 2, 1])
    assert values == [9, 4, 1]
    assert sorted(seen) == [1, 3]


def test_a_second_call_runs_nothing_and_fresh_runs_everything(call):
    call([1, 2])
    assert call([1, 2])[1] == []
    assert sorted(call([1, 2], fresh=True)[1]) == [1, 2]


def test_one_failure_leaves_the_others_and_is_shown(call):
    values, _, text = call([1, 13, 2])
    assert values == [1, None, 4]
    assert "ZeroDivisionError: unlucky" in text
    assert call([1, 13, 2])[1] == [13]


def test_an_interrupt_keeps_what_is_finished(call):
    with pytest.raises(KeyboardInterrupt):
        call([1, 2, 99, 3])
    assert sorted(call([1, 2, 3])[1]) == [3]


def test_a_broken_record_is_named_and_done_again(call, tmp_path):
    call([1, 2])
    (path,) = tmp_path.glob("job-2-*.json")
    path.write_text(path.read_text()[:50])
    values, seen, text = call([1, 2])
    assert (values, seen) == ([1, 4], [2])
    assert "1 broken or partial" in text


def test_a_scheduler_may_put_the_work_into_a_set(tmp_path):
    """As joblib's backend for Dask does."""
    assert len({Once(Work(), Store(tmp_path, Number), "cpu"), Once(Work(), Store(tmp_path, Number), "cpu")}) == 2


def test_a_traceback_is_told_once(tmp_path):
    text, fails = io.StringIO(), Work()
    jobs = [Job(13), Named("again", 13)]
    run_all(jobs, fails, Store(tmp_path, Number), watcher=Bar(Console(file=text, width=200)))
    said = text.getvalue()
    assert said.count("Traceback") == 1 and "again failed\nas before: ZeroDivisionError: unlucky" in said
