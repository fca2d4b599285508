"""Tensors of which each process holds a part: torch's DTensor, as FSDP2 and tensor parallelism make them.

What is done entry by entry is done on each process's own part, without communication. A sum over entries takes one all-reduce
for each group of processes that divide tensors among them, however many tensors there are: one under FSDP2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .forms import Vectors

P = ParamSpec("P")
R = TypeVar("R")

_PLAIN = {Tensor, nn.Parameter}


def is_sharded(t: Any) -> bool:
    """Whether it lies on a mesh of processes."""
    return hasattr(t, "placements") and hasattr(t, "device_mesh")


def any_sharded(v: Iterable[Tensor]) -> bool:
    """Whether one of them is. Plain tensors are recognised by their types alone."""
    return not torch.compiler.is_compiling() and not {*map(type, v)} <= _PLAIN and any(map(is_sharded, v))


def is_divided(t: Tensor) -> bool:
    """Whether this process holds a part of it only."""
    return is_sharded(t) and not all(place.is_replicate() for place in t.placements)  # type: ignore[attr-defined]


def settled(v: Vectors) -> Vectors:
    """v with partial sums added up over the mesh: gradients of replicated parameters may be such."""
    if not any_sharded(v):
        return v
    return [_settled(t) if is_sharded(t) else t for t in v]


def _settled(t: Any) -> Any:
    places = [_replicate() if place.is_partial() else place for place in t.placements]
    return t if places == list(t.placements) else t.redistribute(placements=places)


def placed_as(t: Any, like: Any) -> Any:
    """t divided as ``like`` where it has its shape; a plain one is taken to be the same in all processes."""
    if not is_sharded(like) or t.shape != like.shape:
        return t
    if is_sharded(t):
        return t if t.placements == like.placements else t.redistribute(placements=like.placements)
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(t, like.device_mesh, like.placements)


def _replicate() -> Any:
    from torch.distributed.tensor import Replicate  # the import takes a second; making a DTensor has paid for it

    return Replicate()


def own(v: Vectors) -> list[Tensor]:
    """This process's parts, in the same memory; a plain tensor is its own part."""
    if not any_sharded(v):
        return list(v)
    with torch.no_grad():
        return [t.to_local() if is_sharded(t) else t for t in v]  # type: ignore[attr-defined]


def whole(parts: Vectors, like: Vectors) -> list[Tensor]:
    """The inverse of :func:`own`, divided as ``like``."""
    return [_whole(part, t) if is_sharded(t) else part for part, t in zip(parts, like, strict=True)]


def _whole(part: Tensor, like: Any) -> Tensor:
    shape = {"shape": like.shape, "stride": like.stride()} if like.dim() else {}
    return type(like).from_local(part, like.device_mesh, like.placements, run_check=False, **shape)  # type: ignore[no-any-return]


def entrywise(operation: Callable[P, R]) -> Callable[P, R]:
    """``operation`` on lists of tensors, on each process's own parts where one of them is sharded.

    The first list has the result's shapes; what is divided in another way than its tensors is redistributed.
    Raises: TypeError where a plain tensor meets a divided one, or a partial sum is to be written to.
    """

    @wraps(operation)
    def on_parts(*args: P.args, **named: P.kwargs) -> R:
        lists = [a for a in args if isinstance(a, Sequence)]
        if not any(map(any_sharded, lists)):
            return operation(*args, **named)
        with torch.no_grad():
            first = settled(lists[0])
            fitted: Any = [
                [_fitted(t, like) for t, like in zip(a, first, strict=True)] if isinstance(a, Sequence) else a for a in args
            ]
            found: Any = operation(*fitted, **named)
        if isinstance(found, Sequence):
            return whole(found, first)  # type: ignore[return-value]
        if any(a is not b for a, b in zip(first, lists[0], strict=True)):
            raise TypeError("a partial sum over a mesh cannot be written to: redistribute it first")
        return found  # type: ignore[no-any-return]

    return on_parts


def _fitted(t: Any, like: Any) -> Tensor:
    """The part of t that meets the part of ``like``, with which it broadcasts."""
    if not is_sharded(t):
        if t.dim() and is_divided(like):
            raise TypeError(f"a plain tensor of shape {tuple(t.shape)} meets a sharded one: {_MIXED}")
        return t  # type: ignore[no-any-return]
    if not is_sharded(like) or t.device_mesh != like.device_mesh or t.dim() != like.dim():
        raise TypeError(f"a sharded tensor of shape {tuple(t.shape)} meets one that is placed otherwise: {_MIXED}")
    places = tuple(_replicate() if _single(t, like, place) else place for place in like.placements)
    return (t if t.placements == places else t.redistribute(placements=places)).to_local()  # type: ignore[no-any-return]


_MIXED = "use distribute_tensor(t, parameter.device_mesh, parameter.placements)"


def _single(t: Any, like: Any, place: Any) -> bool:
    """Whether t has one entry along the dimension that is divided."""
    return hasattr(place, "dim") and t.shape[place.dim] == 1 != like.shape[place.dim]


def families(v: Vectors) -> list[list[int]]:
    """Positions of tensors that are divided among the same processes."""
    found: dict[Any, list[int]] = {}
    for i, t in enumerate(v):
        found.setdefault(tuple(_groups(t)), []).append(i)
    return list(found.values())


def totals(numbers: Sequence[Tensor], v: Vectors, largest: bool = False) -> list[Tensor]:
    """Numbers of this process's parts, 0-dimensional, one for each tensor: their sums, or maxima, over all of its parts."""
    found = list(numbers)
    members: dict[Any, list[int]] = {}
    for i, t in enumerate(v):
        for group in _groups(t):
            members.setdefault(group, []).append(i)
    for (group, device), index in members.items():
        here = found[index[0]].device
        each = torch.stack([found[i] for i in index]).to(device)
        dist.all_reduce(each, dist.ReduceOp.MAX if largest else dist.ReduceOp.SUM, group)
        for i, number in zip(index, each.to(here).unbind(), strict=True):
            found[i] = number
    return found


def _groups(t: Any, replicas: bool = False) -> list[Any]:
    """(process group, type of its devices) for each dimension of the mesh along which t is divided; replicas: for all."""
    if not is_sharded(t):
        return []
    mesh = t.device_mesh
    divided = (i for i, place in enumerate(t.placements) if replicas or not place.is_replicate())
    return [(mesh.get_group(i), mesh.device_type) for i in divided if mesh.size(i) > 1]


def mean_over_mesh(number: Tensor, v: Vectors) -> Tensor:
    """The mean of a 0-dimensional tensor over all processes of the meshes on which v lies, the same in each of them."""
    groups = dict.fromkeys(group for t in v for group in _groups(t, replicas=True))
    for group, device in groups:
        each = number.detach().to(device, copy=True)
        dist.all_reduce(each, group=group)
        number = (each / dist.get_world_size(group)).to(number.device)
    return number


def number(t: Tensor) -> Tensor:
    """A 0-dimensional tensor; one that torch left as partial results on a mesh is reduced."""
    return t.full_tensor() if is_sharded(t) else t  # type: ignore[attr-defined, no-any-return]


def check_whole(v: Vectors, who: str) -> None:
    """Raises: NotImplementedError for a tensor that is divided among processes."""
    for i, t in enumerate(v):
        if is_divided(t):
            raise NotImplementedError(
                f"{who} needs whole matrices, and tensor {i} of shape {tuple(t.shape)} is divided among processes, "
                f"{t.placements}: geosam gathers no parameter. Use DistributedDataParallel, which replicates them, or a metric "  # type: ignore[attr-defined]
                "of entries, such as metrics.ParameterScaled()."
            )
