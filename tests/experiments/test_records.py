"""The committed records: each is found by the configuration that made it, and none is left over."""

import json
from dataclasses import replace
from importlib import import_module

import pytest

from experiments.benchmarks.command import NAMES, RECORDS
from experiments.bound.study import Bound
from experiments.common.ablations import control, study
from experiments.common.options import Options
from experiments.common.runner import COMMAND, records_of
from experiments.common.study import Study
from experiments.compare.study import Compare
from experiments.frontier.config import Config, small
from experiments.frontier.study import Frontier
from experiments.match.study import Matched
from experiments.overhead.study import study as overhead
from experiments.toy.config import Config as Toy
from geosam.ablation import read
from geosam.records import Store, describe, fingerprint

ROOT = RECORDS.parent
STUDIES: dict[str, tuple[list[Study], int]] = {
    "bound": ([Bound()], 12),
    "compare": ([Compare()], 36),
    "match": ([Matched(3)], 36),
    "overhead": ([overhead("small", None, "cpu", quick=False)], 1),
    "frontier": ([Frontier(replace(config, seeds=(0, 1, 2))) for config in (Config(), small())], 12),
}

STUDIED = ("budget", "classify", "finetune", "magnitude", "natural", "noise", "perturb", "sensitivity", "twotower")
ABLATIONS = {"fast": ("small", "tiny")} | dict.fromkeys(STUDIED, ("digits",))


@pytest.mark.parametrize("name", STUDIES)
def test_every_record_is_found_by_its_configuration(name):
    studies, count = STUDIES[name]
    parts = [part for study in studies for part in study.parts()]
    stores = [(records_of(part, ROOT / name), job) for part in parts for job in part.jobs]
    assert [job.title for store, job in stores if store.load(job) is None] == [] and len(stores) == count
    kept = {path for path in (ROOT / name).rglob("*") if path.is_file() and path.name != COMMAND}
    assert {store.path(job) for store, job in stores} == kept


@pytest.mark.parametrize("name, presets", ABLATIONS.items())
def test_every_record_of_an_ablation_is_found_by_its_configuration(name, presets):
    made = [study(import_module(f"experiments.{name}.presets"), preset, Options(), False) for preset in presets]
    assert {path.name for path in (ROOT / name).iterdir()} == {each.folder(ROOT / name).name for each in made}
    for each in made:
        for setting, ablation in each.settings.items():
            folder = each.folder(ROOT / name) / setting
            store = Store(folder / "records", dict)
            jobs = [*ablation.runs(), *control(ablation, read(folder))]
            assert [job.title for job in jobs if store.load(job) is None] == []
            assert {store.path(job) for job in jobs} == set(store.directory.iterdir())


def test_the_summary_of_the_toy_is_that_of_its_configuration():
    kept = json.loads((ROOT / "toy" / "summary.json").read_text())
    assert (kept["key"], kept["config"]) == (fingerprint(Toy()), describe(Toy()))


def test_no_file_is_left_over():
    assert {path.name for path in ROOT.iterdir()} == {*STUDIES, *ABLATIONS, "toy", "benchmarks"}
    assert [path.name for path in (ROOT / "toy").iterdir()] == ["summary.json"]
    for path in RECORDS.iterdir():  # "accelerator-h200" is a record of accelerator
        name = path.stem.partition("-")[0]
        assert name in NAMES and json.loads(path.read_text())["name"] == name
