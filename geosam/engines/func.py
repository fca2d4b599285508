"""Per-sample gradients by torch.func: exact for every model that vmap can run."""

from __future__ import annotations

import itertools
import types
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from ..core import Vectors, limits
from ..core import vectors as vec
from ..problem import Bound
from ..problem.functional import Slots
from ..problem.modules import refuse_coupled_samples
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
    sample. Where vmap has no rule for an operation the samples are processed one by one, unless there is a compiler.
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

    def moments(self, bound: Bound, parameters: Vectors) -> Moments:
        """(ℓ, g, (1/n) Σ gᵢ²), chunk by chunk."""
        most = self.chunk_size or max(1, limits.CHUNK // (4 * vec.count(parameters)))
        width = -(-bound.n // -(-bound.n // most))  # chunks as equal as possible: each size is compiled once
        here = _Here(self, bound, parameters)
        losses, total, squares = [], None, None
        for start in range(0, bound.n, width):
            some, sums, square = here.sums(*tree_map(lambda t, s=start: t[s : s + width], (bound.x, bound.y)))
            total = sums if total is None else vec.add(total, sums)
            squares = square if squares is None else vec.add(squares, square)
            losses.append(some)
        assert total is not None and squares is not None
        return Moments(torch.cat(losses), vec.scale(total, 1 / bound.n), vec.scale(squares, 1 / bound.n))


class _Here:
    """The mapped functions at a problem's current tensors; what depends on the whole batch is computed here, once.

    replay: the random numbers of the last rows. looped: whether their samples were processed one by one.
    """

    def __init__(self, engine: Func, bound: Bound, parameters: Vectors) -> None:
        refuse_coupled_samples(bound.model)
        bound.names(parameters)
        self.bound, self.parameters, self.compiler = bound, parameters, engine.compiler
        self.slots, others, buffers = Slots.of(bound.model, parameters)
        factor = bound.sample.factor(bound.y, bound.outputs)
        if not isinstance(factor, Tensor):  # a number would become a constant of compiled code
            factor = torch.full((), factor, dtype=torch.float64, device=parameters[0].device)
        self.tensors = [p.detach() for p in parameters], others, buffers, factor
        self.replay, self.looped = bound.replay(), False

    def rows(self, x: Any, y: Any, outputs: bool, chunk: int | None) -> tuple[Tensor, list[Tensor], Any]:
        """(ℓ, rows, outputs if wanted) for some samples."""
        self.replay = self.bound.replay()
        try:
            jacobian, (losses, z) = self._run(mapped.rows, (outputs, chunk), x, y)
        except RuntimeError:  # no batching rule (LSTM in float64): an error of the model's own is raised again below
            self.replay, self.looped = self.bound.replay(), True
            one = mapped.gradient_of_one(self.bound.model, self.bound.sample, self.slots, outputs)
            n = tree_leaves(x)[0].shape[0]
            found = [one(self.tensors, *tree_map(lambda t, i=i: t[i], (x, y))) for i in range(n)]
            jacobian, (losses, z) = tree_map(lambda *t: torch.stack(t), *found)
        return losses.detach(), [j.detach() for j in jacobian], tree_map(Tensor.detach, z)

    def sums(self, x: Any, y: Any) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """(ℓ, Σ gᵢ, Σ gᵢ²) for some samples."""
        if self.compiler is not None:
            return tree_map(Tensor.detach, self._run(mapped.sums, (), x, y))
        losses, jacobian, _ = self.rows(x, y, False, None)
        part = Materialised(jacobian)
        return losses, part.vjp(torch.ones_like(losses)), vec.scale(part.mean_squares(), part.n)

    def pulled(self, cotangents: Tensor, chunk: int | None) -> Materialised:
        """Rows Jᵢᵀu for K cotangents of each sample's outputs, [K, n, ...], with the random numbers of the last rows."""
        x = self.bound.x
        if not self.looped:
            try:
                with self.replay:
                    found = self._run(mapped.pulled, (chunk,), x, cotangents)
                return Materialised([r.detach().flatten(0, 1) for r in found])
            except RuntimeError as error:  # no batching rule, as above
                if self.replay.used:
                    raise ValueError(
                        "the forward pass draws random numbers for all samples at once, and pulling back cotangents has no "
                        "batching rule here: it would see other masks. Use engines.Hooks(), or put dropout in eval mode."
                    ) from error
        one = mapped.pulled_of_one(self.bound.model, self.slots, together=False)
        with self.replay:
            each = [one(self.tensors, tree_map(lambda t, i=i: t[i], x), u) for i, u in enumerate(cotangents.unbind(1))]
        return Materialised([torch.stack(r, 1).detach().flatten(0, 1) for r in zip(*each, strict=True)])

    def _run(self, make: Callable[..., mapped.Function], settings: tuple[Any, ...], x: Any, y: Any) -> Any:
        """Calls what ``make`` builds with these tensors. It is built, and compiled, once per structure."""
        model, sample = self.bound.model, self.bound.sample

        def built() -> mapped.Function:
            function = make(model, sample, self.slots, *settings)
            return function if self.compiler is None else _compiled(function, self.compiler)

        # torch.compile does not check whether hooks have changed; each has its own number
        hooks = tuple(
            (*m._forward_pre_hooks, *m._forward_hooks, *m._backward_pre_hooks, *m._backward_hooks) for m in model.modules()
        )
        # the stored function refers to the model, so that its id is not reused
        function = self.bound.remembered((make, settings, self.compiler, id(model), self.slots, hooks), built)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="There is a performance drop")  # vmap's fallback: slower, not wrong
            return function(self.tensors, x, y)


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
