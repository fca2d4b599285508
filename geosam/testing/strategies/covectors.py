"""Covectors at every supported scale, and all inputs of a law."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from ...core import Vectors
from ...core import vectors as vec
from ...rows import Pulled, Rows
from ..drawn import Drawn
from .vectors import numbers, vectors

# gradient scales at which ε* must be right, as powers of 10
_SCALES = {torch.float32: (-25, 18), torch.float64: (-40, 40)}
_NARROW = (-4, 4)
_CANCELS = 16
_COEFFICIENT = st.integers(-6, 6).map(lambda k: k / 2)


def _scales(dtype: torch.dtype) -> tuple[int, int]:
    return _SCALES.get(dtype, _NARROW)


def covectors(like: Vectors, rows: Rows | None = None) -> SearchStrategy[Vectors]:
    """Covectors that are not 0, of every scale; with ``rows``, also pulled vectors."""
    plain: SearchStrategy[Vectors] = vectors(like, *_scales(like[0].dtype))
    if rows is None:
        return plain
    least, most = (k // 2 for k in _scales(like[0].dtype))
    return st.one_of(pulled(rows, least, most).filter(_sizeable), plain)


def pulled(rows: Rows, least: int, most: int) -> SearchStrategy[Pulled]:
    """Jᵀa, the largest entry of a ±10^k, k from ``least`` to ``most``, where the parts aᵢgᵢ do not cancel: a norm that is
    solved for the coordinates a gives ♯Jᵀa to eps ‖K‖/nλ · Σ|aᵢ|‖gᵢ‖/‖Jᵀa‖, and the last factor is at most 16 here."""
    device = rows.like[0].device
    coordinates = st.builds(lambda a, k: torch.from_numpy(a * 10.0**k).to(device), numbers(rows.n), st.integers(least, most))
    lengths = rows.gram().diagonal().sqrt()

    def lasting(c: Pulled) -> bool:
        return bool(c.coordinates.abs() @ lengths <= _CANCELS * vec.norm(c))

    return coordinates.map(rows.pull).filter(lasting)


def _sizeable(c: Vectors) -> bool:
    least, most = _scales(c[0].dtype)
    return 10.0**least <= float(vec.sup(c)) <= 10.0**most


@st.composite
def draws(
    draw: DrawFn,
    like: Vectors,
    rows: Rows | None = None,
    given: Sequence[Vectors] = (),
    covector: SearchStrategy[Vectors] | None = None,
) -> Drawn:
    """All inputs of a law on ``like``. given: covectors of special interest, e.g. the gradient."""
    special = [st.just(c) for c in given if float(vec.sup(c)) > 0]
    c = draw(covector if covector is not None else st.one_of(*special, covectors(like, rows)))
    exponent = math.log10(float(vec.sup(c)))
    least, most = (math.trunc((k - exponent) * math.log2(10)) for k in _scales(c[0].dtype))
    near = max(_scales(c[0].dtype)[0], min(round(exponent), _scales(c[0].dtype)[1]))
    tangent = vectors(like)
    return Drawn(
        c=c,
        d=draw(vectors(like, near, near)),
        u=draw(tangent),
        v=draw(tangent),
        step=draw(tangent),
        rho=10.0 ** draw(st.integers(-3, 1)),
        a=draw(_COEFFICIENT.filter(bool)),
        b=draw(_COEFFICIENT),
        power=draw(st.integers(min(least, 0), max(most, 0))),
        spoil=(draw(st.integers(0, 63)), draw(st.sampled_from([math.nan, math.inf, -math.inf]))),
    )
