"""Sharpness-aware descent in the plane, many settings at once: θ ← θ − lr ∇l(θ + ε*(θ)), in float64.

Points are arrays (2, n), a column a setting; lr and ρ are arrays (n,). With g = ∇l(θ), and 0 where g = 0:
    GD      ε* = 0
    SAM     ε* = ρ g/‖g‖
    ASAM    ε* = ρ θ²g/‖θg‖                    ParameterScaled at η = 0: G = diag(1/θ²)
    FSAM    ε* = ρ F⁻¹g/√(gᵀF⁻¹g)               F = diag(1/σ², 2/σ²), the Fisher information of N(μ, σ²)
    Monge   ε* = ρ g/(‖g‖√(1 + ‖g‖²))           G = I + ggᵀ
    KL      on FSAM's own ray, as far as KL(p_{θ+ε} ‖ p_θ) = ρ²/2
Source: Foret et al. 2021; Kwon et al. 2021; Kim et al. 2022, eq. 5, 6 and 10; Jacobsen and Arvanitidis 2025.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Protocol

import numpy as np

Method = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(θ, g, ρ) ↦ ε*: (2, n), (2, n) and (n,) to (2, n)."""


class Loss(Protocol):
    """What the dynamics ask of a loss on the plane."""

    def inside(self, theta: np.ndarray) -> np.ndarray:
        """Which columns are points of the domain."""

    def look(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(l, ∇l) at points of the domain."""

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        """∇l alone."""


def _over(vector: np.ndarray, norm: np.ndarray) -> np.ndarray:
    """vector / norm, and 0 where the norm is 0."""
    return np.divide(vector, norm, out=np.zeros(vector.shape), where=norm > 0)


def gd(theta: np.ndarray, g: np.ndarray, rho: np.ndarray) -> np.ndarray:
    return np.zeros_like(theta)


def sam(theta: np.ndarray, g: np.ndarray, rho: np.ndarray) -> np.ndarray:
    return rho * _over(g, np.hypot(*g))


def asam(theta: np.ndarray, g: np.ndarray, rho: np.ndarray) -> np.ndarray:
    scaled = theta * g
    return rho * theta * _over(scaled, np.hypot(*scaled))


def fsam(theta: np.ndarray, g: np.ndarray, rho: np.ndarray) -> np.ndarray:
    return rho * theta[1] * np.array(_ray(theta, g))


def monge(theta: np.ndarray, g: np.ndarray, rho: np.ndarray) -> np.ndarray:
    norm = np.hypot(*g)
    return rho * _over(g, norm * np.sqrt(1 + norm**2))


def kl_exact(theta: np.ndarray, g: np.ndarray, rho: np.ndarray) -> np.ndarray:
    a, b = _ray(theta, g)
    return first_crossing(a, b, rho) * theta[1] * np.stack([a, b])


METHODS: Mapping[str, Method] = MappingProxyType(
    {"GD": gd, "SAM": sam, "ASAM": asam, "FSAM": fsam, "Monge": monge, "KL": kl_exact}
)


def _ray(theta: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(a, b) = F⁻¹g in units of σ, with a² + 2b² = 1: FSAM's direction."""
    a, b = g[0], g[1] / 2
    norm = np.hypot(a, math.sqrt(2) * b)
    return _over(a, norm), _over(b, norm)


def kl(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """KL(p_{θ+ε} ‖ p_θ) for ε = σ(a, b): ½(a² + b²) + b − log(1 + b); infinite where σ + ε_σ ≤ 0."""
    inside = b > -1
    return np.where(inside, (a**2 + b**2) / 2 + b - np.log1p(np.where(inside, b, 0)), np.inf)


def first_crossing(a: np.ndarray, b: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """t > 0 with KL(t a, t b) = ρ²/2, for a² + 2b² = 1; 0 where a = b = 0.

    KL is convex in t and vanishes at 0, so there is one crossing, and Newton's method falls to it from above. For b ≥ 0 it
    lies below ρ/√(a² + b²), for b < 0 below ρ and, by −log(1 − x) − x ≤ ρ²/2 with x = −tb, below (1 − e^{−1−ρ²/2})/(−b).
    """
    square = a**2 + b**2
    with np.errstate(all="ignore"):  # of the two bounds the one that does not apply may overflow
        t = np.where(b < 0, np.minimum(rho, -np.expm1(-1 - rho**2 / 2) / -b), rho / np.sqrt(square))
        for _ in range(100):
            value = t**2 * square / 2 + (t * b - np.log1p(t * b)) - rho**2 / 2
            slope = t * square + t * b**2 / (1 + t * b)
            new = t - value / slope
            if not (new < t * (1 - 4e-16)).any():  # from above it falls until rounding stops it
                break
            t = np.where(new < t, new, t)
    return np.where(square > 0, t, 0.0)


def radius_of_length(name: str, theta: np.ndarray, g: np.ndarray, length: np.ndarray) -> np.ndarray:
    """The ρ at which the method's ε* has this Euclidean length. Infinite for KL where that leaves σ > 0, since
    no KL ball has such a length; 0 for GD.
    """
    if name == "GD":
        return np.zeros_like(length)
    if name == "KL":
        a, b = _ray(theta, g)
        t = _over(length, theta[1] * np.hypot(a, b))
        return np.sqrt(2 * kl(t * a, t * b))
    return _over(length, np.hypot(*METHODS[name](theta, g, np.ones_like(length))))


def side_by_side(*methods: Method) -> Method:
    """One method of several: equal shares of the columns go to each."""

    def move(theta: np.ndarray, g: np.ndarray, rho: np.ndarray) -> np.ndarray:
        ends = [theta.shape[-1] * k // len(methods) for k in range(len(methods) + 1)]
        shares = [slice(*pair) for pair in pairwise(ends)]
        moved = [method(theta[:, own], g[:, own], rho[own]) for method, own in zip(methods, shares, strict=True)]
        return np.concatenate(moved, -1)

    return move


@dataclass(frozen=True)
class Iterate:
    """θ, its loss, the probe θ + ε*, and which runs go on from here: the others left the domain and stand still."""

    theta: np.ndarray
    value: np.ndarray
    probe: np.ndarray
    alive: np.ndarray


def iterates(loss: Loss, method: Method, theta: np.ndarray, lr: np.ndarray, rho: np.ndarray) -> Iterator[Iterate]:
    """θ₀, θ₁, … without end. A run stops where an iterate or a probe leaves the domain; nothing is clipped.

    Raises: ValueError for a start outside the domain, or a learning rate or radius that is negative or NaN.
    """
    theta, lr, rho = np.asarray(theta, float), np.asarray(lr, float), np.asarray(rho, float)
    if not loss.inside(theta).all():
        raise ValueError(f"Starts must lie in the loss's domain; start {int(np.argmin(loss.inside(theta)))} does not: move it.")
    if not (np.isfinite(lr).all() and (lr >= 0).all() and (rho >= 0).all()):
        raise ValueError("Learning rates must be finite, radii numbers, and neither negative; pass lr ≥ 0 and ρ ≥ 0.")
    alive = np.ones(theta.shape[1], bool)
    while True:
        with np.errstate(all="ignore"):  # an overflow is a way to leave the domain
            value, g = loss.look(theta)
            probe = theta + method(theta, g, rho)
            alive = alive & loss.inside(probe)
            yield Iterate(theta, value, probe, alive)
            new = theta - lr * loss.gradient(np.where(alive, probe, theta))
            alive = alive & loss.inside(new)
            theta = np.where(alive, new, theta)
