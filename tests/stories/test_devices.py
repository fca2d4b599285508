"""Tensors on unlike devices: cause and cure. The meta device stands for the second one."""

import pytest
import torch
from torch import Tensor, nn

import geosam
from geosam import SAM, metrics
from tests.networks import build, clones, draw, labels, mlp, same

X, Y = draw(6, 4), labels(6)
METRICS = [metrics.Euclidean(), metrics.GradientMagnitude(), metrics.EmpiricalFisher(0.1)]


def training(model: nn.Module, **settings: object) -> tuple[SAM, geosam.Problem]:
    base = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return SAM(base, **settings), geosam.Problem(model, nn.CrossEntropyLoss())


@pytest.mark.parametrize("settings", [*({"metric": m} for m in METRICS), {"rho": 0.0}], ids=str)
@pytest.mark.parametrize("name", ["x", "y"])
def test_a_batch_elsewhere_is_named(name, settings):
    model = build(mlp)
    opt, problem = training(model, **settings)
    values, batch = clones(model), {"x": X, "y": Y}
    batch[name] = batch[name].to("meta")
    with pytest.raises(RuntimeError, match=rf"{name} is on meta, the model on {X.device}.*x\.to\(device\)"):
        opt.step(problem.on(**batch))
    assert same(clones(model), values)
    opt.step(problem.on(X, Y))


class Split(nn.Module):
    """Two layers on two devices, and nothing that carries from one to the other."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 3, device="meta")

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x))


def test_a_model_on_two_devices_is_named():
    opt, problem = training(Split())
    with pytest.raises(RuntimeError, match=r"first\.bias on .*second\.bias on meta.*model\.to\(device\)"):
        opt.step(problem.on(X, Y))


def test_state_that_stayed_behind_is_named(monkeypatch):
    model = build(mlp)
    opt, problem = training(model)
    opt.step(problem.on(X, Y))
    for state in opt.state.values():
        state["momentum_buffer"] = state["momentum_buffer"].to("meta")
    values = clones(model)

    def step() -> None:  # kernels of the meta device do not complain
        raise RuntimeError("Expected all tensors to be on the same device")

    monkeypatch.setattr(opt.base, "step", step)
    with pytest.raises(RuntimeError, match=r"SGD keeps state on meta for a parameter on .*moved after its first step"):
        opt.step(problem.on(X, Y))
    assert same(clones(model), values)


class Broken(nn.Module):
    """Fails for a reason of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.net = mlp()

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("a device of mine is broken")


def test_other_errors_pass_as_they_are():
    opt, problem = training(build(Broken))
    with pytest.raises(RuntimeError, match=r"^a device of mine is broken$"):
        opt.step(problem.on(X, Y))
