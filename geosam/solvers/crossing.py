"""The first crossing of a level by a function that grows from zero like a power."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Crossing:
    """t with f(t) = value, after ``evaluations`` of f; ``met`` says whether value is the level, to the tolerance."""

    t: float
    value: float
    evaluations: int
    met: bool


def first_crossing(
    f: Callable[[float], float], level: float, start: float, tolerance: float, evaluations: int, growth: float = 8.0
) -> Crossing:
    """The crossing of ``level`` nearest to 0, by a bracketed secant in (log t, log f).

    f(0) = 0 and f grows like a power of t near 0, so a straight line through the logarithms is right to leading order: two
    evaluations fix the power, a third usually lands. A value that is not finite counts as above the level. If no evaluation
    comes within the tolerance, the largest t known to lie below the level is returned, so that a budget is never overspent.
    """
    below, above = (0.0, 0.0), (math.inf, math.inf)
    t, power, last = start, 1.0, None
    for done in range(1, evaluations + 1):
        value = f(t)
        if math.isfinite(value) and abs(value - level) <= tolerance * level:
            return Crossing(t, value, done, True)
        if math.isfinite(value) and value < level:
            below = (t, value)
        else:
            above = (t, value if math.isfinite(value) else math.inf)
        if math.isfinite(value) and value > 0:
            if last is not None and last[0] != t and value != last[1]:
                slope = math.log(value / last[1]) / math.log(t / last[0])
                power = slope if 0.2 < slope < 5 else power
            last = (t, value)
            guess = t * (level / value) ** (1 / power)
        else:
            guess = t / growth
        t = _within(guess, below[0], above[0], growth)
    return Crossing(*below, evaluations, False)


def _within(guess: float, low: float, high: float, growth: float) -> float:
    """The guess, kept inside the bracket; where it falls outside, the bracket is halved (in logarithms where it can be)."""
    if high == math.inf:
        return min(max(guess, low * 1.01), low * growth if low else guess)
    if low < guess < high:
        return guess
    return math.sqrt(low * high) if low else high / 4
