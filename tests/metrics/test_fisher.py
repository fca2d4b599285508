"""The true Fisher and its diagonal, blocks and samples: each against a dense float64 matrix, and each the same by every way."""

import functools
import math

import pytest
import torch
from torch import nn
from torch.distributions import Categorical, Normal
from torch.nn import functional as F

import geosam
from geosam import metrics
from geosam.core import vectors as vec
from geosam.engines import Func, Hooks
from geosam.metrics import BlockDiagonal, DiagonalFisher, EmpiricalFisher, Exact, Fisher, MonteCarlo, Relative
from geosam.problem.likelihoods import mean_kl
from tests.fishers import LIKELIHOODS, WAYS, bind, closeness, dense, dense_diagonal, epsilon, flat, rand_labels, rows_of
from tests.laws import oracles
from tests.networks import build, cnn, draw, labels, mlp, network
from tests.placement import device

FLOAT64 = torch.float64

LOSSES = [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1), nn.MSELoss(), nn.BCEWithLogitsLoss()]


@functools.cache
def undamped(loss, make):
    """(F, g) by the oracle, which every way is compared with."""
    bound = bind(loss, make)
    return oracles.fisher(0.0)(bound), oracles.gradient(bound)


@pytest.mark.parametrize("loss, make", [*((loss, mlp) for loss in LOSSES), (LOSSES[1], cnn)])
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_the_full_fisher_is_the_dense_one(way, loss, make):
    bound = bind(loss, make)
    fisher, c = undamped(loss, make)
    for damping in (0.1, Relative(0.01)):
        want = oracles.damped(fisher, damping)
        seen = geosam.observe(bound, Fisher(damping, **way).needs)
        norm = Fisher(damping, **way).at(seen)
        assert closeness(flat(norm.sharp(seen.gradient)), torch.linalg.solve(want, c)) < 1e-9
        if damping == 0.1 or make is mlp:
            assert closeness(dense(norm, bound.parameters), want) < 1e-9


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
    seeded = lambda: torch.Generator(device()).manual_seed(3)  # noqa: E731
    want = oracles.drawn_fisher(0.1, rand_labels(4, seeded()))(bound)
    norm = Fisher(0.1, MonteCarlo(4, seeded()), **way).at(bound)
    assert closeness(dense(norm, bound.parameters), want) < 1e-9
    undamped = oracles.drawn_fisher(0.0, rand_labels(4, seeded()))(bound)
    found = dense(DiagonalFisher(0.1, MonteCarlo(4, seeded())).at(bound), bound.parameters)
    assert closeness(found.diagonal(), undamped.diagonal() + 0.1) < 1e-9


def test_relative_damping_of_drawn_labels_is_the_same_by_both_ways():
    bound, drawn = bind(n=20), [MonteCarlo(3, torch.Generator(device()).manual_seed(1)) for _ in range(2)]
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
        rows = torch.stack([flat(rows_of(seen).vjp(e)) for e in eye])
        total = total + rows.T @ (p[:, k : k + 1] * rows) / bound.n
    return total


def test_the_empirical_fisher_is_the_true_one_in_expectation_over_the_model_s_own_labels():
    bound = bind()
    assert closeness(dense(Fisher(1.0).at(bound), bound.parameters), every_label(bound) + torch.eye(51)) < 1e-12


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
def test_fisher_is_the_hessian_of_kl_at_zero(name):
    likelihood, model, x = LIKELIHOODS[name], build(mlp, dtype=FLOAT64), draw(5, 4, dtype=FLOAT64)
    bound = geosam.Problem(model, nn.CrossEntropyLoss(), likelihood).on(x, labels(5))
    with torch.no_grad():
        old = likelihood(model(x))
    theta = flat(model.parameters())

    def kl(point):
        parts = dict(zip([k for k, _ in model.named_parameters()], vec.unflatten(point, bound.parameters), strict=True))
        return mean_kl(likelihood(torch.func.functional_call(model, parts, (x,))), old)

    want = torch.autograd.functional.hessian(kl, theta)
    for way in WAYS[:2]:
        assert closeness(dense(Fisher(1.0, **way).at(bound), bound.parameters), want + torch.eye(51)) < 1e-9


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


DRAWN = MonteCarlo(3, torch.Generator(device()).manual_seed(0))


@pytest.mark.parametrize(
    "name, sampling", [("mlp", Exact()), ("cnn", DRAWN), ("transformer", Exact())], ids=["mlp", "cnn, drawn", "transformer"]
)
def test_both_ways_agree(name, sampling):
    """On every kind of network each way has a test of its own: the drawn rows in engines, the products in predictive."""
    model, x, y = network(name, dtype=FLOAT64)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
    gram, free = (epsilon(Fisher(0.1, sampling, **way), bound) for way in WAYS[:2])
    assert closeness(gram, free) < 1e-8
    squares = [dense_diagonal(DiagonalFisher(0.1, sampling, engine), bound) for engine in (Func(), Hooks())]
    assert closeness(*squares) < 1e-10


class TestRefusals:
    @pytest.mark.parametrize(
        "metric", [Fisher(), DiagonalFisher(), Fisher(0.1, MonteCarlo(1)), metrics.KroneckerFisher()], ids=repr
    )
    def test_a_loss_that_names_no_distribution(self, metric):
        bound = geosam.Problem(build(mlp), nn.L1Loss()).on(draw(6, 4), draw(6, 3))
        with pytest.raises(TypeError, match=r"needs the model's predictive distribution.*likelihood=lambda"):
            metric.at(bound)

    @pytest.mark.parametrize("metric", [DiagonalFisher(), Fisher(), metrics.KroneckerFisher()], ids=repr)
    def test_a_plain_closure(self, metric):
        model = build(mlp)
        with pytest.raises(TypeError, match=r"Pass problem.on\(x, y\)"):
            geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric).step(lambda: torch.tensor(0.0))

    def test_an_observation_that_was_not_asked_for_it(self):
        seen = geosam.observe(bind(), Fisher(0.1).needs)
        with pytest.raises(TypeError, match="DiagonalFisher needs the model's predictive distribution"):
            DiagonalFisher(0.1).at(seen)

    @pytest.mark.parametrize("way", WAYS[:2], ids=str)
    def test_no_damping_where_outputs_are_fewer_than_parameters(self, way):
        with pytest.raises(ValueError, match="rank 15 at most with 51 parameters"):
            Fisher(0.0, **way).at(bind())

    def test_no_damping_where_a_diagonal_has_a_zero(self):
        bound = geosam.Problem(nn.Linear(4, 3), nn.CrossEntropyLoss()).on(torch.eye(4)[:2], labels(2))
        with pytest.raises(ValueError, match="diagonal of the Fisher"):
            DiagonalFisher(0.0).at(bound)

    @pytest.mark.parametrize("limit", [-1, True, 2.5])
    def test_a_limit_counts_rows(self, limit):
        with pytest.raises(ValueError, match="rows_limit"):
            Fisher(0.1, rows_limit=limit)

    def test_outputs_that_are_no_tensor(self):
        class Two(nn.Linear):
            def forward(self, x):
                return {"logits": super().forward(x)}

        problem = geosam.Problem(
            Two(4, 3), lambda z, y: F.cross_entropy(z["logits"], y), lambda z: Categorical(logits=z["logits"])
        )
        with pytest.raises(TypeError, match="outputs that are one tensor"):
            DiagonalFisher().at(problem.on(draw(6, 4), labels(6)))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize(
    "metric", [Fisher(0.1), Fisher(), DiagonalFisher(), Fisher(0.1, MonteCarlo(2)), metrics.KroneckerFisher()], ids=repr
)
def test_an_input_that_is_not_finite_gives_no_perturbation(metric, bad):
    bound = geosam.Problem(build(mlp), nn.CrossEntropyLoss()).on(draw(6, 4).index_fill(0, torch.tensor([2]), bad), labels(6))
    seen = geosam.observe(bound, metric.needs)
    found = geosam.solve(metric.at(seen), seen.gradient, 0.1)
    assert not found.finite and all((t == 0).all() for t in found.epsilon)
