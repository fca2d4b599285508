"""What ``perturbed`` shows: ε as realised in the parameters' own precision, at every scale of the gradient."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam import SAM, Copy, Swap
from geosam.core import vectors as vec
from geosam.metrics import (
    DiagonalEmpiricalFisher,
    EmpiricalFisher,
    Euclidean,
    Fisher,
    GradientMagnitude,
    KLExact,
    Monge,
    ParameterScaled,
)
from geosam.optim import Unrealised
from tests.networks import Closure, build, clones, draw, labels, mlp, same

X, Y = draw(6, 4), labels(6)
MOVES = [Copy, Swap]
METRICS = [
    Euclidean(),
    ParameterScaled(),
    GradientMagnitude(),
    GradientMagnitude(damping=1e-3),
    Monge(),
    EmpiricalFisher(),
    DiagonalEmpiricalFisher(),
    Fisher(),
]


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_epsilon_is_the_realised_difference(move, dtype):
    model = build(mlp, dtype=dtype)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.05, move=move())
    values = clones(model)
    with opt.perturbed(Closure(model, X.to(dtype), Y)) as p:
        assert same(p.epsilon, [q.detach() - v for q, v in zip(model.parameters(), values, strict=True)])
        assert all(e.dtype == dtype and not e.requires_grad for e in p.epsilon)
        assert vec.norm(p.epsilon).item() == pytest.approx(0.05, rel=0.3 if dtype == torch.bfloat16 else 1e-5)
        assert torch.equal(p.loss, opt.last.loss)
    with pytest.raises(RuntimeError, match=r"inside the perturbed\(\) block"):
        p.epsilon  # noqa: B018


@pytest.mark.parametrize("move", MOVES)
def test_bfloat16_shows_what_it_rounded_away(move):
    model = build(mlp, dtype=torch.bfloat16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.005, move=move())
    with pytest.warns(Unrealised), opt.perturbed(Closure(model, X.bfloat16(), Y)) as p:
        still = sum(int((e == 0).sum()) for e in p.epsilon)
    assert still > vec.count(list(model.parameters())) / 2


@pytest.mark.parametrize("metric", METRICS, ids=repr)
@pytest.mark.parametrize("rho", [1e-4, 0.05, 1.0])
def test_the_realised_epsilon_has_length_rho_in_the_metric(metric, rho):
    model = build(mlp, dtype=torch.float64)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X.double(), Y)
    norm = metric.at(bound)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric, rho=rho)
    with opt.perturbed(bound) as p:
        epsilon = [e.clone() for e in p.epsilon]
    assert norm.norm(epsilon).item() == pytest.approx(rho, rel=1e-6)
    assert opt.last.radius.item() == pytest.approx(rho)
    gradient = geosam.observe(bound, Euclidean().needs).gradient
    assert vec.dot(epsilon, gradient).item() == pytest.approx(rho * opt.last.dual_norm.item(), rel=1e-3)


@pytest.mark.parametrize("rho", [0.01, 0.3])
def test_the_realised_epsilon_meets_the_kl_budget(rho):
    model = build(mlp)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), KLExact(), rho=rho)
    old = model(X).double().log_softmax(1)
    with opt.perturbed(bound):
        new = model(X).double().log_softmax(1)
    kl = (new.exp() * (new - old)).sum(1).mean()
    assert (2 * kl).sqrt().item() == pytest.approx(rho, rel=0.0101)
    assert opt.last.radius.item() == pytest.approx((2 * kl).sqrt().item(), rel=1e-3)


def scaled(model: nn.Module, factor: float) -> Tensor:
    model.zero_grad()
    loss = F.cross_entropy(model(X), Y) * factor
    loss.backward()
    return loss


def epsilon_at(factor: float, metric: geosam.Metric, move: Copy | Swap) -> list[Tensor]:
    model = build(mlp)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.0), metric, rho=0.1, move=move)
    values = clones(model)
    with opt.perturbed(lambda: scaled(model, factor)) as p:
        epsilon = [e.clone() for e in p.epsilon]
    assert opt.last.finite and opt.last.dual_norm.isfinite()
    opt.step(lambda: scaled(model, factor))
    assert not opt.last.skipped and same(clones(model), values)
    return epsilon


@settings(max_examples=30)
@given(st.floats(-25, 18), st.sampled_from(MOVES), st.sampled_from([Euclidean(), ParameterScaled()]))
def test_epsilon_does_not_depend_on_the_scale_of_the_loss(decade, move, metric):
    """From 1e-25 to 1e18 in float32, where ⟨g, g⟩ vanishes or overflows."""
    for e, f in zip(epsilon_at(10.0**decade, metric, move()), epsilon_at(1.0, metric, move()), strict=True):
        torch.testing.assert_close(e, f, rtol=1e-4, atol=1e-6)


def times(factor: float, z: Tensor, y: Tensor) -> Tensor:
    return factor * F.cross_entropy(z, y)


@pytest.mark.parametrize("decade", [-25, -12, 12, 18])
@pytest.mark.parametrize("metric", [EmpiricalFisher(), DiagonalEmpiricalFisher()], ids=repr)
def test_relative_damping_makes_the_direction_scale_free(metric, decade):
    """ε has ‖ε‖ = ρ in a metric that grows with the loss's square, so its direction is what must not change."""
    directions = []
    for factor in (1.0, 10.0**decade):
        bound = geosam.Problem(build(mlp), partial(times, factor)).on(X, Y)
        seen = geosam.observe(bound, metric.needs)
        sharp, dual = metric.at(seen).ascend(seen.gradient)
        assert dual.isfinite() and dual > 0
        wide = vec.map(Tensor.double, sharp)
        directions.append(vec.scale(wide, 1 / vec.norm(wide)))
    for e, f in zip(*directions, strict=True):
        torch.testing.assert_close(e, f, rtol=1e-3, atol=1e-5)
