"""Records are written whole, and used only when whole and of the run that is asked for."""

import json
import os
from dataclasses import dataclass

import pytest
from pydantic import BaseModel

from geosam.records import Store, fingerprint, write


class Number(BaseModel):
    value: float


@dataclass(frozen=True)
class Job:
    seed: int

    @property
    def title(self):
        return f"Job η, seed {self.seed}"


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "records", Number)


def test_a_record_comes_back_as_it_was(store):
    saved = store.save(Job(0), Number(value=0.1 + 0.2), 1.5)
    assert store.load(Job(0)) == saved
    assert (saved.key, saved.seed, saved.result.value) == (fingerprint(Job(0)), 0, 0.1 + 0.2)
    assert saved.provenance.versions["torch"]


def test_a_run_without_a_record_is_not_broken(store):
    assert store.load(Job(0)) is None
    assert store.broken == {}


def _cut(text):
    return text[: len(text) // 2]


def _without_result(text):
    return json.dumps({k: v for k, v in json.loads(text).items() if k != "result"})


def _of_another_seed(text):
    return json.dumps({**json.loads(text), "config": {**json.loads(text)["config"], "seed": 7}})


@pytest.mark.parametrize(
    "spoil", [_cut, _without_result, _of_another_seed, lambda text: ""], ids=["cut", "part", "other", "empty"]
)
def test_a_record_that_cannot_be_used_is_none_and_is_named(store, spoil):
    store.save(Job(0), Number(value=1.0), 1.0)
    path = store.path(Job(0))
    path.write_text(spoil(path.read_text()))
    assert store.load(Job(0)) is None
    assert list(store.broken) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write(path, b"old")

    def fail(*_):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
