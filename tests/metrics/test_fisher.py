"""The true Fisher and its diagonal, blocks and samples: each against a dense float64 matrix, and each the same by every way."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributions import Bernoulli, Normal
from torch.nn import functional as F

import geosam
from geosam.core import vectors as vec
from geosam.engines import Func, Hooks
from geosam.metrics import BlockDiagonal, DiagonalFisher, EmpiricalFisher, Exact, Fisher, MonteCarlo, Relative
from geosam.observation import PredictiveDistribution
from geosam.problem.likelihoods import bernoulli, categorical, gaussian, mean_kl
from tests.fishers import LIKELIHOODS, WAYS, bind, closeness, dense, dense_diagonal, epsilon, flat, rand_labels
from tests.laws import oracles
from tests.networks import NETWORKS, build, cnn, draw, labels, mlp, network

FLOAT64 = torch.float64

LOSSES = [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1), nn.MSELoss(), nn.BCEWithLogitsLoss()]


@pytest.mark.parametrize("loss, make", [*((loss, mlp) for loss in LOSSES), (LOSSES[1], cnn)])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_full_fisher_is_the_dense_one(way, loss, make):
    bound = bind(loss, make)
    for damping in (0.1, Relative(0.01)):
        want = oracles.fisher(damping)(bound)
        norm = Fisher(damping, **way).at(bound)
        assert closeness(dense(norm, bound.parameters), want) < 1e-9
        c = oracles.gradient(bound)
        solved = torch.linalg.solve(want, c)
        seen = geosam.observe(bound, Fisher(damping, **way).needs)
        found = Fisher(damping, **way).at(seen).sharp(seen.gradient)
        assert closeness(flat(found), solved) < 1e-9


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_the_diagonal_and_the_blocks_are_those_of_the_dense_one(loss):
    bound, whole = bind(loss), oracles.fisher(0.0)
    for engine in (Func(), Func(chunk_size=2), Hooks()):
        found = dense(DiagonalFisher(0.1, engine=engine).at(bound), bound.parameters)
        assert closeness(found, oracles.diagonal_fisher(0.1)(bound)) < 1e-9
    for damping in (0.1, Relative(0.01)):
        found = dense(BlockDiagonal(Fisher(damping)).at(bound), bound.parameters)
        assert closeness(found, oracles.by_module(whole, damping)(bound)) < 1e-9


@pytest.mark.parametrize("way", WAYS[:2], ids=str)
def test_monte_carlo_is_the_mean_over_the_labels_that_its_generator_drew(way):
    bound = bind()
    seeded = lambda: torch.Generator().manual_seed(3)  # noqa: E731
    want = oracles.drawn_fisher(0.1, rand_labels(4, seeded()))(bound)
    norm = Fisher(0.1, MonteCarlo(4, seeded()), **way).at(bound)
    assert closeness(dense(norm, bound.parameters), want) < 1e-9
    undamped = oracles.drawn_fisher(0.0, rand_labels(4, seeded()))(bound)
    found = dense(DiagonalFisher(0.1, MonteCarlo(4, seeded())).at(bound), bound.parameters)
    assert closeness(found.diagonal(), undamped.diagonal() + 0.1) < 1e-9


def test_relative_damping_of_drawn_labels_is_the_same_by_both_ways():
    bound, drawn = bind(n=20), [MonteCarlo(3, torch.Generator().manual_seed(1)) for _ in range(2)]
    gram, free = (Fisher(Relative(0.01), d, **way).at(bound) for d, way in zip(drawn, WAYS[:2], strict=True))
    assert float(gram.damping) == pytest.approx(float(free.damping), rel=1e-12)


def every_label(bound):
    """Σ_k p(k) g_k g_kᵀ over the labels that a sample might have had, from the library's own empirical rows."""
    model = bound.model
    with torch.no_grad():
        p = model(bound.x).softmax(1)
    total = 0.0
    for k in range(p.shape[1]):
        y = torch.full((bound.n,), k)
        seen = geosam.observe(geosam.Problem(model, nn.CrossEntropyLoss()).on(bound.x, y), EmpiricalFisher().needs)
        eye = torch.eye(bound.n, dtype=FLOAT64)
        rows = torch.stack([flat(seen.gradient.rows.materialise(e)) for e in eye])
        total = total + rows.T @ (p[:, k : k + 1] * rows) / bound.n
    return total


def test_the_empirical_fisher_is_the_true_one_in_expectation_over_the_model_s_own_labels():
    bound = bind()
    assert closeness(dense(Fisher(1.0).at(bound), bound.parameters), every_label(bound) + torch.eye(51)) < 1e-12


class Stratified(MonteCarlo):
    """Noise that is an even grid: every label comes up in proportion to its probability, to one part in n."""

    def _noise(self, kind, shape, device):
        grid = (torch.arange(self.n, dtype=FLOAT64) + 0.5) / self.n
        if kind is torch.randn:
            grid = torch.special.ndtri(grid)
        return grid.reshape(-1, *[1] * (len(shape) - 1)).expand(shape)


@pytest.mark.parametrize("likelihood", [categorical, gaussian, lambda z: Bernoulli(logits=z), bernoulli])
def test_drawn_labels_come_up_as_often_as_they_are_likely(likelihood):
    z = draw(4, 1, dtype=FLOAT64) if likelihood is not categorical else draw(4, 3, dtype=FLOAT64)
    exact = Exact().cotangents(likelihood, z).flatten(2)
    drawn = Stratified(20001).cotangents(likelihood, z).flatten(2)
    information = [torch.einsum("kna,knb->nab", u, u) / len(u) for u in (exact, drawn)]
    assert closeness(information[1], information[0]) < 2e-3


def test_gaussian_fisher_is_the_jacobian_s_gram_over_the_variance():
    model, x = build(mlp, dtype=FLOAT64), draw(5, 4, dtype=FLOAT64)
    for deviation in (0.3, 2.0):

        def likelihood(z, deviation=deviation):
            return torch.distributions.Independent(Normal(z, torch.tensor(deviation, dtype=FLOAT64)), 1)

        bound = geosam.Problem(model, nn.MSELoss(), likelihood).on(x, draw(5, 3, dtype=FLOAT64))
        rows = torch.stack([oracles.flat_gradient(entry, model) for z in model(x) for entry in z])
        want = rows.T @ rows / (5 * deviation**2) + torch.eye(51)
        for way in WAYS:
            assert closeness(dense(Fisher(1.0, **way).at(bound), bound.parameters), want) < 1e-9


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("way", WAYS[:2], ids=str)
def test_fisher_is_the_hessian_of_kl_at_zero(name, way):
    likelihood, model, x = LIKELIHOODS[name], build(mlp, dtype=FLOAT64), draw(5, 4, dtype=FLOAT64)
    bound = geosam.Problem(model, nn.CrossEntropyLoss(), likelihood).on(x, labels(5))
    with torch.no_grad():
        old = likelihood(model(x))
    theta = flat(model.parameters())

    def kl(point):
        parts = dict(zip([k for k, _ in model.named_parameters()], vec.unflatten(point, bound.parameters), strict=True))
        return mean_kl(likelihood(torch.func.functional_call(model, parts, (x,))), old)

    want = torch.autograd.functional.hessian(kl, theta)
    assert closeness(dense(Fisher(1.0, **way).at(bound), bound.parameters), want + torch.eye(51)) < 1e-9


@pytest.mark.parametrize("shape", [(5, 3, 4), (5, 3, 2, 2)])
def test_classes_at_every_place_are_averaged_over(shape):
    z = draw(*shape, dtype=FLOAT64)
    u = Exact().cotangents(categorical, z).flatten(2)
    moved = z.clone().requires_grad_()
    kl = lambda w: mean_kl(categorical(w), categorical(z))  # noqa: E731
    hessian = torch.autograd.functional.hessian(kl, moved).reshape(5, u.shape[2], 5, u.shape[2])
    for i in range(5):
        assert closeness(u[:, i].T @ u[:, i] / (len(u) * 5), hessian[i, :, i]) < 1e-9
    drawn = Stratified(5001).cotangents(categorical, z[:, :, :1].contiguous()) if len(shape) == 3 else None
    assert drawn is None or drawn.shape == (5001, 5, 3, 1)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_loss_s_slope_is_told_in_the_rows_where_it_lies_in_their_span(name):
    likelihood, z = LIKELIHOODS[name], draw(5, 3, dtype=FLOAT64)
    u = Exact().cotangents(likelihood, z)
    slopes = torch.einsum("kn,kne->ne", draw(3, 5, seed=9, dtype=FLOAT64), u)
    alpha, spanned = Exact().coordinates(likelihood, z, u, slopes)
    assert spanned.all() and closeness(torch.einsum("kn,kne->ne", alpha, u), slopes) < 1e-12
    if name in ("softmax", "tempered"):
        assert Exact().coordinates(likelihood, z, u, torch.ones_like(z)) is None  # a constant added to the logits is no news


@given(st.integers(1, 3), st.lists(st.booleans(), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_a_drawn_score_that_is_parallel_to_a_sample_s_slope_tells_it(draws, matched, seed):
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(draws, len(matched), 3, generator=generator, dtype=FLOAT64)
    slopes = torch.randn(len(matched), 3, generator=generator, dtype=FLOAT64)
    for i, same in enumerate(matched):
        if same:
            slopes[i] = -0.7 * u[draws - 1, i]
    alpha, spanned = MonteCarlo(draws).coordinates(categorical, torch.zeros(len(matched), 3), u.float(), slopes)
    assert spanned.tolist() == matched
    told = torch.einsum("kn,kne->ne", alpha, u)
    torch.testing.assert_close(told, torch.where(spanned.unsqueeze(1), slopes, 0.0), rtol=1e-5, atol=1e-5)


def test_a_label_that_the_model_thinks_all_but_impossible_is_still_in_the_span():
    z = torch.tensor([[0.0, -60.0, -200.0]], dtype=FLOAT64)
    for k, span in ((1, True), (2, False)):  # e⁻¹⁰⁰ has no float32
        slopes = z.softmax(1) - F.one_hot(torch.tensor([k]), 3)
        assert (
            Exact().coordinates(categorical, z.float(), Exact().cotangents(categorical, z.float()), slopes) is not None
        ) == span


@pytest.mark.parametrize("damping", [1e-2, 1e-5, 1e-8, Relative(0.1)])
@pytest.mark.parametrize("name", ["mlp", "cnn", "transformer"])
def test_float32_finds_the_gradient_s_direction_at_every_damping(name, damping):
    """Woodbury's formula would lose it: rounding off the span is multiplied by σ²/λ."""
    found = []
    for dtype in (torch.float32, FLOAT64):
        model, x, y = network(name, dtype=torch.float32)
        bound = geosam.Problem(model.to(dtype), nn.CrossEntropyLoss()).on(x.to(dtype), y)
        found.append(epsilon(Fisher(damping), bound))
    assert closeness(*found) < 2e-4


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("sampling", [Exact(), MonteCarlo(3, torch.Generator().manual_seed(0))], ids=["Exact", "MonteCarlo"])
def test_both_ways_agree_for_every_kind_of_network(name, sampling):
    model, x, y = network(name, dtype=FLOAT64)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
    gram, free = (epsilon(Fisher(0.1, sampling, **way), bound) for way in WAYS[:2])
    assert closeness(gram, free) < 1e-8
    squares = [dense_diagonal(DiagonalFisher(0.1, sampling, engine), bound) for engine in (Func(), Hooks())]
    assert closeness(*squares) < 1e-10


@pytest.mark.parametrize("name", NETWORKS)
def test_products_with_the_fisher_are_symmetric_however_often_they_are_taken(name):
    """torch.func.linearize records an LSTM's gates in place, and is wrong from the second call on."""
    model, x, y = network(name, dtype=FLOAT64)
    predictive = geosam.observe(geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y), (PredictiveDistribution(),))[
        PredictiveDistribution()
    ]
    u, v = ([draw(*p.shape, seed=seed, dtype=FLOAT64) for p in predictive.parameters] for seed in (4, 5))
    first = flat(predictive.fisher(u))
    assert abs(float(flat(v) @ first - flat(u) @ flat(predictive.fisher(v)))) < 1e-12 * float(first.norm() * flat(v).norm())
    assert closeness(flat(predictive.fisher(u)), first) < 1e-12
