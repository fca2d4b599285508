"""Parameters that other optimizers step: their gradients are those of one pass, by whatever route."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import updates
from tests.networks import Closure, build, draw, labels, mlp

BATCHES = [(draw(6, 4, seed=k, dtype=torch.float64), labels(6, seed=k)) for k in range(3)]
RHO = 0.3


def matrices(model):
    return [p for p in model.parameters() if p.dim() > 1]


def vectors(model):
    return [p for p in model.parameters() if p.dim() == 1]


def moved(parameters, loss):
    """Two passes by hand, the second of which adds to ``.grad`` of all."""
    g = torch.autograd.grad(loss(), parameters)
    before, length = [p.detach().clone() for p in parameters], torch.cat([t.flatten() for t in g]).norm()
    with torch.no_grad():
        for p, t in zip(parameters, g, strict=True):
            p.add_(t, alpha=RHO / float(length))
    loss().backward()
    with torch.no_grad():
        for p, value in zip(parameters, before, strict=True):
            p.copy_(value)


def start(**settings):
    model = build(mlp, dtype=torch.float64)
    opt = geosam.SAM(torch.optim.SGD(matrices(model), lr=0.1), rho=RHO, **settings)
    return model, opt, torch.optim.SGD(vectors(model), lr=0.1)


@pytest.mark.parametrize("zeroed", ["own", "all"])
@pytest.mark.parametrize("route", ["step", "perturb", "perturbed", "perturb, accumulation", "compiled"])
def test_an_optimizer_for_the_rest_of_the_model_gets_the_second_pass_alone(monkeypatch, route, zeroed):
    if route == "compiled":  # no call of a module is seen
        monkeypatch.setattr("geosam.optim.buffers.compiles", lambda: True)
    model, opt, rest = start()
    twin, by_hand, rest_by_hand = start()

    def loss(net, x, y):
        return F.cross_entropy(net(x), y)

    for x, y in BATCHES:

        def closure(x=x, y=y):
            (opt if zeroed == "own" else model).zero_grad()
            found = loss(model, x, y)
            found.backward()
            return found

        if route == "perturb, accumulation":
            opt.perturb(closure)
            loss(model, x, y).backward()
            moved(matrices(twin), lambda x=x, y=y: loss(twin, x, y))
            continue
        model.zero_grad()
        twin.zero_grad()
        if route in ("step", "compiled"):
            opt.step(closure)
        elif route == "perturb":
            opt.perturb(closure)
            loss(model, x, y).backward()
            opt.step()
        else:
            with opt.perturbed(closure):
                loss(model, x, y).backward()
            opt.step()
        rest.step()
        moved(matrices(twin), lambda x=x, y=y: loss(twin, x, y))
        by_hand.base.step()
        rest_by_hand.step()
    if route == "perturb, accumulation":
        opt.step()
        rest.step()
        by_hand.base.step()
        rest_by_hand.step()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-12)


def test_the_only_pass_of_a_step_counts():
    model, opt, _ = start(update=updates.Natural(geosam.metrics.GradientMagnitude()))
    opt.rho = 0.0
    x, y = BATCHES[0]

    def closure():
        opt.zero_grad()
        found = F.cross_entropy(model(x), y)
        found.backward()
        return found

    opt.step(closure)
    twin = build(mlp, dtype=torch.float64)
    for p, g in zip(vectors(model), torch.autograd.grad(F.cross_entropy(twin(x), y), vectors(twin)), strict=True):
        torch.testing.assert_close(p.grad, g)


def test_a_generators_pass_leaves_the_gradients_of_a_discriminator_that_has_not_stepped():
    make = lambda: build(lambda: nn.ModuleList([nn.Linear(4, 5), nn.Linear(5, 1)]), dtype=torch.float64)  # noqa: E731
    (maker, judge), (x, _) = make(), BATCHES[0]
    for_maker, for_judge = (geosam.SAM(torch.optim.SGD(part.parameters(), lr=0.1), rho=RHO) for part in (maker, judge))

    def closure_for(opt):
        def closure():
            opt.zero_grad()
            found = judge(maker(x)).square().mean()
            found.backward()
            return found

        return closure

    for_judge.step(closure_for(for_judge))
    kept = [p.grad.clone() for p in judge.parameters()]
    for_maker.perturb(closure_for(for_maker))
    assert all(torch.equal(p.grad, g) for p, g in zip(judge.parameters(), kept, strict=True))


def test_a_block_forgets_the_gradient_of_a_parameter_that_was_frozen_since():
    model = build(mlp, dtype=torch.float64)
    opt, problem = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1)), geosam.Problem(model, nn.CrossEntropyLoss())
    opt.step(problem.on(*BATCHES[0]))
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    with opt.perturbed(problem.on(*BATCHES[1])):
        F.cross_entropy(model(BATCHES[1][0]), BATCHES[1][1]).backward()
    opt.step()
    assert torch.equal(model[0].weight, before)


def test_a_model_can_be_converted_by_swapping_its_parameters():
    model = build(mlp)
    x, y = BATCHES[0]
    model[0].requires_grad_(False)
    opt = geosam.SAM(torch.optim.SGD(model[2].parameters(), lr=0.1))
    opt.step(Closure(model, x.float(), y))
    model.zero_grad()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        model.double()
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)
    opt.step(Closure(model, x, y))


def test_a_gradient_of_two_modules_is_kept_through_the_pass_that_meets_them():
    x, y = BATCHES[0]
    model, head, tail = (build(m, dtype=torch.float64) for m in (mlp, lambda: nn.Linear(3, 3), lambda: nn.Linear(3, 3)))
    tail.weight = head.weight
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.0001)
    head.weight.grad = torch.ones_like(head.weight)

    def closure():
        opt.zero_grad()
        loss = F.cross_entropy(tail(head(model(x))), y)
        loss.backward()
        return loss

    own = torch.autograd.grad(F.cross_entropy(tail(head(model(x))), y), [head.weight])[0]
    opt.step(closure)
    torch.testing.assert_close(head.weight.grad, own + 1, atol=1e-3, rtol=1e-3)
