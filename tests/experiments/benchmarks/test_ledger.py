"""Parts of a record: written as they end, not done again, and not harmed by one that fails."""

import json

import pytest
import torch

from experiments.benchmarks import ledger as module
from experiments.benchmarks.ledger import SPOILED, Ledger, Part

CPU = torch.device("cpu")


def test_parts_are_written_as_they_end_and_not_done_again(tmp_path):
    path, seen = tmp_path / "record.json", []

    def fails(turn):
        turn.trying("a job", "")
        seen.append(json.loads(path.read_text()))
        raise ValueError("no\nmore words")

    path.write_text(json.dumps({"done": 1, "stopped": {"died": {"": "the process ended with 9"}}}))
    parts = {
        "done": Part(1.0, pytest.fail),
        "died": Part(1.0, pytest.fail),
        "fails": Part(1.0, fails),
        "runs": Part(3.0, lambda turn: dict(turn.stopped)),
    }
    Ledger(path).go_through(parts, 100.0)
    assert seen == [
        {"done": 1, "stopped": {"died": {"": "the process ended with 9"}}, "died": {"failed": "the process ended with 9"}}
        | {"at": ["fails", "a job", ""]}
    ]
    record = json.loads(path.read_text())
    assert record["fails"] == {"failed": "ValueError: no"} and record["runs"] == {} and "at" not in record


def test_a_part_has_its_share_of_the_seconds_that_are_left(tmp_path, monkeypatch):
    until = []
    monkeypatch.setattr(module.time, "monotonic", lambda: 0.0)
    note = Part(1.0, lambda turn: until.append(turn.until))
    Ledger(tmp_path / "record.json").go_through({"a": note, "b": Part(3.0, note.run)}, 100.0)
    assert until == [25.0, 100.0]  # no time has passed: all of it is left for the last one


def test_a_device_that_is_spoiled_ends_the_worker(turn, monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    turn.go_on(CPU)
    with pytest.raises(SystemExit) as end:
        turn.go_on(torch.device("cuda"))
    assert end.value.code == SPOILED
