"""Closures that clip, or differentiate another loss than they return, are found out; honest ones are called twice a step."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import metrics, objectives, solvers, updates
from tests.networks import build, draw, labels, mlp

X, Y = draw(32, 4), labels(32)
SCALE_FREE = [metrics.Euclidean(), metrics.ParameterScaled(), metrics.LayerWise()]
READS_LENGTH = {
    "metric": {"metric": metrics.GradientMagnitude(eta=9.0)},
    "memory": {"objective": objectives.Smoothed(0.9)},
    "update": {"update": updates.SurrogateGap(0.3)},
    "solver": {"solver": solvers.LinearRise(0.01)},
}


def run(steps=9, clip=None, value=None, factor=1.0, noise=0.0, rho=0.1, **parts):
    """Calls of the closure in so many steps."""
    model, calls = build(mlp), []
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1 / factor), rho=rho, **parts)

    def closure():
        calls.append(1)
        opt.zero_grad()
        loss = F.cross_entropy(F.dropout(model(X), noise), Y)
        (factor * loss).backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        if value:
            nn.utils.clip_grad_value_(model.parameters(), value)
        return loss

    for _ in range(steps):
        opt.step(closure)
    return len(calls)


@pytest.mark.parametrize("honest", [{}, {"noise": 0.5}, {"rho": 2.0}, {"factor": 0.5}, {"value": 10.0}, {"clip": 100.0}])
@pytest.mark.parametrize("parts", [{}, READS_LENGTH["metric"]], ids=["Euclidean", "GradientMagnitude"])
def test_an_honest_closure_is_called_twice_a_step(honest, parts):
    assert run(**honest, **parts) == 18


@pytest.mark.parametrize("parts", READS_LENGTH.values(), ids=READS_LENGTH)
def test_a_clipped_norm_is_refused_where_a_length_is_read(parts):
    with pytest.raises(RuntimeError, match=r"clips gradients by norm.*max_norm="):
        run(clip=0.05, **parts)


@pytest.mark.parametrize("metric", SCALE_FREE, ids=lambda m: type(m).__name__)
def test_a_clipped_norm_is_right_where_only_a_direction_is_read(metric):
    assert run(clip=0.05, metric=metric) > 18  # it was looked into


def test_clipped_values_are_refused():
    with pytest.raises(RuntimeError, match="clips gradients by value"):
        run(value=0.001)


@pytest.mark.parametrize("noise", [0.0, 0.5])
@pytest.mark.parametrize("factor", [2.0**10, 2.0**16])
def test_a_scaled_loss_without_its_scaler_is_refused(factor, noise):
    with pytest.raises(RuntimeError, match=r"times the loss that it returns.*scaler=scaler"):
        run(factor=factor, noise=noise)


def test_straight_through_gradients_are_no_scale():
    """Steps of 0.01, through which gradients pass: the loss does not rise along the gradient as it says, and may not."""
    model = build(mlp)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.1)

    def closure():
        opt.zero_grad()
        outputs = model(X)
        loss = F.cross_entropy(outputs + ((outputs * 100).round() / 100 - outputs).detach(), Y)
        loss.backward()
        return loss

    for _ in range(9):
        opt.step(closure)
    assert opt.last.finite


def test_after_a_refusal_the_weights_are_those_before_the_step():
    model = build(mlp)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.1)
    before = [p.detach().clone() for p in model.parameters()]

    def closure():
        opt.zero_grad()
        loss = F.cross_entropy(model(X), Y)
        (4096 * loss).backward()
        return loss

    with pytest.raises(RuntimeError, match="times the loss"):
        opt.step(closure)
    assert all(map(torch.equal, before, model.parameters()))
