"""The first crossing of a level by a function that grows from zero like a power."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Crossing:
    """t with f(t) = value, after ``evaluations`` of f. met: whether value is the level, to the tolerance."""

    t: float
    value: float
    evaluations: int
    met: bool


def first_crossing(
    f: Callable[[float], float],
    level: float,
    start: float,
    tolerance: float,
    evaluations: int,
    growth: float = 8.0,
    limit: float = math.inf,
) -> Crossing:
    """The crossing of ``level`` nearest to 0, by a bracketed secant in (log t, log f).

    f(0) = 0 and f grows like a power of t near 0, so a straight line through the logarithms is right to leading order: two
    evaluations determine the power, and the third is usually within the tolerance. Where f is flat the step is a factor from 4
    to ``growth``, from 2 on the way back. No t above ``limit`` is tried, and f below the level there ends the search. A value
    that is not finite counts as above the level. If no evaluation is within the tolerance, the result is below the level, so
    that a budget is never exceeded: the evaluated point with the highest f, among equals the nearest to 0.
    """
    below, low, high = [(0.0, 0.0)], 0.0, math.inf
    t, last = min(start, limit), None
    for done in range(1, evaluations + 1):
        value = f(t)
        if math.isfinite(value) and abs(value - level) <= tolerance * level:
            return Crossing(t, value, done, True)
        if math.isfinite(value) and value < level:
            below.append((t, value))
            low = max(low, t)
            if t == limit:
                evaluations = done
                break
        else:
            high = min(high, t)
        guess = _guess(t, value, last, level, growth)
        last = (t, value)
        t = min(_within(guess, low, high, growth), limit)
    top = max(value for _, value in below)
    return Crossing(*min(point for point in below if point[1] >= (1 - tolerance) * top), evaluations, False)


def _guess(t: float, value: float, last: tuple[float, float] | None, level: float, growth: float) -> float:
    """Where a power law through the last two points crosses the level (power 1 through one point)."""
    if not math.isfinite(value) or not value > 0:
        return t * growth if value == 0 else t / growth
    power = 1.0
    if last is not None and 0 < last[1] < math.inf and last[0] != t:
        power = math.log(value / last[1]) / math.log(t / last[0])
    ratio = level / value
    if not (0.2 if ratio > 1 else 0.5) < power < 5:  # flat: a power law would step too far, so step by the ratio's square
        ratio, power = (max(ratio**2, 4.0) if ratio > 1 else min(ratio**2, 0.5)), 1.0  # f is steeper on the way back
    return t * min(max(ratio ** (1 / power), 1 / growth), growth)


def _within(guess: float, low: float, high: float, growth: float) -> float:
    """The guess if it lies inside the bracket; otherwise the bracket is halved (in logarithms if both ends are positive)."""
    if high == math.inf:
        return max(guess, low * 1.01)
    if low < guess < high:
        return guess
    return math.sqrt(low * high) if low else high / growth
