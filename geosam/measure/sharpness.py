"""Sharpness under a metric: on average over a Gaussian, at worst in a ball, and as an eigenvalue."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..core import Divergence, InnerProduct, Norm, Vectors, check_radius
from ..core import vectors as vec
from ..core.undo import undisturbed
from ..observation import HessianProducts, Metric, as_metric, name_of, observe
from ..problem import Bound, Surface
from ..problem.surface import Product
from ..solvers import MultiStep, solve
from .lanczos import Ritz, largest
from .rises import Sharpness, mean
from .several import bounds_of


@undisturbed
def sharpness(
    bound: Bound | Sequence[Bound],
    metric: Metric | Norm,
    rho: float,
    *,
    samples: int = 50,
    steps: int = 10,
    iterations: int = 50,
    tolerance: float = 1e-3,
    generator: torch.Generator | None = None,
) -> Sharpness:
    """Average, worst-case and spectral sharpness under one metric, of one batch, or of several on average.

    samples: Gaussian ε; each is used with both signs, which removes the gradient's part of the error: 2 · samples forward
    passes. steps: gradients of the ascent, the first at θ. iterations: Hessian products at most; the eigenvalue counts as
    converged when ‖Hv − μGv‖* ≤ tolerance · ‖G⁻¹H‖. Each may be 0 (steps: 1) to leave its part out. generator: of samples and
    of Lanczos's start; by default a fresh one seeded with 0. Equal rho under different metrics means nothing: ``calibrate``.
    Parameters, ``.grad``, buffers and the global random state are unchanged; dropout has one mask throughout.
    Source: average and worst-case sharpness as in Andriushchenko et al. 2023, eq. 1, with G for their scaling. Raises:
    TypeError without an inner product where samples or the eigenvalue need one; NotImplementedError where it has no sample.
    """
    rho = check_radius(rho)
    _check_counts(samples, steps, iterations)
    noise = torch.Generator().manual_seed(0) if generator is None else generator
    settings = (as_metric(metric), rho, samples, steps, iterations, tolerance, noise)
    if isinstance(bound, Bound):
        return _of(bound, *settings)
    return mean([_of(one, *settings) for one in bounds_of(bound)])


def _of(
    bound: Bound,
    metric: Metric,
    rho: float,
    samples: int,
    steps: int,
    iterations: int,
    tolerance: float,
    noise: torch.Generator,
) -> Sharpness:
    curvature = HessianProducts()
    seen = observe(bound, (*metric.needs, curvature), name_of(metric))
    geometry: Any = metric.at(seen)
    surface = bound.surface(seen.parameters)
    _check_parts(geometry, metric, surface.theta, samples, steps, iterations)
    start = surface.loss(vec.zeros_like(surface.theta))
    found = solve(geometry, seen.gradient, rho)
    worst = surface.loss(found.epsilon) - start
    ascended = worst
    if steps > 1:
        ascended = _ascended(surface, geometry, seen.gradient, rho, steps) - start
    average = error = ritz = None
    if samples:
        average, error = _average(surface, start, geometry, rho, samples, noise)
    if iterations:
        ritz = _spectral(seen[curvature], surface, geometry, iterations, tolerance, noise)
    return Sharpness(
        rho=rho,
        loss=start.item(),
        worst=worst.item(),
        ascended=ascended.item(),
        steps=steps,
        average=average,
        standard_error=error,
        samples=samples,
        eigenvalue=None if ritz is None else ritz.value,
        residual=None if ritz is None else ritz.residual,
        iterations=0 if ritz is None else ritz.iterations,
        converged=None if ritz is None else ritz.converged,
        report=found.report,
    )


def _check_counts(samples: int, steps: int, iterations: int) -> None:
    for name, value, least in (("samples", samples, 0), ("steps", steps, 1), ("iterations", iterations, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"{name} must be a whole number, {least} or more, got {value!r}")
    if samples == 1:
        raise ValueError("one sample has no standard error: use samples >= 2, or samples=0 to leave the average out")


def _check_parts(geometry: Norm | Divergence, metric: Metric, like: Vectors, samples: int, steps: int, iterations: int) -> None:
    """Raises: TypeError or NotImplementedError, before anything is computed, for parts that the geometry does not have."""
    name = name_of(metric)
    left_out = [f"{part}=0" for part, asked in (("samples", samples), ("iterations", iterations)) if asked]
    if isinstance(geometry, Divergence) and (steps > 1 or left_out):
        cure = ", ".join(left_out + ["steps=1"] * (steps > 1))
        raise TypeError(
            f"{name} yields a divergence: it has no Gaussian and no eigenvalue, and on its ball several steps cannot be "
            f"projected. Pass {cure} for the rise at ε* alone, or take a norm such as Fisher(), its local metric."
        )
    if not isinstance(geometry, InnerProduct) and left_out:
        raise TypeError(
            f"{name} yields no inner product, so that no Gaussian and no eigenvalue belong to it. Use an inner product such as "
            f"EmpiricalFisher(), or leave these parts out by {', '.join(left_out)}."
        )
    if samples:
        try:
            geometry.sample(torch.Generator().manual_seed(0), like)  # type: ignore[union-attr]
        except NotImplementedError as error:
            raise NotImplementedError(f"{error} Or leave the average out by samples=0.") from None


def _average(
    surface: Surface, start: Tensor, norm: InnerProduct, rho: float, samples: int, noise: torch.Generator
) -> tuple[float, float]:
    """Mean of (L(θ+ε) + L(θ−ε))/2 − L(θ) over the samples, L(θ) = start, and its standard error."""
    rises = []
    for _ in range(samples):
        epsilon = vec.scale(norm.sample(noise, surface.theta), rho)
        rises.append((surface.loss(epsilon) + surface.loss(vec.scale(epsilon, -1.0))) / 2 - start)
    found = torch.stack(rises)
    return found.mean().item(), found.std().item() / math.sqrt(samples)


def _ascended(surface: Surface, norm: Norm, c: Vectors, rho: float, steps: int) -> Tensor:
    """The highest loss among the iterates of projected ascent."""
    met: list[Tensor] = []

    def gradient(epsilon: Vectors) -> Vectors:
        met.append(surface.loss(epsilon))
        return surface.gradient(epsilon)

    last = solve(norm, c, rho, MultiStep(steps, gradient=gradient))
    return torch.stack([*met, surface.loss(last.epsilon)]).amax()


def _spectral(
    product: Product, surface: Surface, norm: InnerProduct, iterations: int, tolerance: float, noise: torch.Generator
) -> Ritz:
    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=noise, device=noise.device, dtype=torch.float64).to(like.device)

    return largest(product, norm, vec.map(normal, surface.theta), iterations, tolerance)
