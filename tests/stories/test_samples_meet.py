"""Rows that are not the samples' own are found out: under dropout, after one sample, for other parameters, where data route."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam.core import limits
from geosam.engines import Auto, Func, Hooks
from geosam.metrics import DiagonalEmpiricalFisher, DiagonalFisher, EmpiricalFisher, KLExact
from tests.fishers import rows_of
from tests.networks import Transformer, build, draw, labels, mlp
from tests.placement import device


class Mixing(nn.Module):
    """Samples meet in a mean, and no BatchNorm says so."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.first, self.dropout, self.last = nn.Linear(4, 6), nn.Dropout(p), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.last(self.dropout(torch.tanh(h - h.mean(0))))


class TimeFirst(nn.Module):
    """``batch_first`` forgotten: samples attend to each other. The dropout of attention is drawn inside a function."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.head = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.3), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).mean(1))


class Noisy(nn.Module):
    """Draws of its own, and layers that draw inside; samples do not meet."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 5, num_layers=2, dropout=0.4, batch_first=True)
        self.attention = nn.MultiheadAttention(5, 1, dropout=0.2, batch_first=True)
        self.relu, self.head = nn.RReLU(), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = self.rnn(x)[0]
        h = self.relu(h + self.attention(h, h, h)[0]) * (1 + 0.1 * torch.randn_like(h))
        return self.head(F.alpha_dropout(h, 0.2, self.training).mean(1))


ENGINES = pytest.mark.parametrize("engine", [Auto(), Func()], ids=repr)


def own_rows(bound: geosam.problem.Bound, engine: object = None) -> None:
    """Every row of collected seen is autograd's of that sample alone."""
    seen = geosam.observe(bound, EmpiricalFisher(engine=engine or Auto()).needs)
    for i, unit in enumerate(torch.eye(bound.n, dtype=torch.float64)):
        loss = bound.loss(bound.model(bound.x[i : i + 1]), bound.y[i : i + 1])
        true = torch.autograd.grad(loss, bound.parameters, allow_unused=True, materialize_grads=True)
        torch.testing.assert_close(rows_of(seen).vjp(unit), [t.double() for t in true], rtol=1e-8, atol=1e-10)


def bind(model: nn.Module, *shape: int, problem: geosam.Problem | None = None) -> geosam.problem.Bound:
    x = draw(*shape, dtype=torch.float64)
    return (problem or geosam.Problem(model, nn.CrossEntropyLoss())).on(x, labels(shape[0]))


@pytest.mark.parametrize("make", [lambda: Mixing(0.5), TimeFirst], ids=["mean", "attention"])
@pytest.mark.parametrize("metric", [EmpiricalFisher, DiagonalEmpiricalFisher])
@ENGINES
def test_dropout_does_not_hide_that_samples_meet(make, metric, engine):
    bound = bind(build(make, dtype=torch.float64), 6, 4) if make is not TimeFirst else bind(build(make).double(), 6, 5, 4)
    with pytest.raises(ValueError, match="lets samples meet"):
        metric(engine=engine).at(bound)


@ENGINES
def test_a_batch_of_one_proves_nothing_about_several(engine):
    model = build(lambda: Mixing(0.0), dtype=torch.float64)
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    EmpiricalFisher(engine=engine).at(bind(model, 1, 4, problem=problem))
    with pytest.raises(ValueError, match="lets samples meet"):
        EmpiricalFisher(engine=engine).at(bind(model, 6, 4, problem=problem))


def test_a_batch_that_overflows_proves_nothing_about_the_next():
    model = build(lambda: Mixing(0.0), dtype=torch.float64)
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    geosam.observe(problem.on(draw(6, 4, dtype=torch.float64) * torch.inf, labels(6)), EmpiricalFisher().needs)
    with pytest.raises(ValueError, match="lets samples meet"):
        EmpiricalFisher().at(bind(model, 6, 4, problem=problem))


@ENGINES
def test_models_that_draw_numbers_pass(engine):
    model = build(Noisy, dtype=torch.float64)
    seen = geosam.observe(bind(model, 6, 5, 4), EmpiricalFisher(engine=engine).needs)
    assert rows_of(seen).n == 6


def facts(problem):
    """Of its structure; what belongs to the problem itself, such as its streams of random numbers, has a word for a key."""
    return sum(isinstance(key, tuple) for key in problem._memory)


def test_modes_of_single_modules_are_told_apart():
    model = build(Transformer, dtype=torch.float64)
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    own_rows(bind(model, 6, 5, 4, problem=problem))
    before = facts(problem)
    model.layer.eval()
    own_rows(bind(model, 6, 5, 4, problem=problem))
    assert facts(problem) == 2 * before


class Experts(nn.Module):
    """Each sample goes to one of two experts by the sign of its first number."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.a, self.b, self.head = how, nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        to = x[:, 0, 0] > 0
        if self.how == "mask":
            out = torch.zeros(*x.shape[:2], 6, dtype=x.dtype)
            out[to], out[~to] = self.a(x[to]), self.b(x[~to])
        else:  # sorted by their expert, which the sizes do not show
            order = to.long().argsort(stable=True)
            out = torch.empty(*x.shape[:2], 6, dtype=x.dtype).index_copy(0, order, torch.tanh(self.a(x.index_select(0, order))))
        return self.head(torch.tanh(out).mean(1))


@pytest.mark.parametrize("n, length", [(4, 2), (6, 3)])
@pytest.mark.parametrize("how", ["mask", "sorted"])
def test_a_layout_is_not_used_for_a_batch_that_data_route_elsewhere(how, n, length):
    model = build(lambda: Experts(how), dtype=torch.float64)
    x = draw(n, length, 4, dtype=torch.float64)
    x[:, 0, 0] = x[:, 0, 0].abs()
    other = x.clone()
    other[::2, 0, 0] *= -1
    for first in (x, other):
        problem = geosam.Problem(model, nn.CrossEntropyLoss())
        for batch in (first, other, x.flip(0), other.roll(1, 0)):
            own_rows(problem.on(batch, labels(n)))
            own_rows(problem.on(batch[:1], labels(1)))


class TwoOrders(nn.Module):
    """Two layers alike in all that one sees of them, but for what lies outside in their first dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = torch.tanh(self.a(x.reshape(-1, 4))).view(x.shape).transpose(0, 1)
        return self.head(torch.tanh(self.b(z.reshape(-1, 4))).view(z.shape).mean(0))


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_a_layout_belongs_to_the_parameters_that_it_was_learnt_for(order):
    model = build(TwoOrders, dtype=torch.float64)
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    for name in order:
        own_rows(bind(model, 6, 3, 4, problem=problem).wrt(list(getattr(model, name).parameters())))


class Rounded(nn.Module):
    """Its outputs do not show that autocast has rounded what they are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.gain = nn.Linear(4, 16), nn.LayerNorm(16), nn.Parameter(torch.randn(16, 16))
        self.convolution, self.last = nn.Conv1d(1, 2, 3), nn.Linear(28, 3)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.norm(self.first(x)) @ self.gain)
        return self.last(self.convolution(h.unsqueeze(1)).flatten(1)).float()


@pytest.mark.parametrize("metric", [EmpiricalFisher(), DiagonalEmpiricalFisher(), DiagonalFisher(), KLExact()], ids=repr)
def test_autocast_is_not_taken_for_samples_that_meet(metric):
    for make, refused in ((Rounded, False), (lambda: Mixing(0.0), True)):
        model = build(make)
        optimizer = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric, 0.1)
        bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
        with torch.autocast(device().type, torch.bfloat16):
            if refused:
                with pytest.raises(ValueError, match="lets samples meet"):
                    optimizer.step(bound)
            else:
                optimizer.step(bound)
                assert optimizer.last.finite


def test_rows_under_autocast_have_the_precision_of_the_parameters():
    model = build(Rounded)
    parameters = [model.norm.weight, model.norm.bias, model.gain, *model.convolution.parameters()]
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6)).wrt(parameters)
    true = Hooks().rows(bound, parameters)[1]
    with torch.autocast(device().type, torch.bfloat16):
        rows = Hooks().rows(bound, parameters)[1]
        assert {choice.form for choice in Hooks().explain(bound, parameters)} == {"rows"}
        summed = rows.vjp(torch.ones(6))
        single = [rows.vjp(unit) for unit in torch.eye(6, dtype=torch.float64)]
    assert all(t.dtype == torch.float32 for t in summed)
    for total, *parts, exact in zip(summed, *single, true.vjp(torch.ones(6)), strict=True):
        torch.testing.assert_close(total.double(), torch.stack(parts).sum(0).double(), rtol=1e-5, atol=1e-6)
        assert (total - exact).norm() < 0.05 * exact.norm()


def test_samples_are_checked_too_where_squares_are_all_that_is_asked_for_chunk_by_chunk(monkeypatch):
    """The request by itself, in pieces: no batch gradient of rows stands beside it."""
    monkeypatch.setattr(limits, "CHUNK", 1)
    bound = geosam.Problem(build(lambda: Mixing(0.0)), nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
    with pytest.raises(ValueError, match="samples meet"):
        DiagonalFisher().at(bound)


class Hidden(torch.autograd.Function):
    """z ∘ s."""

    @staticmethod
    def forward(ctx, z, s):
        ctx.save_for_backward(z, s)
        return z * s

    @staticmethod
    def backward(ctx, g):
        z, s = ctx.saved_tensors
        return g * s, (g * z).sum(0)


class Unseen(nn.Module):
    """A scale that is used where nobody sees it, behind a head that is zero at first."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.scale, self.head = nn.Linear(4, 6), nn.Parameter(torch.ones(6)), nn.Linear(6, 3)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(Hidden.apply(torch.tanh(self.inner(x)), self.scale))


def test_a_use_that_nobody_saw_is_not_taken_for_none_because_its_gradient_is_zero_at_first():
    model = build(Unseen)
    nn.init.zeros_(model.head.weight)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
    forms = {name: choice.form for choice in Hooks().explain(bound, bound.parameters) for name in choice.names}
    assert forms["scale"] == "Func"


class Dispatched(nn.Module):
    """A switch by one-hot products: all to one expert while the gate is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts, self.head = nn.Linear(4, 2), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        chosen = F.one_hot(self.gate(x).argmax(1), 2)
        slot = (chosen.cumsum(0) - 1) * chosen
        places = F.one_hot(slot.sum(1), len(x)).to(x.dtype)
        sent = torch.einsum("ne,nc,nd->ecd", chosen.to(x.dtype), places, x)
        return self.head(torch.einsum("ne,nc,ecd->nd", chosen.to(x.dtype), places, torch.tanh(self.experts(sent))))


def test_samples_that_products_route_are_followed():
    model = build(Dispatched, dtype=torch.float64)
    moved = model.gate.weight.detach().clone()
    nn.init.zeros_(model.gate.weight)
    nn.init.zeros_(model.gate.bias)
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    x, y = draw(6, 4, dtype=torch.float64), labels(6)
    Hooks().rows(problem.on(x, y), list(model.parameters()))
    with torch.no_grad():
        model.gate.weight.copy_(moved)
    assert len(model.gate(x).argmax(1).unique()) == 2
    bound = problem.on(x, y)
    rows = Hooks().capture(bound, bound.parameters).rows
    for i, unit in enumerate(torch.eye(6, dtype=torch.float64)):
        loss = F.cross_entropy(model(x), y, reduction="none")[i]
        true = torch.autograd.grad(loss, bound.parameters, allow_unused=True, materialize_grads=True)
        torch.testing.assert_close(rows.vjp(unit), list(true))


@pytest.mark.parametrize("engine", [Hooks(), Func(), Auto()], ids=repr)
def test_an_embedding_that_counts_words_over_the_batch_is_refused(engine):
    model = nn.Sequential(nn.Embedding(5, 4, scale_grad_by_freq=True), nn.Flatten(), nn.Linear(8, 3))
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(labels(12, 5).view(6, 2), labels(6))
    with pytest.raises(ValueError, match="scale_grad_by_freq"):
        engine.rows(bound, bound.parameters)


@pytest.mark.parametrize("zero_head", [False, True])
@pytest.mark.parametrize("metric", [EmpiricalFisher(), DiagonalEmpiricalFisher()], ids=repr)
def test_samples_that_meet_are_refused(metric, zero_head):
    model = build(lambda: Mixing(0.0))
    if zero_head:  # every loss is log 3 then, of the batch and of a sample alone
        nn.init.zeros_(model.last.weight)
        nn.init.zeros_(model.last.bias)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6))
    with pytest.raises(ValueError, match="lets samples meet"):
        metric.at(bound)


def test_a_loss_that_fools_the_check_on_its_value_is_refused_by_its_gradient():
    model, weight = build(mlp), torch.tensor([1.0, 5.0, 0.2])
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[-1].bias)
    bound = geosam.Problem(model, lambda z, t: F.cross_entropy(z, t, weight=weight)).on(draw(6, 4), labels(6))
    with pytest.raises(ValueError, match="lets samples meet"):
        EmpiricalFisher().at(bound)
