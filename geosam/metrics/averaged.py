"""The moving average of a geometry."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core import InnerProduct, Norm
from ..core import vectors as vec
from ..norms import Diagonal, Identity, Kronecker
from ..observation import Metric, Needs, Observation, Remembering, State, as_metric, name_of


@dataclass(frozen=True)
class Averaged(Remembering[Norm], Metric):
    """Ḡ_t = Σ_{s≤t} decay^{t−s} G_s / Σ_{s≤t} decay^{t−s}: an exponential moving average of ``metric`` over steps.

    What is averaged: of a diagonal norm the diagonal, damping included (an infinite entry stays infinite); of Kronecker blocks
    the factors A and B separately, then damped by the metric's own rule. The weights sum to 1 from the first step on, so that
    no bias towards zero needs correction: Ḡ_t = Ḡ_{t−1} + (G_t − Ḡ_{t−1})(1 − decay)/(1 − decay^t), the running form of
    Adam's correction. An observation that is not finite is left out. decay in [0, 1); 0 is the metric itself.
    State: {"average": tensors, float64, "steps": t, "metric": the metric's own}.
    Raises: ValueError for another decay; TypeError for other norms: low-rank sums gain rank, matrix-free ones need every θ.
    """

    metric: Metric
    decay: float = 0.9

    def __post_init__(self) -> None:
        object.__setattr__(self, "metric", as_metric(self.metric))
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must lie in [0, 1), got {self.decay}; 0 gives the metric itself")

    @property
    def needs(self) -> Needs:
        """As ``metric.needs``."""
        return self.metric.needs

    def step(self, observation: Observation, state: State) -> tuple[Norm, State]:
        """(norm of Ḡ_t, the next state)."""
        norm, inner = self.metric.step(observation, state.get("metric", {}))
        now, rebuild = _parts(norm, self.metric)
        last = state.get("average")
        if last is None or [t.shape for t in last] != [t.shape for t in now]:  # other parameters than before: a new average
            last, steps = vec.zeros_like(now), torch.zeros((), dtype=torch.float64, device=_device(observation))
        else:
            steps = state["steps"]
        share = (1 - self.decay) / (1 - self.decay ** (steps + 1))
        average = [torch.where(share == 1, x, (1 - share) * a + share * x) for a, x in zip(last, now, strict=True)]
        pinned = isinstance(norm, Diagonal) and norm.inverse  # infinite by definition where |w| + η = 0
        finite = torch.stack([(torch.isfinite(x) | (pinned & (x > 0))).all() for x in now]).all() & torch.isfinite(
            observation.loss
        )
        kept = {"average": vec.select(finite, average, last), "steps": steps + finite.to(steps)}
        return rebuild(average), {**kept, "metric": inner} if inner else kept


def _device(observation: Observation) -> torch.device:
    return observation.parameters[0].device


def _parts(norm: object, metric: Metric) -> tuple[list[Tensor], Callable[[Sequence[Tensor]], InnerProduct]]:
    """(float64 tensors that add up linearly, and the norm that such tensors make)."""
    if isinstance(norm, Diagonal):
        diagonal = [norm.entries(i).double().expand(p.shape) for i, p in enumerate(norm.like)]
        return [1 / d for d in diagonal] if norm.inverse else diagonal, lambda d: Diagonal(lambda i: d[i].clone(), norm.like)
    if isinstance(norm, Kronecker):
        return [t.double() for block in norm.blocks for t in (block.outer, block.inner)], lambda t: _kronecker(norm, t)
    if isinstance(norm, Identity):
        return [torch.ones((), dtype=torch.float64)], lambda _: norm
    raise TypeError(
        f"{name_of(metric)} yields {type(norm).__name__}, which has no average of bounded size. Average a diagonal or "
        "Kronecker-factored geometry: Averaged(DiagonalFisher(...)), Averaged(DiagonalEmpiricalFisher(...)), "
        "Averaged(KroneckerFisher(...)); of a product average the parts, e.g. BlockDiagonal(Averaged(...))."
    )


def _kronecker(norm: Kronecker, tensors: Sequence[Tensor]) -> Kronecker:
    pairs = zip(norm.blocks, tensors[::2], tensors[1::2], strict=True)
    return Kronecker([replace(b, outer=outer, inner=inner) for b, outer, inner in pairs], norm.like, norm.rule)
