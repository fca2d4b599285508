"""The committed records: each is found by the configuration that made it, and none is left over."""

import json

import pytest

from experiments.benchmarks.command import NAMES, RECORDS
from experiments.bound.study import Bound
from experiments.common.runner import records_of
from experiments.common.study import Study
from experiments.compare.study import Compare
from experiments.frontier.config import Config
from experiments.frontier.study import Frontier
from experiments.toy.config import Config as Toy
from geosam.records import describe, fingerprint

ROOT = RECORDS.parent
STUDIES: dict[str, tuple[Study, int]] = {
    "bound": (Bound(), 12),
    "compare": (Compare(), 36),
    "frontier": (Frontier(Config(seeds=(0, 1, 2))), 6),
}


@pytest.mark.parametrize("name", STUDIES)
def test_every_record_is_found_by_its_configuration(name):
    study, count = STUDIES[name]
    (part,) = study.parts()
    store = records_of(part, ROOT / name)
    assert [job.title for job in part.jobs if store.load(job) is None] == [] and len(part.jobs) == count
    assert {store.path(job) for job in part.jobs} == set((ROOT / name).iterdir())


def test_the_summary_of_the_toy_is_that_of_its_configuration():
    kept = json.loads((ROOT / "toy" / "summary.json").read_text())
    assert (kept["key"], kept["config"]) == (fingerprint(Toy()), describe(Toy()))


def test_no_file_is_left_over():
    assert {path.name for path in ROOT.iterdir()} == {*STUDIES, "toy", "benchmarks"}
    assert [path.name for path in (ROOT / "toy").iterdir()] == ["summary.json"]
    for path in RECORDS.iterdir():  # "accelerator-h200" is a record of accelerator
        name = path.stem.partition("-")[0]
        assert name in NAMES and json.loads(path.read_text())["name"] == name
