"""An ablation from one call: paired, resumed, tuned, and what a failure does to it."""

import json
import math
import pickle
from dataclasses import replace

import pytest
import torch
from joblib.externals.loky.backend.reduction import dumps
from torch import nn

import geosam
from geosam import metrics
from geosam.ablation import Choice, Log, Method, Rule, Sgd, Tuned, read
from geosam.ablation.ablate import planned
from geosam.ablation.carry import Carry
from geosam.ablation.training import Training
from geosam.records import Watcher, fingerprint

WIDTH = 5


class Quiet(Watcher):
    """Keeps what it is told."""

    def __init__(self):
        self.said, self.ran = [], []

    def say(self, text):
        self.said.append(text)

    def started(self, job):
        self.ran.append(job.title)

    def finished(self, done):
        pass


def cloud(n, seed):
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    return x, (x[:, 0] * x[:, 1] > 0).long()


def net(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, WIDTH), nn.Tanh(), nn.Dropout(0.2), nn.Linear(WIDTH, 2))


METHODS = {
    "SGD": None,
    "twice": Method(stretch=2),
    "SAM": metrics.Euclidean(),
    "smoothed": (metrics.Monge(), geosam.objectives.Smoothed(0.9)),
}


def call(folder, methods=METHODS, model=net, watcher=None, **changes):
    settings = {
        "seeds": (0, 1),
        "epochs": 3,
        "warmup": 1,
        "batch": 10,
        "match": geosam.KL(1e-3),
        "test": cloud(20, 2),
        "validation": 0.25,
    }
    return geosam.ablate(model, cloud(40, 1), methods, folder=folder, watcher=watcher or Quiet(), **{**settings, **changes})


def numbers(folder, part="records"):
    """Of every record, all that does not depend on when and how often it was interrupted."""
    found = {}
    for path in sorted((folder / part).glob("*.json")):
        record = json.loads(path.read_text())
        del record["seconds"], record["provenance"], record["result"]["peak_bytes"], record["result"]["seconds"]
        found[path.name] = record
    return found


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ablation")
    return folder, call(folder)


def test_runs_of_equal_seed_share_the_warm_up_and_compute_is_counted(done):
    _, results = done
    at = {(r.result["method"], r.seed): r.result for r in results.records}
    assert len(at) == 8
    assert at["SAM", 0]["epochs"][0] == at["smoothed", 0]["epochs"][0] == at["SGD", 0]["epochs"][0] != at["SAM", 1]["epochs"][0]
    assert [at[name, 0]["passes"] for name in METHODS] == [9, 15, 15, 15]
    assert len(at["twice", 0]["epochs"]) == 3
    rho = at["SAM", 0]["radius"]
    assert len(rho["each"]) == 3 and rho["rho"] == pytest.approx(math.prod(rho["each"]) ** (1 / 3))
    assert all(len(geosam.ablation.wrong(r["test"])) == 20 for r in at.values())
    assert geosam.ablation.wrong(at["SAM", 0]["test"]).mean() == pytest.approx(1 - at["SAM", 0]["test"]["accuracy"])


def drawn(training):
    return {"epoch": training.done, "rho": training.radius and training.radius["rho"], "noise": torch.rand(()).item()}


def test_what_is_looked_at_is_kept_with_its_epoch_and_changes_nothing_else(done, tmp_path):
    _, results = done
    looked = call(tmp_path, look=drawn).epochs()
    sam = looked[looked["method"] == "SAM"]
    assert sam["look epoch"].tolist() == [1, 2, 3] * 2 and sam["look rho"].notna().tolist() == [False, True, True] * 2
    assert looked["loss"].tolist() == results.epochs()["loss"].tolist()


def test_a_second_call_runs_nothing_and_another_seed_only_itself(done):
    folder, results = done
    watcher = Quiet()
    again = call(folder, watcher=watcher)
    assert watcher.ran == [] and again.records == results.records
    call(folder, {"SGD": None, "SAM": metrics.Euclidean()}, seeds=(0, 1, 2), watcher=watcher)
    assert watcher.ran == ["SGD, seed 2", "SAM, seed 2"]
    assert len(read(folder).records) == 10


def test_an_edited_model_or_other_data_are_another_run(done, monkeypatch):
    folder, _ = done
    watcher = Quiet()
    monkeypatch.setitem(globals(), "WIDTH", 6)
    call(folder, {"SGD": None}, seeds=(0,), rule=Rule(against="SGD"), watcher=watcher)
    monkeypatch.undo()
    call(folder, {"SGD": None}, seeds=(0,), rule=Rule(against="SGD"), test=cloud(20, 3), watcher=watcher)
    assert watcher.ran == ["SGD, seed 0"] * 2


def test_the_report_the_frames_and_the_verdicts(done, tmp_path):
    _, results = done
    frame, epochs = results.frame(), results.epochs()
    assert list(frame["method"][:4]) == list(METHODS) and {"accuracy", "loss", "rho", "passes"} <= set(frame)
    assert len(epochs) == 24 and "validation accuracy" in epochs
    verdicts = results.verdicts()
    assert list(verdicts) == ["SGD", "twice", "smoothed"] and all("SAM" in v.claim for v in verdicts.values())
    assert all(
        "chosen after the runs" in v.why for v in results.verdicts(Rule(score="loss", larger=False, against="SAM")).values()
    )
    text = results.report(tmp_path).read_text()
    assert all(name in text for name in METHODS) and "as was fixed before the runs" in text
    assert "Holm" in text and str(results).count("\n") == 6


def test_a_run_goes_on_from_its_checkpoint_to_the_same_numbers(done, tmp_path, monkeypatch):
    folder, _ = done
    real, count = Training._epoch, 0

    def stopped(self, step):
        nonlocal count
        count += 1
        if count % 2 == 0:
            raise KeyboardInterrupt
        return real(self, step)

    monkeypatch.setattr(Training, "_epoch", stopped)
    for _ in range(60):
        try:
            call(tmp_path, checkpoint=0.0)
            break
        except KeyboardInterrupt:
            continue
    assert numbers(tmp_path) == {name: r for name, r in numbers(folder).items() if name in numbers(tmp_path)}
    assert len(numbers(tmp_path)) == 8 and not list((tmp_path / "checkpoints").iterdir())


def test_a_damaged_checkpoint_is_told_and_begun_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(Carry, "__call__", lambda self, run: self._trained(run, None)[1] and 1 / 0)
    with pytest.raises(RuntimeError, match="all 1 runs failed"):
        call(tmp_path, {"SAM": metrics.Euclidean()}, seeds=(0,), checkpoint=0.0)
    monkeypatch.undo()
    (path,) = (tmp_path / "checkpoints").iterdir()
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.warns(UserWarning, match="damaged: the run begins anew"):
        assert call(tmp_path, {"SAM": metrics.Euclidean()}, seeds=(0,)).records


def test_a_model_that_fails_for_one_seed_costs_that_seed(tmp_path):
    def fails(seed):
        if seed == 1:
            raise ZeroDivisionError("no such network")
        return net(seed)

    results = call(tmp_path, {"SGD": None, "SAM": metrics.Euclidean()}, fails, seeds=(0, 1, 2))
    assert set(results.failed) == {"SGD, seed 1", "SAM, seed 1"} and "no such network" in results.failed["SGD, seed 1"]
    assert results.verdicts()["SGD"].interval.n == 2 and "SAM, seed 1 failed: ZeroDivisionError" in str(results)


def test_a_run_that_diverges_decides_nothing(tmp_path):
    diverging = {"SGD": None, "SAM": metrics.Euclidean()}
    results = call(tmp_path, diverging, optimizer=Sgd(lr=1e30, schedule="constant"), warmup=0, match=0.05)
    assert all(record.result["diverged"] for record in results.records)
    assert "diverged from seed 0, 1" in str(results.verdicts()["SGD"]) and results.report(tmp_path)


TUNED = Tuned(trials=3, rho=Choice((0.01, 0.1)), lr=Log(0.01, 0.5), seed=77)


def test_every_method_is_tuned_with_the_same_budget(tmp_path):
    pytest.importorskip("optuna")
    results = call(tmp_path, {"SGD": None, "SAM": metrics.Euclidean()}, match=TUNED)
    tuned = {r.result["method"]: r.result["tuned"] for r in results.records}
    assert [len(t["trials"]) for t in tuned.values()] == [3, 3]
    assert set(tuned["SGD"]["chosen"]) == {"lr"} and set(tuned["SAM"]["chosen"]) == {"lr", "rho"}
    best = max(tuned["SAM"]["trials"], key=lambda trial: trial["value"])
    assert {k: best[k] for k in ("rho", "lr")} == tuned["SAM"]["chosen"]
    trials = numbers(tmp_path, "trials").values()
    assert len(trials) == 6 and all("test" not in trial["result"] for trial in trials)
    assert {r.result["radius"]["rho"] for r in results.records if r.result["radius"]} == {best["rho"]}


def test_the_plan_trains_nothing():
    ablation = planned(net, cloud(40, 1), METHODS, seeds=(0,), epochs=3, warmup=1, batch=10, match=TUNED, validation=0.25)
    plan = ablation.plan()
    assert len(plan) == 4 * 3 + 4 and dict(plan)["SAM, seed 0"] == 15 and dict(plan)["twice, trial 0"] == 15


@pytest.mark.parametrize(
    "changes, error",
    [
        ({"methods": {"a": 3}}, "a method is None"),
        ({"match": "KL"}, "match is a radius"),
        ({"warmup": 3}, "leave an epoch"),
        ({"rule": Rule(against="ASAM")}, "none of the methods"),
        ({"seeds": (1, 1)}, "different numbers"),
        ({"match": replace(TUNED, seed=1)}, "a seed of its own"),
        ({"lr": 0.1}, r"no 'lr': optimizer=geosam\.ablation\.Sgd\(lr="),
        ({"rho": 0.1}, r"no 'rho': geosam\.ablation\.Method\(rho=\.\.\.\) or match=0\.05"),
        ({"epoch": 3}, "no 'epoch': the settings are epochs, warmup"),
        ({"epochs": "10"}, "epochs must be a whole number, got '10'"),
        ({"seeds": 5}, r"such as range\(5\)"),
        ({"test": torch.randn(4, 2)}, r"test is \(x, y\)"),
        ({"optimizer": torch.optim.SGD}, r"such as geosam\.ablation\.Sgd\(lr=0\.1\); got the class SGD"),
        ({"methods": {"SAM": 0.05}}, "a metric, .* or a Method; got 0.05"),
    ],
)
def test_what_makes_no_ablation_is_refused_before_anything_runs(changes, error, tmp_path):
    with pytest.raises((TypeError, ValueError), match=error):
        call(tmp_path, **{"methods": METHODS, **changes})
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_told_first(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"no record can be written into .*file.*another folder"):
        call(tmp_path / "file")


def test_functions_that_travel_by_value_keep_their_records():
    def local(seed):
        return net(seed)

    ablation = planned(local, cloud(40, 1), {"SGD": None, "SAM": metrics.Euclidean()}, seeds=(0,), epochs=2, batch=10)
    travelled = pickle.loads(dumps(ablation.runs()))
    assert [fingerprint(run) for run in travelled] == [fingerprint(run) for run in ablation.runs()]


@pytest.mark.slow
def test_runs_of_two_processes_are_not_run_again_in_one(tmp_path):
    def local(seed):
        return net(seed)

    watcher, methods = Quiet(), {"SGD": None, "SAM": metrics.Euclidean()}
    call(tmp_path, methods, local, seeds=(0,), epochs=2, workers=2, watcher=watcher)
    call(tmp_path, methods, local, seeds=(0,), epochs=2, watcher=watcher)
    assert len(watcher.ran) == 2


def test_without_the_reference_or_test_data_results_say_so(tmp_path):
    results = call(tmp_path, {"SGD": None, "SAM": metrics.Euclidean()}, match=geosam.KL(1e9))
    assert "the reference 'SAM' has no record" in str(results) and "saturates" in str(results)
    assert "no test data" in str(call(tmp_path, {"SGD": None, "SAM": metrics.Euclidean()}, test=None))
    data = torch.utils.data.TensorDataset(*cloud(20, 2))
    assert "SGD" in str(call(tmp_path, {"SGD": None, "SAM": metrics.Euclidean()}, test=data))
