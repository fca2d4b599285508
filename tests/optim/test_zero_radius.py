"""rho = 0 is the base optimizer's own step, exactly, at the base optimizer's price."""

import pytest
import torch
from torch import nn

import geosam
from geosam import SAM
from geosam.metrics import EmpiricalFisher, Euclidean, KLExact
from tests.networks import Closure, build, clones, draw, labels, mlp, same

X, Y = draw(6, 4), labels(6)
BASES = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "Adam": lambda p: torch.optim.Adam(p, lr=0.05, amsgrad=True),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01),
    "LBFGS": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3),
}


@pytest.mark.parametrize("base", BASES)
def test_ten_steps_are_the_base_optimizers_bit_for_bit(base):
    model, twin = build(mlp), build(mlp)
    opt, plain = SAM(BASES[base](model.parameters()), rho=0.0), BASES[base](twin.parameters())
    ours, theirs = Closure(model, X, Y), Closure(twin, X, Y)
    for _ in range(10):
        loss, expected = opt.step(ours), plain.step(theirs)
        assert torch.equal(loss, torch.as_tensor(expected).detach()) and same(clones(model), clones(twin))
    assert ours.calls == theirs.calls
    if base != "LBFGS":
        assert ours.calls == 10


@pytest.mark.parametrize("metric", [Euclidean(), EmpiricalFisher(0.1), KLExact()], ids=repr)
def test_no_metric_is_asked_at_radius_zero(metric):
    model, twin = build(mlp), build(mlp)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric, rho=0)
    plain = torch.optim.SGD(twin.parameters(), lr=0.1)
    opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y))
    plain.step(Closure(twin, X, Y))
    assert same(clones(model), clones(twin))
    assert opt.last.radius == 0 and opt.last.finite and not opt.last.skipped


def test_small_radii_tend_to_the_base_optimizers_step():
    updates = []
    for rho in (0.0, 1e-4, 1e-2):
        model = build(mlp, dtype=torch.float64)
        SAM(torch.optim.SGD(model.parameters(), lr=1.0), rho=rho).step(Closure(model, X.double(), Y))
        updates.append(torch.cat([p.reshape(-1) for p in clones(model)]))
    near, far = ((u - updates[0]).norm().item() for u in updates[1:])
    assert far / near == pytest.approx(100, rel=0.05)


def test_a_schedule_may_end_at_zero():
    model = build(mlp)
    opt, closure = SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.1), Closure(model, X, Y)
    for rho, calls in ((0.1, 2), (0.05, 4), (0.0, 5), (0.1, 7)):
        opt.param_groups[0]["rho"] = rho
        opt.step(closure)
        assert closure.calls == calls and opt.last.radius.item() == pytest.approx(rho)
