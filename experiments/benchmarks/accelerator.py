"""What the Fishers cost on an accelerator, in bfloat16: WideResNet-28-10 and ViT-S/16, within a budget of seconds.

Without a CUDA device nothing runs, unless tiny networks are asked for (``--quick``): the same code on a CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

import geosam
from geosam import metrics
from geosam.engines import Auto
from geosam.problem import Bound
from geosam.problem.frozen import frozen

from ..common.timing import Job
from ..networks.autocast import Autocast
from ..networks.vision_transformer import vision_transformer
from ..networks.wide_resnet import wide_resnet
from .budget import contest
from .fisher_cost import METRICS, SGD, SLOW, stepping
from .memory import RHO

ALLOCATORS = ("pinned",)
BUDGET = 420.0
"""Seconds in all."""


@dataclass(frozen=True)
class Case:
    """A network with its batch. frozen: per-sample gradients with the batch's statistics held still."""

    name: str
    model: Callable[[], nn.Module]
    n: int
    image: int
    classes: int
    frozen: bool = False

    def bind(self, device: torch.device) -> tuple[nn.Module, Bound]:
        """Always the same numbers."""
        torch.manual_seed(0)
        model = Autocast(self.model(), device.type).to(device)
        x, y = torch.randn(self.n, 3, self.image, self.image), torch.randint(self.classes, (self.n,))
        problem = geosam.Problem(model, nn.CrossEntropyLoss(), frozen_statistics=self.frozen)
        return model, problem.on(x.to(device), y.to(device))


CASES = (
    Case("WRN-28-10, BatchNorm", wide_resnet, 128, 32, 10, frozen=True),
    Case("ViT-S/16", lambda: vision_transformer(224, 16, 384, 12, 6, 1000), 64, 224, 1000),
)
TINY = (
    Case("WRN-10-1, BatchNorm", lambda: wide_resnet(10, 1), 4, 8, 10, frozen=True),
    Case("ViT of width 16", lambda: vision_transformer(8, 4, 16, 1, 2, 10), 4, 8, 10),
)
CG = "Fisher, Exact, ten iterations of CG"
JOBS = {**METRICS, CG: SLOW[CG]}


def run(quick: bool, allocator: str) -> dict[str, Any]:
    """On CUDA where it is, the networks in full; tiny if quick."""
    cuda = torch.cuda.is_available()
    if not (cuda or quick):
        return {"not run": "no CUDA device here; --quick runs tiny networks on the CPU"}
    return measure(TINY if quick else CASES, torch.device("cuda" if cuda else "cpu"), 2 if quick else 31, BUDGET)


def measure(cases: Sequence[Case], device: torch.device, rounds: int, budget: float) -> dict[str, Any]:
    """A race of whole steps and one of a single product, for each case, which gets an even share of the seconds left."""
    end = time.monotonic() + budget
    result: dict[str, Any] = {
        "settings": {
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "precision": "forward under bfloat16 autocast; parameters and outputs float32",
            "tf32": {"matmul": torch.backends.cuda.matmul.allow_tf32, "cudnn": torch.backends.cudnn.allow_tf32},
            "base": {"class": "SGD", **SGD},
            "rho": RHO,
            "budget_s": budget,
            "n": {case.name: case.n for case in cases},
        }
    }
    for left, case in zip(range(len(cases), 0, -1), cases, strict=True):
        share = (end - time.monotonic()) / left
        model, bound = case.bind(device)
        steps = [stepping(name, model, metric, bound) for name, metric in JOBS.items()]
        raced = contest(steps, rounds, device, time.monotonic() + 0.85 * share)
        result[case.name] = raced | {
            "parameters": sum(p.numel() for p in model.parameters()),
            "rows of EmpiricalFisher": held(bound),
        }
        del steps
        result[f"{case.name}, one product"] = product(bound, rounds, device, time.monotonic() + 0.15 * share)
    return result


def product(bound: Bound, rounds: int, device: torch.device, until: float) -> dict[str, Any]:
    """v ↦ Fv + λv at a point already linearised, over a forward and backward pass."""
    norm: list[geosam.InnerProduct] = []  # made when first tried, so that a failure to linearise is recorded too
    v = [torch.ones_like(p) for p in bound.parameters]

    def flat() -> None:
        if not norm:
            made = metrics.Fisher(damping=1e-2, rows_limit=0).at(bound)
            assert isinstance(made, geosam.InnerProduct)
            norm.append(made)
        norm[0].flat(v)

    return contest([Job("forward and backward", bound), Job("product", flat)], rounds, device, until)


def held(bound: Bound) -> dict[str, int] | str:
    """How many parameters have rows of which form: "rows" are formed and held, n × 4 bytes a parameter in float32."""
    counts: dict[str, int] = {}
    sizes = dict(zip(bound.names(bound.parameters), (p.numel() for p in bound.parameters), strict=True))
    try:
        with frozen(bound, bound.parameters, False) if bound.frozen_statistics else nullcontext(bound) as apart:
            for choice in Auto().explain(apart, bound.parameters):
                counts[choice.form] = counts.get(choice.form, 0) + sum(sizes[name] for name in choice.names)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return counts
