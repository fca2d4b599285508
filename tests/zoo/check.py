"""What geosam says of a line, beside what the oracle says."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import geosam
from geosam import metrics
from geosam.core import vectors as vec
from geosam.engines import Auto, Func
from geosam.engines.kfac.coverage import uncovered
from geosam.observation import PerSampleGradients
from geosam.problem import Bound
from geosam.solvers import Radial
from tests.fishers import flat
from tests.zoo import dense
from tests.zoo.line import Line, default, seed
from tests.zoo.oracle import Truth

RHO = 0.05
REFUSALS = (ValueError, TypeError, RuntimeError, NotImplementedError)
EXACT = {"tolerance": 1e-13, "iterations": 500}


@dataclass(frozen=True)
class Quantity:
    """got: by geosam, flat. want: by the oracle, from what was got too where that is a choice of geosam's."""

    got: Callable[[Bound], Tensor]
    want: Callable[[Truth, Bound], Tensor]


def direction(bound: Bound) -> Tensor:
    """Some vector of length 0.3."""
    noise = torch.randn(
        sum(p.numel() for p in bound.parameters), generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    return 0.3 * noise / noise.norm()


def like(v: Tensor, bound: Bound) -> list[Tensor]:
    """A flat vector as a list with the parameters' shapes and types."""
    return [t.to(p.dtype) for t, p in zip(vec.unflatten(v, bound.parameters), bound.parameters, strict=True)]


def rows(engine: geosam.engines.Engine) -> Quantity:
    def got(bound: Bound) -> Tensor:
        request = PerSampleGradients(engine)
        found = geosam.observe(bound, (request,), "rows")[request]
        return torch.stack([flat(found.vjp(unit)) for unit in torch.eye(bound.n, dtype=torch.float64)])

    return Quantity(got, lambda truth, bound: truth.rows)


def epsilon(metric: geosam.Metric, matrix: Callable[[Truth], Tensor]) -> Quantity:
    """ρ G⁻¹g/√⟨g, G⁻¹g⟩."""

    def got(bound: Bound) -> Tensor:
        seen = geosam.observe(bound, metric.needs, type(metric).__name__)
        return flat(geosam.solve(metric.at(seen), seen.gradient, RHO).epsilon)

    def want(truth: Truth, bound: Bound) -> Tensor:
        v = torch.linalg.solve(matrix(truth), truth.gradient)
        return RHO * v / (truth.gradient @ v).sqrt()

    return Quantity(got, want)


def kl_exact() -> Quantity:
    """The point of the empirical Fisher's ray at which KL = ρ²/2."""

    def got(bound: Bound) -> Tensor:
        metric = metrics.KLExact()
        seen = geosam.observe(bound, metric.needs, "KLExact")
        solver = Radial(tolerance=1e-12, evaluations=60)
        return flat(geosam.solve(metric.at(seen), seen.gradient, RHO, solver).epsilon)

    def want(truth: Truth, bound: Bound) -> Tensor:
        ray = torch.linalg.solve(dense.empirical_fisher(truth), truth.gradient)
        before, root, t = 0.0, 0.0, 1e-2 / float(ray.norm())
        for _ in range(20):  # secants of √(2 KL), which is nearly linear
            now = float((2 * truth.kl(t * ray)).sqrt())
            if abs(now - RHO) <= 1e-13:
                break
            before, root, t = t, now, t + (RHO - now) * (t - before) / (now - root)
        return t * ray

    return Quantity(got, want)


def kl(bound: Bound) -> Tensor:
    divergence = metrics.KLExact(along=metrics.Euclidean()).at(bound)
    assert isinstance(divergence, geosam.Divergence)
    return divergence(like(direction(bound), bound)).double().reshape(1)


def products(bound: Bound) -> Tensor:
    norm = metrics.Fisher(1e-2, rows_limit=0).at(bound)
    return flat(norm.flat(like(direction(bound), bound)))


def sharpness(bound: Bound) -> Tensor:
    count = sum(p.numel() for p in bound.parameters)
    found = geosam.sharpness(bound, metrics.Euclidean(), RHO, samples=0, steps=1, iterations=count, tolerance=1e-9)
    return torch.tensor([found.worst, found.eigenvalue], dtype=torch.float64)


def sharp(truth: Truth, bound: Bound) -> Tensor:
    worst = truth.rise(RHO * truth.gradient / truth.gradient.norm())
    return torch.stack([worst, torch.linalg.eigvalsh(truth.hessian)[-1]])


def damped_product(truth: Truth, bound: Bound) -> Tensor:
    return truth.fisher @ direction(bound) + 1e-2 * direction(bound)


def kronecker(truth: Truth, bound: Bound) -> Tensor:
    bare = uncovered(bound, bound.parameters)
    matrix = dense.kronecker_fisher(truth, {i for i in range(len(truth.theta)) if i not in bare})
    return epsilon(metrics.Euclidean(), lambda truth: matrix).want(truth, bound)


FISHER = metrics.Fisher(**EXACT)
BY_PRODUCTS = metrics.Fisher(rows_limit=0, **EXACT)
KRONECKER = epsilon(metrics.KroneckerFisher(rest=metrics.Euclidean()), lambda truth: truth.fisher)
QUANTITIES: dict[str, Quantity] = {
    "Euclidean": epsilon(metrics.Euclidean(), dense.euclidean),
    "ParameterScaled": epsilon(metrics.ParameterScaled(), dense.parameter_scaled),
    "GradientMagnitude": epsilon(metrics.GradientMagnitude(1.0, 0.01), dense.gradient_magnitude),
    "Monge": epsilon(metrics.Monge(), dense.monge),
    "FilterWise": epsilon(metrics.FilterWise(), dense.filter_wise),
    "rows": rows(Auto()),
    "rows by Func": rows(Func()),
    "EmpiricalFisher": epsilon(metrics.EmpiricalFisher(), dense.empirical_fisher),
    "DiagonalEmpiricalFisher": epsilon(metrics.DiagonalEmpiricalFisher(), dense.diagonal_empirical_fisher),
    "KL": Quantity(kl, lambda truth, bound: truth.kl(direction(bound)).reshape(1)),
    "Fisher products": Quantity(products, damped_product),
    "Fisher by products": epsilon(BY_PRODUCTS, dense.fisher),
    "Fisher by rows": epsilon(FISHER, dense.fisher),
    "BlockDiagonal": epsilon(metrics.BlockDiagonal(metrics.Fisher(**EXACT)), dense.block_diagonal),
    "DiagonalFisher": epsilon(metrics.DiagonalFisher(), dense.diagonal_fisher),
    "KroneckerFisher": Quantity(KRONECKER.got, kronecker),
    "KLExact": kl_exact(),
    "sharpness": Quantity(sharpness, sharp),
}

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}
LOOSER = ("Fisher products", "Fisher by products", "sharpness")
"""To 1e-4 in float32: products of products, and differences of losses."""


@dataclass(frozen=True)
class Outcome:
    """What came of a quantity. error: relative; None where it was refused, with the message."""

    quantity: str
    error: float | None
    message: str | None

    def complaint(self, reason: str | None, tolerance: float) -> str | None:
        """What is not as the line says."""
        if self.error is None:
            if reason is None:
                return f"{self.quantity} is refused: {self.message}"
            found = re.search(reason, self.message or "")
            return None if found else f"{self.quantity} is refused otherwise than by {reason!r}: {self.message}"
        if reason is not None:
            return f"{self.quantity} is not refused ({reason!r}), and its error is {self.error:.2g}"
        return None if self.error <= tolerance else f"{self.quantity} is {self.error:.2g} off"


def outcomes(line: Line, dtype: torch.dtype, chosen: tuple[str, ...] | None = None) -> list[Outcome]:
    """Each quantity that the line is asked for, at the same parameters."""
    setting = line.build(dtype)
    with default(torch.float64):
        truth = Truth(line.twin(setting))
    found = []
    for name in line.only if chosen is None else [q for q in chosen if q in line.only]:
        quantity = QUANTITIES[name]
        try:
            with default(dtype):
                seed()
                setting.start()
                got = quantity.got(setting.bound)
        except REFUSALS as error:
            found.append(Outcome(name, None, str(error)))
            continue
        with default(torch.float64), warnings.catch_warnings():
            want = quantity.want(truth, setting.bound).detach()
        gap, size = float((got - want).norm()), float(want.norm())
        found.append(Outcome(name, gap / size if size else gap, None))
    return found


def allowed(line: Line, dtype: torch.dtype, quantity: str) -> float:
    """The relative error that is rounding."""
    loose = dtype == torch.float32 and quantity in LOOSER
    return line.tolerance or TOLERANCE[dtype] * (10 if loose else 1)


def complaints(line: Line, dtype: torch.dtype, chosen: tuple[str, ...] | None = None) -> list[str]:
    """What is not as the line says: none where all is right."""
    told = [o.complaint(line.reason(o.quantity), allowed(line, dtype, o.quantity)) for o in outcomes(line, dtype, chosen)]
    return [text for text in told if text is not None]
