"""Every norm of the library, as a strategy over drawn spaces, with the tolerance that its arithmetic allows."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from hypothesis import strategies as st

from geosam import norms
from geosam.core import Relative
from geosam.norms import Block
from geosam.rows import Materialised
from geosam.testing import laws, strategies
from geosam.testing.strategies.vectors import numbers

FLOAT64, FLOAT32 = torch.float64, torch.float32


@dataclass(frozen=True)
class Case:
    """build: space ↦ strategy of norms. exact, rounded: tolerances in float64 and float32. covector, laws: of check_norm."""

    name: str
    build: Callable
    exact: float = 1e-12
    rounded: float = 1e-5
    covector: Callable | None = None
    laws: tuple | None = None

    def norms(self, dtype):
        return strategies.spaces([dtype]).flatmap(self.build)

    def tolerance(self, dtype):
        return self.exact if dtype == FLOAT64 else self.rounded


def diagonal(like):
    return strategies.diagonals(like).map(norms.Diagonal.of)


def rank_one(like):
    return strategies.vectors(like, -2, 2).map(norms.RankOne)


def low_rank(damping):
    return lambda like: strategies.rows(like).map(lambda rows: norms.LowRank(rows, damping))


def spanning(like):
    """Rows that span the space, so that no damping is needed."""

    def build(jacobian):
        size = sum(t.numel() for t in like)
        eye = torch.eye(size, dtype=like[0].dtype).split([t.numel() for t in like], dim=1)
        more = [torch.cat([j, e.reshape(size, *t.shape)]) for j, e, t in zip(jacobian, eye, like, strict=True)]
        return norms.LowRank(Materialised(more), 0.0)

    return strategies.jacobians(like).map(build)


def pulled(norm, rows=None):
    """Covectors that lie in the row space and know it."""
    rows = norm.rows if rows is None else rows
    least, most = (-12, 9) if norm.like[0].dtype == FLOAT32 else (-20, 20)
    return strategies.pulled(rows, least, most).filter(lambda c: max(float(t.abs().max()) for t in c) > 10.0 ** (least - 6))


def rebased(like, spanned=lambda i: True):
    """Rows that are each the sum of two of the norm's own; where ``spanned`` says no, rows that have nothing to do with it."""

    def build(rows):
        shaped = [j.reshape(rows.n, *t.shape) for j, t in zip(rows.jacobian, like, strict=True)]
        base = norms.LowRank(Materialised([torch.cat([j] * 2) for j in shaped]), 1e-2)
        own = torch.tensor([spanned(i) for i in range(rows.n)])
        source = Materialised([torch.where(own.view(-1, *[1] * (j.dim() - 1)), j, 0.7 - j.flip(0)) for j in shaped])
        alpha = torch.where(own, 0.5, 0.0).double().expand(2, rows.n)
        return norms.Rebased(base, source, (alpha, own), {})

    return strategies.rows(like).map(build)


def partly_rebased(like):
    """Every other row."""
    return rebased(like, lambda i: i % 2 == 0)


def from_source(norm):
    """Covectors of the other rows."""
    return pulled(norm, norm.source)


def kronecker(damping):
    """A block a tensor of the space: [o, d], or [o, 1] with the factor of a bias."""

    @st.composite
    def build(draw, like):
        found = []
        for i, t in enumerate(like):
            o = t.shape[0] if t.dim() else 1
            sides = [draw(numbers(draw(st.integers(1, 4)) * w)).reshape(-1, w) for w in (o, t.numel() // o)]
            outer, inner = (torch.as_tensor(side.T @ side).to(t.dtype) for side in sides)
            found.append(norms.Factor(i, None, outer, inner))
        return norms.Kronecker(found, like, damping)

    return build


def matrix_free(tolerance):
    """F = JᵀJ/n by its products."""

    def build(rows):
        def product(v):
            return [t.to(like.dtype) for t, like in zip(rows.vjp(rows.apply(v) / rows.n), v, strict=True)]

        return norms.MatrixFree(product, rows.like, 0.1, tolerance, 200)

    return lambda like: strategies.rows(like).map(build)


def blocks(*kinds):
    """Each tensor of the space falls to one of the kinds; weights span four orders of magnitude."""

    @st.composite
    def build(draw, like):
        owner = draw(st.lists(st.integers(0, len(kinds) - 1), min_size=len(like), max_size=len(like)))
        found = []
        for k, kind in enumerate(kinds):
            index = [i for i, o in enumerate(owner) if o == k]
            if index:
                norm = draw(kind([like[i] for i in index]))
                found.append(Block(index, norm, draw(st.sampled_from([1.0, 0.1, 3.0, 100.0]))))
        return found

    return build


def product(kind, *parts):
    return lambda like: blocks(*parts)(like).map(lambda found: kind(found, like))


def constant(kind):
    return lambda like: st.just(kind(like))


ANY_KIND = (constant(norms.Sup), constant(norms.Identity), constant(norms.Spectral), rank_one)
INNER_PRODUCTS = (diagonal, rank_one, low_rank(1e-2))

CASES = [
    Case("Identity", constant(norms.Identity)),
    Case("Diagonal, condition up to 1e8", diagonal),
    Case("RankOne", rank_one, exact=1e-10, rounded=1e-3),
    Case("LowRank, damping 1", low_rank(1.0), exact=1e-10, rounded=1e-4),
    Case("LowRank, damping 1e-4", low_rank(1e-4), exact=1e-6, rounded=5e-3),
    Case("LowRank, damping 1e-8", low_rank(1e-8), exact=1e-3, rounded=1e-1),
    Case("LowRank in its row space, damping 1", low_rank(1.0), exact=1e-10, rounded=1e-5, covector=pulled, laws=laws.NORM),
    Case("LowRank in its row space, 1e-8", low_rank(1e-8), exact=1e-3, rounded=5e-2, covector=pulled, laws=laws.NORM),
    Case("LowRank, relative damping", low_rank(Relative(0.1)), exact=1e-10, rounded=1e-4),
    Case("LowRank, undamped", spanning, exact=1e-8, rounded=1e-4),
    Case("Rebased", rebased, exact=1e-8, rounded=5e-3),
    Case("Rebased, on vectors of its source", rebased, exact=1e-8, rounded=1e-3, covector=from_source, laws=laws.NORM),
    Case("Rebased, on vectors partly its own", partly_rebased, exact=1e-8, rounded=5e-3, covector=from_source, laws=laws.NORM),
    Case("Kronecker", lambda like: kronecker(1e-2)(like), exact=1e-8, rounded=1e-2),
    Case("Kronecker, relative damping", lambda like: kronecker(Relative(0.1))(like), exact=1e-8, rounded=1e-3),
    Case("MatrixFree", matrix_free(1e-9), exact=1e-7, rounded=1e-4),
    Case("JointBall", product(norms.JointBall, *ANY_KIND), exact=1e-10, rounded=1e-3),
    Case("JointInnerProduct", product(norms.JointInnerProduct, *INNER_PRODUCTS), exact=1e-8, rounded=1e-3),
    Case("BallEach", product(norms.BallEach, *ANY_KIND), exact=1e-10, rounded=1e-3),
    Case("Sup", constant(norms.Sup)),
    Case("Spectral", constant(norms.Spectral)),
]

ANYWHERE = [norms.Identity(), norms.Sup(), norms.Spectral()]
