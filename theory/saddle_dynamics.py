"""SAM, Monge SAM and gradient descent near the saddle of (1 − xy)²: their steps, and the boundary of what the saddle holds.

Coordinates, flow and boundary are derived in theory/banana.py. A method is its radius, ‖g‖ ↦ ‖ε‖.
"""

import math
from collections.abc import Callable

from theory.bisection import bisect

Radius = Callable[[float], float]


def gradient(x: float, y: float) -> tuple[float, float]:
    return -2 * (1 - x * y) * y, -2 * (1 - x * y) * x


def descent(norm: float) -> float:
    return 0.0


def sam(rho: float) -> Radius:
    return lambda norm: rho


def monge(rho: float) -> Radius:
    return lambda norm: rho / math.sqrt(1 + norm * norm)


def step(x: float, y: float, radius: Radius, rate: float) -> tuple[float, float]:
    """θ − rate ∇ℓ(θ + ε)."""
    slope = gradient(x, y)
    norm = math.hypot(*slope)
    factor = radius(norm) / (norm or 1.0)
    there = gradient(x + factor * slope[0], y + factor * slope[1])
    return x - rate * there[0], y - rate * there[1]


def held(start: tuple[float, float], rho: float, radius: Radius, rate: float, steps: int = 20000) -> tuple[bool | None, int]:
    """Whether the saddle holds θ ← θ − rate ∇ℓ(θ + ε) from a start in (x, y), and after how many steps this is known.

    None where these steps do not decide it.

    Past |u| = ρ u grows until the minima; within r/2, s falls until steps alternate across the saddle, of order rate·r.
    """
    x, y = start
    for taken in range(steps):
        norm = math.hypot(*gradient(x, y))
        if abs(x + y) > math.sqrt(2) * rho:
            return False, taken
        if math.hypot(x, y) < radius(norm) / 2 or norm == 0:
            return True, taken
        x, y = step(x, y, radius, rate)
    return None, steps


def boundary(phi: float, radius: Radius, nodes: int = 48) -> float:
    """s on the ray φ up to which starts are held: ds/dφ from φ = 0 by Runge and Kutta, in √φ for y = s √sin 2φ."""
    edge = bisect(lambda s: s < radius(size(s, 0.0)), 0.0, radius(0.0))  # on v = 0, where s = r
    if phi < 1e-30:  # w² would be 0 in floating point, and the edge moves by O(√φ)
        return edge

    def slope(w: float, y: float) -> float:
        if w == 0:
            return math.sqrt(2) * edge
        root = math.sqrt(math.sin(2 * w * w))
        return 2 * w / root * radius(size(y / root, w * w))

    y, width = 0.0, math.sqrt(phi) / nodes
    for w in (i * width for i in range(nodes)):
        a = slope(w, y)
        b = slope(w + width / 2, y + width / 2 * a)
        c = slope(w + width / 2, y + width / 2 * b)
        y += width / 6 * (a + 2 * b + 2 * c + slope(w + width, y + width * c))
    return y / math.sqrt(math.sin(2 * phi))


def size(s: float, phi: float) -> float:
    """‖g‖ at (s, φ), where k > 0."""
    return 2 * (1 - s * s * math.cos(2 * phi) / 2) * s
