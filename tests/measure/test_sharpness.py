"""Sharpness against dense Hessians and metrics in float64."""

import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import geosam
from geosam import metrics, norms
from geosam.core import vectors as vec
from geosam.measure import lanczos as _lanczos
from geosam.observation import PredictiveDistribution
from geosam.solvers import solve
from tests.laws import oracles
from tests.networks import NETWORKS, batch_norm_net, build, draw, dropout_net, labels, mlp, network

FLOAT64 = torch.float64


def problem(seed=0, dtype=FLOAT64, loss=None):
    y = labels(10, seed=seed + 2)
    return geosam.Problem(build(mlp, seed, dtype), loss or nn.CrossEntropyLoss()).on(draw(10, 4, seed=seed + 1, dtype=dtype), y)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def linear(seed=0):
    """Squared error of a linear model: the loss is a quadratic."""
    model = build(lambda: nn.Linear(3, 2), seed, FLOAT64)
    return geosam.Problem(model, nn.MSELoss()).on(
        draw(12, 3, seed=seed + 1, dtype=FLOAT64), draw(12, 2, seed=seed + 2, dtype=FLOAT64)
    )


def loss_of(bound):
    """Flat parameters ↦ batch loss, in float64, by the oracle's own copy of the model."""
    model, x, y = oracles.twin(bound)
    shapes = [(name, p.shape) for name, p in model.named_parameters()]

    def loss(flat):
        parts = flat.split([s.numel() for _, s in shapes])
        values = {name: part.reshape(s) for (name, s), part in zip(shapes, parts, strict=True)}
        return bound.loss(torch.func.functional_call(model, values, (x,)), y)

    return loss


def hessian(bound):
    return torch.autograd.functional.hessian(loss_of(bound), oracles.parameters(bound))


GEOMETRIES = [
    (metrics.Euclidean(), oracles.euclidean),
    (metrics.GradientMagnitude(1.0, 0.1), oracles.gradient_magnitude(1.0, 0.1)),
    (metrics.Monge(), oracles.monge),
    (metrics.EmpiricalFisher(0.1), oracles.empirical_fisher(0.1)),
    (metrics.DiagonalEmpiricalFisher(0.1), oracles.diagonal_empirical_fisher(0.1)),
]
EACH = pytest.mark.parametrize("metric, dense", GEOMETRIES, ids=[type(m).__name__ for m, _ in GEOMETRIES])


@EACH
@settings(max_examples=2)
@given(seed=st.integers(0, 1000))
def test_the_eigenvalue_is_the_dense_one(metric, dense, seed):
    bound = problem(seed)
    want = scipy.linalg.eigh(hessian(bound).numpy(), dense(bound).detach().numpy(), eigvals_only=True)
    found = geosam.sharpness(bound, metric, 0.05, samples=0, steps=1, iterations=60, tolerance=1e-6)
    assert found.converged and found.residual <= 1e-6
    assert found.eigenvalue == pytest.approx(want[-1], rel=1e-9)


def test_the_eigenvalue_under_the_true_fisher():
    bound = problem(3)
    want = scipy.linalg.eigh(hessian(bound).numpy(), oracles.fisher(0.1)(bound).detach().numpy(), eigvals_only=True)
    metric = metrics.Fisher(0.1, tolerance=1e-10, iterations=300)
    found = geosam.sharpness(bound, metric, 0.05, samples=0, steps=1, iterations=60, tolerance=1e-5)
    assert found.converged and found.eigenvalue == pytest.approx(want[-1], rel=1e-7)


def test_an_inexact_inverse_costs_iterations_but_not_truth():
    """Conjugate gradients stopped early: the value is a Rayleigh quotient still, and the residual is the true one."""
    bound = problem(3)
    dense = oracles.fisher(0.1)(bound).detach()
    seen = geosam.observe(bound, metrics.Fisher(0.1).needs)
    norm = norms.MatrixFree(seen[PredictiveDistribution()].fisher, seen.parameters, 0.1, 0.2, 3)
    start = [draw(*t.shape, seed=5, dtype=FLOAT64) for t in seen.parameters]
    ritz = _lanczos.largest(bound.surface(seen.parameters).hessian(), norm, start, 25, 1e-3)
    want = scipy.linalg.eigh(hessian(bound).numpy(), dense.numpy(), eigvals_only=True)
    v = vec.flatten(ritz.vector)
    assert v @ dense @ v == pytest.approx(1.0, rel=1e-9)
    assert (v @ hessian(bound) @ v).item() == pytest.approx(ritz.value, rel=1e-9)
    assert 0.9 * want[-1] < ritz.value <= want[-1] * (1 + 1e-9)


@EACH
def test_the_reported_residual_is_that_of_the_vector(metric, dense):
    bound = problem(1)
    seen = geosam.observe(bound, metric.needs)
    start = [draw(*t.shape, seed=5, dtype=FLOAT64) for t in seen.parameters]
    ritz = _lanczos.largest(bound.surface(seen.parameters).hessian(), metric.at(seen), start, 4, 1e-12)
    matrix, h, v = dense(bound).detach(), hessian(bound), vec.flatten(ritz.vector)
    rest = h @ v - ritz.value * matrix @ v
    largest = abs(torch.as_tensor(scipy.linalg.eigh(h.numpy(), matrix.numpy(), eigvals_only=True))).max()
    assert not ritz.converged and ritz.iterations == 4
    # relative to the largest |Ritz value|, which is at most the largest |eigenvalue|
    length = torch.sqrt(rest @ torch.linalg.solve(matrix, rest)).item()
    assert length / largest.item() <= ritz.residual * (1 + 1e-6) <= 3 * length / largest.item()


@EACH
def test_on_a_quadratic_the_average_is_half_the_trace(metric, dense):
    """E[L(θ + ε)] − L(θ) = ½ρ² tr(G⁻¹H) exactly, within many standard errors that are not large."""
    bound, rho = linear(), 0.3
    want = 0.5 * rho**2 * torch.trace(torch.linalg.solve(dense(bound).detach(), hessian(bound))).item()
    found = geosam.sharpness(bound, metric, rho, samples=200, steps=1, iterations=0)
    assert abs(found.average - want) < 5 * found.standard_error < want


def test_the_standard_error_is_the_spread_of_repeated_estimates():
    bound = problem(2)
    runs = [
        geosam.sharpness(bound, metrics.Monge(), 0.1, samples=20, steps=1, iterations=0, generator=seeded(s)) for s in range(25)
    ]
    averages, errors = (torch.tensor([getattr(run, name) for run in runs]) for name in ("average", "standard_error"))
    assert 0.6 * averages.std() < errors.mean() < 1.6 * averages.std()


def test_rho_is_a_standard_deviation_so_that_the_average_grows_with_its_square():
    """E‖ε‖_G² = ρ²P, and a quadratic's average is proportional to ρ²."""
    bound = linear()
    small, large = (geosam.sharpness(bound, metrics.EmpiricalFisher(0.1), rho, steps=1, iterations=0) for rho in (0.01, 0.1))
    assert large.average == pytest.approx(100 * small.average, rel=1e-6)
    norm = metrics.EmpiricalFisher(0.1).at(bound)
    noise = torch.Generator().manual_seed(0)
    lengths = torch.tensor([norm.norm(norm.sample(noise)).item() ** 2 for _ in range(400)])
    assert lengths.mean().item() == pytest.approx(8, rel=0.15)


@EACH
def test_worst_is_the_rise_at_epsilon_and_several_steps_rise_no_less(metric, dense):
    bound, rho = problem(4), 0.2
    found = geosam.sharpness(bound, metric, rho, samples=0, steps=8, iterations=0)
    seen = geosam.observe(bound, metric.needs)
    epsilon = solve(metric.at(seen), seen.gradient, rho).epsilon
    loss, theta = loss_of(bound), oracles.parameters(bound)
    assert found.loss == pytest.approx(loss(theta).item(), rel=1e-12)
    assert found.worst == pytest.approx((loss(theta + vec.flatten(epsilon)) - loss(theta)).item(), rel=1e-9)
    assert found.ascended >= found.worst


def test_on_a_convex_quadratic_the_ascent_finds_the_maximum_over_the_ball():
    bound, rho = linear(1), 0.5
    h, g, dense = hessian(bound), oracles.gradient(bound), oracles.empirical_fisher(0.1)(bound).detach()
    root = torch.linalg.cholesky(dense)
    inverse = torch.linalg.inv(root)
    a, b = inverse @ h @ inverse.T, inverse @ g
    # trust-region maximum: (μI − A)x = b with ‖x‖ = ρ and μ above A's largest eigenvalue
    low, high = torch.linalg.eigvalsh(a)[-1].item() + 1e-12, 1e6
    for _ in range(200):
        mu = (low + high) / 2
        length = torch.linalg.solve(mu * torch.eye(len(a), dtype=FLOAT64) - a, b).norm().item()
        low, high = (mu, high) if length > rho else (low, mu)
    x = torch.linalg.solve(high * torch.eye(len(a), dtype=FLOAT64) - a, b)
    want = (b @ x + x @ a @ x / 2).item()
    found = geosam.sharpness(bound, metrics.EmpiricalFisher(0.1), rho, samples=0, steps=60, iterations=0)
    assert found.worst < found.ascended <= want * (1 + 1e-9)
    assert found.ascended == pytest.approx(want, rel=1e-6)


@pytest.mark.parametrize("make", [dropout_net, batch_norm_net])
def test_nothing_is_left_behind(make):
    model = build(make, 0, FLOAT64)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(10, 4, dtype=FLOAT64), labels(10))
    model(bound.x).sum().backward()
    kept = {name: t.clone() for name, t in model.state_dict().items()}
    gradients, stream = [p.grad.clone() for p in model.parameters()], torch.get_rng_state()
    first, again = (geosam.sharpness(bound, metrics.Monge(), 0.1, samples=4, steps=3, iterations=5) for _ in range(2))
    assert first == again
    assert first.ascended >= first.worst > 0
    assert all(torch.equal(t, kept[name]) for name, t in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(torch.get_rng_state(), stream)


def test_the_generator_is_the_only_source_of_noise():
    bound = problem()
    found = [
        geosam.sharpness(bound, metrics.Monge(), 0.1, samples=4, steps=1, iterations=0, generator=seeded(s)) for s in (1, 1, 2)
    ]
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "weight norm"])
def test_every_network_has_hessian_products(name):
    """Attention, recurrence, embeddings, tied weights: symmetric, and the derivative of the gradient."""
    model, x, y = network(name, dtype=FLOAT64)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
    theta = [p.detach().clone() for p in bound.parameters]
    surface = bound.surface(theta)
    product = surface.hessian()
    u, v = ([draw(*t.shape, seed=s + i, dtype=FLOAT64) for i, t in enumerate(theta)] for s in (10, 50))
    hu, hv = product(u), product(v)
    assert vec.dot(hu, v).item() == pytest.approx(vec.dot(hv, u).item(), rel=1e-9)
    h = 1e-6  # no kink of a ReLU lies between the two points
    ahead, behind = (vec.dot(surface.gradient(vec.scale(u, s * h)), u).item() for s in (1, -1))
    assert vec.dot(hu, u).item() == pytest.approx((ahead - behind) / (2 * h), rel=1e-5)


def test_a_second_derivative_that_torch_gets_wrong_is_noticed():
    """torch._weight_norm's backward holds the norm fixed when it is derived again: H is not symmetric."""
    model, x, y = network("weight norm", dtype=FLOAT64)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
    with pytest.raises(ValueError, match=r"H is not symmetric.*_weight_norm"):
        geosam.sharpness(bound, metrics.Euclidean(), 0.1, samples=0)
    assert geosam.sharpness(bound, metrics.Euclidean(), 0.1, iterations=0).worst > 0


def test_a_loss_without_curvature_has_eigenvalue_zero():
    model = build(lambda: nn.Linear(3, 1), 0, FLOAT64)
    bound = geosam.Problem(model, lambda z, y: (z - y).mean()).on(draw(5, 3, dtype=FLOAT64), draw(5, 1, dtype=FLOAT64))
    found = geosam.sharpness(bound, metrics.Euclidean(), 0.1, samples=0)
    assert found.eigenvalue == 0 and found.residual == 0 and found.converged


def test_float32():
    want = geosam.sharpness(problem(5), metrics.EmpiricalFisher(0.1), 0.1, samples=10, steps=4)
    found = geosam.sharpness(problem(5, torch.float32), metrics.EmpiricalFisher(0.1), 0.1, samples=10, steps=4)
    for name in ("loss", "average", "worst", "ascended", "eigenvalue"):
        assert getattr(found, name) == pytest.approx(getattr(want, name), rel=2e-4), name


def test_parts_can_be_left_out():
    found = geosam.sharpness(problem(), metrics.Euclidean(), 0.1, samples=0, steps=1, iterations=0)
    assert found.average is found.standard_error is found.eigenvalue is found.residual is found.converged is None
    assert found.ascended == found.worst
    assert geosam.sharpness(problem(), metrics.Euclidean(), 0.0, iterations=0).average == 0
    kl = geosam.sharpness(problem(), metrics.KLExact(), 0.1, samples=0, steps=1, iterations=0)
    sup = geosam.sharpness(problem(), norms.Sup(), 0.01, samples=0, iterations=0)
    assert kl.worst > 0 and sup.ascended >= sup.worst > 0


@pytest.mark.parametrize(
    "metric, options, error, message",
    [
        (norms.Sup(), {}, TypeError, "Sup yields no inner product.*samples=0"),
        (norms.Sup(), {"samples": 0}, TypeError, "Sup yields no inner product.*iterations=0"),
        (metrics.KLExact(), {"samples": 0}, TypeError, "several steps.*iterations=0, steps=1"),
        (metrics.Euclidean(), {"samples": 1}, ValueError, "one sample has no standard error"),
        (metrics.Euclidean(), {"steps": 0}, ValueError, "steps must be a whole number, 1 or more"),
        (metrics.Euclidean(), {"iterations": 2.5}, ValueError, "iterations must be a whole number"),
    ],
)
def test_errors_name_cause_and_cure(metric, options, error, message):
    with pytest.raises(error, match=message):
        geosam.sharpness(problem(), metric, 0.1, **options)


def test_of_several_batches_it_is_the_mean_and_each_is_kept():
    first = problem()
    second = geosam.Problem(first.model, nn.CrossEntropyLoss()).on(draw(6, 4, seed=9, dtype=FLOAT64), labels(6, seed=8))
    found = geosam.sharpness([first, second], metrics.Euclidean(), 0.1, samples=4, steps=2, iterations=3)
    alone = geosam.sharpness(first, metrics.Euclidean(), 0.1, samples=4, steps=2, iterations=3)
    assert found.each[0] == alone and alone.each == ()
    for name in ("loss", "worst", "ascended", "average", "eigenvalue"):
        one, other = (getattr(each, name) for each in found.each)
        assert one != other and getattr(found, name) == pytest.approx((one + other) / 2)
    assert found.iterations == sum(each.iterations for each in found.each)
