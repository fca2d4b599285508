"""max_norm: what the base optimizer steps with, after unscaling, on every route; never the first pass."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import metrics, updates
from tests.networks import Closure, build, draw, labels, mlp

X, Y = draw(8, 4, dtype=torch.float64), labels(8)
PARTS = [slice(0, 3), slice(3, 8)]
BOUND = 0.01


def trained(route, max_norm, update=None, rho=0.1):
    """How far one step of gradient descent goes, as one vector."""
    model = build(mlp, dtype=torch.float64)
    base: torch.optim.Optimizer = torch.optim.SGD([{"params": [p]} for p in model.parameters()], lr=1.0)
    if route == "line search":
        base = torch.optim.LBFGS(model.parameters(), lr=1.0, max_iter=1)
    opt = geosam.SAM(base, metrics.GradientMagnitude(eta=9.0), rho, update=update, max_norm=max_norm)
    problem, before = geosam.Problem(model, nn.CrossEntropyLoss()), [p.detach().clone() for p in model.parameters()]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    if route == "perturb":
        opt.perturb(problem.on(X, Y))
        F.cross_entropy(model(X), Y).backward()
        opt.base.step()
    elif route == "perturb, scaler":
        opt.perturb(problem.on(X, Y), scaler=scaler)
        scaler.scale(F.cross_entropy(model(X), Y)).backward()
        scaler.step(opt.base)
    elif route == "list":
        opt.step([problem.on(X[part], Y[part]) for part in PARTS])
    else:
        source = Closure(model, X, Y) if route in ("closure", "line search") else problem.on(X, Y)
        opt.step(source, **({"scaler": scaler} if route == "problem, scaler" else {}))
    return torch.cat([(b - p.detach()).flatten() for b, p in zip(before, model.parameters(), strict=True)])


ROUTES = ["closure", "problem", "problem, scaler", "list", "perturb", "perturb, scaler"]


@pytest.mark.parametrize("rho", [0.1, 0.0])
@pytest.mark.parametrize("update", [None, updates.SurrogateGap(0.3)], ids=["Sharp", "SurrogateGap"])
@pytest.mark.parametrize("route", ROUTES)
def test_every_route_steps_by_the_same_direction_at_the_bound(route, update, rho):
    free = trained("problem", None, update, rho)
    expected = free * (BOUND / (free.norm() + 1e-6))
    torch.testing.assert_close(trained(route, BOUND, update, rho), expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(trained(route, math.inf, update, rho), free, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(trained(route, 1e3, update, rho), free, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rho", [0.1, 0.0])
def test_each_gradient_of_a_line_search(rho):
    """LBFGS's first step is min(1, 1/‖g‖₁) g."""
    free, clipped = trained("line search", None, rho=rho), trained("line search", 1e-3, rho=rho)
    torch.testing.assert_close(clipped / clipped.norm(), free / free.norm())
    assert clipped.norm().item() == pytest.approx(1e-3, rel=1e-2)


def test_gradients_of_embeddings_count_each_entry_once():
    moved = []
    for sparse in (False, True):
        torch.manual_seed(0)
        layer = nn.Embedding(5, 3, sparse=sparse)
        before = layer.weight.detach().clone()
        opt = geosam.SAM(torch.optim.SGD(layer.parameters(), lr=1.0), max_norm=BOUND)

        def closure(layer=layer, opt=opt):
            opt.zero_grad()
            loss = layer(torch.tensor([1, 1, 2])).square().sum()
            loss.backward()
            return loss

        opt.step(closure)
        moved.append(before - layer.weight.detach())
    torch.testing.assert_close(*moved)
    assert moved[0].norm().item() == pytest.approx(BOUND, rel=1e-3)


def test_gradients_that_are_not_finite_are_withheld_and_not_clipped():
    model = build(mlp, dtype=torch.float64)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=1.0), max_norm=BOUND)
    before = [p.detach().clone() for p in model.parameters()]
    opt.perturb(Closure(model, X, Y))
    (F.cross_entropy(model(X), Y) * math.inf).backward()
    opt.step()
    assert opt.last.skipped and all(map(torch.equal, before, model.parameters()))


@pytest.mark.parametrize("wrong", [0, -1.0, math.nan])
def test_bounds(wrong):
    base = torch.optim.SGD(build(mlp).parameters(), lr=0.1)
    with pytest.raises(ValueError, match="max_norm must be finite and positive"):
        geosam.SAM(base, max_norm=wrong)
    assert "max_norm: 2.0" in repr(geosam.SAM(base, max_norm=2))
