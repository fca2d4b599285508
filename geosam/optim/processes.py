"""What processes that train together may do, with one ball for all of them or one for each, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..core import Solver, Vectors
from ..core.sharded import any_sharded, is_sharded
from ..observation import MeanSquares, PredictiveDistribution, Request
from ..problem import Bound, Together
from ..problem.modules import check_replicated, gathers
from ..solvers import Closed, MultiStep, Radial

BALLS = ("global", "rank")

Asked = Sequence[tuple[str, Request[Any]]]
"""Requests, each with the name of who asks."""


def processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def check_ball(ball: Any) -> str:
    """The ball. Raises: ValueError unless it is one of ``BALLS``."""
    if ball not in BALLS:
        raise ValueError(f"ball is one of {', '.join(BALLS)}, got {ball!r}")
    return str(ball)


def wrapper(model: nn.Module | None) -> DistributedDataParallel | None:
    """The module itself, or what ``torch.compile`` was given; None for another one."""
    inner = getattr(model, "_orig_mod", model)
    return inner if isinstance(inner, DistributedDataParallel) else None


def inside(source: Bound | Together, around: DistributedDataParallel | None = None) -> Bound | Together:
    """The problem on the module that ``DistributedDataParallel`` wraps: a first pass needs no reduction of its gradients.

    around: the wrapper, where the problem has the bare module.
    """
    if isinstance(source, Together):
        return Together([_bare(part, around) for part in source.parts])
    return _bare(source, around)


def check_reduced(source: Bound | Together | None) -> None:
    """Raises: NotImplementedError where processes train together and nobody reduces the second pass's gradients."""
    if source is None:  # a closure reduces by itself
        return
    model, parameters = source.parts[0].model, source.parts[0].parameters
    if any_sharded(parameters):
        _check_reduced_over_mesh(model, parameters)
    elif processes() > 1 and wrapper(model) is not None:
        check_synchronised(wrapper(model))
    elif processes() > 1:
        raise NotImplementedError(
            f"{processes()} processes train together, and nobody would reduce the gradients of this problem's second pass: the "
            "weights would drift apart. Give the wrapped model to the problem, Problem(DistributedDataParallel(model), loss), "
            "or use opt.perturb(problem.on(x, y)) and make the second pass through the wrapper."
        )


def check_synchronised(around: DistributedDataParallel | None) -> None:
    """Raises: NotImplementedError inside of the wrapper's ``no_sync()``, where gradients are each process's own."""
    if around is not None and not around.require_backward_grad_sync:
        raise NotImplementedError(
            "inside no_sync() gradients are each process's own: with ball='global' ε* would be another one in each, and after "
            "a step so would be the weights. Make this call outside of no_sync(); a closure may use it for all of its "
            "micro-batches but the last. opt.perturb(problem.on(x, y)) averages its first pass by itself, and with ball='rank' "
            "has one ε* a process."
        )


def joins(around: DistributedDataParallel | None) -> bool:
    """Whether torch's ``Join`` stands in for processes that have run out of batches: in the wrapper's reductions alone."""
    return bool(getattr(getattr(around, "_join_config", None), "enable", False))


def check_joined(around: DistributedDataParallel | None) -> None:
    """Raises: NotImplementedError inside of torch's ``Join`` for a problem, whose reductions nobody would answer."""
    if joins(around):
        raise NotImplementedError(
            "inside Join a process that has run out of batches answers the wrapper's reductions, and not those of a problem's "
            "first pass: the others would wait for ever. Use opt.step(closure) through the wrapper, or as many batches in each."
        )


def _check_reduced_over_mesh(model: nn.Module, parameters: Vectors) -> None:
    covered = max(p.device_mesh.size() for p in parameters if is_sharded(p))  # type: ignore[attr-defined]
    if covered < processes():
        raise NotImplementedError(
            f"{processes()} processes train together, and the mesh of the sharded parameters has {covered}: nobody would "
            "reduce the gradients of this problem's second pass over the others. Use a mesh of all of them (hybrid sharding, "
            "of two dimensions), or a closure that reduces them."
        )


def _check_plain(model: nn.Module, parameters: Vectors) -> None:
    plain = next((i for i, p in enumerate(parameters) if not is_sharded(p)), None)
    if plain is not None and any(map(gathers, model.modules())):
        raise NotImplementedError(
            f"parameter {plain} is not sharded and others are (fully_shard with ignored_params): nobody would reduce its "
            "gradient. Let fully_shard have it, or use a closure that reduces it."
        )


def check_sharded(source: Bound | Together | None, ball: str, scaled: Vectors = ()) -> None:
    """Raises: NotImplementedError for what sharded parameters do not allow. scaled: the parameters under a GradScaler."""
    if any_sharded(scaled) and not all(map(is_sharded, scaled)):
        raise NotImplementedError(
            "torch's GradScaler takes no optimizer with both plain and sharded parameters: use bfloat16, which needs none, "
            "or replicate the plain ones over the mesh, torch.distributed.tensor.distribute_tensor(p, mesh, [Replicate()])."
        )
    if ball == "rank":
        raise NotImplementedError(
            "ball='rank' is one ε a process, and with sharded parameters (FSDP2, tensor parallel) a process holds a part of "
            "one ε. Use ball='global', or DistributedDataParallel."
        )
    if source is not None:
        _check_plain(source.parts[0].model, source.parts[0].parameters)
    if source is not None and any(wrapper(part.model) is not None for part in source.parts):
        raise NotImplementedError(
            "DistributedDataParallel around sharded parameters: its reduction would be left out in the first pass. Use "
            "fully_shard on a mesh of two dimensions, one of them for tensor parallelism."
        )


def check_on_mesh(source: Bound | Together, requests: Asked, solver: Solver | None) -> None:
    """Raises: NotImplementedError for what takes the model as a function of whole parameters."""
    for who, _ in requests:
        with naming(who):
            check_replicated(source.parts[0].model)
    if solver is not None and not isinstance(solver, Closed | MultiStep):
        with naming(str(solver)):
            check_replicated(source.parts[0].model)


@contextmanager
def naming(who: str) -> Iterator[None]:
    """Inside, a refusal begins with who was refused."""
    try:
        yield
    except NotImplementedError as error:
        raise NotImplementedError(f"{who}: {error}") from None


def check_shared(requests: Asked, solver: Solver | None) -> None:
    """Raises: NotImplementedError for what is no mean over processes, with one ball for all of them."""
    for who, request in requests:
        if not isinstance(request, MeanSquares | PredictiveDistribution):
            raise NotImplementedError(
                f"{who} across {processes()} processes: a matrix of all samples' gradients is no mean of the processes' own. "
                "Use ball='rank' (one a process, m-sharpness), or a metric of the gradient, of its squares or of KL along one."
            )
    if solver is not None and not isinstance(solver, Closed | MultiStep | Radial):
        raise NotImplementedError(
            f"{solver} across {processes()} processes: it evaluates this one's loss alone. Use ball='rank'."
        )


def _bare(bound: Bound, around: DistributedDataParallel | None) -> Bound:
    """A static graph's hooks count gradients in the first backward pass that they see: it must not be this one."""
    found = wrapper(bound.model)
    module: nn.Module = bound.model if found is None else found.module
    around = found or around
    hookless = around is not None and around.static_graph
    return replace(bound, model=module, hookless=hookless) if found is not None or hookless else bound
