"""The exponential average that objectives with memory keep."""

from __future__ import annotations

from ..core import Vectors
from ..core import vectors as vec
from ..observation import State


def fits(last: Vectors, like: Vectors) -> bool:
    """Whether kept tensors have these shapes."""
    return [t.shape for t in last] == [t.shape for t in like]


def past(state: State, like: Vectors) -> Vectors | None:
    """The state's average; None in a first step, and where the parameters' shapes have changed."""
    last = state.get("average")
    return last if last is not None and fits(last, like) else None


def averaged(g: Vectors, last: Vectors | None, decay: float) -> tuple[Vectors, Vectors]:
    """m_t = decay · m_{t−1} + (1 − decay) · g_t, m_0 = g_0; and what to keep: m_{t−1} (at first 0) if g_t is not finite."""
    # cloned, because the second pass overwrites the memory of the first one's gradient
    average = vec.clone(g) if last is None else vec.lerp(last, g, 1 - decay)
    return average, vec.select(vec.finite(g), average, vec.zeros_like(g) if last is None else last)
