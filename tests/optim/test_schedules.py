"""Schedules of ρ: their values, groups of their own, checkpoints, and every route by which a step is taken."""

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import geosam
from geosam.optim.schedules import Constant, Cosine, FollowLR, Linear, WarmUp
from tests.networks import build, draw, labels, mlp

X, Y = draw(6, 4, dtype=torch.float64), labels(6)


def pair(rho, **options):
    model = build(mlp, dtype=torch.float64)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=rho, **options)
    return model, opt, geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)


@given(st.floats(0, 10), st.floats(0, 10), st.integers(1, 1000), st.integers(0, 3000))
def test_values(a, b, steps, t):
    group = {"lr": 0.3}
    share = min(1.0, t / steps)
    assert Constant(a).radius(t, group) == a
    assert Linear(a, b, steps).radius(t, group) == pytest.approx((1 - share) * a + share * b, abs=1e-12)
    assert Cosine(a, b, steps).radius(t, group) == pytest.approx(b + (a - b) * math.cos(math.pi * share / 2) ** 2, abs=1e-12)
    assert WarmUp(a, steps).radius(t, group) == pytest.approx(a * min(1.0, (t + 1) / steps), abs=1e-12)
    low, high = min(a, b), max(a, b)
    found = FollowLR(high, lr=0.4, least=low, lr_least=0.2).radius(t, group)
    assert found == pytest.approx((low + high) / 2, abs=1e-12)


@pytest.mark.parametrize("route", ["step", "closure", "perturb"])
def test_the_radius_follows_the_steps(route):
    model, opt, bound = pair(Linear(0.1, 0.4, 3))

    def closure():
        opt.zero_grad()
        loss = F.cross_entropy(model(X), Y)
        loss.backward()
        return loss

    seen = []
    for _ in range(5):
        if route == "perturb":
            opt.zero_grad()
            opt.perturb(bound)
            F.cross_entropy(model(X), Y).backward()
            opt.base.step()
        else:
            opt.step(bound if route == "step" else closure)
        seen.append(opt.last.radius.item())
    assert seen == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4])
    assert opt.rho == pytest.approx(0.4)


def test_a_checkpoint_holds_the_steps_and_no_schedule():
    _, opt, bound = pair(WarmUp(0.4, 4))
    for _ in range(2):
        opt.step(bound)
    saved = copy.deepcopy(opt.state_dict())
    assert saved["param_groups"][0]["rho"] == pytest.approx(0.3)
    _, other, there = pair(WarmUp(0.4, 4))
    other.load_state_dict(saved)
    other.step(there)
    assert other.last.radius.item() == pytest.approx(0.3)
    assert isinstance(other.param_groups[0]["rho"], WarmUp)


def test_a_group_may_have_its_own_and_rho_may_be_assigned():
    model = build(mlp, dtype=torch.float64)
    first, *others = model.parameters()
    groups = [{"params": [first], "rho": Linear(0.0, 0.2, 2)}, {"params": others}]
    opt = geosam.SAM(torch.optim.SGD(groups, lr=0.1), rho=0.1)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    with opt.perturbed(bound) as p:
        assert not p.epsilon[0].any() and all(e.any() for e in p.epsilon[1:])
    opt.step(bound)
    with opt.perturbed(bound) as p:
        assert p.epsilon[0].any()
    one = pair(0.1)[1]
    one.rho = WarmUp(0.4, 4)
    assert one.rho == pytest.approx(0.1)


def test_the_learning_rate_may_lead():
    _, opt, bound = pair(FollowLR(0.2, lr=0.1))
    rates = torch.optim.lr_scheduler.ExponentialLR(opt.base, 0.5)
    seen = []
    for _ in range(3):
        opt.step(bound)
        rates.step()
        seen.append(opt.last.radius.item())
    assert seen == pytest.approx([0.2, 0.1, 0.05])


@pytest.mark.parametrize("wrong", [lambda: WarmUp(0.1, 0), lambda: Linear(-0.1, 0.1, 3), lambda: FollowLR(0.1, lr=0.0)])
def test_errors(wrong):
    with pytest.raises(ValueError, match=r"steps|start|lr"):
        wrong()
