"""Fingerprints: equal exactly when the configurations mean the same."""

import json
from dataclasses import dataclass, field, replace

import pytest

import geosam
from experiments.common.training import Training
from experiments.compare.config import Config, Run
from experiments.compare.methods import METHODS
from geosam.metrics import Blockwise, Euclidean, Fisher, ParameterScaled, Relative
from geosam.records import LATER, describe, fingerprint
from geosam.records.describe import name


def test_equal_configurations_share_a_fingerprint():
    assert [fingerprint(run) for run in Config().runs()] == [fingerprint(run) for run in Config().runs()]


def test_every_run_of_the_study_has_its_own():
    keys = [fingerprint(run) for run in Config().runs()]
    assert len(set(keys)) == len(keys) == len(METHODS) * 3


@pytest.mark.parametrize(
    "change",
    [{"lr": 0.1}, {"epochs": 25}, {"label_noise": 0.2}, {"split_seed": 1}, {"weight_decay": 0.0}],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_setting_changes_it(change):
    run = Config().runs()[0]
    assert fingerprint(replace(run, training=replace(run.training, **change))) != fingerprint(run)


def test_a_changed_metric_changes_it():
    assert fingerprint(ParameterScaled(eta=0.01)) != fingerprint(ParameterScaled(eta=0.1))


def test_only_the_run_with_snapshots_depends_on_them():
    config = Config()
    fewer = replace(config, snapshots=replace(config.snapshots, parts=(1.0,)))
    changed = [a.method.name for a, b in zip(config.runs(), fewer.runs(), strict=True) if fingerprint(a) != fingerprint(b)]
    assert changed == [config.snapshots.method] * len(config.seeds)


def test_nothing_in_it_changes_from_process_to_process():
    text = json.dumps([describe(run) for run in Config().runs()])
    assert " at 0x" not in text
    assert "<" not in text


@pytest.mark.parametrize("page", ["words", "words of fun\n" * 9, "a \\ b\n(" + "it's\n" * 3, '"""'])
def test_a_function_that_a_page_of_text_defines(page, tmp_path):
    """Its file is no Python, as where the code of a manual is run: what was compiled counts."""
    path, names = tmp_path / "page.md", {"__name__": "page"}
    path.write_text(page)

    def made(code):
        exec(compile(code, str(path), "exec"), names)
        return fingerprint(names["f"])

    lines = "\ndef f(x):\n    return {} * x\n"
    assert made(lines.format(2)) == made(lines.format(2)) != made(lines.format(3))


def test_the_order_of_selectors_matters():
    one, other = {"a*": (Euclidean(), 1.0), "*": (Euclidean(), 0.0)}, {"*": (Euclidean(), 0.0), "a*": (Euclidean(), 1.0)}
    assert fingerprint(Blockwise(one)) != fingerprint(Blockwise(other))


@dataclass(frozen=True)
class Grown:
    old: int
    new: float | None = field(default=None, metadata=LATER)


def test_a_field_that_came_later_counts_where_it_is_set():
    assert set(describe(Grown(1))) == {"type", "code", "old"} and describe(Grown(1, 2.0))["new"] == 2.0


def test_names_are_those_that_a_user_imports():
    described = describe(Fisher())
    assert (described["type"], described["damping"]["type"]) == ("geosam.metrics.Fisher", "geosam.metrics.Relative")
    assert described["engine"]["type"] == "geosam.engines.Auto"
    assert describe(ParameterScaled())["where"] == "geosam.metrics.matrices"
    assert name(geosam.SAM) == "geosam.SAM" and name(geosam.solve) == "geosam.solvers.solve"
    assert describe(Training())["type"] == "experiments.common.Training"


@pytest.mark.parametrize("value", [Fisher(), Relative(0.1), Euclidean(), Training()], ids=lambda v: type(v).__name__)
def test_a_class_whose_file_moves_keeps_its_name(value, monkeypatch):
    before = fingerprint(value)
    home = type(value).__module__.split(".")
    monkeypatch.setattr(type(value), "__module__", ".".join([*home[:-1], "another", "file"]))
    assert fingerprint(value) == before


def test_what_geosam_keeps_private_has_no_name():
    def private():
        """Not exported."""

    private.__module__, private.__qualname__ = "geosam.core.vectors", "private"
    with pytest.raises(TypeError, match=r"geosam\.core\.vectors\.private has no public name"):
        name(private)


def test_two_things_of_one_name_in_a_study_are_refused():
    @dataclass(frozen=True)
    class Twin:
        """Of the shared configuration, by name."""

    name(Training)
    Twin.__module__, Twin.__qualname__ = "experiments.common.other", "Training"
    with pytest.raises(TypeError, match=r"would be called experiments\.common\.Training in records: rename one"):
        describe(Twin())


@pytest.mark.parametrize("value", [object(), iter([1])], ids=["object", "iterator"])
def test_what_has_no_stable_description_is_refused(value):
    with pytest.raises(TypeError, match="cannot describe"):
        describe(value)


def test_a_warmup_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="warmup"):
        Training(epochs=2, warmup=2)


def test_the_description_holds_all_that_a_run_depends_on():
    assert set(describe(Config().runs()[0])) == {"type", *Run.__dataclass_fields__}
