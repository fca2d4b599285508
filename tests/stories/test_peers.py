"""What goes wrong elsewhere: each fault on geosam, and on pytorch_optimizer where it is installed and shows it."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import geosam
from geosam import metrics, objectives
from tests.networks import batch_norm_net, build, clones, draw, labels, mlp, same

X, Y = draw(8, 4), labels(8)


def peer():
    return pytest.importorskip("pytorch_optimizer")


def ours(model, lr=0.1, **settings):
    return geosam.SAM(torch.optim.SGD(model.parameters(), lr=lr), rho=0.1, **settings)


def theirs(model, lr=0.1, **settings):
    return peer().SAM(model.parameters(), base_optimizer=torch.optim.SGD, rho=0.1, lr=lr, **settings)


def closure_of(model, opt, spoil=lambda call: None):
    calls = []

    def closure():
        calls.append(None)
        opt.zero_grad()
        loss = F.cross_entropy(model(X), Y)
        loss.backward()
        spoil(len(calls))
        return loss

    return closure


def nan_in_the_first(model):
    def spoil(call):
        if call == 1:
            model[0].weight.grad[0, 0] = torch.nan

    return spoil


def test_nan_in_the_first_pass_with_a_finite_second():
    model = build(mlp)
    opt = ours(model)
    opt.step(closure_of(model, opt, nan_in_the_first(model)))
    assert all(p.isfinite().all() for p in model.parameters()) and not opt.last.finite


def test_nan_in_the_first_pass_ruins_every_weight_of_the_peer():
    model = build(mlp)
    opt = theirs(model)
    closure = closure_of(model, opt, nan_in_the_first(model))
    closure()
    opt.step(closure)
    assert all(p.isnan().all() for p in model.parameters())


def test_bfloat16_weights_do_not_drift_at_learning_rate_zero():
    model = build(mlp, dtype=torch.bfloat16)
    opt, before = ours(model, lr=0.0), clones(model)
    for _ in range(20):
        opt.zero_grad()
        opt.perturb(geosam.Problem(model, nn.CrossEntropyLoss()).on(X.bfloat16(), Y))
        F.cross_entropy(model(X.bfloat16()), Y).backward()
        opt.base.step()
    assert same(clones(model), before)


def test_storages_stay_where_they_are():
    model = build(mlp)
    opt, places = ours(model), [p.data_ptr() for p in model.parameters()]
    opt.step(closure_of(model, opt))
    assert places == [p.data_ptr() for p in model.parameters()]


@pytest.mark.parametrize("call", [1, 2])
def test_a_gradient_that_is_none_in_one_pass(call):
    model = build(mlp)

    def spoil(now):
        if now == call:
            model[2].bias.grad = None

    opt, before = ours(model, lr=0.0), clones(model)
    opt.step(closure_of(model, opt, spoil))
    assert same(clones(model), before)


def test_two_first_passes():
    model = build(mlp)
    opt, before = ours(model, lr=0.0), clones(model)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    opt.perturb(bound)
    opt.perturb(bound)
    F.cross_entropy(model(X), Y).backward()
    opt.base.step()
    assert same(clones(model), before)


def test_two_first_passes_leave_the_peers_weights_wrong():
    model = build(mlp)
    opt, before = theirs(model, lr=0.0), clones(model)
    for _ in range(2):
        closure_of(model, opt)()
        opt.first_step()
    opt.second_step()
    assert not same(clones(model), before)


def halves(model):
    return [{"params": model[0].parameters(), "rho": 0.1}, {"params": model[2].parameters(), "rho": 0.0}]


def test_a_radius_of_a_group_is_the_length_of_its_perturbation():
    model = build(mlp)
    opt = geosam.SAM(torch.optim.SGD(halves(model), lr=0.1))
    with opt.perturbed(closure_of(model, opt)) as p:
        assert torch.cat([e.flatten() for e in p.epsilon]).norm().item() == pytest.approx(0.1, rel=1e-5)


def test_the_peer_divides_by_the_norm_of_all_groups():
    model, before = build(mlp), clones(build(mlp))
    opt = peer().SAM(halves(model), base_optimizer=torch.optim.SGD, lr=0.1)
    closure_of(model, opt)()
    opt.first_step()
    moved = torch.cat([(p - q).flatten() for p, q in zip(model.parameters(), before, strict=True)]).norm().item()
    assert moved < 0.09


def scaled(model, opt, scaler):
    def closure():
        opt.zero_grad()
        loss = scaler.scale(F.cross_entropy(model(X), Y))
        loss.backward()
        return loss

    return closure


def test_a_scaler_that_is_given_a_closure():
    model = build(mlp)
    opt, before, scaler = ours(model), clones(model), torch.amp.GradScaler("cpu", init_scale=1024.0)
    closure = scaled(model, opt, scaler)
    closure()
    with pytest.raises(TypeError, match="not to be called through"):
        scaler.step(opt, closure)
    assert same(clones(model), before)


def test_a_scaler_that_is_given_a_closure_blows_up_the_peers_update():
    model, plain = build(mlp), build(mlp)
    opt, before, scaler = theirs(model), clones(model), torch.amp.GradScaler("cpu", init_scale=1024.0)
    closure = scaled(model, opt, scaler)
    closure()
    scaler.step(opt, closure)
    right = ours(plain)
    right.step(closure_of(plain, right))
    sizes = [torch.cat([(p - q).flatten() for p, q in zip(clones(m), before, strict=True)]).norm() for m in (model, plain)]
    assert sizes[0] > 500 * sizes[1]


def test_the_fisher_norm_of_the_perturbation_is_rho():
    model = build(mlp)
    metric = metrics.DiagonalEmpiricalFisher(0.1)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    norm = metric.at(bound)
    with ours(model, metric=metric).perturbed(bound) as p:
        assert norm.norm(p.epsilon).item() == pytest.approx(0.1, rel=1e-4)


def test_coordinates_without_any_gradient_are_no_nan():
    model = build(mlp)
    opt = ours(model, objective=objectives.NoiseWeighted())
    with torch.no_grad():
        X0 = X.clone()
        X0[:, 0] = 0.0  # the first column of weights has the gradient 0 of every sample
    with opt.perturbed(geosam.Problem(model, nn.CrossEntropyLoss()).on(X0, Y)) as p:
        assert all(e.isfinite().all() for e in p.epsilon) and not p.epsilon[0][:, 0].any()


def test_running_statistics_need_no_helper():
    model = build(batch_norm_net)
    opt = ours(model)
    opt.step(closure_of(model, opt))
    assert model[1].momentum == 0.1 and model[1].num_batches_tracked == 1


def test_the_peers_helper_forgets_the_momentum_and_lets_the_counter_go_on():
    from importlib import import_module

    peer()
    helpers, model = import_module("pytorch_optimizer.optimizer.utils"), build(batch_norm_net)
    helpers.disable_running_stats(model)
    model(X)
    helpers.disable_running_stats(model)
    helpers.enable_running_stats(model)
    assert model[1].momentum == 0.0 and model[1].num_batches_tracked == 1


def test_what_bfloat16_realises_is_told_beside_what_was_computed():
    model = build(mlp, dtype=torch.bfloat16)
    opt = ours(model)
    with opt.perturbed(geosam.Problem(model, nn.CrossEntropyLoss()).on(X.bfloat16(), Y)) as p:
        realised = torch.cat([e.flatten().double() for e in p.epsilon]).norm().item()
    assert opt.last.radius.item() == pytest.approx(0.1) and 0 < abs(realised - 0.1) < 0.05


def test_adaptive_is_said_in_full():
    """Which parameters are scaled, and the η: the default of Kwon et al.'s code."""
    model = build(mlp, dtype=torch.float64)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X.double(), Y)
    g = torch.autograd.grad(F.cross_entropy(model(X.double()), Y), list(model.parameters()))
    t = [(p.detach().abs() + 0.01) if p.dim() > 1 else torch.ones_like(p) for p in model.parameters()]
    size = torch.cat([(a * b).flatten() for a, b in zip(g, t, strict=True)]).norm()
    with ours(model, metric=metrics.ParameterScaled()).perturbed(bound) as p:
        for e, a, b in zip(p.epsilon, g, t, strict=True):
            torch.testing.assert_close(e, 0.1 * a * b * b / size)


def test_a_step_returns_the_loss_at_theta():
    model = build(mlp)
    opt, before = ours(model), F.cross_entropy(build(mlp)(X), Y)
    assert opt.step(closure_of(model, opt)).item() == pytest.approx(before.item())


def test_the_peers_step_returns_none():
    model = build(mlp)
    opt = theirs(model)
    closure = closure_of(model, opt)
    closure()
    assert opt.step(closure) is None
