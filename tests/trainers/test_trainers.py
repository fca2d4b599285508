"""Real trainers, as the documentation shows them, against two passes by hand; and what they would do wrong."""

import ast
import json
import re
import runpy
import warnings

import pytest
import torch

import geosam
from tests.trainers.routes import GEOMETRIES, QUIET, ROUTES, alone, error, setting, shown, weights
from tests.trainers.run import RECORD

DOCS = RECORD.parents[1]
CASES: list = [
    pytest.param(route, name, id=f"{route.trainer}, {route.settings}, {name}") for route in ROUTES for name in route.geometries
]


def test_the_documentation_shows_these_rows_and_each_is_right():
    """Of the record, without a trainer: the rest of this file makes it again."""
    rows = json.loads(RECORD.read_text(encoding="utf-8"))["rows"]
    assert [(row["trainer"], row["route"], list(row["errors"])) for row in rows] == [(*r[:2], r.geometries) for r in ROUTES]
    assert all(found < tolerance(route) for route, row in zip(ROUTES, rows, strict=True) for found in row["errors"].values())


def tolerance(route):
    return 1e-9 if route.dtype == torch.float64 else 1e-3


@pytest.mark.trainers
@pytest.mark.parametrize("route, name", CASES)
def test_equals_two_passes_by_hand(route, name):
    assert error(route, name) < tolerance(route)


class Counted(torch.nn.Module):
    """Counts what a user would count."""

    def __init__(self):
        super().__init__()
        self.inner, self.calls = setting.network(), 0

    def forward(self, x):
        self.calls += self.training
        return self.inner(x)


def lightning_module(model, optimizer, metrics_of=None):
    import lightning as L

    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.model, self.count, self.logged = model, metrics_of, []

        def training_step(self, batch, index):
            loss = torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])
            self.log("loss", loss)
            if self.count is not None:
                self.count(self.model(batch[0]).argmax(1), batch[1])
            return loss

        def configure_optimizers(self):
            return optimizer(self.model.parameters())

    return Module()


def fit(module, callback=True, batches=None, checkpoint=None, **options):
    import lightning as L

    from geosam.contrib.lightning import Callback

    callbacks = [Callback()] if callback is True else callback or []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = L.Trainer(callbacks=callbacks, **{**QUIET, **options})
        trainer.fit(module, batches or setting.loader(), ckpt_path=checkpoint)
    return trainer


def sam(metric=None, **parts):
    return lambda parameters: geosam.SAM(torch.optim.SGD(parameters, lr=0.1, momentum=0.9), metric, rho=0.1, **parts)


FSAM = GEOMETRIES["GradientMagnitude"][0]


@pytest.mark.trainers
@pytest.mark.parametrize(
    "options, metric, error",
    [
        ({"accumulate_grad_batches": 2}, None, r"accumulates over several calls.*opt\.perturb"),
        ({"gradient_clip_val": 0.01}, FSAM, "clips gradients by norm"),
        ({"gradient_clip_val": 1e-4, "gradient_clip_algorithm": "value"}, None, "clips gradients by value"),
    ],
)
def test_lightning_without_the_callback_is_right_or_refused(options, metric, error):
    with pytest.raises(RuntimeError, match=error):
        fit(lightning_module(setting.network(), sam(metric)), callback=None, **options)


@pytest.mark.trainers
def test_lightning_without_the_callback_and_fp16_is_refused():
    from lightning.pytorch.plugins import MixedPrecision

    plugin = MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))
    with pytest.raises(TypeError, match=r"scaler.step\(opt.base\) after opt.perturb"):
        fit(lightning_module(setting.network(), sam()), callback=None, plugins=[plugin])


@pytest.mark.trainers
def test_what_the_callback_cannot_do_is_refused():
    with pytest.raises(ValueError, match=r"0 geosam\.SAM optimizers"):
        fit(lightning_module(setting.network(), lambda parameters: torch.optim.SGD(parameters, lr=0.1)))
    gap = sam(update=geosam.updates.SurrogateGap())
    with pytest.raises(ValueError, match=r"SAM\(..., max_norm=1.0\)"):
        fit(lightning_module(setting.network(), gap), gradient_clip_val=1.0)


@pytest.mark.trainers
def test_lightnings_logs_metrics_and_counts_are_of_one_pass():
    import torchmetrics

    model, counted = Counted(), torchmetrics.Accuracy("multiclass", num_classes=3)
    trainer = fit(lightning_module(model, sam(), counted), limit_train_batches=3)
    assert trainer.global_step == 3 and model.calls == 2 * 2 * 3  # two passes, and training_step calls the model twice
    assert int(counted.tp.sum() + counted.fn.sum()) == 3 * 8
    assert "loss" in trainer.callback_metrics


@pytest.mark.trainers
def test_lightnings_checkpoints_hold_the_memory(tmp_path):
    averaged = geosam.metrics.Averaged(geosam.metrics.DiagonalEmpiricalFisher(), 0.5)
    from geosam.contrib.lightning import Callback

    def start():
        model = setting.network()
        bound = geosam.Problem(model, torch.nn.CrossEntropyLoss())
        return lightning_module(model, sam(averaged)), [Callback(lambda _, batch: bound.on(*batch))]

    whole, callback = start()
    fit(whole, callback, max_epochs=2)
    half, callback = start()
    fit(half, callback).save_checkpoint(tmp_path / "half.ckpt")
    resumed, callback = start()
    fit(resumed, callback, checkpoint=tmp_path / "half.ckpt", max_epochs=2)
    assert torch.equal(weights(whole.model), weights(resumed.model))


@pytest.mark.trainers
def test_accelerate_accumulating_around_step_is_refused():
    from accelerate import Accelerator

    with alone():
        accelerator, model = Accelerator(cpu=True, gradient_accumulation_steps=2), setting.network()
        model, opt = accelerator.prepare(model, sam()(model.parameters()))
        (x, y), *_ = setting.loader()

        def closure():
            opt.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y)
            accelerator.backward(loss)
            return loss

        with pytest.raises(RuntimeError, match="over 2 micro-batches"):
            for _ in range(2):
                with accelerator.accumulate(model):
                    opt.step(closure)


@pytest.mark.trainers
def test_transformers_trainer_without_the_adapter_is_refused(tmp_path):
    from transformers import Trainer, TrainingArguments

    model = shown("with_transformers").Classifier(setting.network())
    samples = [{"x": x, "labels": y} for x, y in setting.data()]
    how = TrainingArguments(tmp_path, report_to="none", use_cpu=True, disable_tqdm=True, save_strategy="no")
    with alone(), pytest.raises(TypeError, match="SAMTrainer"):
        Trainer(model, how, train_dataset=samples, optimizers=(sam()(model.parameters()), None)).train()


@pytest.mark.trainers
def test_transformers_checkpoints_hold_the_memory(tmp_path):
    from transformers import TrainingArguments

    from geosam.contrib.transformers import SAMTrainer

    samples = [{"x": x, "labels": y} for x, y in setting.data()]

    def train(steps, resume=None, folder="whole"):
        model = shown("with_transformers").Classifier(setting.network())
        how = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_steps": 4, "max_steps": steps}
        how |= {"per_device_train_batch_size": 8, "train_sampling_strategy": "sequential", "lr_scheduler_type": "constant"}
        parts = {"metric": FSAM, "objective": geosam.objectives.Smoothed(0.9), "rho": 0.1}
        trainer = SAMTrainer(model, TrainingArguments(tmp_path / folder, **how), train_dataset=samples, sam=parts)
        trainer.train(resume_from_checkpoint=resume)
        return weights(model)

    with alone():
        whole = train(8)
        resumed = train(8, resume=str(tmp_path / "whole" / "checkpoint-4"), folder="resumed")
    assert torch.equal(whole, resumed)


def test_the_page_shows_functions_of_at_most_ten_lines_and_the_table(monkeypatch):
    page = (DOCS / "trainers.md").read_text(encoding="utf-8")
    found = re.findall(r"literalinclude} trainers/(\w+)\.py\n:pyobject: (\w+)", page)
    assert len(found) >= 8
    for file, name in found:
        tree = ast.parse((DOCS / "trainers" / f"{file}.py").read_text(encoding="utf-8"))
        (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
        lines = ast.unparse(function).splitlines()[1:]
        assert len([line for line in lines if line.strip()]) <= 10, name
    monkeypatch.syspath_prepend(str(DOCS))
    rows = runpy.run_path(str(DOCS / "trainers_page.py"))["table"](RECORD).splitlines()
    assert len(rows) == len(ROUTES) + 4 and all(row.count("|") == rows[0].count("|") for row in rows[: len(ROUTES) + 2])
