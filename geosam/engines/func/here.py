"""The mapped functions at a problem's current tensors."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ...core import Vectors
from ...core import vectors as vec
from ...core.undo import Attempt
from ...problem import Bound
from ...problem.functional import Call, Slots
from ...problem.gradient import raise_own
from ...problem.losses import sample_loss
from ...problem.modules import refuse_coupled_samples, training_modes
from ...rows import Materialised
from . import alone, mapped
from .compiled import Compiler, compiled


class Here:
    """What depends on the whole batch is computed here, once.

    replay: the random numbers of the last rows. looped: whether their samples were processed one by one.
    """

    def __init__(self, compiler: Compiler | None, bound: Bound, parameters: Vectors) -> None:
        refuse_coupled_samples(bound.model)
        bound.names(parameters)
        self.bound, self.parameters, self.compiler = bound, parameters, compiler
        self.slots, others, buffers = Slots.of(bound.model, parameters, bound.writes)
        self.call: Call = partial(self.slots.call, bound.model)
        factor = bound.sample.factor(bound.y, bound.outputs)
        if not isinstance(factor, Tensor):  # a number would become a constant of compiled code
            factor = torch.full((), factor, dtype=torch.float64, device=parameters[0].device)
        self.tensors = [p.detach() for p in parameters], others, buffers, factor
        self.replay, self.looped = bound.replay(), False

    def rows(self, part: Bound, outputs: bool, chunk: int | None) -> tuple[Tensor, list[Tensor], Any]:
        """(ℓ, rows, outputs if wanted) of some samples."""
        self.replay, attempt = self.bound.replay(), Attempt()
        try:
            jacobian, (losses, z) = self._run(mapped.rows, (outputs, chunk), part.x, part.y)
        except Exception as error:  # no batching rule (LSTM in float64), or none of torch.func: the model's own comes again
            attempt.refused(error)
            if self.compiler is not None:
                raise
            self.replay.rewind()
            self.looped, attempt = True, Attempt()
            try:
                jacobian, losses, z = alone.rows(part.wrt(self.parameters), self.tensors[3], outputs)
            except Exception as refusal:
                attempt.refused(refusal)
                raise_own(self.bound, self.bound.parameters)
                raise
        return losses.detach(), [j.detach() for j in jacobian], tree_map(Tensor.detach, z)

    def sums(self, part: Bound, c: Tensor | None) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
        """(ℓ, Σ gᵢ, Σ gᵢ², Σ cᵢgᵢ) for some samples; the last is empty without c, and in compiled form."""
        if self.compiler is not None:
            return *tree_map(Tensor.detach, self._run(mapped.sums, (), part.x, part.y)), []
        losses, jacobian, _ = self.rows(part, False, None)
        rows = Materialised(jacobian)
        weighted = [] if c is None else rows.vjp(c)
        return losses, rows.vjp(torch.ones_like(losses)), vec.scale(rows.mean_squares(), rows.n), weighted

    def pulled(self, cotangents: Tensor, chunk: int | None) -> Materialised:
        """Rows Jᵢᵀu for K cotangents of each sample's outputs, [K, n, ...], with the random numbers of the last rows."""
        x = self.bound.x
        if not self.looped:
            attempt = Attempt()
            try:
                with self.replay:
                    found = self._run(mapped.pulled, (chunk,), x, cotangents)
                return Materialised([r.detach().flatten(0, 1) for r in found])
            except Exception as error:  # no batching rule, as above
                attempt.refused(error)
                if self.compiler is not None:
                    raise
                if self.replay.used:
                    raise ValueError(
                        "the forward pass draws random numbers for all samples at once, and pulling back cotangents has no "
                        "batching rule here: it would see other masks. Use engines.Hooks(), or put dropout in eval mode."
                    ) from error
        with self.replay:
            each = alone.pulled(self.bound.wrt(self.parameters), cotangents)
        return Materialised([r.detach().flatten(0, 1) for r in each])

    def _run(self, make: Callable[..., mapped.Function], settings: tuple[Any, ...], x: Any, y: Any) -> Any:
        """Calls what ``make`` builds with these tensors; with a compiler it is built and compiled once per structure."""
        model, sample = self.bound.model, self.bound.sample
        if self.compiler is None:
            function = make(self.call, sample, *settings)
        else:
            # torch.compile does not check whether hooks have changed; each has its own number
            hooks = tuple(
                (*m._forward_pre_hooks, *m._forward_hooks, *m._backward_pre_hooks, *m._backward_hooks) for m in model.modules()
            )
            key = (make, settings, self.compiler, self.slots, *training_modes(model), hooks)
            current, function = self.bound.remembered(key, lambda: self._built(make, settings))
            current(model)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")  # vmap's fallback: slower, not wrong
            return function(self.tensors, x, y)

    def _built(self, make: Callable[..., mapped.Function], settings: tuple[Any, ...]) -> tuple[Any, mapped.Function]:
        assert self.compiler is not None, "asked for with a compiler only"
        call, current = self.slots.compilable(self.bound.model)
        # compiled code is told of changes of the loss itself
        sample = sample_loss(self.bound.loss, self.bound.sample)
        return current, compiled(make(call, sample, *settings), self.compiler)
