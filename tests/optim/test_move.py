"""θ + ε in and out of the parameters, bit for bit, with an interrupt between any two lines."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

import geosam
from geosam.optim.move import Copy, Move, Swap
from tests.interrupts import interrupt_at, lines_of
from tests.networks import Recurrent, Tied, build, clones, draw, mlp, same

MOVES = [Copy, Swap]
LINES = {m: lines_of(Move.displace, m._displace, Move.restore, m._put_back) for m in MOVES}


def solved(parameters: list[Tensor], scale: float = 0.1) -> geosam.Perturbation:
    direction = [draw(*p.shape, seed=9, dtype=p.dtype) for p in parameters]
    one = torch.ones((), dtype=torch.float64)
    return geosam.Perturbation(direction, scale * one, one, one, torch.tensor(True))


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_there_and_back(move, dtype):
    model = build(mlp, dtype=dtype)
    parameters, values, mover = list(model.parameters()), clones(model), move()
    addresses = [p.data_ptr() for p in parameters]
    for _ in range(3):
        pert = solved(parameters)
        mover.displace(parameters, pert)
        epsilon = mover.realised(parameters)
        for p, value, e, wanted in zip(parameters, values, epsilon, pert.epsilon, strict=True):
            assert torch.equal(p - value, e) and not torch.equal(p, value)
            torch.testing.assert_close(e, wanted, atol=2 * torch.finfo(dtype).eps, rtol=torch.finfo(dtype).eps)
        mover.restore()
        assert same(clones(model), values)
        assert [p.data_ptr() for p in parameters] == addresses


def test_both_ways_put_the_same_numbers_in():
    one, other = build(mlp), build(mlp)
    Copy().displace(list(one.parameters()), solved(list(one.parameters())))
    Swap().displace(list(other.parameters()), solved(list(other.parameters())))
    assert same(clones(one), clones(other))


@pytest.mark.parametrize("move", MOVES)
def test_buffers_are_kept_from_step_to_step(move):
    model, mover = build(mlp), move()
    parameters, addresses = list(model.parameters()), []
    for _ in range(3):
        mover.displace(parameters, solved(parameters))
        mover.restore()
        addresses.append([b.data_ptr() for b in mover.buffers])
    assert addresses[0] == addresses[1] == addresses[2]


@pytest.mark.host("a read tells that there is nothing to add")
@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("scale, finite", [(0.0, True), (0.1, False), (float("nan"), False)])
def test_nothing_to_add_moves_nothing(move, scale, finite):
    model, mover = build(mlp), move()
    parameters, values = list(model.parameters()), clones(model)
    pert = solved(parameters, scale)
    versions = [p._version for p in parameters]
    mover.displace(parameters, geosam.Perturbation(pert.direction, pert.scale, pert.scale, pert.scale, torch.tensor(finite)))
    assert same(clones(model), values) and [p._version for p in parameters] == versions
    assert not any(e.any() for e in mover.realised(parameters))
    mover.restore()
    assert same(clones(model), values)


def there_and_back(mover: Move, parameters: list[Tensor]) -> None:
    mover.displace(parameters, solved(parameters))
    mover.restore()


@pytest.mark.parametrize("move", MOVES)
def test_what_an_interrupt_at_any_line_leaves_behind_the_next_restore_repairs(move):
    k = 0
    while True:
        k += 1
        model, mover = build(mlp), move()
        parameters, values = list(model.parameters()), clones(model)
        addresses = [p.data_ptr() for p in parameters]

        reached = interrupt_at(k, LINES[move], partial(there_and_back, mover, parameters))
        mover.restore()
        assert same(clones(model), values) and [p.data_ptr() for p in parameters] == addresses
        if not reached:
            break
    assert k > 20


def test_swap_is_refused_where_somebody_else_holds_the_storage():
    flat = torch.zeros(10)
    views = [nn.Parameter(flat[:4]), nn.Parameter(flat[4:])]
    with pytest.raises(ValueError, match=r"parameter 0 of shape \(4,\).*move=geosam\.Copy\(\)"):
        Swap().displace(views, solved(views))
    whole = nn.Parameter(torch.zeros(3, 2))
    alias = whole.data.view(-1)
    with pytest.raises(ValueError, match="shares its storage"):
        Swap().displace([whole], solved([whole]))
    Copy().displace([whole], solved([whole]))
    assert alias.any()


def test_swap_is_refused_for_a_detached_alias_that_a_user_keeps():
    model = build(mlp)
    alias = model[0].weight.detach()
    with pytest.raises(ValueError, match="shares its storage"):
        Swap().displace(list(model.parameters()), solved(list(model.parameters())))
    del alias
    Swap().displace(list(model.parameters()), solved(list(model.parameters())))


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("make", [Tied, Recurrent])
def test_tied_and_recurrent_weights_move_as_one(move, make):
    model = build(make)
    x = draw(3, 5, 4) if make is Recurrent else draw(3, 4)
    parameters, values, mover = list(model.parameters()), clones(model), move()
    pert = solved(parameters)
    with torch.no_grad():
        before = model(x)
        mover.displace(parameters, pert)
        moved = model(x)
        mover.restore()
        assert torch.equal(model(x), before) and same(clones(model), values)
        for p, e in zip(parameters, pert.epsilon, strict=True):
            p.add_(e)
        torch.testing.assert_close(moved, model(x))
        assert not torch.equal(moved, before)


def test_swap_is_refused_while_a_graph_holds_the_weights():
    model = build(mlp)
    parameters = list(model.parameters())
    loss = model(draw(3, 4)).sum()
    with pytest.raises(ValueError, match="shares its storage"):
        Swap().displace(parameters, solved(parameters))
    loss.backward()
    Swap().displace(parameters, solved(parameters))


@pytest.mark.parametrize("move", MOVES)
def test_strided_parameters_keep_their_layout(move):
    p = nn.Parameter(draw(2, 3, 4, 4).contiguous(memory_format=torch.channels_last))
    kept, mover = p.detach().clone(), move()
    mover.displace([p], solved([p]))
    assert p.is_contiguous(memory_format=torch.channels_last)
    mover.restore()
    assert torch.equal(p, kept) and p.is_contiguous(memory_format=torch.channels_last)


def _twice() -> list[nn.Parameter]:
    p = nn.Parameter(draw(3, 4))
    return [p, nn.Parameter(draw(2)), p]


def _views() -> list[nn.Parameter]:
    whole = draw(16)
    return [nn.Parameter(whole[:12].view(4, 3)), nn.Parameter(draw(2)), nn.Parameter(whole[8:11])]


def _tied_data() -> list[nn.Parameter]:
    whole = draw(3, 4)
    return [nn.Parameter(whole), nn.Parameter(draw(2)), nn.Parameter(whole.view(4, 3))]


@pytest.mark.parametrize("make", [_twice, _views, _tied_data])
def test_entries_of_two_parameters_in_one_place_are_refused(make):
    with pytest.raises(ValueError, match=r"parameters 0 and 2 have entries in one place"):
        Copy().prepare(make())


def test_an_expanded_parameter_is_refused():
    with pytest.raises(ValueError, match="parameter 0 has several entries in one place"):
        Copy().prepare([nn.Parameter(draw(4, 1).expand(4, 3))])


def test_views_that_share_no_entry_move_there_and_back():
    whole = draw(4, 6)
    parameters = [nn.Parameter(whole[:, ::2]), nn.Parameter(whole[:, 1::2]), nn.Parameter(torch.empty(0, 2))]
    kept, mover = whole.clone(), Copy()
    mover.prepare(parameters)
    mover.displace(parameters, solved(parameters))
    assert not torch.equal(whole, kept)
    mover.restore()
    assert torch.equal(whole, kept)
