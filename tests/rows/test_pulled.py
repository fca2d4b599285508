"""A pulled vector Jᵀa: a list of tensors that is computed when it is first read."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from geosam.rows import Materialised, Pulled
from tests.rows.dense import rows_and_dense


def ones(rows):
    return torch.ones(rows.n, dtype=torch.float64)


@given(rows_and_dense())
def test_it_is_a_sequence_of_tensors(both):
    rows, j = both
    pulled = rows.pull(ones(rows))
    assert isinstance(pulled, Pulled) and len(pulled) == 3 and pulled.like is rows.like
    torch.testing.assert_close(torch.cat([t.reshape(-1) for t in pulled]), j.sum(0))
    torch.testing.assert_close(pulled.square(), j.sum(0).square().sum())
    assert pulled[0] is pulled.tensors[0] and pulled[1:] == pulled.tensors[1:]


@given(rows_and_dense(), st.permutations(range(3)))
def test_a_part_of_it_is_a_pulled_vector_of_fewer_columns(both, order):
    rows, _ = both
    pulled, index = rows.pull(ones(rows)), order[:2]
    some = pulled.restrict(index)
    assert some.rows is rows.restrict(index) and some.coordinates is pulled.coordinates
    torch.testing.assert_close(list(some), [pulled[i] for i in index])
    torch.testing.assert_close(list(pulled.part(index)), [pulled[i] for i in index])


def test_nothing_is_computed_before_it_is_read(monkeypatch):
    rows = Materialised([torch.ones(2, 3)])
    calls = []

    def counted(self, a):
        calls.append(1)
        return [torch.ones(3, dtype=a.dtype)]

    monkeypatch.setattr(Materialised, "vjp", counted)
    pulled = rows.pull(ones(rows)).restrict([0])
    assert not calls
    assert pulled[0].dtype == torch.float32  # computed in the coordinates' type, rounded to the rows'
    _ = pulled[0]
    assert calls == [1]
