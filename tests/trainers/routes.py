"""Every route through every trainer, as the documentation shows it, beside the loop by hand."""

import importlib
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

import geosam
from geosam import metrics
from tests.trainers import by_hand


def shown(name: str) -> Any:
    """A file of docs/trainers."""
    return importlib.import_module(f"docs.trainers.{name}")


setting = shown("setting")

GEOMETRIES = {
    "Euclidean": (metrics.Euclidean(), by_hand.sam),
    "ParameterScaled": (metrics.ParameterScaled(by_hand.ETA), by_hand.asam),
    "GradientMagnitude": (metrics.GradientMagnitude(eta=9.0, damping=by_hand.DAMPING), by_hand.fsam),
    "EmpiricalFisher": (metrics.EmpiricalFisher(by_hand.DAMPING), by_hand.full_fisher),
}
GRADIENT = [name for name in GEOMETRIES if name != "EmpiricalFisher"]
"""Those that take a closure."""
QUIET: dict[str, Any] = {
    "max_epochs": 1,
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


class Route(NamedTuple):
    """run: (model, metric) trains it as the documentation shows. by_hand: the settings of the loop by hand, on its ``twin``."""

    trainer: str
    settings: str
    run: Callable[[nn.Module, Any], None]
    by_hand: Mapping[str, Any] = MappingProxyType({})
    geometries: list[str] = GRADIENT
    dtype: torch.dtype = torch.float64
    network: Callable[[torch.dtype], nn.Module] = setting.network
    twin: Callable[[torch.dtype], nn.Module] = setting.network


def error(route: Route, geometry: str) -> float:
    """The relative error of how far the weights went, in all parameters together."""
    metric, epsilon = GEOMETRIES[geometry]
    model, twin = route.network(route.dtype), route.twin(route.dtype)
    start = weights(twin)
    route.run(model, metric)
    by_hand.train(twin, setting.loader(route.dtype), epsilon, **route.by_hand)
    return float((weights(model) - weights(twin)).norm() / (weights(twin) - start).norm())


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def plain(name: str, dtype: torch.dtype = torch.float64) -> Callable[..., None]:
    def run(model, metric):
        getattr(shown("plain"), name)(model, setting.loader(dtype), metric)

    return run


def lightning(name: str, dtype: torch.dtype = torch.float64, problem: bool = False, fp16: bool = False, **options: Any):
    def run(model, metric):
        from lightning.pytorch.plugins import MixedPrecision

        logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
        bound, how = geosam.Problem(model, nn.CrossEntropyLoss()), QUIET | options
        if problem:
            how["problem"] = lambda module, batch: bound.on(*batch)
        if fp16:  # on a CPU the Trainer takes it by its plugin only
            how["plugins"] = [MixedPrecision("16-mixed", "cpu", torch.amp.GradScaler("cpu"))]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(shown("with_lightning"), name)(model, setting.loader(dtype), metric, **how)

    return run


def accelerate(dtype: torch.dtype = torch.float64, fp16: bool = False, **options: Any):
    def run(model, metric):
        example = shown("with_accelerate")
        real = example.Accelerator

        def scaled(**how):
            accelerator = real(**how)
            if fp16:  # as on an accelerator: on a CPU the constructor refuses it
                accelerator.scaler, accelerator.native_amp = torch.amp.GradScaler("cpu"), True
                accelerator.state._mixed_precision = "fp16"
            return accelerator

        with alone(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(example, "Accelerator", scaled)
            example.train(model, setting.loader(dtype), metric, cpu=True, **options)

    return run


def transformers(name: str, **options: Any):
    def run(model, metric):
        samples = [{"x": x, "labels": y} for x, y in setting.data(next(model.parameters()).dtype)]
        how = {"report_to": "none", "use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "logging_strategy": "no"}
        how |= {"num_train_epochs": 1, "per_device_train_batch_size": 8, "lr_scheduler_type": "constant", "weight_decay": 0.0}
        with tempfile.TemporaryDirectory() as folder, alone():
            torch.manual_seed(0)
            how |= {"output_dir": folder, "train_sampling_strategy": "sequential", "optim": "sgd", **options}
            getattr(shown("with_transformers"), name)(model, samples, metric, **how)

    return run


@contextmanager
def alone() -> Iterator[None]:
    """Accelerate's states, of which a process has one each, are forgotten afterwards."""
    from accelerate.state import AcceleratorState, GradientState, PartialState

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for state in (AcceleratorState, GradientState, PartialState):
            state._reset_state()


def classifier(dtype):
    return shown("with_transformers").Classifier(setting.network(dtype))


class Logits(nn.Module):
    """A low-rank network as the loop by hand calls it."""

    def __init__(self, dtype):
        super().__init__()
        import peft

        model = classifier(dtype)
        torch.manual_seed(0)
        self.net = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=["net.0", "net.2"]))

    def forward(self, x):
        return self.net(x, torch.zeros(len(x), dtype=torch.long))["logits"]


def timm(dtype: torch.dtype):
    def run(model, metric):
        shown("with_timm").train(model, setting.loader(torch.float32), metric, dtype)

    return run


def timms_base(model):
    import timm.optim

    return timm.optim.create_optimizer_v2(model, opt="momentum", lr=0.1, momentum=0.9, weight_decay=0.01)


def skorch(model, metric):
    # skorch copies a module that it is given
    net = shown("with_skorch").train(model, *setting.data().tensors, metric)
    model.load_state_dict(net.module_.state_dict())


HALF = {"dtype": torch.float32, "geometries": ["Euclidean", "ParameterScaled"]}
BF16, FP16 = {"autocast": torch.bfloat16}, {"autocast": torch.float16, "scale": 2.0**16}
PLAIN = {"base": lambda model: by_hand.sgd(model, 0.0)}
EVERY = list(GEOMETRIES)

ROUTES = [
    Route("plain loop", "problem", plain("with_problem"), geometries=EVERY),
    Route("plain loop", "closure", plain("with_closure")),
    Route("plain loop", "perturb", plain("with_perturb"), geometries=EVERY),
    Route("plain loop", "problem, fp16, scaler", plain("with_scaler", torch.float32), FP16, **HALF),
    Route("Lightning, automatic", "callback", lightning("automatic", gradient_clip_val=1.0)),
    Route("Lightning, automatic", "callback, problem", lightning("automatic", problem=True, gradient_clip_val=1.0), {}, EVERY),
    Route(
        "Lightning, automatic",
        "callback, accumulation of 2",
        lightning("automatic", accumulate_grad_batches=2, gradient_clip_val=1.0),
        {"accumulate": 2},
    ),
    Route(
        "Lightning, automatic",
        "callback, bf16",
        lightning("automatic", torch.float32, precision="bf16-mixed", gradient_clip_val=1.0),
        BF16,
        **HALF,
    ),
    Route(
        "Lightning, automatic",
        "callback, fp16, accumulation of 2",
        lightning("automatic", torch.float32, fp16=True, gradient_clip_val=1.0, accumulate_grad_batches=2),
        FP16 | {"accumulate": 2},
        **HALF,
    ),
    Route("Lightning, manual", "step(problem)", lightning("manual"), geometries=EVERY),
    Route("Accelerate", "perturb", accelerate(), geometries=EVERY),
    Route("Accelerate", "perturb, accumulation of 2", accelerate(gradient_accumulation_steps=2), {"accumulate": 2}, EVERY),
    Route("Accelerate", "perturb, bf16", accelerate(torch.float32, mixed_precision="bf16"), BF16, **HALF),
    Route(
        "Accelerate",
        "perturb, fp16, accumulation of 2",
        accelerate(torch.float32, fp16=True, gradient_accumulation_steps=2),
        FP16 | {"accumulate": 2},
        **HALF,
    ),
    Route("transformers", "SAMTrainer", transformers("train"), PLAIN, network=classifier),
    Route(
        "transformers",
        "SAMTrainer, accumulation of 2",
        transformers("train", gradient_accumulation_steps=2),
        PLAIN | {"accumulate": 2},
        network=classifier,
    ),
    Route("transformers", "SAMTrainer, bf16", transformers("train", bf16=True), PLAIN | BF16, network=classifier, **HALF),
    Route("PEFT", "SAMTrainer, LoRA", transformers("train_lora"), PLAIN, network=classifier, twin=Logits),
    Route("timm", "perturb, fp16, scaler", timm(torch.float16), FP16 | {"base": timms_base}, **HALF),
    Route("timm", "perturb, bf16", timm(torch.bfloat16), BF16 | {"base": timms_base}, **HALF),
    Route("skorch", "closure", skorch),
]
