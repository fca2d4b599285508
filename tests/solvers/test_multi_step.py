"""Several steps of projected ascent: feasible always, DualNorm's at one step, and no fall on a convex loss in any norm."""

import itertools
import math

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

import geosam
from geosam import metrics, norms
from geosam.core import vectors as vec
from geosam.measure.ascend import ascend
from geosam.solvers import DualNorm, MultiStep
from geosam.testing import strategies
from tests.networks import build, draw, labels, mlp, same

RHO = 0.3
QUICK = settings(deadline=None, max_examples=50, database=None, phases=[Phase.generate], report_multiple_bugs=False)
X, Y = draw(6, 4, dtype=torch.float64), labels(6)

KINDS = {
    "Identity": lambda like: st.just(norms.Identity(like)),
    "Sup": lambda like: st.just(norms.Sup(like)),
    "Spectral": lambda like: st.just(norms.Spectral(like)),
    "Diagonal": lambda like: strategies.diagonals(like, decades=4).map(norms.Diagonal.of),
    "RankOne": lambda like: strategies.vectors(like, -2, 2).map(norms.RankOne),
    "LowRank": lambda like: strategies.rows(like).map(lambda rows: norms.LowRank(rows, 1e-2)),
    "BallEach": lambda like: st.just(
        norms.BallEach([norms.Block([i], norms.Identity([t]), 1.0 + i) for i, t in enumerate(like)])
    ),
    "JointBall": lambda like: st.just(norms.JointBall([norms.Block([i], norms.Sup([t]), 1.0 + i) for i, t in enumerate(like)])),
}


class Quadratic:
    """q(ε) = ⟨g, ε⟩ + ½ Σ sᵢ⟨aᵢ, ε⟩²; convex where no sᵢ is negative."""

    def __init__(self, g, rows, signs):
        self.g, self.rows, self.signs = g, rows, signs

    def __call__(self, epsilon):
        along = self.rows.apply(epsilon)
        return float(vec.dot(self.g, epsilon) + 0.5 * (self.signs * along**2).sum())

    def gradient(self, epsilon):
        return vec.add(self.g, self.rows.vjp(self.signs * self.rows.apply(epsilon)))


@st.composite
def quadratics(draw, kind, convex=True):
    """(norm, quadratic, rho), in float64."""
    like = draw(strategies.spaces([torch.float64]))
    rows = draw(strategies.rows(like))
    sign = st.sampled_from([1.0] if convex else [1.0, -1.0])
    signs = torch.tensor(draw(st.lists(sign, min_size=rows.n, max_size=rows.n)), dtype=torch.float64)
    return draw(KINDS[kind](like)), Quadratic(draw(strategies.vectors(like)), rows, signs), 10.0 ** draw(st.integers(-2, 2))


def ascended(norm, quadratic, rho, steps, step=1.0):
    return geosam.solve(norm, quadratic.g, rho, MultiStep(steps, step, quadratic.gradient))


def never_falls(case, step, steps=4, ascended=ascended):
    """L(θ + ε_k) does not fall with k on a convex quadratic."""
    norm, quadratic, rho = case
    values = [quadratic(ascended(norm, quadratic, rho, k, step).epsilon) for k in range(1, steps + 1)]
    size = abs(quadratic(ascended(norm, quadratic, rho, 1, step).epsilon)) + max(abs(v) for v in values)
    assert all(after >= before - 1e-9 * size for before, after in itertools.pairwise(values)), values


def stays_in_the_ball(case, step, steps=4, ascended=ascended):
    """‖ε_k‖ ≤ ρ, and the radius reported is the norm."""
    norm, quadratic, rho = case
    for k in range(1, steps + 1):
        found = ascended(norm, quadratic, rho, k, step)
        length = float(norm.norm(found.epsilon))
        assert length <= rho * (1 + 1e-9)
        assert float(found.radius) == pytest.approx(length, rel=1e-7)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), step=st.sampled_from([0.1, 0.5, 1.0, 3.0, 100.0]))
@settings(deadline=None)
def test_on_a_convex_quadratic_no_step_loses_in_any_norm(kind, data, step):
    never_falls(data.draw(quadratics(kind)), step)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), step=st.sampled_from([0.1, 0.5, 1.0, 3.0, 100.0]))
@settings(deadline=None)
def test_it_stays_in_the_ball_whatever_the_loss(kind, data, step):
    stays_in_the_ball(data.draw(quadratics(kind, convex=False)), step)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data(), step=st.sampled_from([1.0, 7.0]))
@settings(deadline=None)
def test_one_step_is_the_closed_form_bit_for_bit(kind, data, step):
    norm, quadratic, rho = data.draw(quadratics(kind, convex=False))
    one, closed = ascended(norm, quadratic, rho, 1, step), geosam.solve(norm, quadratic.g, rho, DualNorm())
    assert same(one.epsilon, closed.epsilon)
    assert one.radius == closed.radius and one.dual_norm == closed.dual_norm and one.report["steps"] == 1


@given(data=st.data(), step=st.sampled_from([0.3, 1.0]))
@settings(deadline=None)
def test_in_the_euclidean_ball_it_is_projected_gradient_ascent_written_out(data, step):
    _, quadratic, rho = data.draw(quadratics("Identity"))
    matrix = torch.cat([j.double() for j in quadratic.rows.jacobian], 1)
    hessian, g = matrix.T @ torch.diag(quadratic.signs) @ matrix, vec.flatten(quadratic.g)
    e = torch.zeros_like(g)
    for _ in range(3):
        c = g + hessian @ e
        if float(c.norm()) < 1e-6 * float(g.norm()):
            return  # a direction made of rounding
        e = e + step * rho * c / c.norm()
        e = e * min(1.0, rho / float(e.norm()))
    got = vec.flatten(ascended(norms.Identity(), quadratic, rho, 3, step).epsilon)
    assert float((got - e).norm()) <= 1e-6 * rho


def test_many_steps_find_the_worst_of_a_convex_quadratic():
    """A ball in the plane, where the worst point can be scanned for; one step is well short of it."""
    jacobian = [torch.tensor([[3.0, 0.0], [0.0, 1.0]], dtype=torch.float64)]
    g = [torch.tensor([0.05, 1.0], dtype=torch.float64)]
    quadratic = Quadratic(g, geosam.rows.Materialised(jacobian), torch.ones(2, dtype=torch.float64))
    angles = torch.linspace(0, 2 * math.pi, 20_001, dtype=torch.float64)
    best = max(quadratic([e]) for e in torch.stack([angles.cos(), angles.sin()], 1))
    rises = [quadratic(ascended(norms.Identity(), quadratic, 1.0, k).epsilon) for k in (1, 100)]
    assert rises[0] < 0.5 * best and rises[1] == pytest.approx(best, rel=1e-6)


def test_on_a_loss_that_is_not_convex_a_long_step_may_lose_and_a_short_one_need_not():
    """L = ε − 1.2 ε²: at ε = 1 the slope has turned, and the step back to 0 overshoots the maximum at 0.42."""
    quadratic = Quadratic(
        [torch.ones(1, dtype=torch.float64)],
        geosam.rows.Materialised([torch.full((1, 1), math.sqrt(2.4), dtype=torch.float64)]),
        torch.tensor([-1.0], dtype=torch.float64),
    )
    long = [quadratic(ascended(norms.Identity(), quadratic, 1.0, k).epsilon) for k in (2, 3)]
    short = [quadratic(ascended(norms.Identity(), quadratic, 1.0, k, 0.05).epsilon) for k in range(1, 8)]
    assert long[1] < long[0] and short == sorted(short)


def unprojected(norm, quadratic, rho, steps, step=1.0):
    """Wrong: the iterate is not brought back into the ball."""
    epsilon = vec.zeros_like(quadratic.g)
    for _ in range(steps):
        v, dual = norm.ascend(quadratic.gradient(epsilon))
        epsilon = vec.axpy(epsilon, step * rho / dual, v)
    return Epsilon(epsilon, norm.norm(epsilon))


def backwards(norm, quadratic, rho, steps, step=1.0):
    """Wrong: from the second step on it descends."""

    def gradient(epsilon):
        return vec.scale(quadratic.gradient(epsilon), -1.0)

    return geosam.solve(norm, quadratic.g, rho, MultiStep(steps, step, gradient))


def by_the_euclidean_length(norm, quadratic, rho, steps, step=1.0):
    """Wrong: rescaled by ‖·‖₂ instead of the norm."""
    found = ascended(norm, quadratic, rho, steps, step)
    return Epsilon(vec.scale(found.epsilon, rho / vec.norm(found.epsilon)), found.radius)


class Epsilon:
    def __init__(self, epsilon, radius):
        self.epsilon, self.radius = epsilon, radius


@pytest.mark.parametrize(
    "law, wrong, kind",
    [
        (stays_in_the_ball, unprojected, "Identity"),
        (stays_in_the_ball, by_the_euclidean_length, "Diagonal"),
        (never_falls, backwards, "Identity"),
    ],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_the_laws_refute_what_is_wrong(law, wrong, kind):
    @given(case=quadratics(kind))
    @QUICK
    def trial(case):
        law(case, 1.0, ascended=wrong)

    with pytest.raises(AssertionError):
        trial()


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
@pytest.mark.parametrize("when", [0, 1, 2])
def test_a_covector_that_is_zero_or_not_finite(value, when):
    """Not finite at any step: ε* = 0. Zero at first: the same; zero later: a critical point, where ε stays."""
    good, seen = [torch.tensor([1.0, -2.0])], []

    def covector(epsilon):
        seen.append([e.clone() for e in epsilon])
        return [torch.full((2,), value)] if len(seen) == when else good

    c = good if when else [torch.full((2,), value)]
    found = geosam.solve(norms.Identity(), c, RHO, MultiStep(3, gradient=covector))
    assert bool(found.finite) == math.isfinite(value)
    if not math.isfinite(value):
        assert not found.epsilon[0].any() and found.radius == 0 and found.dual_norm.isnan()
    elif when == 2:
        assert torch.equal(found.epsilon[0], seen[1][0])
    else:
        assert float(vec.norm(found.epsilon)) == pytest.approx(RHO)


@pytest.mark.parametrize("power", [-25, -12, 0, 12, 18])
@pytest.mark.parametrize("kind", ["Identity", "Sup", "Spectral"])
def test_gradients_of_every_scale_in_float32(kind, power):
    g = [torch.tensor([[3.0, -4.0], [1.0, 2.0]]) * 10.0**power]
    turn = [torch.tensor([[1.0, 2.0], [-2.0, 1.0]])]
    norm = {"Identity": norms.Identity(), "Sup": norms.Sup(), "Spectral": norms.Spectral()}[kind]

    def at(scale):
        c = [t / 10.0**power * scale for t in g]
        found = geosam.solve(norm, c, RHO, MultiStep(3, gradient=lambda e: [c[0] + scale * turn[0] * e[0]]))
        return found, found.epsilon[0].double()

    (found, extreme), (_, plain) = at(10.0**power), at(1.0)
    assert bool(found.finite) and float((extreme - plain).norm()) <= 1e-5 * float(plain.norm())


def test_the_host_reads_nothing():
    """On a device without numbers any reading raises."""
    g = [torch.ones(2, 3, device="meta"), torch.ones(2, device="meta")]
    for norm in (norms.Identity(), norms.Sup(), norms.Diagonal.of(g), norms.RankOne([2 * t for t in g])):
        found = geosam.solve(
            norm, g, RHO, MultiStep(3, gradient=lambda epsilon: [t + e for t, e in zip(g, epsilon, strict=True)])
        )
        assert [e.shape for e in found.epsilon] == [t.shape for t in g]


@pytest.mark.parametrize("steps, step", [(0, 1.0), (-1, 1.0), (1.5, 1.0), (True, 1.0), (2, 0.0), (2, -1.0), (2, math.nan)])
def test_steps_that_make_no_sense_are_refused(steps, step):
    with pytest.raises(ValueError, match="whole number" if step == 1 else "step must be finite and positive"):
        MultiStep(steps, step)


def test_without_a_gradient_or_with_a_divergence_the_error_names_the_cure():
    c = [torch.ones(2)]
    with pytest.raises(TypeError, match=r"SAM\(base, solver=MultiStep\(k\)\)"):
        geosam.solve(norms.Identity(), c, RHO, MultiStep(2))
    model = build(mlp, dtype=torch.float64)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    with pytest.raises(TypeError, match=r"solvers\.Radial\(\)"):
        ascend(bound, metrics.KLExact(metrics.Euclidean()), RHO, 2)
