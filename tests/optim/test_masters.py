"""Float32 copies: what float32 training does to the last place of bfloat16, restored bit for bit, and resumed."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import updates
from tests.networks import build, draw, labels, mlp

X, Y = draw(8, 4), labels(8)
BASES = {
    "SGD": lambda p: torch.optim.SGD(p, lr=1e-3, momentum=0.9, weight_decay=0.01),
    "Adam": lambda p: torch.optim.Adam(p, lr=1e-5),
}


def network():
    return build(mlp, dtype=torch.bfloat16)


def train(model, base, route, steps, move=None, **parts):
    opt = geosam.SAM(BASES[base](model.parameters()), rho=0.1, move=move or geosam.Masters(), **parts)
    return opt, go(model, opt, route, steps)


def go(model, opt, route, steps):
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    for _ in range(steps):
        x = X.to(torch.bfloat16)
        if route == "problem":
            opt.step(problem.on(x, Y))
        else:
            opt.zero_grad()
            opt.perturb(problem.on(x, Y))
            F.cross_entropy(model(x), Y).backward()
            opt.base.step()
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize("route", ["problem", "perturb"])
@pytest.mark.parametrize("base", BASES)
def test_the_base_optimizer_steps_in_float32(base, route):
    """Steps far below the spacing of bfloat16: beside a float32 optimizer that is given the same gradients."""
    model = network()
    opt = geosam.SAM(BASES[base](model.parameters()), rho=0.1, move=geosam.Masters())
    exact = [p.detach().float().requires_grad_() for p in model.parameters()]
    other = BASES[base](exact)
    for _ in range(30):
        go(model, opt, route, 1)
        for e, p in zip(exact, model.parameters(), strict=True):
            e.grad = p.grad.float()
        other.step()
        assert all(torch.equal(e.to(torch.bfloat16), p) for e, p in zip(exact, model.parameters(), strict=True))
    assert all(p.dtype == p.grad.dtype == torch.bfloat16 for p in model.parameters())
    state = opt.state[next(model.parameters())]
    assert state["momentum_buffer" if base == "SGD" else "exp_avg"].dtype == torch.float32


def test_steps_below_the_spacing_are_lost_without_them():
    model, kept = network(), network()
    before = [p.detach().clone() for p in model.parameters()]
    small = {"lr": 1e-5}
    lost = geosam.SAM(torch.optim.SGD(model.parameters(), **small), rho=0.1)
    held = geosam.SAM(torch.optim.SGD(kept.parameters(), **small), rho=0.1, move=geosam.Masters())
    go(model, lost, "problem", 3)
    go(kept, held, "problem", 3)
    weight = next(iter(held.memory["move"]["masters"]))
    assert torch.equal(before[0], next(model.parameters())) and (weight - before[0].float()).abs().max() > 0


def test_theta_is_back_bit_for_bit_and_epsilon_is_rounded_from_the_copy():
    model = network()
    opt, theta = train(model, "SGD", "problem", 3)
    masters = [m.clone() for m in opt.memory["move"]["masters"]]
    with opt.perturbed(geosam.Problem(model, nn.CrossEntropyLoss()).on(X.to(torch.bfloat16), Y)):
        assert any(not torch.equal(a, b) for a, b in zip(theta, model.parameters(), strict=True))
    assert all(map(torch.equal, theta, model.parameters()))
    assert all(map(torch.equal, masters, opt.memory["move"]["masters"]))


@pytest.mark.parametrize("order", ["model first", "optimizer first"])
def test_a_resumed_run_is_bit_identical(order):
    whole = network()
    _, expected = train(whole, "Adam", "problem", 6)
    half = network()
    opt, _ = train(half, "Adam", "problem", 3)
    saved = copy.deepcopy((half.state_dict(), opt.state_dict()))
    model = network()
    resumed = geosam.SAM(BASES["Adam"](model.parameters()), rho=0.1, move=geosam.Masters())
    for part in (0, 1) if order == "model first" else (1, 0):
        (model, resumed)[part].load_state_dict(saved[part])
    assert all(map(torch.equal, expected, go(model, resumed, "problem", 3)))


def test_what_others_write_into_a_parameter_is_followed():
    model = network()
    opt, _ = train(model, "SGD", "problem", 1)
    with torch.no_grad():
        next(model.parameters()).fill_(3.0)
    go(model, opt, "problem", 1)
    assert (next(model.parameters()) - 3.0).abs().max() < 0.1


@pytest.mark.parametrize("route", ["problem", "perturb"])
def test_gradients_may_have_a_type_of_their_own(route):
    one, two = network(), network()
    for p in two.parameters():
        p.grad_dtype = torch.float32
    for model in (one, two):
        train(model, "SGD", route, 2)
    assert all(map(torch.equal, one.parameters(), two.parameters())) and next(two.parameters()).grad.dtype == torch.float32


def test_float32_parameters_are_as_with_copy_and_errors_lower():
    one, two = build(mlp), build(mlp)
    for model, move in ((one, geosam.Masters()), (two, geosam.Copy())):
        opt = geosam.SAM(BASES["SGD"](model.parameters()), rho=0.1, move=move, update=updates.SurrogateGap(0.1))
        for _ in range(3):
            opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y))
    torch.testing.assert_close(list(one.parameters()), list(two.parameters()))
    model = network()
    opt, theta = train(model, "SGD", "problem", 1)
    opt.base.register_step_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        go(model, opt, "problem", 1)
    opt.restore()
    assert all(p.dtype == torch.bfloat16 for p in model.parameters()) and all(map(torch.equal, theta, model.parameters()))
