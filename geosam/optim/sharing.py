"""Whose a step's ball is, and what is averaged over processes for it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ..core import Divergence, InnerProduct, Landing, Norm, Solver, Vectors
from ..core import vectors as vec
from ..core.sharded import any_sharded, mean_over_mesh, placed_as
from ..observation import MeanSquares, Observation, PredictiveDistribution
from ..problem import Bound, Together
from .processes import (
    Asked,
    check_joined,
    check_on_mesh,
    check_sharded,
    check_shared,
    check_synchronised,
    joins,
    processes,
    wrapper,
)


class Sharing:
    """One ball for all processes, one for each, or one over the mesh of sharded parameters; alone nothing is reduced.

    one: whether a first pass is averaged over processes here: a closure's wrapper does it by itself, and so does FSDP2.
    each: whether every process has a ball, and the mean of their updates is taken. apart: whether losses are the processes' own
    and the gradient is of all, as of closures whose wrapper reduces: what is decided is decided by the gradient.
    scaled: whether there is a GradScaler. around: the DistributedDataParallel that reduces the parameters' gradients, if any.
    Raises: NotImplementedError for one for each with a closure, for a closure whose wrapper does not reduce now, and for what
    sharded parameters do not allow.
    """

    def __init__(
        self,
        ball: str,
        problem: Bound | Together | None,
        parameters: Vectors,
        scaled: bool = False,
        around: DistributedDataParallel | None = None,
    ) -> None:
        self.on_mesh = any_sharded(parameters)
        if self.on_mesh:
            check_sharded(problem, ball, parameters if scaled else ())
        several = processes() > 1
        if several and problem is None and ball == "rank":
            raise NotImplementedError("ball='rank' takes problem.on(x, y): a closure's gradients are reduced by its wrapper")
        if problem is None:
            check_synchronised(around)
        else:
            check_joined(around)
        self.around, self.parameters = around, parameters
        self.group = None if around is None else around.process_group
        self._begins = problem is not None and around is wrapper(problem.parts[0].model)
        self._reduces = several and problem is not None
        self.one = self._reduces and ball == "global" and not self.on_mesh
        self.each = self._reduces and ball == "rank"
        self.apart = several and problem is None and not self.on_mesh

    def check(self, source: Bound | Together, asked: Asked, solver: Solver | None) -> None:
        """Raises: NotImplementedError for what processes cannot share."""
        if self.one:
            check_shared(asked, solver)
        if self.on_mesh:
            check_on_mesh(source, asked, solver)

    def begin(self) -> None:
        """Rank 0's buffers for all, as the wrapper has them before a pass: the first one goes past it."""
        if self._begins and self.around is not None and self.around.broadcast_buffers:
            group = self.around.process_group
            for b in self.around.module.buffers():
                dist.broadcast(b, dist.get_global_rank(group, 0), group)

    def observed(self, seen: Observation) -> Observation:
        """The observation of all processes that have one ball."""
        if self.one:
            seen = shared(seen, self.group)
        return over_mesh(seen) if self.on_mesh else seen

    def geometry(self, own: Norm | Divergence, who: str, seen: Observation) -> Norm | Divergence:
        """That of their ball. Raises: NotImplementedError for a norm made of this process's predictions."""
        if not self.one:
            return own
        if isinstance(own, Divergence):
            return SharedDivergence(own, self.group)
        if any(isinstance(request, PredictiveDistribution) for request in seen.found):
            raise NotImplementedError(
                f"{who} across {processes()} processes is made of this one's predictions. Use ball='rank'."
            )
        return own

    def is_number(self, loss: Tensor) -> Tensor:
        """Whether the loss is finite; one that others do not see is not asked."""
        return torch.ones_like(loss, dtype=torch.bool) if self.apart else loss.abs() < math.inf

    @property
    def audits(self) -> bool:
        """Whether it is known what a closure's gradients are the mean of (by hand it is not), and all processes are there."""
        return not self.apart or (self.around is not None and not joins(self.around))

    def joint_loss(self, loss: Tensor) -> Tensor:
        """The one whose gradient a pass leaves, float64, from this process's own, which may be of another type in each."""
        loss = loss.to(self.parameters[0].device, torch.float64)
        if self.on_mesh:
            return mean_over_mesh(loss, self.parameters)
        return mean([loss], self.group)[0] if self.apart or self._reduces else loss

    def joint(self, v: Vectors) -> Vectors:
        """What a wrapper makes of gradients as this process's backward pass leaves them; FSDP2 has done so by then."""
        return mean(v, self.group) if self.apart else v

    def agreed(self, flag: Tensor) -> Tensor:
        """Whether it holds in all processes."""
        return mean([flag.float()], self.group)[0] == 1 if self._reduces else flag

    def mean(self, v: Vectors) -> Vectors:
        """The mean over processes that have a ball each; else v itself."""
        return mean(v, self.group) if self.each else v

    def meet(self, v: Vectors) -> None:
        """v ← that mean."""
        if self.each:
            vec.copy_(v, mean(v, self.group))


def shared(seen: Observation, group: Any = None) -> Observation:
    """Loss, gradient and mean squares as means over processes (the mean of their means, as DistributedDataParallel's)."""
    found = dict(seen.found)
    for request, value in found.items():
        if isinstance(request, MeanSquares):
            found[request] = mean(value, group)
    *gradient, loss = mean([*seen.gradient, seen.loss], group)
    return replace(seen, gradient=gradient, loss=loss, found=found)


def over_mesh(seen: Observation) -> Observation:
    """The gradient divided as the parameters are, which the wrapper has reduced; the loss as a mean over processes."""
    gradient = [placed_as(g, p) for g, p in zip(seen.gradient, seen.parameters, strict=True)]
    return replace(seen, gradient=gradient, loss=mean_over_mesh(seen.loss, seen.parameters))


def mean(v: Sequence[Tensor], group: Any = None) -> list[Tensor]:
    """The mean over processes, in tensors of its own, identical in all of them."""
    out = [t.detach().clone() for t in vec.dense(v)]
    for work in [dist.all_reduce(t, group=group, async_op=True) for t in out]:
        work.wait()
    return vec.scale(out, 1 / dist.get_world_size(group))


class SharedDivergence(Divergence):
    """The mean over processes of each one's divergence, along a norm that they share."""

    def __init__(self, own: Divergence, group: Any = None) -> None:
        self.own, self.group, self.along, self.cap = own, group, own.along, own.cap

    def __call__(self, epsilon: Vectors) -> Tensor:
        """D(ε), the same in all processes."""
        return mean([self.own(epsilon)], self.group)[0]

    def visit(self, direction: Vectors, scale: Tensor, keep: bool) -> tuple[Tensor, Landing | None]:
        """D at ε = scale · direction; no pass is kept, for the second one goes through the wrapper."""
        return mean([self.own.visit(direction, scale, False)[0]], self.group)[0], None

    def local_norm(self, damping: float) -> InnerProduct:
        """Raises: NotImplementedError."""
        raise NotImplementedError("the local norm of a divergence is not reduced over processes")
