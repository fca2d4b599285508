"""Parameters and sources that a step would get wrong, refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn.parameter import is_lazy

from ..core import Vectors
from .processes import processes


def check_parameters(parameters: Vectors, names: Sequence[str] | None = None) -> None:
    """Raises: NotImplementedError naming the first parameter whose ε would be wrong, the cause and the cure."""
    for i, p in enumerate(parameters):
        why = _wrong_with(p)
        if why is not None:
            name = f"parameter {i}" if names is None else f"parameter {i} ({names[i]})"
            raise NotImplementedError(f"{name} {why}")


def _wrong_with(p: Tensor) -> str | None:
    if is_lazy(p):
        return "is not initialised, as those of lazy layers at first: run the model once on a batch before the first step"
    if p.is_complex():
        return (
            "is complex, and norms and products here are real. Hold its real form, nn.Parameter(torch.view_as_real(w)), and "
            "compute with torch.view_as_complex of it"
        )
    if p.device.type == "mps":
        return "is on MPS, which has no float64, the type of geosam's scalars; use a CPU or a CUDA device"
    if _is_sharded(p):
        return (
            "is sharded over processes (FSDP, DTensor): norms would be those of a process's own shard. Replicate the "
            "parameters, as DistributedDataParallel does"
        )
    return None


def _is_sharded(p: Any) -> bool:
    """Whether a process holds a part of the parameter: a DTensor of a mesh, or a flat parameter and its views (FSDP1)."""
    placements, mesh = getattr(p, "placements", ()), getattr(p, "device_mesh", None)
    spread = mesh is not None and mesh.size() > 1 and not all(place.is_replicate() for place in placements)
    return spread or (getattr(p, "_fsdp_flattened", False) and processes() > 1)
