"""Which passes write to buffers, and what is left of them where a step is broken off."""

import pytest
import torch
from torch import nn

import geosam
from geosam import metrics, passes
from tests.networks import build, mlp, same
from tests.optim.writing import (
    KINDS,
    PASSES,
    ROUTES,
    X,
    by_closure,
    by_list,
    by_problem,
    closure_of,
    net,
    values,
)


def expected(kind: str, which: str, batches: list[slice], steps: int = 2) -> list[torch.Tensor]:
    """By hand: a step that moves nothing, from forward passes at θ and at θ + ε alone."""
    model = build(lambda: net(kind))
    for _ in range(steps):
        with geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.0), rho=0.5, batchnorm="both").perturbed(
            frozen_closure(model)
        ):
            shifted = [p.detach().clone() for p in model.parameters()]
        plain = [p.detach().clone() for p in model.parameters()]
        for counts, at in zip(PASSES[which], (plain, shifted), strict=True):
            with torch.no_grad():
                for p, value in zip(model.parameters(), at, strict=True):
                    p.copy_(value)
                if counts:
                    for batch in batches:
                        model(X[batch])
        with torch.no_grad():
            for p, value in zip(model.parameters(), plain, strict=True):
                p.copy_(value)
    return values(model)


def frozen_closure(model: nn.Module):
    """Leaves the buffers as they are."""

    def closure() -> torch.Tensor:
        before = {(m, k): b for m in model.modules() for k, b in m._buffers.items() if b is not None}
        kept = {slot: b.clone() for slot, b in before.items()}
        loss = closure_of(model)()
        for (m, k), b in before.items():
            m._buffers[k] = b
            b.copy_(kept[m, k])
        return loss

    return closure


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("route", ROUTES, ids=lambda r: r.__name__)
def test_the_passes_that_count_are_those_asked_for(route, which):
    model = build(net)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.0), rho=0.5, batchnorm=which)
    for _ in range(2):
        route(opt, model)
    halves = route is by_list
    wanted = expected("BatchNorm", which, [slice(0, 4), slice(4, 8)] if halves else [slice(0, 8)])
    if halves:  # its ε is that of half batches' own statistics
        assert model[1].num_batches_tracked == wanted[2]
    else:
        torch.testing.assert_close(values(model), wanted)


@pytest.mark.parametrize("which", PASSES)
@pytest.mark.parametrize("route", [by_closure, by_problem], ids=lambda r: r.__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_buffer(kind, route, which):
    model = build(lambda: net(kind))
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.0), rho=0.5, batchnorm=which)
    for _ in range(2):
        route(opt, model)
    if kind == "user's":  # its gradient depends on the buffer
        assert model[1].calls == 2 * sum(PASSES[which])
    else:
        torch.testing.assert_close(values(model), expected(kind, which, [slice(0, 8)]))


@pytest.mark.parametrize(
    "metric", [metrics.KLExact(along=metrics.GradientMagnitude()), metrics.Fisher()], ids=lambda m: type(m).__name__
)
def test_solvers_and_products_write_nothing(metric):
    model = build(net)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric, rho=0.1)
    for _ in range(2):
        by_problem(opt, model)
    assert model[1].num_batches_tracked == 2


@pytest.mark.parametrize("which", PASSES)
def test_further_passes_of_a_solver(which):
    model = build(net)
    solver = geosam.solvers.MultiStep(steps=3)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.1, solver=solver, batchnorm=which)
    by_closure(opt, model)
    assert model[1].num_batches_tracked == {"first": 1, "both": 4, "second": 1}[which]


def test_the_only_pass_counts():
    model = build(net)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), passes=passes.Momentum())
    for k in range(1, 4):
        by_problem(opt, model)
        assert model[1].num_batches_tracked == k
    still = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.0)
    by_closure(still, model)
    assert model[1].num_batches_tracked == 4


def test_a_teacher_that_a_closure_moves_before_it_calls_it_moves_once_a_step():
    """Both passes begin with the teacher of before; after the step it is that of the pass at θ."""
    model, teacher = build(mlp, 0), build(mlp, 1).requires_grad_(False)
    opt, seen = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.5), list[torch.Tensor]()

    def closure() -> torch.Tensor:
        opt.zero_grad()
        seen.append(next(teacher.parameters()).clone())
        with torch.no_grad():
            for p, q in zip(teacher.parameters(), model.parameters(), strict=True):
                p.lerp_(q, 0.1)
        loss = (model(X) - teacher(X)).square().mean()
        loss.backward()
        return loss

    for _ in range(3):
        theta = next(model.parameters()).detach().clone()
        opt.step(closure)
        assert torch.equal(seen[-1], seen[-2])
        assert torch.equal(next(teacher.parameters()), seen[-2].lerp(theta, 0.1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("call", [1, 2])
def test_an_exception_leaves_all_of_them_as_they_were(kind, call):
    model, calls = build(lambda: net(kind)), []
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.5)

    def closure() -> torch.Tensor:
        calls.append(None)
        loss = closure_of(model)()
        if len(calls) == call:
            raise KeyboardInterrupt
        return loss

    before, objects = values(model), [id(b) for b in model.buffers()]
    with pytest.raises(KeyboardInterrupt):
        opt.step(closure)
    assert same(values(model), before) and objects == [id(b) for b in model.buffers()]
    assert not torch.nn.modules.module._global_forward_pre_hooks
