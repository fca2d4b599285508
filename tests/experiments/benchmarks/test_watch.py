"""A worker that dies or hangs costs the job that it died in, and no other; the record is there after every job."""

import os
import sys

import pytest

from experiments.benchmarks import watch
from experiments.benchmarks.watch import watched
from experiments.common.files import ROOT

# Three jobs in two parts. "bad" kills its process or never ends; a light worker, without torch.
WORKER = """
import json, os, sys, time
from pathlib import Path
path, act = Path(sys.argv[1]), sys.argv[2]
record = json.loads(path.read_text()) if path.exists() else {}
def write(**changed):
    record.update(changed)
    path.with_suffix(".new").write_text(json.dumps(record))
    path.with_suffix(".new").replace(path)
for title, jobs in {"first": ["good", "bad"], "second": ["good"]}.items():
    if title in record:
        continue
    stopped, done = record.get("stopped", {}).get(title, {}), []
    for job in jobs:
        write(at=[title, job, "its own reason" if act == "spoil" else ""])
        if job in stopped:
            continue
        if job == "bad":
            time.sleep(60) if act == "hang" else os._exit(9)
        done.append(job)
    write(**{title: done})
record.pop("at")
write()
"""


@pytest.mark.parametrize(
    "act, how", [("die", "the process ended with 9"), ("hang", "stopped: no word for"), ("spoil", "its own reason")]
)
def test_another_worker_goes_on_without_the_job_that_one_died_in(act, how, tmp_path, monkeypatch):
    monkeypatch.setattr(watch, "PATIENCE", 0.6)
    monkeypatch.setattr(watch, "POLL", 0.02)
    path, seen = tmp_path / "result.json", []
    record = watched(lambda left: [sys.executable, "-c", WORKER, str(path), act], os.environ, ROOT, path, 60.0, seen.append)
    assert record["first"] == ["good"] and record["second"] == ["good"] and "at" not in record
    assert record["stopped"]["first"]["bad"].startswith(how)
    assert any("first" not in each for each in seen)  # kept before the first part was done


def test_a_worker_that_cannot_start_ends_the_run(tmp_path):
    record = watched(
        lambda left: [sys.executable, "-c", "1 / 0"], os.environ, ROOT, tmp_path / "none", 60.0, lambda record: None
    )
    assert record == {"died": "the process ended with 1"}
