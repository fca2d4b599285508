"""Float32 copies of parameters below float32, which the base optimizer steps on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..core import Perturbation, Vectors
from ..core import vectors as vec
from ..core.sharded import any_sharded
from .move import Move


class Masters(Move):
    """θ + ε is rounded from float32 copies of the parameters below float32, and the base optimizer steps on these copies.

    Rounding θ + ε from θ itself takes nothing of an ε below half its spacing; from a copy with all its digits an entry moves
    by one spacing as often as ε is a part of it, and updates are not lost either. For that time parameters hold float32, so the
    base optimizer's state is float32. Where a parameter was written to by others its copy follows. Costs the memory of the
    copies, saved in checkpoints, and two passes over them a step. Not for captured steps, nor sharded parameters.
    """

    lifts = True

    def __init__(self) -> None:
        super().__init__()
        self._lifted: list[tuple[Tensor, Tensor]] = []

    def _masters(self, parameters: Vectors) -> list[Tensor | None]:
        if any_sharded(parameters):
            raise NotImplementedError(
                "Masters() with sharded parameters: FSDP2 keeps float32 parts and computes in bfloat16 by itself, "
                "fully_shard(..., mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16)). Use move=Copy()."
            )
        known = self.state.get("masters", [None] * len(parameters))
        self.state["masters"] = [_master(p, m) for p, m in zip(parameters, known, strict=True)]
        found: list[Tensor | None] = self.state["masters"]
        return found

    def _displace(self, parameters: Vectors, perturbation: Perturbation) -> None:
        direction = self._apart(perturbation.direction)
        vec.copy_(self.buffers, parameters)
        self._away = list(zip(parameters, self.buffers, strict=True))
        for p, m, v in zip(parameters, self._masters(parameters), direction, strict=True):
            precise = p if m is None else m
            scale = perturbation.scale.to(precise.device, precise.dtype)
            p.copy_(torch.where(perturbation.finite.to(p.device), precise + scale * v, precise))

    def _put_back(self, away: Sequence[tuple[Tensor, Tensor]]) -> None:
        vec.copy_([p for p, _ in away], [saved for _, saved in away])

    @torch.no_grad()
    def lift(self, parameters: Vectors) -> None:
        """Until :meth:`lower` the parameters and their gradients are float32."""
        self.lower()
        for p, m in zip(parameters, self._masters(parameters), strict=True):
            if m is not None:
                self._lifted.append((p, p.data))
                _hold(p, m)

    @torch.no_grad()
    def lower(self) -> None:
        """In their own precision again, at the copies' values; may be repeated."""
        while self._lifted:
            p, own = self._lifted[-1]
            if p.data.dtype != own.dtype:
                own.copy_(p.data)
                _hold(p, own)
            self._lifted.pop()

    def restore(self) -> None:
        """θ, in its own precision."""
        self.lower()
        super().restore()


def _master(p: Tensor, known: Tensor | None) -> Tensor | None:
    if p.dtype.itemsize >= 4 or not p.is_floating_point():
        return None
    return p.detach().float() if known is None else torch.where(known.to(p.dtype) == p, known, p.detach().float())


def _hold(p: Tensor, value: Tensor) -> None:
    """Parameter and gradient in the value's type: a gradient has its parameter's, unless that says another (``grad_dtype``)."""
    gradient, p.grad = p.grad, None
    p.data = value
    if gradient is not None:
        p.grad = gradient.to(getattr(p, "grad_dtype", None) or value.dtype)
