"""What a step costs, in passes and in bytes: numbers that do not depend on the machine."""

from collections import Counter
from functools import partial

import pytest
import torch
from torch import Tensor, nn

import geosam
from experiments.common.memory import peak_and_kept
from geosam import SAM, Copy, Swap
from geosam.metrics import EmpiricalFisher, Euclidean, GradientMagnitude, KLExact, Monge, ParameterScaled
from tests.networks import Closure, build, draw, labels, mlp

X, Y = draw(6, 4), labels(6)


class Counting(nn.Module):
    """Counts forward passes, and backward passes that reach the outputs, its copies' among them."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.passes = mlp(), Counter[str]()

    def forward(self, x: Tensor) -> Tensor:
        self.passes["forward"] += 1
        z = self.net(x)
        if z.requires_grad:
            z.register_hook(self.backward)
        return z

    def backward(self, gradient: Tensor) -> None:
        self.passes["backward"] += 1

    @property
    def forwards(self) -> int:
        return self.passes["forward"]

    @property
    def backwards(self) -> int:
        return self.passes["backward"]


@pytest.mark.parametrize("metric", [Euclidean(), ParameterScaled(), GradientMagnitude(), Monge()], ids=repr)
@pytest.mark.parametrize("source", ["closure", "problem"])
def test_metrics_of_the_gradient_take_two_passes(metric, source):
    model = build(Counting)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    for k in range(1, 4):
        opt.step(bound if source == "problem" else Closure(model, X, Y))
        assert (model.forwards, model.backwards) == (2 * k, 2 * k)


def test_the_first_pass_of_the_empirical_fisher_is_the_per_sample_pass_alone():
    model = build(Counting)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), EmpiricalFisher(0.1))
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    opt.step(bound)
    # once a problem: one that tells what passes write to, five that tell what they are, layouts from two and three samples, a
    # pass without dropout whose rows are tried, and autograd's of it; on the first ten batches: a pass of autograd's
    assert model.forwards == 13
    for k in range(1, 12):
        opt.step(bound)
        assert model.forwards == 13 + 2 * k + min(k, 9)  # one recorded, one at θ + ε


def test_kl_adds_forward_passes_and_no_backward():
    model = build(Counting)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), KLExact(along=Euclidean()))
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    opt.step(bound)  # learns the structure
    model.passes.clear()
    opt.step(bound)
    assert model.backwards == 2
    assert model.forwards == 1 + opt.last.report["evaluations"]  # pass 1, whose outputs D compares with, and pass 2 among D's


def costs(route: str, metric: geosam.Metric) -> tuple[Counter[str], tuple[int, int]]:
    """(passes, bytes) of a third step."""
    model = build(Counting)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9), metric)
    bound = geosam.Problem(model, nn.CrossEntropyLoss(), check="first").on(X, Y)

    def step() -> None:
        if route == "step":
            opt.step(bound)
        else:
            opt.perturb(bound)
            bound()
            opt.base.step()

    step()
    step()
    opt.zero_grad()
    model.passes.clear()
    return model.passes, peak_and_kept(step)


@pytest.mark.parametrize("metric", [Euclidean(), GradientMagnitude(), EmpiricalFisher(0.1)], ids=repr)
def test_perturb_costs_what_step_costs(metric):
    (passes, size), (same, alike) = costs("step", metric), costs("perturb", metric)
    assert passes == same and alike == pytest.approx(size, rel=0.01)


class Wide(nn.Module):
    """1 MB of parameters in eight tensors; activations of ``n`` samples weigh n kB a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(*[m for _ in range(4) for m in (nn.Linear(256, 256), nn.Tanh())])

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def extra(metric: geosam.Metric, move: geosam.Copy | geosam.Swap, n: int, first: bool) -> tuple[float, float]:
    """(peak, kept) beyond the base optimizer's own step, in copies of the parameters."""
    results = []
    for radius in (0.0, 0.1):
        model = build(Wide)
        opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric, rho=radius, move=move)
        closure = Closure(model, draw(n, 256), labels(n, 256))
        if not first:
            opt.step(closure)
        opt.zero_grad()
        closure.losses.clear()
        results.append(peak_and_kept(partial(opt.step, closure)))
        size = sum(p.nbytes for p in model.parameters())
    (base, left), (ours, kept) = results
    return (ours - base) / size, (kept - left) / size


@pytest.mark.parametrize("move", [Copy, Swap])
@pytest.mark.parametrize("metric", [Euclidean(), GradientMagnitude()], ids=repr)
def test_a_step_holds_one_copy_of_the_parameters_beyond_the_base_optimizers(metric, move):
    peak, kept = extra(metric, move(), n=1024, first=True)
    assert 0.99 < peak < 1.05 and 0.99 < kept < 1.01


@pytest.mark.host("ε is not formed where it may be read whether it is finite")
@pytest.mark.parametrize("move", [Copy, Swap])
@pytest.mark.parametrize("metric, most", [(Euclidean(), 0.05), (GradientMagnitude(), 1.05), (ParameterScaled(), 1.3)], ids=repr)
def test_later_steps_allocate_no_more_than_the_direction(metric, most, move):
    """Where activations weigh nothing, ♯c shows: Euclidean has none of its own, a diagonal metric one copy for a moment."""
    peak, kept = extra(metric, move(), n=1, first=False)
    assert peak < most and abs(kept) < 0.01
