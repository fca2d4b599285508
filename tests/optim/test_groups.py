"""Radii per group: weights of one joint ball, realised exactly."""

import pytest
import torch
from torch import Tensor, nn

import geosam
from geosam import SAM, Copy, Swap
from geosam.core import vectors as vec
from geosam.metrics import EmpiricalFisher, Euclidean, GradientMagnitude, KLExact, Monge, ParameterScaled, only
from geosam.objectives import Smoothed
from tests.networks import Closure, build, draw, labels, mlp, same

X, Y = draw(6, 4), labels(6)


def model_and_opt(first: float, second: float, **settings: object) -> tuple[nn.Module, SAM]:
    model = build(mlp)
    groups = [
        {"params": list(model[0].named_parameters(prefix="0")), "rho": first},
        {"params": list(model[2].named_parameters(prefix="2")), "rho": second},
    ]
    return model, SAM(torch.optim.SGD(groups, lr=0.1), **settings)


def epsilons(model: nn.Module, opt: SAM) -> tuple[list[Tensor], list[Tensor]]:
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)
    with opt.perturbed(bound) as p:
        epsilon = [e.clone() for e in p.epsilon]
    return epsilon[:2], epsilon[2:]


@pytest.mark.parametrize("move", [Copy, Swap])
@pytest.mark.parametrize("metric", [Euclidean(), EmpiricalFisher(0.1), Monge(), ParameterScaled()], ids=repr)
def test_a_pinned_group_stays_and_the_other_has_the_whole_radius(metric, move):
    model, opt = model_and_opt(0.1, 0.0, metric=metric, move=move())
    first, second = epsilons(model, opt)
    assert not any(e.any() for e in second)
    bound = geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y).wrt(list(model[0].parameters()))
    assert metric.at(bound).norm(first).item() == pytest.approx(0.1, rel=1e-3)


@pytest.mark.parametrize("radii", [(0.1, 0.02), (0.01, 1.0), (0.3, 0.3000001)])
def test_two_radii_are_the_weights_of_one_ball(radii):
    model, opt = model_and_opt(*radii)
    first, second = epsilons(model, opt)
    joint = (vec.norm(first) / radii[0]) ** 2 + (vec.norm(second) / radii[1]) ** 2
    assert joint.item() == pytest.approx(1, rel=1e-4)
    # the optimum of a linear function on that ball: ε_b ∝ rho_b² g_b
    g = torch.autograd.grad(nn.functional.cross_entropy(model(X), Y), list(model.parameters()))
    ratio = vec.norm(first) / vec.norm(second)
    expected = radii[0] ** 2 * vec.norm(g[:2]) / (radii[1] ** 2 * vec.norm(g[2:]))
    assert ratio.item() == pytest.approx(expected.item(), rel=1e-3)


@pytest.mark.parametrize("metric", [Euclidean(), GradientMagnitude(), EmpiricalFisher(0.1), KLExact()], ids=repr)
def test_equal_radii_are_one_ball(metric):
    model, opt = model_and_opt(0.1, 0.1, metric=metric)
    grouped = epsilons(model, opt)
    twin = build(mlp)
    alone = epsilons(twin, SAM(torch.optim.SGD(twin.parameters(), lr=0.1), metric, rho=0.1))
    assert same(grouped[0] + grouped[1], alone[0] + alone[1])


def test_the_constructors_rho_is_for_groups_without_their_own():
    model = build(mlp)
    groups = [{"params": model[0].parameters()}, {"params": model[2].parameters(), "rho": 0.0}]
    opt = SAM(torch.optim.SGD(groups, lr=0.1), rho=0.2)
    assert [g["rho"] for g in opt.param_groups] == [0.2, 0.0]
    assert opt.param_groups is opt.base.param_groups


def test_a_group_added_later_is_perturbed_and_updated():
    model = build(mlp)
    opt = SAM(torch.optim.SGD(model[0].parameters(), lr=0.1), rho=0.2)
    opt.add_param_group({"params": list(model[2].parameters()), "lr": 0.01})
    assert [(g["rho"], g["lr"]) for g in opt.param_groups] == [(0.2, 0.1), (0.2, 0.01)]
    before = model[2].weight.detach().clone()
    first, second = epsilons(model, opt)
    assert vec.norm(first + second).item() == pytest.approx(0.2, rel=1e-5)
    opt.step(Closure(model, X, Y))
    assert not torch.equal(model[2].weight, before)


def test_a_divergence_has_one_radius():
    model, opt = model_and_opt(0.1, 0.2, metric=KLExact())
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(TypeError, match=r"KLExact\(along=Blockwise"):
        opt.step(geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y))
    assert same([p.detach() for p in model.parameters()], before)


def test_a_selector_may_fit_the_parameters_of_another_group_only():
    model, opt = model_and_opt(0.1, 0.05, metric=only("2.*"))
    with opt.perturbed(geosam.Problem(model, nn.CrossEntropyLoss()).on(X, Y)) as p:
        assert [bool(e.any()) for e in p.epsilon] == [name.startswith("2.") for name, _ in model.named_parameters()]


def test_frozen_parameters_in_a_group_are_passed_over():
    model, opt = model_and_opt(0.1, 0.05)
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    with opt.perturbed(Closure(model, X, Y)) as p:
        assert len(p.epsilon) == 3
        assert torch.equal(model[0].weight, before)
    opt.step(Closure(model, X, Y))
    assert torch.equal(model[0].weight, before) and model[0].weight.grad is None


def test_memory_of_the_objective_spans_the_groups():
    model, opt = model_and_opt(0.1, 0.05, objective=Smoothed(0.5))
    opt.step(Closure(model, X, Y))
    opt.step(Closure(model, X, Y))
    assert len(opt.state_dict()["geosam"]["objective"]["average"]) == 4
