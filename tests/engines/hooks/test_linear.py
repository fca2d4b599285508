"""Factors of a linear layer are the rows that they stand for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geosam.core import limits
from geosam.engines.hooks.linear import Linear
from geosam.rows import Materialised


@st.composite
def factors(draw_):
    draws, n, positions, d, o = (draw_(st.integers(1, k)) for k in (3, 4, 3, 4, 4))
    has = draw_(st.sampled_from([(True, True), (True, False), (False, True)]))
    generator = torch.Generator().manual_seed(draw_(st.integers(0, 2**32 - 1)))
    scale = 10.0 ** draw_(st.integers(-25, 18))
    a = torch.randn(n, positions, d, generator=generator, dtype=torch.float64)
    delta = scale * torch.randn(draws, n, positions, o, generator=generator, dtype=torch.float64)
    return a, delta, has


@settings(deadline=None)
@given(factors(), st.sampled_from([torch.float32, torch.float64]), st.booleans())
def test_factors_are_the_rows_that_they_stand_for(case, dtype, tight):
    """tight: a sample and an output at a time, and no Gram matrix of the inputs is kept."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("BLOCK", "GRAM") if tight else ():
            patch.setattr(limits, name, 0)
        check_factors(case, dtype)


def check_factors(case, dtype):
    (a, delta, has), tolerance = case, 1e-12 if dtype == torch.float64 else 1e-5
    a, delta = a.to(dtype), delta.to(dtype)
    shapes = [s for s, h in zip([(delta.shape[3], a.shape[2]), (delta.shape[3],)], has, strict=True) if h]
    rows = Linear(a, delta, [torch.zeros(s, dtype=dtype) for s in shapes], has)
    weight = torch.einsum("knto,ntd->knod", delta.double(), a.double()).flatten(0, 1)
    dense = Materialised([j for j, h in zip([weight, delta.double().sum(2).flatten(0, 1)], has, strict=True) if h])
    top = dense.gram().abs().max()
    for add in (rows.accumulate, rows._add_pairs, rows._add_formed):
        gram = torch.zeros(rows.n, rows.n, dtype=torch.float64)
        add(gram, torch.float64)
        assert (gram - dense.gram()).abs().max() <= tolerance * top
    weights = torch.linspace(-1, 2, rows.n, dtype=torch.float64)
    pairs = [(rows.vjp(weights), dense.vjp(weights)), (rows.mean_squares(), dense.mean_squares())]
    v = [torch.linspace(-1, 1, t.numel(), dtype=torch.float64).view(t.shape) for t in rows.like]
    pairs.append(([rows.apply(v)], [dense.apply(v)]))
    for found, true in pairs:
        size = max(t.abs().max() for t in true)
        assert all((f - t).abs().max() <= 10 * tolerance * size for f, t in zip(found, true, strict=True))
    if has == (True, True):
        assert all(torch.equal(rows.columns([i]).vjp(weights)[0], rows.vjp(weights)[i]) for i in (0, 1))
