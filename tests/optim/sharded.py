"""A network whose parameters processes divide among them in several ways, and what a test of it needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.nn import functional as F

import geosam
from tests.networks import draw, labels

X, Y = draw(12, 4, dtype=torch.float64), labels(12)


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    """Nothing of it is divisible by 2: uneven parts, and one without entries."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).to(dtype)


def optimizer(model: nn.Module, parts: dict[str, Any], lr: float = 0.1, **options: Any) -> geosam.SAM:
    return geosam.SAM(torch.optim.SGD(model.named_parameters(), lr=lr, momentum=0.9), **{"rho": 0.1, **parts, **options})


def by_layers(model: nn.Module, size: int) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (size,))
    fully_shard(model[0], mesh=mesh)
    return fully_shard(model, mesh=mesh)


def in_tensors(model: nn.Module, size: int) -> nn.Module:
    """Columns, rows, and a layer that stays plain."""
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    plan = {"0": ColwiseParallel(use_local_output=False), "2": RowwiseParallel()}
    return parallelize_module(model, init_device_mesh("cpu", (size,)), plan)


def hybrid(model: nn.Module, size: int) -> nn.Module:
    """Divided by two, replicated by the rest."""
    from torch.distributed.fsdp import fully_shard

    return fully_shard(model, mesh=init_device_mesh("cpu", (size // 2, 2), mesh_dim_names=("copies", "parts")))


def on_two_dimensions(model: nn.Module, size: int) -> nn.Module:
    """In tensors by two, and these divided again."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    mesh = init_device_mesh("cpu", (size // 2, 2), mesh_dim_names=("data", "tensor"))
    parallelize_module(model, mesh["tensor"], {"0": ColwiseParallel(use_local_output=False), "2": RowwiseParallel()})
    fully_shard(model[0], mesh=mesh["data"])
    return fully_shard(model, mesh=mesh["data"])


def closure(opt: geosam.SAM, model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> Callable[[], torch.Tensor]:
    def run() -> torch.Tensor:
        opt.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        return loss

    return run


def full(v: Any) -> list[torch.Tensor]:
    """Gathered by all processes together."""
    return [t.detach().full_tensor() if hasattr(t, "full_tensor") else t.detach().clone() for t in v]


def gap(found: list[torch.Tensor], wanted: list[torch.Tensor]) -> float:
    """‖found − wanted‖ / ‖wanted‖."""
    a, b = (torch.cat([t.flatten().double() for t in v]) for v in (found, wanted))
    return float((a - b).norm() / b.norm())


def share(x: torch.Tensor, divide: Any = by_layers) -> torch.Tensor:
    """This process's samples; those of one tensor-parallel group have the same."""
    together = {in_tensors: dist.get_world_size(), on_two_dimensions: 2}.get(divide, 1)
    return x.chunk(dist.get_world_size() // together)[dist.get_rank() // together]
