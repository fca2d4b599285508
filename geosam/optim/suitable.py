"""Parameters and sources that a step would get wrong, refused by name."""

from __future__ import annotations

from collections.abc import Sequence

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
    if getattr(p, "_fsdp_flattened", False) and processes() > 1:
        return (
            "is flat and sharded over processes (FSDP1), so that its norm would be that of a process's own part. Use FSDP2, "
            "torch.distributed.fsdp.fully_shard"
        )
    if any(place.is_partial() for place in getattr(p, "placements", ())):
        return "is a partial sum over a mesh, which has no entries of its own: redistribute it, p.redistribute(placements=...)"
    return None
