"""What so many seeds can detect, and how many a decision takes, for normal differences of standard deviation ``sd``."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from .scipy import stats

PARTS = 2000
MOST = 1_000_000
"""Seeds beyond which no answer is looked for."""


def power(difference: float, sd: float, n: int, level: float = 0.05) -> float:
    """The probability that a paired t test of n pairs rejects, two-sided, where the true mean is ``difference``.

    P(|d̄| > t s/√n), the normal probability of d̄ averaged over s, whose square is sd² χ²/(n−1).
    """
    edge = stats().t.ppf(1 - level / 2, n - 1) * _spread(n)
    shift, norm = abs(difference) / sd * math.sqrt(n), stats().norm
    return float((norm.sf(edge - shift) + norm.cdf(-edge - shift)).mean())


def detectable(sd: float, n: int, level: float = 0.05, wanted: float = 0.8) -> float:
    """The difference that n pairs detect with power ``wanted``."""
    low, high = 0.0, sd
    while sd and power(high, sd, n, level) < wanted:
        low, high = high, 2 * high
    while sd and high - low > 1e-6 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if power(middle, sd, n, level) >= wanted else (middle, high)
    return high


def seeds_needed(difference: float, sd: float, level: float = 0.05, wanted: float = 0.8) -> int | None:
    """The fewest pairs that detect ``difference`` with power ``wanted``; None beyond a million."""
    return _fewest(lambda n: power(difference, sd, n, level), wanted) if difference else None


def equivalence_power(margin: float, sd: float, n: int, level: float = 0.05) -> float:
    """The probability that two one-sided t tests of n pairs show |mean| < margin, where it is 0.

    P(|d̄| ≤ margin − t s/√n), as above.
    """
    edge = stats().t.ppf(1 - level, n - 1) * _spread(n)
    room = np.clip(margin / sd * math.sqrt(n) - edge, 0, None)
    return float((2 * stats().norm.cdf(room) - 1).mean())


def equivalence_seeds(margin: float, sd: float, level: float = 0.05, wanted: float = 0.8) -> int | None:
    """The fewest pairs that show equivalence within ± margin with power ``wanted``, where there is no difference."""
    return _fewest(lambda n: equivalence_power(margin, sd, n, level), wanted)


def _spread(n: int) -> np.ndarray:
    """Quantiles of s/sd at the middles of equal parts."""
    spread: np.ndarray = np.sqrt(stats().chi2.ppf((np.arange(PARTS) + 0.5) / PARTS, n - 1) / (n - 1))
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
