"""The largest eigenvalue of a symmetric H relative to an inner product G, by Lanczos's method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core import InnerProduct, Vectors
from ..core import vectors as vec

_ASYMMETRY = 1e-3  # relative; float32 products stay below 1e-5


@dataclass(frozen=True)
class Ritz:
    """Hv ≈ μGv with ‖v‖_G = 1 and value = μ = ⟨Hv, v⟩, so that μ is never above the largest eigenvalue.

    residual: ‖Hv − μGv‖* relative to the largest |μ| seen, computed from v itself; some eigenvalue lies that close to μ.
    iterations: steps taken. converged: whether the residual came within the tolerance.
    """

    value: float
    vector: list[Tensor]
    residual: float
    iterations: int
    converged: bool


def largest(
    product: Callable[[Vectors], Vectors], norm: InnerProduct, start: Vectors, iterations: int = 50, tolerance: float = 1e-4
) -> Ritz:
    """The algebraically largest μ with Hv = μGv.

    product: v ↦ Hv. start: noise; what is G-orthogonal to it is not found. iterations: at most; P exhaust the space. The
    basis is G-orthonormal, fully and twice reorthogonalised, in float64: iterations × P numbers are stored. H is projected on
    it entry by entry (Rayleigh–Ritz), so that an inexact G⁻¹ costs iterations but no accuracy.
    Source: Parlett 1998, The Symmetric Eigenvalue Problem, chapters 13 and 15. Raises: FloatingPointError for a product that
    is not finite, ValueError for one that is not symmetric or a start without a positive, finite G-norm.
    """
    space = vec.map(Tensor.double, start)
    most = min(iterations, vec.count(space))
    basis = torch.empty(0, vec.count(space), dtype=torch.float64, device=space[0].device)
    projected = torch.empty(0, 0, dtype=torch.float64, device=space[0].device)
    scale, new = 0.0, vec.flatten(space)
    first = new
    length = _length(norm, new, space)
    if not 0 < length < float("inf"):
        raise ValueError(f"the start has length {length:.3g} under {norm!r}: its inner product is singular or not finite")
    for done in range(1, most + 1):
        basis = torch.cat([basis, (new / length).unsqueeze(0)])
        image = _apply(product, basis[-1], space)
        column = basis @ image
        first = image if done == 1 else first
        gap = abs(float(basis[-1] @ first - column[0]))
        if gap > _ASYMMETRY * max(float(column.abs().amax()), scale):
            raise ValueError(
                f"H is not symmetric: ⟨q₁, Hq⟩ and ⟨q, Hq₁⟩ differ by {gap:.3g} where H is about {scale:.3g}. torch "
                "derives some operation wrongly the second time (torch._weight_norm on a CPU is known for it): write it out."
            )
        projected = _bordered(projected, column)
        values, vectors = torch.linalg.eigh(projected)
        scale = float(values.abs().amax())
        new = vec.flatten(vec.map(Tensor.double, norm.sharp(vec.unflatten(image, space))))
        whole = _length(norm, new, space)
        new = _orthogonal(norm, _orthogonal(norm, new, basis, space), basis, space)
        length = _length(norm, new, space)
        exhausted = done == most or not length > 1e-12 * whole
        if exhausted or length * abs(float(vectors[-1, -1])) <= tolerance * scale:
            v = vectors[:, -1] @ basis
            residual = _residual(product, norm, v, float(values[-1]), space) / (scale or 1.0)
            if exhausted or residual <= tolerance:
                break
    return Ritz(float(values[-1]), vec.unflatten(v, space), residual, done, residual <= tolerance)


def _apply(product: Callable[[Vectors], Vectors], v: Tensor, space: Vectors) -> Tensor:
    image = vec.flatten(vec.map(Tensor.double, product(vec.unflatten(v, space))))
    if not torch.isfinite(image).all():
        raise FloatingPointError("a Hessian-vector product is not finite: is the loss finite and twice differentiable here?")
    return image


def _length(norm: InnerProduct, v: Tensor, space: Vectors) -> float:
    return float(norm.norm(vec.unflatten(v, space)))


def _orthogonal(norm: InnerProduct, v: Tensor, basis: Tensor, space: Vectors) -> Tensor:
    """v minus its G-projection on the basis."""
    flat = vec.flatten(vec.map(Tensor.double, norm.flat(vec.unflatten(v, space))))
    return v - (basis @ flat) @ basis


def _bordered(matrix: Tensor, column: Tensor) -> Tensor:
    """The symmetric matrix with one more row and column."""
    whole = torch.zeros(len(column), len(column), dtype=matrix.dtype, device=matrix.device)
    whole[:-1, :-1] = matrix
    whole[-1] = whole[:, -1] = column
    return whole


def _residual(product: Callable[[Vectors], Vectors], norm: InnerProduct, v: Tensor, value: float, space: Vectors) -> float:
    rest = vec.axpy(
        vec.unflatten(_apply(product, v, space), space), -value, vec.map(Tensor.double, norm.flat(vec.unflatten(v, space)))
    )
    return float(norm.dual_norm(rest))
