"""The engine that records each layer's operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from ...core import Vectors
from ...core import vectors as vec
from ...core.limits import rounding
from ...problem import Bound
from ...problem.modules import refuse_coupled_samples, structure
from ...rows import Rows, Stacked
from ..abstract import Captured, Choice, Draw, Engine
from ..func import Func
from ..still import Still
from .capture import Capture, Use
from .layers import can_be_formed
from .layout import UNKNOWN, Layout, learn, signature
from .plan import Plan


@dataclass(frozen=True)
class Hooks(Engine):
    """Records every operation that takes a parameter; one backward pass to the activations, without any weight gradient.

    Rows are not formed for linear layers whose factors are smaller; they are formed, layer by layer, for convolutions,
    normalisations, embeddings and raw parameters. A parameter used in another way (through a tensor computed from it,
    such as a weight norm, or inside a fused recurrence) is handled by ``Func``. Which slice of an intermediate belongs to which
    sample is found once per problem, by running two and three samples; the rows of two samples are compared with autograd's.
    Raises: ValueError for BatchNorm in training mode.
    """

    def capture(self, bound: Bound, parameters: Vectors, draw: Draw | None = None) -> Captured:
        """Rows by layer; one backward pass for the losses, and one for each of the K cotangents."""
        start = bound.replay()
        seen, outputs = _record(bound, parameters)
        losses, root = _rooted(bound, outputs)
        random = start.over
        data = _gradients(root, seen, parameters, retain=draw is not None or seen.routed)
        plan = _plan(bound, parameters, seen, root, data)
        if plan.left and random:  # Func cannot use the dropout masks of this pass: one engine for all
            return Func().capture(bound, parameters, draw)
        cotangents = None if draw is None else draw(outputs.detach())
        roots = [] if cotangents is None else [Root(outputs, u.to(outputs.dtype)) for u in cotangents]
        drawn = [_gradients(each, seen, parameters, retain=True) for each in roots]
        rest = None
        if plan.left:  # with the same cotangents: they may be random
            held = [parameters[i] for i in plan.left]
            rest = Func().capture(bound, held, None if cotangents is None else lambda _: cotangents)
        rows = _stacked(plan, [data], rest and rest.rows)
        seen_outputs = outputs.detach() if isinstance(outputs, Tensor) else None
        return Captured(losses, rows, _stacked(plan, drawn, rest and rest.drawn) if drawn else None, seen_outputs)

    def explain(self, bound: Bound, parameters: Vectors) -> list[Choice]:
        """The plan for this batch."""
        seen, outputs = _record(bound, parameters)
        _, root = _rooted(bound, outputs)
        plan = _plan(bound, parameters, seen, root, _gradients(root, seen, parameters, retain=seen.routed))
        names = bound.names(parameters)
        return [Choice([names[i] for i in part.index], part.form, part.why) for part in plan.parts]


class Root(NamedTuple):
    """Where a backward pass starts: the gradient of ⟨of, u⟩, both [n, ...]."""

    of: Tensor
    u: Tensor


def _record(bound: Bound, parameters: Vectors) -> tuple[Capture, Any]:
    refuse_coupled_samples(bound.model)
    seen, call = Capture(parameters), bound.pure(parameters)
    start, known = bound.replay(), bound.recomputes
    with seen:
        outputs = call(parameters, bound.x)
    if bound.recomputes != known:  # found during the pass: a partial pass was recorded before the whole one
        seen = Capture(parameters)
        with start, seen:
            outputs = call(parameters, bound.x)
    seen.end(outputs)
    return seen, outputs


def _rooted(bound: Bound, outputs: Any) -> tuple[Tensor, Root]:
    """(ℓ, the root of Σ ℓᵢ), for torch's losses by slopes in float64: then 1 − p keeps its digits near p = 1."""
    if bound.sample.known and isinstance(outputs, Tensor):
        seen = outputs.detach()
        return bound.sample.all(seen, bound.y), Root(outputs, bound.sample.slopes(seen, bound.y).to(seen.dtype))
    losses = bound.sample.all(outputs, bound.y)
    return losses.detach(), Root(losses, torch.ones_like(losses))


def _gradients(root: Root, seen: Capture, parameters: Vectors, retain: bool) -> Sequence[Any]:
    """The gradient at every edge, at least in the type of its parameter; None where the root does not depend on it."""
    if not seen.uses or not root.of.requires_grad:
        return [None] * len(seen.uses)
    edges = [use.edge for use in seen.uses]
    found = torch.autograd.grad(root.of, edges, root.u, allow_unused=True, retain_graph=retain)
    return [d if d is None else _widened(d, use, parameters) for d, use in zip(found, seen.uses, strict=True)]


def _widened(delta: Tensor, use: Use, parameters: Vectors) -> Tensor:
    """Under autocast an output is narrower than the parameter that it was made with."""
    dtype = parameters[next(iter(use.places.values()))].dtype
    return delta if delta.dtype == dtype else delta.to(torch.promote_types(delta.dtype, dtype))


def _plan(bound: Bound, parameters: Vectors, seen: Capture, root: Root, deltas: Sequence[Any]) -> Plan:
    """Layouts are learnt and checked once per structure; if the check fails, they are discarded and ``Func`` is used.

    Where data may decide which sample goes where, they are checked again on each batch.
    """
    key = ("layouts", bound.n == 1, *structure(bound.model, parameters), *signature(seen.uses))
    layouts, right = bound.memory.get(key, (None, None))
    if layouts is None:
        with Still() as still:
            layouts, right = _tried(bound, parameters, learn(bound, parameters, seen.uses), still)
        if right is not None:
            bound.memory[key] = layouts, right
    if right is False:  # some uses may not have been recorded at all
        seen.opaque |= set(range(len(parameters)))
    layouts = _fitting(layouts, seen, bound.n)
    if seen.routed and bound.n > 1:
        layouts = _proven(seen, layouts, root, deltas, parameters)
    return Plan(seen, layouts, [delta is not None for delta in deltas], bound.n, parameters)


def _fitting(layouts: Sequence[Layout], seen: Capture, n: int) -> list[Layout]:
    return [layout if layout.fits(use, n) else UNKNOWN for layout, use in zip(layouts, seen.uses, strict=True)]


def _proven(seen: Capture, layouts: Sequence[Layout], root: Root, deltas: Sequence[Any], parameters: Vectors) -> list[Layout]:
    """The layouts that pass: where they place sample i, the gradient of Σ wᵢℓᵢ is wᵢ times that of Σ ℓᵢ, for irregular w."""
    weights = torch.cos(torch.arange(len(root.u), device=root.u.device) * 2.4).to(root.u.dtype)
    odd = Root(root.of, root.u * weights.view(-1, *[1] * (root.u.dim() - 1)))
    weighted = _gradients(odd, seen, parameters, retain=True)
    tolerance = max((rounding(use.dtype) for use in seen.uses), default=0.0)
    return [
        layout if d is None or layout.out is None or layout.out.owns(d, w, weights, tolerance) else UNKNOWN
        for layout, d, w in zip(layouts, deltas, weighted, strict=True)
    ]


def _tried(bound: Bound, parameters: Vectors, layouts: list[Layout], still: Still) -> tuple[list[Layout], bool | None]:
    """The layouts of rows that can be formed, and whether these are right in a pass without dropout. None: undecided."""
    with torch.enable_grad(), bound.replay():
        seen, outputs = _record(bound, parameters)
        deltas = _gradients(_rooted(bound, outputs)[1], seen, parameters, retain=False)
    if len(layouts) != len(seen.uses):
        return layouts, False
    fitting = _fitting(layouts, seen, bound.n)
    with torch.no_grad():
        for k, (use, delta) in enumerate(zip(seen.uses, deltas, strict=True)):
            like = {place: parameters[i] for place, i in use.places.items()}
            if fitting[k].out and delta is not None and not can_be_formed(use, fitting[k], delta, bound.n, like):
                fitting[k] = UNKNOWN
                layouts[k] = UNKNOWN
    plan = Plan(seen, fitting, [delta is not None for delta in deltas], bound.n, parameters)
    return layouts, _right(bound, plan, deltas, still)


def _right(bound: Bound, plan: Plan, deltas: Sequence[Any], still: Still) -> bool | None:
    """Whether the first and the last row are the gradients of these samples alone. None: some are 0 or not finite."""
    with torch.no_grad():
        parts = plan.rows([deltas])
    if not parts:
        return True
    index = [i for part, _ in parts for i in part]
    parameters = plan.parameters
    held, call = [parameters[i] for i in index], bound.pure(parameters)
    unused = {i for part in plan.parts if part.form == "zero" for i in part.index}
    told = True
    for i in (0, bound.n - 1):
        x, y = tree_map(lambda t, i=i: t[i : i + 1] if isinstance(t, Tensor) else t, (bound.x, bound.y))
        with torch.enable_grad(), bound.replay():
            factor = bound.sample.factor(bound.y, bound.outputs)
            alone = torch.autograd.grad(bound.sample.one(call(parameters, x), y, factor), held, allow_unused=True)
        if any(g is not None and k in unused for g, k in zip(alone, index, strict=True)):
            return False  # its use was not recorded, and its row is 0 only because of that
        told = told and all(g is None or bool(g.to_dense().any()) for g in alone)
        unit = torch.zeros(bound.n, dtype=torch.float64, device=held[0].device)
        unit[i] = 1
        row = [t for _, rows in parts for t in rows.vjp(unit)]
        wanted = [torch.zeros_like(p) if g is None else g.to_dense() for g, p in zip(alone, held, strict=True)]
        gap, size = vec.norm(vec.add(row, vec.map(Tensor.double, wanted), -1.0)), vec.norm(wanted)
        if not torch.isfinite(gap):
            return None
        if gap > still.tolerance * size:
            return False
    return True if told else None


def _stacked(plan: Plan, deltas: Sequence[Sequence[Any]], rest: Rows | None) -> Stacked:
    with torch.no_grad():
        parts = plan.rows(deltas)
    return Stacked(parts if rest is None else [*parts, (plan.left, rest)])
