"""What so many seeds can detect, and how many a decision takes, for normal differences of standard deviation ``sd``."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .scipy import special

PARTS = 500
MOST = 1_000_000
"""Seeds beyond which no answer is looked for."""


def power(difference: float, sd: float, n: int, level: float = 0.05) -> float:
    """The probability that a paired t test of n pairs rejects, two-sided, where the true mean is ``difference``.

    P(|d̄| > t s/√n), the normal probability of d̄ averaged over s, whose square is sd² χ²/(n−1).
    """
    edge = special().stdtrit(n - 1, 1 - level / 2) * _spread(n)
    shift, cdf = abs(difference) / sd * math.sqrt(n), special().ndtr
    return float((cdf(shift - edge) + cdf(-edge - shift)).mean())


def detectable(sd: float, n: int, level: float = 0.05, wanted: float = 0.8) -> float:
    """The difference that n pairs detect with power ``wanted``."""
    return sd * _detectable(n, level, wanted)


@cache
def _detectable(n: int, level: float, wanted: float) -> float:
    low, high = 0.0, 1.0
    while power(high, 1.0, n, level) < wanted:
        low, high = high, 2 * high
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, 1.0, n, level) >= wanted else (middle, high)
    return high


def seeds_needed(difference: float, sd: float, level: float = 0.05, wanted: float = 0.8) -> int | None:
    """The fewest pairs that detect ``difference`` with power ``wanted``; None beyond a million."""
    return _fewest(lambda n: power(difference, sd, n, level), wanted) if difference else None


def equivalence_power(margin: float, sd: float, n: int, level: float = 0.05) -> float:
    """The probability that two one-sided t tests of n pairs show |mean| < margin, where it is 0.

    P(|d̄| ≤ margin − t s/√n), as above.
    """
    edge = special().stdtrit(n - 1, 1 - level) * _spread(n)
    room = np.clip(margin / sd * math.sqrt(n) - edge, 0, None)
    return float((2 * special().ndtr(room) - 1).mean())


def equivalence_seeds(margin: float, sd: float, level: float = 0.05, wanted: float = 0.8) -> int | None:
    """The fewest pairs that show equivalence within ± margin with power ``wanted``, where there is no difference."""
    return _fewest(lambda n: equivalence_power(margin, sd, n, level), wanted)


@cache
def _spread(n: int) -> NDArray[Any]:
    """Quantiles of s/sd at the middles of equal parts."""
    spread: NDArray[Any] = np.sqrt(special().chdtri(n - 1, 1 - (np.arange(PARTS) + 0.5) / PARTS) / (n - 1))
    return spread


def _fewest(reached: Callable[[int], float], wanted: float) -> int | None:
    low, high = 1, 2
    while reached(high) < wanted:
        low, high = high, 2 * high
        if high > MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) >= wanted else (middle, high)
    return high
