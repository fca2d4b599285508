"""Used-up memory: what was needed, what would fit, and nothing is lost."""

from dataclasses import dataclass

import pytest
import torch

import geosam
from geosam import engines, metrics
from geosam.core.limits import out_of_memory


@dataclass(frozen=True)
class Greedy(engines.Func):
    """Asks for more than any machine has, as torch's own allocator says it."""

    def capture(self, bound, parameters, draw=None):
        return torch.empty(2**55)


def optimizer(metric):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4).eval(), torch.nn.Linear(4, 2))
    opt = geosam.SAM(torch.optim.SGD(model.named_parameters(), lr=0.1), metric=metric)
    return model, opt, geosam.Problem(model, torch.nn.CrossEntropyLoss()).on(torch.randn(6, 3), torch.tensor([0, 1] * 3))


def test_rows_that_do_not_fit():
    model, opt, bound = optimizer(metrics.EmpiricalFisher(engine=Greedy()))
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(torch.OutOfMemoryError, match=r"6 samples in 34 parameters are 816 B.*rows fit.*chunk_size=6") as caught:
        opt.step(bound)
    assert "tried to allocate" in str(caught.value)  # torch's own words, with its number
    assert all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True))
    opt.metric = metrics.Euclidean()
    assert opt.step(bound).isfinite()


def test_a_pass_that_does_not_fit():
    model, opt, bound = optimizer(metrics.Euclidean())
    model.register_forward_hook(lambda *_: torch.empty(2**55))
    with pytest.raises(torch.OutOfMemoryError, match=r"Euclidean ran out of memory in the forward.*6 samples.*micro-batches"):
        opt.step(bound)


def test_other_errors_are_left_alone():
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert out_of_memory(MemoryError()) and out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
