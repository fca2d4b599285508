"""A preconditioner in front of another objective: a metric's ♯ or a function, linear, at a cost in rise."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import geosam
from geosam import metrics, norms
from geosam.core import vectors as vec
from geosam.objectives import Preconditioned, Smoothed
from geosam.testing import strategies
from tests.fishers import rows_of
from tests.objectives.runs import flat, run, seen


@given(bound=strategies.problems([torch.float64]), rho=st.sampled_from([0.01, 1.0]))
@settings(deadline=None)
def test_preconditioned_the_gradient_rises_no_more_than_without(bound, rho):
    """⟨g, ε*⟩ ≤ ρ‖g‖*, with equality for D = I."""
    norm, g = metrics.ParameterScaled().at(bound), geosam.observe(bound, ()).gradient
    most = rho * float(norm.dual_norm(g))
    for by, equal in ((metrics.Euclidean(), True), (metrics.DiagonalEmpiricalFisher(1e-3), False)):
        c = Preconditioned(by).at(bound)
        found = geosam.solve(norm, c, rho)
        rise = float(vec.dot(g, found.epsilon))
        assert rise <= most * (1 + 1e-9)
        assert float(norm.norm(found.epsilon)) == pytest.approx(rho)
        if equal:
            assert rise == pytest.approx(most, rel=1e-9)


def test_a_precondition_that_is_not_the_identity_costs_rise():
    g = [torch.tensor([1.0, 1.0], dtype=torch.float64)]
    c = Preconditioned(lambda c: [c[0] * torch.tensor([3.0, 1.0])]).at(seen(g))
    epsilon = geosam.solve(norms.Identity(), c, 1.0).epsilon
    assert float(vec.dot(g, epsilon)) == pytest.approx(4 / math.sqrt(10))
    assert float(vec.norm(g)) == pytest.approx(math.sqrt(2))


def test_the_sharp_of_a_metric_is_the_preconditioner():
    """D = G⁻¹, here of the full empirical Fisher, against a dense solve."""

    @given(bound=strategies.problems([torch.float64]))
    @settings(deadline=None)
    def trial(bound):
        seen = geosam.observe(bound, metrics.EmpiricalFisher().needs)
        eye = torch.eye(bound.n, dtype=torch.float64)
        jacobian = torch.stack([flat(rows_of(seen).vjp(row)) for row in eye])
        dense = jacobian.T @ jacobian / bound.n + 0.1 * torch.eye(jacobian.shape[1], dtype=torch.float64)
        want = torch.linalg.solve(dense, jacobian.mean(0))
        got = flat(Preconditioned(metrics.EmpiricalFisher(0.1)).at(bound))
        assert float((got - want).norm()) <= 1e-9 * float(want.norm())

    trial()


def test_the_states_of_both_parts_are_kept_apart():
    objective = Preconditioned(Averaging(), Smoothed(0.5))
    _, state = run(objective, [[torch.ones(2)], [torch.zeros(2)]])
    assert state["metric"] == {"count": 2}
    assert torch.equal(state["objective"]["average"][0], torch.full((2,), 0.5))


@dataclass(frozen=True)
class Averaging(geosam.Metric):
    """Counts its steps."""

    def local(self, seen):
        return norms.Identity(seen.parameters)

    def step(self, seen, state):
        return self.local(seen), {"count": state.get("count", 0) + 1}


@pytest.mark.parametrize("by", [metrics.Euclidean, 3.0, None], ids=repr)
def test_a_precondition_is_a_metric_or_a_function(by):
    with pytest.raises(TypeError, match="by must be an instance of Metric"):
        Preconditioned(by)


@pytest.mark.parametrize("by", [norms.Sup(), metrics.KLExact(metrics.Euclidean())], ids=repr)
def test_a_precondition_is_linear(by):
    with pytest.raises(TypeError, match="needs an inner product"):
        objective = Preconditioned(by)
        model = torch.nn.Linear(2, 2)
        objective.at(geosam.Problem(model, torch.nn.CrossEntropyLoss()).on(torch.ones(3, 2), torch.tensor([0, 1, 1])))


def test_a_closure_is_told_what_the_preconditioner_needs():
    opt = geosam.SAM(
        torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1), objective=Preconditioned(metrics.EmpiricalFisher())
    )
    with pytest.raises(TypeError, match="needs per-sample gradients"):
        opt.step(lambda: None)
