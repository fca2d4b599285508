"""The argmax over the KL ball: where it is, that it knows no coordinates, and when there is none."""

import itertools
import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from torch import nn

import geosam
from geosam.core import vectors as vec
from geosam.metrics import Euclidean, Fisher, KLExact
from geosam.norms import Identity
from geosam.solvers import Constrained, DualNorm, Radial
from tests.laws.oracles import kl
from tests.networks import build, draw

EXACT_RAY = Radial(tolerance=1e-10, evaluations=60)
METRIC = KLExact(along=Fisher(0.0, tolerance=1e-13, iterations=300))
FLOAT64 = torch.float64


def logistic(seed=0, inputs=3, dtype=FLOAT64):
    """Logistic regression: its Fisher matrix is regular, and KL and loss are far from quadratic."""
    model = build(lambda: nn.Linear(inputs, 1), seed, dtype)
    y = (draw(30, 1, seed=seed + 7) > 0).to(dtype)
    return geosam.Problem(model, nn.BCEWithLogitsLoss()).on(draw(30, inputs, seed=seed + 1, dtype=dtype), y)


def unit(seed=0):
    """One tanh unit under squared error."""
    model = build(lambda: nn.Sequential(nn.Linear(3, 1), nn.Tanh()), seed, FLOAT64)
    return geosam.Problem(model, nn.MSELoss()).on(
        draw(30, 3, seed=seed + 1, dtype=FLOAT64), draw(30, 1, seed=seed + 2, dtype=FLOAT64)
    )


def at(bound, metric=METRIC):
    seen = geosam.observe(bound, metric.needs)
    return metric.at(seen), seen.gradient


def distance(u, v):
    return (vec.norm(vec.add(u, v, -1.0)) / vec.norm(v)).item()


def is_the_local_argmax(solver, bound, rho, rise=None):
    """Within the budget, and no neighbour within the budget rises higher: a perturbed optimum, drawn back, does not."""
    divergence, c = at(bound)
    definition = kl(bound)
    found = geosam.solve(divergence, c, rho, solver)
    rise = rise or (lambda epsilon: vec.dot(c, epsilon).item())
    top = rise(found.epsilon)
    assert math.sqrt(2 * definition(found.epsilon).item()) <= rho * (1 + 1e-9), "overspent"
    for seed in range(12):
        step = [draw(*t.shape, seed=100 * seed + i, dtype=FLOAT64) for i, t in enumerate(c)]
        step = vec.scale(step, vec.norm(found.epsilon).item() / vec.norm(step).item())
        for size in (1e-1, 1e-2, 1e-3):
            moved = vec.add(found.epsilon, step, size)
            for _ in range(16):  # on to the sphere, by Newton's step for a quadratic: where D is none, it closes in slowly
                moved = vec.scale(moved, rho / math.sqrt(2 * definition(moved).item()))
            over = abs(math.sqrt(2 * definition(moved).item()) / rho - 1)
            # by the Kuhn–Tucker conditions, up to their residual, which counts where the Fisher is nearly singular and ε* long
            left = 2 * found.report.get("residual", 0.0) * (vec.norm(c) * vec.norm(vec.add(moved, found.epsilon, -1.0))).item()
            assert rise(moved) <= top + (1e-8 + 2 * over) * abs(top) + left, f"a neighbour at {size} does better"


RADII = st.floats(-2.5, -0.8).map(lambda decade: 10**decade)


@settings(max_examples=5)
@given(st.integers(0, 2**20), RADII, st.sampled_from([logistic, unit]))
def test_it_is_the_local_argmax_of_the_linearised_loss(seed, rho, make):
    is_the_local_argmax(Constrained(), make(seed % 50), rho)


@settings(max_examples=4)
@given(st.integers(0, 2**20), RADII)
def test_it_is_the_local_argmax_of_the_loss_itself(seed, rho):
    bound = logistic(seed % 50)
    theta = [p.detach().clone() for p in bound.parameters]
    is_the_local_argmax(Constrained(loss=bound), bound, rho, lambda epsilon: bound.surface(theta).rise(epsilon))


class Overspending(geosam.Solver):
    """The argmax over D ≤ 1.02 ρ²/2."""

    def solve(self, geometry, c, rho):
        return Constrained().solve(geometry, c, 1.01 * rho)


@pytest.mark.parametrize("wrong, word", [(EXACT_RAY, "neighbour"), (Overspending(), "overspent")])
def test_a_solver_that_stays_on_the_ray_or_overspends_is_refuted(wrong, word):
    is_the_local_argmax(Constrained(), logistic(0), 0.15)
    with pytest.raises(AssertionError, match=word):
        is_the_local_argmax(wrong, logistic(0), 0.15)


def test_against_a_search_over_all_angles():
    bound = logistic(3, inputs=1)
    divergence, c = at(bound)
    definition, flat = kl(bound), vec.flatten(c).numpy()

    def reach(angle, rho):
        """⟨c, ε⟩ where the ray at this angle first meets the budget."""
        ray = np.array([math.cos(angle), math.sin(angle)])

        def excess(t):
            return math.sqrt(2 * definition(vec.unflatten(torch.as_tensor(t * ray), c)).item()) - rho

        return flat @ ray * brentq(excess, 0.0, 20 * rho, xtol=1e-14)

    for rho in (0.05, 0.3):
        start = max(np.linspace(0, 2 * math.pi, 60, endpoint=False), key=lambda angle: reach(angle, rho))
        best = minimize_scalar(
            lambda a, rho=rho: -reach(a, rho), bounds=(start - 0.2, start + 0.2), method="bounded", options={"xatol": 1e-9}
        )
        found = geosam.solve(divergence, c, rho, Constrained())
        assert found.report["rise"] == pytest.approx(-best.fun, rel=1e-9)
        assert found.report["converged"] and found.report["shortfall"] < 1e-9


@settings(max_examples=5)
@given(st.integers(0, 2**20), RADII, st.sampled_from([Euclidean(), Fisher(0.0, tolerance=1e-13, iterations=300)]))
def test_it_is_never_below_the_ray_on_the_same_budget(seed, rho, along):
    divergence, c = at(logistic(seed % 50), KLExact(along=along))
    ray, found = (geosam.solve(divergence, c, rho, solver) for solver in (EXACT_RAY, Constrained()))
    assert vec.dot(c, found.epsilon) >= vec.dot(c, ray.epsilon) * (1 - 1e-8)
    assert found.report["rise"] == pytest.approx(vec.dot(c, found.epsilon).item(), rel=1e-9)
    assert (2 * divergence(found.epsilon)).sqrt() <= rho * (1 + 1e-12)
    assert found.radius.item() == pytest.approx((2 * divergence(found.epsilon)).sqrt().item(), rel=1e-9)


@pytest.mark.parametrize("make", [logistic, unit])
def test_it_tends_to_the_undamped_fisher_s_epsilon_linearly_in_the_radius(make):
    bound = make(1)
    divergence, c = at(bound)
    gaps = []
    for rho in (0.1, 0.01, 0.001):
        limit = DualNorm().solve(divergence.along, c, rho).epsilon
        gaps.append(distance(geosam.solve(divergence, c, rho, Constrained()).epsilon, limit))
    assert gaps[2] > 1e-5 and all(5 < a / b < 20 for a, b in itertools.pairwise(gaps))


class Mapped(nn.Module):
    """Logistic regression with θ = f(φ); φ is its parameter."""

    def __init__(self, f, phi):
        super().__init__()
        self.f, self.phi = f, nn.Parameter(phi)

    def forward(self, x):
        theta = self.f(self.phi)
        return (x @ theta[:3] + theta[3]).unsqueeze(1)


B = torch.tensor([[0.9, -0.7, 0.3, 0.1], [0.2, 0.8, -0.5, 0.4], [-0.6, 0.1, 0.7, 0.9], [0.5, -0.3, 0.2, -0.8]], dtype=FLOAT64)
MAPS = {
    "identity": lambda phi: phi,
    "affine": lambda phi: phi + 0.4 * (B @ phi) + 1,
    "smooth": lambda phi: phi + 0.5 * torch.sin(B @ phi) / torch.linalg.matrix_norm(B, 2),
}
PHI = torch.tensor([0.7, -0.4, 0.3, 0.5], dtype=FLOAT64)


def displacement(name, rho, solver):
    """f(φ + ε*) − f(φ), and the same found in the coordinates θ themselves."""
    x, y = draw(30, 3, seed=4, dtype=FLOAT64), (draw(30, 1, seed=5) > 0).double()
    f, points = MAPS[name], []
    for inner, start in ((f, PHI), (MAPS["identity"], f(PHI))):
        bound = geosam.Problem(Mapped(inner, start.clone()), nn.BCEWithLogitsLoss()).on(x, y)
        divergence, c = at(bound)
        epsilon = geosam.solve(divergence, c, rho, solver(bound)).epsilon[0].detach()
        points.append(inner(start + epsilon) - inner(start))
    mapped, direct = points
    return ((mapped - direct).norm() / direct.norm()).item()


def of_the_loss(bound):
    return Constrained(loss=bound)


def linearised(bound):
    return Constrained()


@pytest.mark.parametrize("rho", [0.05, 0.2])
@pytest.mark.parametrize("name, solver", [("affine", of_the_loss), ("affine", linearised), ("smooth", of_the_loss)])
def test_the_point_is_the_same_in_other_coordinates(name, solver, rho):
    assert displacement(name, rho, solver) < 1e-7


def test_linearising_depends_on_the_coordinates_to_second_order():
    """⟨c, ε⟩ is a different function in other coordinates: the point differs by O(ρ²), relatively O(ρ); so does the ray's."""
    for solver in (linearised, lambda bound: EXACT_RAY):
        gaps = [displacement("smooth", rho, solver) for rho in (0.1, 0.01)]
        assert gaps[0] > 1e-3 and 5 < gaps[0] / gaps[1] < 20


@pytest.mark.parametrize("loss", [False, True])
def test_above_the_level_where_kl_saturates_there_is_no_maximum(loss):
    bound = logistic(0)
    divergence, c = at(bound)
    with pytest.raises(ValueError, match=r"there is no maximum.*levels off.*Use a rho below"):
        geosam.solve(divergence, c, 3.0, Constrained(loss=bound if loss else None))


def test_a_bounded_loss_has_its_maximum_where_its_linearisation_has_none():
    bound = unit(0)
    divergence, c = at(bound)
    with pytest.raises(ValueError, match="there is no maximum"):
        geosam.solve(divergence, c, 3.0, Constrained())
    found = geosam.solve(divergence, c, 3.0, Constrained(loss=bound))
    assert found.report["shortfall"] > 0.1 and found.report["rise"] > 0


class OneUnit(nn.Module):
    """f(x) = v · relu(w x), which v/s and s w leave as it is."""

    def __init__(self, w, v):
        super().__init__()
        self.w, self.v = (nn.Parameter(torch.tensor(a, dtype=FLOAT64)) for a in (w, v))

    def forward(self, x):
        return self.v * torch.relu(self.w * x)


def test_a_symmetry_lets_the_linearised_loss_grow_without_spending():
    x = torch.tensor([[1.0], [2.0]], dtype=FLOAT64)
    bound = geosam.Problem(OneUnit(1.3, 0.8), nn.MSELoss()).on(x, 0.5 * x)
    metric = KLExact(along=Euclidean())
    divergence, c = at(bound, metric)
    w, v = bound.parameters
    orbit = [[((s - 1) * w).detach(), ((1 / s - 1) * v).detach()] for s in (10.0, 1000.0)]
    assert all(divergence(epsilon) < 1e-20 for epsilon in orbit)
    assert vec.dot(c, orbit[1]) > 50 * vec.dot(c, orbit[0]) > 0
    with pytest.raises(ValueError, match=r"no local maximum.*symmetry"):
        geosam.solve(divergence, c, 0.3, Constrained(iterations=5000))
    # of the loss itself there is one: every point of the curve has the same
    found = geosam.solve(divergence, c, 0.3, Constrained(loss=bound))
    radial = geosam.solve(divergence, c, 0.3, EXACT_RAY)
    theta = [p.detach() for p in bound.parameters]
    assert found.report["rise"] >= bound.surface(theta).rise(radial.epsilon) - 1e-9


def test_where_the_divergence_is_not_finite_the_search_backs_away():
    bound = logistic(2)
    divergence, c = at(bound)
    rho = 0.3
    free = geosam.solve(divergence, c, rho, Constrained())
    limit = 1.02 * vec.norm(free.epsilon).item()

    class Walled(geosam.Divergence):
        along = divergence.along
        hits = 0

        def __call__(self, epsilon):
            outside = vec.norm(epsilon).item() > limit
            Walled.hits += outside
            return torch.tensor(math.nan) if outside else divergence(epsilon)

        def local_norm(self, damping):
            return divergence.local_norm(damping)

    found = geosam.solve(Walled(), c, rho, Constrained())
    assert Walled.hits and distance(found.epsilon, free.epsilon) < 1e-4


@pytest.mark.parametrize("scale", [1e-25, 1e-10, 1e18])
def test_the_scale_of_the_covector_does_not_matter(scale):
    divergence, c = at(logistic(0))
    want = geosam.solve(divergence, c, 0.2, Constrained()).epsilon
    found = geosam.solve(divergence, vec.scale(c, scale), 0.2, Constrained()).epsilon
    assert distance(found, want) < 1e-7


def test_float32_stays_float32():
    divergence, c = at(logistic(0, dtype=torch.float32), KLExact(along=Euclidean()))
    exact, covector = at(logistic(0), KLExact(along=Euclidean()))
    found = geosam.solve(divergence, c, 0.2, Constrained())
    assert all(e.dtype == torch.float32 for e in found.epsilon)
    want = geosam.solve(exact, covector, 0.2, Constrained()).epsilon
    assert distance(vec.map(torch.Tensor.double, found.epsilon), want) < 0.05
    assert vec.dot(covector, vec.map(torch.Tensor.double, found.epsilon)) > vec.dot(covector, want) * (1 - 1e-4)


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_zero_and_what_is_not_finite_give_zero(bad):
    divergence, c = at(logistic(0), KLExact(along=Euclidean()))
    found = geosam.solve(divergence, [torch.full_like(t, bad) for t in c], 0.1, Constrained())
    assert found.finite == (bad == 0) and all((e == 0).all() for e in found.epsilon)
    assert vec.norm(geosam.solve(divergence, c, 0.0, Constrained()).epsilon) == 0


def test_errors_name_cause_and_cure(monkeypatch):
    divergence, c = at(logistic(0))
    with pytest.raises(TypeError, match=r"closed form. Use solvers\.DualNorm\(\)"):
        geosam.solve(Identity(), c, 0.1, Constrained())
    with pytest.raises(ValueError, match=r"4 parameters exceed its limit of 3.*Use solvers\.Radial\(\)"):
        geosam.solve(divergence, c, 0.1, Constrained(limit=3))
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(ImportError, match=r"geosam\[constrained\]"):
        geosam.solve(divergence, c, 0.1, Constrained())


def test_it_drives_a_training_step_and_leaves_the_parameters_whole():
    x, y = draw(12, 3, dtype=FLOAT64), (draw(12, 1, seed=3) > 0).double()
    model = build(lambda: nn.Linear(3, 1), 0, FLOAT64)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), KLExact(along=Euclidean()), rho=0.05, solver=Constrained())
    before = [p.detach().clone() for p in model.parameters()]
    problem = geosam.Problem(model, nn.BCEWithLogitsLoss())
    with opt.perturbed(problem.on(x, y)) as p:
        assert vec.norm(p.epsilon) > 0
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    opt.step(problem.on(x, y))
    assert opt.last.radius.item() == pytest.approx(0.05, rel=1e-6)
    assert not torch.equal(before[0], next(model.parameters()))


@pytest.mark.parametrize("make", [logistic, unit])
def test_the_slope_of_kl_is_its_derivative(make):
    bound = make(0)
    divergence, c = at(bound)
    definition = kl(bound)
    epsilon = vec.scale(c, 0.3 / vec.norm(c).item())
    step = [draw(*t.shape, seed=9 + i, dtype=FLOAT64) for i, t in enumerate(c)]
    slope = vec.dot(divergence.gradient(epsilon), step).item()
    h = 1e-4
    ahead, behind = (definition(vec.add(epsilon, step, s * h)).item() for s in (1, -1))
    assert slope == pytest.approx((ahead - behind) / (2 * h), rel=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_divergence_whose_gradient_is_not_its_derivative_is_refused(share, monkeypatch):
    divergence, c = at(logistic())
    true = type(divergence).gradient
    monkeypatch.setattr(type(divergence), "gradient", lambda self, epsilon: vec.scale(true(self, epsilon), share))
    with pytest.raises(ValueError, match="detaches what it takes"):
        geosam.solve(divergence, c, 0.1, Constrained())
