"""How far along ♯c: rules of ‖c‖* and the rise of the loss."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import geosam
from geosam.core import vectors as vec
from geosam.metrics import Euclidean, KLExact, ParameterScaled
from geosam.norms import Identity, Spectral, Sup
from geosam.solvers import DualNorm, ExactRise, LinearRise, Unified
from tests.networks import build, draw, labels, mlp
from tests.placement import reads_switched_off

NORMS = st.sampled_from([Identity(), Sup(), Spectral()])
SEEDS = st.integers(0, 2**32 - 1)


def covector(seed, scale=1.0):
    return [scale * draw(3, 2, seed=seed, dtype=torch.float64), scale * draw(4, seed=seed + 1, dtype=torch.float64)]


@given(NORMS, SEEDS, st.floats(1e-3, 10), st.floats(1e-4, 10), st.floats(-12, 12))
def test_linear_rise_is_met_or_the_radius_is(norm, seed, rho, rise, decade):
    c = covector(seed, 10.0**decade)
    found = LinearRise(rise).solve(norm, c, rho)
    dual = norm.dual_norm(c).item()
    assert vec.dot(c, found.epsilon).item() == pytest.approx(min(rise, rho * dual), rel=1e-9)
    assert norm.norm(found.epsilon).item() == pytest.approx(found.radius.item(), rel=1e-9)
    assert found.radius.item() == pytest.approx(min(rho, rise / dual), rel=1e-9)


@given(NORMS, SEEDS, st.floats(1e-3, 10), st.floats(0, 1))
def test_unified_lies_between(norm, seed, rho, share):
    c = covector(seed)
    sharp, dual = norm.ascend(c)
    found = Unified(share).solve(norm, c, rho)
    torch.testing.assert_close(found.epsilon, vec.scale(sharp, rho * (1 - share) + rho * share / dual.item()))
    assert norm.norm(found.epsilon).item() == pytest.approx(found.radius.item(), rel=1e-9)


@given(NORMS, SEEDS, st.floats(1e-3, 10))
def test_the_ends_are_dual_norm_and_no_normalisation(norm, seed, rho):
    c = covector(seed)
    torch.testing.assert_close(Unified(1.0).solve(norm, c, rho).epsilon, DualNorm().solve(norm, c, rho).epsilon)
    twice = Unified(0.0).solve(norm, vec.scale(c, 2.0), rho).epsilon
    torch.testing.assert_close(twice, vec.scale(Unified(0.0).solve(norm, c, rho).epsilon, 2.0))


@pytest.mark.parametrize("solver", [LinearRise(0.1), Unified(0.5), Unified(0.0)], ids=repr)
@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_zero_and_what_is_not_finite_give_zero_without_reads(solver, bad):
    with reads_switched_off():
        found = solver.solve(Identity(), [torch.full((3,), bad)], 0.1)
        epsilon = found.epsilon[0]
    assert torch.equal(epsilon, torch.zeros(3)) and bool(found.finite) == (bad == 0)


X, Y = draw(16, 4, dtype=torch.float64), labels(16)


@pytest.mark.parametrize("metric", [Euclidean(), ParameterScaled()], ids=lambda m: type(m).__name__)
def test_the_loss_itself_rises_as_asked_in_every_step(metric):
    model = build(mlp, dtype=torch.float64)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric, rho=10.0, solver=ExactRise(0.05))
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    for _ in range(3):
        with opt.perturbed(problem.on(X, Y)) as p:
            rise = F.cross_entropy(model(X), Y) - p.loss
        assert rise.item() == pytest.approx(0.05, rel=0.01)
        opt.step(problem.on(X, Y))
        assert opt.last.report["shortfall"] == 0 and opt.last.report["evaluations"] <= 6


def test_a_rise_that_the_ball_does_not_hold_is_reported():
    model = build(mlp, dtype=torch.float64)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.01, solver=ExactRise(5.0))
    opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y))
    assert opt.last.radius.item() == pytest.approx(0.01) and 0.9 < opt.last.report["shortfall"] < 1


def test_errors():
    model = build(mlp, dtype=torch.float64)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    with pytest.raises(TypeError, match=r"problem\.on\(x, y\)"):
        geosam.solve(Identity(), [torch.ones(3)], 0.1, ExactRise(0.1))
    for solver in (LinearRise(0.1), Unified(0.5), ExactRise(0.1, loss=bound)):
        with pytest.raises(TypeError, match="needs a norm"):
            geosam.solve(KLExact().at(bound), [torch.ones_like(p) for p in model.parameters()], 0.1, solver)
    for wrong in (lambda: LinearRise(0.0), lambda: ExactRise(-1.0), lambda: Unified(1.5)):
        with pytest.raises(ValueError, match=r"rise|share"):
            wrong()


@given(NORMS, SEEDS, st.floats(1e-3, 10), st.floats(-2, 2))
def test_without_normalisation_it_is_the_proximal_step(norm, seed, rho, power):
    """ρ♯c is the argmax of ⟨c, ε⟩ − ‖ε‖²/2ρ: of value ½ρ‖c‖*², which no other ε reaches, on its ray or off it."""
    c = covector(seed)

    def value(epsilon):
        return (vec.dot(c, epsilon) - norm.norm(epsilon) ** 2 / (2 * rho)).item()

    epsilon = Unified(0.0).solve(norm, c, rho).epsilon
    best = value(epsilon)
    assert best == pytest.approx(rho * norm.dual_norm(c).item() ** 2 / 2, rel=1e-9)
    off = vec.axpy(epsilon, 0.1 * (vec.norm(epsilon) / vec.norm(c)).item(), covector(seed + 7))
    for other in (vec.scale(epsilon, 10.0**power), off, DualNorm().solve(norm, c, rho).epsilon):
        assert value(other) <= best * (1 + 1e-9)
