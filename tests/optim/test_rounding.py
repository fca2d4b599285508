"""Parameters below float32: what of ε* is realised, and a warning where nothing is."""

import math
import warnings

import pytest
import torch

import geosam
from geosam.optim import Unrealised
from tests.networks import Closure, build, draw, labels, mlp

Y = labels(6)


def optimizer(dtype, rho):
    model = build(mlp, dtype=dtype)
    return model, geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=rho), Closure(model, draw(6, 4, dtype=dtype), Y)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("move", [geosam.Copy, geosam.Swap])
def test_the_realised_length_is_that_of_epsilon(dtype, move):
    _, opt, closure = optimizer(dtype, 0.3)
    opt.move = move()
    with opt.perturbed(closure) as p:
        realised = torch.cat([e.flatten().double() for e in p.epsilon]).norm()
    assert opt.last.realised.item() == pytest.approx(realised.item(), rel=1e-6)
    assert opt.last.length.item() == pytest.approx(0.3, rel=1e-2)


def test_float32_is_not_measured():
    _, opt, closure = optimizer(torch.float32, 0.3)
    opt.step(closure)
    assert math.isnan(opt.last.length) and math.isnan(opt.last.realised)


def test_nothing_realised_is_told_once():
    model, opt, closure = optimizer(torch.bfloat16, 1e-6)
    with torch.no_grad():
        for p in model.parameters():
            p.fill_(1.0)
    with pytest.warns(Unrealised, match=r"0 of it was realised.*float32"):
        opt.step(closure)
    assert opt.last.realised == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            opt.step(closure)


def test_a_pass_that_is_not_finite_has_no_length():
    model, opt, closure = optimizer(torch.bfloat16, 0.3)
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    opt.step(closure)
    assert opt.last.length == 0 and opt.last.realised == 0
