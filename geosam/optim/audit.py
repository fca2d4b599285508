"""What a closure does to its gradients without saying so: clipping, or a scale that its loss does not have."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core import Norm, Vectors
from ..core import vectors as vec
from ..objectives import Gradient
from ..observation import Observation
from ..observation.closures import run
from .last import Last
from .sharing import Sharing

SCALED = 256.0
"""From this many times the loss's own rise on, a predicted one is looked into: scales are 2¹⁰ and more."""


class Size(NamedTuple):
    """Of a gradient as a closure left it."""

    norm: Tensor
    sup: Tensor
    along: Tensor
    """Its pairing with the parameters, which another gradient of the same size does not have."""


class Audit:
    """Looks at the sizes of both passes' gradients in steps 1, 2, 4, 8, …, on an accelerator, which waits for it, in step 16,
    and so with sharded parameters.

    Processes look at the same numbers, of gradients that they share and of the mean of their losses: all make the same passes.
    Two different gradients of one norm, or of one largest entry, were clipped; a loss that rises by less than 1/256 of what its
    gradient predicts was scaled. Only then the closure is called again, to be certain.
    """

    def __init__(self) -> None:
        self.steps = 0
        self.first: Size | None = None

    def measure(self, parameters: Vectors) -> None:
        """The first pass's gradients."""
        self.steps += 1
        due = self.steps == 16 or (not self.steps & (self.steps - 1) and vec.reads_are_free(parameters))
        self.first = size(parameters) if due else None

    def check(
        self,
        closure: Callable[[], Any],
        parameters: Vectors,
        last: Last | None,
        loss: Tensor,
        unscaled: bool,
        harmless: Callable[[Tensor, Vectors, Vectors], bool],
        sharing: Sharing,
    ) -> None:
        """Of the second pass, which gave this loss. The parameters may be moved: Move brings them back.

        unscaled: whether no scaler was named. harmless: whether a gradient's length plays no part, at a loss, parameters and a
        gradient. Raises: RuntimeError.
        """
        first, self.first = self.first, None
        if first is None or last is None or not last.finite or (second := size(parameters)) is None or not sharing.audits:
            return
        if (how := clipped(first, second)) is not None:
            check_clipping(closure, parameters, how, partial(harmless, loss, parameters), sharing)
        if unscaled and last.dual_norm * last.radius > SCALED * sharing.joint_loss(loss - last.loss.to(loss)).abs():
            check_scale(closure, parameters, sharing)


def size(parameters: Vectors) -> Size | None:
    """None for gradients that are not dense, or none."""
    held = [p for p in parameters if p.grad is not None]
    g = [p.grad for p in held if p.grad is not None]
    if not g or any(t.layout != torch.strided for t in g):
        return None
    return Size(vec.norm(g), vec.sup(g), vec.dot([p.detach() for p in held], g))


def clipped(first: Size, second: Size) -> str | None:
    """How both may have been clipped: two gradients of one size that are not one gradient."""
    if not math.isfinite(second.norm) or abs(first.along - second.along) <= 1e-4 * abs(second.along):
        return None
    if abs(first.norm - second.norm) <= 3e-6 * second.norm:
        return "norm"
    return "value" if first.sup == second.sup else None


@torch.no_grad()
def check_clipping(
    closure: Callable[[], Any], parameters: Vectors, how: str, harmless: Callable[[Vectors], bool], sharing: Sharing
) -> None:
    """Call the closure once more, and compare what its backward pass left, reduced, with what it leaves.

    Raises: RuntimeError, unless a clipped norm is harmless.
    """
    before: dict[int, Tensor] = {}

    def keep(p: Tensor) -> None:
        if p.grad is not None:
            before[id(p)] = p.grad.clone()

    handles = [p.register_post_accumulate_grad_hook(keep) for p in parameters]
    try:
        run(closure, parameters, changed=False)
    finally:
        for handle in handles:
            handle.remove()
    held = [(p, p.grad) for p in parameters if p.grad is not None]  # in all processes the same, unlike those that are reached
    if not held:
        return
    left = [g for _, g in held]
    raw = sharing.joint([before[id(p)] if id(p) in before else torch.zeros_like(g) for p, g in held])
    if how == "value":
        bound = vec.sup(left).item()
        cut = vec.map(lambda t: t.clamp(-bound, bound), raw)
        found = bool(vec.sup(raw) > bound) and bool(vec.sup(vec.add(cut, left, -1.0)) < 1e-5 * bound)
    else:
        factor = (vec.dot(raw, left) / vec.dot(raw, raw)).item()
        parallel = bool(vec.norm(vec.axpy(left, -factor, raw)) < 1e-3 * vec.norm(left))
        found = factor < 0.999 and parallel and not harmless(left)
    if found:
        raise RuntimeError(
            f"the closure clips gradients by {how}, and so the first pass's, which the metric or update reads. Use "
            "SAM(..., max_norm=) or clip in a step pre-hook of the base optimizer: both see the second pass's gradient only. "
            "In a trainer that clips use opt.perturb(problem.on(x, y)), or its callback in geosam.contrib."
        )


@torch.no_grad()
def check_scale(closure: Callable[[], Any], parameters: Vectors, sharing: Sharing) -> None:
    """Compare, a little further along the gradient and with the same random numbers, the loss's rise with the gradient's.

    Raises: RuntimeError.
    """
    g = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
    here, length = [p.detach().clone() for p in parameters], vec.norm(g).item()
    reach = 1e-3 * vec.norm(here).item()
    if not 0 < length < math.inf:
        return
    devices = sorted({p.get_device() for p in parameters if p.is_cuda})
    with torch.random.fork_rng(devices):
        vec.copy_(parameters, vec.axpy(here, reach / length, g))
        far = run(closure, parameters, changed=False)
    vec.copy_(parameters, here)
    near = run(closure, parameters, changed=False)
    there, level = sharing.joint_loss(far).item(), sharing.joint_loss(near).item()
    rise, predicted = abs(there - level), reach * length
    visible = 100 * torch.finfo(near.dtype).eps * abs(level) if near.is_floating_point() else math.inf
    if rise > visible and predicted > SCALED / 4 * rise:
        raise RuntimeError(
            f"the closure differentiates about {predicted / rise:.0f} times the loss that it returns. With a GradScaler pass "
            "opt.step(closure, scaler=scaler), so that metrics see unscaled gradients; else return what is differentiated."
        )


def reads_direction(rule: Any, kept: Any, names: Sequence[str] | None, loss: Tensor, parameters: Vectors, g: Vectors) -> bool:
    """Whether nothing that a step makes of a gradient depends on its length: ♯g keeps its direction when g is twice as long."""
    if not isinstance(rule.objective, Gradient) or rule.solver is not None or kept is not None:
        return False
    unit = []
    for factor in (1.0, 2.0):
        point = Observation(parameters, vec.scale(g, factor), loss, names)
        geometry = rule.metric.step(point, {})[0]
        if not isinstance(geometry, Norm):
            return False
        steep = geometry.ascend(point.gradient)[0]
        unit.append(vec.scale(steep, 1 / vec.norm(steep)))
    return bool(vec.norm(vec.add(unit[0], unit[1], -1.0)) < 1e-4)
