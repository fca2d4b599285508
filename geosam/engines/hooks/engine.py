"""The engine that records each layer's operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...core import Vectors
from ...core.limits import rounding
from ...problem import Bound
from ...problem.modules import refuse_coupled_samples, structure
from ...rows import Rows, Stacked
from ..abstract import Captured, Choice, Draw, Engine
from ..func import Func
from ..schedule import chance
from ..still import Still
from ..weighted import Weighted, gap, irregular
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
    sample is found once per problem, by running two and three samples, and proven on the batch by unequal weights; again on
    each batch whose values may move samples. Where a layer's slices are other samples', its rows are ``Func``'s.
    Raises: ValueError for BatchNorm in training mode.
    """

    def capture(self, bound: Bound, parameters: Vectors, draw: Draw | None = None) -> Captured:
        """Rows by layer; one backward pass for the losses, and one for each of the K cotangents."""
        start = bound.replay()
        seen, outputs = _record(bound, parameters)
        losses, root = _rooted(bound, outputs)
        random = start.over
        data = _gradients(root, seen, parameters, retain=draw is not None or seen.routes.found)
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
        alone = _stacked(plan, drawn, rest and rest.drawn) if drawn else None
        # Func ran each sample by itself: where samples meet, its losses are others
        doubtful = rest is not None and not torch.allclose(rest.losses, losses, rtol=rounding(losses.dtype), equal_nan=True)
        return Captured(losses, rows, alone, outputs.detach() if isinstance(outputs, Tensor) else None, doubtful)

    def instead(self) -> Engine | None:
        """``Func``."""
        return Func()

    def explain(self, bound: Bound, parameters: Vectors) -> list[Choice]:
        """The plan for this batch."""
        seen, outputs = _record(bound, parameters)
        _, root = _rooted(bound, outputs)
        plan = _plan(bound, parameters, seen, root, _gradients(root, seen, parameters, retain=seen.routes.found))
        names = bound.names(parameters)
        return [Choice([names[i] for i in part.index], part.form, part.why) for part in plan.parts]


class Root(NamedTuple):
    """Where a backward pass starts: the gradient of ⟨of, u⟩, both [n, ...]."""

    of: Tensor
    u: Tensor


def _record(bound: Bound, parameters: Vectors) -> tuple[Capture, Any]:
    refuse_coupled_samples(bound.model)
    seen, call = Capture(parameters), bound.pure(parameters)
    with seen:
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
    """Layouts are learnt and proven once per structure; if their rows are wrong, they are discarded and ``Func`` is used.

    Where data may decide which sample goes where, they are proven again on each batch.
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
    if seen.routes.found and bound.n > 1:
        layouts = _proven(bound, seen, layouts, root, deltas, parameters)
    return Plan(seen, layouts, [delta is not None for delta in deltas], bound.n, parameters)


def _fitting(layouts: Sequence[Layout], seen: Capture, n: int) -> list[Layout]:
    return [layout if layout.fits(use, n) else UNKNOWN for layout, use in zip(layouts, seen.uses, strict=True)]


def _proven(
    bound: Bound, seen: Capture, layouts: Sequence[Layout], root: Root, deltas: Sequence[Any], parameters: Vectors
) -> list[Layout]:
    """The layouts that pass: where they place sample i, the gradient of Σ vᵢℓᵢ is vᵢ times that of Σ ℓᵢ, for irregular v."""
    v = irregular(len(root.u), chance(bound), root.u).to(root.u.dtype)
    odd = Root(root.of, root.u * v.view(-1, *[1] * (root.u.dim() - 1)))
    weighted = _gradients(odd, seen, parameters, retain=True)
    tolerance = max((rounding(use.dtype) for use in seen.uses), default=0.0)
    return [
        layout if d is None or layout.out is None or layout.out.owns(d, w, v, tolerance) else UNKNOWN
        for layout, d, w in zip(layouts, deltas, weighted, strict=True)
    ]


def _tried(bound: Bound, parameters: Vectors, layouts: list[Layout], still: Still) -> tuple[list[Layout], bool | None]:
    """The layouts that are proven and whose rows can be formed, and whether these rows are right. None: undecided."""
    with torch.enable_grad(), bound.replay():
        seen, outputs = _record(bound, parameters)
        root = _rooted(bound, outputs)[1]
        deltas = _gradients(root, seen, parameters, retain=True)
        if len(layouts) != len(seen.uses):
            return layouts, False
        proven = fitting = _fitting(layouts, seen, bound.n)
        if bound.n > 1:
            proven = _proven(bound, seen, fitting, root, deltas, parameters)
    if not seen.routes.found:  # else they are proven on each batch, and may be right on the next
        layouts = [a if b is c else UNKNOWN for a, b, c in zip(layouts, fitting, proven, strict=True)]
    with torch.no_grad():
        for k, (use, delta) in enumerate(zip(seen.uses, deltas, strict=True)):
            like = {place: parameters[i] for place, i in use.places.items()}
            if proven[k].out and delta is not None and not can_be_formed(use, proven[k], delta, bound.n, like):
                proven[k] = layouts[k] = UNKNOWN
    plan = Plan(seen, proven, [delta is not None for delta in deltas], bound.n, parameters)
    return layouts, _right(bound, plan, deltas, still)


def _right(bound: Bound, plan: Plan, deltas: Sequence[Any], still: Still) -> bool | None:
    """Whether a weighted sum of the rows is the gradient of the same sum of losses. None: zero, or not finite."""
    with torch.no_grad():
        parts = plan.rows([deltas])
    if not parts:
        return True
    index = sorted(i for part, _ in parts for i in part)
    weighted = Weighted(bound.n, chance(bound), plan.parameters[0])
    weighted.add(Stacked(parts))
    with torch.enable_grad(), bound.replay():
        wanted = weighted.true(bound, plan.parameters)
    unused = {i for part in plan.parts if part.form == "zero" for i in part.index}
    if any(wanted[i] is not None for i in unused):
        return False  # its use was not recorded, and its row is 0 only because of that
    wanted = [wanted[i] for i in index]
    found = gap(weighted.found, wanted)
    if found > still.tolerance:
        return False
    return True if math.isfinite(found) and all(w is None or bool(w.any()) for w in wanted) else None


def _stacked(plan: Plan, deltas: Sequence[Sequence[Any]], rest: Rows | None) -> Stacked:
    with torch.no_grad():
        parts = plan.rows(deltas)
    return Stacked(parts if rest is None else [*parts, (plan.left, rest)])
