"""Every kind of rows is the operator J: each product against the dense matrix, in float64."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from geosam.core import limits
from geosam.core import vectors as vec
from geosam.rows import Materialised
from geosam.rows.square import add_square
from tests.rows.dense import SHAPES, rows_and_dense


def flat(v):
    return torch.cat([t.reshape(-1) for t in v]).double()


def close(found, want):
    torch.testing.assert_close(found, want, rtol=1e-10, atol=1e-10)


@given(rows_and_dense(), st.integers(0, 9))
def test_products_are_those_of_the_dense_matrix(both, seed):
    rows, j = both
    generator = torch.Generator().manual_seed(seed)
    a = torch.randn(rows.n, generator=generator, dtype=torch.float64)
    v = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in SHAPES]
    close(rows.gram(), j @ j.T)
    close(rows.apply(v), j @ flat(v))
    close(flat(rows.vjp(a)), j.T @ a)
    close(flat(rows.add(v, 0.5, a)), 0.5 * flat(v) + j.T @ a)
    close(flat(rows.mean_squares()), j.square().mean(0))
    mean, squares = rows.moments()
    close(flat(mean), j.mean(0)), close(flat(squares), j.square().mean(0))
    assert [t.shape for t in rows.like] == [torch.Size(shape) for shape in SHAPES]
    assert rows.held == j.numel() * 8


@given(rows_and_dense(), st.permutations(range(3)), st.integers(1, 3))
def test_columns_are_those_of_the_parameters_asked_for_in_that_order(both, order, count):
    rows, j = both
    ends = torch.tensor([0, 6, 10, 12])
    index = order[:count]
    want = torch.cat([j[:, ends[i] : ends[i + 1]] for i in index], dim=1)
    some = rows.columns(index)
    close(some.gram(), want @ want.T)
    close(flat(some.vjp(torch.ones(rows.n, dtype=torch.float64))), want.sum(0))
    assert rows.restrict(index) is rows.restrict(list(index))


@given(rows_and_dense(torch.float32))
def test_float32_rows_are_multiplied_in_the_precision_asked_for(both):
    rows, j = both
    close(rows.gram(), j @ j.T)
    close(flat(rows.vjp(torch.ones(rows.n, dtype=torch.float64))), j.sum(0))
    assert {t.dtype for t in rows.vjp(torch.ones(rows.n))} == {torch.float32}


@given(scale=st.sampled_from([1e-25, 1e18]))
def test_squares_of_gradients_at_any_scale(scale):
    jacobian = torch.full((3, 2), scale)
    close(flat(Materialised([jacobian]).mean_squares()) / scale**2, jacobian[0].double().square() / scale**2)


@given(st.integers(1, 600), st.sampled_from([3, 1500]), st.integers(0, 3))
def test_a_square_by_strips_is_the_whole_one(n, width, seed):
    x = torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    out = torch.ones(n, n, dtype=torch.float64)
    add_square(out, x)
    close(out, 1 + x @ x.T)


def test_blocks_of_columns_change_nothing(monkeypatch):
    rows = Materialised([torch.arange(12.0).reshape(2, 6), torch.ones(2, 3)])
    v = [torch.arange(6.0, dtype=torch.float64), torch.ones(3, dtype=torch.float64)]
    whole = rows.gram(), rows.apply(v), flat(rows.vjp(torch.ones(2)))
    monkeypatch.setattr(limits, "CACHE", 8)
    monkeypatch.setattr(limits, "BLOCK", 8)
    assert all(map(torch.equal, whole, (rows.gram(), rows.apply(v), flat(rows.vjp(torch.ones(2))))))
    assert vec.count(rows.like) == 9
