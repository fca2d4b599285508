"""The committed records: each is found by the configuration that made it, and none is left over."""

import json

import pytest

from experiments.benchmarks.__main__ import NAMES
from experiments.benchmarks.record import RECORDS
from experiments.bound import config as bound
from experiments.bound.result import Outcome as BoundOutcome
from experiments.compare import config as compare
from experiments.compare.result import Outcome as CompareOutcome
from experiments.describe import describe, fingerprint
from experiments.frontier import config as frontier
from experiments.frontier.result import Outcome as FrontierOutcome
from experiments.store import Record, Store
from experiments.toy.config import Study as Toy

ROOT = RECORDS.parent
STUDIES = {
    "bound": (bound.Study(), BoundOutcome, 12),
    "compare": (compare.Study(), CompareOutcome, 36),
    "frontier": (frontier.Study(seeds=(0, 1, 2)), FrontierOutcome, 6),
}


@pytest.mark.parametrize("name", STUDIES)
def test_every_record_is_found_by_its_configuration(name):
    study, outcome, count = STUDIES[name]
    store, runs = Store(ROOT / name, Record[outcome]), study.runs()
    missing = [run.title for run in runs if store.load(run) is None]
    assert missing == [] and len(runs) == count
    assert {store.path(run) for run in runs} == set((ROOT / name).iterdir())


def test_the_summary_of_the_toy_is_that_of_its_study():
    kept = json.loads((ROOT / "toy" / "summary.json").read_text())
    assert (kept["key"], kept["config"]) == (fingerprint(Toy()), describe(Toy()))


def test_no_file_is_left_over():
    assert {path.name for path in ROOT.iterdir()} == {*STUDIES, "toy", "benchmarks"}
    assert [path.name for path in (ROOT / "toy").iterdir()] == ["summary.json"]
    assert {path.stem for path in RECORDS.iterdir()} <= set(NAMES)
    for path in RECORDS.iterdir():
        assert json.loads(path.read_text())["name"] == path.stem
