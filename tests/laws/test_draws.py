"""Draws from N(0, G⁻¹) and log det G, against dense matrices in float64."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from hypothesis import strategies as st

import geosam
from geosam import norms
from geosam.core import Relative
from geosam.core import vectors as vec
from geosam.norms import Diagonal, Identity, LowRank, RankOne
from geosam.rows import Materialised
from geosam.testing import strategies
from geosam.testing.check import examine
from tests.placement import device

FLOAT64 = torch.float64


def noise_shapes(norm, like):
    """The shapes of the noise that the norm asks for, in order."""
    asked = []

    def normal(shape):
        asked.append(tuple(shape))
        return torch.zeros(tuple(shape), dtype=FLOAT64)

    norm.coloured(normal, like)
    return asked


def coloured(norm, like, z):
    """Az for flat noise z."""
    shapes = noise_shapes(norm, like)
    parts = iter(z.split([torch.Size(s).numel() for s in shapes]))
    return vec.flatten(norm.coloured(lambda shape: next(parts).reshape(tuple(shape)), like))


def matrix(norm, like):
    """A, column by column."""
    size = sum(torch.Size(s).numel() for s in noise_shapes(norm, like))
    return torch.stack([coloured(norm, like, e) for e in torch.eye(size, dtype=FLOAT64)], 1)


def has_the_inverse_as_covariance(norm, like, dense, tolerance):
    """AAᵀ = G⁻¹, measured where G is the unit: G^½AAᵀG^½ = I."""
    root = torch.linalg.cholesky(dense)
    whitened = root.T @ matrix(norm, like)
    error = (whitened @ whitened.T - torch.eye(len(dense), dtype=FLOAT64)).abs().max().item()
    assert error <= tolerance, f"AAᵀ is not G⁻¹: {error:.3g}"


def is_linear_in_its_noise(norm, like, dense, tolerance):
    """A(z + 2z') = Az + 2Az', so that a draw is Gaussian and AAᵀ says everything."""
    size = matrix(norm, like).shape[1]
    z, other = (torch.linspace(a, b, size, dtype=FLOAT64).cos() for a, b in ((0, 9), (2, 31)))
    together = coloured(norm, like, z + 2 * other)
    apart = coloured(norm, like, z) + 2 * coloured(norm, like, other)
    error = (together - apart).norm() / apart.norm()
    assert error <= max(tolerance, 1e-10), f"not linear: {error:.3g}"


def has_the_dense_log_determinant(norm, like, dense, tolerance):
    """log det G, to 1e-9."""
    sign, want = torch.linalg.slogdet(dense)
    found = norm.logdet()
    assert sign == 1 and found.dtype == FLOAT64 and found.shape == ()
    error = abs(found - want) / max(1.0, abs(want))
    assert error <= max(tolerance, 1e-9), f"log det {found:.12g} should be {want:.12g}"


LAWS = (has_the_inverse_as_covariance, is_linear_in_its_noise, has_the_dense_log_determinant)


@dataclass(frozen=True)
class Case:
    """build: space ↦ strategy of (norm, dense G)."""

    name: str
    build: Callable
    tolerance: float = 1e-9

    def __str__(self):
        return self.name


def dense_low_rank(jacobian, damping):
    rows = torch.cat([j.reshape(len(j), -1) for j in jacobian], 1)
    fisher = rows.T @ rows / len(rows)
    strength = damping.ratio * fisher.diagonal().mean() if isinstance(damping, Relative) else damping
    return fisher + strength * torch.eye(len(fisher), dtype=FLOAT64)


def low_rank(damping, samples=5):
    def pair(jacobian):
        return LowRank(Materialised(jacobian), damping), dense_low_rank(jacobian, damping)

    return lambda like: strategies.jacobians(like, samples).map(pair)


def undamped(like):
    def pair(jacobian):
        eye = torch.eye(vec.count(like), dtype=FLOAT64).split([t.numel() for t in like], dim=1)
        more = [torch.cat([j, e.reshape(len(e), *t.shape)]) for j, e, t in zip(jacobian, eye, like, strict=True)]
        return LowRank(Materialised(more), 0.0), dense_low_rank(more, 0.0)

    return strategies.jacobians(like).map(pair)


def diagonal(like):
    return strategies.diagonals(like).map(lambda d: (Diagonal.of(d), vec.flatten(d).diag()))


def inverse_diagonal(like):
    def pair(d):
        return Diagonal(lambda i: 1 / d[i], d, inverse=True), vec.flatten(d).diag()

    return strategies.diagonals(like).map(pair)


def rank_one(like):
    def pair(u):
        flat = vec.flatten(u)
        return RankOne(u), torch.eye(len(flat), dtype=FLOAT64) + torch.outer(flat, flat)

    return strategies.vectors(like, -2, 2).map(pair)


def identity(like):
    return st.just((Identity(), torch.eye(vec.count(like), dtype=FLOAT64)))


def product(like):
    """The first tensor and the others, with weights two orders of magnitude apart."""
    kinds = [([0], low_rank(1e-2), 0.1)] + [(list(range(1, len(like))), rank_one, 10.0)] * (len(like) > 1)

    def build(pairs):
        blocks = [norms.Block(index, norm, w) for (index, _, w), (norm, _) in zip(kinds, pairs, strict=True)]
        dense = [matrix / w**2 for (_, _, w), (_, matrix) in zip(kinds, pairs, strict=True)]
        return norms.JointInnerProduct(blocks, like), torch.block_diag(*dense)

    return st.tuples(*(kind([like[i] for i in index]) for index, kind, _ in kinds)).map(build)


CASES = [
    Case("Identity", identity),
    Case("Diagonal, condition up to 1e8", diagonal),
    Case("Diagonal, by its inverse", inverse_diagonal),
    Case("RankOne", rank_one),
    Case("LowRank, damping 1", low_rank(1.0)),
    Case("LowRank, damping 1e-2", low_rank(1e-2)),
    Case("LowRank, damping 1e-4", low_rank(1e-4), 1e-7),
    Case("LowRank, relative damping, many rows", low_rank(Relative(0.1), 12)),
    Case("LowRank, undamped", undamped, 1e-7),
    Case("JointInnerProduct", product, 1e-8),
]


def located(case):
    return strategies.spaces([FLOAT64]).flatmap(lambda like: case.build(like).map(lambda pair: (*pair, like)))


def check(case, law):
    examine(located(case), lambda drawn: law(drawn[0], drawn[2], drawn[1], case.tolerance))


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_draws_have_the_inverse_as_covariance(case, law):
    check(case, law)


@pytest.mark.parametrize("n, size, rank", [(1, 4, 1), (3, 7, 2), (9, 4, 4), (9, 4, 2), (5, 5, 5)])
def test_rows_dependent_or_more_than_parameters(n, size, rank):
    def draw(*shape, seed):
        return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=FLOAT64)

    jacobian = [draw(n, rank, seed=n) @ draw(rank, size, seed=size)]
    assert torch.linalg.matrix_rank(jacobian[0]) == rank
    norm, like = LowRank(Materialised(jacobian), 0.03), [torch.zeros(size, dtype=FLOAT64)]
    for law in LAWS:
        law(norm, like, dense_low_rank(jacobian, 0.03), 1e-10)


class Altered(geosam.InnerProduct):
    """A norm with one mistake in how it is drawn from or measured."""

    def __init__(self, norm, coloured=None, logdet=None):
        self.norm_, self.like = norm, norm.like
        self.coloured_, self.logdet_ = coloured or norm.coloured, logdet or norm.logdet

    def coloured(self, normal, like):
        return self.coloured_(normal, like)

    def logdet(self):
        return self.logdet_()

    def sharp(self, c):
        return self.norm_.sharp(c)

    def flat(self, v):
        return self.norm_.flat(v)


def times(factor):
    return lambda norm: Altered(norm, lambda normal, like: vec.scale(norm.coloured(normal, like), factor(norm)))


def sharpened(norm):
    """♯z in place of a root of it."""
    return Altered(norm, lambda normal, like: norm.sharp([normal(t.shape) for t in like]))


def folded(norm):
    return Altered(norm, lambda normal, like: norm.coloured(lambda shape: normal(shape).abs(), like))


def without_the_null_space(norm):
    """Only what the rows span."""

    def row_space(normal, like):
        first = [True]

        def half(shape):
            z, first[0] = normal(shape) * first[0], False
            return z

        return norm.coloured(half, like)

    return Altered(norm, row_space)


def rows_unscaled(norm):
    """w for √n w."""

    def wrong(normal, like):
        first = [True]

        def unscaled(shape):
            z, first[0] = normal(shape) / (norm.n**0.5 if first[0] else 1.0), False
            return z

        return norm.coloured(unscaled, like)

    return Altered(norm, wrong)


def measured(change):
    return lambda norm: Altered(norm, logdet=lambda: change(norm))


def without_the_rest(norm):
    return norm.logdet() - (vec.count(norm.like) - norm.n) * torch.tensor(norm.damping, dtype=FLOAT64).log()


TWO_ROWS = [torch.tensor([[1.0, 2.0, -1.0], [0.5, 0.0, 3.0]], dtype=FLOAT64), torch.tensor([[[1.0]], [[-2.0]]], dtype=FLOAT64)]
LOW_RANK = LowRank(Materialised(TWO_ROWS), 0.25), dense_low_rank(TWO_ROWS, 0.25)
U = [torch.tensor([1.0, -2.0, 0.5], dtype=FLOAT64), torch.tensor([[2.0]], dtype=FLOAT64)]
RANK_ONE = RankOne(U), torch.eye(4, dtype=FLOAT64) + torch.outer(vec.flatten(U), vec.flatten(U))
MUTANTS = [
    ("♯z", has_the_inverse_as_covariance, LOW_RANK, sharpened),
    ("♯z, rank one", has_the_inverse_as_covariance, RANK_ONE, sharpened),
    ("twice too long", has_the_inverse_as_covariance, RANK_ONE, times(lambda norm: 2.0)),
    ("divided by √n", has_the_inverse_as_covariance, LOW_RANK, times(lambda norm: norm.n**-0.5)),
    ("row space only", has_the_inverse_as_covariance, LOW_RANK, without_the_null_space),
    ("w unscaled", has_the_inverse_as_covariance, LOW_RANK, rows_unscaled),
    ("|z|", is_linear_in_its_noise, RANK_ONE, folded),
    ("no (P − n) log λ", has_the_dense_log_determinant, LOW_RANK, measured(without_the_rest)),
    ("log √det", has_the_dense_log_determinant, RANK_ONE, measured(lambda norm: norm.logdet() / 2)),
    ("log det G⁻¹", has_the_dense_log_determinant, LOW_RANK, measured(lambda norm: -norm.logdet())),
    ("n² for n", has_the_dense_log_determinant, LOW_RANK, measured(lambda norm: norm.logdet() - norm.n)),
]


@pytest.mark.parametrize("name, law, pair, mistake", MUTANTS, ids=[m[0] for m in MUTANTS])
def test_each_law_refutes_its_mutants_and_passes_the_right_one(name, law, pair, mistake):
    norm, dense = pair
    law(norm, norm.like, dense, 1e-10)
    with pytest.raises(AssertionError):
        law(mistake(norm), norm.like, dense, 1e-10)


def generator(seed):
    return torch.Generator(device()).manual_seed(seed)


def whitened(norm, dense, count, seed):
    drawn = generator(seed)
    draws = torch.stack([vec.flatten(norm.sample(drawn)) for _ in range(count)])
    return draws @ torch.linalg.cholesky(dense)


def worst_deviation(z):
    """The largest departure of mean and covariance from those of N(0, I), in standard errors."""
    count, size = z.shape
    eye = torch.eye(size, dtype=FLOAT64)
    errors = ((z.T @ z / count - eye) / ((1 + eye) / count).sqrt()).abs().max()
    return max(errors, (z.mean(0) * count**0.5).abs().max())


def test_many_draws_have_the_right_moments():
    norm, dense = LOW_RANK
    assert worst_deviation(whitened(norm, dense, 1000, 5)) < 6
    assert worst_deviation(whitened(sharpened(norm), dense, 1000, 5)) > 10


@pytest.mark.parametrize("norm", [LOW_RANK[0], RANK_ONE[0], Diagonal.of([torch.ones(3), torch.ones(1, 1)])])
@pytest.mark.parametrize("dtype", [torch.float32, FLOAT64, torch.bfloat16])
def test_the_generator_decides_and_the_type_is_kept(norm, dtype):
    like = [torch.zeros(3, dtype=dtype), torch.zeros(1, 1, dtype=dtype)]
    stream = torch.get_rng_state()
    one = generator(3)
    first, second, again = norm.sample(one, like), norm.sample(one, like), norm.sample(generator(3), like)
    assert [(t.shape, t.dtype) for t in first] == [(t.shape, t.dtype) for t in like]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], second[0])
    assert torch.equal(torch.get_rng_state(), stream)


def test_a_norm_that_fits_every_space_must_be_shown_one():
    with pytest.raises(ValueError, match="pass like="):
        Identity().sample(generator(0))
    assert Identity().sample(generator(0), [torch.zeros(2, 3)])[0].shape == (2, 3)
    assert Identity([torch.zeros(2)]).sample(generator(0))[0].shape == (2,)


def test_a_norm_known_by_its_products_only_says_so():
    norm = norms.MatrixFree(lambda v: v, [torch.zeros(3)], 0.5)
    with pytest.raises(NotImplementedError, match=r"MatrixFree cannot be sampled.*EmpiricalFisher"):
        norm.sample(generator(0))
    with pytest.raises(NotImplementedError, match=r"MatrixFree has no log-determinant.*EmpiricalFisher"):
        norm.logdet()


def test_a_pinned_coordinate_does_not_move():
    norm = Diagonal.of([torch.tensor([1.0, torch.inf])])
    drawn = norm.sample(generator(0))[0]
    assert drawn[0] != 0 and drawn[1] == 0
    assert norm.logdet() == torch.inf


@pytest.mark.parametrize("size", [1e-25, 1.0, 1e9, 1e18])
def test_rank_one_at_every_scale_of_the_gradient(size):
    u = [torch.tensor([0.6, -0.8]) * size]
    norm = RankOne(u)
    assert norm.logdet().item() == pytest.approx(torch.log1p(vec.dot(u, u)).item(), rel=1e-6)
    drawn = norm.sample(generator(1), [torch.zeros(2, dtype=FLOAT64)])[0]
    z = torch.randn(2, generator=generator(1), dtype=FLOAT64)
    unit = u[0].double() / u[0].double().norm()
    across = torch.stack([-unit[1], unit[0]])
    assert drawn @ across == pytest.approx((z @ across).item(), rel=1e-9)
    assert drawn @ unit == pytest.approx((z @ unit).item() / (1 + vec.dot(u, u).item()) ** 0.5, abs=1e-14, rel=1e-6)


def test_a_pinned_block_is_drawn_at_zero_and_has_no_volume():
    like = [torch.zeros(2), torch.zeros(3)]
    norm = norms.JointInnerProduct([norms.Block([1], Identity(), 0.0), norms.Block([0], Identity(), 2.0)], like)
    drawn = norm.sample(generator(0))
    assert drawn[0].norm() > 0 and torch.equal(drawn[1], torch.zeros(3))
    assert norm.logdet() == torch.inf
    with pytest.raises(ValueError, match="build it with like="):
        norms.JointInnerProduct(norm.blocks).logdet()
