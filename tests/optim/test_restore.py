"""Whatever happens in a step, the weights afterwards are those before it or those of a finished update, bit for bit."""

import copy
import inspect
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

import geosam
from geosam import SAM
from geosam.metrics import EmpiricalFisher, Euclidean, GradientMagnitude, KLExact
from geosam.optim.move import Copy, Move, Swap
from geosam.optim.safety import Safety
from tests.interrupts import BUFFERS, STEP, interrupt_at, lines_of
from tests.networks import Closure, Unruly, build, clones, draw, labels, mlp, same

X, Y = draw(6, 4), labels(6)
MOVES = [Copy, Swap]
STATISTICS = {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def model_and_opt(move: Callable[[], Move], lr: float = 0.1, **settings: object) -> tuple[nn.Module, SAM]:
    model = build(mlp)
    return model, SAM(torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9), move=move(), **settings)


def failing(error: BaseException) -> Callable[[Unruly, torch.Tensor], None]:
    def act(closure: Unruly, loss: torch.Tensor) -> None:
        raise error

    return act


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("metric", [Euclidean(), GradientMagnitude(), EmpiricalFisher(0.1), KLExact()], ids=repr)
def test_at_lr_zero_nothing_moves_and_inside_everything_does(move, metric):
    model, opt = model_and_opt(move, lr=0.0, metric=metric)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    values, addresses = clones(model), [p.data_ptr() for p in model.parameters()]
    for _ in range(3):
        with opt.perturbed(bound):
            inside = clones(model)
            assert all(not torch.equal(a, b) for a, b in zip(inside, values, strict=True))
            if move is Copy:
                assert [p.data_ptr() for p in model.parameters()] == addresses
        assert same(clones(model), values)
        opt.step(bound)
        assert same(clones(model), values)
        assert [p.data_ptr() for p in model.parameters()] == addresses


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("error", [RuntimeError("out of memory"), KeyboardInterrupt(), SystemExit(), GeneratorExit()], ids=repr)
def test_an_exception_in_either_pass(move, call, error):
    model, opt = model_and_opt(move)
    opt.step(Closure(model, X, Y))
    values, addresses = clones(model), [p.data_ptr() for p in model.parameters()]
    state = [opt.state[p]["momentum_buffer"].clone() for p in model.parameters()]
    with pytest.raises(type(error)):
        opt.step(Unruly(model, X, Y, {call: failing(error)}))
    assert same(clones(model), values) and [p.data_ptr() for p in model.parameters()] == addresses
    assert same([opt.state[p]["momentum_buffer"] for p in model.parameters()], state)
    opt.step(Closure(model, X, Y))
    assert not same(clones(model), values)


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_an_exception_in_the_perturbed_block(move, error):
    model, opt = model_and_opt(move)
    values = clones(model)
    with pytest.raises(error), opt.perturbed(Closure(model, X, Y)):
        raise error
    assert same(clones(model), values)


@pytest.mark.parametrize("move", MOVES)
def test_leaving_the_block_early(move):
    model, opt = model_and_opt(move)
    values = clones(model)

    def leave() -> float:
        with opt.perturbed(Closure(model, X, Y)) as p:
            return p.loss.item()

    for _ in range(2):
        leave()
        with opt.perturbed(Closure(model, X, Y)):
            break
    assert same(clones(model), values)


@pytest.mark.parametrize("move", MOVES)
def test_writing_to_the_weights_inside_the_block_does_not_last(move):
    model, opt = model_and_opt(move)
    values = clones(model)
    with opt.perturbed(Closure(model, X, Y)), torch.no_grad():
        for p in model.parameters():
            p.fill_(7.0)
    assert same(clones(model), values)


@pytest.mark.parametrize("move", MOVES)
def test_two_perturbed_blocks_in_a_row_and_one_inside_another(move):
    model, opt = model_and_opt(move)
    values = clones(model)
    with opt.perturbed(Closure(model, X, Y)) as p:
        first = [e.clone() for e in p.epsilon]
    with opt.perturbed(Closure(model, X, Y)) as p:
        assert same(p.epsilon, first)
    assert same(clones(model), values)
    with opt.perturbed(Closure(model, X, Y)), opt.perturbed(Closure(model, X, Y)):
        pass
    assert same(clones(model), values)


@pytest.mark.parametrize("move", MOVES)
def test_an_interrupt_before_any_line_of_a_step(move):
    """At every line that SAM and the move execute, apart from those of ``perturbed`` itself, which nobody can guard."""
    codes = lines_of(Move.displace, Move.restore, Move.prepare, move._displace, move._put_back, *STEP)
    k, harmed, reached = 0, [], True
    while reached:
        k += 1
        model, opt = model_and_opt(move, lr=0.0)
        values, addresses = clones(model), [p.data_ptr() for p in model.parameters()]
        reached = interrupt_at(k, codes, partial(opt.step, Closure(model, X, Y)))
        if not same(clones(model), values) or [p.data_ptr() for p in model.parameters()] != addresses:
            harmed.append(k)
    assert k > 40 and not harmed


def by_trainer(bound: geosam.problem.Bound) -> Callable[[], torch.Tensor]:
    return partial(lambda bound: bound(), bound)


@pytest.mark.parametrize("route", [lambda bound: [bound], by_trainer], ids=["problem", "trainer"])
def test_an_interrupt_before_any_line_with_running_statistics(route):
    """They are those before the step or after it, and the weights are as they were; the next step starts from there."""
    model = build(lambda: nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)))
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.0))
    source = route(geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y))
    opt.step(source)
    k, harmed, reached = 0, [], True
    while reached:
        k += 1
        before = copy.deepcopy(model.state_dict())
        reached = interrupt_at(k, lines_of(*STEP, *BUFFERS), partial(opt.step, source))
        written = {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}
        counted = int(model[1].num_batches_tracked - before["1.num_batches_tracked"])
        if written not in (set(), STATISTICS) or counted != bool(written):
            harmed.append(k)
    assert k > 300 and not harmed and counted == 1


@pytest.mark.parametrize("move", MOVES)
def test_the_step_after_an_interrupt_starts_from_whole_weights(move):
    codes = lines_of(Move.displace, Move.restore, move._displace, move._put_back, inspect.unwrap(Safety.displaced))
    k, reached = 0, True
    while reached:
        k += 1
        model, opt = model_and_opt(move)
        values, starts = clones(model), []
        reached = interrupt_at(k, codes, partial(opt.step, Closure(model, X, Y)))
        if not reached:
            break

        def first_pass(model: nn.Module = model, starts: list[list[torch.Tensor]] = starts) -> torch.Tensor:
            starts.append(clones(model))
            return Closure(model, X, Y)()

        opt.step(first_pass)
        assert same(starts[0], values)
    assert k > 40


@pytest.mark.parametrize("move", MOVES)
def test_bfloat16_weights_do_not_drift_in_two_hundred_steps(move):
    model = nn.Linear(4, 3).to(torch.bfloat16)
    opt = SAM(torch.optim.SGD(model.parameters(), lr=0.0), rho=0.5, move=move())
    values, x, moved = clones(model), X.bfloat16(), 0
    closure = Closure(model, x, Y)
    for _ in range(200):
        opt.step(closure)
    with opt.perturbed(closure) as p:
        moved = sum(int(e.count_nonzero()) for e in p.epsilon)
    assert moved > 0 and same(clones(model), values)
