"""A second pass inside ``perturbed()`` and the base optimizer's step after it are a step; what was only looked at is not."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import metrics, schedules, updates
from tests.networks import build, draw, labels, mlp, same

X, Y = draw(8, 4), labels(8)
PARTS = {
    "Sharp": {},
    "SurrogateGap": {"update": updates.SurrogateGap(0.3)},
    "Natural": {"update": updates.Natural(metrics.EmpiricalFisher())},
    "clipped": {"max_norm": 0.05},
    "in float32 copies": {"move": geosam.Masters()},
    "scheduled": {"rho": schedules.Linear(0.1, 0.5, 3)},
}


def pair(dtype=torch.float64, **parts):
    model = build(mlp, dtype=dtype)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), **{"rho": 0.1, **parts})
    return model, opt, geosam.Problem(model, nn.CrossEntropyLoss()).on(X.to(dtype), Y)


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


def backward(model, factor=1.0):
    (factor * F.cross_entropy(model(X.to(next(model.parameters()).dtype)), Y)).backward()


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("through", ["base", "opt"])
def test_a_block_and_a_base_step_are_a_step(name, through):
    dtype = torch.bfloat16 if name == "in float32 copies" else torch.float64
    (one, by_step, problem), (two, by_block, same_problem) = pair(dtype, **PARTS[name]), pair(dtype, **PARTS[name])
    for _ in range(3):
        by_step.step(problem)
        with by_block.perturbed(same_problem):
            backward(two)
        by_block.base.step() if through == "base" else by_block.step()
    assert by_block.steps == 3
    torch.testing.assert_close(weights(one), weights(two), rtol=1e-12, atol=1e-15)


def test_gradients_that_are_not_finite_are_withheld():
    model, opt, problem = pair()
    with opt.perturbed(problem):
        backward(model)
    opt.base.step()
    before, momentum = weights(model), [opt.state[p]["momentum_buffer"].clone() for p in model.parameters()]
    with opt.perturbed(problem):
        backward(model, torch.nan)
    opt.base.step()
    assert opt.last.skipped and same(weights(model), before)
    assert same([opt.state[p]["momentum_buffer"] for p in model.parameters()], momentum)


@pytest.mark.parametrize("looked", ["only ε", "with a backward pass"])
def test_what_was_only_looked_at_changes_no_step(looked):
    (one, _, _), (two, opt, problem) = pair(), pair()
    base = torch.optim.SGD(one.parameters(), lr=0.1, momentum=0.9)
    with opt.perturbed(problem):
        if looked == "with a backward pass":
            backward(two)
    for model, stepped in ((one, base), (two, opt.base)):
        stepped.zero_grad()
        backward(model)
        stepped.step()
    assert opt.steps == 0 and same(weights(one), weights(two))


def test_a_closure_of_the_base_optimizer_after_a_block_is_its_own():
    (one, _, _), (two, opt, problem) = pair(), pair(update=updates.SurrogateGap(0.3))
    with opt.perturbed(problem):
        backward(two)
    for model, base in ((one, torch.optim.SGD(one.parameters(), lr=0.1, momentum=0.9)), (two, opt.base)):
        base.step(lambda model=model, base=base: base.zero_grad() or backward(model))
    assert same(weights(one), weights(two))


def test_an_update_without_its_second_gradient_is_refused():
    model, opt, problem = pair(update=updates.SurrogateGap(0.3))
    before = weights(model)
    with opt.perturbed(problem):
        found = torch.autograd.grad(F.cross_entropy(model(X.double()), Y), list(model.parameters()))
    for p, g in zip(model.parameters(), found, strict=True):
        p.grad = g
    with pytest.raises(RuntimeError, match=r"SurrogateGap.*were not left in .grad.*loss.backward\(\) inside the block"):
        opt.base.step()
    assert same(weights(model), before)


def test_a_block_that_raised_ends_nothing():
    model, opt, problem = pair()
    before = weights(model)
    with pytest.raises(ZeroDivisionError), opt.perturbed(problem):
        backward(model)
        _ = 1 / 0
    opt.base.step()
    assert opt.steps == 0 and not same(weights(model), before)
