"""BackPACK: what it cannot do it refuses, and it leaves no trace."""

import contextlib
import gc

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from geosam.core.undo import undisturbed
from geosam.engines import BackPACK, Func
from tests.engines.loop import bind, loop
from tests.moments import Boom, by_trace
from tests.networks import build, draw, labels, mlp, network

REFUSED = ["residual, GroupNorm", "transformer", "attention", "tied", "raw parameter", "second use", "weight norm"]
REFUSED += ["LayerNorm", "subclass of Linear"]


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("what", ["rows", "squares"])
def test_backpack_refuses_what_it_would_get_wrong(name, what):
    model, x, y = network(name)
    before = traces(model)
    with pytest.raises(ValueError, match=r"Func\(\)"):
        getattr(BackPACK(), what)(bind(model, x, y), list(model.parameters()))
    assert traces(model) == before


def traces(model: nn.Module) -> list[object]:
    """All that BackPACK could leave behind: attributes, hooks, gradients."""
    parameters = [(sorted(vars(p)), p.grad) for p in model.parameters()]
    hooks = [(*m._forward_hooks, *m._forward_pre_hooks, *m._backward_hooks) for m in model.modules()]
    return [parameters, hooks, [sorted(vars(m)) for m in model.modules()]]


class Failing(nn.Module):
    """Fails in the forward pass, or in the backward pass."""

    def __init__(self, when: str) -> None:
        super().__init__()
        self.when, self.inner, self.head = when, nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = self.inner(x)
        if self.when == "forward":
            raise RuntimeError("failed in forward")
        z.register_hook(self.fail)
        return self.head(z)

    def fail(self, gradient: Tensor) -> None:
        raise RuntimeError("failed in backward")


@pytest.mark.parametrize("when", ["forward", "backward", "never"])
@pytest.mark.parametrize("what", ["rows", "squares"])
def test_backpack_leaves_no_trace_even_after_an_exception(when, what):
    model = build(mlp) if when == "never" else build(lambda: Failing(when))
    bound, parameters = bind(model, draw(6, 4), labels(6)), list(model.parameters())
    before = traces(model)
    if when == "never":
        getattr(BackPACK(), what)(bound, parameters)
    else:
        with pytest.raises(RuntimeError, match=f"failed in {when}"):
            getattr(BackPACK(), what)(bound, parameters)
    assert traces(model) == before


class Named(nn.Module):
    """With a layer of the name that BackPACK stores outputs under."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.output = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.first(x).tanh())


class Twice(nn.Module):
    """A layer that the forward pass uses twice, and outputs that are no tensor of a layer inside."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 3)
        self.inside = Wrapped(self.inner)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.inside(self.inner(x))["hidden"])


class Wrapped(nn.Module):
    """Its layer's output in a dictionary."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"hidden": self.layer(x)}


@pytest.mark.parametrize("make, reason", [(Named, "keeps what a module computes"), (Twice, "used more than once")])
def test_what_backpack_refuses_leaves_nothing_in_memory(make, reason):
    def alive() -> int:
        gc.collect()
        return sum(issubclass(type(o), Tensor) for o in gc.get_objects())

    def refused() -> int:
        with pytest.raises(ValueError, match=reason):
            BackPACK().squares(bound, parameters)
        return alive()

    bound = bind(build(make), draw(6, 4), labels(6))
    parameters = bound.parameters
    assert refused() == refused()


class Slope(nn.Module):
    """Its output is a derivative of its inner network's."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            z = self.inner(x)
            return z + torch.autograd.grad(z.sum(), x, create_graph=True)[0].sum(1, keepdim=True)


@pytest.mark.parametrize("what", ["rows", "squares"])
def test_backpack_refuses_a_layer_that_the_forward_pass_differentiates(what):
    model = build(Slope)
    with pytest.raises(ValueError, match=r"inner\.0, inner\.1, inner\.2: the forward pass differentiates"):
        getattr(BackPACK(), what)(bind(model, draw(6, 4), labels(6)), list(model.parameters()))


def test_backpack_leaves_its_global_settings_as_they_were():
    from backpack.context import CTX

    model, x, y = network("mlp")
    bound, parameters = bind(model, x, y), list(model.parameters())
    squares = undisturbed(lambda: BackPACK().squares(bound, parameters))  # as an observation runs it
    squares()
    before = dict(vars(CTX)), len(CTX.hook_handles)
    most = by_trace(squares, 0)
    for at in range(most // 2, most, 7):
        with contextlib.suppress(Boom):
            by_trace(squares, at)
        assert (dict(vars(CTX)), len(CTX.hook_handles)) == before


def test_backpack_says_so_when_float32_squares_vanish():
    model, x, y = network("mlp")
    bound = bind(model, x, y, lambda z, t: 1e-22 * F.cross_entropy(z, t))
    with pytest.raises(OverflowError, match=r"engines\.Func\(\)"):
        BackPACK().squares(bound, list(model.parameters()))
    _, jacobian = loop(model, x, y)
    found = Func().squares(bound, list(model.parameters()))[2]
    for s, j in zip(found, jacobian, strict=True):
        torch.testing.assert_close(s * 1e44, j.double().square().mean(0), rtol=1e-4, atol=1e-8)
