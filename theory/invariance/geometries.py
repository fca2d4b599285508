"""The rows of the table: each geometry's ε* by its definition, dense and in float64.

ε* = ρ ♯g/√⟨g, ♯g⟩ where ♯ is G⁻¹, or the duality map of a norm without inner product. With Fisher matrices of no full
rank F⁻¹ is the pseudo-inverse, to which (F + λI)⁻¹g tends as λ → 0. Beside ε* each geometry returns a bound on the
factor by which the rounding of its inputs grows in it: tolerances are this many eps.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq

from theory.invariance.sides import Array, Side

RHO = 0.05
DAMPING = 0.1


class Step(NamedTuple):
    """ε*, the condition of its computation, infinite where it does not exist or is not known, and the dimension of ker F.

    The last is of the metrics that invert F: ε* is then determined up to that kernel.
    """

    epsilon: Array
    condition: float
    kernel: int = 0


NOWHERE = Step(np.full(1, np.nan), np.inf)


def along(side: Side, sharp: Array, condition: float, kernel: int = 0) -> Step:
    """ρ ♯g/√⟨g, ♯g⟩."""
    square = side.gradient @ sharp
    return Step(RHO * sharp / np.sqrt(square), condition, kernel) if square > 0 else NOWHERE


def scaled(side: Side, inverse: Array, condition: float = 0.0) -> Step:
    """G = diag(1/inverse), its entries with this relative rounding."""
    sharp = inverse * side.gradient
    size = float(np.linalg.norm(sharp))
    rounding = float(np.linalg.norm(inverse * side.terms.mean(0)))
    return along(side, sharp, 1 + condition + rounding / size) if size > 0 else NOWHERE


def euclidean(side: Side) -> Step:
    """G = I."""
    return scaled(side, np.ones_like(side.theta))


def parameter_scaled(side: Side, eta: float, everywhere: bool) -> Step:
    """G = diag((|θ| + η)⁻²), or that on matrices only and 1 on vectors."""
    scales = abs(side.theta) + eta
    if not everywhere:
        matrices = np.concatenate([np.full(int(np.prod(shape)), len(shape) > 1) for shape in side.shapes])
        scales = np.where(matrices, scales, 1.0)
    return scaled(side, scales**2)


def gradient_magnitude(side: Side, damping: float) -> Step:
    """G = diag(g² + λ)."""
    return _diagonal(side, side.gradient, side.terms.mean(0), damping)


def diagonal_empirical(side: Side, damping: float) -> Step:
    """G = diag((1/n) Σ gᵢ²) + λI."""
    root, terms = (np.sqrt((rows**2).mean(0)) for rows in (side.rows, side.terms))
    return _diagonal(side, root, terms, damping)


def diagonal_fisher(side: Side) -> Step:
    """G = diag F."""
    root = np.sqrt((side.white**2).sum(0) / len(side.targets))
    return _diagonal(side, root, root, 0.0)


def _diagonal(side: Side, root: Array, terms: Array, damping: float) -> Step:
    """G = diag(root² + λ), the rounding of root relative to terms."""
    entries = root**2 + damping
    if not (entries > 1e-24 * entries.max()).all():
        return NOWHERE
    return scaled(side, 1 / entries, float((2 * terms * abs(root) / entries).max()))


def empirical_fisher(side: Side, damping: float = 0.0, relative: bool = False) -> Step:
    """G = (1/n) Σ gᵢgᵢᵀ + λI; relative: λ is in units of the mean diagonal entry."""
    n = len(side.targets)
    if relative:
        damping *= (side.rows**2).sum() / n / side.theta.size
    return _full(side, side.rows, np.ones(n), side.terms, damping)


def fisher(side: Side, damping: float = 0.0) -> Step:
    """G = (1/n) Σ E[∇log p ∇log pᵀ] + λI, over the model's own labels."""
    return _full(side, side.white, side.residual, abs(side.white), damping)


def _full(side: Side, rows: Array, right: Array, terms: Array, damping: float) -> Step:
    """G = RᵀR/n + λI with g = Rᵀr/n: ♯g = Rᵀ(RRᵀ + nλI)⁻¹r, by the singular values of R."""
    n = len(side.targets)
    if not rows.any() or not np.isfinite(rows).all():
        return NOWHERE
    left, values, back = np.linalg.svd(rows, full_matrices=False)
    if damping:
        sharp = back.T @ (values / (values**2 + n * damping) * (left.T @ right))
        kappa, kernel = 1 + values[0] ** 2 / (n * damping), 0
    else:
        rank = independent(rows)
        if not rank:
            return NOWHERE
        sharp = back[:rank].T @ (left[:, :rank].T @ right / values[:rank])
        kappa, kernel = (values[0] / values[rank - 1]) ** 2, rows.shape[1] - rank
    explained = np.linalg.norm(rows @ sharp)
    if not explained > 0:
        return NOWHERE
    rounding = np.linalg.norm(terms) / np.linalg.norm(rows) + np.linalg.norm(side.terms.mean(0)) / np.linalg.norm(side.gradient)
    return along(side, sharp, float(kappa * rounding * np.linalg.norm(right) / explained), kernel)


def independent(rows: Array) -> int:
    """The rank, 0 where rounding leaves it open; columns are brought to one length first, for their units are arbitrary."""
    lengths = np.linalg.norm(rows, axis=0)
    if not lengths.any():
        return 0  # underflow
    values = np.linalg.svd(rows[:, lengths > 0] / lengths[lengths > 0], compute_uv=False)
    rank = int((values > 1e-7 * values[0]).sum())
    return rank if rank == int((values > 1e-13 * values[0]).sum()) else 0


def monge(side: Side) -> Step:
    """G = I + ggᵀ."""
    square = side.gradient @ side.gradient
    return scaled(side, np.full_like(side.theta, 1 / (1 + square)), 1.0)


def sup(side: Side) -> Step:
    """‖v‖ = max |vₖ|: ε* = ρ sign(g)."""
    return Step(RHO * np.sign(side.gradient), 1.0) if side.gradient.any() else NOWHERE


def spectral(side: Side) -> Step:
    """‖v‖ = max over tensors of σ_max: ε* = ρ UVᵀ, tensor by tensor; a vector is a matrix of one column."""
    if not side.gradient.any():
        return NOWHERE
    parts = np.split(side.gradient, np.cumsum([int(np.prod(shape)) for shape in side.shapes])[:-1])
    return Step(
        RHO * np.concatenate([_polar(p.reshape(s[0], -1)).ravel() for p, s in zip(parts, side.shapes, strict=True)]), 1.0
    )


def _polar(matrix: Array) -> Array:
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    return left * (values > 1e-12 * values[0]) @ right


def kl_ray(side: Side) -> Step:
    """The first t with KL(θ + tε, θ) = ρ²/2 on the ray of Fisher's own ε*."""
    step = fisher(side)
    if not np.isfinite(step.condition):
        return NOWHERE

    lengths = np.linspace(0, 8, 33)
    reached = np.sqrt(2 * np.maximum(side.kl(side.theta + lengths[:, None] * step.epsilon), 0)) - RHO
    first = int(np.argmax(~(reached < 0)))
    if not 0 <= reached[first] < np.inf:
        return NOWHERE

    def excess(t: float) -> float:
        return math.sqrt(max(2 * float(side.kl(side.theta + t * step.epsilon)), 0.0)) - RHO

    root = brentq(excess, lengths[first - 1], lengths[first], xtol=1e-15, rtol=8.9e-16)
    # Where the ray meets the sphere at a grazing angle its rounding is divided by the slope.
    slope = (excess(root * (1 + 1e-6)) - excess(root * (1 - 1e-6))) / 2e-6
    if not slope > 0:
        return NOWHERE
    return Step(
        root * step.epsilon, step.condition * max(1.0, RHO / slope) * at_a_distance(side, root * step.epsilon), step.kernel
    )


def at_a_distance(side: Side, epsilon: Array) -> float:
    """What rounding is multiplied by when θ + ε is formed and the outputs there are compared with those at θ."""
    spread = np.concatenate([side.spread, np.ones_like(side.spread)])
    return float(1 + np.linalg.norm(side.theta) / np.linalg.norm(epsilon) + abs(side.here / spread).max() / RHO)
