"""Copies of models: what led to a part of the model leads to the copy's, and no pass leaves a trace in the original."""

import copy
import functools
import types
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import geosam
from geosam.metrics import EmpiricalFisher, Fisher, GradientMagnitude
from tests.networks import build, draw, labels

X, Y = draw(6, 4), labels(6)


class Net(nn.Module):
    """Two layers, the second of which is reached by ``way``."""

    def __init__(self, way: Callable[[Any], object]) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.run: Any
        way(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.run(torch.tanh(self.first(x)))))

    def inner(self, x: Tensor) -> Tensor:
        return self.second(x)


class Helper:
    def __init__(self, layer: nn.Module) -> None:
        self.layer = layer

    def __call__(self, x: Tensor) -> Tensor:
        return self.layer(x)


class Child(nn.Module):
    def __init__(self, parent: nn.Module) -> None:
        super().__init__()
        self.parent = [parent]

    def forward(self, x: Tensor) -> Tensor:
        (parent,) = self.parent
        return parent.second(x)


def closure(net: Any) -> None:
    net.run = lambda x: net.second(x)


def hidden_in_a_closure(net: Any) -> None:
    def decorated(f: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return functools.wraps(f)(lambda *args: f(*args))

    net.run = decorated(decorated(net.second.forward))


def hook(net: Any) -> None:
    net.run = nn.Identity()
    net.run.register_forward_hook(lambda module, args, out: net.second(out))


def own_forward(net: Any) -> None:
    net.run = net.second
    net.second.forward = types.MethodType(lambda self, x: x @ self.weight.T + self.bias, net.second)


def reference(net: Any) -> None:
    known = weakref.ref(net)
    net.run = lambda x: known().second(x)  # type: ignore[union-attr]


def parameters(net: Any) -> None:
    net.held = {"weight": net.second.weight, "rest": [net.second.bias]}
    net.run = types.MethodType(lambda self, x: x @ self.held["weight"].T + self.held["rest"][0], net)


def listed(net: Any) -> None:
    net.parts, net.run = [net.second], lambda x: net.parts[0](x)


def tied(net: Any) -> None:
    net.second.weight, net.run = net.first.weight, net.second


WAYS: dict[str, Callable[[Any], object]] = {
    "method": lambda net: setattr(net, "run", net.inner),
    "closure": closure,
    "closures of closures": hidden_in_a_closure,
    "partial": lambda net: setattr(net, "run", functools.partial(Net.inner, net)),
    "default": lambda net: setattr(net, "run", lambda x, layer=net.second: layer(x)),
    "list": listed,
    "object": lambda net: setattr(net, "run", Helper(net.second)),
    "child": lambda net: setattr(net, "run", Child(net)),
    "hook": hook,
    "forward of its own": own_forward,
    "weak reference": reference,
    "parameters": parameters,
    "weight norm": lambda net: setattr(net, "run", parametrizations.weight_norm(net.second)),
    "old weight norm": lambda net: setattr(net, "run", torch.nn.utils.weight_norm(net.second)),
    "spectral norm": lambda net: setattr(net, "run", parametrizations.spectral_norm(net.second)),
    "tied": tied,
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm`:FutureWarning")
def test_every_way_leads_to_the_copy(way: str) -> None:
    model, other = (build(lambda: Net(WAYS[way]), dtype=torch.float64).eval() for _ in range(2))
    values = [p.detach() + 0.3 * draw(*p.shape, seed=i, dtype=torch.float64) for i, p in enumerate(model.parameters())]
    with torch.no_grad():
        for p, v in zip(other.parameters(), values, strict=True):
            p.copy_(v)
        bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X.double(), Y)
        torch.testing.assert_close(bound.pure(bound.parameters)(values, bound.x), other(bound.x))
    assert {id(p) for p in model.parameters()} == {id(p) for p in bound.parameters}


NET: Any = None


def test_a_function_is_followed_to_a_global_name() -> None:
    global NET
    NET = build(lambda: Net(lambda net: setattr(net, "run", lambda x: NET.second(x))))
    bound = geosam.Problem(NET, nn.CrossEntropyLoss()).on(X, Y)
    zeros = [torch.zeros_like(p) for p in bound.parameters]
    assert not bound.pure(bound.parameters)(zeros, X).any()


class Global(nn.Module):
    """A method that reads a global name."""

    def forward(self, x: Tensor) -> Tensor:
        return NET.second(x)


def nested(net: Any) -> None:
    net.run = Helper(Helper(net.second))  # type: ignore[arg-type]


def view(net: Any) -> None:
    net.part, net.run = net.second.weight.detach().view(2, 8), lambda x: x @ net.part.view(4, 4).T


def computed(net: Any) -> None:
    net.part, net.run = net.second.weight * 2, lambda x: x @ net.part.T


@pytest.mark.parametrize(
    "way, what", [(nested, r"second\.weight, second\.bias"), (view, r"second\.weight"), (computed, "computed from parameters")]
)
@pytest.mark.parametrize("metric", [GradientMagnitude(), EmpiricalFisher(), Fisher()], ids=lambda m: type(m).__name__)
def test_what_a_copy_does_not_follow_is_refused_by_name(way, what, metric) -> None:
    bound = geosam.Problem(build(lambda: Net(way)), nn.CrossEntropyLoss()).on(X, Y)
    with pytest.raises(ValueError, match=what):
        metric.at(bound)


def test_a_global_name_inside_a_method_is_refused() -> None:
    global NET
    NET = build(lambda: Net(lambda net: setattr(net, "run", Global())))
    with pytest.raises(ValueError, match=r"second\.weight.*global name"):
        EmpiricalFisher().at(geosam.Problem(NET, nn.CrossEntropyLoss()).on(X, Y))


class Stateful(nn.Module):
    """Keeps all kinds of things from pass to pass."""

    last: Tensor | None
    steps: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls, self.last, self.log = nn.Linear(4, 3), 0, None, [0]
        self.seen: dict[str, Any] = {}
        self.helper, self.total = types.SimpleNamespace(count=0), torch.zeros(())
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.helper.count += 1
        self.log.append(len(self.log))
        self.seen["x"] = self.last = x.mean()
        self.total += 1
        self.steps = self.steps + 1
        x -= 1
        return self.layer(x)


def written(model: nn.Module) -> object:
    held = {k: v for k, v in vars(model).items() if not k.startswith("_")}
    return repr(copy.deepcopy(held)), model.steps.item()


def test_what_a_pass_keeps_or_overwrites_is_as_it_was() -> None:
    model, x = build(Stateful), X.clone()
    before, source = written(model), geosam.Problem(model, nn.CrossEntropyLoss()).on(x, Y)
    for metric in (GradientMagnitude(), EmpiricalFisher(), Fisher(rows_limit=0)):
        metric.at(source).sharp([torch.ones_like(p) for p in model.parameters()])
        assert written(model) == before and torch.equal(x, X)


def test_a_look_renormalises_no_embedding() -> None:
    model = build(lambda: nn.Sequential(nn.Embedding(9, 4, max_norm=1.0), nn.Flatten(), nn.Linear(8, 3))).eval()
    with torch.no_grad():
        model[0].weight.mul_(3)
    words = draw(6, 2).mul(7).abs().long().clamp_max(8)
    source, before = geosam.Problem(model, nn.CrossEntropyLoss()).on(words, Y), model[0].weight.detach().clone()
    for metric in (GradientMagnitude(), EmpiricalFisher(), Fisher(rows_limit=0)):
        metric.at(source)
        assert torch.equal(model[0].weight, before)
    geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.0), EmpiricalFisher()).step(source)
    assert not torch.equal(model[0].weight, before)  # as a training step does


def test_a_copy_keeps_what_it_need_not_copy() -> None:
    calls: list[int] = []
    model = build(lambda: Net(WAYS["closure"]))
    model.first.register_forward_hook(lambda *_: calls.append(1))
    source = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    geosam.observe(source)
    count = len(calls)
    geosam.observe(source)
    assert len(calls) == count + 1  # one pass


def test_a_hook_that_removes_itself_is_there_after_a_look() -> None:
    model, handles = build(lambda: nn.Sequential(nn.Linear(4, 3))), []

    def once(module: nn.Module, args: object, out: Tensor) -> Tensor:
        handles[0].remove()
        return 2 * out

    handles.append(model[0].register_forward_hook(once))
    source = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    loss = geosam.observe(source).loss
    assert len(model[0]._forward_hooks) == 1 and geosam.observe(source).loss == loss


class Clamping(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        self.weight.data = self.weight.data.clamp(-0.1, 0.1)
        return super().forward(x)


def test_a_parameter_that_is_given_other_memory_is_cloned() -> None:
    model = build(lambda: nn.Sequential(Clamping(4, 3)))
    before = model[0].weight.detach().clone()
    EmpiricalFisher().at(geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y))
    assert torch.equal(model[0].weight, before)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_what_cannot_be_looked_at_is_refused_by_name() -> None:
    model = nn.Sequential(nn.Linear(4, 3))
    scripted = torch.jit.trace(model.to(X.device, X.dtype), X, check_trace=False)
    source = geosam.Problem(scripted, nn.CrossEntropyLoss()).on(X, Y)
    geosam.SAM(torch.optim.SGD(scripted.parameters(), lr=0.1)).step(source)
    with pytest.raises(ValueError, match=r"compiled by torch.jit"):
        EmpiricalFisher().at(source)
    with torch.inference_mode(), pytest.raises(RuntimeError, match=r"use torch.no_grad"):
        EmpiricalFisher().at(geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y))
