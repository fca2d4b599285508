"""Gradients that are None in one pass or in both, and what is in ``.grad`` after a step."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import geosam
from geosam import SAM, Copy, Swap
from geosam.metrics import EmpiricalFisher, Euclidean, GradientMagnitude, KLExact, Monge
from geosam.objectives import Gradient, Smoothed
from tests.networks import Closure, build, clones, draw, labels, mlp, same
from tests.placement import device

X, Y = draw(6, 4), labels(6)
MOVES = [Copy, Swap]


class Two(nn.Module):
    """Two heads of which a pass uses one; a third that nobody uses."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.unused = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(4, 3)


class Alternating:
    """Uses the heads named in ``uses``, one list a pass."""

    def __init__(self, model: Two, uses: list[str]) -> None:
        self.model, self.uses, self.calls = model, uses, 0
        self.seen: list[list[Tensor]] = []

    def __call__(self) -> Tensor:
        self.seen.append(clones(self.model))
        self.model.zero_grad()
        z = sum(getattr(self.model, name)(X) for name in self.uses[self.calls])
        self.calls += 1
        loss = F.cross_entropy(z, Y)
        loss.backward()
        return loss


def moved(before: list[Tensor], after: list[Tensor]) -> list[bool]:
    """For a, b and the unused head: whether its weight differs."""
    return [not torch.equal(before[i], after[i]) for i in (0, 2, 4)]


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("metric", [Euclidean(), GradientMagnitude(), Monge()], ids=repr)
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize(
    "uses, perturbed, updated",
    [("ab a", [True, True, False], [True, False, False]), ("a ab", [True, False, False], [True, True, False])],
    ids=["None in the second pass", "None in the first pass"],
)
def test_a_parameter_without_a_gradient_in_one_pass(uses, perturbed, updated, weight_decay, metric, move):
    model = build(Two)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=weight_decay), metric, move=move())
    values, closure = clones(model), Alternating(model, uses.split())
    opt.step(closure)
    assert moved(values, closure.seen[1]) == perturbed
    assert moved(values, clones(model)) == updated  # weight decay too passes over a None gradient
    grads = [getattr(model, name).weight.grad for name in ("a", "b", "unused")]
    assert [g is not None for g in grads] == updated


@pytest.mark.parametrize("move", MOVES)
def test_the_unused_and_the_frozen_stay_as_they_are(move):
    model = build(Two)
    model.b.requires_grad_(False)
    opt = SAM(torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1), move=move())
    values = clones(model)
    for _ in range(3):
        opt.step(Alternating(model, ["ab", "ab"]))
    assert moved(values, clones(model)) == [True, False, False]
    assert model.unused.weight.grad is None and model.b.weight.grad is None


@pytest.mark.parametrize("metric", [Euclidean(), EmpiricalFisher(0.1), KLExact()], ids=repr)
def test_a_bound_problem_with_an_unused_parameter(metric):
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.spare = mlp(), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    model = build(Spare)
    before = model.spare.weight.detach().clone()
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1), metric)
    opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y))
    assert torch.equal(model.spare.weight, before) and model.spare.weight.grad is None
    assert opt.last.radius.item() == pytest.approx(0.05, rel=0.011)


@pytest.mark.parametrize("source", ["closure", "problem"])
def test_after_a_step_the_gradient_is_the_second_passs(source):
    model, twin = build(mlp), build(mlp)
    opt, other = (SAM(torch.optim.SGD(m.parameters(), lr=0.1)) for m in (model, twin))
    with other.perturbed(Closure(twin, X, Y)):
        second = torch.autograd.grad(F.cross_entropy(twin(X), Y), list(twin.parameters()))
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    opt.step(bound if source == "problem" else Closure(model, X, Y))
    for p, g in zip(model.parameters(), second, strict=True):
        torch.testing.assert_close(p.grad, g)


def test_a_closure_and_a_bound_problem_are_the_same_step():
    one, other = build(mlp), build(mlp)
    first, second = (SAM(torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9)) for m in (one, other))
    for _ in range(5):
        a, b = first.step(Closure(one, X, Y)), second.step(geosam.Problem(other, nn.CrossEntropyLoss()).on(X, Y))
        assert torch.equal(a, b) and same(clones(one), clones(other))


def test_sparse_gradients():
    model = nn.Sequential(nn.Embedding(7, 4, sparse=True), nn.Flatten(), nn.Linear(8, 3))
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.1)
    before = model[0].weight.detach().clone()
    x = torch.tensor([[1, 2]] * 6)
    with opt.perturbed(Closure(model, x, Y)) as p:
        rows = p.epsilon[0].any(1)
        assert rows.nonzero().flatten().tolist() == [1, 2]
    opt.step(Closure(model, x, Y))
    assert (model[0].weight != before).any(1).nonzero().flatten().tolist() == [1, 2]


@pytest.mark.parametrize("metric", [Euclidean(), GradientMagnitude(), Monge()], ids=repr)
@pytest.mark.parametrize("objective", [Gradient(), Smoothed(0.7)], ids=repr)
def test_gradients_that_are_zeroed_in_place(metric, objective):
    """The second pass then writes where the first one's gradient lies."""
    models = [build(mlp), build(mlp)]
    for model, to_none in zip(models, (True, False), strict=True):
        opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), metric, objective=objective)

        def closure(model: nn.Module = model, to_none: bool = to_none) -> Tensor:
            model.zero_grad(set_to_none=to_none)
            loss = F.cross_entropy(model(X), Y)
            loss.backward()
            return loss

        for _ in range(4):
            opt.step(closure)
    assert same(*map(clones, models))


def test_gradients_accumulated_inside_the_closure():
    """Micro-batches: the closure zeroes once and adds up; the step is that of the whole batch."""
    model, twin = build(mlp, dtype=torch.float64), build(mlp, dtype=torch.float64)
    x = X.double()

    def closure() -> Tensor:
        model.zero_grad()
        total = torch.zeros((), dtype=torch.float64)
        for half in (slice(0, 3), slice(3, 6)):
            loss = F.cross_entropy(model(x[half]), Y[half]) / 2
            loss.backward()
            total += loss.detach()
        return total

    SAM(torch.optim.SGD(model.parameters(), lr=0.1)).step(closure)
    SAM(torch.optim.SGD(twin.parameters(), lr=0.1)).step(Closure(twin, x, Y))
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


def test_autocast_around_the_step_sees_the_displaced_weights():
    """autocast keeps low-precision copies of weights, which would hide ε from the second pass."""
    ends = []
    for rho in (0.0, 1.0):
        model = build(mlp)
        opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=rho)
        with torch.autocast(device().type, dtype=torch.bfloat16):
            opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(draw(6, 4), labels(6)))
        ends.append(clones(model))
    assert not same(*ends)


@pytest.mark.parametrize("move", MOVES)
def test_an_embedding_that_renormalises_its_weights(move):
    """Forward passes shorten rows in place: at θ as in a plain step, at θ + ε for the second pass alone."""
    words, index = nn.Embedding(7, 4, max_norm=1.0), torch.tensor([[1, 2]] * 6)
    model = build(lambda: nn.Sequential(words, nn.Flatten(), nn.Linear(8, 3)), dtype=torch.float64)
    with torch.no_grad():
        words.weight.mul_(2)
    theta = words.weight.detach().clone()
    theta[1:3] = torch.renorm(theta[1:3], 2, 0, 1.0)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.3, move=move())
    opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(index, Y))
    torch.testing.assert_close(words.weight.detach(), theta - 0.1 * words.weight.grad, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("inside", [False, True])
def test_a_graph_of_other_parameters_is_not_differentiated(move, inside):
    """Made before ``perturb`` and differentiated at θ + ε, or made in a block and differentiated at θ."""
    model = build(mlp)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.3, move=move())
    opt.step(Closure(model, X, Y))
    loss = F.cross_entropy(model(X), Y)
    if inside:
        with opt.perturbed(Closure(model, X, Y)):
            loss = F.cross_entropy(model(X), Y)
    else:
        opt.perturb(Closure(model, X, Y))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("frozen", [0, None])
def test_parameters_are_not_to_be_unfrozen_inside_the_closure(frozen):
    model = build(mlp)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.1))
    (model if frozen is None else model[frozen]).requires_grad_(False)

    def closure() -> Tensor:
        model.requires_grad_(True)
        return Closure(model, X, Y)()

    before = clones(model)
    with pytest.raises((ValueError, RuntimeError), match=r"frozen as the step (begins|began).*before opt\.step"):
        opt.step(closure)
    assert same(clones(model), before)
    model.requires_grad_(True)
    opt.step(closure)


def test_a_loss_that_was_made_before_the_closure_is_refused():
    model = build(lambda: nn.Linear(4, 3))  # of whose weights a backward pass reads none
    opt, loss = SAM(torch.optim.SGD(model.parameters(), lr=0.1)), F.cross_entropy(model(X), Y)
    kept = torch.zeros(())

    def closure(made: Tensor | None) -> Tensor:
        opt.zero_grad()
        kept.detach_().copy_(F.cross_entropy(model(X), Y) if made is None else made)
        (kept if made is None else made).backward(retain_graph=True)
        return kept if made is None else made

    before = clones(model)
    with pytest.raises(RuntimeError, match=r"same loss in both passes.*Run the model inside the closure"):
        opt.step(lambda: closure(loss))
    assert same(clones(model), before)
    opt.step(lambda: closure(None))


def test_a_base_optimizer_that_differentiates_gradients_is_told_why_it_cannot():
    class Curved(torch.optim.SGD):
        def step(self, closure=None):
            for p in self.param_groups[0]["params"]:
                with torch.enable_grad():
                    torch.autograd.grad(p.grad.sum(), p)

    model = build(mlp)
    opt = SAM(Curved(model.parameters(), lr=0.1))

    def closure() -> Tensor:
        opt.zero_grad()
        loss = F.cross_entropy(model(X), Y)
        for p, g in zip(
            model.parameters(), torch.autograd.grad(loss, list(model.parameters()), create_graph=True), strict=True
        ):
            p.grad = g
        return loss

    with pytest.raises(RuntimeError, match=r"Curved differentiates the gradient.*read gradients alone"):
        opt.step(closure)
