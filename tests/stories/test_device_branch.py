"""The branches of an accelerator, on the CPU with host reads switched off: the same ε* and steps in every geometry."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

import geosam
from geosam import Copy, Swap, metrics, norms, objectives, solvers, updates
from tests.fishers import flat
from tests.laws.metric_cases import CASES
from tests.networks import build, clones, draw, labels, mlp
from tests.placement import reads_switched_off

METRICS = {case.name: case.metric for case in CASES}
NORMS = {"Sup": norms.Sup(), "Spectral": norms.Spectral()}
KL = {
    "KL along ḡ²": metrics.KLExact(along=metrics.GradientMagnitude()),
    "KL": metrics.KLExact(),
}
EVERY = {**METRICS, **NORMS, **KL}


def bind(dtype):
    model = build(mlp, dtype=dtype)
    return model, geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(7, 4, dtype=dtype), labels(7))


def epsilon(metric, dtype):
    torch.manual_seed(0)
    model, bound = bind(dtype)
    with geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric, rho=0.1).perturbed(bound) as p:
        return flat(p.epsilon)


def gap(found, want):
    return float((found - want).norm() / want.norm())


@pytest.mark.parametrize("name", EVERY)
def test_epsilon_is_that_of_the_cpu_s_branch(name):
    for dtype, tolerance in ((torch.float64, 1e-7), (torch.float32, 2e-3)):
        here = epsilon(EVERY[name], dtype)
        with reads_switched_off():
            assert gap(epsilon(EVERY[name], dtype), here) < tolerance


WAYS = {
    "copy": {},
    "swap": {"move": Swap()},
    "VaSSO": {"objective": objectives.Smoothed(0.5)},
    "GSAM": {"update": updates.SurrogateGap(0.2)},
    "natural": {"update": updates.Natural(metrics.DiagonalEmpiricalFisher())},
    "two steps": {"solver": solvers.MultiStep(2)},
    "KL": {"metric": metrics.KLExact(along=metrics.Euclidean())},
    "diagonal": {"metric": metrics.GradientMagnitude(), "move": Copy()},
}


def trained(steps=3, **settings):
    model, bound = bind(torch.float64)
    base = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    optimizer = geosam.SAM(base, rho=0.1, **settings)
    for _ in range(steps):
        optimizer.step(bound)
    return flat(clones(model))


@pytest.mark.parametrize("way", WAYS)
def test_whole_steps_are_those_of_the_cpu_s_branch(way):
    here = trained(**WAYS[way])
    with reads_switched_off():
        assert gap(trained(**WAYS[way]), here) < 1e-12


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_pass_that_is_not_finite_moves_nothing(value):
    """Without momentum and weight decay: there zero gradients are no step."""
    for bad in (1, 2):
        model, bound = bind(torch.float64)
        optimizer, before = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.1), clones(model)
        calls = iter((1, 2))

        def closure(bound=bound, calls=calls, bad=bad, model=model):
            loss = bound()
            if next(calls) == bad:
                next(model.parameters()).grad[0, 0] = value
            return loss

        with reads_switched_off():
            optimizer.step(closure)
        moved = any(not torch.equal(a, b) for a, b in zip(clones(model), before, strict=True))
        assert moved == (bad == 1)  # a bad first pass is a step with ε = 0
        assert bool(optimizer.last.finite) == (bad == 2)


class Convolution(nn.Module):
    """Filters, biases and rows: parameters of one, two and four dimensions."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, 2, padding=1), nn.Tanh(), nn.Flatten(), nn.Linear(27, 3)
        )

    def forward(self, x):
        return self.net(x)


FILTERS = [metrics.FilterWise(), metrics.LayerWise(), metrics.ParameterScaled(), metrics.GradientMagnitude(3.0, 0.1)]


@pytest.mark.parametrize("metric", FILTERS, ids=repr)
def test_filters_and_layers_have_the_sizes_of_the_cpu_s_branch(metric):
    found = []
    for off in (False, True):
        bound = geosam.Problem(build(Convolution), nn.CrossEntropyLoss()).on(draw(7, 4), labels(7))
        optimizer = geosam.SAM(torch.optim.SGD(bound.model.parameters(), lr=0.1), metric, rho=0.1)
        with reads_switched_off() if off else nullcontext(), optimizer.perturbed(bound) as p:
            found.append(flat(p.epsilon))
    assert gap(*found) < 1e-5


@pytest.mark.parametrize("move", [Copy, Swap])
def test_a_bfloat16_step_is_not_shortened_by_a_rounded_factor(move):
    model = build(mlp, dtype=torch.bfloat16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(7, 4).bfloat16(), labels(7))
    optimizer = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.0501, move=move())
    with reads_switched_off(), optimizer.perturbed(bound) as p:
        assert flat(p.epsilon).norm().item() == pytest.approx(0.0501, rel=2e-3)
