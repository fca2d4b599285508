"""What a closure is held to: it zeroes its gradients, in one way or another, and returns its loss."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosam import SAM
from geosam.solvers import MultiStep
from tests.networks import Closure, build, clones, draw, labels, mlp, same
from tests.optim.tape import Tape
from tests.placement import reads_switched_off

X, Y = draw(6, 4), labels(6)


def start(**settings: object) -> tuple[nn.Module, SAM]:
    model = build(mlp)
    return model, SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.3, **settings)


def adding(model: nn.Module, *parts: nn.Module, to_none: bool = True, times: int = 1):
    """A closure that zeroes some parts of the model only, and runs backward several times."""

    def closure() -> Tensor:
        for part in parts:
            part.zero_grad(set_to_none=to_none)
        for _ in range(times):
            loss = F.cross_entropy(model(X), Y)
            (loss / times).backward()
        return loss

    return closure


@pytest.mark.parametrize("to_none", [True, False])
@pytest.mark.parametrize("zeroed", [[], [0], [2]], ids=["nothing", "the first layer", "the last layer"])
@pytest.mark.parametrize("settings", [{}, {"solver": MultiStep(2)}], ids=["one step", "two steps"])
def test_gradients_that_add_up_are_refused(zeroed, settings, to_none):
    model, opt = start(**settings)
    before = clones(model)
    with pytest.raises(RuntimeError, match=r"zero all of them at its start, by opt\.zero_grad\(\)"):
        opt.step(adding(model, *(model[i] for i in zeroed), to_none=to_none))
    assert same(clones(model), before)
    opt.step(adding(model, model))
    assert not same(clones(model), before) and all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    "to_none", [True, pytest.param(False, marks=pytest.mark.host("an accelerator withholds the update instead"))]
)
def test_a_closure_that_stops_zeroing_is_found_out(to_none):
    """A trainer that begins to accumulate: its closure zeroes at the first of several calls only."""
    model, opt = start()
    for _ in range(2):
        opt.step(adding(model, model, to_none=to_none))
    before = clones(model)
    with pytest.raises(RuntimeError, match="trainer accumulates"):
        opt.step(adding(model))
    assert same(clones(model), before)


def test_on_an_accelerator_zeroing_in_place_is_read_once_and_then_left_to_the_guard():
    with reads_switched_off():
        model, opt = start()
        opt.step(adding(model, model, to_none=False))
        with Tape():  # which refuses a read
            opt.step(adding(model, model, to_none=False))
        before = clones(model)
        opt.step(adding(model))
    assert opt.last is not None and opt.last.skipped and same(clones(model), before)


def test_gradients_from_outside_are_no_part_of_a_closure_that_zeroes():
    ends = []
    for outside in (True, False):
        model, opt = start()
        for _ in range(2):
            if outside:
                F.mse_loss(model(X), torch.zeros(6, 3)).backward()
            opt.step(adding(model, model, times=2))
        ends.append(clones(model))
    assert same(*ends)


@pytest.mark.parametrize("finite_loss", [True, False])
def test_gradients_that_are_nan_of_themselves_are_told_from_the_mark(finite_loss):
    model, opt = start()

    def closure() -> Tensor:
        model.zero_grad(set_to_none=False)
        z = model(X)
        loss = F.cross_entropy(z, Y) + (z - z).norm(dim=1).mul(0 if finite_loss else torch.nan).sum()
        loss.backward()
        if finite_loss:
            model[0].bias.grad.fill_(torch.nan)
        return loss

    before = clones(model)
    opt.step(closure)
    assert opt.last.skipped and same(clones(model), before)


def test_by_hand_the_second_pass_finds_no_gradient_of_the_first():
    model, opt = start()
    loss = adding(model)
    with opt.perturbed(loss):
        loss()
        want = torch.autograd.grad(F.cross_entropy(model(X), Y), list(model.parameters()))
    assert all(torch.allclose(p.grad, g) for p, g in zip(model.parameters(), want, strict=True))


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("to_none", [True, False])
@pytest.mark.parametrize("rho", [0.3, 0.0])
def test_none_without_a_gradient_skips_the_batch(rho, to_none, at):
    model, opt = start()
    opt.rho = rho
    opt.step(Closure(model, X, Y))
    before, calls = clones(model), 0

    def closure() -> Tensor | None:
        nonlocal calls
        calls += 1
        model.zero_grad(set_to_none=to_none)
        if calls == at:
            return None
        return Closure(model, X, Y)()

    if rho == 0 and at == 2:
        return
    with pytest.warns(UserWarning, match="its batch was skipped"):
        assert opt.step(closure) is None
    assert same(clones(model), before)
    calls = at - 1
    if at == 1:
        assert opt.step(closure) is None  # told once
    assert opt.step(Closure(model, X, Y)) is not None and not same(clones(model), before)


def test_none_with_a_gradient_is_a_forgotten_return():
    model, opt = start()
    with pytest.raises(TypeError, match="must return the loss"):
        opt.step(lambda: Closure(model, X, Y)() and None)


def test_a_second_pass_without_backward_is_refused():
    model, opt = start()
    closure, calls = Closure(model, X, Y), iter(range(2))

    def once() -> Tensor:
        if next(calls):
            model.zero_grad()
            return closure.loss()
        return closure()

    before = clones(model)
    with pytest.raises(RuntimeError, match=r"call loss\.backward"):
        opt.step(once)
    assert same(clones(model), before)


def test_tensors_that_a_closure_assigns_are_left_to_it():
    model, opt = start()
    own = [torch.ones_like(p) for p in model.parameters()]

    def closure() -> Tensor:
        for p, g in zip(model.parameters(), own, strict=True):
            p.grad = g
        return torch.zeros(())

    for _ in range(3):
        opt.zero_grad()
        opt.step(closure)
        assert all(bool((g == 1).all()) for g in own) and opt.last.finite


@pytest.mark.parametrize("returned", [lambda loss: (loss, 1), lambda loss: {"loss": loss}, lambda loss: loss.expand(3)])
def test_what_is_no_number_is_no_loss(returned):
    model = build(mlp)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1))

    def closure():
        opt.zero_grad()
        loss = model(draw(3, 4)).square().mean()
        loss.backward()
        return returned(loss.detach())

    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(TypeError, match=r"the closure returned a .*; it must return one number"):
        opt.step(closure)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
