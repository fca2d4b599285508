"""Cases of a column, drawn by Hypothesis."""

import numpy as np
from hypothesis import strategies as st

from theory.invariance.transformations import KINDS, Case, gaussian, rescalable


def whole(size, low=-3, high=3):
    return st.tuples(*[st.integers(low, high)] * size).map(lambda x: np.array(x, dtype=float))


@st.composite
def cases(draw, column, widest=False):
    """Small integers, which shrink; widest: more samples, units and inputs, and scales from 2⁻²⁰ to 2²⁰."""
    kind, n = KINDS[column], {"BatchNorm": 3, "node-wise": 3}.get(column, 2)
    n = draw(st.integers(1, 9)) if widest else n
    power = (lambda: 2.0 ** draw(st.sampled_from([0, 0, 0, -20, -3, 3, 20]))) if widest else (lambda: 1.0)
    if kind.model is gaussian:
        first = draw(st.integers(-3, 3)) * (power() if column != "mean" else 1)
        seconds = {"log σ": st.integers(-2, 2), "natural": st.integers(-3, -1), "mean": st.integers(1, 3)}
        second = draw(seconds[column]) * (power() if column == "natural" else 1) + (first**2 if column == "mean" else 0)
        return Case(column, np.zeros((n, 0)), draw(whole(n)) * power(), np.array([first, second], float), np.zeros(0))
    d = draw(st.integers(1, 3)) if widest else 2 if column == "BatchNorm" else 1
    hidden = draw(st.integers(1, 2)) if kind.symmetry and widest else 1
    inputs, targets = draw(whole(n * d)).reshape(n, d) * power(), draw(whole(n)) * power()
    if kind.sizes is None:
        p, numbers = hidden * (d + 1 + (kind.model is rescalable)) + 1, draw(whole(hidden, 1, 3)) * power()
    else:
        p, size = d + 1, kind.sizes(d + 1)
        numbers = draw(whole(size, 1)) * power() if column == "diagonal" else draw(whole(size))
    return Case(column, inputs, targets, draw(whole(p)) * power(), numbers)
