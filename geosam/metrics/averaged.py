"""The moving average of a geometry."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..core import InnerProduct, Norm, Vectors, check_decay
from ..core import vectors as vec
from ..core.sharded import number
from ..norms import Diagonal, Identity, Kronecker
from ..observation import Metric, Needs, Observation, Remembering, State, as_metric, name_of


@dataclass(frozen=True)
class Averaged(Remembering[Norm], Metric):
    """Ḡ_t = Σ_{s≤t} decay^{t−s} G_s / Σ_{s≤t} decay^{t−s}: an exponential moving average of ``metric`` over steps.

    What is averaged: of a diagonal norm the diagonal, damping included (an infinite entry stays infinite); of Kronecker blocks
    the factors A and B separately, then damped by the metric's own rule. The weights sum to 1 from the first step on, so that
    no bias towards zero needs correction: Ḡ_t = Ḡ_{t−1} + (G_t − Ḡ_{t−1})(1 − decay)/(1 − decay^t), the running form of
    Adam's correction. An observation that is not finite is left out. decay in [0, 1); 0 is the metric itself.
    State: {"average": tensors, float64, "steps": t, both by parameter, "metric": the metric's own}.
    Raises: ValueError for another decay; TypeError for other norms: low-rank sums gain rank, matrix-free ones need every θ.
    """

    metric: Metric
    decay: float = 0.9

    def __post_init__(self) -> None:
        object.__setattr__(self, "metric", as_metric(self.metric))
        check_decay(self.decay, "; 0 gives the metric itself")

    @property
    def needs(self) -> Needs:
        """As ``metric.needs``."""
        return self.metric.needs

    def step(self, observation: Observation, state: State) -> tuple[Norm, State]:
        """(norm of Ḡ_t, the next state)."""
        norm, inner = self.metric.step(observation, state.get("metric", {}))
        now, rebuild = _parts(norm, self.metric, len(observation.parameters))
        pinned = isinstance(norm, Diagonal) and norm.inverse  # infinite by definition where |w| + η = 0
        whole = [number((torch.isfinite(x) | (pinned & (x > 0))).all()) for entry in now for x in entry]
        finite = torch.stack([torch.isfinite(observation.loss), *whole]).all()
        last, steps = self._past(state, now, observation.parameters)
        share = (1 - self.decay) / (1 - self.decay ** (steps + 1))
        average = [
            tuple(torch.where(w == 1, x, (1 - w) * a + w * x) for a, x in zip(past, entry, strict=True))
            for w, past, entry in zip(share, last, now, strict=True)
        ]
        chosen = iter(
            vec.select(finite, *([x for entry in entries for x in entry] for entries in (average, last))) if whole else ()
        )
        kept = [tuple(itertools.islice(chosen, len(entry))) for entry in now]
        after = {"average": kept, "steps": list(steps + finite.to(steps))}
        return rebuild(average), {**after, "metric": inner} if inner else after

    @staticmethod
    def _past(state: State, now: Sequence[Entry], parameters: Vectors) -> tuple[list[Entry], Tensor]:
        """(averages, numbers of steps); 0 for a parameter without a past, or whose tensors had other shapes."""
        none = [None] * len(now)
        average, steps = (found if len(found := state.get(key, none)) == len(now) else none for key in ("average", "steps"))
        shapes = [None if entry is None else [t.shape for t in entry] for entry in average]
        known = [old == [t.shape for t in entry] for old, entry in zip(shapes, now, strict=True)]
        zero = torch.zeros((), dtype=torch.float64, device=parameters[0].device)
        last = [a if k else tuple(torch.zeros_like(x) for x in e) for k, a, e in zip(known, average, now, strict=True)]
        return last, torch.stack([t if k else zero for k, t in zip(known, steps, strict=True)])


Entry = tuple[Tensor, ...]
"""What is averaged of one parameter: its diagonal; of a Kronecker block both factors, for the block's first parameter."""


def _parts(norm: object, metric: Metric, count: int) -> tuple[list[Entry], Callable[[Sequence[Entry]], InnerProduct]]:
    """(float64 tensors that add up linearly, by parameter, and the norm that such tensors make)."""
    if isinstance(norm, Diagonal):
        diagonal = [norm.entries(i).double().expand(p.shape) for i, p in enumerate(norm.like)]
        entries: list[Entry] = [(1 / d if norm.inverse else d,) for d in diagonal]
        return entries, lambda d: Diagonal(lambda i: d[i][0].clone(), norm.like)
    if isinstance(norm, Kronecker):
        first = {block.index[0]: (block.outer.double(), block.inner.double()) for block in norm.blocks}
        return [first.get(i, ()) for i in range(count)], lambda found: _kronecker(norm, found)
    if isinstance(norm, Identity):
        return [()] * count, lambda _: norm
    raise TypeError(
        f"{name_of(metric)} yields {type(norm).__name__}, which has no average of bounded size. Average a diagonal or "
        "Kronecker-factored geometry: Averaged(DiagonalFisher(...)), Averaged(DiagonalEmpiricalFisher(...)), "
        "Averaged(KroneckerFisher(...)); of a product average the parts, e.g. BlockDiagonal(Averaged(...))."
    )


def _kronecker(norm: Kronecker, found: Sequence[Entry]) -> Kronecker:
    pairs = [(block, found[block.index[0]]) for block in norm.blocks]
    return Kronecker([replace(block, outer=outer, inner=inner) for block, (outer, inner) in pairs], norm.like, norm.rule)
