"""Fingerprints: equal exactly when the configurations mean the same."""

import json
from dataclasses import replace

import pytest

from experiments.compare.config import Run, Study, Training
from experiments.compare.methods import METHODS
from experiments.describe import describe, fingerprint
from geosam.metrics import Blockwise, Euclidean, ParameterScaled


def test_equal_configurations_share_a_fingerprint():
    assert [fingerprint(run) for run in Study().runs()] == [fingerprint(run) for run in Study().runs()]


def test_every_run_of_the_study_has_its_own():
    keys = [fingerprint(run) for run in Study().runs()]
    assert len(set(keys)) == len(keys) == len(METHODS) * 3


@pytest.mark.parametrize(
    "change",
    [{"lr": 0.1}, {"epochs": 25}, {"label_noise": 0.2}, {"split_seed": 1}, {"weight_decay": 0.0}],
    ids=lambda change: next(iter(change)),
)
def test_a_changed_setting_changes_it(change):
    run = Study().runs()[0]
    assert fingerprint(replace(run, training=replace(run.training, **change))) != fingerprint(run)


def test_a_changed_metric_changes_it():
    assert fingerprint(ParameterScaled(eta=0.01)) != fingerprint(ParameterScaled(eta=0.1))


def test_only_the_run_with_snapshots_depends_on_them():
    study = Study()
    fewer = replace(study, snapshots=replace(study.snapshots, parts=(1.0,)))
    changed = [a.method.name for a, b in zip(study.runs(), fewer.runs(), strict=True) if fingerprint(a) != fingerprint(b)]
    assert changed == [study.snapshots.method] * len(study.seeds)


def test_nothing_in_it_changes_from_process_to_process():
    text = json.dumps([describe(run) for run in Study().runs()])
    assert " at 0x" not in text
    assert "<" not in text


def test_the_order_of_selectors_matters():
    one, other = {"a*": (Euclidean(), 1.0), "*": (Euclidean(), 0.0)}, {"*": (Euclidean(), 0.0), "a*": (Euclidean(), 1.0)}
    assert fingerprint(Blockwise(one)) != fingerprint(Blockwise(other))


def test_a_function_is_named_by_its_path():
    assert describe(ParameterScaled())["where"] == "geosam.metrics.parameter_scaled.matrices"


@pytest.mark.parametrize("value", [lambda name, parameter: True, object(), {1, 2}], ids=["lambda", "object", "set"])
def test_what_has_no_stable_description_is_refused(value):
    with pytest.raises(TypeError, match="cannot describe"):
        describe(value)


def test_a_warmup_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="warmup"):
        Training(epochs=2, warmup=2)


def test_the_description_holds_all_that_a_run_depends_on():
    assert set(describe(Study().runs()[0])) == {"type", *Run.__dataclass_fields__}
