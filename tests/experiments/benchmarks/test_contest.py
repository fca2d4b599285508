"""A race within a budget: what fails, is too slow or was stopped before is left out with its reason."""

from dataclasses import replace

import torch

from experiments.benchmarks import contest as module
from experiments.benchmarks.contest import contest
from experiments.common.timing import Job
from tests.experiments.hand import Hand

CPU = torch.device("cpu")


def test_a_job_that_fails_or_is_too_slow_is_left_out_with_its_reason(light, turn, monkeypatch):
    def fails():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 18.70 GiB.\nMore words")

    def later(calls=iter(range(9))):
        if next(calls) > 3:
            raise ValueError("only in the race")

    hand = Hand()
    monkeypatch.setattr(module, "PROCESS", hand.clock)
    jobs = {
        "floor": lambda: Job("floor", hand.takes(1.0)),
        "fails": lambda: Job("fails", fails),
        "is not made": not_made,
        "slow": lambda: Job("slow", hand.takes(1e6)),
        "later": lambda: Job("later", later),
        "stopped": lambda: Job("stopped", lambda: 1 / 0),
        "runs": lambda: Job("runs", hand.takes(2.0)),
    }
    raced = contest(jobs, 1, CPU, replace(turn, stopped={"stopped": "the process ended with -9"}))
    assert set(raced["jobs"]) == {"floor", "floor (again)", "runs"}
    assert raced["left_out"] == {
        "stopped": "the process ended with -9",
        "fails": "OutOfMemoryError: CUDA out of memory. Tried to allocate 18.70 GiB.",
        "is not made": "ZeroDivisionError: division by zero",
        "slow": "too slow for 5 rounds: 1e+03 s, 1.0 MB",
        "later": "ValueError: only in the race, in the race",
    }


def not_made() -> Job:
    raise ZeroDivisionError("division by zero")


def test_without_its_floor_there_is_no_race(light, turn):
    raced = contest({"floor": not_made, "runs": lambda: Job("runs", lambda: None)}, 1, CPU, turn)
    assert raced == {"left_out": {"floor": "ZeroDivisionError: division by zero"}}


def test_where_no_time_is_left_nothing_is_tried(turn):
    over = replace(turn, until=0.0)
    assert contest({"floor": not_made}, 1, CPU, over) == {"left_out": {"floor": "no time was left to try it"}}
