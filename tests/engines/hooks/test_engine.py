"""The engine that looks into layers: which slice is whose, which form rows take, and what it leaves to Func."""

import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam.engines import Func, Hooks
from geosam.engines.hooks.capture import Capture
from geosam.rows import Materialised
from tests.networks import NETWORKS, build, draw, labels, mlp, network


class Flattened(nn.Module):
    """Time and samples in one dimension, either of them outside; T may equal n."""

    def __init__(self, outside: str, length: int = 6) -> None:
        super().__init__()
        self.outside, self.length = outside, length
        self.inner, self.head = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.repeat_interleave(self.length, 1).view(len(x), self.length, 4) * torch.arange(1, self.length + 1)[:, None]
        t = x.transpose(0, 1) if self.outside == "time" else x
        z = torch.tanh(self.inner(t.reshape(-1, 4))).view(*t.shape[:2], 5)
        return self.head((z.transpose(0, 1) if self.outside == "time" else z).mean(1))


class InPlace(nn.Module):
    """Activations overwritten behind the layer, and before its backward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.scale = nn.Linear(4, 5), nn.Linear(5, 3), nn.Parameter(torch.full((5,), 0.7))

    def forward(self, x: Tensor) -> Tensor:
        z = F.relu(self.first(x).add_(0.1), inplace=True)
        return self.second(z * self.scale)


class TiedHead(nn.Module):
    """An embedding whose weight scores the words too, as in language models."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(torch.tanh(self.words(x).mean(1)), self.words.weight)


class Products(nn.Module):
    """Parameters in matmul, einsum, stacking, a transpose, and a parameter made of another."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = (nn.Parameter(0.3 * torch.randn(4, 4)) for _ in range(4))
        self.head = nn.Parameter(torch.randn(3, 4))

    def forward(self, x: Tensor) -> Tensor:
        z = torch.tanh(x @ self.a) + torch.einsum("ni,io->no", x, self.b) + x @ self.c.t() + x @ (self.d + 1).exp()
        return z @ self.head.T


class Recurrence(nn.Module):
    """One linear layer at every step of time."""

    def __init__(self) -> None:
        super().__init__()
        self.step, self.head = nn.Linear(8, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.zeros_like(x)
        for _ in range(3):
            h = torch.tanh(self.step(torch.cat([x, h], 1)))
        return self.head(h)


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2),
        nn.Conv2d(4, 6, (3, 2), stride=(2, 1), bias=False),
        nn.BatchNorm2d(6).eval(),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.LazyLinear(3),
    )


def signals() -> nn.Module:
    return nn.Sequential(nn.Conv1d(4, 6, 2), nn.ReLU(), nn.InstanceNorm1d(6, affine=True), nn.Flatten(), nn.LazyLinear(3))


def time_first() -> nn.Module:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0)
            self.head = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.layer(x.transpose(0, 1)).mean(0))

    return Model()


class Token(nn.Module):
    """A learnt token written into an empty sequence, and another added to a view of it."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.other, self.head = nn.Parameter(torch.randn(4)), nn.Parameter(torch.randn(4)), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = torch.empty(len(x), 4, 4, dtype=x.dtype)
        z[:, 0] = self.token
        z[:, 1:] = x
        z[:, 3].add_(self.other)
        return self.head(torch.tanh(z).flatten(1))


class Mixture(nn.Module):
    """One parameter written into a view of what was made of another."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor) -> Tensor:
        weight = 2 * self.a
        weight[1].add_(self.b)
        return F.linear(x, weight)


class Functional(nn.Module):
    """Convolutions with as many arguments as they need, and a normalisation over two dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.u, self.v, self.w = (nn.Parameter(0.3 * torch.randn(2, 2, 2, 2)) for _ in range(3))
        self.shift, self.scale, self.head = nn.Parameter(torch.randn(2)), nn.Parameter(torch.randn(4, 4)), nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = F.conv2d(F.conv2d(F.conv2d(x, self.u), self.v, self.shift), self.w, self.shift, 1, (0, 0))
        z = F.conv2d(z, self.w, None, 1, 1)
        return self.head(F.layer_norm(z, (4, 4), weight=self.scale).flatten(1))


CASES = {
    "token": (Token, (3, 4)),
    "mixture": (Mixture, (4,)),
    "functional": (Functional, (2, 6, 6)),
    "two dimensions": (lambda: nn.Sequential(nn.LayerNorm((5, 4), bias=False), nn.Flatten(), nn.Linear(20, 3)), (5, 4)),
    "two dimensions, shifted": (lambda: nn.Sequential(nn.LayerNorm([5, 4]), nn.Flatten(), nn.Linear(20, 3)), (5, 4)),
    "samples outside": (lambda: Flattened("samples"), (4,)),
    "time outside": (lambda: Flattened("time"), (4,)),
    "in place": (InPlace, (4,)),
    "products": (Products, (4,)),
    "recurrence": (Recurrence, (4,)),
    "convolutions": (convolutions, (2, 6, 6)),
    "signals": (signals, (4, 5)),
    "time first": (time_first, (6, 4)),
    "tied head": (TiedHead, None),
}


def case(name: str, n: int = 6) -> geosam.problem.Bound:
    make, shape = CASES[name]
    x = labels(5 * n, 3).view(n, 5) if shape is None else draw(n, *shape)

    def built() -> nn.Module:
        model = make()
        model(x)  # lazy modules take their shapes
        return model

    return geosam.Problem(build(built), nn.CrossEntropyLoss()).on(x, labels(n))


def same_rows(bound: geosam.problem.Bound) -> None:
    found, true = (engine.rows(bound, bound.parameters)[1] for engine in (Hooks(), Func()))
    assert isinstance(true, Materialised)
    flat = torch.cat([j.reshape(bound.n, -1) for j in true.jacobian], 1).double()
    own = torch.stack([torch.cat([t.reshape(-1) for t in found.vjp(e)]) for e in torch.eye(bound.n).double()])
    torch.testing.assert_close(own, flat, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.gram(), flat @ flat.T, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n", [1, 3, 6])
@pytest.mark.parametrize("name", CASES)
def test_rows_are_each_sample_s_own_whatever_the_layout(name, n):
    same_rows(case(name, n))


SEEN = ["samples outside", "time outside", "recurrence", "time first", "convolutions", "functional", "two dimensions"]


@pytest.mark.parametrize("name", SEEN)
def test_such_layouts_are_seen_and_not_left_to_func(name):
    bound = case(name)
    assert {choice.form for choice in Hooks().explain(bound, bound.parameters)} <= {"factors", "rows"}


def test_a_layout_learnt_from_one_batch_serves_another_length_and_another_size():
    model = build(lambda: Flattened("time"))
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    for n in (2, 6, 9):
        same_rows(problem.on(draw(n, 4, seed=n), labels(n)))
    model.length = 3
    same_rows(problem.on(draw(5, 4), labels(5)))


class Deceptive(nn.Module):
    """Its operations change their layout once they have been looked at, with the same names and dimensions."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, 4) if len(x) <= 3 else x.transpose(0, 1).reshape(-1, 4)
        z = torch.tanh(self.inner(flat))
        z = z.view(len(x), -1, 4) if len(x) <= 3 else z.view(-1, len(x), 4).transpose(0, 1)
        return self.head(z.mean(1))


def test_rows_that_are_not_the_samples_own_are_found_out_and_left_to_func():
    bound = geosam.Problem(build(Deceptive), nn.CrossEntropyLoss()).on(draw(6, 5, 4), labels(6))
    same_rows(bound)
    forms = {name: choice.form for choice in Hooks().explain(bound, bound.parameters) for name in choice.names}
    assert forms["inner.weight"] == "Func" and forms["head.weight"] != "Func"


def test_no_weight_gradient_and_no_second_forward_pass():
    model, x, y = network("mlp")
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
    Hooks().rows(bound, bound.parameters)  # learns the layout
    calls = []
    model.register_forward_hook(lambda *_: calls.append("forward"))
    for p in model.parameters():
        p.register_hook(lambda g: calls.append("weight gradient"))
    Hooks().rows(bound, bound.parameters)
    assert calls == ["forward"]


def test_the_plan_follows_the_cost_model_and_says_so():
    model, x, y = network("mlp")
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    text = problem.on(x, y).explain(geosam.metrics.EmpiricalFisher())
    assert "0.weight, 0.bias: factors (T²(d + o) ≤ d·o with T = 1, d = 4, o = 6)" in text
    assert "no engine" in problem.on(x, y).explain(geosam.metrics.Euclidean())
    model, x, y = network("weight norm")
    text = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y).explain(geosam.metrics.EmpiricalFisher(engine=Hooks()))
    assert "Func (not known to act on one sample at a time)" in text and "factors" in text
    named = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y).explain(geosam.metrics.EmpiricalFisher(engine=Func()))
    assert "Func (chosen by name)" in named


@pytest.mark.parametrize("name", NETWORKS)
def test_drawn_rows_are_those_of_the_cotangents_that_were_drawn(name):
    model, x, y = network(name, dtype=torch.float64)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y)
    u = draw(2, 6, 3, dtype=torch.float64)
    captured = [engine.capture(bound, bound.parameters, lambda outputs: u) for engine in (Hooks(), Func())]
    for k in range(2):
        for i in range(6):
            expected = torch.autograd.grad(model(x[i : i + 1]), bound.parameters, u[k, i : i + 1])
            unit = torch.zeros(12, dtype=torch.float64)
            unit[6 * k + i] = 1
            for found in captured:
                torch.testing.assert_close(found.drawn.vjp(unit), list(expected))
    assert all(found.drawn.n == 12 and found.rows.n == 6 for found in captured)


def test_a_recorded_pass_gives_the_model_s_own_outputs():
    for name in NETWORKS:
        model, x, _ = network(name)
        with Capture(list(model.parameters())):
            recorded = model(x)
        assert torch.equal(recorded, model(x))


def test_a_step_through_hooks_is_a_step_through_func():
    for name in ("mlp", "residual, GroupNorm", "transformer"):
        ends = []
        for engine in (Hooks(), Func()):
            model, x, y = network(name, dtype=torch.float64)
            optimizer = geosam.SAM(torch.optim.SGD(model.parameters(), 0.1), geosam.metrics.EmpiricalFisher(1e-3, engine))
            for _ in range(2):
                optimizer.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(x, y))
            ends.append([p.detach().clone() for p in model.parameters()])
        torch.testing.assert_close(*ends)


def test_the_smallest_network_has_factors():
    bound = geosam.Problem(build(mlp), nn.CrossEntropyLoss()).on(draw(1, 4), labels(1))
    same_rows(bound)


def test_with_dropout_all_rows_see_one_mask():
    """A weight norm goes to Func, which draws masks of its own, and then so must everything else."""
    model = build(lambda: nn.Sequential(nn.Linear(4, 6), nn.Dropout(), nn.utils.parametrizations.weight_norm(nn.Linear(6, 3))))
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        rows = Hooks().rows(bound, bound.parameters)[1].vjp(torch.eye(6)[0])
    mask = 2.0 * (rows[0].abs().sum(1) != 0)
    hidden = model[0](bound.x[:1]) * mask
    alone = torch.autograd.grad(
        F.cross_entropy(F.linear(hidden, model[2].weight, model[2].bias), bound.y[:1]), bound.parameters
    )
    assert (mask == 0).any()
    torch.testing.assert_close(rows, list(alone))


def test_a_compiled_model_is_recorded_as_it_is_written():
    model = torch.compile(build(lambda: Flattened("time")), backend="eager")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # dynamo's own, of torch.jit
        same_rows(geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6)))
