"""The largest number for which a statement holds."""

from collections.abc import Callable


def bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """The largest number between low and high for which it holds, if it holds up to some number and for none above."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
