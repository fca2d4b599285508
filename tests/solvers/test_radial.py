"""The KL budget on a ray: met to one per cent or the shortfall told, in about three evaluations."""

import functools
import statistics
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import geosam
from geosam.core import Vectors
from geosam.core import vectors as vec
from geosam.metrics import DiagonalEmpiricalFisher, EmpiricalFisher, Euclidean, GradientMagnitude, KLExact
from geosam.norms import Identity
from geosam.observation import PredictiveDistribution
from geosam.solvers import DualNorm, Radial
from tests.networks import batch_norm_net, build, cnn, draw, labels, mlp, network

MOST, TOLERANCE = Radial().evaluations, Radial().tolerance


def test_each_solver_names_the_other():
    _, divergence, c = budget(mlp, 0, KLExact(along=Euclidean()))
    with pytest.raises(TypeError, match=r"solvers\.DualNorm\(\)"):
        Radial().solve(Identity(), c, 0.1)
    with pytest.raises(TypeError, match=r"solvers\.Radial\(\)"):
        DualNorm().solve(divergence, c, 0.1)


def budget(make: Callable[[], nn.Module], seed: int, metric: KLExact) -> tuple[geosam.Observation, geosam.Divergence, Vectors]:
    x = draw(8, 2, 6, 6, seed=seed) if make is cnn else draw(8, 4, seed=seed)
    bound = geosam.Problem(build(make, seed), nn.CrossEntropyLoss()).on(x, labels(8, seed=seed))
    seen = geosam.observe(bound, metric.needs)
    return seen, metric.at(seen), seen.gradient


ALONG = [Euclidean(), GradientMagnitude(), EmpiricalFisher(), EmpiricalFisher(1e-3), DiagonalEmpiricalFisher()]


@given(st.sampled_from([mlp, cnn]), st.integers(0, 2**31), st.floats(-3, -0.5), st.sampled_from(ALONG))
def test_the_kl_budget_is_met_to_one_per_cent(make, seed, decade, along):
    rho = 10**decade
    _, divergence, c = budget(make, seed, KLExact(along=along))
    pert = geosam.solve(divergence, c, rho)
    radius = (2 * divergence.visit(pert.direction, pert.scale, keep=False)[0]).sqrt().item()
    assert radius == pytest.approx((2 * divergence(pert.epsilon)).sqrt().item(), rel=1e-5)  # ε is rounded once more
    assert radius == pytest.approx(rho, rel=0.0101) and pert.report["shortfall"] == 0
    assert pert.radius.item() == pytest.approx(radius, rel=1e-6)
    assert pert.report["evaluations"] <= MOST


@given(st.sampled_from([mlp, cnn]), st.integers(0, 2**31), st.floats(0.3, 1), st.sampled_from(ALONG))
def test_a_large_budget_is_met_or_the_shortfall_told(make, seed, rho, along):
    _, divergence, c = budget(make, seed, KLExact(along=along))
    pert = geosam.solve(divergence, c, rho)
    radius = (2 * divergence.visit(pert.direction, pert.scale, keep=False)[0]).sqrt().item()
    assert radius == pytest.approx((2 * divergence(pert.epsilon)).sqrt().item(), rel=1e-5)
    assert radius <= 1.0101 * rho
    if pert.report["shortfall"]:
        assert pert.report["shortfall"] == pytest.approx(1 - radius / rho, rel=1e-6)
        assert 0 < pert.report["shortfall"] < 0.8 or within(divergence, c, rho)
    else:
        assert radius >= 0.9899 * rho


def within(divergence: geosam.Divergence, c: Vectors, rho: float) -> bool:
    """Whether the budget lasts for the whole ray, however far one goes."""
    ray = DualNorm().solve(divergence.along, c, rho).epsilon
    return all((2 * divergence(vec.scale(ray, 4.0**k))).sqrt() < rho for k in range(-4, 6))


@pytest.mark.parametrize("seed, make", [(0, cnn), (5, mlp)])
def test_a_kl_that_is_flat_above_the_budget_does_not_cost_the_step(seed, make):
    _, divergence, c = budget(make, seed, KLExact(along=DiagonalEmpiricalFisher()))
    pert = geosam.solve(divergence, c, 1.0)
    assert 0.4 < (2 * divergence(pert.epsilon)).sqrt() <= 1.01


@functools.cache
def evaluations() -> list[int]:
    counts = []
    for seed in range(8):
        for rho in (1e-3, 1e-2, 0.1, 0.5):
            for along in (Euclidean(), EmpiricalFisher()):
                _, divergence, c = budget(mlp, seed, KLExact(along=along))
                counts.append(geosam.solve(divergence, c, rho).report["evaluations"])
    return counts


def test_three_evaluations_are_typical():
    assert statistics.median(evaluations()) <= 3 and max(evaluations()) <= 5


def test_the_report_counts_what_was_evaluated():
    seen, divergence, c = budget(mlp, 3, KLExact())
    calls = 0

    def counted(epsilon: Vectors) -> Tensor:
        nonlocal calls
        calls += 1
        return seen[PredictiveDistribution()].kl(epsilon)

    class Counting(geosam.Divergence):
        along = divergence.along

        def __call__(self, epsilon: Vectors) -> Tensor:
            return counted(epsilon)

        def local_norm(self, damping: float) -> geosam.InnerProduct:
            return divergence.local_norm(damping)

    pert = geosam.solve(Counting(), c, 0.1)
    assert pert.report["evaluations"] == calls
    assert pert.report["shortfall"] == 0


def test_a_saturated_divergence_reports_its_shortfall():
    _, divergence, c = budget(mlp, 0, KLExact(along=Euclidean()))

    class Bounded(geosam.Divergence):
        along = divergence.along

        def __call__(self, epsilon: Vectors) -> Tensor:
            return 0.02 * torch.tanh(divergence(epsilon) / 0.02)  # √(2D) stays below 0.2

        def local_norm(self, damping: float) -> geosam.InnerProduct:
            return divergence.local_norm(damping)

    pert = geosam.solve(Bounded(), c, 0.5)
    assert pert.radius.item() == pytest.approx(0.2, rel=1e-2)
    assert pert.report["shortfall"] == pytest.approx(0.6, rel=1e-2)


def test_a_ray_that_overflows_stays_within_the_budget():
    model = build(mlp)
    with torch.no_grad():
        model[0].weight.mul_(1e-30)
    loss = nn.CrossEntropyLoss()
    bound = geosam.Problem(model, loss).on(draw(8, 4), labels(8))
    metric = KLExact(along=Euclidean())
    divergence = metric.at(bound)
    c = [torch.full_like(p, 1e30) for p in bound.parameters]
    pert = geosam.solve(divergence, c, 1.0)
    assert (2 * divergence(pert.epsilon)).sqrt() <= 1.01


def test_batch_norm_in_training_mode_meets_the_budget_too():
    metric = KLExact(along=GradientMagnitude())
    _, divergence, c = budget(batch_norm_net, 1, metric)
    pert = geosam.solve(divergence, c, 0.1)
    assert (2 * divergence(pert.epsilon)).sqrt().item() == pytest.approx(0.1, rel=0.01)


def test_the_local_norm_of_kl_is_its_hessian():
    _, divergence, c = budget(mlp, 2, KLExact(along=Euclidean()))
    epsilon = vec.scale(c, 1e-3 / vec.norm(c).item())
    assert (2 * divergence(epsilon)).sqrt().item() == pytest.approx(divergence.local_norm(0.0).norm(epsilon).item(), rel=1e-2)


def test_a_search_that_starts_where_the_last_one_ended_takes_fewer_evaluations():
    """The optimizer hands the multiple on, saves it, and reloads it exactly."""
    model, x, y = network("mlp", n=32)
    problem = geosam.Problem(model, torch.nn.CrossEntropyLoss()).on(x, y)
    metric = geosam.metrics.KLExact(along=geosam.metrics.GradientMagnitude(1.0, 1e-3))

    def steps(optimizer, count):
        found = []
        for _ in range(count):
            optimizer.step(problem)
            found.append(dict(optimizer.last.report))
        return found

    optimizer = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.01), metric, rho=0.1)
    first, *later = steps(optimizer, 4)
    assert first["evaluations"] > max(report["evaluations"] for report in later)
    assert all(abs(optimizer.last.radius.item() / 0.1 - 1) <= TOLERANCE for _ in later)
    kept, values = optimizer.state_dict(), [p.detach().clone() for p in model.parameters()]
    ahead = steps(optimizer, 2)
    with torch.no_grad():
        for p, value in zip(model.parameters(), values, strict=True):
            p.copy_(value)
    again = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.01), metric, rho=0.1)
    again.load_state_dict(kept)
    assert steps(again, 2) == ahead
