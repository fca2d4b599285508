"""The closed form, the first crossing of a level, and the KL budget on a ray."""

import functools
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import geosam
from geosam.core import Vectors
from geosam.core import vectors as vec
from geosam.metrics import DiagonalEmpiricalFisher, EmpiricalFisher, Euclidean, GradientMagnitude, KLExact
from geosam.norms import Identity, MatrixFree, Spectral, Sup
from geosam.observation import PredictiveDistribution
from geosam.solvers import Crossing, DualNorm, Radial, first_crossing
from tests.networks import batch_norm_net, build, cnn, draw, labels, mlp, network

MOST, TOLERANCE = Radial().evaluations, Radial().tolerance


@dataclass
class Recorded:
    """A function that remembers where it was asked."""

    f: Callable[[float], float]
    asked: dict[float, float] = field(default_factory=dict)

    def __call__(self, t: float) -> float:
        assert t > 0 and math.isfinite(t)
        self.asked[t] = self.f(t)
        return self.asked[t]


def cross(f: Callable[[float], float], level: float, start: float = 1.0) -> Crossing:
    """The first crossing, with what must hold for every f whatever."""
    recorded = Recorded(f)
    found = first_crossing(recorded, level, start, TOLERANCE, MOST)
    assert len(recorded.asked) <= found.evaluations <= MOST
    assert 0 <= found.value <= level * (1 + TOLERANCE)
    assert (found.t, found.value) == (0, 0) or recorded.asked[found.t] == found.value
    assert found.met == (abs(found.value - level) <= TOLERANCE * level)
    return found


positive = st.floats(1e-3, 1e3)


@given(st.floats(0.6, 4), positive, st.floats(-1.5, 1.5))
def test_a_power_law_takes_three_evaluations(power, level, decades):
    crossing = 10**decades
    found = cross(lambda t: level * (t / crossing) ** power, level)
    assert found.met and found.t == pytest.approx(crossing, rel=0.03)
    near = 1 / 8 < crossing < 8 and 1 / 8 < crossing**power < 8
    assert found.evaluations <= (3 if near else 5)


@given(positive, st.floats(1e-2, 1e2))
def test_a_line_takes_two(level, crossing):
    found = cross(lambda t: level * t / crossing, level)
    if 1 / 8 <= crossing <= 8:
        assert found.met and found.evaluations <= 2


@given(st.floats(0.05, 0.98), st.floats(0.3, 3))
def test_a_function_that_saturates_short_of_the_level_gives_its_shortfall(height, speed):
    found = cross(lambda t: height * math.tanh(speed * t), 1.0)
    assert not found.met and found.value == pytest.approx(height, rel=0.02)


@given(st.floats(1.05, 3), st.floats(0.3, 3), st.floats(0.2, 8))
def test_a_start_where_the_function_is_flat_above_the_level_does_not_lose_the_crossing(height, speed, reach):
    assert cross(lambda t: height * math.tanh(speed * t), 1.0, reach / speed).value > 0.4


@given(st.floats(0.05, 0.9) | st.floats(1.05, 3), st.sampled_from([math.inf, math.nan]))
def test_a_jump_out_of_the_finite_counts_as_above(edge, bad):
    found = cross(lambda t: t if t < edge else bad, 1.0)
    assert found.met == (edge > 1)
    assert found.t < edge
    if edge < 1:
        assert found.value > 0.4 * edge


@given(st.sampled_from([math.inf, math.nan, 1e300]))
def test_nothing_finite_anywhere_gives_nothing(bad):
    assert cross(lambda t: bad, 1.0) == Crossing(0.0, 0.0, MOST, False)


def test_a_dead_zone_makes_the_search_go_on_growing():
    assert cross(lambda t: max(t - 3.0, 0.0), 1.0).value > 0.4


def test_the_first_of_several_crossings():
    found = cross(lambda t: t if t < 4 else 0.5, 1.0, start=0.5)
    assert found.met and found.t == pytest.approx(1, rel=0.01)


@given(st.lists(st.floats(1e-18, 1e18) | st.sampled_from([0.0, math.nan, math.inf]), min_size=MOST), positive, positive)
def test_no_function_makes_it_overspend_or_fail(values, level, start):
    answers = iter(values)
    cross(lambda t: next(answers), level, start)


@given(st.floats(1e-3, 1), st.integers(0, 2**32 - 1), st.sampled_from([Identity(), Sup(), Spectral()]))
def test_dual_norm_puts_epsilon_on_the_sphere(rho, seed, norm):
    c = [draw(3, 2, seed=seed), draw(4, seed=seed + 1)]
    pert = DualNorm().solve(norm, c, rho)
    assert norm.norm(pert.epsilon).item() == pytest.approx(rho, rel=1e-5)
    assert vec.dot(c, pert.epsilon).item() == pytest.approx(rho * pert.dual_norm.item(), rel=1e-5)
    assert pert.radius == rho and pert.finite


@pytest.mark.parametrize("norm", [Identity(), Sup(), Spectral(), MatrixFree(lambda v: v, [torch.zeros(3)], 0.5)], ids=repr)
@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_zero_and_what_is_not_finite_give_zero(norm, bad):
    c = [torch.full((3,), bad)]
    pert = geosam.solve(norm, c, 0.1)
    assert pert.finite == (bad == 0) and pert.radius == 0
    assert torch.equal(pert.epsilon[0], torch.zeros(3))


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


@settings(max_examples=40)
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


@settings(max_examples=40)
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

    def counted(epsilon: list[Tensor]) -> Tensor:
        nonlocal calls
        calls += 1
        return seen[PredictiveDistribution()].kl(epsilon)

    class Counting(geosam.Divergence):
        along = divergence.along

        def __call__(self, epsilon: list[Tensor]) -> Tensor:
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

        def __call__(self, epsilon: list[Tensor]) -> Tensor:
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
