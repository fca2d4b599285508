"""The natural gradient: what it costs, whose norm it uses, and where it is refused."""

import copy
from functools import partial
from unittest import mock

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import metrics, norms, passes, updates
from geosam.metrics import Averaged, DiagonalEmpiricalFisher, EmpiricalFisher, Euclidean, Fisher, GradientMagnitude
from tests.laws import oracles
from tests.networks import Closure, batch_norm_net, build, draw, labels, mlp
from tests.optim.test_cost import Counting
from tests.placement import reads_switched_off

X, Y = draw(8, 4, dtype=torch.float64), labels(8)


def flat(tensors):
    return torch.cat([t.detach().reshape(-1) for t in tensors])


def training(metric=None, update=None, make=mlp, rho=0.1, base=torch.optim.SGD, **settings):
    model = build(make, dtype=torch.float64)
    opt = geosam.SAM(base(model.parameters(), lr=0.1), metric, rho, update=update or updates.Natural(), **settings)
    return model, opt, geosam.Problem(model, nn.CrossEntropyLoss())


@pytest.mark.parametrize("rho, each", [(0.1, 2), (0.0, 1)])
@pytest.mark.parametrize("ball", [GradientMagnitude(), DiagonalEmpiricalFisher(), EmpiricalFisher(), Fisher()], ids=repr)
def test_it_takes_no_pass_more_than_the_step_without_it(ball, rho, each):
    model, opt, problem = training(ball, make=Counting, rho=rho)
    bound = problem.on(X, Y)
    counts = []
    for _ in range(13):
        before = model.passes.copy()
        opt.step(bound)
        counts.append((model.passes - before)["forward"])
    assert counts[-1] == each  # structure and rows are checked in the first steps


def test_a_trainers_closure_is_called_in_a_step_without_epsilon():
    """What it adds to a pass, here clipping, is in the update; the norm is the problem's at θ."""
    _, opt, problem = training(EmpiricalFisher(0.1), rho=0.0)
    bound, lengths = problem.on(X, Y), []

    def trainers(model, closure):
        loss = closure()
        lengths.append(nn.utils.clip_grad_norm_(model.parameters(), 1e-3).item())
        return loss

    _, alone, other = training(EmpiricalFisher(0.1), rho=0.0)
    alone.step(other.on(X, Y))
    loss = opt.step(partial(trainers, problem.model, bound))
    assert len(lengths) == 1 and loss == alone.last.loss
    for p, q in zip(problem.model.parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad * (1e-3 / lengths[0]), rtol=2e-3, atol=1e-9)


def test_what_is_raised_in_a_step_without_epsilon_leaves_memory_as_it_was():
    _, opt, problem = training(Euclidean(), updates.Natural(Averaged(DiagonalEmpiricalFisher(), 0.9)), rho=0.0)
    bound = problem.on(X, Y)
    opt.step(bound)
    before = copy.deepcopy(opt.memory)
    with mock.patch.object(opt.base, "step", side_effect=ZeroDivisionError), pytest.raises(ZeroDivisionError):
        opt.step(bound)
    torch.testing.assert_close(opt.memory, before, rtol=0, atol=0)


def test_the_ball_s_own_norm_is_made_once(monkeypatch):
    made, own = [], norms.LowRank

    def counted(rows, damping):
        made.append(damping)
        return own(rows, damping)

    monkeypatch.setattr("geosam.metrics.empirical_fisher.LowRank", counted)
    for update, expected in (
        (updates.Natural(), 1),
        (updates.Natural(EmpiricalFisher()), 1),
        (updates.Natural(EmpiricalFisher(1.0)), 2),
    ):
        made.clear()
        _, opt, problem = training(EmpiricalFisher(), update)
        opt.step(problem.on(X, Y))
        assert len(made) == expected


def test_a_closure_is_enough_for_metrics_of_the_gradient_and_an_old_gradient_may_be_overwritten():
    model, opt, _ = training(GradientMagnitude(1.0, 0.1))
    twin, by_problem, held = training(GradientMagnitude(1.0, 0.1))

    def closure():
        opt.zero_grad(set_to_none=False)
        loss = F.cross_entropy(model(X), Y)
        loss.backward()
        return loss

    for rho in (0.1, 0.0):
        opt.rho = by_problem.rho = rho
        for _ in range(3):
            opt.step(closure)
            by_problem.step(held.on(X, Y))
        torch.testing.assert_close(flat(model.parameters()), flat(twin.parameters()), rtol=1e-12, atol=1e-14)
    with pytest.raises(TypeError, match="EmpiricalFisher needs per-sample gradients"):
        training(Euclidean(), updates.Natural(EmpiricalFisher()))[1].step(closure)


@pytest.mark.parametrize("rho", [0.1, 0.0])
def test_micro_batches_of_one_ball_are_the_joined_batch(rho):
    results = []
    for parts in ([slice(0, 8)], [slice(0, 3), slice(3, 8)]):
        model, opt, problem = training(EmpiricalFisher(), rho=rho)
        for _ in range(2):
            opt.step([problem.on(X[part], Y[part]) for part in parts])
        results.append(flat(model.parameters()))
    torch.testing.assert_close(*results, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("rho", [0.1, 0.0])
def test_perturb_and_a_pass_by_hand_are_a_step(rho):
    (one, by_step, problem), (two, by_line, held) = training(EmpiricalFisher(), rho=rho), training(EmpiricalFisher(), rho=rho)
    for _ in range(2):
        by_step.step(problem.on(X, Y))
        by_line.zero_grad()
        by_line.perturb(held.on(X, Y))
        F.cross_entropy(two(X), Y).backward()
        by_line.base.step()
    torch.testing.assert_close(flat(one.parameters()), flat(two.parameters()), rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="until='step'"):
        by_line.perturb(held.on(X, Y), until="backward")


def test_groups_with_radii_of_their_own_leave_the_inverse_as_it_is():
    """Radii are of the ball. G is that of all parameters, and of those that are not perturbed too."""
    model = build(mlp, dtype=torch.float64)
    groups = [{"params": list(model[0].parameters()), "rho": 0.0}, {"params": list(model[2].parameters()), "rho": 0.3}]
    opt = geosam.SAM(torch.optim.SGD(groups, lr=1.0), EmpiricalFisher(0.01), update=updates.Natural())
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    dense = oracles.empirical_fisher(0.01)(bound)
    with opt.perturbed(bound):
        s = flat(torch.autograd.grad(F.cross_entropy(model(X), Y), list(model.parameters())))
    before = flat(model.parameters()).clone()
    opt.step(bound)
    torch.testing.assert_close(before - flat(model.parameters()), torch.linalg.solve(dense, s), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    "update", [updates.Natural(), updates.Natural(Averaged(DiagonalEmpiricalFisher(), 0.5))], ids=["own", "other"]
)
@pytest.mark.parametrize("rho", [0.1, 0.0])
def test_a_checkpoint_goes_on_with_what_the_metric_remembers(update, rho):
    ball = Averaged(DiagonalEmpiricalFisher(), 0.9) if update == updates.Natural() else Euclidean()
    model, opt, problem = training(ball, update, rho=rho)
    for k in range(2):
        opt.step(problem.on(X[k:], Y[k:]))
    other, again, held = training(ball, update, rho=rho)
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    again.load_state_dict(copy.deepcopy(opt.state_dict()))
    for o, p in ((opt, problem), (again, held)):
        o.step(p.on(X[3:], Y[3:]))
    assert torch.equal(flat(model.parameters()), flat(other.parameters()))
    fresh, forgot, new = training(ball, update, rho=rho)
    fresh.load_state_dict(model.state_dict())
    forgot.step(new.on(X[3:], Y[3:]))
    opt.step(problem.on(X[3:], Y[3:]))
    assert not torch.equal(flat(model.parameters()), flat(fresh.parameters()))


def test_labels_that_the_update_s_metric_draws_come_again_after_a_checkpoint():
    def sampled():
        return updates.Natural(Fisher(0.1, metrics.MonteCarlo(1, torch.Generator().manual_seed(3))))

    model, opt, problem = training(Euclidean(), sampled())
    opt.step(problem.on(X, Y))
    other, again, held = training(Euclidean(), sampled())
    other.load_state_dict(copy.deepcopy(model.state_dict()))
    again.load_state_dict(opt.state_dict())
    opt.step(problem.on(X, Y))
    again.step(held.on(X, Y))
    assert torch.equal(flat(model.parameters()), flat(other.parameters()))


def test_a_norm_that_linearises_the_model_does_so_at_theta_and_with_the_statistics_of_then():
    """Conjugate gradients after the second pass: parameters were moved in between, and BatchNorm's buffers are others."""
    metric = Fisher(0.1, rows_limit=0, tolerance=1e-10)
    for ball in (metric, Euclidean()):
        model, opt, _ = training(ball, updates.Natural(metric), make=batch_norm_net)
        model(X)
        bound = geosam.Problem(model, nn.CrossEntropyLoss(), frozen_statistics=True).on(X, Y)
        twin = copy.deepcopy(model)
        norm = metric.at(geosam.Problem(twin, nn.CrossEntropyLoss(), frozen_statistics=True).on(X, Y))
        with opt.perturbed(bound):
            s = torch.autograd.grad(F.cross_entropy(model(X), Y), list(model.parameters()))
        model.load_state_dict(twin.state_dict())
        before = flat(model.parameters()).clone()
        opt.step(bound)
        torch.testing.assert_close((before - flat(model.parameters())) / 0.1, flat(norm.sharp(s)), rtol=1e-6, atol=1e-8)


def test_in_float32_at_small_damping_the_gradient_at_rest_keeps_its_digits():
    """Solved in the row space: there a dense covector's rounding error would be multiplied by 1/λ."""
    model = build(mlp)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X.float(), Y)
    dense, g = oracles.empirical_fisher(1e-8)(bound), oracles.gradient(bound)
    geosam.SAM(torch.optim.SGD(model.parameters(), lr=0.0), EmpiricalFisher(1e-8), 0.0, update=updates.Natural()).step(bound)
    want = torch.linalg.solve(dense, g)
    assert float((flat([p.grad for p in model.parameters()]).double() - want).norm()) < 1e-3 * float(want.norm())


@pytest.mark.parametrize("rho", [0.1, 0.0])
@pytest.mark.parametrize("metric", [EmpiricalFisher(), Fisher(0.1, rows_limit=0), GradientMagnitude(), Euclidean()], ids=repr)
@pytest.mark.parametrize("reads", [True, False])
def test_a_batch_that_is_not_finite_moves_nothing(metric, rho, reads):
    if isinstance(metric, Fisher) and not reads:
        return  # conjugate gradients read
    model, opt, problem = training(metric, rho=rho)
    before = flat(model.parameters()).clone()
    if reads:
        opt.step(problem.on(X * torch.nan, Y))
        assert opt.last.skipped
    else:
        with reads_switched_off():
            opt.step(problem.on(X * torch.nan, Y))
    assert torch.equal(flat(model.parameters()), before)


def test_policies_without_a_pass_at_theta_are_refused_and_plain_steps_are_natural_ones():
    for policy in (passes.Momentum(), passes.Every(2, again=True)):
        model = build(mlp, dtype=torch.float64)
        base = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        opt = geosam.SAM(base, GradientMagnitude(), update=updates.Natural(), passes=policy)
        opt.step(Closure(model, X, Y))
        with pytest.raises(TypeError, match="makes no pass there"):
            opt.step(Closure(model, X, Y))
    model, opt, problem = training(GradientMagnitude(1.0, 0.1), passes=passes.Late(1))
    g = torch.autograd.grad(F.cross_entropy(model(X), Y), list(model.parameters()))
    before = flat(model.parameters()).clone()
    opt.step(problem.on(X, Y))
    torch.testing.assert_close(before - flat(model.parameters()), 0.1 * flat(g) / (0.1 + flat(g) ** 2))


@pytest.mark.parametrize("rho", [0.1, 0.0])
def test_with_lbfgs_every_gradient_is_a_natural_one(rho):
    model = build(mlp, dtype=torch.float64)
    opt = geosam.SAM(
        torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=1), GradientMagnitude(1.0, 0.1), rho, update=updates.Natural()
    )
    closure = Closure(model, X, Y)
    g = flat(torch.autograd.grad(closure.loss(), list(model.parameters())))
    with opt.perturbed(closure):
        s = flat(torch.autograd.grad(closure.loss(), list(model.parameters())))
    opt.step(closure)
    torch.testing.assert_close(flat([p.grad for p in model.parameters()]), s / (0.1 + g**2))


def test_a_norm_without_an_inverse_is_refused_where_it_is_named():
    with pytest.raises(TypeError, match="its ♯ is not linear"):
        updates.Natural(norms.Sup())
    with pytest.raises(TypeError, match="metric must be"):
        updates.Natural(EmpiricalFisher)
