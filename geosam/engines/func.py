"""Per-sample gradients by torch.func: exact for every model that vmap can run."""

from __future__ import annotations

import functools
import itertools
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from ..core import Vectors, limits
from ..core import vectors as vec
from ..core.undo import Attempt
from ..problem import Bound
from ..problem.functional import Call, Slots
from ..problem.gradient import filled, gradients, private
from ..problem.losses import sample_loss
from ..problem.modules import refuse_coupled_samples, training_modes
from ..problem.randomness import Replay
from ..rows import Materialised
from . import mapped
from .abstract import Captured, Draw, Engine, Moments

_NUMBER = itertools.count()

Compiler = Callable[[mapped.Function], mapped.Function]


@dataclass(frozen=True)
class Func(Engine):
    """vmap(grad(ℓᵢ)). The rows are held in memory: 4nP bytes in float32; ``moments`` limits this by chunks of samples.

    chunk_size: the most samples that are mapped at once; by default all for ``rows``, and as many as fit in 256 MiB for
    ``moments``. compiler: such as ``functools.partial(torch.compile, fullgraph=True)``, applied once per problem to the
    mapped function, whose inputs are all that changes between steps; another batch size or mode of the model is compiled
    again. ``moments`` is compiled with its sums: a compiler that fuses them stores no rows of linear layers.
    Correct for tied weights, raw parameters, attention, GroupNorm, LSTM, Embedding, weight norm. Dropout has one mask per
    sample. Where vmap or torch.func has no rule for an operation the samples are processed one by one by plain autograd,
    unless there is a compiler.
    Raises: ValueError for BatchNorm in training mode; with a compiler also for what it cannot compile, and for a forward pass
    that uses random numbers, because compiled code may use others.
    """

    chunk_size: int | None = None
    compiler: Compiler | None = None

    def __post_init__(self) -> None:
        if self.compiler is not None and not callable(self.compiler):
            raise TypeError(f"compiler takes a function and returns it compiled, as torch.compile does; got {self.compiler!r}")

    def capture(self, bound: Bound, parameters: Vectors, draw: Draw | None = None) -> Captured:
        """Rows in memory. Cotangents come from the outputs of the same pass, and are pulled back under its dropout masks."""
        here = _Here(self, bound, parameters)
        losses, jacobian, outputs = here.rows(bound.x, bound.y, draw is not None, self.chunk_size)
        drawn = None if draw is None else here.pulled(draw(outputs), self.chunk_size)
        return Captured(losses, Materialised(jacobian), drawn)

    def moments(self, bound: Bound, parameters: Vectors, coefficients: Tensor | None = None) -> Moments:
        """(ℓ, g, (1/n) Σ gᵢ²), chunk by chunk."""
        most = self.chunk_size or max(1, limits.CHUNK // (4 * vec.count(parameters)))
        width = -(-bound.n // -(-bound.n // most))  # chunks as equal as possible: each size is compiled once
        here = _Here(self, bound, parameters)
        parts = []
        for start in range(0, bound.n, width):
            x, y = (_slice(tree, start, start + width) for tree in (bound.x, bound.y))
            parts.append(here.sums(x, y, None if coefficients is None else coefficients[start : start + width]))
        losses, totals, squares, weighted = zip(*parts, strict=True)
        mean, square = (vec.scale(functools.reduce(vec.add, sums), 1 / bound.n) for sums in (totals, squares))
        found = None if coefficients is None else functools.reduce(vec.add, weighted)
        if found is not None and self.compiler is not None:  # a difference of the compiled mean shows in the sum
            plain = replace(self, compiler=None).moments(bound, parameters, coefficients)
            assert plain.weighted is not None
            found = vec.add(plain.weighted, vec.map(Tensor.double, vec.add(mean, plain.gradient, -1.0)))
        return Moments(torch.cat(losses), mean, square, weighted=found)

    def instead(self) -> Engine | None:
        """None, but the same without the compiler if there is one."""
        return None if self.compiler is None else replace(self, compiler=None)


class _Here:
    """The mapped functions at a problem's current tensors; what depends on the whole batch is computed here, once.

    replay: the random numbers of the last rows. looped: whether their samples were processed one by one.
    """

    def __init__(self, engine: Func, bound: Bound, parameters: Vectors) -> None:
        refuse_coupled_samples(bound.model)
        bound.names(parameters)
        self.bound, self.parameters, self.compiler = bound, parameters, engine.compiler
        self.slots, others, buffers = Slots.of(bound.model, parameters, bound.writes)
        self.call: Call = partial(self.slots.call, bound.model)
        factor = bound.sample.factor(bound.y, bound.outputs)
        if not isinstance(factor, Tensor):  # a number would become a constant of compiled code
            factor = torch.full((), factor, dtype=torch.float64, device=parameters[0].device)
        self.tensors = [p.detach() for p in parameters], others, buffers, factor
        self.replay, self.looped = bound.replay(), False

    def rows(self, x: Any, y: Any, outputs: bool, chunk: int | None) -> tuple[Tensor, list[Tensor], Any]:
        """(ℓ, rows, outputs if wanted) for some samples."""
        self.replay, attempt = self.bound.replay(), Attempt()
        try:
            jacobian, (losses, z) = self._run(mapped.rows, (outputs, chunk), x, y)
        except Exception as error:  # no batching rule (LSTM in float64), or none of torch.func: the model's own comes again
            attempt.refused(error)
            if self.compiler is not None:
                raise
            self.replay.rewind()
            self.looped = True
            jacobian, losses, z = self._by_sample(x, y, outputs)
        return losses.detach(), [j.detach() for j in jacobian], tree_map(Tensor.detach, z)

    def _by_sample(self, x: Any, y: Any, outputs: bool) -> tuple[list[Tensor], Tensor, Any]:
        """(rows, ℓ, outputs if wanted) by plain autograd, a pass a sample."""
        losses, found, seen = [], [], []
        for i in range(tree_leaves(x)[0].shape[0]):
            values = private(self.parameters)
            z = self._alone(values, x, i)
            with self.bound.wrt(self.parameters).reading(values):
                loss = self.bound.sample.one(z, _only(y, i), self.tensors[3])
            reached = gradients(loss, z, values)
            found.append(filled(reached, self.parameters))
            losses.append(loss.detach())
            seen += [z.detach()] if outputs else []
        return [torch.stack(j) for j in zip(*found, strict=True)], torch.stack(losses), torch.cat(seen) if outputs else ()

    def _alone(self, values: Vectors, x: Any, i: int) -> Any:
        """The outputs of a batch of sample i alone. Raises: ValueError where the model does not run on it."""
        attempt = Attempt()
        with torch.enable_grad():
            try:
                return self.bound.pure(self.parameters)(values, _only(x, i))
            except Exception as error:
                attempt.refused(error)
                raise ValueError(
                    f"the model does not run on a sample alone ({type(error).__name__}: {str(error).strip().splitlines()[0]}), "
                    "as where samples are the nodes of one graph, or a state of the whole batch is kept in it. Such a problem "
                    "has no per-sample gradients; use a metric that needs none: GradientMagnitude, Fisher, "
                    "KLExact(along=GradientMagnitude())."
                ) from error

    def sums(self, x: Any, y: Any, c: Tensor | None) -> tuple[Tensor, list[Tensor], list[Tensor], list[Tensor]]:
        """(ℓ, Σ gᵢ, Σ gᵢ², Σ cᵢgᵢ) for some samples; the last is empty without c, and in compiled form."""
        if self.compiler is not None:
            return *tree_map(Tensor.detach, self._run(mapped.sums, (), x, y)), []
        losses, jacobian, _ = self.rows(x, y, False, None)
        part = Materialised(jacobian)
        weighted = [] if c is None else part.vjp(c)
        return losses, part.vjp(torch.ones_like(losses)), vec.scale(part.mean_squares(), part.n), weighted

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
            each = [self._pulled_by_sample(x, i, u) for i, u in enumerate(cotangents.unbind(1))]
        return Materialised([torch.stack(r, 1).detach().flatten(0, 1) for r in zip(*each, strict=True)])

    def _pulled_by_sample(self, x: Any, i: int, u: Tensor) -> list[Tensor]:
        """Jᵢᵀu for K cotangents of sample i, [K, *shape] each."""
        values = private(self.parameters)
        z = self._alone(values, x, i)
        found = [filled(gradients(z, z, values, u=v.unsqueeze(0)), values) for v in u]
        return [torch.stack(rows) for rows in zip(*found, strict=True)]

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
        return current, _compiled(make(call, sample_loss(self.bound.loss), *settings), self.compiler)


def _only(tree: Any, i: int) -> Any:
    """The batch of sample i."""
    return _slice(tree, i, i + 1)


def _slice(tree: Any, start: int, end: int) -> Any:
    return tree_map(lambda t: t[start:end] if isinstance(t, Tensor) else t, tree)


def _compiled(function: mapped.Function, compiler: Compiler) -> mapped.Function:
    """ValueError where it does not compile, or uses random numbers."""
    plain = cast(types.FunctionType, function)
    # its own code under its own name: torch.compile stops after eight compilations of a code object, and treats sizes that
    # differ under one name, here those of several problems, as variable
    code = plain.__code__.replace(co_name=f"{plain.__name__}_{next(_NUMBER)}")
    compiled = compiler(types.FunctionType(code, plain.__globals__, code.co_name, None, plain.__closure__))

    def checked(tensors: Any, x: Any, y: Any) -> Any:
        replay = Replay.now(tensors[0])
        try:
            with replay:
                out = compiled(tensors, x, y)
        except RuntimeError as error:
            raise ValueError(
                f"the per-sample gradients do not run in compiled form: {str(error).strip().splitlines()[0]}. Leave out the "
                "compiler of engines.Func, or let it break the graph: torch.compile without fullgraph=True."
            ) from error
        if replay.used:
            raise ValueError(
                "the forward pass draws random numbers, and compiled code may draw others than the model does. Leave out the "
                "compiler of engines.Func, or put dropout in eval mode."
            )
        return out

    return checked
