"""Constructors of one's own, and numbers for a logger; what is written from habit is refused in ``test_errors``."""

import pytest
import torch

import geosam
from geosam import metrics

MODEL = torch.nn.Linear(3, 2)
PROBLEM = geosam.Problem(MODEL, torch.nn.CrossEntropyLoss())
BOUND = PROBLEM.on(torch.randn(6, 3), torch.tensor([0, 1] * 3))
SGD = torch.optim.SGD


def base():
    return SGD(MODEL.parameters(), lr=0.1)


def test_a_constructor_of_ones_own_keeps_its_errors():
    class Mine(geosam.SAM):
        def __init__(self, base):
            super().__init__(base, rho=0.1)

    assert Mine(base()).rho == 0.1


def test_numbers_for_a_logger():
    opt = geosam.SAM(base(), metric=metrics.KLExact(along=metrics.Euclidean()), rho=0.01)
    opt.step(BOUND)
    numbers = opt.last.numbers()
    assert {"loss", "dual_norm", "radius", "finite", "skipped", "seconds"} <= set(numbers)
    assert all(type(v) is float for v in numbers.values()) and numbers["seconds"] > 0
    assert numbers["radius"] == pytest.approx(0.01, rel=0.02) and any(name.startswith("report/") for name in numbers)
