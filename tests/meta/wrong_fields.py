"""Metrics, divergences and objectives with one mistake each."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from geosam import Divergence, Metric, Objective, Solver
from geosam.core import vectors as vec
from geosam.engines import Engine, Func
from geosam.engines.abstract import Captured
from geosam.metrics import Euclidean, KLExact
from geosam.norms import Diagonal, Identity, LowRank
from geosam.observation import PerSampleGradients
from geosam.problem.likelihoods import mean_kl
from geosam.rows import Materialised
from geosam.solvers import DualNorm


@dataclass(frozen=True)
class DividedByN(Engine):
    """Rows of the batch mean: gᵢ/n."""

    def capture(self, bound, parameters, draw=None):
        losses, rows = Func().rows(bound, parameters)
        assert isinstance(rows, Materialised)
        parts = [j.reshape(rows.n, *t.shape) / rows.n for j, t in zip(rows.jacobian, rows.like, strict=True)]
        return Captured(losses, Materialised(parts))


@dataclass(frozen=True)
class WrongRows(Metric):
    """JᵀJ/n + λI from rows that carry another power of n: −1 for gᵢ/n (the mean's rows), ½ where n is forgotten in F."""

    power: float
    damping: float = 0.01

    @property
    def needs(self):
        return (PerSampleGradients(Func()),)

    def local(self, seen):
        rows, factor = seen.gradient.rows, seen.gradient.rows.n**self.power
        parts = [j.reshape(rows.n, *t.shape) * factor for j, t in zip(rows.jacobian, rows.like, strict=True)]
        return LowRank(Materialised(parts), self.damping)


@dataclass(frozen=True)
class WritesGradients(Metric):
    def local(self, seen):
        seen.parameters[0].grad = seen.gradient[0].clone()
        return Identity(seen.parameters)


@dataclass(frozen=True)
class MovesParameters(Metric):
    def local(self, seen):
        with torch.no_grad():
            seen.parameters[-1].add_(1e-3).sub_(1e-3).mul_(1 + 1e-6)
        return Identity(seen.parameters)


@dataclass(frozen=True)
class Counting(Metric):
    """Drifts from call to call."""

    calls: list = field(default_factory=list)

    def local(self, seen):
        self.calls.append(0)
        return Diagonal.of([torch.full_like(p, 1 + 0.1 * len(self.calls)).detach() for p in seen.parameters])


@dataclass(frozen=True)
class KeepsTheFirst(Metric):
    """Of the point that it saw first, for ever."""

    kept: list = field(default_factory=list)

    def local(self, seen):
        self.kept.append([1 + p.detach() ** 2 for p in seen.parameters])
        return Diagonal.of(self.kept[0])


@dataclass(frozen=True)
class LooksBehindTheEvidence(Metric):
    """Reads the problem itself where it can."""

    def local(self, seen):
        return Identity(seen.parameters)

    def at(self, point):
        strength = 1.0 + getattr(point, "n", 0)
        return Diagonal.of([torch.full_like(p, strength).detach() for p in super().at(point).like])


@dataclass(frozen=True)
class Altered(Divergence):
    """KL with a term that does not belong to it."""

    right: Any
    times: float = 1.0
    offset: float = 0.0
    slope: float = 0.0
    bend: float = 0.0

    @property
    def along(self):  # type: ignore[override]
        return self.right.along

    def __call__(self, epsilon):
        linear = sum(t.double().sum() for t in epsilon)
        return self.times * self.right(epsilon) + self.offset + self.slope * linear + self.bend * vec.dot(epsilon, epsilon)

    def local_norm(self, damping):
        return self.right.local_norm(damping)


class Swapped(Altered):
    """KL(p_θ ‖ p_{θ+ε})."""

    def __call__(self, epsilon):
        seen = self.right.predictive
        old, new = seen.likelihood(seen.outputs.double()), seen.likelihood(seen.outputs_at(epsilon).double())
        return mean_kl(old, new)


@dataclass(frozen=True)
class AlteredKL(Metric):
    kind: type = Altered
    terms: Mapping[str, float] = field(default_factory=dict)

    @property
    def needs(self):
        return KLExact(Euclidean()).needs

    def local(self, seen):
        return self.kind(KLExact(Euclidean()).local(seen), **self.terms)


class Overspent(Solver):
    """Three times too far, and nothing of it reported."""

    def solve(self, geometry, c, rho):
        ray = DualNorm().solve(geometry.along, c, 1.0)
        reached = (2 * geometry(ray.epsilon)).sqrt()
        scale = ray.scale * 3 * rho / reached
        return replace(ray, scale=scale, radius=reached * 0 + rho, report={"evaluations": 1, "shortfall": 0.0})


@dataclass(frozen=True)
class StartsFromZero(Objective):
    """d₀ = (1 − decay) g, an average that remembers a gradient that never was."""

    def local(self, seen):
        return list(seen.gradient)

    def step(self, seen, state):
        last = state.get("average", vec.zeros_like(seen.gradient))
        average = vec.lerp(last, list(seen.gradient), 0.1)
        return average, {"average": average}


@dataclass(frozen=True)
class WritesIntoItsState(Objective):
    def local(self, seen):
        return list(seen.gradient)

    def step(self, seen, state):
        if not state:
            return self.local(seen), {"average": [t.clone() for t in seen.gradient]}
        for t in state["average"]:
            t.mul_(0.9)
        return [t.clone() for t in state["average"]], state


@dataclass(frozen=True)
class Widened(Objective):
    """c in float64, whatever the parameters are."""

    def local(self, seen):
        return [t.double() for t in seen.gradient]
