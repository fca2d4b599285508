"""A race within a budget: what fails, is too slow or never ends is left out with its reason."""

import time

import torch

from experiments.benchmarks import budget
from experiments.benchmarks.budget import contest
from experiments.common.timing import Job
from tests.experiments.hand import Hand

CPU = torch.device("cpu")


def test_a_job_that_fails_or_is_too_slow_is_left_out_with_its_reason(light, monkeypatch):
    def fails():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 18.70 GiB.\nMore words")

    hand = Hand()
    monkeypatch.setattr(budget, "PROCESS", hand.clock)
    jobs = [Job("floor", hand.takes(1.0)), Job("fails", fails), Job("slow", hand.takes(1e6)), Job("runs", hand.takes(2.0))]
    raced = contest(jobs, 1, CPU, time.monotonic() + 1000)
    assert set(raced["jobs"]) == {"floor", "floor (again)", "runs"}
    assert raced["left_out"] == {
        "fails": "OutOfMemoryError: CUDA out of memory. Tried to allocate 18.70 GiB.",
        "slow": "too slow for 5 rounds: 1e+03 s, 1.0 MB",
    }


def test_a_job_without_end_is_stopped_also_where_the_first_alarm_is_lost(light, monkeypatch):
    monkeypatch.setattr(budget, "AGAIN", 0.05)
    lost = []

    def endless():
        try:
            time.sleep(60)
        except TimeoutError as error:
            lost.append(error)
        time.sleep(60)

    raced = contest([Job("floor", endless)], 1, CPU, time.monotonic() + 0.2)
    assert lost and raced["left_out"]["floor"].startswith("TimeoutError: not done after 0 s")


def test_without_its_floor_there_is_no_race(light):
    raced = contest([Job("floor", lambda: 1 / 0), Job("runs", lambda: None)], 1, CPU, time.monotonic() + 10)
    assert raced == {"left_out": {"floor": "ZeroDivisionError: division by zero"}}
