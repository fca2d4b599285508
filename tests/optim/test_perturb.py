"""``perturb``: pass 1 in a line, and a second pass, a scaler and a base step that are somebody else's."""

import copy
import functools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import geosam
from geosam import metrics, objectives, updates
from tests.networks import build, clones, draw, labels, mlp

X, Y = draw(8, 4, dtype=torch.float64), labels(8)
METRICS = [
    metrics.Euclidean(),
    metrics.ParameterScaled(),
    metrics.EmpiricalFisher(),
    metrics.DiagonalEmpiricalFisher(),
    metrics.Fisher(),
    metrics.KroneckerFisher(),
    metrics.KLExact(),
    metrics.Averaged(metrics.DiagonalEmpiricalFisher(), 0.9),
]


def pair(metric=None, update=None, objective=None, base=torch.optim.SGD, **options):
    model = build(mlp, dtype=torch.float64)
    options = options or {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}
    opt = geosam.SAM(base(model.parameters(), **options), metric, 0.1, objective, update=update)
    return model, opt, geosam.Problem(model, nn.CrossEntropyLoss())


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def backward(model, x=X, y=Y, factor=1.0):
    (factor * F.cross_entropy(model(x), y)).backward()


@pytest.mark.parametrize("until", ["step", "backward"])
@pytest.mark.parametrize("metric", METRICS, ids=lambda m: type(m).__name__)
def test_three_steps_equal_three_of_step(metric, until):
    (one, by_step, problem), (two, by_line, held) = pair(metric), pair(metric)
    for _ in range(3):
        by_step.step(problem.on(X, Y))
        by_line.zero_grad()
        last = by_line.perturb(held.on(X, Y), until=until)
        backward(two)
        by_line.base.step()
        assert last.radius == by_step.last.radius
    torch.testing.assert_close(weights(one), weights(two), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("named", [True, False])
def test_a_closure_of_the_base_optimizer_is_the_second_pass(named):
    """As Lightning gives one: at θ + ε, with the update and the guard after it."""
    (one, by_step, problem), (two, opt, held) = pair(update=updates.SurrogateGap(0.3)), pair(update=updates.SurrogateGap(0.3))

    def closure():
        opt.zero_grad()
        loss = F.cross_entropy(two(X), Y)
        loss.backward()
        return loss

    for _ in range(2):
        by_step.step(problem.on(X, Y))
        opt.perturb(held.on(X, Y))
        loss = opt.base.step(closure=closure) if named else opt.base.step(closure)
        assert loss > opt.last.loss
    torch.testing.assert_close(weights(one), weights(two), rtol=1e-12, atol=1e-15)
    theta = weights(two)
    opt.perturb(held.on(X, Y))
    with pytest.raises(ZeroDivisionError):
        opt.base.step(lambda: 1 / 0)
    assert same(theta, weights(two))


def test_a_closure_that_has_nothing_left_to_compute_ends_the_step():
    """As Lightning's wrapper gives one in manual optimisation."""
    (one, by_step, problem), (two, opt, held) = pair(), pair()
    by_step.step(problem.on(X, Y))
    opt.perturb(held.on(X, Y))
    backward(two)
    opt.step(functools.partial(lambda closure: closure(), lambda: None))
    torch.testing.assert_close(weights(one), weights(two), rtol=1e-12, atol=1e-15)
    theta = weights(two)
    opt.perturb(held.on(X, Y))
    opt.zero_grad()
    with pytest.warns(UserWarning, match="batch was skipped"):
        opt.step(lambda: None)  # no second pass was made
    assert same(theta, weights(two))


def test_a_problem_inside_a_trainers_closure():
    """Pass 1 reads it; pass 2 calls the closure, and what the trainer adds is done once."""
    (one, by_step, problem), (two, opt, held) = pair(metrics.EmpiricalFisher()), pair(metrics.EmpiricalFisher())
    added = []

    def trainers(model, closure):
        loss = closure()
        added.append(loss)
        return loss

    by_step.step(problem.on(X, Y))
    opt.step(functools.partial(trainers, two, closure=held.on(X, Y)))
    torch.testing.assert_close(weights(one), weights(two), rtol=1e-12, atol=1e-15)
    assert len(added) == 1
    with pytest.raises(TypeError, match=r"a scaler goes with"):
        opt.step(functools.partial(trainers, two, held.on(X, Y)), scaler=torch.amp.GradScaler("cpu"))


@pytest.mark.parametrize("parts", [dict(update=updates.SurrogateGap(0.3)), dict(objective=objectives.Smoothed(0.9))])
def test_updates_and_memory_are_as_in_step(parts):
    (one, by_step, problem), (two, by_line, held) = pair(**parts), pair(**parts)
    for _ in range(3):
        by_step.step(problem.on(X, Y))
        by_line.zero_grad()
        by_line.perturb(held.on(X, Y))
        backward(two)
        by_line.step()
    torch.testing.assert_close(weights(one), weights(two), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("update", [updates.Sharp(), updates.SurrogateGap(0.3)], ids=lambda u: type(u).__name__)
def test_before_each_micro_batch_it_is_m_sharpness(update):
    model, opt, problem = pair(update=update)
    theta, sharp, plain = weights(model), [], []
    for part in (slice(0, 4), slice(4, 8)):
        other = build(mlp, dtype=torch.float64)
        backward(other, X[part], Y[part])
        plain.append(torch.cat([p.grad.flatten() for p in other.parameters()]))
        with torch.no_grad():
            for p in other.parameters():
                p.add_(0.1 * p.grad / plain[-1].norm())
        other.zero_grad()
        backward(other, X[part], Y[part])
        sharp.append(torch.cat([p.grad.flatten() for p in other.parameters()]))
    s, g = (sharp[0] + sharp[1]) / 2, (plain[0] + plain[1]) / 2
    if isinstance(update, updates.SurrogateGap):
        s = s - 0.3 * (g - s * (g @ s) / (s @ s))
    for part in (slice(0, 4), slice(4, 8)):
        opt.perturb(problem.on(X[part], Y[part]))
        backward(model, X[part], Y[part], 0.5)
    opt.base.step()
    flat = torch.cat([t.flatten() for t in theta])
    torch.testing.assert_close(torch.cat([p.flatten() for p in weights(model)]), flat - 0.1 * (s + 0.01 * flat))


@pytest.mark.parametrize("end", ["restore", "state_dict", "eval", "perturb", "step", "backward"])
def test_theta_is_back_bit_for_bit(end):
    model, opt, problem = pair()
    theta = weights(model)
    opt.perturb(problem.on(X, Y), until="backward" if end == "backward" else "step")
    assert not same(theta, weights(model))
    if end == "backward":
        backward(model)
    elif end in ("perturb", "step"):
        with pytest.raises(ZeroDivisionError):
            getattr(opt, end)(lambda: 1 / 0)
    else:
        getattr(opt, end)()
    assert same(theta, weights(model))


def test_gradients_that_are_not_finite_leave_weights_and_momentum_alone():
    model, opt, problem = pair()
    opt.step(problem.on(X, Y))
    theta, momentum = weights(model), [opt.state[p]["momentum_buffer"].clone() for p in model.parameters()]
    opt.perturb(problem.on(X, Y))
    backward(model, factor=math.inf)
    opt.base.step()
    assert same(theta, weights(model)) and opt.last.skipped
    assert same(momentum, [opt.state[p]["momentum_buffer"] for p in model.parameters()])


def test_a_step_that_a_scaler_skips_is_forgotten():
    (one, by_step, problem), (two, opt, held) = pair(update=updates.SurrogateGap(0.3)), pair(update=updates.SurrogateGap(0.3))
    opt.perturb(held.on(X[:4], Y[:4]))
    backward(two, factor=math.inf)
    opt.zero_grad()  # and no base.step()
    opt.perturb(held.on(X, Y))
    backward(two)
    opt.base.step()
    by_step.step(problem.on(X, Y))
    torch.testing.assert_close(weights(one), weights(two), rtol=1e-12, atol=1e-15)


def test_a_scaler_drives_the_base_optimizer():
    (one, by_step, problem), (two, opt, held) = pair(), pair()
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    by_step.step(problem.on(X, Y))
    opt.perturb(held.on(X, Y))
    scaler.scale(F.cross_entropy(two(X), Y)).backward()
    scaler.step(opt.base)
    torch.testing.assert_close(weights(one), weights(two), rtol=1e-12, atol=1e-15)
    opt.perturb(held.on(X, Y))
    with pytest.raises(TypeError, match=r"scaler.step\(opt.base\)"):
        scaler.step(opt)


def test_what_the_gradients_hold_already_is_kept_also_where_a_closure_zeroes_in_place():
    model, opt, _ = pair()
    backward(model)
    before = [p.grad.clone() for p in model.parameters()]

    def closure():
        opt.zero_grad(set_to_none=False)
        loss = F.cross_entropy(model(X), Y)
        loss.backward()
        return loss

    opt.perturb(closure)
    assert same(before, [p.grad for p in model.parameters()])


def test_a_second_backward_pass_after_one_is_refused():
    model, opt, problem = pair()
    opt.perturb(problem.on(X, Y), until="backward")
    backward(model)
    with pytest.raises(RuntimeError, match="second backward pass"):
        backward(model)
    opt.perturb(problem.on(X, Y), until="backward")
    backward(model)  # each has its own


class Reentrant(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(4, 5), nn.Linear(5, 5), nn.Linear(5, 3)

    def forward(self, x):
        h = checkpoint(lambda h: self.middle(h).tanh(), self.first(x), use_reentrant=True)
        return checkpoint(self.last, h, use_reentrant=True)


def test_reentrant_checkpoints_are_refused_with_backward_and_right_with_step():
    model = build(Reentrant, dtype=torch.float64)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), 0.1))
    closure_model = copy.deepcopy(model)
    problem = geosam.Problem(model, nn.CrossEntropyLoss())
    opt.perturb(problem.on(X, Y), until="backward")
    with pytest.raises(RuntimeError, match="use_reentrant=False"):
        backward(model)
    opt.restore()
    opt.zero_grad()
    opt.perturb(problem.on(X, Y))
    backward(model)
    opt.base.step()
    other = geosam.SAM(torch.optim.SGD(closure_model.parameters(), 0.1))
    other.step(geosam.Problem(closure_model, nn.CrossEntropyLoss()).on(X, Y))
    torch.testing.assert_close(weights(model), weights(closure_model), rtol=1e-12, atol=1e-15)


def test_copies_hold_nothing_and_can_go_back():
    model, opt, problem = pair()
    theta = weights(model)
    opt.perturb(problem.on(X, Y))
    other, twin = copy.deepcopy((model, opt))
    twin.restore()
    assert same(theta, weights(other)) and not same(theta, weights(model))
    with pytest.raises(TypeError, match="needs a closure"):
        twin.step()


def test_a_radius_of_zero_takes_no_pass():
    model, opt, _ = pair()
    opt.rho = 0.0
    theta = weights(model)
    last = opt.perturb(lambda: pytest.fail("no pass is needed"))
    assert same(theta, weights(model)) and last.radius == 0
    backward(model)
    opt.base.step()
    assert not same(theta, weights(model))


def test_errors():
    model, opt, problem = pair()
    with pytest.raises(ValueError, match="until is one of step, backward"):
        opt.perturb(problem.on(X, Y), until="epoch")
    with pytest.raises(TypeError, match="needs a closure"):
        opt.step()
    lines = geosam.SAM(torch.optim.LBFGS(model.parameters()))
    with pytest.raises(TypeError, match=r"LBFGS calls a closure.*opt.step\(closure\)"):
        lines.perturb(problem.on(X, Y))
    theta = weights(model)
    _, gap, own = pair(update=updates.SurrogateGap())
    with pytest.raises(ValueError, match="until='step'"):
        gap.perturb(own.on(X, Y), until="backward")
    assert same(theta, weights(own.model))


def test_a_schedule_of_torch_on_the_optimizer_sees_the_step():
    model, opt, problem = pair()
    rates = torch.optim.lr_scheduler.StepLR(opt, 1, 0.5)
    opt.perturb(problem.on(X, Y))
    backward(model)
    opt.base.step()
    rates.step()  # warns where no step came before it
    assert opt.param_groups[0]["lr"] == 0.05


@pytest.mark.parametrize("move", [geosam.Copy, geosam.Swap])
def test_weights_that_are_loaded_while_a_pass_waits_are_not_lost_in_silence(move):
    model, good = build(mlp), build(mlp, 1).state_dict()
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.1, move=move())
    problem, theta = geosam.Problem(model, nn.CrossEntropyLoss()), clones(model)
    opt.perturb(problem.on(X.float(), Y))
    model.load_state_dict(good)
    with pytest.raises(RuntimeError, match=r"written to since.*opt\.restore\(\) first"):
        opt.perturb(problem.on(X.float(), Y))
    assert same(clones(model), theta)
    opt.perturb(problem.on(X.float(), Y))
    opt.restore()
    model.load_state_dict(good)
    opt.perturb(problem.on(X.float(), Y))
    opt.restore()
    assert same(clones(model), list(good.values()))


@pytest.mark.parametrize("route", ["step", "perturb"])
def test_an_optimizer_that_steps_inside_the_backward_pass_is_found_out(route):
    model = build(mlp)
    opt = geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.1), rho=0.1)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X.float(), Y)
    small = {p: torch.optim.SGD([p], lr=0.1) for p in model.parameters()}

    def step(p: torch.Tensor) -> None:
        small[p].step()
        small[p].zero_grad()

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(step)
    with pytest.raises(RuntimeError, match="steps inside the backward pass"):
        if route == "step":
            opt.step(bound)
        opt.perturb(bound)
        bound()
        opt.base.step()
