"""Every base optimizer and every scheduler, as if SAM were not there."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import lr_scheduler

import geosam
from geosam import SAM
from geosam.metrics import EmpiricalFisher
from tests.networks import Closure, build, clones, draw, labels, mlp, same

X, Y = draw(32, 4), labels(32)
BASES = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
    "LBFGS": lambda p: torch.optim.LBFGS(p, lr=0.5, max_iter=4),
    "LBFGS, a search": lambda p: torch.optim.LBFGS(p, lr=5.0, max_iter=4, line_search_fn="strong_wolfe"),
}


def by_hand(model: nn.Module, base: torch.optim.Optimizer, rho: float) -> torch.Tensor:
    """SAM as the paper writes it, on copies: the base optimizer is told L(θ + ε) beside the gradient there."""
    parameters, losses = list(model.parameters()), list[torch.Tensor]()

    def closure() -> torch.Tensor:
        loss = F.cross_entropy(model(X.double()), Y)
        g = torch.autograd.grad(loss, parameters)
        size = torch.stack([t.square().sum() for t in g]).sum().sqrt().item()
        values = clones(model)
        with torch.no_grad():
            for p, t in zip(parameters, g, strict=True):
                p.add_(t, alpha=rho / size)
        model.zero_grad()
        with torch.enable_grad():
            there = F.cross_entropy(model(X.double()), Y)
            there.backward()
        with torch.no_grad():
            for p, value in zip(parameters, values, strict=True):
                p.copy_(value)
        losses.append(loss.detach())
        return there

    base.step(closure)
    return losses[0]


@pytest.mark.parametrize("base", BASES)
def test_steps_are_those_of_sam_written_out(base):
    model, twin = build(mlp, dtype=torch.float64), build(mlp, dtype=torch.float64)
    opt, plain = SAM(BASES[base](model.parameters()), rho=0.1), BASES[base](twin.parameters())
    for _ in range(5):
        loss, expected = opt.step(Closure(model, X.double(), Y)), by_hand(twin, plain, 0.1)
        torch.testing.assert_close(loss, expected)
        for p, q in zip(model.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-9)
    assert not opt.last.skipped


@pytest.mark.parametrize("base", BASES)
def test_training_brings_the_loss_down(base):
    model = build(mlp)
    target = (X[:, 0] > 0).long()
    opt = SAM(BASES[base](model.parameters()), EmpiricalFisher(0.1), rho=0.05)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, target)
    losses = [opt.step(bound).item() for _ in range(30)]
    assert losses[-1] < 0.7 * losses[0] and all(map(math.isfinite, losses))


@pytest.mark.parametrize("base", ["momentum", "Adam"])
@pytest.mark.parametrize(
    "make",
    [
        lambda opt: lr_scheduler.StepLR(opt, 2, 0.1),
        lambda opt: lr_scheduler.CosineAnnealingLR(opt, 5),
        lambda opt: lr_scheduler.OneCycleLR(opt, 0.1, total_steps=10),
        lambda opt: lr_scheduler.SequentialLR(
            opt, [lr_scheduler.LinearLR(opt, 0.1, 1, 2), lr_scheduler.ExponentialLR(opt, 0.5)], [2]
        ),
    ],
    ids=["step", "cosine", "one cycle", "sequential"],
)
def test_schedulers_turn_the_bases_own_learning_rate(base, make):
    model, twin = build(mlp), build(mlp)
    opt, plain = SAM(BASES[base](model.parameters()), rho=0.0), BASES[base](twin.parameters())
    ours, theirs = make(opt), make(plain)
    rates = []
    for _ in range(6):
        opt.step(Closure(model, X, Y))
        plain.step(Closure(twin, X, Y))
        ours.step()
        theirs.step()
        rates.append(opt.base.param_groups[0]["lr"])
        assert rates[-1] == plain.param_groups[0]["lr"]
    assert len(set(rates)) > 1 and same(clones(model), clones(twin))


def test_plateau_scheduler_and_a_scheduler_on_the_base():
    model = build(mlp)
    opt = SAM(BASES["SGD"](model.parameters()))
    plateau = lr_scheduler.ReduceLROnPlateau(opt, patience=0)
    for loss in (1.0, 2.0, 3.0):
        opt.step(Closure(model, X, Y))
        plateau.step(loss)
    assert opt.param_groups[0]["lr"] == pytest.approx(1e-3)
    other = lr_scheduler.ExponentialLR(opt.base, 0.5)
    opt.step(Closure(model, X, Y))
    other.step()
    assert opt.param_groups[0]["lr"] == pytest.approx(5e-4)


def test_zero_grad_and_hooks_work_as_on_any_optimizer():
    model, seen = build(mlp), []
    opt = SAM(BASES["SGD"](model.parameters()))
    opt.register_step_post_hook(lambda *_: seen.append("after"))
    opt.step(Closure(model, X, Y))
    assert all(p.grad is not None for p in model.parameters()) and seen == ["after"]
    opt.zero_grad()
    assert all(p.grad is None for p in model.parameters())
    assert "SGD" in repr(opt) or "SAM" in repr(opt)
