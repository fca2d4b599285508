"""Four balls that no preconditioner gives, and how far each is from the laws of theory/preconditioning.py.

Under the sup norm, a ball a layer and the spectral norm ε normalises parts of g apart: coordinates, layers, singular
directions. For parts a and b, ε(a + 2b) = ε(2a + b), and ε(b − a) is not on the same line. The KL ball is not symmetric.
"""

import math
from collections.abc import Callable

import numpy as np

from theory.bisection import bisect
from theory.unit import unit

Ball = Callable[[np.ndarray], np.ndarray]


def balls(first: np.ndarray, second: np.ndarray, turns: tuple[float, float]) -> dict[str, tuple[Ball, np.ndarray, np.ndarray]]:
    """Of each ball g ↦ ε at ρ = 1, and two parts of g: in two layers, or as a matrix whose singular vectors are turned."""
    one, other = (np.concatenate(pair) for pair in ((unit(first), 0 * second), (0 * first, unit(second))))
    left, right = (np.array([[math.cos(x), -math.sin(x)], [math.sin(x), math.cos(x)]]) for x in turns)

    def polar(flat: np.ndarray) -> np.ndarray:
        u, _, v = np.linalg.svd(flat.reshape(2, 2))
        return (u @ v).ravel()

    def layerwise(vector: np.ndarray) -> np.ndarray:
        return np.concatenate([unit(part) for part in np.split(vector, [len(first)])])

    first_part, second_part = (np.outer(left[:, i], right[i]).ravel() for i in range(2))
    return {
        "sup norm": (np.sign, one, other),
        "a ball a layer": (layerwise, one, other),
        "spectral norm": (polar, first_part, second_part),
    }


def defect(ball: Ball, one: np.ndarray, other: np.ndarray) -> float:
    """The share of ε(g₁ − g₂) outside of the span of ε(g₁) and ε(g₂), for g₁ = a + 2b and g₂ = 2a + b."""
    span = np.stack([ball(one + 2 * other), ball(2 * one + other)], 1)
    mixed = ball(other - one)
    left, values, _ = np.linalg.svd(span, full_matrices=False)
    basis = left[:, values > 1e-8 * values[0]]
    return float(np.linalg.norm(mixed - basis @ (basis.T @ mixed)) / np.linalg.norm(mixed))


def asymmetry(logit: float) -> float:
    """How far the two ends of the KL ball of a coin with this logit are from the same length, as a share of it."""
    ends = [crossing(logit, sign) for sign in (1, -1)]
    return (max(ends) - min(ends)) / max(ends)


def crossing(logit: float, sign: int) -> float:
    """t with KL(p_{θ±t} ‖ p_θ) = 1/100 for a coin with this logit, by bisection.

    Raises: ValueError past a size of 4.5, where the KL to a coin that always falls the same way is less than 1/100.
    """
    if not abs(logit) <= 4.5:
        raise ValueError(f"The KL ball at logit {logit} has no end on one side; pass a logit from -4.5 to 4.5.")
    high = 1.0

    def kl(t: float) -> float:
        new = logit + sign * t
        return math.log1p(math.exp(logit)) - math.log1p(math.exp(new)) + sign * t / (1 + math.exp(-new))

    while kl(high) < 0.01:
        high *= 2
    return bisect(lambda t: kl(t) < 0.01, 0.0, high)
